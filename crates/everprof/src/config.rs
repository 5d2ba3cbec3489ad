//! `EVERPROF`: what whoever starts the program wants of the profilers.
//!
//! Settings are `key=value`, separated by commas, and override what the code
//! says:
//!
//! | key | value | at first |
//! |---|---|---|
//! | `off` | has no value: nothing is recorded or served, but what settings behind it ask for | |
//! | `heap` | mean bytes between samples; 1 records all, 0 or `off` none | `512KiB` |
//! | `block` | the shortest wait that is always recorded; 1 records all, 0 or `off` none | `1ms` |
//! | `mutex` | the same, of waits that an unlock ended | `1ms` |
//! | `mutex_fraction` | one in how many of these is recorded, whatever its length; `off`: the period decides | `off` |
//! | `sleep`, `io` | `on` or `off`: whether sleeping, and waiting for input, are waits | `off` |
//! | `taskblock` | as `block`, of the waits of watched tasks | `1ms` |
//! | `tasks` | `on` or `off`: whether futures that are given to be watched are | `on` |
//! | `dump` | a signal that makes the program write its threads' stacks to stderr; with `:` and a directory, every profile there | none |
//! | `memory_limit` | most bytes of the recorders' own memory | `64MiB` |
//! | `depth` | most frames of a stack, 1 to 1024 | 128 |
//! | `trace` | a file that every allocation and free is written to; as text where its name ends in `.txt` | none |
//! | `http` | where to serve: `127.0.0.1:6060`, `unix:/path`, `off` | as the code says |
//! | `token` | what a request must show as `Authorization: Bearer …` | none |
//!
//! Sizes have a unit or none: `B`, `kB`, `MB`, `GB`, `TB` (powers of 1,000), `KiB`,
//! `MiB`, `GiB`, `TiB` or short `K`, `M`, `G`, `T` (powers of 1,024), in either case. Times have
//! one, too: `ns`, `us`, `ms`, `s`; a bare number is of nanoseconds, as in the code.
//! Signals have names or numbers: `SIGUSR2`, `usr2`, `12`.
//!
//! A setting that cannot be read is left out, and one line on stderr says which,
//! and what was expected. A set-user-id program ignores all of them.
//!
//! A dump is a directory `PID.N` in the one that was told, with `heap.pb.gz`,
//! `block.pb.gz` and the others, and `threads.txt`; it appears when it is whole. A handler
//! that the program installs for the signal later takes its place.
//!
//! They are read once, before `main`, among the program's constructors (feature
//! `environment`): the first allocation of `main` is counted by them already, the first wait is
//! recorded by them. Three do more than set something:
//!
//! - `http` and `dump` start a thread each, then; a program that must have one thread at its
//!   start (to `unshare`, say) should rather call [`serve`](crate::serve).
//! - `trace` starts one, too, and needs an [`Alloc`](crate::Alloc), as `heap` does. Where the
//!   program's allocator is another one, one line on stderr says so.
//!
//! ```text
//! EVERPROF=heap=64KiB,http=127.0.0.1:6060 ./service
//! ```
//!
//! Context: cold. Invariant: any text is read to its end, without a panic.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::start;

mod dump;
mod units;

pub use dump::Dump;
pub(crate) use dump::is_realtime;
use dump::parse_dump;
pub(crate) use units::parse_duration;
pub use units::{
    A_HEAP_PERIOD, A_MEMORY_LIMIT, parse_heap_period, parse_memory_limit, parse_period, parse_size,
};

/// Name of the variable.
pub const VARIABLE: &str = "EVERPROF";

/// Names of profiles and outputs that have no setting, or are still to be made. Known, so
/// that they are told from misspelt ones.
const LATER: &[&str] = &["blackbox", "labels", "profile", "threadcreate", "threads"];

const KNOWN: &str = "block, depth, dump, heap, http, io, memory_limit, mutex, mutex_fraction, off, \
    sleep, taskblock, tasks, token, trace";

/// The depth of stacks that the recorders can keep.
const MOST_DEPTH: usize = everprof_core::stack::MAX_DEPTH;

/// What was told. None: the code decides.
#[doc(hidden)]
#[derive(Default)]
#[non_exhaustive]
pub struct Config {
    /// Mean bytes between heap samples.
    pub heap_period_bytes: Option<u64>,
    /// The shortest wait that is always recorded; 0 is off.
    pub block_period_nanos: Option<u64>,
    /// The same, of waits that an unlock ended.
    pub mutex_period_nanos: Option<u64>,
    /// One in how many of these is recorded; 0: the period decides.
    pub mutex_one_in: Option<u64>,
    /// As the block period, of the waits of tasks.
    pub taskblock_period_nanos: Option<u64>,
    /// Whether futures are watched.
    pub tasks: Option<bool>,
    /// Whether sleeping is a wait.
    pub sleep: Option<bool>,
    /// Whether waiting for input is a wait.
    pub io: Option<bool>,
    /// When to write, and where.
    pub dump: Option<Dump>,
    /// Most bytes of the recorders' own memory.
    pub memory_limit_bytes: Option<u64>,
    /// Most frames of a stack.
    pub depth: Option<usize>,
    /// Where every allocation and free is to be written.
    pub trace: Option<PathBuf>,
    /// Where to serve.
    pub http: Option<Http>,
    /// What a request must show.
    pub token: Option<String>,
}

/// Where the endpoint is to be.
#[doc(hidden)]
#[derive(Debug, PartialEq, Eq)]
pub enum Http {
    /// Nowhere, whatever the code says.
    Off,
    /// At this address.
    On(String),
}

/// What `EVERPROF` told when this was first called: before `main`, or without the feature
/// `environment` when the program first serves or sets something.
pub(crate) fn told() -> &'static Config {
    static TOLD: OnceLock<Config> = OnceLock::new();
    TOLD.get_or_init(|| match std::env::var_os(VARIABLE) {
        Some(value) if !start::has_more_rights() => Config::parse(&value, &mut start::complain),
        _ => Config::default(),
    })
}

impl Config {
    /// Reads the variable's value; each setting that cannot be read is told to
    /// `complain` in one line.
    pub fn parse(value: &OsStr, complain: &mut dyn FnMut(String)) -> Self {
        let mut config = Self::default();
        let text = value.to_string_lossy();
        for setting in text
            .split(',')
            .map(str::trim)
            .filter(|setting| !setting.is_empty())
        {
            let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
            let (key, value) = (key.trim(), value.trim());
            if let Err(complaint) = config.set(key, value) {
                complain(complaint.text(key, value));
            }
        }
        config
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Complaint> {
        match key {
            "off" if value.is_empty() => self.all_off(),
            "off" => return Err("no value".into()),
            "heap" => {
                self.heap_period_bytes = Some(parse_heap_period(value).ok_or(A_HEAP_PERIOD)?);
            }
            "block" => self.block_period_nanos = Some(parse_period(value).ok_or(A_PERIOD)?),
            "mutex" => self.mutex_period_nanos = Some(parse_period(value).ok_or(A_PERIOD)?),
            "mutex_fraction" => {
                let one_in = match value {
                    "off" => Some(0),
                    number => number.parse().ok(),
                };
                self.mutex_one_in =
                    Some(one_in.ok_or("a whole number, such as 100 for one in a hundred, or off")?);
            }
            "taskblock" => {
                self.taskblock_period_nanos = Some(parse_period(value).ok_or(A_PERIOD)?);
            }
            "tasks" => self.tasks = Some(parse_switch(value).ok_or(A_SWITCH)?),
            "sleep" => self.sleep = Some(parse_switch(value).ok_or(A_SWITCH)?),
            "io" => self.io = Some(parse_switch(value).ok_or(A_SWITCH)?),
            "dump" => {
                self.dump = Some(parse_dump(value).ok_or(
                    "a signal such as SIGUSR2, or SIGUSR2:/a/directory, of those that a \
                     program may catch",
                )?);
            }
            "memory_limit" => {
                self.memory_limit_bytes = Some(parse_memory_limit(value).ok_or(A_MEMORY_LIMIT)?);
            }
            "depth" => {
                let depth = value
                    .parse()
                    .ok()
                    .filter(|depth| (1..=MOST_DEPTH).contains(depth));
                self.depth = Some(depth.ok_or("a number of frames from 1 to 1024")?);
            }
            "http" => {
                self.http = Some(match value {
                    "" => {
                        return Err("an address such as 127.0.0.1:6060, unix:/path, or off".into());
                    }
                    "off" => Http::Off,
                    address => Http::On(address.to_owned()),
                });
            }
            "trace" if value.is_empty() => return Err("the path of a file".into()),
            "trace" => self.trace = Some(value.into()),
            "token" if value.is_empty() => return Err("a secret of at least one character".into()),
            "token" => self.token = Some(value.to_owned()),
            key if LATER.contains(&key) => return Err(Complaint::Later),
            _ => return Err(Complaint::Unknown),
        }
        Ok(())
    }
}

impl Config {
    /// As if whatever records, serves or writes had been told `off`.
    fn all_off(&mut self) {
        let sizes = (self.depth, self.memory_limit_bytes, self.token.take());
        *self = Self {
            heap_period_bytes: Some(0),
            block_period_nanos: Some(0),
            mutex_period_nanos: Some(0),
            mutex_one_in: Some(0),
            taskblock_period_nanos: Some(0),
            tasks: Some(false),
            sleep: Some(false),
            io: Some(false),
            http: Some(Http::Off),
            ..Self::default()
        };
        (self.depth, self.memory_limit_bytes, self.token) = sizes;
    }
}

/// What a period of waits is, in the words of a complaint.
const A_PERIOD: &str = "a time such as 1ms, 1 for every wait, or off";
const A_SWITCH: &str = "on or off";

enum Complaint {
    Expected(&'static str),
    Later,
    Unknown,
}

impl From<&'static str> for Complaint {
    fn from(expected: &'static str) -> Self {
        Self::Expected(expected)
    }
}

impl Complaint {
    fn text(&self, key: &str, value: &str) -> String {
        // The value of `token` is never shown; it is refused only when empty.
        let setting = in_one_line(&format!("{VARIABLE}: `{key}={value}`"));
        match self {
            Self::Expected(expected) => format!("{setting}: expected {expected}; going on without"),
            Self::Later => {
                format!("{setting}: this version of everprof has no `{key}`; going on without")
            }
            Self::Unknown => {
                format!("{setting}: no such setting, known are {KNOWN}; going on without")
            }
        }
    }
}

/// The text with what would break the line, or act on a terminal, told by its escape.
fn in_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    line
}

fn parse_switch(text: &str) -> Option<bool> {
    match text {
        "on" | "1" | "true" => Some(true),
        "off" | "0" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(text: &str) -> (Config, Vec<String>) {
        let mut complaints = Vec::new();
        let config = Config::parse(OsStr::new(text), &mut |complaint| {
            complaints.push(complaint)
        });
        (config, complaints)
    }

    #[test]
    fn every_setting_is_read() {
        let (config, complaints) =
            parse("heap=64KiB, memory_limit=16MiB,depth=256,,http=unix:/run/x:1,token=a=b");
        assert_eq!(complaints, Vec::<String>::new());
        assert_eq!(config.heap_period_bytes, Some(64 << 10));
        assert_eq!(config.memory_limit_bytes, Some(16 << 20));
        assert_eq!(config.depth, Some(256));
        assert_eq!(config.http, Some(Http::On("unix:/run/x:1".into())));
        assert!(config.token.is_some());
    }

    #[test]
    fn nothing_told_is_nothing_set() {
        for text in ["", ",", " , "] {
            let (config, complaints) = parse(text);
            assert!(complaints.is_empty() && config.heap_period_bytes.is_none());
        }
        assert_eq!(parse("http=off").0.http, Some(Http::Off));
        assert_eq!(parse("heap=off").0.heap_period_bytes, Some(0));
    }

    #[test]
    fn off_alone_turns_all_off_but_what_is_told_behind_it() {
        let (config, complaints) = parse("depth=7,trace=x,off");
        assert_eq!(complaints, Vec::<String>::new());
        assert_eq!(config.heap_period_bytes, Some(0));
        assert_eq!(config.block_period_nanos, Some(0));
        assert_eq!(config.mutex_period_nanos, Some(0));
        assert_eq!(config.mutex_one_in, Some(0));
        assert_eq!(config.taskblock_period_nanos, Some(0));
        assert_eq!(config.tasks, Some(false));
        assert_eq!(config.http, Some(Http::Off));
        assert_eq!((config.depth, config.trace), (Some(7), None));
        let (config, _) = parse("off,heap=1MiB,http=127.0.0.1:0");
        assert_eq!(config.heap_period_bytes, Some(1 << 20));
        assert_eq!(config.http, Some(Http::On("127.0.0.1:0".into())));
        assert_eq!(config.block_period_nanos, Some(0));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_was_expected_and_left_out() {
        for (text, parts) in [
            (
                "heap=0x",
                &["`heap=0x`", "expected a size such as 512KiB"][..],
            ),
            ("heap", &["`heap=`", "expected a size"]),
            ("heap=-1", &["expected a size"]),
            ("heap=99999999999999999999", &["expected a size"]),
            ("memory_limit=1", &["from 1MiB to 32GiB"]),
            ("depth=0", &["from 1 to 1024"]),
            ("depth=1025", &["from 1 to 1024"]),
            ("http=", &["127.0.0.1:6060"]),
            ("token=", &["at least one character"]),
            ("block=1.5", &["expected a time such as 1ms"]),
            (
                "mutex=often",
                &["`mutex=often`", "expected a time such as 1ms"],
            ),
            ("mutex_fraction=-1", &["expected a whole number"]),
            ("sleep=yes", &["expected on or off"]),
            ("dump=SIGKILL", &["`dump=SIGKILL`", "may catch"]),
            ("dump=SIGUSR2:", &["SIGUSR2:/a/directory"]),
            ("dump=11", &["may catch"]),
            ("trace=", &["`trace=`", "expected the path of a file"]),
            ("tasks=2", &["`tasks=2`", "on or off"]),
            ("off=1", &["`off=1`", "expected no value"]),
            (
                "taskblock=soon",
                &["`taskblock=soon`", "a time such as 1ms"],
            ),
            ("blackbox=/run/x", &["no `blackbox`"]),
            (
                "haep=1",
                &["`haep=1`", "known are block, depth, dump, heap"],
            ),
        ] {
            let (config, complaints) = parse(text);
            assert_eq!(complaints.len(), 1, "{text}");
            for part in parts {
                assert!(complaints[0].contains(part), "{}", complaints[0]);
            }
            assert!(complaints[0].starts_with("EVERPROF: "));
            assert!(config.heap_period_bytes.is_none() && config.depth.is_none());
        }
    }

    #[test]
    fn complaint_is_one_line_whatever_was_given() {
        for text in [
            "he\nap=1",
            "heap=1\r\nforged",
            "depth=\u{1b}[2J",
            "x\u{85}=1",
        ] {
            let (_, complaints) = parse(text);
            assert_eq!(complaints.len(), 1, "{text:?}");
            assert!(!complaints[0].contains(char::is_control), "{complaints:?}");
        }
        assert!(parse("heap=1\nx").1[0].contains("`heap=1\\nx`"));
    }

    #[test]
    fn waits_have_periods_a_fraction_and_kinds() {
        let (config, complaints) = parse("block=10us,mutex=off,mutex_fraction=100,sleep=on,io=off");
        assert_eq!(complaints, Vec::<String>::new());
        assert_eq!(config.block_period_nanos, Some(10_000));
        assert_eq!(config.mutex_period_nanos, Some(0));
        assert_eq!(config.mutex_one_in, Some(100));
        assert_eq!((config.sleep, config.io), (Some(true), Some(false)));
        let (config, _) = parse("block=1,mutex=0,mutex_fraction=off");
        assert_eq!(config.block_period_nanos, Some(1));
        assert_eq!(config.mutex_period_nanos, Some(0));
        assert_eq!(config.mutex_one_in, Some(0));
        assert_eq!((config.sleep, config.io), (None, None));
    }

    #[test]
    fn one_bad_setting_does_not_take_the_good_ones_with_it() {
        let (config, complaints) = parse("heap=many,depth=64,=,x");
        assert_eq!((config.depth, complaints.len()), (Some(64), 3));
    }
}
