//! Property: whatever the kernel's clock and the counter do, and whoever is held up where, a
//! clock goes forward, and where it goes by the counter, as fast as the kernel's.
#![cfg(not(any(everprof_loom, miri)))]
#![allow(clippy::unwrap_used)]

use std::cell::Cell;

use everprof_core::clock::line::{Line, Pair};
use everprof_core::clock::{Clock, Source};
use proptest::prelude::*;

/// Femtoseconds of the model's own time in a nanosecond.
const NANO: u128 = 1_000_000;

/// A machine: true time goes on by each look at it.
struct Machine {
    now: Cell<u128>,
    /// Ticks in a second, and how far the counter was moved.
    ticks_a_second: u128,
    moved_ticks: Cell<u64>,
    /// The kernel's clock: what it said when its rate was last changed, and parts in 10⁹ by
    /// which it is fast.
    kernel: Cell<(u128, u128, i64)>,
    random: Cell<u64>,
}

impl Machine {
    fn new(ticks_a_second: u64, seed: u64) -> Self {
        Self {
            now: Cell::new(1_000_000_000 * NANO),
            ticks_a_second: ticks_a_second.into(),
            moved_ticks: Cell::new(1 << 40),
            kernel: Cell::new((1_000_000_000 * NANO, 5_000_000_000 * NANO, 0)),
            random: Cell::new(seed | 1),
        }
    }

    /// Any instruction takes a moment, and some take long: the thread was held up.
    fn pass(&self) {
        let random = self
            .random
            .get()
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.random.set(random);
        let nanos = match random >> 32 {
            rare if rare % 50 == 0 => (rare >> 6) % 5_000_000,
            often => 5 + often % 20,
        };
        self.now
            .set(self.now.get() + u128::from(nanos) * NANO + u128::from(random >> 45));
    }

    fn kernel_femtos(&self) -> u128 {
        let (since, said, fast) = self.kernel.get();
        let elapsed = self.now.get() - since;
        let more = elapsed.cast_signed() * i128::from(fast) / 1_000_000_000;
        said.wrapping_add_signed(elapsed.cast_signed() + more)
    }

    fn set_fast(&self, fast: i64) {
        self.kernel
            .set((self.now.get(), self.kernel_femtos(), fast));
    }

    fn wait(&self, nanos: u64) {
        self.now.set(self.now.get() + u128::from(nanos) * NANO);
    }
}

impl Source for Machine {
    fn ticks(&self) -> u64 {
        self.pass();
        let ticks = self.now.get() * self.ticks_a_second / (1_000_000_000 * NANO);
        (ticks as u64).wrapping_add(self.moved_ticks.get())
    }

    fn ticks_in_order(&self) -> u64 {
        self.ticks()
    }

    fn nanos(&self) -> u64 {
        self.pass();
        (self.kernel_femtos() / NANO) as u64
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Read,
    Early,
    Look,
    /// The kernel's clock goes faster or slower by so many parts in 10⁹.
    Slew(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..40_000_000u64).prop_map(Step::Wait),
        4 => Just(Step::Read),
        2 => Just(Step::Early),
        2 => Just(Step::Look),
        1 => (-300_000..300_000i64).prop_map(Step::Slew),
    ]
}

/// From a counter of 1 MHz to 5 GHz.
fn ticks_a_second() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(24_000_000),
        Just(1_000_000_000),
        1_000_000..5_000_000_000u64
    ]
}

proptest! {
    #[test]
    fn clock_goes_forward_whatever_happens(
        steps in prop::collection::vec(step(), 1..200),
        ticks_a_second in ticks_a_second(),
        seed in any::<u64>(),
    ) {
        let machine = Machine::new(ticks_a_second, seed);
        let clock = Clock::new();
        clock.begin(&machine, || true);
        let mut last = 0;
        for step in steps {
            let now = match step {
                Step::Wait(nanos) => { machine.wait(nanos); continue }
                Step::Slew(fast) => { machine.set_fast(fast); continue }
                Step::Look => { clock.look(&machine); continue }
                Step::Read => clock.now_nanos(&machine),
                Step::Early => clock.early_nanos(&machine),
            };
            prop_assert!(now >= last, "{now} after {last}");
            last = now;
        }
    }

    /// Over a day, while the kernel keeps its rate.
    #[test]
    fn intervals_are_the_kernels_within_the_bound(
        ticks_a_second in ticks_a_second(),
        seed in any::<u64>(),
        fast in -500_000..500_000i64,
        nanos in 0..86_400_000_000_000u64,
    ) {
        let machine = Machine::new(ticks_a_second, seed);
        machine.set_fast(fast);
        let clock = Clock::new();
        clock.begin(&machine, || true);
        while !clock.is_counting() {
            machine.wait(3_000_000);
            clock.now_nanos(&machine);
        }
        let line = clock.conversion(&machine).unwrap();
        // At one instant of the model's time.
        let both = || {
            let ticks = machine.ticks();
            (line.nanos_at(ticks), (machine.kernel_femtos() / NANO) as u64)
        };
        let (ours, kernels) = both();
        machine.wait(nanos);
        let (ours_later, kernels_later) = both();
        prop_assert!(ours >= kernels && ours_later >= kernels_later, "never behind");
        let (interval, truth) = (ours_later - ours, kernels_later - kernels);
        let tick = 1_000_000_000 / ticks_a_second + 2;
        prop_assert!(interval + tick >= truth, "{interval} of {truth}");
        prop_assert!(interval <= truth + truth / 100_000 + tick, "{interval} of {truth}");
    }

    #[test]
    fn counter_that_jumps_or_changes_its_rate_is_left_and_nobody_goes_back(
        ticks_a_second in 20_000_000..5_000_000_000u64,
        seed in any::<u64>(),
        jump_seconds in prop_oneof![-1_000..-1i64, 1..1_000i64],
    ) {
        let machine = Machine::new(ticks_a_second, seed);
        let clock = Clock::new();
        clock.begin(&machine, || true);
        while !clock.is_counting() {
            machine.wait(10_000_000);
            clock.now_nanos(&machine);
        }
        machine.wait(50_000_000);
        let before = clock.now_nanos(&machine);
        let jump = jump_seconds.wrapping_mul(ticks_a_second.cast_signed());
        machine.moved_ticks.set(machine.moved_ticks.get().wrapping_add(jump.cast_unsigned()));
        let jumped = clock.now_nanos(&machine);
        // A look that is held up within its pairs tells nothing: one of these is not.
        for _ in 0..100 {
            machine.wait(2_000_000);
            clock.look(&machine);
        }
        prop_assert!(!clock.is_counting());
        let after = clock.now_nanos(&machine);
        prop_assert!(after > before);
        prop_assert!(jump < 0 || after > jumped, "{after} after {jumped}");
        machine.wait(1_000_000_000);
        let interval = clock.now_nanos(&machine) - after;
        prop_assert!((1_000_000_000..1_100_000_000).contains(&interval), "by the kernel's");
    }

    #[test]
    fn pairs_prove_no_line_that_leaves_the_bound(
        ticks_a_second in ticks_a_second(),
        seed in any::<u64>(),
        nanos in 0..200_000_000u64,
        fast in -90_000_000..90_000_000i64,
    ) {
        let machine = Machine::new(ticks_a_second, seed);
        machine.set_fast(fast);
        let first = Pair::read(&machine);
        machine.wait(nanos);
        let second = Pair::read(&machine);
        if let Some(line) = Line::proven_by(&first, &second) {
            let rate = ticks_a_second as f64 / (1.0 + fast as f64 / 1e9);
            let found = line.ticks_a_second() as f64;
            prop_assert!(found <= rate + 1.0 && found >= rate * (1.0 - 1.01e-5) - 1.0, "{found} of {rate}");
        }
    }
}

#[test]
fn counter_that_is_asked_of_somebody_is_refused() {
    struct Trapped(Machine);
    impl Source for Trapped {
        fn ticks(&self) -> u64 {
            self.0.wait(1_500);
            self.0.ticks()
        }
        fn ticks_in_order(&self) -> u64 {
            self.ticks()
        }
        fn nanos(&self) -> u64 {
            self.0.nanos()
        }
    }
    let machine = Trapped(Machine::new(2_000_000_000, 1));
    let clock = Clock::new();
    clock.begin(&machine, || true);
    for _ in 0..100 {
        machine.0.wait(10_000_000);
        clock.now_nanos(&machine);
    }
    assert!(!clock.is_counting());
    assert_eq!(clock.conversion(&machine), Some(Line::IDENTITY));
}

#[test]
fn counter_that_is_not_trusted_is_not_read() {
    struct Untouchable(Machine);
    impl Source for Untouchable {
        fn ticks(&self) -> u64 {
            panic!("nobody may");
        }
        fn ticks_in_order(&self) -> u64 {
            panic!("nobody may");
        }
        fn nanos(&self) -> u64 {
            self.0.nanos()
        }
    }
    let machine = Untouchable(Machine::new(2_000_000_000, 1));
    let clock = Clock::new();
    let before = clock.ticks(&machine);
    clock.begin(&machine, || false);
    assert!(clock.now_nanos(&machine) > before);
    assert!(clock.ticks(&machine) > before);
    clock.look(&machine);
}
