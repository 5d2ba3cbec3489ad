//! Reader: a trace from any [`Read`], event by event.
//!
//! Context: cold.
//! Invariant: memory is that of the tables and of one round; it does not grow with events.

use std::fmt;
use std::io::Read;

use super::blocks::{Blocks, Stop};
use super::decoder::Decoder;
use super::event::{Event, Other};
use super::fault::Fault;
use super::format::Kind;
use super::tables::{Tables, Totals};
use crate::Error;
use crate::report::units;

/// Reads a trace.
///
/// Events come in the order of their time, whatever thread they are of. Where two threads
/// did something at the same time, or a recorder was late, the order of the two is not
/// known; an event may then have an earlier time than the one before.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use everprof_profile::trace::{Reader, What};
///
/// let mut reader = Reader::new(std::fs::File::open("app.trace")?)?;
/// let mut bytes = 0;
/// while let Some(event) = reader.next_event() {
///     if let What::Alloc { size_bytes, .. } = event.what {
///         bytes += size_bytes;
///     }
/// }
/// println!("{bytes} bytes; {}", reader.ending());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reader<R> {
    blocks: Blocks<R>,
    decoder: Decoder,
    /// At which byte, and how.
    ending: Option<(u64, How)>,
    /// A fault among events that waited: none behind it can be told.
    is_over: bool,
}

/// How a trace ended, and what was read of it.
#[derive(Clone, Debug)]
pub struct Ending {
    /// How many events were read.
    pub events: u64,
    /// What the recorder counted, if the end was reached.
    pub totals: Option<Totals>,
    /// Where in the file reading ended.
    pub at_byte: u64,
    /// How often more events waited for others than are kept: their order between threads
    /// is then not known.
    pub unordered: u64,
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    Unread,
    Whole,
    CutOff,
    Damaged(Fault),
    /// The system's words.
    Unreadable(String),
}

impl<R: Read> Reader<R> {
    /// Reads the beginning of a trace.
    ///
    /// # Errors
    ///
    /// [`Error::is_malformed`] when it is none, or of a version that is not known;
    /// [`Error::is_io`] when it cannot be read. Whatever is wrong behind the beginning is
    /// told by [`Reader::ending`].
    pub fn new(input: R) -> Result<Reader<R>, Error> {
        let mut blocks = Blocks::new(input)?;
        let mut payload = Vec::new();
        let block = blocks.next(&mut payload).map_err(|stop| match stop {
            Stop::CutOff => Error::malformed(
                "a trace that was cut off within its first block: expected which program it is of",
            ),
            Stop::Damaged(fault) => damaged(fault),
            Stop::Unreadable(source) => Error::io("reading the trace", source),
        })?;
        let decoder = Decoder::new(block.kind, &payload).map_err(damaged)?;
        Ok(Reader {
            blocks,
            decoder,
            ending: None,
            is_over: false,
        })
    }

    /// The next event; `None` at the end, about which [`Reader::ending`] tells more.
    #[inline]
    pub fn next_event(&mut self) -> Option<Event> {
        let mut event = Event::NONE;
        while !self.is_over {
            match self.decoder.next(&mut event) {
                Some(Ok(())) => return Some(event),
                Some(Err((offset, fault))) => {
                    self.ending = Some((offset, How::Damaged(fault)));
                    self.is_over = true;
                }
                None if self.ending.is_some() => self.is_over = true,
                None => self.read_block(),
            }
        }
        None
    }

    /// What other threads did when the collection took the step that the last event tells
    /// of.
    pub fn others(&self) -> &[Other] {
        &self.decoder.others
    }

    /// What the numbers in events mean, as far as it was read.
    pub fn tables(&self) -> &Tables {
        &self.decoder.tables
    }

    /// How the trace ended, once there is no next event.
    pub fn ending(&self) -> Ending {
        let (at_byte, how) = match &self.ending {
            Some((at_byte, how)) => (*at_byte, how.clone()),
            None => (self.blocks.offset(), How::Unread),
        };
        Ending {
            events: self.decoder.events,
            totals: self.decoder.totals,
            at_byte,
            unordered: self.decoder.forced,
            how,
        }
    }

    /// Reads to the end without its events, for the tables alone; there is no next event
    /// then.
    pub fn skip_events(&mut self) {
        while self.ending.is_none() {
            let mut payload = self.decoder.buffer();
            let offset = self.blocks.offset();
            let how = match self.blocks.next(&mut payload) {
                Ok(block) if block.kind == Kind::Events as u8 => {
                    self.decoder.give_back(payload);
                    continue;
                }
                Ok(block) => self.decoder.take(block.kind, payload, block.offset),
                Err(stop) => {
                    self.ending = Some((offset, how(stop)));
                    break;
                }
            };
            self.ending = match how {
                Ok(()) if self.decoder.totals.is_some() => Some((offset, How::Whole)),
                Ok(()) => None,
                Err(fault) => Some((offset, How::Damaged(fault))),
            };
        }
        self.is_over = true;
    }

    fn read_block(&mut self) {
        let mut payload = self.decoder.buffer();
        let offset = self.blocks.offset();
        let taken = self.blocks.next(&mut payload).and_then(|block| {
            let taken = self.decoder.take(block.kind, payload, block.offset);
            taken.map_err(Stop::Damaged)
        });
        let how = match taken {
            Ok(()) if self.decoder.totals.is_some() => How::Whole,
            Ok(()) => return,
            Err(stop) => how(stop),
        };
        self.ending = Some((offset, how));
        self.decoder.close();
    }
}

fn how(stop: Stop) -> How {
    match stop {
        Stop::CutOff => How::CutOff,
        Stop::Damaged(fault) => How::Damaged(fault),
        Stop::Unreadable(error) => How::Unreadable(error.to_string()),
    }
}

impl Ending {
    /// The recorder came to its end, and all of it was read.
    pub fn is_whole(&self) -> bool {
        matches!(self.how, How::Whole)
    }

    /// It was not read to its end.
    pub fn is_unread(&self) -> bool {
        matches!(self.how, How::Unread)
    }

    /// The trace stops before its end, as that of a program which was killed does.
    pub fn is_cut_off(&self) -> bool {
        matches!(self.how, How::CutOff)
    }

    /// Bytes are not what was written.
    pub fn is_damaged(&self) -> bool {
        matches!(self.how, How::Damaged(_))
    }
}

impl fmt::Display for Ending {
    /// One line: `cut off at byte 1,234: 56 events were read`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = grouped(self.at_byte);
        match &self.how {
            How::Unread => write!(f, "read up to byte {at}")?,
            How::Whole => write!(f, "whole")?,
            How::CutOff => write!(f, "cut off at byte {at}")?,
            How::Damaged(fault) => write!(f, "damaged at byte {at} ({})", fault.words())?,
            How::Unreadable(words) => write!(f, "not readable from byte {at} on ({words})")?,
        }
        write!(f, ": {} events were read", grouped(self.events))
    }
}

fn damaged(fault: Fault) -> Error {
    Error::malformed(format!(
        "a trace whose first block is damaged ({}): expected which program it is of",
        fault.words()
    ))
}

fn grouped(count: u64) -> String {
    units::format(i64::try_from(count).unwrap_or(i64::MAX), "count")
}
