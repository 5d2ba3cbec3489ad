//! Input: a profile from a file, a URL or standard input.
//!
//! Invariant: nothing that comes in is trusted: its size is bounded before it is decoded,
//! and what is no profile is refused with a word about what it is instead.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use everprof_profile::{Profile, pprof};

use crate::error::Error;
use crate::output::Progress;

/// Where a profile comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// An `http://` address.
    Url(String),
    /// Standard input, `-`.
    Stdin,
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(given: &str) -> Result<Source, Self::Err> {
        Ok(Source::parse(given, "heap"))
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Url(url) => f.write_str(url),
            Source::Stdin => f.write_str("standard input"),
        }
    }
}

impl Source {
    /// Where a user's word leads; the bare address of a server means its profile `name`.
    pub fn parse(given: &str, name: &str) -> Source {
        let scheme = given.split_once("://").map(|(scheme, _)| scheme);
        match (given, scheme) {
            ("-", _) => Source::Stdin,
            (url, Some(scheme)) if !scheme.contains('/') => Source::Url(completed(url, name)),
            (file, _) => Source::File(file.into()),
        }
    }

    /// Reads and decodes the profile, if it has at most so many MiB when decompressed.
    pub fn read(&self, most_mib: u32) -> Result<Profile, Error> {
        let most_bytes = u64::from(most_mib) << 20;
        let bytes = match self {
            Source::File(path) => read_file(path, most_bytes)?,
            Source::Url(url) => read_url(url, most_bytes)?,
            Source::Stdin => read_stdin(most_bytes)?,
        };
        if bytes.is_empty() {
            return Err(Error::new(format!(
                "`{self}` is empty: expected a profile in pprof's format"
            )));
        }
        if bytes.starts_with(TRACE) {
            return Err(Error::new(format!(
                "`{self}` is a trace of every allocation: expected a profile"
            ))
            .hint(match self {
                Source::File(path) => format!("everprof trace {} --peak", path.display()),
                _ => "everprof trace - --peak".to_owned(),
            }));
        }
        let mut limits = pprof::Limits::default();
        if most_bytes > limits.max_bytes {
            // Who raises the limit trusts the profile, however well it was compressed.
            limits.max_ratio = u64::MAX;
        }
        limits.max_bytes = most_bytes;
        pprof::decode(&bytes, &limits).map_err(|error| {
            if error.is_limit() {
                return too_large(&self.to_string(), most_mib);
            }
            let error = Error::new(format!("`{self}`: {error}")).because(error);
            match self {
                Source::Url(url) if url.contains("debug=") => {
                    error.hint(format!("everprof top '{}'", without_debug(url)))
                }
                Source::Url(url) => error.hint(format!("curl -i '{url}' | head")),
                Source::File(path) => error.hint(format!(
                    "curl -sfo {} http://localhost:6060/debug/pprof/heap   (if it came from there)",
                    path.display()
                )),
                Source::Stdin => {
                    error.hint("curl -sf http://localhost:6060/debug/pprof/heap | everprof top -")
                }
            }
        })
    }
}

fn too_large(name: &str, most_mib: u32) -> Error {
    Error::new(format!(
        "`{name}` is a bomb, or has more than {most_mib} MiB when decompressed"
    ))
    .hint(format!(
        "--max-mib {}   (if you trust where it comes from)",
        most_mib.saturating_mul(8).max(1024)
    ))
}

fn completed(url: &str, name: &str) -> String {
    let (place, query) = match url.split_once('?') {
        Some((place, query)) => (place, format!("?{query}")),
        None => (url, String::new()),
    };
    let after_scheme = place.split_once("://").map_or(place, |(_, rest)| rest);
    if after_scheme.trim_start_matches('/').is_empty() {
        // No host: told as it was given.
        return url.to_owned();
    }
    let path = after_scheme.split_once('/').map_or("", |(_, path)| path);
    match path.trim_end_matches('/') {
        "" => format!("{}/debug/pprof/{name}{query}", place.trim_end_matches('/')),
        "debug/pprof" => format!("{}/{name}{query}", place.trim_end_matches('/')),
        _ => url.to_owned(),
    }
}

fn read_file(path: &Path, most_bytes: u64) -> Result<Vec<u8>, Error> {
    let unreadable = |source: io::Error| {
        let is_missing = source.kind() == io::ErrorKind::NotFound;
        let error = Error::new(format!("cannot read `{}`", path.display())).because(source);
        match path.to_str() {
            Some(given) if given.starts_with(UNIX) => error.hint(format!(
                "curl -s --unix-socket '{}' http://localhost/debug/pprof/heap | everprof top -",
                &given[UNIX.len()..]
            )),
            // `localhost:6060` for `http://localhost:6060` is an easy slip.
            Some(given) if is_address(given) => error.hint(format!("everprof top http://{given}")),
            _ if is_missing => {
                error.hint("everprof run -o out -- PROGRAM   (makes out/heap.pb.gz)")
            }
            _ => error,
        }
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        let error = Error::new(format!(
            "`{}` is a directory: expected a profile, or its URL",
            path.display()
        ));
        let inside = path.join("heap.pb.gz");
        return Err(match inside.is_file() {
            true => error.hint(format!("everprof top {}", inside.display())),
            false => error,
        });
    }
    let file = File::open(path).map_err(unreadable)?;
    bounded(file, &path.display().to_string(), most_bytes)
}

fn read_stdin(most_bytes: u64) -> Result<Vec<u8>, Error> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(
            Error::new("`-` is the terminal: expected a profile on standard input")
                .hint("curl -s http://localhost:6060/debug/pprof/heap | everprof top -"),
        );
    }
    bounded(stdin.lock(), "standard input", most_bytes)
}

fn bounded(reader: impl Read, name: &str, most_bytes: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    reader
        .take(most_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::new(format!("cannot read `{name}`")).because(source))?;
    if bytes.len() as u64 > most_bytes {
        return Err(too_large(name, (most_bytes >> 20) as u32));
    }
    Ok(bytes)
}

fn read_url(url: &str, most_bytes: u64) -> Result<Vec<u8>, Error> {
    if url.trim_end_matches('/') == "http:" {
        return Err(
            Error::new(format!("`{url}`: expected a host behind http://"))
                .hint("everprof top http://localhost:6060"),
        );
    }
    if !url.starts_with("http://") {
        let error = Error::new(format!(
            "`{url}`: expected an address that begins with http://"
        ));
        return Err(match url.starts_with("https://") {
            true => error.hint(format!("curl -sf '{url}' | everprof top -")),
            false => error,
        });
    }
    let seconds = asked_seconds(url);
    let _progress = Progress::start(match seconds {
        0 => format!("reading {url}"),
        seconds => format!("recording for {seconds} s at {url}"),
    });
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("everprof/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT_TIME))
        .timeout_global(Some(ANSWER_TIME + Duration::from_secs(seconds)))
        .build()
        .into();
    let failed = |source: ureq::Error| {
        let error = Error::new(format!("cannot read `{url}`")).because(source);
        match url.split_once("/debug/pprof/") {
            Some((server, _)) => error.hint(format!(
                "curl -i {server}/debug/pprof/   (does the program serve there?)"
            )),
            None => error,
        }
    };
    let mut response = agent.get(url).call().map_err(failed)?;
    let status = response.status();
    let body = response
        .body_mut()
        .with_config()
        .limit(most_bytes)
        .read_to_vec();
    if !status.is_success() {
        let body = body.unwrap_or_default();
        return Err(refused(
            url,
            status.as_u16(),
            &String::from_utf8_lossy(&body),
        ));
    }
    body.map_err(failed)
}

/// The server's own words for a status that is no success.
fn refused(url: &str, status: u16, body: &str) -> Error {
    let words = body
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('<'))
        .map(|line| line.chars().take(200).collect::<String>());
    let words = words.map_or(String::new(), |words| format!(" ({words})"));
    let error = Error::new(format!(
        "`{url}` answers {status}{words}: expected a profile"
    ));
    match (status, url.split_once("/debug/pprof/")) {
        (401 | 403, _) => error.hint(format!(
            "curl -sf -H 'Authorization: Bearer TOKEN' '{url}' | everprof top -"
        )),
        (404, Some((server, _))) => error.hint(format!("curl {server}/debug/pprof/")),
        _ => error,
    }
}

/// The seconds that the server is asked to record for, and so to wait.
fn asked_seconds(url: &str) -> u64 {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("seconds="))
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(0)
        .min(MOST_SECONDS)
}

fn without_debug(url: &str) -> String {
    let Some((place, query)) = url.split_once('?') else {
        return url.to_owned();
    };
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.starts_with("debug="))
        .collect();
    match kept.is_empty() {
        true => place.to_owned(),
        false => format!("{place}?{}", kept.join("&")),
    }
}

/// Whether it looks like `host:port`, perhaps with a path.
fn is_address(given: &str) -> bool {
    let host_and_port = given.split('/').next().unwrap_or_default();
    host_and_port
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// What a trace begins with (docs/trace-format.md).
const TRACE: &[u8] = b"everprof-trace\n";
/// How a program's own socket is called where it serves; curl reads those.
const UNIX: &str = "unix:";
/// A server that does not take the connection in this time will not.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Besides the seconds that were asked for: naming a large program's addresses for the
/// first time takes seconds.
const ANSWER_TIME: Duration = Duration::from_secs(120);
/// A day: beyond that a time-out is no time-out.
const MOST_SECONDS: u64 = 86_400;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bare_servers_mean_their_heap() {
        for (given, meant) in [
            ("http://h:6060", "http://h:6060/debug/pprof/heap"),
            ("http://h:6060/", "http://h:6060/debug/pprof/heap"),
            ("http://h/debug/pprof", "http://h/debug/pprof/heap"),
            ("http://h/debug/pprof/", "http://h/debug/pprof/heap"),
            ("http://h?seconds=3", "http://h/debug/pprof/heap?seconds=3"),
            ("http://h/debug/pprof/allocs", "http://h/debug/pprof/allocs"),
            ("http://h/other", "http://h/other"),
        ] {
            assert_eq!(given.parse(), Ok(Source::Url(meant.to_owned())));
        }
        let threads = Source::parse("http://h:6060", "threads");
        let meant = "http://h:6060/debug/pprof/threads";
        assert_eq!(threads, Source::Url(meant.to_owned()));
    }

    #[test]
    fn files_may_have_odd_names() {
        for file in ["heap.pb.gz", "./a/b://c", "h:6060"] {
            assert_eq!(file.parse(), Ok(Source::File(file.into())));
        }
        assert_eq!("-".parse(), Ok(Source::Stdin));
    }

    #[test]
    fn seconds_lengthen_the_wait() {
        assert_eq!(asked_seconds("http://h/p?debug=0&seconds=30"), 30);
        assert_eq!(asked_seconds("http://h/p?seconds=x"), 0);
        assert_eq!(
            asked_seconds("http://h/p?seconds=99999999999"),
            MOST_SECONDS
        );
    }

    #[test]
    fn text_form_is_told_apart() {
        assert_eq!(without_debug("http://h/p?debug=1"), "http://h/p");
        assert_eq!(without_debug("http://h/p?a=1&debug=1"), "http://h/p?a=1");
    }

    #[test]
    fn addresses_without_a_scheme_are_recognised() {
        assert!(is_address("localhost:6060"));
        assert!(is_address("localhost:6060/debug/pprof/heap"));
        assert!(!is_address("heap.pb.gz") && !is_address("a:b"));
    }
}
