//! Units: sizes and times as people write them.
//!
//! Context: cold. Invariant: any text gives a number of bytes or of nanoseconds, or `None`;
//! nothing wraps or panics.

use std::time::Duration;

/// What is expected of [`parse_heap_period`].
#[doc(hidden)]
pub const A_HEAP_PERIOD: &str = "a size such as 512KiB, 1 for every allocation, or off";

/// Reads a size, or `off`, which is 0.
#[doc(hidden)]
pub fn parse_heap_period(text: &str) -> Option<u64> {
    match text {
        "off" => Some(0),
        size => parse_size(size),
    }
}

/// What is expected of [`parse_memory_limit`].
#[doc(hidden)]
pub const A_MEMORY_LIMIT: &str = "a size from 1MiB to 32GiB, such as 64MiB";

/// Reads a size that the recorders can keep their records in.
#[doc(hidden)]
pub fn parse_memory_limit(text: &str) -> Option<u64> {
    parse_size(text).filter(|size| (LEAST_MEMORY..=MOST_MEMORY).contains(size))
}

/// Holds a few hundred stacks and their objects: less would only count losses.
const LEAST_MEMORY: u64 = 1 << 20;

/// Offsets in the recorders' memory have 32 bits of 8 bytes each.
const MOST_MEMORY: u64 = 32 << 30;

/// Reads `512KiB`: digits, perhaps with a fraction, and a unit.
#[doc(hidden)]
pub fn parse_size(text: &str) -> Option<u64> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim());
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    scaled(number, unit)
}

/// Reads `60s`, `1.5m`, `200ms`; without a unit, seconds.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim());
    let nanos = match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "" | "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    };
    scaled(number, nanos).map(Duration::from_nanos)
}

/// Reads `1ms`; a bare number is of nanoseconds, `off` is 0.
#[doc(hidden)]
pub fn parse_period(text: &str) -> Option<u64> {
    if text == "off" {
        return Some(0);
    }
    if let Ok(nanos) = text.parse() {
        return Some(nanos);
    }
    // A fraction without a unit is less than a nanosecond, or a slip.
    let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
    let period = parse_duration(text).filter(|_| has_unit)?;
    u64::try_from(period.as_nanos()).ok()
}

/// `number` (decimal, perhaps with a fraction) times `unit`, rounded down.
/// None for what is no number or too great.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    // Nine digits say it to a billionth; more would overflow the product.
    let fraction = &fraction[..fraction.len().min(9)];
    let part: u64 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let part = u128::from(part) * u128::from(unit) / 10_u128.pow(fraction.len() as u32);
    whole
        .checked_mul(unit)?
        .checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_both_kinds() {
        for (text, size) in [
            ("0", 0),
            ("1", 1),
            ("512KiB", 512 << 10),
            ("512k", 512 << 10),
            ("1.5M", 3 << 19),
            ("2 MiB", 2 << 20),
            ("1G", 1 << 30),
            ("64kB", 64_000),
            ("1MB", 1_000_000),
            ("2gb", 2_000_000_000),
            ("1TiB", 1 << 40),
            ("3TB", 3_000_000_000_000),
            ("10B", 10),
            (".5K", 512),
            ("1.K", 1024),
        ] {
            assert_eq!(parse_size(text), Some(size), "{text}");
        }
        for text in [
            "",
            "KiB",
            ".",
            "1.2.3",
            "1X",
            "-1",
            "1e9",
            "20000000000G",
            "0x10",
            "12parsecs",
            "18014398509481984K",
            "ä",
            "1ä",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn heap_period_may_be_off_and_a_memory_limit_has_limits() {
        assert_eq!(parse_heap_period("off"), Some(0));
        assert_eq!(parse_heap_period("1"), Some(1));
        assert_eq!(parse_heap_period("on"), None);
        for (text, size) in [
            ("1MiB", Some(1 << 20)),
            ("32GiB", Some(32 << 30)),
            ("4096", None),
            ("33GiB", None),
            ("off", None),
        ] {
            assert_eq!(parse_memory_limit(text), size, "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, millis) in [
            ("60s", 60_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("200ms", 200),
            ("2", 2_000),
            ("1.5s", 1500),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in ["", "s", "1y", "-1s", "999999999999999999d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
