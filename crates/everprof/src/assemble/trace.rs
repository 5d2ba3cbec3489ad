//! From what threads have recorded to the blocks of a trace.
//!
//! Context: cold, on the trace's own thread. Invariant: what an event names (its thread, its
//! stack) is told of before it, in the same bytes; a thread's events stay in their order.

use std::collections::HashMap;
use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

use everprof_core::global;
use everprof_core::modules;
use everprof_core::threads;
use everprof_core::trace::buffers::Writer;
use everprof_core::trace::{Event, GcStep, Session, StackAt, TypeAt};
use everprof_profile::Profile;
use everprof_profile::symbolize::{self, Binaries};
use everprof_profile::trace::encode::{self, Events};
use everprof_profile::trace::text::Converter;
use everprof_profile::trace::{self, Other, Step, Table, Totals, What};

use super::modules::Modules;
use crate::trace::heaps;
pub(crate) use head::Head;
use head::tell_modules;
use told::{Told, name_of, tell_thread, without_buffer};

mod head;
mod told;
mod unit;

/// A trace on its way from buffers to bytes.
#[derive(Debug)]
pub(crate) struct Blocks {
    session: Session<'static>,
    shift: u32,
    threads: HashMap<Writer, Told>,
    /// How many threads were told of; numbers are not used again.
    told: u32,
    /// How many modules were told of.
    modules: usize,
    /// How many heaps were told of.
    heaps: u32,
    /// The numbers of types, and those that are to be told of.
    types: HashMap<TypeAt, u32>,
    new_types: Vec<(u32, &'static str)>,
    /// Whether what other threads do is written with collections.
    gc_stacks: bool,
    /// Rounds of looks at the names of all threads.
    looks: u32,
    /// What is to be written next.
    out: Vec<u8>,
    /// Stacks that are to be told of before the events which name them.
    stacks: Vec<&'static [u64]>,
    /// The number of the first of them.
    first_stack: u32,
    /// Everything before this time had been recorded when last looked.
    settled_ticks: u64,
    events: u64,
    lost: u64,
}

/// What came of a look at the buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drained {
    /// Events that were found.
    pub(crate) events: u64,
    /// Threads had events and no buffer for them.
    pub(crate) lost_without_buffer: bool,
}

/// Names of threads that are asked for at a look: 10 µs each.
const NAMES_A_LOOK: u32 = 64;

/// How long threads are waited for that do not answer when a collection asks for stacks.
const MOST_COLLECTING: Duration = Duration::from_millis(100);

/// A block of events is closed when it is so long: some 10,000 events.
const FULL_BYTES: usize = 64 << 10;

impl Blocks {
    /// Goes on behind `head`.
    pub(crate) fn new(session: Session<'static>, head: &Head, gc_stacks: bool) -> Self {
        let settled_ticks = session.start_ticks();
        Self {
            session,
            shift: head.shift,
            threads: HashMap::new(),
            told: 0,
            modules: head.modules,
            heaps: 0,
            types: HashMap::new(),
            new_types: Vec::new(),
            gc_stacks,
            looks: 1,
            out: Vec::new(),
            stacks: Vec::new(),
            first_stack: 1,
            settled_ticks,
            events: 0,
            lost: 0,
        }
    }

    /// Whether anything is recorded still.
    pub(crate) fn is_on(&self) -> bool {
        self.session.is_on()
    }

    /// Nothing more is recorded from here on. False: something was not, before.
    pub(crate) fn end(&self) -> bool {
        self.session.end()
    }

    /// Whether somebody wants the trace to end.
    pub(crate) fn is_asked_to_end(&self) -> bool {
        self.session.is_asked_to_end()
    }

    /// Sleeps until somebody does, for so long at most.
    pub(crate) fn sleep(&self, most: Duration) {
        self.session.sleep(most);
    }

    /// Events and losses so far.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.events, self.lost)
    }

    /// Takes what threads have recorded. Each full piece of it is given to `write`.
    pub(crate) fn drain<E>(
        &mut self,
        write: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Drained, E> {
        let now = self.session.now_ticks();
        let before = self.events;
        for writer in self.session.writers() {
            self.read(writer);
            self.give(write)?;
        }
        let lost_without_buffer = self.lost_without_buffer();
        // What was recorded before the last look is in the file, but for a thread that was
        // stopped in the midst of an event for all that time.
        encode::round(&mut self.out, self.settled_ticks >> self.shift);
        self.settled_ticks = now;
        self.give(write)?;
        Ok(Drained {
            events: self.events - before,
            lost_without_buffer,
        })
    }

    /// Looks for threads that have ended, and at the names of the others: now and then.
    pub(crate) fn look_around(&mut self) {
        let mut names = NAMES_A_LOOK;
        for writer in self.session.writers() {
            if names != 0
                && let Some(told) = self.threads.get_mut(&writer)
                && told.named != self.looks
            {
                (told.named, names) = (self.looks, names - 1);
                if let Some(name) = name_of(writer.tid).filter(|name| *name != told.name) {
                    told.name = name;
                    tell_thread(&mut self.out, writer.tid, told);
                }
            }
            let mut late = Vec::new();
            if self
                .session
                .give_back_if_gone(writer, |ticks, event| late.push((ticks, event)))
            {
                let mut told = self.threads.remove(&writer);
                for (ticks, event) in late {
                    self.take(&mut told, writer, ticks, event);
                }
                if let Some(mut told) = told {
                    self.seal(&mut told);
                }
            }
        }
        if names != 0 {
            // Everybody's was looked at: from the first one on again.
            self.looks += 1;
        }
    }

    /// The last blocks.
    pub(crate) fn finish<E>(
        &mut self,
        write: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.drain(write)?;
        for writer in self.session.writers() {
            let events = self.session.lost(writer);
            if events != 0 {
                self.take_one(writer, Event::Lost { events });
            }
        }
        let time = self.session.now_ticks() >> self.shift;
        encode::round(&mut self.out, time);
        let totals = Totals {
            events: self.events,
            lost: self.lost,
            time,
        };
        encode::end(&mut self.out, &totals);
        self.give(write)
    }

    fn give<E>(&mut self, write: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if !self.out.is_empty() {
            write(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Takes what a thread has recorded. What is known of the thread stands apart meanwhile:
    /// it is looked up once, and not at each event.
    fn read(&mut self, writer: Writer) {
        let reader = self.session.reader();
        let mut told = self
            .threads
            .remove(&writer)
            .or_else(|| self.threads.remove(&without_buffer(writer.tid)));
        reader.read(writer, |ticks, event| {
            self.take(&mut told, writer, ticks, event)
        });
        self.put_back(writer, told);
    }

    fn take(&mut self, told: &mut Option<Told>, writer: Writer, ticks: u64, event: Event) {
        let time = ticks >> self.shift;
        let what = self.what(event);
        let others = match what {
            What::Cycle {
                step: Step::NextCycle,
                ..
            } if self.gc_stacks => self.others(writer.tid, time),
            _ => Vec::new(),
        };
        let told = match told {
            Some(told) => told,
            None => told.insert(self.tell(writer, time)),
        };
        self.events += 1;
        let thread = told.number;
        told.events
            .push(&trace::Event { time, thread, what }, &others);
        if told.events.bytes() >= FULL_BYTES {
            self.seal(told);
        }
    }

    /// Takes an event of now.
    fn take_one(&mut self, writer: Writer, event: Event) {
        let mut told = self.threads.remove(&writer);
        self.take(&mut told, writer, self.session.now_ticks(), event);
        self.put_back(writer, told);
    }

    /// Closes a thread's block, with what its events name before it.
    fn seal(&mut self, told: &mut Told) {
        self.tell_modules();
        self.tell_names();
        if !self.stacks.is_empty() {
            encode::stacks(&mut self.out, self.first_stack, self.stacks.iter().copied());
            self.first_stack += self.stacks.len() as u32;
            self.stacks.clear();
        }
        if !told.events.is_empty() {
            encode::events(&mut self.out, &told.events);
            told.events.clear();
        }
    }

    fn put_back(&mut self, writer: Writer, told: Option<Told>) {
        if let Some(mut told) = told {
            self.seal(&mut told);
            self.threads.insert(writer, told);
        }
    }

    /// What all threads but this one are doing now.
    fn others(&mut self, but: u32, time: u64) -> Vec<Other> {
        let dump = threads::collect(MOST_COLLECTING);
        let mut others = Vec::new();
        for thread in dump.iter().filter(|thread| thread.id != but) {
            if thread.stack.is_empty() {
                continue;
            }
            let at = self.session.stack_at(thread.stack);
            let stack = self.stack(at);
            let thread = self.number_of(thread.id, time);
            others.push(Other { thread, stack });
        }
        others
    }

    /// The number of a thread of which only the kernel's is known.
    fn number_of(&mut self, tid: u32, time: u64) -> u32 {
        let known = self.threads.iter().find(|(writer, _)| writer.tid == tid);
        if let Some((_, told)) = known {
            return told.number;
        }
        // It has recorded nothing yet, or stands apart: told of by itself.
        let nobody = without_buffer(tid);
        let told = self.tell(nobody, time);
        let number = told.number;
        self.threads.insert(nobody, told);
        number
    }

    /// A thread that comes up for the first time.
    fn tell(&mut self, writer: Writer, time: u64) -> Told {
        let number = self.told;
        self.told += 1;
        let name = match writer.tid {
            0 => "(threads without a buffer)".to_owned(),
            tid => name_of(tid).unwrap_or_default(),
        };
        let told = Told {
            number,
            name,
            named: 0,
            events: Events::new(number, time, 0),
        };
        tell_thread(&mut self.out, writer.tid, &told);
        told
    }

    /// Names of heaps and types that came up.
    fn tell_names(&mut self) {
        let heaps = heaps::names_from(self.heaps + 1);
        if !heaps.is_empty() {
            self.heaps += heaps.len() as u32;
            let names: Vec<_> = heaps.iter().map(|(n, name)| (*n, name.as_str())).collect();
            encode::names(&mut self.out, Table::Heaps, names);
        }
        if !self.new_types.is_empty() {
            encode::names(&mut self.out, Table::Types, self.new_types.drain(..));
        }
    }

    /// The number of a type, which is told of when the block is closed.
    fn type_id(&mut self, at: TypeAt) -> u32 {
        let Some(name) = self.session.type_name(at) else {
            return 0;
        };
        let next = self.types.len() as u32 + 1;
        *self.types.entry(at).or_insert_with(|| {
            self.new_types.push((next, name));
            next
        })
    }

    fn what(&mut self, event: Event) -> What {
        match event {
            Event::Alloc {
                address,
                size_bytes,
                stack,
            } => What::Alloc {
                stack: self.stack(stack),
                size_bytes,
                address,
            },
            Event::Free { address } => What::Free { address },
            // C's `realloc` of nothing.
            Event::Realloc {
                old_address: 0,
                address,
                size_bytes,
                stack,
                ..
            } => What::Alloc {
                stack: self.stack(stack),
                size_bytes,
                address,
            },
            Event::Realloc {
                old_address,
                address,
                size_bytes,
                stack,
                took_ticks,
            } => What::Realloc {
                old_address,
                stack: self.stack(stack),
                size_bytes,
                address,
                took: took_ticks >> self.shift,
            },
            Event::Lost { events } => {
                self.lost += events;
                What::Lost { events }
            }
            Event::ManagedAlloc {
                heap,
                address,
                size_bytes,
                stack,
                type_at,
            } => What::ManagedAlloc {
                heap,
                type_id: self.type_id(type_at),
                stack: self.stack(stack),
                size_bytes,
                address,
            },
            Event::ManagedFree {
                heap,
                address,
                swept,
            } => What::ManagedFree {
                heap,
                is_swept: swept,
                address,
            },
            Event::Gc { heap, step } => What::Cycle {
                heap,
                step: match step {
                    GcStep::NextCycle => Step::NextCycle,
                    GcStep::Flush => Step::Flush,
                    GcStep::PostSweep => Step::PostSweep,
                },
            },
        }
    }

    /// The number of a stack, which is told of when the block is closed.
    fn stack(&mut self, at: StackAt) -> u32 {
        let Some(stack) = self.session.number(at) else {
            return 0;
        };
        self.stacks.extend(stack.new);
        stack.number
    }

    /// Events of threads that have no buffer belong to a thread that says so.
    fn lost_without_buffer(&mut self) -> bool {
        let events = self.session.lost_without_buffer();
        if events != 0 {
            self.take_one(without_buffer(0), Event::Lost { events });
        }
        events != 0
    }

    /// Tells of all modules again, if there are others than the last time.
    fn tell_modules(&mut self) {
        let count = modules::count();
        if count == self.modules {
            return;
        }
        self.modules = count;
        tell_modules(&mut self.out);
    }
}

/// Turns the bytes of a trace into text, with the names of this process's functions.
pub(crate) type Text<W> = Converter<W, fn(&mut Profile)>;

/// Writes the text of what it is given to `out`.
pub(crate) fn text<W: Write>(out: W) -> Text<W> {
    Converter::new(out, |stacks| {
        // What has no name stays an address.
        let _ = symbolize::names_from(stacks, preloaded());
    })
}

/// Where the module is, while this process runs, that traces tell of without its path.
fn preloaded() -> &'static Binaries {
    static PRELOADED: OnceLock<Binaries> = OnceLock::new();
    PRELOADED.get_or_init(|| {
        let own_text = global::store().own_text();
        let mut binaries = Binaries::new();
        for module in Modules::of_this_process().all {
            if (module.start..module.limit).contains(&own_text.start) {
                // Without it its functions stay addresses.
                let _ = binaries.add(module.file);
            }
        }
        binaries
    })
}
