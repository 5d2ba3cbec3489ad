//! Whole lines: a buffer of a fixed size, which is never left with half a line.
//!
//! Context: cold. Invariant: after `end_with` it holds whole lines, the last of which is what it
//! was ended with, or nothing.

use std::fmt::{self, Write};

/// A buffer that is filled by writing and cut at the ends of lines.
pub(super) struct WholeLines<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> WholeLines<'a> {
    pub(super) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// Bytes that it holds.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes lines off until `text` has room behind the rest. If it never has, nothing
    /// stays: half a truth without a word that it is half is worse.
    pub(super) fn end_with(&mut self, text: &str) {
        let is_end = |n: &usize| *n == 0 || self.buffer[*n - 1] == b'\n';
        let fits = |n: &usize| n + text.len() <= self.buffer.len();
        let Some(end) = (0..=self.len).rev().filter(is_end).find(fits) else {
            self.len = 0;
            return;
        };
        self.buffer[end..][..text.len()].copy_from_slice(text.as_bytes());
        self.len = end + text.len();
    }
}

impl Write for WholeLines<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // A whole stack comes at once, of which some lines may have room.
        let fits = text.len().min(self.buffer.len() - self.len);
        self.buffer[self.len..][..fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        if fits < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}
