//! Tables: aligned columns that fit a terminal, or Markdown.
//!
//! Invariant: a row has as many cells as there are headings, each of them printable.

use unicode_width::UnicodeWidthStr;

use super::printable::{printable, shortened};

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
    fn markdown_takes_no_markup_from_names() {
        let mut table = Table::new(&["n", "name"], 1);
        table.push(vec!["1".into(), "a|`b`<c>".into()]);
        assert_eq!(
            table.markdown(),
            "| n | name |\n| ---: | --- |\n| 1 | `` a\\|`b`<c> `` |\n"
        );
    }
}
