//! Model of the epochs: a snapshot is a consistent cut, and nobody waits for it.
#![cfg(everprof_loom)]
#![allow(clippy::unwrap_used)]

use everprof_core::arena::{Arena, Offset, Root};
use everprof_core::epoch::Epochs;
use everprof_core::table::{COUNTERS, Key, Table};
use loom::sync::Arc;
use loom::thread;

fn key(stack: &[u64]) -> Key<'_> {
    Key {
        stack,
        extra: 8,
        labels: 0,
    }
}

/// Where the counters of what was allocated and freed begin; each sample adds to
/// the first 1, and to the second its 8 bytes.
const ALLOCATED: usize = 0;
const FREED: usize = 4;

struct Shared {
    arena: Arena,
    epochs: Offset,
    bucket: Offset,
}

impl Shared {
    fn new() -> Self {
        let arena = Arena::anonymous(0).unwrap();
        let table = Table::create(arena.region(), Root::HeapTable).unwrap();
        let bucket = table.find_or_insert(&key(&[100])).unwrap();
        let epochs = arena.region().alloc::<Epochs>(0).unwrap();
        Self {
            arena,
            epochs,
            bucket,
        }
    }

    fn epochs(&self) -> &Epochs {
        self.arena.region().get(self.epochs).unwrap()
    }

    fn count(&self, allocated: bool) {
        let table = Table::open(self.arena.region(), Root::HeapTable).unwrap();
        let entered = self.epochs().enter();
        let cells = table.bucket(self.bucket).unwrap();
        let cells = cells.cells(entered.side()).unwrap();
        cells.add(if allocated { ALLOCATED } else { FREED }, &[1, 8]);
    }

    fn read(&self, side: usize) -> [u64; COUNTERS] {
        let table = Table::open(self.arena.region(), Root::HeapTable).unwrap();
        table
            .bucket(self.bucket)
            .unwrap()
            .cells(side)
            .unwrap()
            .read()
    }

    /// What was allocated and freed, at an instant; as the snapshot does it.
    fn snapshot(&self) -> (u64, u64) {
        let epochs = self.epochs();
        let lock = epochs.lock();
        let resting = epochs.resting_side(&lock);
        let rested = self.read(resting);
        let flipped = epochs.flip(&lock);
        while !epochs.settled(flipped, &lock) {
            thread::yield_now();
        }
        let left = self.read(flipped);
        for counts in [rested, left] {
            // A sample is counted wholly or not at all.
            assert_eq!(counts[ALLOCATED + 1], 8 * counts[ALLOCATED]);
            assert_eq!(counts[FREED + 1], 8 * counts[FREED]);
        }
        let sum = |at: usize| rested[at] + left[at];
        (sum(ALLOCATED), sum(FREED))
    }
}

fn check(bound: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

#[test]
fn snapshot_counts_samples_wholly_and_no_free_without_its_allocation() {
    check(5, || {
        let shared = Arc::new(Shared::new());
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            theirs.count(true);
            theirs.count(false);
        });
        let (alloc, freed) = shared.snapshot();
        assert!(freed <= alloc);
        thread.join().unwrap();
        assert_eq!(shared.snapshot(), (1, 1));
    });
}

/// The second snapshot flips back to the side that was copied first.
#[test]
fn later_snapshot_never_counts_less() {
    check(3, || {
        let shared = Arc::new(Shared::new());
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            theirs.count(true);
            theirs.count(true);
        });
        let (first, _) = shared.snapshot();
        let (second, _) = shared.snapshot();
        assert!(first <= second && second <= 2);
        thread.join().unwrap();
        assert_eq!(shared.snapshot(), (2, 0));
    });
}

/// Two recorders on one side: it settles when both have left.
#[test]
fn side_settles_after_the_last_recorder() {
    check(3, || {
        let shared = Arc::new(Shared::new());
        let threads = [(); 2].map(|()| {
            let theirs = Arc::clone(&shared);
            thread::spawn(move || theirs.count(true))
        });
        let (seen, _) = shared.snapshot();
        assert!(seen <= 2);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(shared.snapshot(), (2, 0));
    });
}
