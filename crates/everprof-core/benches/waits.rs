//! Waits and wakes around a bare futex call: what recording adds where nothing is sampled.
//!
//! ```text
//! cargo bench -p everprof-core --bench waits
//! cargo bench -p everprof-core --bench waits -- CASE COUNT     one case, silent
//! ```
//!
//! The second form is to be counted by `valgrind --tool=callgrind`; two counts subtracted
//! leave what one wait costs. The futex call is one that finds another value and returns
//! at once, the cheapest there is, so that the difference is the recorder's own. Under
//! valgrind a wait takes so long that sites are taken anew at most of them: count those apart
//! (`--toggle-collect`, or subtract `site_of`).

use std::hint::black_box;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use everprof_core::settings::Name;
use everprof_core::stack::Registers;
use everprof_core::waits::{self, Ended, Operation, Wait};
use everprof_core::{clock, global};

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    everprof_core::global::on_start();
    warm_up();
    if let [case, count] = &arguments[..] {
        let Ok(count) = count.parse() else {
            return;
        };
        // Time is another under valgrind: so that nothing is sampled there, either.
        for name in [Name::BlockPeriod, Name::MutexPeriod] {
            global::store().set(name, 1 << 50);
        }
        for (_, run) in CASES.iter().filter(|(name, _)| name == case) {
            run(count);
        }
        return;
    }
    println!("{:<28}{:>10}   ns, median of 15", "", "each");
    for (name, run) in CASES {
        let each = median(|| run(20_000) as f64 / 20_000.0);
        println!("{name:<28}{each:>10.1}");
    }
}

/// Runs so many; nanoseconds.
type Run = fn(u32) -> u128;

const CASES: [(&str, Run); 11] = [
    ("clock-kernel", clock_kernel),
    ("clock", clock_in_order),
    ("clock-early", clock_early),
    ("bare-wait", bare_wait),
    ("wait", wait),
    ("wait-alone", wait_alone),
    ("wait-off", wait_off),
    ("yield", yields),
    ("bare-wake", bare_wake),
    ("wake-nobody", wake_nobody),
    ("wake-charged", wake_charged),
];

fn median(mut sample: impl FnMut() -> f64) -> f64 {
    let mut samples: Vec<f64> = (0..15).map(|_| sample()).collect();
    samples.sort_by(f64::total_cmp);
    samples[7]
}

static WORD: AtomicU32 = AtomicU32::new(7);
static LONELY: AtomicU32 = AtomicU32::new(7);

fn timed(count: u32, mut each: impl FnMut()) -> u128 {
    let start = Instant::now();
    for _ in 0..count {
        each();
    }
    start.elapsed().as_nanos()
}

#[inline(always)]
fn futex(word: &AtomicU32, operation: i32, value: u32) -> i64 {
    // SAFETY: a futex call on a word that lives for ever; it writes nothing.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            std::ptr::from_ref(word),
            operation | libc::FUTEX_PRIVATE_FLAG,
            value,
            0,
        )
    }
}

/// Until the clock goes by the processor's counter, where it does at all: two looks, far
/// enough from each other.
fn warm_up() {
    let start = Instant::now();
    while clock::conversion().is_none() && start.elapsed().as_secs() < 2 {
        std::thread::yield_now();
    }
}

fn clock_kernel(count: u32) -> u128 {
    timed(count, || {
        black_box(Instant::now());
    })
}

fn clock_in_order(count: u32) -> u128 {
    timed(count, || {
        black_box(clock::now_nanos());
    })
}

fn clock_early(count: u32) -> u128 {
    timed(count, || {
        black_box(clock::early_nanos());
    })
}

fn bare_wait(count: u32) -> u128 {
    timed(count, || {
        black_box(futex(&WORD, libc::FUTEX_WAIT, 0));
    })
}

#[inline(never)]
fn recorded_wait(word: &AtomicU32) -> i64 {
    let registers = Registers::here();
    let wait = Wait {
        operation: Operation::Futex,
        address: std::ptr::from_ref(word) as usize,
        timed: false,
    };
    if !waits::wants(Operation::Futex) {
        return futex(word, libc::FUTEX_WAIT, 0);
    }
    waits::around(
        &wait,
        &registers,
        || futex(word, libc::FUTEX_WAIT, 0),
        |_| Ended::Woken,
    )
}

fn wait(count: u32) -> u128 {
    timed(count, || {
        black_box(recorded_wait(&WORD));
    })
}

/// A wait for an address with no call in it: steadier than the difference of two.
fn wait_alone(count: u32) -> u128 {
    let wait = Wait {
        operation: Operation::Futex,
        address: (&raw const WORD).addr(),
        timed: false,
    };
    timed(count, || {
        waits::around(&wait, &Registers::here(), || (), |()| Ended::Woken);
    })
}

fn wait_off(count: u32) -> u128 {
    let operations = global::store().settings().get(Name::WaitOperations);
    global::store().set(Name::WaitOperations, 0);
    let nanos = wait(count);
    global::store().set(Name::WaitOperations, operations);
    nanos
}

fn yields(count: u32) -> u128 {
    let wait = Wait {
        operation: Operation::Yield,
        address: 0,
        timed: false,
    };
    timed(count, || {
        waits::around(&wait, &Registers::here(), || (), |()| Ended::Woken);
    })
}

fn bare_wake(count: u32) -> u128 {
    timed(count, || {
        black_box(futex(&LONELY, libc::FUTEX_WAKE, 1));
    })
}

#[inline(never)]
fn recorded_wake(word: &AtomicU32) -> i64 {
    let registers = Registers::here();
    waits::wake(
        std::ptr::from_ref(word) as usize,
        &registers,
        || futex(word, libc::FUTEX_WAKE, 1),
        |_| 0,
    )
}

fn wake_nobody(count: u32) -> u128 {
    timed(count, || {
        black_box(recorded_wake(&LONELY));
    })
}

/// With a waiter that never leaves; it waits in this thread's name.
fn wake_charged(count: u32) -> u128 {
    let registers = Registers::here();
    let wait = Wait {
        operation: Operation::Futex,
        address: (&raw const WORD).addr(),
        timed: false,
    };
    waits::around(
        &wait,
        &registers,
        || {
            timed(count, || {
                black_box(recorded_wake(&WORD));
            })
        },
        |_| Ended::Woken,
    )
}
