//! Property: a managed heap publishes what a model with unbounded cycle numbers does.
#![cfg(not(any(everprof_loom, miri)))]
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};

use everprof_core::cycle::{Cycle, WRAP};
use everprof_core::local::Local;
use everprof_core::managed::{Allocation, Freed, Heap};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Alloc {
        site: u64,
        size: usize,
    },
    /// The nth of the objects in use, modulo their number.
    Free(usize),
    Sweep(usize),
    NextCycle,
    Flush,
    PostSweep,
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3u64, 1..200usize).prop_map(|(site, size)| Step::Alloc { site, size }),
        2 => any::<usize>().prop_map(Step::Free),
        3 => any::<usize>().prop_map(Step::Sweep),
        2 => Just(Step::NextCycle),
        2 => Just(Step::Flush),
        1 => Just(Step::PostSweep),
        2 => Just(Step::Read),
    ]
}

/// Samples and bytes allocated and freed, by site.
type Sums = HashMap<u64, [u64; 4]>;

#[derive(Default)]
struct Model {
    cycle: u64,
    unflushed: bool,
    completed: bool,
    published: Sums,
    to_come: BTreeMap<u64, Sums>,
    /// Address, site, size, and the cycle that its allocation counts towards.
    in_use: Vec<(usize, u64, usize, u64)>,
}

impl Model {
    fn count(&mut self, towards: u64, site: u64, first: usize, size: usize) {
        let sums = self.to_come.entry(towards).or_default();
        let sums = sums.entry(site).or_default();
        sums[first] += 1;
        sums[first + 1] += size as u64;
    }

    fn publish(&mut self, cycle: u64) {
        for (site, more) in self.to_come.remove(&cycle).unwrap_or_default() {
            add(self.published.entry(site).or_default(), &more);
        }
    }

    fn flush(&mut self) {
        if self.unflushed {
            self.publish(self.cycle);
            self.unflushed = false;
        }
    }

    fn shown(&self) -> Sums {
        let mut shown = self.published.clone();
        if !self.completed {
            for (site, more) in self.to_come.values().flatten() {
                add(shown.entry(*site).or_default(), more);
            }
        }
        shown
    }
}

fn add(sums: &mut [u64; 4], more: &[u64; 4]) {
    sums.iter_mut()
        .zip(more)
        .for_each(|(sum, more)| *sum += more);
}

fn shown(heap: &Heap) -> Sums {
    let mut shown = Sums::new();
    for bucket in heap.snapshot().iter() {
        let (alloc, freed) = (bucket.bucket.alloc, bucket.bucket.freed);
        assert!(freed.samples <= alloc.samples && freed.bytes <= alloc.bytes);
        let sums = [alloc.samples, alloc.bytes, freed.samples, freed.bytes];
        add(shown.entry(bucket.bucket.stack[0]).or_default(), &sums);
    }
    shown
}

proptest! {
    #[test]
    fn every_read_is_as_the_model_says(
        steps in prop::collection::vec(step(), 1..200),
        before_the_seam in 0..6u64,
    ) {
        // Starts close to the wrap, and with one cycle less every few runs at it.
        let start = u64::from(WRAP) - before_the_seam;
        let heap = Heap::starting_at(Cycle::of(start), 8 << 20, 1).unwrap();
        // The model's numbers never wrap. Nothing was completed at the start: the rule
        // "two cycles after the first" is told by cycles since then.
        let mut model = Model { cycle: start, ..Model::default() };
        let local = Local::with_seed(1);
        let mut next_address = 64;
        for step in steps {
            match step {
                Step::Alloc { site, size } => {
                    let allocation = Allocation {
                        address: next_address,
                        size_bytes: size,
                        type_name: None,
                        labels: 0,
                    };
                    prop_assert!(heap.is_due(&local, size));
                    heap.record_due_with(&local, &allocation, |out| {
                        out[0] = 1000 + site;
                        1
                    });
                    let towards = model.cycle + 2;
                    model.count(towards, 1000 + site, 0, size);
                    model.in_use.push((next_address, 1000 + site, size, towards));
                    next_address += 64;
                }
                Step::Free(n) | Step::Sweep(n) if model.in_use.is_empty() => {
                    let _ = n;
                }
                Step::Free(n) => {
                    let at = n % model.in_use.len();
                    let (address, site, size, _) = model.in_use.swap_remove(at);
                    heap.record_free(address, Freed::Explicitly);
                    model.count(model.cycle + 2, site, 2, size);
                }
                Step::Sweep(n) => {
                    let at = n % model.in_use.len();
                    let (address, site, size, allocated) = model.in_use.swap_remove(at);
                    heap.record_free(address, Freed::BySweep);
                    let towards = (model.cycle + 1).max(allocated);
                    model.count(towards, site, 2, size);
                }
                Step::NextCycle => {
                    prop_assert_eq!(heap.next_cycle(), !model.unflushed);
                    model.cycle += u64::from(!model.unflushed);
                    model.unflushed = true;
                }
                Step::Flush => {
                    heap.flush();
                    if model.unflushed {
                        model.completed |= completes(model.cycle, 2);
                    }
                    model.flush();
                }
                Step::PostSweep => {
                    heap.post_sweep();
                    if model.unflushed {
                        model.completed |= completes(model.cycle, 2);
                    }
                    model.flush();
                    model.publish(model.cycle + 1);
                    model.completed |= completes(model.cycle, 1);
                }
                Step::Read => prop_assert_eq!(shown(&heap), model.shown()),
            }
        }
        prop_assert_eq!(shown(&heap), model.shown());
        prop_assert_eq!(heap.remembered(), model.in_use.len() as u64);
    }
}

/// Whether the first allocations' cycle has been published.
fn completes(cycle: u64, least: u64) -> bool {
    cycle % u64::from(WRAP) >= least
}
