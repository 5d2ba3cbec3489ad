//! What a large heap profile takes in memory, from the first sample to the last byte out.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use everprof_profile::{Function, Label, Line, Mapping, Profile, pprof};

/// Counts the bytes in use and their peak.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to `System` unchanged; the counters are no part of the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Relaxed: the test has one thread.
        let now = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `ptr` came from `System.alloc` with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Large blocks are grown by `mremap`: the old and the new one are never both there.
        let now = IN_USE.fetch_add(size, Ordering::Relaxed) + size - layout.size();
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: `ptr` came from `System.alloc` with this layout.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOC: Counting = Counting;

#[test]
fn hundred_thousand_samples_of_depth_32_take_less_than_20_mb() {
    const LOCATIONS: u64 = 12_000;
    let before = IN_USE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);

    let mut profile = Profile::new(&[
        ("alloc_objects", "count"),
        ("alloc_space", "bytes"),
        ("inuse_objects", "count"),
        ("inuse_space", "bytes"),
    ]);
    let program = profile.add_mapping(Mapping {
        file: "/bin/app",
        ..Mapping::default()
    });
    let mut random = 88_172_645_463_325_252u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let shim = profile.add_location(0x100, Some(program));
    let name = "__rustc::__rust_alloc";
    let function = profile.add_function(Function {
        name,
        ..Function::default()
    });
    profile.set_lines(
        shim,
        &[Line {
            function,
            line: 0,
            column: 0,
        }],
    );
    for _ in 0..100_000 {
        let stack: [_; 33] = std::array::from_fn(|depth| match depth {
            0 => shim,
            _ => profile.add_location(0x40_0000 + next() % LOCATIONS * 16, Some(program)),
        });
        let size = 8 * (1 + next() % 128) as i64;
        let values = [9, 9 * size, 4, 4 * size];
        profile.push_sample(&stack, &values, &[Label::number("bytes", size, "bytes")]);
    }
    for n in 0..LOCATIONS {
        let at = profile.add_location(0x40_0000 + n * 16, Some(program));
        let name = format!("app::module{}::function{n}", n % 97);
        let function = profile.add_function(Function {
            name: &name,
            ..Function::default()
        });
        profile.set_lines(
            at,
            &[Line {
                function,
                line: 0,
                column: 0,
            }],
        );
    }
    profile.trim();
    pprof::encode(&profile, io::sink()).unwrap();

    let peak = PEAK.load(Ordering::Relaxed) - before;
    assert_eq!(profile.stack_count(), 100_000);
    assert!(profile.samples().all(|sample| sample.stack().depth() == 32));
    println!("{peak} bytes at the peak");
    assert!(peak < 20_000_000, "{peak} bytes");
}
