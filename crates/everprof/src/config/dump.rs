//! What `dump=` says: a signal, by its name or number, and perhaps a directory.
//!
//! Context: cold. Invariant: a signal that is read can be caught and tells of no fault.

use std::path::PathBuf;

/// What is to be written at a signal.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// The signal's number.
    pub signal: i32,
    /// Where every profile is to be written; none: threads' stacks, to stderr.
    pub directory: Option<PathBuf>,
}

/// Reads `SIGUSR2` or `SIGUSR2:/var/tmp/prof`.
pub(super) fn parse_dump(text: &str) -> Option<Dump> {
    let (signal, directory) = match text.split_once(':') {
        Some((_, "")) => return None,
        Some((signal, directory)) => (signal, Some(directory.into())),
        None => (text, None),
    };
    Some(Dump {
        signal: parse_signal(signal)?,
        directory,
    })
}

/// Reads `SIGUSR2`, `usr2` or `12`: a signal that can be caught and tells of no fault.
fn parse_signal(text: &str) -> Option<i32> {
    const NAMES: [(&str, i32); 12] = [
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("ALRM", libc::SIGALRM),
        ("TERM", libc::SIGTERM),
        ("CONT", libc::SIGCONT),
        ("URG", libc::SIGURG),
        ("VTALRM", libc::SIGVTALRM),
        ("WINCH", libc::SIGWINCH),
        ("IO", libc::SIGIO),
    ];
    if let Ok(number) = text.parse::<i32>() {
        let is_named = NAMES.iter().any(|&(_, known)| known == number);
        return (is_named || is_realtime(number)).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let found = NAMES.iter().find(|&&(known, _)| known == name);
    found.map(|&(_, number)| number)
}

/// Whether a signal queues, and carries a word.
#[cfg(target_os = "linux")]
pub(crate) fn is_realtime(number: i32) -> bool {
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number)
}

/// As its twin: there are none.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_realtime(_: i32) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_has_a_signal_and_perhaps_a_directory() {
        let expected = |signal, directory: Option<&str>| {
            Some(Dump {
                signal,
                directory: directory.map(PathBuf::from),
            })
        };
        assert_eq!(
            parse_dump("SIGUSR2:/var/tmp/a:b"),
            expected(libc::SIGUSR2, Some("/var/tmp/a:b"))
        );
        for text in ["SIGQUIT", "quit", "3"] {
            assert_eq!(parse_dump(text), expected(libc::SIGQUIT, None), "{text}");
        }
        for text in ["", "9", "SIGSEGV", "-1", ":/tmp"] {
            assert_eq!(parse_dump(text), None, "{text}");
        }
    }
}
