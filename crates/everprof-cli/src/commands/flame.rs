//! `everprof flame`: a flame graph in one SVG file.

use std::path::PathBuf;

use crate::args::ReadArgs;
use crate::error::Error;
use crate::input::Source;
use crate::output;
use everprof_profile::report::Selection;

/// Draw a flame graph: one SVG file, which a browser can zoom and search.
#[derive(Debug, clap::Args)]
pub struct FlameArgs {
    /// A file, a URL or `-`
    #[arg(value_name = "PROFILE")]
    source: Source,

    #[command(flatten)]
    read: ReadArgs,

    /// Which of the profile's values, such as alloc_space [default: the profile's choice]
    #[arg(long, value_name = "KIND")]
    sample_type: Option<String>,

    /// What stands above the picture [default: the profile's name]
    #[arg(long)]
    title: Option<String>,

    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Draws.
pub fn main(args: &FlameArgs) -> Result<(), Error> {
    let profile = args.read.profile(&args.source)?;
    let selection = Selection::of(&profile, args.sample_type.as_deref())
        .map_err(|error| Error::new(format!("`{}`: {error}", args.source)).because(error))?;
    let title = match &args.title {
        Some(title) => title.clone(),
        None => args.source.to_string(),
    };
    output::write_to(args.output.as_deref(), "flame", "svg", |out| {
        everprof_profile::flame::write_svg(&selection, &title, out)
    })
}
