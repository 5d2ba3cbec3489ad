//! Decoder: blocks in, events out.
//!
//! Context: cold.
//! Invariant: what was taken in before a fault can still be asked for.

use super::cursor::Cursor;
use super::event::{Event, Other};
use super::fault::Fault;
use super::format::Kind;
use super::merge::{Merge, Misplaced};
use super::tables::{Tables, Totals};
use crate::wire::Reader;

/// What a trace has said so far, and its events that wait.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(crate) tables: Tables,
    pub(crate) others: Vec<Other>,
    /// How many events were given.
    pub(crate) events: u64,
    /// Set by the last block.
    pub(crate) totals: Option<Totals>,
    /// How often more waited than is kept, so that it was given without a promise.
    pub(crate) forced: u64,
    merge: Merge,
}

impl Decoder {
    /// Begins with the payload of the first block.
    pub(crate) fn new(kind: u8, payload: &[u8]) -> Result<Decoder, Fault> {
        if kind != Kind::Program as u8 {
            return Err(Fault::new(format!(
                "the first block is of kind {kind}: expected 1, the program"
            )));
        }
        Ok(Decoder {
            tables: Tables::new(payload)?,
            others: Vec::new(),
            events: 0,
            totals: None,
            forced: 0,
            merge: Merge::default(),
        })
    }

    /// Memory for the next payload.
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        self.merge.buffer()
    }

    /// Takes such memory back.
    pub(crate) fn give_back(&mut self, buffer: Vec<u8>) {
        self.merge.recycle(buffer);
    }

    /// Takes in a block, after which there may be events.
    pub(crate) fn take(&mut self, kind: u8, payload: Vec<u8>, offset: u64) -> Result<(), Fault> {
        match Kind::of(kind) {
            Some(Kind::Program) => return Err(Fault::new("a second block on the program")),
            Some(Kind::Modules) => self.tables.take_modules(&payload)?,
            Some(Kind::Stacks) => self.tables.take_stacks(&payload)?,
            Some(Kind::Names) => self.tables.take_names(&payload)?,
            Some(Kind::Thread) => self.tables.take_thread(&payload)?,
            Some(Kind::Events) => {
                let cursor = Cursor::new(payload, offset)?;
                let (thread, known) = (cursor.thread(), self.tables.threads().len());
                if thread as usize >= known {
                    return Err(Fault::new(format!(
                        "events of thread {thread}: expected one of the {known} that were told of"
                    )));
                }
                self.merge.push(cursor);
                if self.merge.is_full() {
                    self.forced += 1;
                    self.merge.release();
                }
                return Ok(());
            }
            Some(Kind::Round) => {
                let mut reader = Reader::new(&payload);
                let time = reader.varint()?;
                super::tables::all_read(&reader)?;
                self.merge.round(time);
            }
            Some(Kind::End) => self.totals = Some(Totals::new(&payload)?),
            // Of a later recorder: it means nothing to the events that are known.
            None => {}
        }
        self.merge.recycle(payload);
        Ok(())
    }

    /// The next event, if there is one that need not wait, into `event`.
    #[inline]
    pub(crate) fn next(&mut self, event: &mut Event) -> Option<Result<(), Misplaced>> {
        let stacks = self.tables.stacks();
        let done = self.merge.next(stacks, &mut self.others, event)?;
        self.events += u64::from(done.is_ok());
        Some(done)
    }

    /// Says that no more blocks come.
    pub(crate) fn close(&mut self) {
        self.merge.release();
    }
}
