//! Units: figures as people read them.
//!
//! Context: cold.
//! Invariant: a rounded figure is within half of its last digit; `0` is printed for zero
//! only.

/// A figure in its unit: `12.3 MiB`, `4.50 ms`, `1,234`.
pub fn format(value: i64, unit: &str) -> String {
    format_float(value as f64, unit)
}

/// A figure that may be no whole number, such as an error bar.
pub fn format_float(value: f64, unit: &str) -> String {
    let sign = if value < 0.0 { "-" } else { "" };
    let value = value.abs();
    let scaled = |scales: &[(f64, &str)]| {
        // The largest scale that leaves at least 1, after rounding to three digits.
        let &(scale, name) = scales
            .iter()
            .rev()
            .find(|(scale, _)| value >= scale * 0.9995)
            .unwrap_or(&scales[0]);
        match value {
            whole if scale == 1.0 && whole.fract() == 0.0 => {
                format!("{sign}{} {name}", grouped(whole))
            }
            value => format!("{sign}{} {name}", digits(value / scale)),
        }
    };
    match unit {
        "bytes" => scaled(BYTES),
        "nanoseconds" => scaled(NANOSECONDS),
        "count" | "" => format!("{sign}{}", grouped(value)),
        unit => format!("{sign}{} {unit}", grouped(value)),
    }
}

/// A figure with its sign, for growth.
pub fn format_signed(value: i64, unit: &str) -> String {
    match value {
        1.. => format!("+{}", format(value, unit)),
        _ => format(value, unit),
    }
}

/// A share of the whole, in percent.
pub fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// Three significant digits.
fn digits(value: f64) -> String {
    if value >= 99.95 {
        grouped(value)
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// A whole number in groups of three digits.
fn grouped(value: f64) -> String {
    if value > 0.0 && value < 0.5 {
        return "<1".to_owned();
    }
    let digits = format!("{value:.0}");
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

const BYTES: &[(f64, &str)] = &[
    (1.0, "B"),
    (1024.0, "KiB"),
    (1_048_576.0, "MiB"),
    (1_073_741_824.0, "GiB"),
    (1_099_511_627_776.0, "TiB"),
];
const NANOSECONDS: &[(f64, &str)] = &[(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        for (value, unit, expected) in [
            (0, "bytes", "0 B"),
            (1, "bytes", "1 B"),
            (999, "bytes", "999 B"),
            (1024, "bytes", "1.00 KiB"),
            (12_897_484, "bytes", "12.3 MiB"),
            (1_048_575, "bytes", "1.00 MiB"),
            (-3 << 30, "bytes", "-3.00 GiB"),
            (1500, "nanoseconds", "1.50 µs"),
            (90_000_000_000, "nanoseconds", "90.0 s"),
            (1_234_567, "count", "1,234,567"),
            (-12, "count", "-12"),
            (5, "widgets", "5 widgets"),
            (i64::MAX, "bytes", "8,388,608 TiB"),
            (i64::MIN, "bytes", "-8,388,608 TiB"),
        ] {
            assert_eq!(format(value, unit), expected);
        }
    }

    #[test]
    fn growth_carries_its_sign() {
        assert_eq!(format_signed(2048, "bytes"), "+2.00 KiB");
        assert_eq!(format_signed(0, "count"), "0");
        assert_eq!(format_signed(-7, "count"), "-7");
    }

    #[test]
    fn small_bars_do_not_vanish() {
        assert_eq!(format_float(0.2, "count"), "<1");
        assert_eq!(format_float(0.2, "bytes"), "0.20 B");
    }
}
