//! Cursor: a way through the events of one block, one at a time.
//!
//! Context: cold, and the hottest of what is cold: a trace of 50 million events comes
//! through here event by event, so that bytes are looked at once and nothing is allocated.
//! Invariant: the kind and the time of the next event are known before it is asked for,
//! which is what a merge of threads needs; the rest of its bytes is read when it is.

use super::event::{Event, Other, Step, What};
use super::fault::{Fault, narrow};
use super::format::{self, event};

/// The events of one block. It owns the payload, which may wait for its round.
#[derive(Debug)]
pub(crate) struct Cursor {
    payload: Vec<u8>,
    at: usize,
    /// How many events are left, the next one among them.
    left: u64,
    thread: u32,
    kind: u8,
    time: u64,
    address: u64,
    /// Where the block stands in the file.
    pub(crate) offset: u64,
}

impl Cursor {
    /// Before the first event of a block.
    pub(crate) fn new(payload: Vec<u8>, offset: u64) -> Result<Cursor, Fault> {
        let mut cursor = Cursor {
            payload,
            at: 0,
            left: 0,
            thread: 0,
            kind: 0,
            time: 0,
            address: 0,
            offset,
        };
        cursor.thread = cursor.number("thread")?;
        cursor.time = cursor.varint()?;
        cursor.address = cursor.varint()?;
        cursor.left = cursor.varint()?;
        cursor.look_ahead()?;
        Ok(cursor)
    }

    /// Whose events these are.
    pub(crate) fn thread(&self) -> u32 {
        self.thread
    }

    /// The time of the next event; `None` behind the last.
    pub(crate) fn next_time(&self) -> Option<u64> {
        (self.left > 0).then_some(self.time)
    }

    /// Bytes of the payload.
    pub(crate) fn len(&self) -> usize {
        self.payload.len()
    }

    /// The memory of the payload, for the next one.
    pub(crate) fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// The next event, which there must be ([`Cursor::next_time`]), into `event`: as a result
    /// it would be copied by each of those who pass it on. Its stacks are below `stacks`;
    /// what other threads did is put into `others`.
    #[inline]
    pub(crate) fn next(
        &mut self,
        stacks: u32,
        others: &mut Vec<Other>,
        event: &mut Event,
    ) -> Result<(), Fault> {
        event.time = self.time;
        event.thread = self.thread;
        event.what = match self.kind {
            event::ALLOC => What::Alloc {
                stack: self.stack(stacks)?,
                size_bytes: self.varint()?,
                address: self.next_address()?,
            },
            event::FREE => What::Free {
                address: self.next_address()?,
            },
            event::REALLOC => {
                let old_address = self.next_address()?;
                let stack = self.stack(stacks)?;
                let size_bytes = self.varint()?;
                let address = self.next_address()?;
                What::Realloc {
                    old_address,
                    stack,
                    size_bytes,
                    address,
                    took: match address == old_address {
                        true => 0,
                        false => self.varint()?,
                    },
                }
            }
            _ => self.rare(stacks, others)?,
        };
        self.left -= 1;
        self.look_ahead()
    }

    #[cold]
    fn rare(&mut self, stacks: u32, others: &mut Vec<Other>) -> Result<What, Fault> {
        Ok(match self.kind {
            event::MANAGED_ALLOC => What::ManagedAlloc {
                heap: self.number("heap")?,
                type_id: self.number("type")?,
                stack: self.stack(stacks)?,
                size_bytes: self.varint()?,
                address: self.next_address()?,
            },
            event::MANAGED_FREE => What::ManagedFree {
                heap: self.number("heap")?,
                is_swept: match self.varint()? {
                    0 => false,
                    1 => true,
                    other => {
                        return Err(Fault::new(format!(
                            "a free that is swept `{other}`: expected 0 or 1"
                        )));
                    }
                },
                address: self.next_address()?,
            },
            event::CYCLE => {
                let heap = self.number("heap")?;
                let step = Step::of(self.number("step of a cycle")?);
                others.clear();
                for _ in 0..self.varint()? {
                    others.push(Other {
                        thread: self.number("thread")?,
                        stack: self.stack(stacks)?,
                    });
                }
                What::Cycle { heap, step }
            }
            event::LOST => What::Lost {
                events: self.varint()?,
            },
            kind => {
                return Err(Fault::new(format!(
                    "an event of kind {kind}: expected 0 to 6"
                )));
            }
        })
    }

    /// Reads the kind and the time of the next event.
    #[inline]
    fn look_ahead(&mut self) -> Result<(), Fault> {
        if self.left == 0 {
            return match self.payload.len() - self.at {
                0 => Ok(()),
                more => Err(Fault::new(format!("{more} bytes behind the last event"))),
            };
        }
        let Some(&first) = self.payload.get(self.at) else {
            return Err(Fault::new(format!(
                "the payload ends {} events early",
                self.left
            )));
        };
        self.at += 1;
        self.kind = first & ((1 << event::KIND_BITS) - 1);
        let step = match first >> event::KIND_BITS {
            event::LONG_TIME => self.varint()?,
            step => step.into(),
        };
        self.time = self
            .time
            .checked_add(step)
            .ok_or_else(|| Fault::new("a time of more than 64 bits"))?;
        Ok(())
    }

    #[inline]
    fn stack(&mut self, stacks: u32) -> Result<u32, Fault> {
        let stack = self.varint()?;
        if stack < stacks.into() {
            return Ok(stack as u32);
        }
        Err(unknown_stack(stack, stacks))
    }

    #[inline]
    fn next_address(&mut self) -> Result<u64, Fault> {
        let step = self.varint()?;
        self.address = format::address_after(self.address, step);
        Ok(self.address)
    }

    fn number(&mut self, what: &str) -> Result<u32, Fault> {
        narrow(self.varint()?, what)
    }

    /// As [`wire::Reader`](crate::wire::Reader) reads them, with the short ones first.
    #[inline]
    fn varint(&mut self) -> Result<u64, Fault> {
        match self.payload.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(byte.into())
            }
            _ => self.longer_varint(),
        }
    }

    /// Up to eight bytes at once: those up to the first without its highest bit, which is
    /// then taken out of each by moving neighbours together.
    #[inline]
    fn longer_varint(&mut self) -> Result<u64, Fault> {
        let rest = &self.payload[self.at..];
        if let Some(bytes) = rest.first_chunk() {
            let word = u64::from_le_bytes(*bytes);
            let ends = !word & 0x8080_8080_8080_8080;
            if ends != 0 {
                self.at += ends.trailing_zeros() as usize / 8 + 1;
                // The lowest bit of `ends` is the highest of the last byte.
                let word = word & (ends ^ (ends - 1)) & 0x7f7f_7f7f_7f7f_7f7f;
                let word = (word & 0x007f_007f_007f_007f) | (word & 0x7f00_7f00_7f00_7f00) >> 1;
                let word = (word & 0x0000_3fff_0000_3fff) | (word & 0x3fff_0000_3fff_0000) >> 2;
                return Ok((word & 0x0fff_ffff) | (word & 0x0fff_ffff_0000_0000) >> 4);
            }
        }
        self.longest_varint()
    }

    #[cold]
    fn longest_varint(&mut self) -> Result<u64, Fault> {
        let rest = &self.payload[self.at..];
        let mut value = 0u64;
        for (at, &byte) in rest.iter().take(10).enumerate() {
            if at == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.at += at + 1;
                return Ok(value);
            }
        }
        Err(match rest.len() {
            0..10 => Fault::new("the payload ends within an event"),
            _ => Fault::new("a number of more than 64 bits"),
        })
    }
}

#[cold]
fn unknown_stack(stack: u64, stacks: u32) -> Fault {
    Fault::new(format!(
        "stack {stack}: expected one of the {stacks} that were told of"
    ))
}
