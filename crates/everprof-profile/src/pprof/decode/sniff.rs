//! Sniffing: what else the bytes are that are no profile, and where to get one.
//!
//! Context: cold. Invariant: it only looks; what may be a profile is none of these.

use crate::Error;

/// What the bytes are, where that can be told, and where to get a profile instead.
pub(super) fn not_a_profile(bytes: &[u8]) -> Option<Error> {
    let start = bytes.trim_ascii_start();
    let lower = start[..start.len().min(16)].to_ascii_lowercase();
    let text = match &lower[..] {
        [b'<', ..] => "an HTML page",
        [b'{' | b'[', ..] => "JSON",
        [0x7f, b'e', b'l', b'f', ..] => "an ELF program",
        _ if lower.starts_with(b"heap profile:") || lower.starts_with(b"--- ") => {
            return Some(Error::malformed(
                "the input is a profile in text form, expected gzip'd profile.proto; fetch it \
                 without `debug=`",
            ));
        }
        _ => {
            let text = std::str::from_utf8(&bytes[..bytes.len().min(80)]).ok()?;
            let line = text.lines().next().unwrap_or_default();
            if line.is_empty() || line.chars().any(char::is_control) {
                return None;
            }
            return Some(Error::malformed(format!(
                "the input is text that begins `{line}`, expected a pprof profile; check the \
                 URL or file name"
            )));
        }
    };
    Some(Error::malformed(format!(
        "the input is {text}, expected a pprof profile; check the URL or file name (profiles \
         are under /debug/pprof/, as /debug/pprof/heap)"
    )))
}
