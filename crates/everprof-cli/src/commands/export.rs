//! `everprof export`: a profile in another tool's format.

use std::path::PathBuf;

use everprof_profile::report::Selection;
use everprof_profile::{folded, pprof, speedscope};

use crate::args::ReadArgs;
use crate::error::Error;
use crate::input::Source;
use crate::output;

/// Write a profile for another tool.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// A file, a URL or `-`
    #[arg(value_name = "PROFILE")]
    source: Source,

    /// The format
    #[arg(long, value_enum)]
    to: To,

    #[command(flatten)]
    read: ReadArgs,

    /// Which of the profile's values, for `folded` [default: the profile's choice]
    #[arg(long, value_name = "KIND")]
    sample_type: Option<String>,

    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A format that other tools read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum To {
    /// gzip'd profile.proto with names and lines filled in: go tool pprof, Pyroscope, Parca
    Pprof,
    /// One line a stack: flamegraph.pl, inferno
    Folded,
    /// speedscope.app, with inlined functions
    Speedscope,
}

/// Exports.
pub fn main(args: &ExportArgs) -> Result<(), Error> {
    if args.sample_type.is_some() && args.to != To::Folded {
        return Err(Error::new(
            "--sample-type: this format takes all sample types, expected --to folded",
        ));
    }
    let profile = args.read.profile(&args.source)?;
    // Names the sample types there are, if it is none of them.
    let kind = Selection::of(&profile, args.sample_type.as_deref())
        .map_err(|error| Error::new(format!("`{}`: {error}", args.source)).because(error))?
        .kind;
    let file = args.output.as_deref();
    match args.to {
        To::Pprof => output::write_to(file, "export --to pprof", "pb.gz", |out| {
            pprof::encode(&profile, out)
        }),
        To::Folded => output::write_to(file, "export --to folded", "folded", |out| {
            let value = profile.sample_type_index(&kind).unwrap_or(0);
            folded::write(&profile, value, out)
        }),
        To::Speedscope => {
            output::write_to(file, "export --to speedscope", "speedscope.json", |out| {
                speedscope::write(&profile, &args.source.to_string(), out)
            })
        }
    }
}
