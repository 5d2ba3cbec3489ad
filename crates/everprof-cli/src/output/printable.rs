//! Printable: text that steers no terminal, and how many columns it takes there.
//!
//! Invariant: what comes out has no character that moves anything but the cursor to the next
//! column or line.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[31m\u{202e}é"), "a\\u{1b}[31m\\u{202e}é");
    }

    #[test]
    fn wide_characters_are_cut_whole() {
        assert_eq!(shortened("日本日本日本", 6), "…日本");
        assert_eq!(shortened("abc", 0), "…");
    }
}
