//! Ranges of sizes and times as they are typed: `1KiB..`, `..64`, `1s..2.5s`, `16..=32`.
//!
//! Invariant: as in Rust, `A..B` is without B and `A..=B` with it; one figure alone is just
//! that.

use std::ops::{Range, RangeInclusive};

use everprof::config::parse_size;

/// A range of bytes.
pub fn sizes(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (first, last, is_inclusive) = ends(text);
    let bytes = |text: &str| {
        parse_size(text)
            .ok_or_else(|| format!("`{text}`: expected bytes, as in 1KiB.., 64..4096 or ..1MiB"))
    };
    let least = match first {
        "" if last.is_some() => 0,
        first => bytes(first)?,
    };
    let most = match (last, is_inclusive) {
        (None, _) => least,
        (Some(""), _) => u64::MAX,
        (Some(last), true) => bytes(last)?,
        (Some(last), false) => match bytes(last)? {
            0 => return Err(empty(text)),
            limit => limit - 1,
        },
    };
    match least <= most {
        true => Ok(least..=most),
        false => Err(empty(text)),
    }
}

/// A range of nanoseconds from the start.
pub fn times(text: &str) -> Result<Range<u64>, String> {
    let (first, last, _) = ends(text);
    let Some(last) = last else {
        return Err(format!(
            "`{text}`: expected a range, as in 1s..2s or 500ms.."
        ));
    };
    let from = match first {
        "" => 0,
        first => nanos(first)?,
    };
    let until = match last {
        "" => u64::MAX,
        last => nanos(last)?,
    };
    match from < until {
        true => Ok(from..until),
        false => Err(empty(text)),
    }
}

/// What stands before and behind `..`, and whether that is `..=`.
fn ends(text: &str) -> (&str, Option<&str>, bool) {
    match text.split_once("..") {
        None => (text.trim(), None, true),
        Some((first, last)) => match last.strip_prefix('=') {
            Some(last) => (first.trim(), Some(last.trim()), true),
            None => (first.trim(), Some(last.trim()), false),
        },
    }
}

fn empty(text: &str) -> String {
    format!("`{text}` is empty: expected the smaller figure first")
}

/// `1.5s`, `20ms`, `300us`, `40ns`, `2m`.
fn nanos(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}`: expected a time, as in 1s..2s, 500ms.. or ..1.5m");
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic() || c == 'µ');
    let (number, unit) = text.split_at(unit_at.ok_or_else(wrong)?);
    let scale = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        _ => return Err(wrong()),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    match number.is_finite() && number >= 0.0 {
        true => Ok((number * scale).round() as u64),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_read_as_ranges_of_rust() {
        for (text, sizes) in [
            ("64", 64..=64),
            ("1KiB..", 1024..=u64::MAX),
            ("..64", 0..=63),
            ("..=64", 0..=64),
            ("16..1MiB", 16..=(1 << 20) - 1),
            ("..", 0..=u64::MAX),
        ] {
            assert_eq!(super::sizes(text), Ok(sizes), "{text}");
        }
        for text in ["", "x..", "..0", "64..64", "2..1", "1s.."] {
            assert!(super::sizes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, times) in [
            ("1s..2.5s", 1_000_000_000..2_500_000_000),
            ("..20ms", 0..20_000_000),
            ("3us..", 3_000..u64::MAX),
            ("1m..1h", 60_000_000_000..3_600_000_000_000),
        ] {
            assert_eq!(super::times(text), Ok(times), "{text}");
        }
        for text in ["1s", "1..2", "2s..1s", "-1s..", "nans..", "1s..1s"] {
            assert!(super::times(text).is_err(), "{text}");
        }
    }
}
