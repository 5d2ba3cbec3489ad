//! Objects: follows each object of a trace from its allocation to its end, and counts at
//! the site that allocated it.
//!
//! Context: cold, and run for each event: a constant number of steps, whatever there is.
//! Invariant: the sums of all sites are those of the whole, at every moment.
//!
//! **The peak** is the first moment at which most bytes are in use. What each site then had
//! is known without looking at all sites whenever a new peak is reached, which on the way
//! up is with every allocation: a site notes what it has when it changes for the first time
//! *after* a peak.
//!
//! ```text
//! peak number   1     2     3                       3 is the last
//! site A        5     6     6→4  note 6 of peak 3   at the peak: 6, the note
//! site B        1     1     2                       at the peak: 2, what it has
//! ```
//!
//! **Temporary** is an object that is freed before the thread that allocated it allocates
//! again (as heaptrack has it, but for each thread by itself). A reallocation
//! allocates, and does not free: what grows is no temporary.
//!
//! **Reallocations**: the bytes copied are the smaller one's of the two sizes where the
//! address changed. Large objects are moved by the system without a copy, so it is a bound.

use super::event::{Event, What};
use super::findings::{Amount, Findings, Site};
use super::in_use::{InUse, MOST_BYTES, Object};
use super::late::Late;
use super::tables::Tables;
use super::wanted::Wanted;

use std::collections::HashMap;

/// What changes with each event, in a line of the cache.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Hot {
    allocated: Amount,
    in_use: Amount,
    at_peak: Amount,
    /// The peak of which `at_peak` is the note.
    noted: u64,
}

/// Follows objects.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use everprof_profile::trace::{Objects, Reader, Wanted};
///
/// let mut reader = Reader::new(std::fs::File::open("app.trace")?)?;
/// let mut objects = Objects::new(Wanted::default(), reader.tables());
/// while let Some(event) = reader.next_event() {
///     objects.take(&event, reader.tables());
/// }
/// println!("most in use: {} bytes", objects.finish(reader.tables()).at_peak.bytes);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Objects {
    wanted: Wanted,
    /// The part to look at, in the trace's units.
    from: u64,
    until: u64,
    /// That part has begun.
    is_counting: bool,
    in_use: InUse,
    late: Late,
    /// What each thread allocated last.
    last: Vec<u64>,
    /// By stack, or as `typed` has it; what changes often of each, and the rest.
    hot: Vec<Hot>,
    sites: Vec<Site>,
    typed: HashMap<(u32, u32), u32>,
    findings: Findings,
    /// The number of the last peak.
    peak: u64,
    peak_time: u64,
    first_time: Option<u64>,
    last_time: u64,
}

impl Objects {
    /// Nothing yet of a trace with these tables.
    pub fn new(wanted: Wanted, tables: &Tables) -> Objects {
        let program = tables.program();
        let until = match wanted.nanos.end {
            u64::MAX => u64::MAX,
            nanos => program.time_at(nanos),
        };
        let from = match wanted.nanos.start {
            0 => 0,
            nanos => program.time_at(nanos),
        };
        Objects {
            wanted,
            from,
            until,
            is_counting: false,
            in_use: InUse::default(),
            late: Late::default(),
            last: Vec::new(),
            hot: Vec::new(),
            sites: Vec::new(),
            typed: HashMap::new(),
            findings: Findings::default(),
            peak: 1,
            peak_time: from,
            first_time: None,
            last_time: 0,
        }
    }

    /// Whether an event of this time is behind the part that is looked at, as are all that
    /// follow in order.
    pub fn is_past(&self, time: u64) -> bool {
        time >= self.until
    }

    /// Follows an event.
    #[inline]
    pub fn take(&mut self, event: &Event, tables: &Tables) {
        let (time, thread) = (event.time, event.thread);
        if time >= self.until {
            return;
        }
        if !self.is_counting && time >= self.from {
            self.begin();
        }
        if self.is_counting {
            self.first_time.get_or_insert(time);
            self.last_time = self.last_time.max(time);
            self.findings.counts.events += 1;
        }
        let more = u64::from(self.is_counting);
        let counts = &mut self.findings.counts;
        match event.what {
            What::Alloc {
                stack,
                size_bytes,
                address,
            } => {
                counts.allocs += more;
                if self.wanted.heap.is_none() {
                    let object = New {
                        address,
                        time,
                        size_bytes,
                        thread,
                        stack,
                        type_id: 0,
                    };
                    self.alloc(object, tables, None);
                }
            }
            What::Free { address } => {
                counts.frees += more;
                if self.wanted.heap.is_none() {
                    self.free(address, time, thread, tables);
                }
            }
            What::Realloc {
                old_address,
                stack,
                size_bytes,
                address,
                took,
            } => {
                counts.reallocs += more;
                if self.wanted.heap.is_none() {
                    let object = New {
                        address,
                        time: time.saturating_add(took),
                        size_bytes,
                        thread,
                        stack,
                        type_id: 0,
                    };
                    self.realloc(old_address, time, object, tables);
                }
            }
            What::ManagedAlloc {
                heap,
                type_id,
                stack,
                size_bytes,
                address,
            } => {
                counts.managed_allocs += more;
                if self.wanted.heap == Some(heap) {
                    let object = New {
                        address,
                        time,
                        size_bytes,
                        thread,
                        stack,
                        type_id,
                    };
                    self.alloc(object, tables, None);
                }
            }
            What::ManagedFree { heap, address, .. } => {
                counts.managed_frees += more;
                if self.wanted.heap == Some(heap) {
                    self.free(address, time, thread, tables);
                }
            }
            What::Cycle { .. } => counts.cycles += more,
            What::Lost { events } => {
                counts.lost = counts.lost.saturating_add(more.saturating_mul(events));
            }
        }
    }

    /// Looks at what was found.
    pub fn finish(mut self, tables: &Tables) -> Findings {
        let program = tables.program();
        if !self.is_counting {
            self.begin();
        }
        let peak = self.peak;
        for (site, hot) in self.sites.iter_mut().zip(&mut self.hot) {
            hot.note(peak);
            site.allocated = hot.allocated;
            site.in_use = hot.in_use;
            site.at_peak = hot.at_peak;
            self.findings.reallocations += site.reallocations;
            self.findings.moved += site.moved;
            let copied = &mut self.findings.copied_bytes;
            *copied = copied.saturating_add(site.copied_bytes);
        }
        self.sites.retain(Site::tells_something);
        self.findings.sites = self.sites;
        self.findings.peak_nanos = program.nanos(self.peak_time);
        self.findings.from_nanos = program.nanos(self.first_time.unwrap_or(self.from));
        self.findings.until_nanos = program.nanos(self.last_time);
        self.findings
    }
}

/// An object that is about to be.
struct New {
    address: u64,
    time: u64,
    size_bytes: u64,
    thread: u32,
    stack: u32,
    type_id: u32,
}

impl Objects {
    /// The part to look at begins: what is in use now is the peak so far.
    #[cold]
    fn begin(&mut self) {
        self.is_counting = true;
        self.peak += 1;
        self.findings.at_peak = self.findings.in_use;
    }

    #[inline]
    fn alloc(&mut self, new: New, tables: &Tables, before: Option<&Object>) {
        let New {
            address,
            time,
            thread,
            stack,
            ..
        } = new;
        self.remember_last(thread, address);
        let size_bytes = new.size_bytes.min(MOST_BYTES);
        if !self.wanted.takes(tables, thread, stack, size_bytes) {
            // An object that was there has ended all the same.
            if let Some(old) = self.in_use.remove_if(address, |old| old.time <= time) {
                self.end_displaced(&old, time);
            }
            return;
        }
        let number = self.site(stack, new.type_id);
        let mut object = Object::new(address, time, size_bytes, number, thread);
        if let Some(before) = before {
            object = object.after(before);
        }
        let was_there = self.in_use.insert(object);
        let (peak, is_counting) = (self.peak, self.is_counting);
        let hot = &mut self.hot[number as usize];
        hot.note(peak);
        hot.in_use.add(size_bytes);
        if is_counting {
            hot.allocated.add(size_bytes);
            self.findings.allocated.add(size_bytes);
        }
        self.findings.in_use.add(size_bytes);
        if self.findings.in_use.bytes > self.findings.at_peak.bytes && is_counting {
            self.findings.at_peak = self.findings.in_use;
            self.peak += 1;
            self.peak_time = time;
        }
        if let Some(old) = was_there {
            self.displace(&old, &object);
        } else if let Some(freed) = self.late.freed_at(address, time, thread) {
            self.in_use.remove_if(address, |_| true);
            self.end(&object, freed, false);
        }
    }

    #[inline]
    fn free(&mut self, address: u64, time: u64, thread: u32, tables: &Tables) {
        match self.take_object(address, time, thread, tables) {
            Some(object) => {
                let last = self.last.get(object.thread as usize);
                self.end(&object, time, last == Some(&address));
            }
            None => self.findings.unknown_frees += u64::from(self.is_counting),
        }
    }

    fn realloc(&mut self, old_address: u64, time: u64, new: New, tables: &Tables) {
        let before = self.take_object(old_address, time, new.thread, tables);
        if let Some(old) = &before {
            self.end(old, time, false);
        }
        let (moved, stack) = (new.address != old_address, new.stack);
        let size_bytes = new.size_bytes.min(MOST_BYTES);
        let is_wanted = self.wanted.takes(tables, new.thread, stack, size_bytes);
        self.alloc(new, tables, before.as_ref());
        if is_wanted && self.is_counting {
            let number = self.site(stack, 0);
            let site = &mut self.sites[number as usize];
            site.reallocations += 1;
            let chain = before.map_or(0, |old| old.reallocations().saturating_add(1));
            site.longest_chain = site.longest_chain.max(chain);
            if moved {
                site.moved += 1;
                let copied = before.map_or(0, |old| old.size_bytes().min(size_bytes));
                site.copied_bytes = site.copied_bytes.saturating_add(copied);
            }
        }
    }

    /// The object that a free at this time ends.
    #[inline]
    fn take_object(
        &mut self,
        address: u64,
        time: u64,
        thread: u32,
        tables: &Tables,
    ) -> Option<Object> {
        if self.late.is_spent(address, time) {
            return None;
        }
        let is_its = |object: &Object| object.time <= time || object.thread == thread;
        let object = self.in_use.remove_if(address, is_its);
        // With one thread nothing comes late.
        if object.is_none() && tables.threads().len() > 1 {
            self.late.free_of_nothing(address, time, thread);
        }
        object
    }

    /// Counts the end of an object that is not in use any more.
    #[inline]
    fn end(&mut self, object: &Object, time: u64, is_temporary: bool) {
        let (bytes, number) = (object.size_bytes(), object.site as usize);
        let hot = &mut self.hot[number];
        hot.note(self.peak);
        hot.in_use.take(bytes);
        self.findings.in_use.take(bytes);
        if self.is_counting && is_temporary {
            self.sites[number].temporary.add(bytes);
            self.findings.temporary.add(bytes);
        }
        if self.is_counting && self.wanted.lifetimes {
            let lived = time.saturating_sub(object.time);
            self.sites[number].lifetimes.add(lived);
        }
    }

    /// Two objects at one address: the earlier one has ended, and is the new one if that
    /// comes late.
    #[cold]
    fn displace(&mut self, old: &Object, new: &Object) {
        if old.time <= new.time {
            self.end_displaced(old, new.time);
        } else {
            self.in_use.insert(*old);
            self.end_displaced(new, old.time);
        }
    }

    #[cold]
    fn end_displaced(&mut self, old: &Object, time: u64) {
        self.findings.displaced += u64::from(self.is_counting);
        self.late.displaced(old.address, time);
        self.end(old, time, false);
    }

    #[inline]
    fn remember_last(&mut self, thread: u32, address: u64) {
        let place = thread as usize;
        match self.last.get_mut(place) {
            Some(last) => *last = address,
            None => {
                self.last.resize(place + 1, 0);
                self.last[place] = address;
            }
        }
    }

    #[inline]
    fn site(&mut self, stack: u32, type_id: u32) -> u32 {
        if self.wanted.heap.is_some() {
            return self.typed_site(stack, type_id);
        }
        if self.sites.len() <= stack as usize {
            self.grow_to(stack);
        }
        stack
    }

    #[cold]
    fn grow_to(&mut self, stack: u32) {
        for stack in self.sites.len() as u32..=stack {
            self.push_site(stack, 0);
        }
    }

    fn typed_site(&mut self, stack: u32, type_id: u32) -> u32 {
        let next = self.sites.len() as u32;
        let number = *self.typed.entry((stack, type_id)).or_insert(next);
        if number == next {
            self.push_site(stack, type_id);
        }
        number
    }

    fn push_site(&mut self, stack: u32, type_id: u32) {
        self.hot.push(Hot::default());
        self.sites.push(Site {
            stack,
            type_id,
            ..Site::default()
        });
    }
}

impl Hot {
    /// Before a change: keeps what there was at the last peak (module head).
    #[inline]
    fn note(&mut self, peak: u64) {
        if self.noted != peak {
            self.at_peak = self.in_use;
            self.noted = peak;
        }
    }
}
