//! Text: a trace for people, one line an event and its stack below.
//!
//! Context: cold.
//! Invariant: the text is made from the binary trace by the one decoder, so that both tell
//! the same. Nothing in it steers a terminal: control characters are written as escapes.
//! Source: Go's GODEBUG=allocfreetrace=1, which printed as much.
//!
//! (the blanks before a function are a tab)
//!
//! ```text
//! 0.000012345 main[4711] alloc 64 bytes at 0x7f0000000040
//!         app::parse src/app.rs:20
//!         app::main src/app.rs:10
//! 0.000012400 worker-1[4712] free 0x7f0000000040
//! ```

use std::borrow::Cow;
use std::io::{self, Write};

use super::blocks::Blocks;
use super::decoder::Decoder;
use super::event::{Event, Other, Step, What};
use super::format::{BLOCK_HEAD_BYTES, HEAD_BYTES, MOST_PAYLOAD_BYTES, Table};
use super::stacks::{self, Shown};
use super::tables::Tables;
use crate::Profile;

/// Writes one event, with its stack and what others did.
///
/// # Errors
///
/// Those of the writer.
pub fn write_event(
    event: &Event,
    others: &[Other],
    tables: &Tables,
    stacks: &Shown,
    out: &mut impl Write,
) -> io::Result<()> {
    let nanos = tables.program().nanos(event.time);
    let seconds = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    write!(out, "{}.{:09} ", seconds.0, seconds.1)?;
    write_thread(event.thread, tables, out)?;
    match event.what {
        What::Alloc {
            stack,
            size_bytes,
            address,
        } => {
            writeln!(out, " alloc {size_bytes} bytes at {address:#x}")?;
            write_stack(stack, stacks, out)
        }
        What::Free { address } => writeln!(out, " free {address:#x}"),
        What::Realloc {
            old_address,
            stack,
            size_bytes,
            address,
            ..
        } => {
            write!(out, " realloc {size_bytes} bytes at {address:#x}")?;
            match old_address == address {
                true => writeln!(out)?,
                false => writeln!(out, ", from {old_address:#x}")?,
            }
            write_stack(stack, stacks, out)
        }
        What::ManagedAlloc {
            heap,
            type_id,
            stack,
            size_bytes,
            address,
        } => {
            let heap = named(tables, Table::Heaps, heap, "heap");
            write!(out, " alloc {size_bytes} bytes at {address:#x} in {heap}")?;
            match type_id {
                0 => writeln!(out)?,
                of => writeln!(out, ", {}", named(tables, Table::Types, of, "type"))?,
            }
            write_stack(stack, stacks, out)
        }
        What::ManagedFree {
            heap,
            is_swept,
            address,
        } => {
            let heap = named(tables, Table::Heaps, heap, "heap");
            let how = if is_swept { "sweep" } else { "free" };
            writeln!(out, " {how} {address:#x} in {heap}")
        }
        What::Cycle { heap, step } => {
            let heap = named(tables, Table::Heaps, heap, "heap");
            let step = match step {
                Step::NextCycle => Cow::from("next cycle"),
                Step::Flush => "flush".into(),
                Step::PostSweep => "sweep has ended".into(),
                Step::Other(number) => format!("step {number}").into(),
            };
            writeln!(out, " {step} in {heap}")?;
            for other in others {
                write!(out, "\t")?;
                write_thread(other.thread, tables, out)?;
                writeln!(out)?;
                write_stack(other.stack, stacks, out)?;
            }
            Ok(())
        }
        What::Lost { events } => writeln!(out, " lost {events} events"),
    }
}

/// `worker-1[4712]`.
fn write_thread(number: u32, tables: &Tables, out: &mut impl Write) -> io::Result<()> {
    match tables.thread(number) {
        Some(thread) => write!(out, "{}[{}]", clean(&thread.name), thread.tid),
        None => write!(out, "thread {number}"),
    }
}

fn write_stack(number: u32, stacks: &Shown, out: &mut impl Write) -> io::Result<()> {
    for frame in stacks.frames(number) {
        write!(out, "\t{}", clean(&frame.name))?;
        match (frame.file.as_str(), frame.line) {
            ("", _) => writeln!(out)?,
            (file, 0) => writeln!(out, " {}", clean(file))?,
            (file, line) => writeln!(out, " {}:{line}", clean(file))?,
        }
    }
    Ok(())
}

fn named<'a>(tables: &'a Tables, table: Table, number: u32, what: &str) -> Cow<'a, str> {
    match tables.name(table, number) {
        Some(name) => clean(name),
        None => format!("{what} {number}").into(),
    }
}

/// Names come from a file, or from a program: neither is to be trusted with a terminal.
fn clean(name: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    match name.contains(is_harmful) {
        false => name.into(),
        true => name
            .chars()
            .map(|c| match is_harmful(c) {
                true => c.escape_unicode().to_string(),
                false => c.to_string(),
            })
            .collect::<String>()
            .into(),
    }
}

/// Takes the bytes of a trace and writes its text.
///
/// ```
/// use everprof_profile::symbolize;
/// use everprof_profile::trace::encode::{self, Events};
/// use everprof_profile::trace::text::Converter;
/// use everprof_profile::trace::{Event, Program, Thread, What};
///
/// let mut trace = Vec::new();
/// encode::head(&mut trace);
/// encode::program(&mut trace, &Program { ticks_per_second: 1_000, ..Program::default() });
/// encode::thread(&mut trace, 0, &Thread { tid: 7, name: "main".into() });
/// let mut events = Events::new(0, 0, 0);
/// let what = What::Free { address: 64 };
/// events.push(&Event { time: 1_500, thread: 0, what }, &[]);
/// encode::events(&mut trace, &events);
///
/// let mut text = Converter::new(Vec::new(), |stacks| {
///     symbolize::names(stacks);
/// });
/// std::io::Write::write_all(&mut text, &trace)?;
/// assert_eq!(text.finish()?, b"1.500000000 main[7] free 0x40\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Converter<W, N> {
    out: W,
    name: N,
    /// What has come of the head or of a block.
    bytes: Vec<u8>,
    offset: u64,
    state: State,
    shown: Shown,
}

#[derive(Debug)]
enum State {
    Head,
    Program,
    Events(Box<Decoder>),
}

impl<W: Write, N: FnMut(&mut Profile)> Converter<W, N> {
    /// Writes text to `out`; `name` gives the addresses of new stacks their names, whenever
    /// a round has some.
    pub fn new(out: W, name: N) -> Converter<W, N> {
        Converter {
            out,
            name,
            bytes: Vec::new(),
            offset: 0,
            state: State::Head,
            shown: Shown::default(),
        }
    }

    /// Writes what waits for a round that does not come.
    ///
    /// # Errors
    ///
    /// Those of the writer; [`io::ErrorKind::InvalidData`] if an event is damaged.
    pub fn finish(mut self) -> io::Result<W> {
        if let State::Events(decoder) = &mut self.state {
            decoder.close();
        }
        self.write_events()?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Takes in what stands first in the bytes from here on, if it is whole; tells how
    /// long that was.
    fn take(&mut self, from: usize) -> io::Result<usize> {
        let bytes = &self.bytes[from..];
        if matches!(self.state, State::Head) {
            if bytes.len() < HEAD_BYTES {
                return Ok(0);
            }
            Blocks::new(&bytes[..HEAD_BYTES]).map_err(invalid)?;
            self.state = State::Program;
            return Ok(HEAD_BYTES);
        }
        let Some(&[_, a, b, c, d]) = bytes.first_chunk() else {
            return Ok(0);
        };
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let whole = BLOCK_HEAD_BYTES + length;
        if length <= MOST_PAYLOAD_BYTES && bytes.len() < whole {
            return Ok(0);
        }
        let mut payload = Vec::new();
        let mut blocks = Blocks::behind_head(bytes, self.offset);
        let block = blocks.next(&mut payload).map_err(invalid)?;
        match &mut self.state {
            State::Events(decoder) => {
                let taken = decoder.take(block.kind, payload, block.offset);
                taken.map_err(|fault| invalid(fault.words()))?;
                self.write_events()?;
            }
            _ => {
                let decoder = Decoder::new(block.kind, &payload);
                let decoder = decoder.map_err(|fault| invalid(fault.words()))?;
                self.state = State::Events(Box::new(decoder));
            }
        }
        Ok(whole)
    }

    fn write_events(&mut self) -> io::Result<()> {
        let State::Events(decoder) = &mut self.state else {
            return Ok(());
        };
        let mut event = Event::NONE;
        while let Some(done) = decoder.next(&mut event) {
            done.map_err(|(_, fault)| invalid(fault.words()))?;
            let (next, all) = (self.shown.next(), decoder.tables.stacks());
            if next < all {
                let mut stacks = stacks::profile(&decoder.tables, next..all).map_err(invalid)?;
                (self.name)(&mut stacks);
                stacks.trim();
                self.shown.add(&stacks);
            }
            let (tables, others) = (&decoder.tables, &decoder.others);
            write_event(&event, others, tables, &self.shown, &mut self.out)?;
        }
        Ok(())
    }
}

impl<W: Write, N: FnMut(&mut Profile)> Write for Converter<W, N> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        let mut done = 0;
        loop {
            match self.take(done)? {
                0 => break,
                taken => {
                    done += taken;
                    self.offset += taken as u64;
                }
            }
        }
        self.bytes.drain(..done);
        Ok(bytes.len())
    }

    /// Writes the text of all events that need not wait for others.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
