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
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::error::Error;

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

/// Text without anything that steers a terminal: control characters, and those that turn
/// the direction of writing, are written as escapes.
pub fn printable(text: &str) -> String {
    let is_harmful = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_harmful) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| match is_harmful(c) {
            true => c.escape_unicode().to_string(),
            false => c.to_string(),
        })
        .collect()
}

/// As `printable`, of text whose tabs indent its lines.
pub fn printable_lines(text: &str) -> String {
    let parts: Vec<String> = text.split('\t').map(printable).collect();
    parts.join("\t")
}

/// How many columns a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text with blanks behind it, so that it takes that many columns at least.
pub fn padded(text: &str, columns: usize) -> String {
    let room = columns.saturating_sub(text.width());
    format!("{text}{}", " ".repeat(room))
}

/// Rows of text under headings. All columns but the last `left` ones stand to the right.
#[derive(Debug)]
pub struct Table {
    headings: Vec<&'static str>,
    left: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table of these columns.
    pub fn new(headings: &[&'static str], left: usize) -> Table {
        Table {
            headings: headings.to_vec(),
            left,
            rows: Vec::new(),
        }
    }

    /// Adds a row of as many cells as there are headings.
    pub fn push(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.headings.len());
        self.rows
            .push(cells.iter().map(|cell| printable(cell)).collect());
    }

    /// Leaves out the columns in which no row has anything.
    pub fn without_empty_columns(mut self) -> Table {
        let is_used = |column: usize| self.rows.iter().any(|row| !row[column].is_empty());
        let used: Vec<bool> = (0..self.headings.len()).map(is_used).collect();
        let first_left = self.headings.len() - self.left;
        self.left = used[first_left..].iter().filter(|&&used| used).count();
        let mut n = 0..;
        self.headings.retain(|_| n.next().is_some_and(|n| used[n]));
        for row in &mut self.rows {
            let mut n = 0..;
            row.retain(|_| n.next().is_some_and(|n| used[n]));
        }
        self
    }

    /// As aligned columns, with cells shortened in the middle to fit `columns`.
    pub fn text(&self, columns: Option<usize>) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|cell| cell.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let first_left = widths.len() - self.left;
        if let Some(columns) = columns {
            shrink(&mut widths, first_left, columns);
        }
        let mut out = String::new();
        let headings = self
            .headings
            .iter()
            .map(|cell| (*cell).to_owned())
            .collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            for (n, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                if n > 0 {
                    line.push_str("  ");
                }
                let cell = shortened(cell, width);
                let room = " ".repeat(width - cell.width());
                match n < first_left {
                    true => line.extend([room.as_str(), &cell]),
                    false => line.extend([cell.as_str(), &room]),
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    /// As a table of Markdown.
    pub fn markdown(&self) -> String {
        let first_left = self.headings.len() - self.left;
        let mut out = format!("| {} |\n|", self.headings.join(" | "));
        for n in 0..self.headings.len() {
            out.push_str(if n < first_left { " ---: |" } else { " --- |" });
        }
        out.push('\n');
        for row in &self.rows {
            out.push('|');
            for (n, cell) in row.iter().enumerate() {
                let cell = match self.headings[n] {
                    "name" | "at" => code(cell),
                    _ => cell.clone(),
                };
                out.push_str(&format!(" {cell} |"));
            }
            out.push('\n');
        }
        out
    }
}

/// Names as Markdown's code, for they are full of what Markdown takes for its own.
pub fn code(text: &str) -> String {
    let text = text.trim_end().replace('|', "\\|").replace('\n', " ");
    if text.is_empty() {
        return text;
    }
    // A name with a backtick needs a longer fence than its longest run of them.
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    match longest {
        0 => format!("{fence}{text}{fence}"),
        _ => format!("{fence} {text} {fence}"),
    }
}

/// Takes width from the left-standing columns until the row fits, from the last one first
/// (places in the source matter less than names), but leaves each enough to be read.
fn shrink(widths: &mut [usize], first_left: usize, columns: usize) {
    let gaps = 2 * widths.len().saturating_sub(1);
    let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(columns);
    for width in widths[first_left..].iter_mut().rev() {
        let taken = excess.min(width.saturating_sub(LEAST_COLUMN));
        *width -= taken;
        excess -= taken;
    }
}

/// The beginning and the end of a text that is too wide: a Rust path tells the crate first
/// and the function last.
pub fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let (head, tail) = (room / 3, room - room / 3);
    let fit = |chars: &mut dyn Iterator<Item = char>, room: usize| -> Vec<char> {
        let mut used = 0;
        chars
            .take_while(|c| {
                used += c.width().unwrap_or(0);
                used <= room
            })
            .collect()
    };
    let head = fit(&mut text.chars(), head);
    let tail = fit(&mut text.chars().rev(), tail);
    head.into_iter()
        .chain(['…'])
        .chain(tail.into_iter().rev())
        .collect()
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

/// `2026-11-23 13:40:05 UTC`.
pub fn date(unix_nanos: i64) -> String {
    let seconds = unix_nanos.div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant, "chrono-compatible low-level date algorithms": years begin in March,
    // so that the leap day is the last one.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// A sign of life for long work, on a terminal only.
#[derive(Debug)]
pub struct Progress(indicatif::ProgressBar);

impl Progress {
    /// Shows `what` until it is dropped.
    pub fn start(what: impl Into<String>) -> Progress {
        // indicatif draws nothing when standard error is no terminal.
        let bar = indicatif::ProgressBar::new_spinner();
        bar.set_message(printable(&what.into()));
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        Progress(bar)
    }

    /// Shows how much of so many bytes is done, or just how much if it is not known of how
    /// many.
    pub fn of_bytes(what: impl Into<String>, length: Option<u64>) -> Progress {
        let Some(length) = length else {
            return Progress::start(what);
        };
        let bar = indicatif::ProgressBar::new(length);
        let template = "{msg} {wide_bar} {percent}% {eta}";
        if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(printable(&what.into()));
        Progress(bar)
    }

    /// So many more are done.
    pub fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
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

/// Narrower columns of names say nothing.
const LEAST_COLUMN: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["flat", "±", "name"], 1);
        table.push(vec![
            "1 B".into(),
            String::new(),
            "alloc::raw_vec::grow".into(),
        ]);
        table.push(vec!["12.3 MiB".into(), String::new(), "日本::語".into()]);
        table
    }

    #[test]
    fn figures_stand_right_and_names_left() {
        let table = table().without_empty_columns();
        assert_eq!(
            table.text(None),
            "    flat  name\n     1 B  alloc::raw_vec::grow\n12.3 MiB  日本::語\n"
        );
    }

    #[test]
    fn names_are_shortened_in_the_middle_to_fit() {
        let text = table().without_empty_columns().text(Some(26));
        assert!(text.contains("     1 B  alloc…_vec::grow\n"), "{text}");
        assert!(text.lines().all(|line| line.width() <= 26));
    }

    #[test]
    fn no_terminal_is_too_narrow() {
        for columns in 0..20 {
            assert!(table().text(Some(columns)).contains("日本::語"));
        }
    }

    #[test]
    fn wide_characters_are_cut_whole() {
        assert_eq!(shortened("日本日本日本", 6), "…日本");
        assert_eq!(shortened("abc", 0), "…");
    }

    #[test]
    fn markdown_takes_no_markup_from_names() {
        let mut table = Table::new(&["n", "name"], 1);
        table.push(vec!["1".into(), "a|`b`<c>".into()]);
        assert_eq!(
            table.markdown(),
            "| n | name |\n| ---: | --- |\n| 1 | `` a\\|`b`<c> `` |\n"
        );
    }

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

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[31m\u{202e}é"), "a\\u{1b}[31m\\u{202e}é");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_400 * 1_000_000_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(
            date(1_795_441_205 * 1_000_000_000),
            "2026-11-23 13:40:05 UTC"
        );
    }
}
