//! `everprof flame`: a flame graph in one SVG file.

use std::path::PathBuf;

use crate::args::SelectArgs;
use crate::error::Error;
use crate::input::Source;
use crate::output;

/// Draw a flame graph: one SVG file, which a browser can zoom and search.
#[derive(Debug, clap::Args)]
pub struct FlameArgs {
    /// A file, a URL or `-`
    #[arg(value_name = "PROFILE")]
    source: Source,

    #[command(flatten)]
    select: SelectArgs,

    /// What stands above the picture [default: the profile's name]
    #[arg(long)]
    title: Option<String>,

    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Draws.
pub fn main(args: &FlameArgs) -> Result<(), Error> {
    let selection = args.select.selection(&args.source)?;
    let title = match &args.title {
        Some(title) => title.clone(),
        None => args.source.to_string(),
    };
    output::write_to(args.output.as_deref(), "flame", "svg", |out| {
        everprof_profile::flame::write_svg(&selection, &title, out)
    })
}
