//! The everprof command line.
//!
//! ```text
//! args, commands/* ── what was asked
//!     input   file, URL, stdin → Profile
//!     everprof_profile::{symbolize, filter, report, flame, …}
//!     output  text, json, md, files
//! run  starts programs; it has its own errors and exit codes
//! ```
//!
//! Context of everything here: cold. One file a command. Exit status: 0 done, 1 not done (and
//! why, on standard error), 2 misused; `run` passes on the program's, and has 125 for both.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod error;
mod input;
mod output;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// See where a Rust program's memory is, what it waits for, and what its threads do.
///
/// A PROFILE is a file in pprof's format, the URL of a program that serves its profiles
/// (http://localhost:6060 means its heap), or `-` for standard input.
#[derive(Debug, Parser)]
#[command(
    name = "everprof",
    version,
    arg_required_else_help = true,
    after_help = EXAMPLES
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Top(commands::top::TopArgs),
    Tree(commands::tree::TreeArgs),
    Peek(commands::peek::PeekArgs),
    Flame(commands::flame::FlameArgs),
    Diff(commands::diff::DiffArgs),
    Stacks(commands::stacks::StacksArgs),
    Trace(commands::trace::TraceArgs),
    Merge(commands::merge::MergeArgs),
    Export(commands::export::ExportArgs),
}

const EXAMPLES: &str = "\
Examples:
  everprof run -o out -- ./server --port 80   profile a program as it is
  everprof top out/heap.pb.gz                 the functions that hold most
  everprof top http://localhost:6060          the same of a running program
  everprof flame out/heap.pb.gz -o heap.svg   a picture of it
  everprof top out/block.pb.gz                what it waited for
  everprof stacks http://localhost:6060       what its threads are doing
  everprof trace app.trace --peak             what it held when that was most
  everprof diff before.pb.gz after.pb.gz      what grew, and whether that is chance
  curl -s URL | everprof tree -               who called whom";

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return misread(&error),
    };
    let done = match arguments.command {
        Command::Run(args) => return run::main(args),
        Command::Top(args) => commands::top::main(&args),
        Command::Tree(args) => commands::tree::main(&args),
        Command::Peek(args) => commands::peek::main(&args),
        Command::Flame(args) => commands::flame::main(&args),
        Command::Diff(args) => commands::diff::main(&args),
        Command::Stacks(args) => commands::stacks::main(&args),
        Command::Trace(args) => commands::trace::main(&args),
        Command::Merge(args) => commands::merge::main(&args),
        Command::Export(args) => commands::export::main(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Help was asked for, or the command line cannot be read.
fn misread(error: &clap::Error) -> ExitCode {
    // Standard error may be closed; then there is nobody to tell.
    let _ = error.print();
    let is_run = std::env::args_os().nth(1).is_some_and(|word| word == "run");
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if is_run => ExitCode::from(run::MISUSED),
        _ => ExitCode::from(MISUSED),
    }
}

/// As clap, and most programs, have it.
const MISUSED: u8 = 2;
