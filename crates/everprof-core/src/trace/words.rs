//! Words: events as they stand in a thread's buffer.
//!
//! Context: sampled to write, cold to read. Invariant: the first word is never 0 and says
//! how many there are. This is no format: only this process reads it, with this code.
//!
//! ```text
//! first word: kind in the low 4 bits, ticks above
//! Alloc    first │ address │ size ‖ stack            size < 2³²
//! Large    first │ address │ stack │ size
//! Free     first │ address
//! Realloc  first │ old │ new │ stack │ size │ took
//! Lost     first │ how many
//! ManagedAlloc  first │ address │ heap ‖ stack │ size │ type
//! ManagedFree   first │ address │ heap ‖ 1 where swept
//! Gc       first │ heap ‖ what
//! ```

/// The bucket of a stack in the tracer's memory; 0: there was no room for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackAt(pub(crate) u32);

/// The name of a type in the tracer's memory; 0: none was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TypeAt(pub(crate) u32);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An object came into being.
    Alloc {
        /// Where it stands.
        address: u64,
        /// Bytes asked for.
        size_bytes: u64,
        /// Who asked.
        stack: StackAt,
    },
    /// An object went.
    Free {
        /// Where it stood.
        address: u64,
    },
    /// An object became another size, and perhaps moved.
    Realloc {
        /// Where it stood; 0: it is new (C's `realloc` of nothing).
        old_address: u64,
        /// Where it stands now.
        address: u64,
        /// Bytes asked for.
        size_bytes: u64,
        /// Who asked.
        stack: StackAt,
        /// How long after the event's time it stood there: the old object went at the one,
        /// the new one came at the other, and others may have had either place in between.
        took_ticks: u64,
    },
    /// So many events of this thread had no room, between the last one and the next.
    Lost {
        /// How many.
        events: u64,
    },
    /// An object came into being in a managed heap.
    ManagedAlloc {
        /// The heap's number.
        heap: u32,
        /// The object's number there.
        address: u64,
        /// Bytes.
        size_bytes: u64,
        /// Who asked.
        stack: StackAt,
        /// The object's type.
        type_at: TypeAt,
    },
    /// An object of a managed heap went.
    ManagedFree {
        /// The heap's number.
        heap: u32,
        /// The object's number there.
        address: u64,
        /// By the sweep, and not because the program said so.
        swept: bool,
    },
    /// A step of a managed heap's collector.
    Gc {
        /// The heap's number.
        heap: u32,
        /// Which step.
        step: GcStep,
    },
}

/// Steps of a collector that are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum GcStep {
    /// The clock went on: marking has ended.
    NextCycle = 0,
    /// The cycle before was published.
    Flush = 1,
    /// The sweep is over.
    PostSweep = 2,
}

/// Words of the longest event.
pub(crate) const MOST_WORDS: usize = 6;

const KIND_BITS: u32 = 4;
const ALLOC: u64 = 1;
const LARGE: u64 = 2;
const FREE: u64 = 3;
const REALLOC: u64 = 4;
const LOST: u64 = 5;
const MANAGED_ALLOC: u64 = 6;
const MANAGED_FREE: u64 = 7;
const GC: u64 = 8;

/// An event's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    words: [u64; MOST_WORDS],
    len: usize,
}

impl Words {
    pub(crate) fn as_slice(&self) -> &[u64] {
        self.words.get(..self.len).unwrap_or(&[])
    }
}

/// How many words an event has that begins with `first`; 0: that is none.
#[inline]
pub(crate) fn len_of(first: u64) -> usize {
    match first & ((1 << KIND_BITS) - 1) {
        FREE | LOST | GC => 2,
        ALLOC | MANAGED_FREE => 3,
        LARGE => 4,
        MANAGED_ALLOC => 5,
        REALLOC => 6,
        _ => 0,
    }
}

/// The event that happened at `ticks`, as words.
#[inline]
pub(crate) fn pack(ticks: u64, event: &Event) -> Words {
    let first = |kind| ticks << KIND_BITS | kind;
    let (words, len) = match *event {
        Event::Alloc {
            address,
            size_bytes,
            stack,
        } => match u32::try_from(size_bytes) {
            Ok(size) => ([first(ALLOC), address, both(size, stack.0), 0, 0, 0], 3),
            Err(_) => ([first(LARGE), address, stack.0.into(), size_bytes, 0, 0], 4),
        },
        Event::Free { address } => ([first(FREE), address, 0, 0, 0, 0], 2),
        Event::Realloc {
            old_address,
            address,
            size_bytes,
            stack,
            took_ticks,
        } => (
            [
                first(REALLOC),
                old_address,
                address,
                stack.0.into(),
                size_bytes,
                took_ticks,
            ],
            6,
        ),
        Event::Lost { events } => ([first(LOST), events, 0, 0, 0, 0], 2),
        Event::ManagedAlloc {
            heap,
            address,
            size_bytes,
            stack,
            type_at,
        } => (
            [
                first(MANAGED_ALLOC),
                address,
                both(heap, stack.0),
                size_bytes,
                type_at.0.into(),
                0,
            ],
            5,
        ),
        Event::ManagedFree {
            heap,
            address,
            swept,
        } => (
            [
                first(MANAGED_FREE),
                address,
                both(heap, u32::from(swept)),
                0,
                0,
                0,
            ],
            3,
        ),
        Event::Gc { heap, step } => ([first(GC), both(heap, step as u32), 0, 0, 0, 0], 2),
    };
    Words { words, len }
}

/// The event that these words are, and its ticks; none where they are no event.
pub(crate) fn unpack(words: &[u64]) -> Option<(u64, Event)> {
    let (&first, rest) = words.split_first()?;
    let event = match (first & ((1 << KIND_BITS) - 1), rest) {
        (ALLOC, &[address, size_and_stack, ..]) => Event::Alloc {
            address,
            size_bytes: size_and_stack >> 32,
            stack: StackAt(size_and_stack as u32),
        },
        (LARGE, &[address, stack, size_bytes, ..]) => Event::Alloc {
            address,
            size_bytes,
            stack: StackAt(stack as u32),
        },
        (FREE, &[address, ..]) => Event::Free { address },
        (REALLOC, &[old_address, address, stack, size_bytes, took_ticks]) => Event::Realloc {
            old_address,
            address,
            size_bytes,
            stack: StackAt(stack as u32),
            took_ticks,
        },
        (LOST, &[events, ..]) => Event::Lost { events },
        (MANAGED_ALLOC, &[address, heap_and_stack, size_bytes, type_at, ..]) => {
            Event::ManagedAlloc {
                heap: (heap_and_stack >> 32) as u32,
                address,
                size_bytes,
                stack: StackAt(heap_and_stack as u32),
                type_at: TypeAt(type_at as u32),
            }
        }
        (MANAGED_FREE, &[address, heap_and_swept, ..]) => Event::ManagedFree {
            heap: (heap_and_swept >> 32) as u32,
            address,
            swept: heap_and_swept as u32 != 0,
        },
        (GC, &[heap_and_step, ..]) => Event::Gc {
            heap: (heap_and_step >> 32) as u32,
            step: match heap_and_step as u32 {
                0 => GcStep::NextCycle,
                1 => GcStep::Flush,
                _ => GcStep::PostSweep,
            },
        },
        _ => return None,
    };
    Some((first >> KIND_BITS, event))
}

fn both(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_event_comes_back_from_its_words() {
        let (stack, type_at) = (StackAt(u32::MAX), TypeAt(7));
        let events = [
            Event::Alloc {
                address: u64::MAX,
                size_bytes: u64::from(u32::MAX),
                stack,
            },
            Event::Alloc {
                address: 8,
                size_bytes: 1 << 32,
                stack,
            },
            Event::Free { address: 16 },
            Event::Realloc {
                old_address: 1,
                address: 2,
                size_bytes: 1 << 40,
                stack,
                took_ticks: 9,
            },
            Event::Lost { events: 3 },
            Event::ManagedAlloc {
                heap: 4,
                address: 5,
                size_bytes: 6,
                stack,
                type_at,
            },
            Event::ManagedFree {
                heap: 4,
                address: 5,
                swept: true,
            },
            Event::Gc {
                heap: 9,
                step: GcStep::PostSweep,
            },
        ];
        for event in events {
            let ticks = (1 << 60) - 1;
            let words = pack(ticks, &event);
            let words = words.as_slice();
            assert_eq!(words.first().map(|first| len_of(*first)), Some(words.len()));
            assert_eq!(unpack(words), Some((ticks, event)));
        }
    }

    #[test]
    fn zero_begins_no_event() {
        assert_eq!(len_of(0), 0);
        assert_eq!(unpack(&[0, 0, 0]), None);
    }
}
