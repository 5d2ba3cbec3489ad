//! What the command line tells the library, in one environment variable.
//!
//! Context: cold, before `main`; borrows, allocates nothing.
//! Invariant: a line is read whole or not at all. It is
//! `key=value;key=value;…`. `http` comes last and takes the rest as it stands,
//! because a socket's path may contain anything. The command line and the
//! library travel in one binary, so a key that is not known is a mistake here
//! and the library stays dormant.

/// The variable's name, with the equals sign.
pub(crate) const VARIABLE: &[u8] = b"EVERPROF_RUN=";

/// Settings of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings<'a> {
    /// Mean bytes between samples; 0 is off.
    pub(crate) heap_period: u64,
    /// Which waits are recorded.
    pub(crate) waits: Waits,
    /// Deepest stack that is kept.
    pub(crate) depth: usize,
    /// Bytes that the recorder may use.
    pub(crate) memory_limit: usize,
    /// Whether processes that the program starts are profiled too.
    pub(crate) children: bool,
    /// The command line's process id. 0 is nobody's.
    pub(crate) runner: u32,
    /// Name of the command line's socket, in the abstract namespace.
    pub(crate) socket: &'a [u8],
    /// The library's own path, as it stands in `LD_PRELOAD`.
    pub(crate) library: &'a [u8],
    /// The signal at which a dump is written; 0: none.
    pub(crate) dump: i32,
    /// Where every profile is written then; none: threads' stacks, to stderr.
    pub(crate) dump_directory: Option<&'a [u8]>,
    /// The file that every allocation and free is written to.
    pub(crate) trace: Option<&'a [u8]>,
    /// Where to serve, if anywhere.
    pub(crate) http: Option<&'a [u8]>,
}

/// Settings of the recorder of waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    /// The shortest wait that is always recorded, in nanoseconds; 0 is off.
    pub(crate) block_period_nanos: u64,
    /// The same, of waits that an unlock ended.
    pub(crate) mutex_period_nanos: u64,
    /// One in how many of these is recorded; 0: the period decides.
    pub(crate) mutex_one_in: u64,
    /// Whether sleeping is a wait.
    pub(crate) sleep: bool,
    /// Whether waiting for input is a wait.
    pub(crate) io: bool,
}

impl<'a> Settings<'a> {
    /// Reads a line. `None`: something is missing, unknown or no number.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut settings = Self {
            heap_period: 0,
            waits: Waits::default(),
            depth: 0,
            memory_limit: 0,
            children: false,
            runner: 0,
            socket: b"",
            library: b"",
            dump: 0,
            dump_directory: None,
            trace: None,
            http: None,
        };
        let mut rest = line;
        while !rest.is_empty() {
            if let Some(address) = rest.strip_prefix(b"http=") {
                settings.http = Some(address);
                break;
            }
            let end = rest
                .iter()
                .position(|byte| *byte == b';')
                .unwrap_or(rest.len());
            let (pair, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or(b"");
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (&pair[..equals], &pair[equals + 1..]);
            match key {
                b"heap" => settings.heap_period = number(value)?,
                b"block" => settings.waits.block_period_nanos = number(value)?,
                b"mutex" => settings.waits.mutex_period_nanos = number(value)?,
                b"fraction" => settings.waits.mutex_one_in = number(value)?,
                b"sleep" => settings.waits.sleep = number(value)? != 0,
                b"io" => settings.waits.io = number(value)? != 0,
                b"depth" => settings.depth = usize::try_from(number(value)?).ok()?,
                b"limit" => settings.memory_limit = usize::try_from(number(value)?).ok()?,
                b"children" => settings.children = number(value)? != 0,
                b"runner" => settings.runner = u32::try_from(number(value)?).ok()?,
                b"socket" => settings.socket = value,
                b"library" => settings.library = value,
                b"dump" => settings.dump = i32::try_from(number(value)?).ok()?,
                b"dump_directory" => settings.dump_directory = Some(value),
                b"trace" => settings.trace = Some(value),
                _ => return None,
            }
        }
        let whole = !settings.socket.is_empty()
            && !settings.library.is_empty()
            && settings.depth > 0
            && settings.memory_limit > 0;
        whole.then_some(settings)
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::multiple_unsafe_ops_per_block)]
    use super::*;

    const LINE: &[u8] = b"heap=1;block=2;mutex=3;fraction=4;sleep=1;io=0;depth=128;limit=4096;children=1;runner=7;socket=everprof-7;\
library=/proc/7/fd/3;dump=12;dump_directory=/tmp/a=b;trace=/tmp/t;http=unix:/tmp/a;b=c";

    #[test]
    fn reads_every_key_and_leaves_the_address_as_it_stands() {
        let expected = Settings {
            heap_period: 1,
            waits: Waits {
                block_period_nanos: 2,
                mutex_period_nanos: 3,
                mutex_one_in: 4,
                sleep: true,
                io: false,
            },
            depth: 128,
            memory_limit: 4096,
            children: true,
            runner: 7,
            socket: b"everprof-7",
            library: b"/proc/7/fd/3",
            dump: 12,
            dump_directory: Some(b"/tmp/a=b"),
            trace: Some(b"/tmp/t"),
            http: Some(b"unix:/tmp/a;b=c"),
        };
        assert_eq!(Settings::parse(LINE), Some(expected));
    }

    #[test]
    fn refuses_what_is_not_whole() {
        for bad in [
            &b""[..],
            b"heap=1",
            b"heap=x;depth=1;limit=1;socket=s;library=l",
            b"heap=1;depth=1;limit=1;socket=s",
            b"heap=1;depth=1;limit=1;socket=s;library=l;colour=red",
            b"heap",
        ] {
            assert_eq!(
                Settings::parse(bad),
                None,
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
    }
}
