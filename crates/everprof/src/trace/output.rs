//! Where the bytes of a trace go: as they are, or as text.
//!
//! Context: cold. Invariant: text is made of the same bytes by the one decoder.

use std::fmt;
use std::io::{self, BufWriter, Write};

use super::Format;
use crate::assemble::{self, Text};

/// Takes the bytes of a trace.
pub(super) enum Output {
    Binary(Box<dyn Write + Send>),
    Text(Text<BufWriter<Box<dyn Write + Send>>>),
}

impl Output {
    pub(super) fn new(format: Format, sink: Box<dyn Write + Send>) -> Self {
        match format {
            Format::Binary => Self::Binary(sink),
            Format::Text => Self::Text(assemble::text(BufWriter::new(sink))),
        }
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Binary(sink) => sink.write_all(bytes),
            Self::Text(text) => text.write_all(bytes),
        }
    }

    /// To be called when nothing more comes for a while: text, which is gathered here, is handed
    /// on. A sink of the program's that gathers binary has its reasons.
    pub(super) fn pause(&mut self) -> io::Result<()> {
        match self {
            Self::Binary(_) => Ok(()),
            Self::Text(text) => text.flush(),
        }
    }

    /// To be called behind the last bytes.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Binary(mut sink) => sink.flush(),
            Self::Text(text) => text.finish().and_then(|mut sink| sink.flush()),
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Binary(_) => "Binary",
            Self::Text(_) => "Text",
        })
    }
}
