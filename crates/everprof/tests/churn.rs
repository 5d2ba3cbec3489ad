//! The allocator under everything at once: every layout and every order of
//! allocations, reallocations and frees, on many threads that free one another's
//! objects, while the period changes. No byte may change, and in the end nothing
//! may be in use that was not kept.

#![allow(clippy::unwrap_used)]

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::hint::black_box;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use everprof::heap::set_period;
use everprof::profile::lookup;
use everprof_profile::pprof;

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }
}

/// An object filled with its own seed.
struct Object {
    start: *mut u8,
    layout: Layout,
    seed: u8,
}

// SAFETY: it owns its memory, and whoever has it may free it.
unsafe impl Send for Object {}

impl Object {
    #[inline(never)]
    fn churned_new(random: &mut Random) -> Self {
        let layout =
            Layout::from_size_align(1 + random.below(2000), 1 << random.below(10)).unwrap();
        let zeroed = random.below(2) == 0;
        let start = if zeroed {
            // SAFETY: not empty.
            unsafe { alloc_zeroed(layout) }
        } else {
            // SAFETY: not empty.
            unsafe { alloc(layout) }
        };
        assert!(!start.is_null() && start.addr().is_multiple_of(layout.align()));
        let mut object = Self {
            start,
            layout,
            seed: random.below(256) as u8,
        };
        if zeroed {
            assert!(object.bytes().iter().all(|byte| *byte == 0));
        }
        object.fill();
        object
    }

    #[inline(never)]
    fn churned_resize(&mut self, random: &mut Random) {
        let size = 1 + random.below(2000);
        let kept = size.min(self.layout.size());
        // SAFETY: it came from the allocator with that layout; the size is not 0.
        self.start = unsafe { realloc(self.start, self.layout, size) };
        assert!(!self.start.is_null() && self.start.addr().is_multiple_of(self.layout.align()));
        self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
        let seed = self.seed;
        assert!(self.bytes()[..kept].iter().all(|byte| *byte == seed));
        self.fill();
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the object's own memory; it has been written to once.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.layout.size()) }
    }

    fn fill(&mut self) {
        // SAFETY: the object's own memory.
        unsafe { self.start.write_bytes(self.seed, self.layout.size()) };
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let seed = self.seed;
        assert!(self.bytes().iter().all(|byte| *byte == seed));
        // SAFETY: it came from the allocator with that layout.
        unsafe { dealloc(self.start, self.layout) };
    }
}

/// One thread's part; what it does not keep goes to the next thread.
fn churn(seed: u64, others: &Receiver<Object>, next: &Sender<Object>) {
    const PERIODS: [u64; 5] = [1, 64, 0, 4096, 1];
    let mut random = Random(seed);
    let mut own: Vec<Object> = Vec::new();
    for step in 0..20_000 {
        if step % 500 == 0 {
            set_period(PERIODS[random.below(PERIODS.len())]);
        }
        match random.below(5) {
            0 | 1 if own.len() < 200 => own.push(Object::churned_new(&mut random)),
            2 if !own.is_empty() => {
                let at = random.below(own.len());
                own[at].churned_resize(&mut random);
            }
            3 if !own.is_empty() => {
                // The other may have ended; then the object ends here.
                let _ = next.send(own.swap_remove(random.below(own.len())));
            }
            4 if !own.is_empty() => drop(own.swap_remove(random.below(own.len()))),
            _ => drop(others.try_recv()),
        }
    }
}

#[test]
fn nothing_is_lost_or_bent_whoever_frees_what_and_whatever_the_period() {
    const THREADS: usize = 6;
    let (mut sends, receives): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| channel()).unzip();
    sends.rotate_left(1);
    let threads: Vec<_> = sends
        .into_iter()
        .zip(receives)
        .enumerate()
        .map(|(n, (next, others))| thread::spawn(move || churn(n as u64 + 1, &others, &next)))
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    set_period(0);

    let mut bytes = Vec::new();
    lookup("heap").unwrap().write_to(&mut bytes).unwrap();
    let profile = pprof::decode(&bytes, &pprof::Limits::default()).unwrap();
    let mut seen = 0;
    for sample in profile.samples() {
        let mut frames = sample
            .stack()
            .flat_map(|location| profile.location(location).lines);
        if frames.any(|line| profile.function(line.function).name.contains("::churned_")) {
            seen += 1;
            assert!(sample.values()[0] > 0 && sample.values()[1] > 0);
            assert_eq!(sample.values()[2..], [0, 0], "freed and still in use");
        }
    }
    assert!(black_box(seen) > 100, "{seen}");
}
