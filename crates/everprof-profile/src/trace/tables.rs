//! Tables: what the numbers in a trace's events stand for.
//!
//! Context: cold.
//! Invariant: stacks and threads are numbered in turn, so that a number below the count has
//! its entry; a stack's frames are nodes of one tree, whose parents come before them.
//! Source: the tree is that of heaptrack's and of pprof's compact formats: stacks that share
//! their outer frames share their nodes, 16 bytes each.

use std::collections::HashMap;

use super::fault::{Fault, narrow};
use super::format::{FIRST_ADDRESS, MOST_FRAMES, MOST_SHIFT, Table};
use super::stack_tree::StackTree;
use crate::wire::Reader;

/// Which process was traced, when, and how it counts time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// How many ticks its clock makes in a second.
    pub ticks_per_second: u64,
    /// When the trace began, in nanoseconds since 1970.
    pub start_unix_nanos: u64,
    /// What its clock showed then.
    pub start_ticks: u64,
    /// Times in the trace are ticks without so many of their lowest bits.
    pub shift: u32,
    /// The process.
    pub pid: u32,
    /// What it was started with.
    pub command_line: Vec<String>,
}

impl Program {
    /// Nanoseconds from the start of the trace to a time of an event; 0 before it.
    pub fn nanos(&self, time: u64) -> u64 {
        let ticks = (u128::from(time) << self.shift).saturating_sub(self.start_ticks.into());
        let nanos = ticks * NANOS_PER_SECOND / u128::from(self.ticks_per_second.max(1));
        nanos.try_into().unwrap_or(u64::MAX)
    }

    /// Nanoseconds that a distance between two times is.
    pub fn nanos_between(&self, from: u64, to: u64) -> u64 {
        let ticks = u128::from(to.saturating_sub(from)) << self.shift;
        let nanos = ticks * NANOS_PER_SECOND / u128::from(self.ticks_per_second.max(1));
        nanos.try_into().unwrap_or(u64::MAX)
    }

    /// The first time that is so many nanoseconds after the start of the trace or later.
    pub fn time_at(&self, nanos: u64) -> u64 {
        let ticks = (u128::from(nanos) * u128::from(self.ticks_per_second))
            .div_ceil(NANOS_PER_SECOND)
            .saturating_add(self.start_ticks.into());
        let unit = 1u128 << self.shift;
        ticks.div_ceil(unit).try_into().unwrap_or(u64::MAX)
    }
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// A file that is loaded at an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Module {
    /// First address of its code.
    pub start: u64,
    /// First address behind its code.
    pub limit: u64,
    /// Where in the file the byte at `start` stands.
    pub offset: u64,
    /// Path.
    pub file: String,
    /// GNU build id; empty if it has none.
    pub build_id: Vec<u8>,
}

/// A thread of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    /// Its number in the system.
    pub tid: u32,
    /// Its name; the last one if it was renamed.
    pub name: String,
}

/// What the recorder says at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many events the trace holds.
    pub events: u64,
    /// How many had no room.
    pub lost: u64,
    /// When the trace ended.
    pub time: u64,
}

/// All that a trace has said so far of its numbers.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    program: Program,
    modules: Vec<Module>,
    known_modules: HashMap<Module, u32>,
    /// Numbers of the modules that are loaded now, by their first address.
    loaded: Vec<u32>,
    tree: StackTree,
    names: HashMap<(u8, u32), String>,
    threads: Vec<Thread>,
}

/// One frame of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The address to which it returns; below [`FIRST_ADDRESS`] a number for
    /// [`Tables::name`] of [`Table::Frames`].
    pub return_address: u64,
    /// The module that was loaded there when the stack was recorded, as an index of
    /// [`Tables::modules`].
    pub module: Option<u32>,
}

/// Reading.
impl Tables {
    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// All modules that were ever told of, the program's own file first.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// How many stacks there are, the absent one of number 0 among them.
    pub fn stacks(&self) -> u32 {
        self.tree.stacks()
    }

    /// The frames of a stack, leaf first; none for a number that is no stack's.
    pub fn stack(&self, number: u32) -> impl Iterator<Item = Frame> + '_ {
        self.tree
            .frames(number)
            .map(|(return_address, module)| Frame {
                return_address,
                // Told of too late, if at all: what stands there now.
                module: module.or_else(|| self.find_module(return_address)),
            })
    }

    /// The name of a number.
    pub fn name(&self, table: Table, number: u32) -> Option<&str> {
        self.names.get(&(table as u8, number)).map(String::as_str)
    }

    /// The numbers and names of a table, in no order.
    pub fn names(&self, table: Table) -> impl Iterator<Item = (u32, &str)> {
        self.names
            .iter()
            .filter(move |((of, _), _)| *of == table as u8)
            .map(|((_, number), name)| (*number, name.as_str()))
    }

    /// A thread by its number.
    pub fn thread(&self, number: u32) -> Option<&Thread> {
        self.threads.get(number as usize)
    }

    /// All threads, by number.
    pub fn threads(&self) -> &[Thread] {
        &self.threads
    }

    fn find_module(&self, return_address: u64) -> Option<u32> {
        if return_address < FIRST_ADDRESS {
            return None;
        }
        // The call, and not what it returns to, is within the module.
        let address = return_address - 1;
        let behind = self
            .loaded
            .partition_point(|&at| self.modules[at as usize].start <= address);
        let at = *self.loaded.get(behind.checked_sub(1)?)?;
        (address < self.modules[at as usize].limit).then_some(at)
    }
}

/// Taking in blocks.
impl Tables {
    pub(crate) fn new(payload: &[u8]) -> Result<Tables, Fault> {
        let mut reader = Reader::new(payload);
        let ticks_per_second = reader.varint()?;
        if ticks_per_second == 0 {
            return Err(Fault::new("0 ticks a second"));
        }
        let start_unix_nanos = reader.varint()?;
        let start_ticks = reader.varint()?;
        let shift = narrow(reader.varint()?, "shift of times")?;
        if shift > MOST_SHIFT {
            return Err(Fault::new(format!(
                "shift of times {shift}: expected at most {MOST_SHIFT}"
            )));
        }
        let pid = narrow(reader.varint()?, "process")?;
        let mut command_line = Vec::new();
        for _ in 0..reader.varint()? {
            command_line.push(text(&mut reader)?);
        }
        all_read(&reader)?;
        Ok(Tables {
            program: Program {
                ticks_per_second,
                start_unix_nanos,
                start_ticks,
                shift,
                pid,
                command_line,
            },
            ..Tables::default()
        })
    }

    pub(crate) fn take_modules(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(payload);
        self.loaded.clear();
        for _ in 0..reader.varint()? {
            let start = reader.varint()?;
            let length = reader.varint()?;
            let limit = start.checked_add(length);
            let module = Module {
                start,
                limit: limit.ok_or_else(|| Fault::new("a module beyond the last address"))?,
                offset: reader.varint()?,
                file: text(&mut reader)?,
                build_id: bytes(&mut reader)?.to_vec(),
            };
            let number = match self.known_modules.get(&module) {
                Some(&number) => number,
                None => {
                    let number = narrow(self.modules.len() as u64, "module")?;
                    self.known_modules.insert(module.clone(), number);
                    self.modules.push(module);
                    number
                }
            };
            self.loaded.push(number);
        }
        let modules = &self.modules;
        self.loaded.sort_by_key(|&at| modules[at as usize].start);
        all_read(&reader)
    }

    pub(crate) fn take_stacks(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(payload);
        let (first, expected) = (reader.varint()?, self.stacks());
        if first != u64::from(expected) {
            return Err(Fault::new(format!(
                "stacks from number {first}: expected {expected}"
            )));
        }
        // Nodes of the stack before, the outermost frame first.
        let mut path: Vec<u32> = Vec::new();
        for _ in 0..reader.varint()? {
            let keep = reader.varint()?;
            if keep > path.len() as u64 {
                return Err(Fault::new(format!(
                    "a stack shares {keep} frames with one of {}",
                    path.len()
                )));
            }
            path.truncate(keep as usize);
            let more = reader.varint()?;
            if more > (MOST_FRAMES - path.len()) as u64 {
                return Err(Fault::new(format!(
                    "a stack of {keep} and {more} frames: expected at most {MOST_FRAMES}"
                )));
            }
            let mut outer = path.last().map_or(0, |&node| self.tree.address(node));
            for _ in 0..more {
                let step = super::format::unzigzag(reader.varint()?);
                let address = outer.wrapping_add(step as u64);
                let module = self.find_module(address);
                let parent = path.last().copied();
                path.push(self.tree.child(parent, address, module)?);
                outer = address;
            }
            self.tree.push(path.last().copied())?;
        }
        all_read(&reader)
    }

    pub(crate) fn take_names(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(payload);
        let table = reader.varint()?;
        let count = reader.varint()?;
        for _ in 0..count {
            let number = narrow(reader.varint()?, "name")?;
            let name = text(&mut reader)?;
            // Tables of later versions are for their readers.
            if let Ok(table) = u8::try_from(table) {
                self.names.insert((table, number), name);
            }
        }
        all_read(&reader)
    }

    pub(crate) fn take_thread(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let mut reader = Reader::new(payload);
        let (number, known) = (reader.varint()?, self.threads.len());
        if number > known as u64 {
            return Err(Fault::new(format!(
                "thread {number}: expected at most {known}"
            )));
        }
        let thread = Thread {
            tid: narrow(reader.varint()?, "thread of the system")?,
            name: text(&mut reader)?,
        };
        all_read(&reader)?;
        match self.threads.get_mut(number as usize) {
            Some(renamed) => *renamed = thread,
            None => self.threads.push(thread),
        }
        Ok(())
    }
}

impl Totals {
    pub(crate) fn new(payload: &[u8]) -> Result<Totals, Fault> {
        let mut reader = Reader::new(payload);
        let totals = Totals {
            events: reader.varint()?,
            lost: reader.varint()?,
            time: reader.varint()?,
        };
        all_read(&reader)?;
        Ok(totals)
    }
}

fn bytes<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Fault> {
    let length = reader.varint()?;
    Ok(reader.take(length)?)
}

fn text(reader: &mut Reader<'_>) -> Result<String, Fault> {
    Ok(String::from_utf8_lossy(bytes(reader)?).into_owned())
}

pub(crate) fn all_read(reader: &Reader<'_>) -> Result<(), Fault> {
    match reader.remaining() {
        0 => Ok(()),
        left => Err(Fault::new(format!(
            "{left} bytes behind a block's last field"
        ))),
    }
}
