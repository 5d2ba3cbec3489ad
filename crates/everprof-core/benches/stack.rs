//! Capture of a stack: time, or with `--callgrind` a fixed number of captures to
//! be counted by `valgrind --tool=callgrind --toggle-collect='*measured*'`.
//!
//! ```text
//! cargo bench -p everprof-core --bench stack
//! cargo bench -p everprof-core --bench stack -- CASE DEPTH COUNT     one case, silent
//! ```
//!
//! The anchor is libgcc's `_Unwind_Backtrace` in the same run. Each stack has some
//! ten frames of the program and this bench below the frames that are asked for.

use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::time::Instant;

use everprof_core::stack::{Registers, ThreadMemory, capture};

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    if let [case, depth, count] = &arguments[..] {
        let (Ok(depth), Ok(count)) = (depth.parse(), count.parse()) else {
            return;
        };
        for (_, run) in CASES.iter().filter(|(name, _)| name == case) {
            run(depth, count);
        }
        return;
    }
    println!(
        "{:<28}{:>10}{:>10}{:>10}   ns, median of 15",
        "depth", 8, 32, 100
    );
    for (name, run) in CASES {
        let row = [8, 32, 100].map(|depth| median(|| run(depth, 2000) as f64 / 2000.0));
        println!("{name:<28}{:>10.0}{:>10.0}{:>10.0}", row[0], row[1], row[2]);
    }
}

/// Runs so many captures at a depth; nanoseconds.
type Run = fn(usize, u32) -> u128;

const CASES: [(&str, Run); 4] = [
    ("one-stack", one_stack),
    ("varying-leaves", varying_leaves),
    ("no-memo", no_memo),
    ("libgcc", libgcc),
];

fn median(mut sample: impl FnMut() -> f64) -> f64 {
    let mut samples: Vec<f64> = (0..15).map(|_| sample()).collect();
    samples.sort_by(f64::total_cmp);
    samples[7]
}

thread_local! {
    static MEMORY: ThreadMemory = const { ThreadMemory::new() };
}

#[inline(never)]
fn measured(out: &mut [u64; 128]) -> usize {
    let registers = Registers::here();
    MEMORY.with(|memory| capture(black_box(&registers), memory, out, &(0..0)).depth)
}

fn one_stack(depth: usize, count: u32) -> u128 {
    let mut out = [0; 128];
    recurse(depth, &mut || {
        measured(&mut out);
        measured(&mut out);
        let start = Instant::now();
        for _ in 0..count {
            black_box(measured(black_box(&mut out)));
        }
        start.elapsed().as_nanos()
    })
}

/// Three leaves of different depth in turn, as a program's call sites differ.
fn varying_leaves(depth: usize, count: u32) -> u128 {
    let mut out = [0; 128];
    recurse(depth - 4, &mut || {
        let mut leaves = |turn: u32| match turn % 3 {
            0 => recurse(2, &mut || measured(&mut out)),
            1 => recurse(3, &mut || measured(&mut out)),
            _ => other(4, &mut || measured(&mut out)),
        };
        (0..6).for_each(|turn| _ = leaves(turn));
        let start = Instant::now();
        for turn in 0..count {
            black_box(leaves(turn));
        }
        start.elapsed().as_nanos()
    })
}

/// Each time from a signal handler's view: the memo is in use.
fn no_memo(depth: usize, count: u32) -> u128 {
    let mut out = [0; 128];
    // Two stacks that share no frame but the outermost, in turn.
    let mut total = 0;
    for turn in 0..count {
        let mut run = || {
            let start = Instant::now();
            black_box(measured(black_box(&mut out)));
            start.elapsed().as_nanos()
        };
        total += if turn % 2 == 0 {
            recurse(depth, &mut run)
        } else {
            other(depth, &mut run)
        };
    }
    total
}

fn libgcc(depth: usize, count: u32) -> u128 {
    let count = count / 20 + 1;
    let mut frames = 0_usize;
    recurse(depth, &mut || {
        let start = Instant::now();
        for _ in 0..count {
            // SAFETY: the callback gets the number that it expects.
            unsafe { _Unwind_Backtrace(visit, (&raw mut frames).cast()) };
        }
        start.elapsed().as_nanos() * 20
    })
}

#[inline(never)]
fn recurse<T>(depth: usize, leaf: &mut dyn FnMut() -> T) -> T {
    let mut room = [0_u8; 24];
    black_box(&mut room);
    let result = if depth == 0 {
        leaf()
    } else {
        recurse(depth - 1, leaf)
    };
    black_box(&mut room);
    result
}

#[inline(never)]
fn other<T>(depth: usize, leaf: &mut dyn FnMut() -> T) -> T {
    let mut room = [0_u8; 72];
    black_box(&mut room);
    let result = if depth == 0 {
        leaf()
    } else {
        other(depth - 1, leaf)
    };
    black_box(&mut room);
    result
}

unsafe extern "C" fn visit(context: *mut c_void, frames: *mut c_void) -> c_int {
    // SAFETY: the unwinder's own context.
    black_box(unsafe { _Unwind_GetIP(context) });
    // SAFETY: `libgcc` passes its number.
    unsafe { *frames.cast::<usize>() += 1 };
    0
}

unsafe extern "C" {
    fn _Unwind_Backtrace(
        visit: unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        data: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
}
