//! Claims about managed heaps: what is shown after which of the collector's calls.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::cycle::WRAP;

const LIMIT: usize = 8 << 20;

/// A heap that records all, and the thread that allocates in it.
struct Lab {
    heap: Heap,
    local: Local,
}

impl Lab {
    fn new() -> Self {
        Self::starting_at(0)
    }

    fn starting_at(cycle: u64) -> Self {
        Self {
            heap: Heap::starting_at(Cycle::of(cycle), LIMIT, 1).unwrap(),
            local: Local::with_seed(7),
        }
    }

    fn alloc(&self, address: usize) {
        self.alloc_as(address, None, &[1000, 2000]);
    }

    fn alloc_as(&self, address: usize, type_name: Option<&str>, stack: &[u64]) {
        let allocation = Allocation {
            address,
            size_bytes: 16,
            type_name,
            labels: 0,
        };
        assert!(self.heap.is_due(&self.local, allocation.size_bytes));
        self.heap.record_due_with(&self.local, &allocation, |out| {
            out[..stack.len()].copy_from_slice(stack);
            stack.len()
        });
    }

    fn free(&self, address: usize) {
        assert!(self.heap.may_be_sampled(address));
        self.heap.record_free(address, Freed::Explicitly);
    }

    fn sweep(&self, address: usize) {
        assert!(self.heap.may_be_sampled(address));
        self.heap.record_free(address, Freed::BySweep);
    }

    /// Marks, lets the program run, sweeps these, and says so.
    fn collect(&self, garbage: &[usize]) {
        assert!(self.heap.next_cycle());
        self.heap.flush();
        garbage.iter().for_each(|address| self.sweep(*address));
        self.heap.post_sweep();
    }

    /// Samples allocated and freed, as published.
    fn shown(&self) -> (u64, u64) {
        let snapshot = self.heap.snapshot();
        assert!(!snapshot.torn);
        snapshot.iter().fold((0, 0), |sum, Bucket { bucket, .. }| {
            assert!(bucket.freed.samples <= bucket.alloc.samples);
            assert_eq!(bucket.alloc.bytes, 16 * bucket.alloc.samples);
            (sum.0 + bucket.alloc.samples, sum.1 + bucket.freed.samples)
        })
    }
}

#[test]
fn all_is_shown_until_a_cycle_is_completed() {
    let lab = Lab::new();
    lab.alloc(64);
    lab.alloc(128);
    lab.free(64);
    assert_eq!(lab.shown(), (2, 1));
    assert!(lab.heap.next_cycle());
    lab.heap.flush();
    lab.alloc(192);
    assert_eq!(lab.shown(), (3, 1), "its sweep is not over");
    lab.heap.post_sweep();
    assert_eq!(lab.shown(), (2, 1), "as the mark termination saw it");
}

#[test]
fn post_sweep_shows_the_last_mark_termination_and_nothing_later() {
    let lab = Lab::new();
    lab.collect(&[]);
    lab.alloc(64);
    lab.alloc(128);
    assert!(lab.heap.next_cycle());
    lab.heap.flush();
    assert_eq!(lab.shown(), (0, 0), "that of the cycle before");
    lab.alloc(192);
    lab.sweep(64);
    lab.free(128);
    assert_eq!(lab.shown(), (0, 0), "in the midst of the sweep");
    lab.heap.post_sweep();
    assert_eq!(lab.shown(), (2, 1), "128 was in use then");
    lab.collect(&[]);
    assert_eq!(lab.shown(), (3, 2));
}

#[test]
fn what_is_shown_is_two_cycles_old_at_most() {
    let lab = Lab::new();
    lab.collect(&[]);
    lab.alloc(64);
    // A collector that never says when its sweep is over.
    assert!(lab.heap.next_cycle());
    lab.heap.flush();
    lab.sweep(64);
    assert_eq!(lab.shown(), (0, 0));
    assert!(lab.heap.next_cycle());
    lab.heap.flush();
    assert_eq!(lab.shown(), (1, 1));
}

#[test]
fn second_flush_in_a_cycle_changes_nothing() {
    let lab = Lab::new();
    lab.collect(&[]);
    lab.alloc(64);
    lab.collect(&[]);
    let cycle = lab.heap.cycle();
    lab.alloc(128);
    lab.heap.flush();
    lab.heap.flush();
    lab.heap.post_sweep();
    lab.heap.post_sweep();
    assert_eq!((lab.shown(), lab.heap.cycle()), ((1, 0), cycle));
}

#[test]
fn free_is_never_shown_before_its_allocation_however_the_collector_errs() {
    let lab = Lab::new();
    lab.collect(&[]);
    assert!(lab.heap.next_cycle());
    lab.alloc(64);
    // The flush was forgotten: the cycle goes on, and sweeps what it allocated.
    assert!(!lab.heap.next_cycle());
    lab.sweep(64);
    lab.heap.post_sweep();
    assert_eq!(lab.shown(), (0, 0));
    lab.collect(&[]);
    assert_eq!(lab.shown(), (1, 1));
}

#[test]
fn number_wraps_without_a_seam() {
    let lab = Lab::starting_at(u64::from(WRAP) - 3);
    for round in 0..8 {
        lab.alloc(64 + 64 * round);
        lab.alloc(64_000 + 64 * round);
        lab.collect(&[64 + 64 * round]);
        let rounds = round as u64 + 1;
        assert_eq!(lab.shown(), (2 * rounds, rounds));
    }
    assert_eq!(lab.heap.cycle(), Cycle::of(5));
    // One that was allocated before the seam and swept after it.
    lab.collect(&[64_000]);
    assert_eq!(lab.shown(), (16, 9));
}

#[test]
fn types_and_stacks_have_buckets_of_their_own() {
    let lab = Lab::new();
    lab.alloc_as(64, Some("Array"), &[1000]);
    lab.alloc_as(128, Some("String"), &[1000]);
    lab.alloc_as(192, Some("String"), &[1000]);
    lab.alloc_as(256, None, &[2000]);
    let snapshot = lab.heap.snapshot();
    let mut shown: Vec<_> = snapshot
        .iter()
        .map(|Bucket { bucket, type_name }| {
            (
                type_name,
                bucket.stack[0],
                bucket.size_class_bytes,
                bucket.in_use().samples,
            )
        })
        .collect();
    shown.sort_unstable();
    assert_eq!(
        shown,
        [
            (None, 2000, 16, 1),
            (Some("Array"), 1000, 16, 1),
            (Some("String"), 1000, 16, 2)
        ]
    );
}

#[test]
fn objects_may_be_known_by_any_number() {
    let lab = Lab::new();
    let numbers = [0, 1, 2, 3, usize::MAX];
    numbers.iter().for_each(|number| lab.alloc(*number));
    assert_eq!(lab.heap.remembered(), 5);
    numbers.iter().for_each(|number| lab.free(*number));
    assert_eq!((lab.shown(), lab.heap.remembered()), ((5, 5), 0));
}

// Under Miri as many objects take minutes, and find what the others find.
#[cfg(not(miri))]
#[test]
fn where_there_is_no_room_it_is_counted_and_says_so() {
    let lab = Lab {
        heap: Heap::new(0, 1).unwrap(),
        local: Local::with_seed(1),
    };
    let (mut objects, mut stacks) = (0, 0);
    for n in 0..10_000 {
        let stack: Vec<u64> = (0..32).map(|frame| 1000 + 64 * n + frame).collect();
        let allocation = Allocation {
            address: 64 * (n as usize + 1),
            size_bytes: 16,
            type_name: None,
            labels: 0,
        };
        if lab.heap.is_due(&lab.local, 16) {
            lab.heap.record_due_with(&lab.local, &allocation, |out| {
                out[..32].copy_from_slice(&stack);
                32
            });
        }
    }
    let snapshot = lab.heap.snapshot();
    for Bucket { bucket, .. } in snapshot.iter() {
        objects += bucket.alloc.objects as u64;
        stacks += u64::from(bucket.stack[0] == Lost::TableFull.pc());
    }
    assert_eq!(stacks, 1, "a bucket for those that found no room");
    // Thinned where room is short. 4σ of what was not recorded each time: 0.1 ‰.
    assert!((5_000..20_000).contains(&objects), "{objects}");
}

#[test]
fn heaps_of_different_periods_on_one_thread_do_not_bend_one_another() {
    let exact = Lab::new();
    let sampled = Heap::new(LIMIT, 4096).unwrap();
    let rounds = if cfg!(miri) { 100 } else { 40_000 };
    let mut bytes = 0.0;
    for n in 0..rounds {
        let address = 64 * (n + 1);
        exact.alloc(address);
        let allocation = Allocation {
            address,
            size_bytes: 64,
            type_name: None,
            labels: 0,
        };
        if sampled.is_due(&exact.local, 64) {
            sampled.record_due_with(&exact.local, &allocation, |out| {
                out[0] = 5000;
                1
            });
        }
        exact.free(address);
    }
    for Bucket { bucket, .. } in sampled.snapshot().iter() {
        bytes += bucket.alloc.bytes as f64;
    }
    assert_eq!(exact.shown(), (rounds as u64, rounds as u64));
    let (p, truth) = (-(-64.0_f64 / 4096.0).exp_m1(), rounds as f64);
    let deviation = (bytes / 64.0 - truth) / (truth * (1.0 - p) / p).sqrt();
    // The seed is fixed; 4σ is a false alarm in 16,000 seeds.
    assert!(deviation.abs() < 4.0, "{deviation} σ");
}

#[test]
fn event_that_is_left_in_the_middle_delays_a_flush_and_no_event() {
    let lab = Lab::new();
    let stuck = lab.heap.clock.enter();
    lab.alloc(64);
    lab.collect(&[]);
    assert_eq!(lab.shown(), (1, 0), "the flush went on without it");
    drop(stuck);
    lab.collect(&[64]);
    assert_eq!(lab.shown(), (1, 1));
}

#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn child_of_a_fork_begins_with_an_empty_heap_that_works() {
    let lab = Lab::new();
    lab.alloc(64);
    lab.collect(&[]);
    assert_eq!(lab.shown(), (1, 0));
    assert!(crate::fork::holds_in_child(|| {
        lab.heap.record_free(64, Freed::BySweep);
        let empty = lab.shown() == (0, 0);
        lab.alloc(128);
        lab.collect(&[]);
        empty && lab.shown() == (1, 0)
    }));
    assert_eq!(lab.shown(), (1, 0), "the parent's own");
}
