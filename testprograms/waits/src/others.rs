//! What the crates have that most programs lock, send and fan out with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use everprof_core::waits::Operation::{Futex, Yield};

use crate::{done, seen};

pub fn all() {
    parking_lot();
    channels();
    pools();
}

fn parking_lot() {
    use parking_lot::{Condvar, Mutex, Once, RwLock};

    let mutex = Arc::new(Mutex::new(()));
    let (theirs, held) = (mutex.clone(), mutex.lock());
    seen(
        "parking_lot::Mutex",
        Futex,
        move || done(theirs.lock()),
        || done(held),
    );
    let (theirs, held) = (mutex.clone(), mutex.lock());
    let spun = "parking_lot::Mutex, while it spins";
    seen(spun, Yield, move || done(theirs.lock()), || done(held));

    let lock = Arc::new(RwLock::new(()));
    let (theirs, held) = (lock.clone(), lock.write());
    seen(
        "parking_lot::RwLock::read",
        Futex,
        move || done(theirs.read()),
        || done(held),
    );
    let (theirs, held) = (lock.clone(), lock.read());
    seen(
        "parking_lot::RwLock::write",
        Futex,
        move || done(theirs.write()),
        || done(held),
    );

    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let theirs = pair.clone();
    let wait = move || theirs.1.wait_while(&mut theirs.0.lock(), |ready| !*ready);
    let release = || {
        *pair.0.lock() = true;
        pair.1.notify_all();
    };
    seen("parking_lot::Condvar", Futex, wait, release);

    static ONCE: Once = Once::new();
    static BEGUN: AtomicBool = AtomicBool::new(false);
    static GO: AtomicBool = AtomicBool::new(false);
    let first = thread::spawn(|| {
        ONCE.call_once(|| {
            BEGUN.store(true, Ordering::SeqCst);
            while !GO.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
        });
    });
    while !BEGUN.load(Ordering::SeqCst) {
        thread::yield_now();
    }
    let wait = || ONCE.call_once(|| ());
    seen("parking_lot::Once", Futex, wait, || {
        GO.store(true, Ordering::SeqCst)
    });
    done(first.join());
}

fn channels() {
    let (send, receive) = crossbeam_channel::bounded(1);
    seen(
        "crossbeam recv",
        Futex,
        move || done(receive.recv()),
        || done(send.send(())),
    );
    let (send, receive) = crossbeam_channel::bounded(0);
    seen(
        "crossbeam send",
        Futex,
        move || done(send.send(())),
        || done(receive.recv()),
    );
    let parker = crossbeam_utils::sync::Parker::new();
    let unparker = parker.unparker().clone();
    seen(
        "crossbeam Parker",
        Futex,
        move || parker.park(),
        || unparker.unpark(),
    );
    let group = crossbeam_utils::sync::WaitGroup::new();
    let theirs = group.clone();
    seen(
        "crossbeam WaitGroup",
        Futex,
        move || theirs.wait(),
        || done(group),
    );
    let (send, receive) = flume::bounded(1);
    seen(
        "flume recv",
        Futex,
        move || done(receive.recv()),
        || done(send.send(())),
    );
}

fn pools() {
    let pool = rayon_core::ThreadPoolBuilder::new().num_threads(2).build();
    let pool = Arc::new(pool.expect("threads"));
    // Idle workers sleep by themselves; whoever calls in waits for one of them.
    let theirs = pool.clone();
    let go = Arc::new(AtomicBool::new(false));
    let gone = go.clone();
    let install = move || {
        theirs.install(|| {
            while !gone.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
        });
    };
    seen("rayon install", Futex, install, || {
        go.store(true, Ordering::SeqCst)
    });
}
