//! The everprof command line.
#![forbid(unsafe_code)]

mod run;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "everprof", version)]
enum Command {
    Run(run::RunArgs),
}

fn main() -> ExitCode {
    match Command::parse() {
        Command::Run(args) => run::main(args),
    }
}
