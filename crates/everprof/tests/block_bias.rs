//! Whether short waits weigh what they should beside long ones. A binary of its own: the period
//! is the process's.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod waiting;

use std::time::Duration;

use everprof_core::global;
use everprof_core::local::Local;
use everprof_core::stack::Registers;
use everprof_core::waits::{Begun, Ended, Operation, Recorder, Wait};

use waiting::{of_function, taken};

/// Go's TestBlockProfileBias: 100,000 short waits against 10,000 long ones of equal total,
/// which may differ by 0.2 there. Here it is 0.02, and sixteen times as many, so that this is
/// 8σ. The lengths are told to the recorder, as Go's test does.
#[test]
fn short_and_long_waits_of_equal_total_count_the_same() {
    const PERIOD: u64 = 10_000;
    #[inline(never)]
    fn waits_shortly() {}
    #[inline(never)]
    fn waits_for_long() {}
    everprof::block::set_period(PERIOD);
    let recorder: Recorder<'static> = global::waits();
    let local = Local::with_seed(7);
    let wait = Wait {
        operation: Operation::Futex,
        address: 0,
        timed: false,
    };
    let wait_once = |function: fn(), nanos: u64| {
        // Return addresses: one more than an address in the function.
        let capture = |stack: &mut [u64]| {
            stack[0] = function as *const () as u64 + 1;
            1
        };
        let mut begun = Begun::NOTHING;
        recorder.begin_with(
            &local,
            &wait,
            &Registers::here(),
            &mut begun,
            || 1_000_000,
            capture,
        );
        recorder.end_with(
            &local,
            &wait,
            &begun,
            Ended::Woken,
            1_000_000 + nanos,
            capture,
        );
    };
    (0..1_600_000).for_each(|_| wait_once(waits_shortly, PERIOD / 10));
    (0..160_000).for_each(|_| wait_once(waits_for_long, PERIOD));
    let profile = taken("block");
    let (_, short) = of_function(&profile, "waits_shortly");
    let (_, long) = of_function(&profile, "waits_for_long");
    assert_eq!(long, Duration::from_nanos(160_000 * PERIOD));
    let ratio = short.as_secs_f64() / long.as_secs_f64();
    assert!((ratio - 1.0).abs() < 0.02, "{ratio}");
}
