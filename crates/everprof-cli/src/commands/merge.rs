//! `everprof merge`: several profiles become one.

use std::path::PathBuf;

use everprof_profile::{Profile, pprof};

use crate::args::SizeArgs;
use crate::error::Error;
use crate::input::Source;
use crate::output;

/// Add profiles up: those of several processes, or of several stretches of time.
#[derive(Debug, clap::Args)]
pub struct MergeArgs {
    /// Files, URLs or `-`
    #[arg(value_name = "PROFILE", required = true)]
    sources: Vec<Source>,

    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    size: SizeArgs,
}

/// Merges.
pub fn main(args: &MergeArgs) -> Result<(), Error> {
    let stdins = args
        .sources
        .iter()
        .filter(|source| **source == Source::Stdin);
    if stdins.count() > 1 {
        return Err(Error::new(
            "`-` is given more than once: standard input holds one profile",
        ));
    }
    let profiles = args
        .sources
        .iter()
        .map(|source| source.read(args.size.max_mib))
        .collect::<Result<Vec<Profile>, Error>>()?;
    let merged = Profile::merge(&profiles.iter().collect::<Vec<_>>())?;
    output::write_to(args.output.as_deref(), "merge", "pb.gz", |out| {
        pprof::encode(&merged, out)
    })
}
