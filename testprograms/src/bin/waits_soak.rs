//! Threads that wait for one another in every way while all profiles are on, signals
//! arrive, processes fork, and threads come and go.
//!
//! ```text
//! waits_soak [SECONDS]
//! ```
//!
//! Nothing may hang. Linked to everprof, nobody is said to wait any more when all threads have
//! ended, and what unlockers are charged with is not more than what others have waited.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use testprograms::{Random, fork, signals};

static STOP: AtomicBool = AtomicBool::new(false);

static MUTEX: Mutex<u64> = Mutex::new(0);
static RWLOCK: RwLock<u64> = RwLock::new(0);
static GATE: (Mutex<u64>, Condvar) = (Mutex::new(0), Condvar::new());
static PARKING: parking_lot::Mutex<u64> = parking_lot::const_mutex(0);
static PARKING_GATE: parking_lot::Condvar = parking_lot::Condvar::new();

fn main() {
    let seconds = std::env::args()
        .nth(1)
        .map_or(2, |text| text.parse().expect("SECONDS"));
    #[cfg(feature = "linked")]
    linked::record_all();
    signals::install_handler();
    let end = Instant::now() + Duration::from_secs(seconds);
    let (sender, receiver) = channel();
    let (receivers, receiver_end) = (Mutex::new(receiver), sender.clone());
    thread::scope(|scope| {
        for seed in 1..=6 {
            let sender = sender.clone();
            scope.spawn(move || contend(seed, &sender));
        }
        drop(sender);
        scope.spawn(|| receive(&receivers));
        scope.spawn(churn_threads);
        scope.spawn(|| signals::signal_everybody(Duration::from_millis(1), is_over));
        #[cfg(feature = "linked")]
        scope.spawn(linked::take_profiles);
        while Instant::now() < end {
            fork_a_child();
            thread::sleep(Duration::from_millis(50));
        }
        STOP.store(true, Ordering::SeqCst);
        drop(receiver_end);
    });
    assert!(signals::count() > 10, "no signal came");
    #[cfg(feature = "linked")]
    linked::check_sums();
    testprograms::ok();
}

fn is_over() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// One of everything, in an order of its own.
fn contend(seed: u64, sender: &Sender<u64>) {
    let mut random = Random::new(seed);
    while !is_over() {
        step(&mut random, sender);
    }
}

fn step(random: &mut Random, sender: &Sender<u64>) {
    let while_held = |random: &mut Random| {
        let until = Instant::now() + Duration::from_micros(random.number() % 200);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    };
    match random.below(9) {
        0 => {
            *MUTEX.lock().expect("no panic") += 1;
        }
        1 => {
            let _held = MUTEX.lock().expect("no panic");
            while_held(random);
        }
        2 => {
            let _held = RWLOCK.read().expect("no panic");
            while_held(random);
        }
        3 => {
            let _held = RWLOCK.write().expect("no panic");
            while_held(random);
        }
        4 => {
            let held = GATE.0.lock().expect("no panic");
            let patience = Duration::from_micros(random.number() % 2_000);
            drop(GATE.1.wait_timeout(held, patience));
        }
        5 => {
            *GATE.0.lock().expect("no panic") += 1;
            GATE.1.notify_all();
        }
        6 => {
            let _held = PARKING.lock();
            while_held(random);
        }
        7 => {
            let mut held = PARKING.lock();
            PARKING_GATE.wait_for(&mut held, Duration::from_micros(random.number() % 2_000));
            PARKING_GATE.notify_one();
        }
        _ => sender.send(random.number()).expect("somebody receives"),
    }
}

/// Until the last sender has ended.
fn receive(receiver: &Mutex<Receiver<u64>>) {
    let receiver = receiver.lock().expect("no panic");
    while receiver.recv().is_ok() {}
}

/// Threads that take a lock or two and end.
fn churn_threads() {
    let (sender, receiver) = channel();
    let mut seed = 100;
    while !is_over() {
        seed += 1;
        let (sender, mut random) = (sender.clone(), Random::new(seed));
        let thread = thread::spawn(move || (0..3).for_each(|_| step(&mut random, &sender)));
        thread.join().expect("no thread panics");
        receiver.try_iter().for_each(drop);
    }
}

/// A child that waits for its own.
fn fork_a_child() {
    fork::assert_in_child(|| {
        let (lock, never) = (Mutex::new(()), Condvar::new());
        let held = lock.lock().expect("no panic");
        let waited = never.wait_timeout(held, Duration::from_millis(2)).is_ok();
        #[cfg(feature = "linked")]
        let waited = waited && linked::blocked() == 0;
        waited
    });
}

/// What only everprof can tell.
#[cfg(feature = "linked")]
mod linked {
    use super::{Duration, is_over, thread};
    use everprof_core::global;
    use everprof_core::waits::Operation;

    pub fn record_all() {
        everprof::block::set_period(1);
        everprof::mutex::set_period(1);
    }

    /// All that there are, over and over, and between them one of CPU time.
    pub fn take_profiles() {
        while !is_over() {
            for profile in everprof::profile::all() {
                let mut bytes = Vec::new();
                profile
                    .write_to(&mut bytes)
                    .expect("memory can be written to");
            }
            drop(everprof::cpu::profile_at(997, Duration::from_millis(100)));
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn blocked() -> usize {
        let mut blocked = 0;
        global::waits().for_each_blocked(|_| blocked += 1);
        blocked
    }

    /// Every futex wait is in the block profile from its begin to its return, and charged from
    /// its begin to the wake; what nobody can be charged with is counted as lost.
    pub fn check_sums() {
        assert_eq!(blocked(), 0, "all threads have ended");
        let (block, mutex) = (global::waits().block(), global::waits().mutex());
        let futex = |operation| operation == Some(Operation::Futex);
        let waited: u64 = block
            .iter()
            .filter(|bucket| futex(bucket.operation))
            .map(|bucket| bucket.waits.delay_nanos)
            .sum();
        let charged: u64 = mutex.iter().map(|bucket| bucket.waits.delay_nanos).sum();
        let chained: u64 = mutex.iter().map(|bucket| bucket.chain.delay_nanos).sum();
        eprintln!("waited {waited} charged {charged} along chains {chained} ns");
        assert!(charged <= waited, "{charged} of {waited} ns");
        // The rest is the way of those who were woken to a processor, and depends on the machine.
        assert!(charged >= waited / 10, "{charged} of {waited} ns");
        // As sanitizers want it, nobody is seen to wait.
        assert_eq!(waited > 0, cfg!(feature = "interpose"), "{waited} ns");
    }
}
