//! What is found in a trace, against a model that keeps everything.
#![allow(clippy::unwrap_used)]

mod traces;

use std::collections::BTreeMap;

use everprof_profile::trace::{
    Amount, Event, Findings, Objects, Reader, Site, View, Wanted, What, stacks,
};
use everprof_profile::{Filter, Profile};
use proptest::prelude::*;

fn found(threads: u32, events: &[Event], wanted: &Wanted) -> Findings {
    found_in(&traces::of(threads, events, 3, 10), wanted)
}

fn found_in(bytes: &[u8], wanted: &Wanted) -> Findings {
    let mut reader = Reader::new(bytes).unwrap();
    let mut objects = Objects::new(wanted.clone(), reader.tables());
    while let Some(event) = reader.next_event() {
        objects.take(&event, reader.tables());
    }
    assert!(reader.ending().is_whole());
    objects.finish(reader.tables())
}

fn alloc(time: u64, thread: u32, stack: u32, size_bytes: u64, address: u64) -> Event {
    let what = What::Alloc {
        stack,
        size_bytes,
        address,
    };
    Event { time, thread, what }
}

fn free(time: u64, thread: u32, address: u64) -> Event {
    let what = What::Free { address };
    Event { time, thread, what }
}

fn realloc(time: u64, stack: u32, size_bytes: u64, from: u64, to: u64) -> Event {
    let what = What::Realloc {
        old_address: from,
        stack,
        size_bytes,
        address: to,
        took: u64::from(from != to),
    };
    let thread = 0;
    Event { time, thread, what }
}

fn site(findings: &Findings, stack: u32) -> Site {
    let mut sites = findings.sites.iter();
    sites
        .find(|site| site.stack == stack)
        .cloned()
        .unwrap_or_default()
}

fn amount(objects: u64, bytes: u64) -> Amount {
    Amount { objects, bytes }
}

#[test]
fn the_peak_is_the_first_moment_with_most_bytes() {
    let events = [
        alloc(1, 0, 1, 100, 8),
        alloc(2, 0, 2, 50, 16), // 150: the peak
        free(3, 0, 8),
        alloc(4, 0, 2, 100, 24), // 150 again
        free(5, 0, 16),
        free(6, 0, 24),
        alloc(7, 0, 3, 10, 8),
    ];
    let findings = found(1, &events, &Wanted::default());
    assert_eq!(findings.at_peak, amount(2, 150));
    assert_eq!(site(&findings, 1).at_peak, amount(1, 100));
    assert_eq!(site(&findings, 2).at_peak, amount(1, 50));
    assert_eq!(site(&findings, 3).at_peak, amount(0, 0));
    assert_eq!(findings.in_use, amount(1, 10));
    assert_eq!(findings.peak_nanos, traces::program().nanos(2));
}

#[test]
fn a_temporary_is_freed_before_its_thread_allocates_again() {
    let events = [
        alloc(1, 0, 1, 8, 8),
        alloc(2, 1, 2, 8, 16), // another thread's
        free(3, 0, 8),         // temporary
        alloc(4, 0, 1, 8, 8),
        alloc(5, 0, 1, 8, 24),
        free(6, 0, 8),  // not: 24 came between
        free(7, 1, 24), // temporary, whoever frees it
        alloc(8, 0, 1, 8, 8),
        realloc(9, 1, 16, 8, 8),
        free(10, 0, 8), // the reallocation's
    ];
    let findings = found(2, &events, &Wanted::default());
    assert_eq!(findings.temporary, amount(3, 8 + 8 + 16));
    assert_eq!(site(&findings, 2).temporary, amount(0, 0));
}

#[test]
fn reallocations_count_what_they_move() {
    let events = [
        alloc(1, 0, 1, 100, 8),
        realloc(2, 2, 200, 8, 16),
        realloc(4, 2, 300, 16, 16),
        realloc(5, 2, 50, 16, 24),
        // Of an object from before the trace: what it copied is not known.
        realloc(8, 3, 50, 800, 808),
    ];
    let findings = found(1, &events, &Wanted::default());
    let two = site(&findings, 2);
    assert_eq!((two.reallocations, two.moved), (3, 2));
    assert_eq!((two.copied_bytes, two.longest_chain), (100 + 50, 3));
    assert_eq!(two.in_use, amount(1, 50));
    let three = site(&findings, 3);
    assert_eq!((three.reallocations, three.copied_bytes), (1, 0));
    assert_eq!((three.in_use, three.longest_chain), (amount(1, 50), 0));
    assert_eq!(findings.allocated, amount(5, 700));
}

/// An address is given out again by another thread while the reallocation that left it
/// still copies.
#[test]
fn what_a_move_leaves_is_not_what_comes_there() {
    let moving = What::Realloc {
        old_address: 8,
        stack: 1,
        size_bytes: 200,
        address: 64,
        took: 10,
    };
    let events = [
        alloc(1, 0, 1, 100, 8),
        alloc(2, 1, 2, 64, 64),
        Event {
            time: 3,
            thread: 0,
            what: moving,
        },
        free(5, 1, 64),
        alloc(6, 1, 2, 8, 8),
        free(20, 0, 64),
    ];
    let findings = found(2, &events, &Wanted::default());
    assert_eq!(findings.in_use, amount(1, 8));
    assert_eq!(site(&findings, 2).in_use, amount(1, 8));
}

/// What a thread did at an address comes behind what another did there later.
#[test]
fn an_object_that_comes_late_ends_before_the_one_that_is_there() {
    let bytes = traces::tables(2);
    let mut reader = Reader::new(&bytes[..]).unwrap();
    reader.next_event();
    let mut objects = Objects::new(Wanted::default(), reader.tables());
    for event in [
        alloc(3, 1, 2, 64, 8),
        alloc(1, 0, 1, 100, 8),
        free(2, 0, 8),
        alloc(4, 0, 1, 10, 16),
    ] {
        objects.take(&event, reader.tables());
    }
    let findings = objects.finish(reader.tables());
    assert_eq!(site(&findings, 2).in_use, amount(1, 64));
    assert_eq!(site(&findings, 1).in_use, amount(1, 10));
    assert_eq!(findings.allocated, amount(3, 174));
}

#[test]
fn what_was_there_before_the_time_asked_for_is_in_use_and_not_allocated() {
    let nanos = |time| traces::program().nanos(time);
    let events = [
        alloc(300, 0, 1, 1000, 8),
        free(310, 0, 8),
        alloc(320, 0, 1, 100, 16),
        alloc(400, 0, 2, 10, 24),
        free(410, 0, 16),
        alloc(500, 0, 3, 5000, 32),
    ];
    let wanted = Wanted {
        nanos: nanos(400)..nanos(500),
        lifetimes: true,
        ..Wanted::default()
    };
    let findings = found(1, &events, &wanted);
    assert_eq!(findings.allocated, amount(1, 10));
    assert_eq!(findings.at_peak, amount(2, 110));
    assert_eq!(findings.in_use, amount(1, 10));
    assert_eq!(site(&findings, 1).at_peak, amount(1, 100));
    assert_eq!(site(&findings, 1).lifetimes.most(), 90);
    assert_eq!((findings.counts.allocs, findings.counts.frees), (1, 1));
    let nothing = Wanted {
        nanos: nanos(600)..nanos(700),
        ..Wanted::default()
    };
    let findings = found(1, &events, &nothing);
    assert_eq!(findings.at_peak, findings.in_use);
    assert_eq!(findings.counts.events, 0);
}

#[test]
fn a_managed_heap_is_looked_at_alone_and_by_type() {
    let events = traces::of_each_kind();
    let wanted = Wanted {
        heap: Some(traces::HEAP),
        ..Wanted::default()
    };
    let findings = found(3, &events, &wanted);
    assert_eq!(findings.allocated, amount(1, 24));
    assert_eq!(findings.in_use, amount(0, 0));
    assert_eq!(findings.sites[0].type_id, traces::TYPE);
    assert_eq!(findings.counts.lost, 300);
    assert_eq!(findings.counts.cycles, 2);
    let all = found(3, &events, &Wanted::default());
    assert_eq!(all.allocated, amount(3, 64 + 5_000_000_000 + 128));
}

#[test]
fn results_are_profiles_with_the_findings_totals() {
    let bytes = traces::of(3, &traces::of_each_kind(), 3, 10);
    let mut reader = Reader::new(&bytes[..]).unwrap();
    let wanted = Wanted {
        lifetimes: true,
        ..Wanted::default()
    };
    let mut objects = Objects::new(wanted, reader.tables());
    while let Some(event) = reader.next_event() {
        objects.take(&event, reader.tables());
    }
    let tables = reader.tables();
    let findings = objects.finish(tables);
    let totals = |view| findings.profile(tables, view).unwrap().totals();
    let big = 5_000_000_000i64;
    assert_eq!(totals(View::Heap), [3, big + 192, 0, 0]);
    assert_eq!(totals(View::Peak), [2, big + 128]);
    assert_eq!(totals(View::Reallocations), [1, 1, 64]);
    assert_eq!(totals(View::Lifetimes)[0], 3);
    assert_eq!(totals(View::Temporaries), [2, big + 128]);
    let heap = findings.profile(tables, View::Heap).unwrap();
    let program = heap.mappings().next().unwrap().1;
    assert_eq!((program.file, program.build_id), ("/nowhere/app", "c0ffee"));
    // Calls, not what they return to; and a name for what is no code.
    let third = heap.samples().find(|sample| sample.values()[1] == 128);
    let names: Vec<String> = third.unwrap().stack().map(|at| shown(&heap, at)).collect();
    assert_eq!(names, ["0x1040", "0x1020", "everprof::lost::truncated"]);
}

fn shown(profile: &Profile, at: everprof_profile::LocationId) -> String {
    let location = profile.location(at);
    match location.lines.first() {
        Some(line) => profile.function(line.function).name.to_owned(),
        None => format!("{:#x}", location.address),
    }
}

#[test]
fn stacks_are_filtered_as_those_of_profiles_are() {
    let bytes = traces::of(1, &[], 1, 1);
    let mut reader = Reader::new(&bytes[..]).unwrap();
    reader.next_event();
    let stacks = stacks::profile(reader.tables(), 0..reader.tables().stacks()).unwrap();
    let kept = |filter: Filter| stacks::kept(&stacks, &filter);
    assert_eq!(kept(Filter::new()), [true; 4]);
    let truncated = Filter::new().focus("truncated").unwrap();
    assert_eq!(kept(truncated), [false, false, false, true]);
    let no_libc = Filter::new().ignore("libc").unwrap();
    assert_eq!(kept(no_libc), [true, true, false, true]);
}

// ---- a model ----

#[derive(Clone, Copy, Debug)]
struct Known {
    stack: u32,
    thread: u32,
    size: u64,
    time: u64,
    chain: u16,
}

/// Keeps everything, and looks at all of it after each event.
#[derive(Default)]
struct Model {
    live: BTreeMap<u64, Known>,
    last: BTreeMap<u32, u64>,
    sites: BTreeMap<u32, Site>,
    /// Of the lives of each site's objects.
    lengths: BTreeMap<u32, Vec<u64>>,
    peak: u64,
    is_counting: bool,
}

impl Model {
    fn take(&mut self, event: &Event, wanted: &Wanted, from: u64, until: u64) {
        if event.time >= until {
            return;
        }
        if !self.is_counting && event.time >= from {
            self.is_counting = true;
            self.look(0);
        }
        match event.what {
            What::Alloc {
                stack,
                size_bytes,
                address,
            } => self.alloc(event, wanted, stack, size_bytes, address, 0),
            What::Free { address } => {
                if let Some(known) = self.end(address, event.time)
                    && self.is_counting
                    && self.last.get(&known.thread) == Some(&address)
                {
                    let temporary = &mut self.site(known.stack).temporary;
                    temporary.objects += 1;
                    temporary.bytes += known.size;
                }
            }
            What::Realloc {
                old_address,
                stack,
                size_bytes,
                address,
                ..
            } => {
                let before = self.end(old_address, event.time);
                let chain = before.map_or(0, |known| known.chain + 1);
                self.alloc(event, wanted, stack, size_bytes, address, chain);
                if wanted_by(wanted, event.thread, stack, size_bytes) && self.is_counting {
                    let site = self.site(stack);
                    site.reallocations += 1;
                    if address != old_address {
                        site.moved += 1;
                        site.copied_bytes += before.map_or(0, |known| known.size.min(size_bytes));
                    }
                }
            }
            _ => {}
        }
        if self.is_counting {
            self.look(self.peak);
        }
    }

    fn alloc(
        &mut self,
        event: &Event,
        wanted: &Wanted,
        stack: u32,
        size: u64,
        address: u64,
        chain: u16,
    ) {
        let thread = event.thread;
        self.last.insert(thread, address);
        if !wanted_by(wanted, thread, stack, size) {
            return;
        }
        let took = match event.what {
            What::Realloc { took, .. } => took,
            _ => 0,
        };
        let known = Known {
            stack,
            thread,
            size,
            time: event.time + took,
            chain,
        };
        self.live.insert(address, known);
        if self.is_counting {
            let site = self.site(stack);
            site.allocated.objects += 1;
            site.allocated.bytes += size;
            site.longest_chain = site.longest_chain.max(chain);
        }
    }

    fn end(&mut self, address: u64, time: u64) -> Option<Known> {
        let known = self.live.remove(&address)?;
        if self.is_counting {
            let lived = time.saturating_sub(known.time);
            self.lengths.entry(known.stack).or_default().push(lived);
        }
        Some(known)
    }

    fn site(&mut self, stack: u32) -> &mut Site {
        let site = self.sites.entry(stack).or_default();
        site.stack = stack;
        site
    }

    /// Whether there is more than ever: then that is what each site had at the peak.
    fn look(&mut self, before: u64) {
        let total: u64 = self.live.values().map(|known| known.size).sum();
        let first = before == 0 && self.peak == 0;
        if total > before || first {
            self.peak = total;
            for site in self.sites.values_mut() {
                site.at_peak = Amount::default();
            }
            for known in self.live.clone().into_values() {
                let at_peak = &mut self.site(known.stack).at_peak;
                at_peak.objects += 1;
                at_peak.bytes += known.size;
            }
        }
    }
}

fn wanted_by(wanted: &Wanted, thread: u32, stack: u32, size: u64) -> bool {
    let name = match thread {
        0 => "main".to_owned(),
        number => format!("worker-{number}"),
    };
    wanted.sizes.contains(&size)
        && wanted.thread.as_ref().is_none_or(|wanted| *wanted == name)
        && wanted
            .stacks
            .as_ref()
            .is_none_or(|stacks| stacks[stack as usize])
}

/// What a program could do: an address is given out once at a time.
fn any_program() -> impl Strategy<Value = Vec<Event>> {
    let step = (
        0u32..3,
        1u64..40,
        0..3,
        0u32..4,
        1u64..300,
        any::<prop::sample::Index>(),
    );
    prop::collection::vec(step, 1..150).prop_map(|steps| {
        let mut in_use: Vec<u64> = Vec::new();
        let mut time = 256;
        let mut events = Vec::new();
        for (thread, later, kind, stack, size_bytes, index) in steps {
            time += later;
            let unused = (1..)
                .map(|n| n * 8)
                .find(|address| !in_use.contains(address));
            let unused = unused.unwrap();
            let what = match kind {
                1 if !in_use.is_empty() => {
                    let address = in_use.swap_remove(index.index(in_use.len()));
                    What::Free { address }
                }
                2 if !in_use.is_empty() => {
                    let place = index.index(in_use.len());
                    let old_address = in_use[place];
                    let address = if size_bytes % 2 == 0 {
                        unused
                    } else {
                        old_address
                    };
                    in_use[place] = address;
                    What::Realloc {
                        old_address,
                        stack,
                        size_bytes,
                        address,
                        took: 0,
                    }
                }
                _ => {
                    in_use.push(unused);
                    What::Alloc {
                        stack,
                        size_bytes,
                        address: unused,
                    }
                }
            };
            events.push(Event { time, thread, what });
        }
        events
    })
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    let sizes = prop_oneof![
        Just(0..=u64::MAX),
        (0u64..100).prop_map(|least| least..=least + 150)
    ];
    let thread = prop_oneof![
        Just(None),
        Just(Some("main".to_owned())),
        Just(Some("worker-1".to_owned()))
    ];
    let stacks = prop_oneof![Just(None), Just(Some(vec![true, false, true, true]))];
    let times = prop_oneof![
        Just((0, u64::MAX)),
        (256u64..1500, 0u64..1500).prop_map(|(from, more)| (from, from + more)),
    ];
    (sizes, thread, stacks, times).prop_map(|(sizes, thread, stacks, (from, until))| {
        let nanos = |time| match time {
            u64::MAX => u64::MAX,
            time => traces::program().nanos(time),
        };
        Wanted {
            sizes,
            thread,
            stacks,
            nanos: nanos(from)..nanos(until),
            lifetimes: true,
            ..Wanted::default()
        }
    })
}

proptest! {
    #[test]
    fn findings_are_those_of_a_model_that_keeps_everything(
        events in any_program(),
        wanted in any_wanted(),
    ) {
        let findings = found(3, &events, &wanted);
        let program = traces::program();
        let mut model = Model::default();
        let until = match wanted.nanos.end {
            u64::MAX => u64::MAX,
            nanos => program.time_at(nanos),
        };
        for event in &events {
            model.take(event, &wanted, program.time_at(wanted.nanos.start), until);
        }
        for known in model.live.clone().into_values() {
            let in_use = &mut model.site(known.stack).in_use;
            in_use.objects += 1;
            in_use.bytes += known.size;
        }
        if !model.is_counting {
            model.look(0);
        }
        let lengths = std::mem::take(&mut model.lengths);
        for stack in 0..4 {
            let (site, expected) = (site(&findings, stack), model.site(stack).clone());
            prop_assert_eq!(site.allocated, expected.allocated);
            prop_assert_eq!(site.in_use, expected.in_use);
            prop_assert_eq!(site.at_peak, expected.at_peak);
            prop_assert_eq!(site.temporary, expected.temporary);
            prop_assert_eq!(
                (site.reallocations, site.moved, site.copied_bytes, site.longest_chain),
                (expected.reallocations, expected.moved, expected.copied_bytes, expected.longest_chain)
            );
            let lived: &[u64] = lengths.get(&stack).map_or(&[], Vec::as_slice);
            prop_assert_eq!(site.lifetimes.count(), lived.len() as u64);
            prop_assert_eq!(site.lifetimes.total(), lived.iter().sum::<u64>());
            prop_assert_eq!(site.lifetimes.most(), lived.iter().copied().max().unwrap_or(0));
        }
        let sum = |of: fn(&Site) -> Amount| findings.sites.iter().map(of).fold(
            Amount::default(),
            |sum, site| amount(sum.objects + site.objects, sum.bytes + site.bytes),
        );
        prop_assert_eq!(findings.in_use, sum(|site| site.in_use));
        prop_assert_eq!(findings.at_peak, sum(|site| site.at_peak));
        prop_assert_eq!(findings.allocated, sum(|site| site.allocated));
        prop_assert_eq!(findings.temporary, sum(|site| site.temporary));
    }

    /// A recorder is late with one thread, by less than a round: nothing changes.
    #[test]
    fn a_thread_that_is_late_changes_nothing(
        events in any_program(),
        late in 0u32..3,
        round in 1usize..60,
    ) {
        let in_order = found(3, &events, &Wanted::default());
        let mut bytes = traces::tables(3);
        traces::put_events_with(&mut bytes, &events, 1000, round, Some(late));
        traces::put_end(&mut bytes, &events);
        let findings = found_in(&bytes, &Wanted::default());
        prop_assert_eq!(findings.sites, in_order.sites);
        prop_assert_eq!(findings.at_peak, in_order.at_peak);
    }

    /// It is late by more: each allocation and each free is still that of its object, where
    /// no address is used a second time meanwhile.
    #[test]
    fn a_free_finds_its_object_in_any_order(
        events in any_program(),
        late in 0u32..3,
        by in 1usize..200,
    ) {
        // Each object at an address of its own.
        let mut places = BTreeMap::new();
        let mut events = events;
        events.retain(|event| !matches!(event.what, What::Realloc { .. }));
        for (n, event) in events.iter_mut().enumerate() {
            match &mut event.what {
                What::Alloc { address, .. } => {
                    places.insert(*address, 8 * n as u64);
                    *address = 8 * n as u64;
                }
                What::Free { address } => *address = places.remove(address).unwrap_or(1),
                _ => {}
            }
        }
        let in_order = found(3, &events, &Wanted::default());
        let mut places: Vec<usize> = (0..events.len()).collect();
        places.sort_by_key(|&n| if events[n].thread == late { n + by } else { n });
        let bytes = traces::tables(3);
        let mut reader = Reader::new(&bytes[..]).unwrap();
        reader.next_event();
        let mut objects = Objects::new(Wanted::default(), reader.tables());
        for n in places {
            objects.take(&events[n], reader.tables());
        }
        let findings = objects.finish(reader.tables());
        prop_assert_eq!(findings.allocated, in_order.allocated);
        prop_assert_eq!(findings.in_use, in_order.in_use);
    }
}
