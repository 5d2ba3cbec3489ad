//! One line: text of others that is to stay on its line, in what is written line by line.
//!
//! Context: cold. Invariant: what is returned has no control character, so that a name with a
//! line break in it makes up no line.

use std::borrow::Cow;

/// Text in quotes, as Go's `%q` writes it.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Text that stays on its line.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    // Most text is plain ASCII, which all bytes together tell sooner than one after another.
    let is_plain = |all: bool, byte: &u8| all & (b' '..0x7f).contains(byte);
    if text.as_bytes().iter().fold(true, is_plain) || !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace(char::is_control, "\u{fffd}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_stay_on_their_line() {
        assert_eq!(clean("a b"), "a b");
        assert_eq!(clean("é\u{85}\n1: main"), "é\u{fffd}\u{fffd}1: main");
        assert_eq!(
            quoted("a\"\\\n\u{7}\u{1}\u{85}é"),
            r#""a\"\\\n\a\x01\u0085é""#
        );
    }
}
