//! Model of the cycle clock: mutators wait for nobody, and what a flush publishes is
//! whole, with no free before its allocation.
#![cfg(everprof_loom)]
#![allow(clippy::unwrap_used)]

use everprof_core::arena::{Arena, Offset};
use everprof_core::cycle::{Clock, Cycle, SLOTS, WRAP};
use everprof_core::table::{Cells, Counters};
use loom::sync::Arc;
use loom::thread;

/// Each sample adds to the first 1, and to the second its 8 bytes.
const ALLOCATED: usize = 0;
const FREED: usize = 4;
/// Behind the slots.
const PUBLISHED: usize = SLOTS as usize;

struct Shared {
    arena: Arena,
    cells: Offset,
    clock: Clock,
}

impl Shared {
    fn starting_at(cycle: u64) -> Self {
        let arena = Arena::anonymous(0).unwrap();
        let cells = arena.region().alloc_array::<Cells>(PUBLISHED + 1).unwrap();
        Self {
            arena,
            cells,
            clock: Clock::starting_at(Cycle::of(cycle)),
        }
    }

    fn cells(&self, at: usize) -> &Cells {
        let cells = self
            .arena
            .region()
            .array::<Cells>(self.cells, PUBLISHED + 1);
        &cells.unwrap()[at]
    }

    /// Gives the cycle that it counted towards.
    fn alloc(&self) -> Cycle {
        let entered = self.clock.enter();
        let towards = entered.allocated();
        self.cells(towards.slot()).add(ALLOCATED, &[1, 8]);
        towards
    }

    fn sweep(&self, allocated: Cycle) {
        let entered = self.clock.enter();
        let slot = entered.swept(allocated).slot();
        self.cells(slot).add(FREED, &[1, 8]);
    }

    fn free(&self) {
        let entered = self.clock.enter();
        self.cells(entered.freed().slot()).add(FREED, &[1, 8]);
    }

    /// Publishes the cycle now; gives all that was allocated and freed, as published.
    fn flush(&self) -> (u64, u64) {
        let lock = self.clock.lock();
        if let Some(cycle) = lock.unflushed() {
            for before in [cycle.minus(1), cycle.minus(2)] {
                while !lock.settled(before) {
                    thread::yield_now();
                }
            }
            let published = self.cells(PUBLISHED);
            self.cells(cycle.slot())
                .move_to(published, Counters::AtRest);
            lock.set_flushed();
        }
        let [allocs, bytes, _, _, frees, freed_bytes, ..] = self.cells(PUBLISHED).read();
        assert_eq!((bytes, freed_bytes), (8 * allocs, 8 * frees), "in part");
        assert!(frees <= allocs, "a free before its allocation");
        (allocs, frees)
    }
}

fn check(bound: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

/// Across the seam of the number, so that the wrap is in the model, too.
#[test]
fn flushes_publish_whole_samples_and_each_once() {
    check(3, || {
        let shared = Arc::new(Shared::starting_at(u64::from(WRAP) - 1));
        let theirs = Arc::clone(&shared);
        let mutator = thread::spawn(move || {
            let allocated = theirs.alloc();
            theirs.sweep(allocated);
        });
        let mut last = (0, 0);
        for _ in 0..2 {
            assert!(shared.clock.next_cycle());
            let shown = shared.flush();
            assert!(last.0 <= shown.0 && last.1 <= shown.1);
            last = shown;
        }
        mutator.join().unwrap();
        for _ in 0..3 {
            assert!(shared.clock.next_cycle());
            last = shared.flush();
        }
        assert_eq!(last, (1, 1));
    });
}

/// The object comes from one mutator and is freed by another.
#[test]
fn free_by_another_thread_is_not_published_before() {
    check(3, || {
        let shared = Arc::new(Shared::starting_at(5));
        let theirs = Arc::clone(&shared);
        let mutator = thread::spawn(move || {
            theirs.alloc();
            let other = Arc::clone(&theirs);
            thread::spawn(move || other.free()).join().unwrap();
        });
        for _ in 0..2 {
            let went_on = shared.clock.next_cycle();
            assert!(went_on);
            shared.flush();
        }
        mutator.join().unwrap();
        for _ in 0..2 {
            assert!(shared.clock.next_cycle());
            shared.flush();
        }
        assert_eq!(shared.flush(), (1, 1));
    });
}

/// Two threads that both think they are the collector: the clock goes on by as many
/// cycles as were flushed, and nothing is lost.
#[test]
fn clock_goes_on_once_a_flush() {
    check(3, || {
        let shared = Arc::new(Shared::starting_at(0));
        let theirs = Arc::clone(&shared);
        let other = thread::spawn(move || theirs.clock.next_cycle());
        shared.alloc();
        let mine = shared.clock.next_cycle();
        let its = other.join().unwrap();
        assert!(mine ^ its, "one of them comes too late");
        assert_eq!(shared.clock.now(), Cycle::of(1));
        shared.flush();
        for _ in 0..3 {
            assert!(shared.clock.next_cycle());
            shared.flush();
        }
        assert_eq!(shared.flush(), (1, 0));
    });
}
