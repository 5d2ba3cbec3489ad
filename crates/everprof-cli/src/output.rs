//! Output: tables that fit the terminal, JSON, Markdown, and files.
//!
//! Invariant: nothing that a profile holds reaches a terminal unescaped; a pipe gets whole
//! names; figures in JSON are raw numbers.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use everprof_profile::errorbars::Estimate;
use everprof_profile::report::Selection;
use everprof_profile::report::units::{format, format_float};
use serde_json::{Value, json};

use crate::error::Error;

mod date;
mod printable;
mod progress;
mod table;

pub use date::date;
pub use printable::{padded, printable, printable_lines, shortened, width};
pub use progress::Progress;
pub use table::{Table, code};

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people
    #[default]
    Text,
    /// Raw figures for programs
    Json,
    /// A table for a README or an issue
    Md,
}

/// Writes a finished report to standard output.
pub fn print(report: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(report.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|source| Error::new("cannot write to standard output").because(source))
}

/// Writes JSON to standard output, one line.
pub fn print_json(value: &Value) -> Result<(), Error> {
    print(&format!("{value}\n"))
}

/// Has `write` write to the file, or to standard output if none is given and that is no
/// terminal: a terminal is no place for a picture or a compressed file.
pub fn write_to(
    file: Option<&Path>,
    command: &str,
    suffix: &str,
    write: impl FnOnce(&mut dyn Write) -> Result<(), everprof_profile::Error>,
) -> Result<(), Error> {
    match file {
        Some(path) => {
            let unwritable = |source: io::Error| {
                Error::new(format!("cannot write `{}`", path.display())).because(source)
            };
            let mut bytes = Vec::new();
            // Written when it is whole: an error must not leave half a file behind.
            write(&mut bytes)?;
            let mut out = File::create(path).map_err(unwritable)?;
            out.write_all(&bytes).map_err(unwritable)
        }
        None if io::stdout().is_terminal() => Err(Error::new(
            "standard output is a terminal: expected a file, or a pipe",
        )
        .hint(format!("everprof {command} … -o profile.{suffix}"))),
        None => Ok(write(&mut io::stdout().lock())?),
    }
}

/// Columns of the terminal that standard output is; none when it is a pipe or a file.
pub fn columns() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let told = std::env::var("COLUMNS").ok().and_then(|n| n.parse().ok());
    let asked = || {
        let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
        Some(usize::from(size.ws_col))
    };
    told.or_else(asked).filter(|&columns| columns > 0)
}

/// A figure with its bar, such as `12.3 MiB ± 0.80 MiB`.
pub fn with_bar(selection: &Selection, estimate: &Estimate) -> String {
    let figure = format(estimate.value, &selection.unit);
    match bar(selection.has_error_bars, &selection.unit, estimate) {
        bar if bar.is_empty() => figure,
        bar => format!("{figure} {bar}"),
    }
}

/// The bar alone, `± 0.80 MiB`; nothing where it is not known, or where the figure is exact
/// to its last digit.
pub fn bar(has_error_bars: bool, unit: &str, estimate: &Estimate) -> String {
    match has_error_bars && estimate.error() >= 0.5 {
        true => format!("± {}", format_float(estimate.error(), unit)),
        false => String::new(),
    }
}

/// `{"value": …, "error": …}`, where the error is null if it is not known.
pub fn json_estimate(has_error_bars: bool, estimate: &Estimate) -> Value {
    let error = has_error_bars.then(|| estimate.error());
    json!({ "value": estimate.value, "error": error })
}

/// What all reports say of their selection, as JSON.
pub fn json_head(report: &str, input: &str, selection: &Selection) -> Value {
    json!({
        "report": report,
        "input": input,
        "sample_type": selection.kind,
        "unit": selection.unit,
        "total": json_estimate(selection.has_error_bars, &selection.total),
        "period": { "value": selection.period.0, "unit": selection.period.1 },
        "time_nanos": selection.time_nanos,
        "duration_nanos": selection.duration_nanos,
    })
}

/// What all reports say of their selection, in words.
pub fn head(input: &str, selection: &Selection) -> String {
    let mut words = format!(
        "{input}: {} {}",
        selection.kind,
        with_bar(selection, &selection.total)
    );
    if let (period @ 2.., unit) = &selection.period {
        words.push_str(&format!(", one sample in {}", format(*period, unit)));
    }
    if selection.duration_nanos > 0 {
        let lasted = format(selection.duration_nanos, "nanoseconds");
        words.push_str(&format!(", over {lasted}"));
    }
    if selection.time_nanos > 0 {
        words.push_str(&format!(", taken {}", date(selection.time_nanos)));
    }
    printable(&words)
}

/// A word to the user that is no part of the report.
pub fn note(text: &str) {
    // Nobody left to read it is no reason to fail.
    let _ = writeln!(io::stderr(), "everprof: {}", printable(text));
}

/// Why the command failed.
pub fn complain(error: &Error) {
    let _ = writeln!(io::stderr(), "everprof: {error}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_below_the_last_digit_are_none() {
        let of_variance = |variance| Estimate {
            value: 1 << 20,
            variance,
            lump: 0.0,
        };
        assert_eq!(bar(true, "bytes", &of_variance(0.01)), "");
        assert_eq!(bar(true, "bytes", &of_variance(1e6)), "± 1.91 KiB");
        assert_eq!(bar(false, "bytes", &of_variance(1e6)), "");
    }
}
