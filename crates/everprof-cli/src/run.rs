//! `everprof run`: profiles a program that knows nothing of it.
//!
//! ```text
//!   check the program (run/program, run/elf) ── a clear error, nothing started
//!   open the inbox (run/inbox), unpack the library (run/library)
//!   start the program with LD_PRELOAD and EVERPROF_RUN; pass signals on (run/signals)
//!        the library inside makes its memory and sends it here
//!   meanwhile: does it bring an allocator of its own? (run/own_allocator)
//!   wait; read the memory, write the profiles (run/save)
//!   end as the program ended
//! ```
//!
//! The program writes nothing when it ends: its records are in memory that
//! this process holds open, so a kill -9 loses nothing. The program's standard
//! streams, environment, exit status and signals pass through; what everprof
//! says goes to standard error.

mod elf;
mod error;
mod inbox;
mod library;
mod own_allocator;
mod program;
mod save;
mod signals;
mod summary;
mod test_binary;
mod whose;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub use error::Error;
use everprof::config::{
    A_HEAP_PERIOD, A_MEMORY_LIMIT, Config, Http, VARIABLE, parse_heap_period, parse_memory_limit,
    parse_period,
};
use inbox::Inbox;
pub(crate) use library::Library;
use save::Saver;
use signals::Held;
use whose::Whose;

use crate::output::note;

/// Profile a program as it is, without a change or a rebuild.
///
/// Options come before what the variable EVERPROF says. Profiles of memory, of waits and of
/// the threads that were created are written when the program ends, however it ends. It must
/// be dynamically linked and use the C library's malloc (Rust programs do, unless they choose
/// another allocator).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: the program's own. 125: everprof was misused, or could not do its \
job; 126: the program cannot be executed; 127: it does not exist."
)]
pub struct RunArgs {
    /// Directory for heap.pb.gz, block.pb.gz and the others [default: everprof.NAME.PID, here]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Mean bytes between samples: 1 records everything, off nothing [default: 512KiB]
    #[arg(long, value_name = "PERIOD", value_parser = heap_period)]
    heap: Option<u64>,

    /// Shortest wait that is always recorded: 1 for every wait, off for none [default: 1ms]
    #[arg(long, value_name = "TIME", value_parser = period)]
    block: Option<u64>,

    /// The same, of waits charged to those who held the lock [default: 1ms]
    #[arg(long, value_name = "TIME", value_parser = period)]
    mutex: Option<u64>,

    /// Count sleeping as waiting
    #[arg(long)]
    sleep: bool,

    /// Count waiting for sockets and other input as waiting
    #[arg(long)]
    io: bool,

    /// Write every allocation and free to this file, for `everprof trace`; as text if its name
    /// ends in .txt. Processes that it starts, with --children, write to FILE.PID
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Serve the live profiles at this address meanwhile, as Go programs do
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,

    /// Profile the processes that it starts too, each into DIR/PID. With cargo test, bench or
    /// nextest its test binaries are, without this, each into DIR/NAME-HASH
    #[arg(long)]
    children: bool,

    /// Frames to keep of a stack, 1 to 1024 [default: 128]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    depth: Option<u16>,

    /// Memory for the records of one process [default: 64MiB]
    #[arg(long, value_name = "BYTES", value_parser = memory)]
    memory_limit: Option<u64>,

    /// Print no table at the end
    #[arg(short, long)]
    quiet: bool,

    /// The program and its arguments; `--` before it where its name begins with a `-`
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

/// What the whole command line ends with where it cannot be read: as `env`, `nice` and `timeout`
/// do, so that no failure of ours is taken for one of the program's.
pub const MISUSED: u8 = error::OWN_FAILURE;

/// Runs the program and writes its profiles. Errors have been told the user.
pub fn main(args: RunArgs) -> ExitCode {
    match run(args) {
        Ok(code) => code,
        Err(error) => {
            note(&error.with_causes());
            error.exit_code()
        }
    }
}

fn run(args: RunArgs) -> Result<ExitCode, Error> {
    let (name, arguments) = args
        .command
        .split_first()
        .ok_or_else(|| Error::plain("no program given: everprof run -- PROGRAM ARGS".to_owned()))?;
    let path = program::find(name, std::env::var_os("PATH").as_deref())?;
    let binary = program::check(&path)?;
    let directory = args
        .output
        .clone()
        .unwrap_or_else(|| format!("everprof.{}.{}", short_name(name), std::process::id()).into());
    let program = Arc::new(AtomicU32::new(0));
    let told = match std::env::var_os(VARIABLE) {
        Some(value) => Config::parse(&value, &mut |complaint| note(&complaint)),
        None => Config::default(),
    };
    if let Some(directory) = told.dump.as_ref().and_then(|dump| dump.directory.as_ref())
        && directory.as_os_str().as_bytes().contains(&b';')
    {
        return Err(Error::plain(format!(
            "{VARIABLE}: `dump`: `{}`: expected a directory without `;` in its name",
            directory.display()
        )));
    }
    let trace = trace_file(args.trace.as_deref().or(told.trace.as_deref()))?;
    let whose = if args.children {
        Whose::All
    } else if test_binary::are_run_by(name, arguments) {
        Whose::Tests
    } else {
        Whose::Program
    };
    let saver = Saver::prepare(directory, Arc::clone(&program), whose)?;
    let library = Library::unpack().map_err(|e| {
        Error::own(
            "no memory for the preloaded library (memfd_create)".into(),
            e,
        )
    })?;
    let inbox = Inbox::open(saver)
        .map_err(|e| Error::own("no socket for the profiled program".into(), e))?;
    let held = Held::hold().map_err(|e| Error::own("signals cannot be received".into(), e))?;

    let mut command = Command::new(&path);
    command.arg0(name).args(arguments);
    command.env(
        "LD_PRELOAD",
        library.preload(std::env::var_os("LD_PRELOAD")),
    );
    command.env(
        "EVERPROF_RUN",
        settings(
            &args,
            &told,
            trace.as_deref(),
            whose,
            inbox.name(),
            &library,
        ),
    );
    let spawned = command.spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            if let Some(saver) = inbox.close() {
                saver.abandon();
            }
            return Err(Error::spawn(&path, error));
        }
    };
    // Release: pairs with the inbox's Acquire; nothing but the number is published.
    program.store(child.id(), Ordering::Release);
    let forwarding = held.forward_to(&child);
    if let Err(error) = &forwarding {
        note(&format!(
            "signals are not passed on to the program: {error}"
        ));
    }
    // Behind the start, as the program need not wait for it.
    if let Some(symbol) = own_allocator::find(&binary) {
        note(&format!(
            "`{}` brings an allocator of its own (it defines `{symbol}`): what goes through it is \
             not seen here. Link everprof::Alloc around it to see that heap",
            path.display()
        ));
    }
    let status = child
        .wait()
        .map_err(|e| Error::own("waiting for the program".into(), e));
    drop(forwarding);
    let saved = inbox
        .close()
        .ok_or_else(|| Error::plain("the receiving thread broke down".to_owned()))
        .and_then(|saver| saver.finish(name, args.quiet));
    end(status?, saved)
}

/// Where the trace is to be, for a program that may stand elsewhere. Nothing is there then, so
/// that no older trace is taken for one of a program that could not write its own.
fn trace_file(told: Option<&Path>) -> Result<Option<PathBuf>, Error> {
    let Some(told) = told else {
        return Ok(None);
    };
    let cannot = |error: std::io::Error| {
        Error::own(
            format!("cannot write a trace to `{}`", told.display()),
            error,
        )
    };
    let path = std::path::absolute(told).map_err(cannot)?;
    if path.as_os_str().as_bytes().contains(&b';') {
        return Err(Error::plain(format!(
            "--trace `{}`: expected a path without `;` in it",
            told.display()
        )));
    }
    if path.is_dir() {
        return Err(Error::plain(format!(
            "--trace `{}` is a directory: expected the path of a file",
            told.display()
        )));
    }
    // Tried now, as there is somebody to tell. What is no file (/dev/null, a pipe) stays.
    let is_file = path.metadata().map_or(true, |there| there.is_file());
    if is_file {
        std::fs::File::create(&path).map_err(cannot)?;
        std::fs::remove_file(&path).map_err(cannot)?;
    }
    Ok(Some(path))
}

/// The program's own end, unless it was well and ours was not.
fn end(status: ExitStatus, saved: Result<(), Error>) -> Result<ExitCode, Error> {
    if let Err(error) = saved {
        if status.success() {
            return Err(error);
        }
        note(&error.with_causes());
    }
    Ok(signals::end_like(status))
}

/// What the library reads before the program's `main`: the options, or what
/// `EVERPROF` says, or the defaults. `http` comes last: it takes the rest of the line.
fn settings(
    args: &RunArgs,
    told: &Config,
    trace: Option<&Path>,
    whose: Whose,
    socket: &str,
    library: &Library,
) -> OsString {
    let heap = args
        .heap
        .or(told.heap_period_bytes)
        .unwrap_or(DEFAULT_PERIOD);
    let depth = args
        .depth
        .map(usize::from)
        .or(told.depth)
        .unwrap_or(DEFAULT_DEPTH);
    let limit = args
        .memory_limit
        .or(told.memory_limit_bytes)
        .unwrap_or(DEFAULT_MEMORY);
    let block = args
        .block
        .or(told.block_period_nanos)
        .unwrap_or(DEFAULT_WAIT_NANOS);
    let mutex = args
        .mutex
        .or(told.mutex_period_nanos)
        .unwrap_or(DEFAULT_WAIT_NANOS);
    let fraction = told.mutex_one_in.unwrap_or(0);
    let sleep = u8::from(args.sleep || told.sleep == Some(true));
    let io = u8::from(args.io || told.io == Some(true));
    let children = u8::from(whose != Whose::Program);
    let runner = std::process::id();
    let library = library.path();
    let mut line = format!(
        "heap={heap};block={block};mutex={mutex};fraction={fraction};sleep={sleep};io={io};\
         depth={depth};limit={limit};children={children};runner={runner};socket={socket};\
         library={library}"
    );
    if let Some(dump) = &told.dump {
        line.push_str(&format!(";dump={}", dump.signal));
    }
    let mut line = OsString::from(line);
    if let Some(directory) = told.dump.as_ref().and_then(|dump| dump.directory.as_ref()) {
        line.push(";dump_directory=");
        line.push(directory);
    }
    if let Some(trace) = trace {
        line.push(";trace=");
        line.push(trace);
    }
    let http = match (&args.http, &told.http) {
        (Some(address), _) | (None, Some(Http::On(address))) => Some(address),
        (None, Some(Http::Off) | None) => None,
    };
    if let Some(address) = http {
        line.push(";http=");
        line.push(address);
    }
    line
}

/// As a program that links everprof has it.
const DEFAULT_PERIOD: u64 = 512 << 10;
const DEFAULT_WAIT_NANOS: u64 = 1_000_000;
const DEFAULT_DEPTH: usize = 128;
const DEFAULT_MEMORY: u64 = 64 << 20;

/// A period of the heap: `1`, `512KiB`, or `off`, which is 0.
fn heap_period(text: &str) -> Result<u64, String> {
    parse_heap_period(text).ok_or_else(|| format!("expected {A_HEAP_PERIOD}"))
}

/// A time: `1ms`, `10us`; a bare number is of nanoseconds, `off` is 0.
fn period(text: &str) -> Result<u64, String> {
    parse_period(text)
        .ok_or_else(|| "expected a time, such as 1ms or 10us, 1 for every wait, or off".to_owned())
}

/// A memory limit that the recorder can live with.
fn memory(text: &str) -> Result<u64, String> {
    parse_memory_limit(text).ok_or_else(|| format!("expected {A_MEMORY_LIMIT}"))
}

/// The program's name for a directory: the last part of its path.
fn short_name(name: &OsStr) -> String {
    std::path::Path::new(name).file_name().map_or_else(
        || "program".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn waits_are_told_the_library_by_options_before_the_variable() {
        let parsed = |line: &[&str]| {
            #[derive(clap::Parser)]
            struct Wrapped {
                #[command(flatten)]
                run: RunArgs,
            }
            <Wrapped as clap::Parser>::try_parse_from([&["run"], line].concat())
                .map(|wrapped| wrapped.run)
        };
        let library = Library::unpack().unwrap();
        let line = |args: &[&str], told: &str| {
            let told = Config::parse(OsStr::new(told), &mut |complaint| panic!("{complaint}"));
            let line = settings(
                &parsed(args).unwrap(),
                &told,
                None,
                Whose::Program,
                "s",
                &library,
            );
            let line = line.into_string().unwrap();
            let end = line.find(";depth").unwrap();
            line[..end].to_owned()
        };
        assert_eq!(
            line(&["true"], ""),
            "heap=524288;block=1000000;mutex=1000000;fraction=0;sleep=0;io=0"
        );
        assert_eq!(
            line(
                &["--block", "10us", "--mutex", "off", "--sleep", "true"],
                "heap=1,block=1s,mutex=1s,mutex_fraction=7,io=on"
            ),
            "heap=1;block=10000;mutex=0;fraction=7;sleep=1;io=1"
        );
        assert!(parsed(&["--block", "soon", "true"]).is_err());
    }

    #[test]
    fn sizes_are_read_as_the_variable_is_and_what_is_wrong_is_told() {
        assert_eq!(heap_period("64kB"), Ok(64_000));
        assert_eq!(heap_period("off"), Ok(0));
        assert!(heap_period("12parsecs").unwrap_err().contains("512KiB"));
        assert_eq!(memory("1MiB"), Ok(1 << 20));
        assert!(memory("128GiB").unwrap_err().contains("32GiB"));
    }
}
