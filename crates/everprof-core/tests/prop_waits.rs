//! Property: whatever waits, wakes, times out and is requeued, every nanosecond that waiters
//! of an address waited is charged once, to the wake that ended it.
#![cfg(not(any(everprof_loom, miri)))]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use everprof_core::arena::Arena;
use everprof_core::waits::addresses::Addresses;
use everprof_core::waits::word::Units;
use proptest::prelude::*;

/// What may happen next, some time later.
#[derive(Clone, Debug)]
enum Step {
    Come(u64),
    /// One of those who wait is woken, which ends its wait now; it leaves later.
    Wake(u64),
    /// One leaves: one who was woken, or else because of the clock.
    Leave(usize),
    Requeue(usize, u64),
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let address = 1..40u64;
    let step = prop_oneof![
        5 => address.clone().prop_map(Step::Come),
        4 => address.clone().prop_map(Step::Wake),
        4 => any::<prop::sample::Index>().prop_map(|index| Step::Leave(index.index(1000))),
        1 => (any::<prop::sample::Index>(), address)
            .prop_map(|(index, to)| Step::Requeue(index.index(1000), to)),
    ];
    // In units of 16 ns; some at the same time.
    (0..50_000u64, step)
}

#[derive(Clone, Debug)]
struct Waiter {
    address: u64,
    record: u16,
    start: u64,
    /// When it was woken, or the last wake of its address since: it counts as waiting until
    /// then, as nobody can tell which of them it was that let it go.
    woken: Option<u64>,
}

proptest! {
    #[test]
    fn every_unit_that_was_waited_is_charged_once(
        steps in prop::collection::vec(step(), 1..400),
        // Around the wrap of 48 bits, too.
        origin in prop_oneof![Just(1_000_000u64), Just((1u64 << 48) - 3_000_000)],
    ) {
        let arena = Arena::anonymous(1 << 20).unwrap();
        let addresses = Addresses::create(arena.region()).unwrap();
        let mut waiters: Vec<Waiter> = Vec::new();
        // Units waited for each address that no wake has been charged with.
        let mut pending: HashMap<u64, u64> = HashMap::new();
        let (mut now, mut forgotten) = (origin, 0);
        let at = |units: u64| Units::of_nanos(units * 16);
        for (later, step) in steps {
            for waiter in waiters.iter().filter(|waiter| waiter.woken.is_none()) {
                *pending.entry(waiter.address).or_default() += later;
            }
            now += later;
            let forget = |nanos: u64| forgotten += nanos / 16;
            match step {
                Step::Come(address) => {
                    let record = addresses.come(address * 64, at(now), forget);
                    waiters.extend(record.map(|record| Waiter { address, record, start: now, woken: None }));
                }
                Step::Wake(address) => {
                    let charge = addresses.wake(address * 64, || now * 16).map_or(0, |charge| charge.nanos / 16);
                    let pending = pending.entry(address).or_default();
                    for waiter in waiters.iter_mut().filter(|waiter| waiter.address == address) {
                        if let Some(woken) = waiter.woken.as_mut() {
                            *pending += now - *woken;
                            *woken = now;
                        }
                    }
                    // Less is charged only where something was forgotten before.
                    prop_assert!(charge <= *pending && (charge == *pending || forgotten > 0 || charge == 0));
                    if charge > 0 {
                        *pending -= charge;
                    }
                    if let Some(waiter) = waiters.iter_mut().find(|waiter| waiter.address == address && waiter.woken.is_none()) {
                        waiter.woken = Some(now);
                    }
                }
                Step::Leave(index) if !waiters.is_empty() => {
                    let waiter = waiters.swap_remove(index % waiters.len());
                    addresses.leave(waiter.record, at(waiter.start), now * 16, waiter.woken.is_some());
                }
                Step::Requeue(index, to) if !waiters.is_empty() => {
                    let index = index % waiters.len();
                    if waiters[index].woken.is_none()
                        && let Some(record) = addresses.come(to * 64, at(now), forget)
                    {
                        let waiter = &mut waiters[index];
                        addresses.leave(waiter.record, at(waiter.start), now * 16, false);
                        (waiter.address, waiter.record, waiter.start) = (to, record, now);
                    }
                }
                _ => {}
            }
            for address in 1..40 {
                let count = waiters.iter().filter(|waiter| waiter.address == address).count();
                prop_assert_eq!(addresses.waiters(address * 64), count as u64);
            }
        }
        for waiter in waiters.drain(..) {
            addresses.leave(waiter.record, at(waiter.start), now * 16, waiter.woken.is_some());
        }
        // What no wake was charged with is there still, or was forgotten with its record.
        let rest: u64 = (1..40)
            .filter_map(|address| addresses.wake(address * 64, || now * 16))
            .map(|charge| charge.nanos / 16)
            .sum();
        prop_assert_eq!(rest + forgotten, pending.values().sum::<u64>());
    }
}
