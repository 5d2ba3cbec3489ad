//! What one sample costs at a depth, beside libgcc's way to take a stack.
//!
//! `sample time DEPTH` prints a table, `NAME NANOSECONDS FRAMES` a line, the
//! best of 30 rounds each. `sample count DEPTH N` only allocates and frees N
//! sampled objects, for a run under callgrind. "varied" changes the eight
//! innermost frames from one stack to the next; the others repeat one stack.
//!
//! The allocator under test is no global allocator here: only what the loops
//! do is recorded.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::time::Instant;

use everprof_core::stack::{self, Registers, ThreadMemory};
use workloads::depth::descend;

static SAMPLED: everprof::Alloc = everprof::Alloc::system();

const ROUNDS: usize = 30;
/// Enough for the clock, few enough to stay in the caches as a service's few
/// hundred sampled objects would.
const BATCH: usize = 500;
const VARIED: usize = 8;
/// So many stacks take turns: each has its bucket after the first round.
const STACKS: u64 = 64;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().unwrap_or_default();
    let mut number = || arguments.next().and_then(|text| text.parse().ok());
    let depth = number().unwrap_or(32_usize);
    everprof::heap::set_period(1);
    // What stands beneath `main` belongs to the depth asked for.
    let frames_of_start = captured_frames();
    let further = depth.saturating_sub(frames_of_start);
    match mode.as_str() {
        "time" => descend(further, 1, &mut || time_one_stack()),
        "count" => {
            let count = number().unwrap_or(1000);
            descend(further, 1, &mut || alloc_and_free(&SAMPLED, count));
            return;
        }
        _ => panic!("usage: sample time DEPTH | sample count DEPTH N"),
    }
    descend(further.saturating_sub(VARIED), 1, &mut || {
        time_varied_stacks()
    });
}

fn time_one_stack() {
    let frames = captured_frames();
    report("capture", best(|| captured_frames() as u64), frames);
    report("libgcc", best(|| libgcc_frames() as u64), libgcc_frames());
    let (bare_alloc, bare_free) = alloc_free_nanos(&System);
    let (alloc, free) = alloc_free_nanos(&SAMPLED);
    report("sampled_alloc", alloc - bare_alloc, frames);
    report("sampled_free", free - bare_free, frames);
}

fn time_varied_stacks() {
    let frames = captured_frames() + VARIED;
    let mut path = 0;
    let mut vary = |then: &mut dyn FnMut()| {
        path = (path + 1) % STACKS;
        descend(VARIED, path, then);
    };
    let descent = best(|| {
        vary(&mut || ());
        0
    });
    let capture = best(|| {
        let mut frames = 0;
        vary(&mut || frames = captured_frames());
        frames as u64
    });
    report("capture_varied", capture - descent, frames);
    let pair = best(|| {
        vary(&mut || alloc_and_free(&System, 1));
        0
    });
    let sampled_pair = best(|| {
        vary(&mut || alloc_and_free(&SAMPLED, 1));
        0
    });
    report("sampled_pair_varied", sampled_pair - pair, frames);
}

fn report(name: &str, nanos: f64, frames: usize) {
    println!("{name} {nanos:.0} {frames}");
}

/// Nanoseconds of one call of `what`, the best round's mean.
fn best(mut what: impl FnMut() -> u64) -> f64 {
    let round = || {
        let start = Instant::now();
        for _ in 0..BATCH {
            black_box(what());
        }
        start.elapsed().as_nanos() as f64 / BATCH as f64
    };
    std::iter::repeat_with(round)
        .take(ROUNDS)
        .fold(f64::INFINITY, f64::min)
}

fn alloc_free_nanos(allocator: &impl GlobalAlloc) -> (f64, f64) {
    let mut objects = [std::ptr::null_mut(); BATCH];
    let (mut alloc, mut free) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for object in &mut objects {
            // SAFETY: the layout is not empty.
            *object = unsafe { allocator.alloc(LAYOUT) };
        }
        alloc = alloc.min(start.elapsed().as_nanos() as f64 / BATCH as f64);
        let start = Instant::now();
        for object in objects {
            // SAFETY: it came from this allocator with this layout, just above.
            unsafe { allocator.dealloc(object, LAYOUT) };
        }
        free = free.min(start.elapsed().as_nanos() as f64 / BATCH as f64);
    }
    (alloc, free)
}

#[inline(never)]
fn alloc_and_free(allocator: &impl GlobalAlloc, count: usize) {
    for _ in 0..count {
        // SAFETY: the layout is not empty.
        let object = black_box(unsafe { allocator.alloc(LAYOUT) });
        // SAFETY: it came from this allocator with this layout, just above.
        unsafe { allocator.dealloc(object, LAYOUT) };
    }
}

const LAYOUT: Layout = Layout::new::<[u64; 8]>();

#[inline(never)]
fn captured_frames() -> usize {
    thread_local! {
        static MEMORY: ThreadMemory = const { ThreadMemory::new() };
    }
    let mut pcs = [0; 256];
    let captured =
        MEMORY.with(|memory| stack::capture(&Registers::here(), memory, &mut pcs, &(0..0)));
    black_box(&pcs);
    captured.depth
}

#[inline(never)]
fn libgcc_frames() -> usize {
    unsafe extern "C" {
        fn _Unwind_Backtrace(
            each: extern "C" fn(*mut c_void, *mut Pcs) -> c_int,
            pcs: *mut Pcs,
        ) -> c_int;
        fn _Unwind_GetIP(context: *mut c_void) -> usize;
    }
    #[repr(C)]
    struct Pcs {
        frames: usize,
        pcs: [usize; 256],
    }
    extern "C" fn keep(context: *mut c_void, pcs: *mut Pcs) -> c_int {
        // SAFETY: `pcs` is the local below, borrowed by nobody meanwhile.
        let pcs = unsafe { &mut *pcs };
        if let Some(slot) = pcs.pcs.get_mut(pcs.frames) {
            // SAFETY: the unwinder hands its own context to its callback.
            *slot = unsafe { _Unwind_GetIP(context) };
            pcs.frames += 1;
        }
        0
    }
    let mut pcs = Pcs {
        frames: 0,
        pcs: [0; 256],
    };
    // SAFETY: the callback takes what is passed here and does not unwind.
    unsafe { _Unwind_Backtrace(keep, &raw mut pcs) };
    black_box(&pcs.pcs);
    pcs.frames
}
