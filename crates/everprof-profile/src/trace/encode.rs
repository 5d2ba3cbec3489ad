//! Encode: the bytes of a trace, block by block.
//!
//! Context: cold. A recorder that may not allocate writes the payload of events itself,
//! as docs/trace-format.md has it; what is here seals it ([`block`]) and writes all else.
//! Invariant: what is written can be read; no payload exceeds [`MOST_PAYLOAD_BYTES`] if
//! no single name does.

use super::event::{Event, Other, What};
use super::format::{
    self, FIRST_ADDRESS, HEAD_BYTES, Kind, MAGIC, MOST_PAYLOAD_BYTES, Table, VERSION,
};
use super::tables::{Module, Program, Thread, Totals};
use crate::wire::put_varint;

/// A payload is closed when it is so long, long before it may not be longer.
const FULL_BYTES: usize = MOST_PAYLOAD_BYTES / 4;

/// Appends what every trace begins with.
pub fn head(out: &mut Vec<u8>) {
    out.reserve(HEAD_BYTES);
    out.extend_from_slice(MAGIC);
    out.push(VERSION);
}

/// Appends a block with this payload.
///
/// # Panics
///
/// If the payload has more than [`MOST_PAYLOAD_BYTES`].
pub fn block(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    assert!(
        payload.len() <= MOST_PAYLOAD_BYTES,
        "a payload has at most {MOST_PAYLOAD_BYTES} bytes"
    );
    let kind = kind as u8;
    out.push(kind);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&format::checksum(kind, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

/// Appends the block on the program.
pub fn program(out: &mut Vec<u8>, program: &Program) {
    let mut payload = Vec::new();
    put_varint(&mut payload, program.ticks_per_second);
    put_varint(&mut payload, program.start_unix_nanos);
    put_varint(&mut payload, program.start_ticks);
    put_varint(&mut payload, program.shift.into());
    put_varint(&mut payload, program.pid.into());
    // What a system takes as a command line may be longer than a block.
    let mut room = FULL_BYTES;
    let fitting = program.command_line.iter().take_while(|word| {
        room = room.saturating_sub(word.len() + 10);
        room > 0
    });
    let words = fitting.count();
    put_varint(&mut payload, words as u64);
    for word in &program.command_line[..words] {
        put_text(&mut payload, word);
    }
    block(out, Kind::Program, &payload);
}

/// Appends the modules that are loaded from now on, all of them.
pub fn modules(out: &mut Vec<u8>, modules: &[Module]) {
    let mut payload = Vec::new();
    put_varint(&mut payload, modules.len() as u64);
    for module in modules {
        put_varint(&mut payload, module.start);
        put_varint(&mut payload, module.limit.saturating_sub(module.start));
        put_varint(&mut payload, module.offset);
        put_text(&mut payload, &module.file);
        put_varint(&mut payload, module.build_id.len() as u64);
        payload.extend_from_slice(&module.build_id);
    }
    block(out, Kind::Modules, &payload);
}

/// Appends stacks, leaf first, whose numbers are `first` and those behind it. Return
/// addresses, as they are recorded.
///
/// Frames that a stack shares with the one before it, from the outermost on, are written
/// once, so that stacks in the order of their outermost frames take least.
pub fn stacks<'a>(out: &mut Vec<u8>, first: u32, stacks: impl IntoIterator<Item = &'a [u64]>) {
    let mut before: &[u64] = &[];
    let (mut first, mut count) = (first, 0);
    let mut body = Vec::new();
    let seal = |out: &mut Vec<u8>, first: u32, count: u32, body: &[u8]| {
        let mut payload = Vec::with_capacity(body.len() + 10);
        put_varint(&mut payload, first.into());
        put_varint(&mut payload, count.into());
        payload.extend_from_slice(body);
        block(out, Kind::Stacks, &payload);
    };
    for stack in stacks {
        let shared = std::iter::zip(stack.iter().rev(), before.iter().rev());
        let keep = shared.take_while(|(frame, known)| frame == known).count();
        put_varint(&mut body, keep as u64);
        put_varint(&mut body, (stack.len() - keep) as u64);
        let mut outer = match keep {
            0 => 0,
            keep => stack[stack.len() - keep],
        };
        for &frame in stack[..stack.len() - keep].iter().rev() {
            put_varint(&mut body, format::zigzag(frame.wrapping_sub(outer) as i64));
            outer = frame;
        }
        before = stack;
        count += 1;
        if body.len() >= FULL_BYTES {
            seal(out, first, count, &body);
            (first, count) = (first + count, 0);
            body.clear();
            before = &[];
        }
    }
    if count > 0 {
        seal(out, first, count, &body);
    }
}

/// Appends names of a table by their numbers.
pub fn names<'a>(
    out: &mut Vec<u8>,
    table: Table,
    names: impl IntoIterator<Item = (u32, &'a str), IntoIter: ExactSizeIterator>,
) {
    let names = names.into_iter();
    let mut payload = Vec::new();
    put_varint(&mut payload, table as u64);
    put_varint(&mut payload, names.len() as u64);
    for (number, name) in names {
        debug_assert!(table != Table::Frames || u64::from(number) < FIRST_ADDRESS);
        put_varint(&mut payload, number.into());
        put_text(&mut payload, name);
    }
    block(out, Kind::Names, &payload);
}

/// Appends a thread by its number, or its new name. Numbers are given in turn, from 0.
pub fn thread(out: &mut Vec<u8>, number: u32, thread: &Thread) {
    let mut payload = Vec::new();
    put_varint(&mut payload, number.into());
    put_varint(&mut payload, thread.tid.into());
    put_text(&mut payload, &thread.name);
    block(out, Kind::Thread, &payload);
}

/// Appends the promise that no thread's event before this time follows.
pub fn round(out: &mut Vec<u8>, time: u64) {
    let mut payload = Vec::new();
    put_varint(&mut payload, time);
    block(out, Kind::Round, &payload);
}

/// Appends the last block.
pub fn end(out: &mut Vec<u8>, totals: &Totals) {
    let mut payload = Vec::new();
    put_varint(&mut payload, totals.events);
    put_varint(&mut payload, totals.lost);
    put_varint(&mut payload, totals.time);
    block(out, Kind::End, &payload);
}

/// Events of one thread, on their way into a block.
///
/// ```
/// use everprof_profile::trace::encode::{self, Events};
/// use everprof_profile::trace::{Event, What};
///
/// let mut events = Events::new(0, 1_000, 0x7f00_0000_0000);
/// events.push(&Event {
///     time: 1_005,
///     thread: 0,
///     what: What::Free { address: 0x7f00_0000_0040 },
/// }, &[]);
/// let mut out = Vec::new();
/// encode::events(&mut out, &events);
/// // Kind 1 and 5 units of time; 0x40 more, in eights, as zigzag.
/// assert_eq!(out[out.len() - 2..], [1 | 5 << 3, 16]);
/// ```
#[derive(Clone, Debug)]
pub struct Events {
    thread: u32,
    base: (u64, u64),
    count: u64,
    bytes: Vec<u8>,
    time: u64,
    address: u64,
}

impl Events {
    /// No events yet of this thread; times and addresses are told from these on.
    pub fn new(thread: u32, time: u64, address: u64) -> Events {
        Events {
            thread,
            base: (time, address),
            count: 0,
            bytes: Vec::new(),
            time,
            address,
        }
    }

    /// Adds an event of this thread, with what others did if it is a collection's. A time
    /// before that of the event before is written as that.
    pub fn push(&mut self, event: &Event, others: &[Other]) {
        let (kind, what) = (kind_of(&event.what), event.what);
        let time = event.time.max(self.time);
        let step = time - self.time;
        self.time = time;
        if step < format::event::LONG_TIME.into() {
            self.bytes
                .push(kind | (step as u8) << format::event::KIND_BITS);
        } else {
            self.bytes
                .push(kind | format::event::LONG_TIME << format::event::KIND_BITS);
            put_varint(&mut self.bytes, step);
        }
        self.count += 1;
        match what {
            What::Alloc {
                stack,
                size_bytes,
                address,
            } => {
                self.put(stack);
                put_varint(&mut self.bytes, size_bytes);
                self.put_address(address);
            }
            What::Free { address } => self.put_address(address),
            What::Realloc {
                old_address,
                stack,
                size_bytes,
                address,
                took,
            } => {
                self.put_address(old_address);
                self.put(stack);
                put_varint(&mut self.bytes, size_bytes);
                self.put_address(address);
                if address != old_address {
                    put_varint(&mut self.bytes, took);
                }
            }
            What::ManagedAlloc {
                heap,
                type_id,
                stack,
                size_bytes,
                address,
            } => {
                self.put(heap);
                self.put(type_id);
                self.put(stack);
                put_varint(&mut self.bytes, size_bytes);
                self.put_address(address);
            }
            What::ManagedFree {
                heap,
                is_swept,
                address,
            } => {
                self.put(heap);
                self.bytes.push(is_swept.into());
                self.put_address(address);
            }
            What::Cycle { heap, step } => {
                self.put(heap);
                self.put(step.number());
                put_varint(&mut self.bytes, others.len() as u64);
                for other in others {
                    self.put(other.thread);
                    self.put(other.stack);
                }
            }
            What::Lost { events } => put_varint(&mut self.bytes, events),
        }
    }

    /// How many events there are.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many bytes they take so far.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets them; the next ones are told from where these ended.
    pub fn clear(&mut self) {
        self.base = (self.time, self.address);
        self.count = 0;
        self.bytes.clear();
    }

    /// What a block of them holds.
    pub fn payload(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.bytes.len() + 40);
        put_varint(&mut payload, self.thread.into());
        put_varint(&mut payload, self.base.0);
        put_varint(&mut payload, self.base.1);
        put_varint(&mut payload, self.count);
        payload.extend_from_slice(&self.bytes);
        payload
    }

    fn put(&mut self, number: u32) {
        put_varint(&mut self.bytes, number.into());
    }

    fn put_address(&mut self, address: u64) {
        put_varint(&mut self.bytes, format::address_step(self.address, address));
        self.address = address;
    }
}

/// Appends a block of events.
pub fn events(out: &mut Vec<u8>, events: &Events) {
    block(out, Kind::Events, &events.payload());
}

fn kind_of(what: &What) -> u8 {
    use format::event;
    match what {
        What::Alloc { .. } => event::ALLOC,
        What::Free { .. } => event::FREE,
        What::Realloc { .. } => event::REALLOC,
        What::ManagedAlloc { .. } => event::MANAGED_ALLOC,
        What::ManagedFree { .. } => event::MANAGED_FREE,
        What::Cycle { .. } => event::CYCLE,
        What::Lost { .. } => event::LOST,
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}
