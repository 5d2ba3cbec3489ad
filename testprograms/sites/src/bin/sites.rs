//! Waits in each primitive for a while, each in a function of its own name.
//!
//! ```text
//! sites [FILE]
//! ```
//!
//! Built with the feature `linked` it writes its block profile to the file. Without, it knows
//! nothing of any profiler, and is run under one.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock, mpsc};
use std::thread;
use std::time::Duration;

/// For how long each is kept once it sleeps.
const KEPT: Duration = Duration::from_millis(20);

/// The thread that is to wait, as the kernel numbers it.
static WAITER: AtomicU32 = AtomicU32::new(0);
/// Whether somebody is in [`take_a_while`].
static BEGUN: AtomicBool = AtomicBool::new(false);

/// This thread is the one that is to wait.
fn will_wait() {
    let link = std::fs::read_link("/proc/thread-self").expect("there is /proc");
    let tid = link
        .file_name()
        .and_then(|name| name.to_str()?.parse().ok());
    WAITER.store(tid.expect("a number"), Ordering::SeqCst);
}

/// Until the thread that is to wait sleeps, and a while longer.
fn keep_it() {
    loop {
        let tid = WAITER.load(Ordering::SeqCst);
        let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat"));
        // The state follows the name, which is in brackets.
        if stat.is_ok_and(|stat| {
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.starts_with(" S"))
        }) {
            break;
        }
        thread::yield_now();
    }
    thread::sleep(KEPT);
}

/// Runs `wait` on another thread, and `release` once that has slept for a while.
fn keep(wait: impl FnOnce() + Send + 'static, release: impl FnOnce()) {
    WAITER.store(0, Ordering::SeqCst);
    let waiter = thread::spawn(move || {
        will_wait();
        wait();
    });
    keep_it();
    release();
    waiter.join().expect("no waiter panics");
}

/// What begins at once and takes until somebody waits for it.
fn take_a_while() {
    BEGUN.store(true, Ordering::SeqCst);
    keep_it();
}

/// Defines functions that nobody inlines, and that have something to do after they have waited:
/// a call at the end would be a jump, and leave no frame.
macro_rules! sites {
    ($($name:ident($($argument:ident: $of:ty),*) $body:block)*) => {
        $(#[inline(never)]
        fn $name($($argument: $of),*) {
            black_box($body);
        })*
    };
}

sites! {
    waits_in_std_mutex(lock: &Mutex<()>) { lock.lock().is_ok() }
    waits_in_std_rwlock_read(lock: &RwLock<()>) { lock.read().is_ok() }
    waits_in_std_rwlock_write(lock: &RwLock<()>) { lock.write().is_ok() }
    waits_in_std_condvar(gate: &(Mutex<bool>, Condvar)) {
        gate.1.wait_while(gate.0.lock().expect("no panic"), |open| !*open).is_ok()
    }
    waits_in_std_once(once: &Once) { once.call_once(|| ()) }
    waits_in_std_once_lock(lock: &OnceLock<()>) { lock.get_or_init(|| ()) }
    waits_in_std_lazy_lock() { LazyLock::force(&LAZY) }
    waits_in_std_park() { thread::park_timeout(KEPT) }
    waits_in_std_mpsc(receiver: &mpsc::Receiver<()>) { receiver.recv().is_ok() }
    waits_in_std_sync_sender(sender: &mpsc::SyncSender<()>) { sender.send(()).is_ok() }
    waits_in_std_barrier(barrier: &Barrier) { barrier.wait().is_leader() }
    waits_in_std_scope() { thread::scope(|scope| scope.spawn(take_a_while).thread().id()) }
    waits_in_std_join() { thread::spawn(take_a_while).join().is_ok() }
    waits_in_parking_lot_mutex(lock: &parking_lot::Mutex<()>) { drop(lock.lock()) }
    waits_in_parking_lot_rwlock_read(lock: &parking_lot::RwLock<()>) { drop(lock.read()) }
    waits_in_parking_lot_rwlock_write(lock: &parking_lot::RwLock<()>) { drop(lock.write()) }
    waits_in_parking_lot_condvar(gate: &(parking_lot::Mutex<bool>, parking_lot::Condvar)) {
        gate.1.wait_while(&mut gate.0.lock(), |open| !*open)
    }
    waits_in_parking_lot_once(once: &parking_lot::Once) { once.call_once(|| ()) }
    waits_in_crossbeam_recv(receiver: &crossbeam_channel::Receiver<()>) { receiver.recv().is_ok() }
    waits_in_crossbeam_send(sender: &crossbeam_channel::Sender<()>) { sender.send(()).is_ok() }
    waits_in_crossbeam_wait_group(group: crossbeam_utils::sync::WaitGroup) { group.wait() }
    waits_in_crossbeam_parker(parker: &crossbeam_utils::sync::Parker) { parker.park() }
    waits_in_flume(receiver: &flume::Receiver<()>) { receiver.recv().is_ok() }
    waits_in_kanal(receiver: &kanal::Receiver<()>) { receiver.recv().is_ok() }
    waits_in_once_cell(cell: &once_cell::sync::OnceCell<()>) { cell.get_or_init(|| ()) }
    waits_in_rayon_install(pool: &rayon::ThreadPool) { pool.install(take_a_while) }
    waits_in_rayon_join(pool: &rayon::ThreadPool) { pool.join(take_a_while, take_a_while) }
    waits_in_rayon_scope(pool: &rayon::ThreadPool) {
        pool.scope(|scope| scope.spawn(|_| take_a_while()))
    }
    waits_in_rayon_worker(begun: &AtomicBool) {
        // The other half is another worker's by then.
        let first = || while !begun.load(Ordering::SeqCst) { std::hint::spin_loop() };
        rayon::join(first, || { begun.store(true, Ordering::SeqCst); keep_it() })
    }
    waits_in_tokio_block_on(runtime: &tokio::runtime::Runtime, told: tokio::sync::oneshot::Receiver<()>) {
        runtime.block_on(told).is_ok()
    }
    waits_in_tokio_blocking_lock(lock: &tokio::sync::Mutex<()>) { drop(lock.blocking_lock()) }
    waits_in_tokio_blocking_recv(receiver: &mut tokio::sync::mpsc::Receiver<()>) {
        receiver.blocking_recv()
    }
}

static LAZY: LazyLock<()> = LazyLock::new(take_a_while);

/// Lets `first` begin what takes a while, and `second` come to wait for it.
fn after(first: impl FnOnce() + Send + 'static, second: impl FnOnce()) {
    will_wait();
    BEGUN.store(false, Ordering::SeqCst);
    let first = thread::spawn(first);
    while !BEGUN.load(Ordering::SeqCst) {
        std::hint::spin_loop();
    }
    second();
    first.join().expect("it does not panic");
}

fn standard() {
    let lock = Arc::new(Mutex::new(()));
    let (theirs, held) = (lock.clone(), lock.lock());
    keep(move || waits_in_std_mutex(&theirs), || drop(held));
    let lock = Arc::new(RwLock::new(()));
    let (theirs, held) = (lock.clone(), lock.write());
    keep(move || waits_in_std_rwlock_read(&theirs), || drop(held));
    let (theirs, held) = (lock.clone(), lock.read());
    keep(move || waits_in_std_rwlock_write(&theirs), || drop(held));
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let theirs = gate.clone();
    keep(
        move || waits_in_std_condvar(&theirs),
        || {
            *gate.0.lock().expect("no panic") = true;
            gate.1.notify_all();
        },
    );
    let once = Arc::new(Once::new());
    let theirs = once.clone();
    after(
        move || theirs.call_once(take_a_while),
        || waits_in_std_once(&once),
    );
    let lock = Arc::new(OnceLock::new());
    let theirs = lock.clone();
    after(
        move || *theirs.get_or_init(take_a_while),
        || waits_in_std_once_lock(&lock),
    );
    after(|| *LAZY, waits_in_std_lazy_lock);
    waits_in_std_park();
    let (sender, receiver) = mpsc::channel();
    keep(
        move || waits_in_std_mpsc(&receiver),
        || sender.send(()).expect("a receiver"),
    );
    let (sender, receiver) = mpsc::sync_channel(0);
    keep(
        move || waits_in_std_sync_sender(&sender),
        || receiver.recv().expect("a sender"),
    );
    let barrier = Arc::new(Barrier::new(2));
    let theirs = barrier.clone();
    keep(
        move || waits_in_std_barrier(&theirs),
        || _ = barrier.wait().is_leader(),
    );
    will_wait();
    waits_in_std_scope();
    waits_in_std_join();
}

fn crates() {
    let lock = Arc::new(parking_lot::Mutex::new(()));
    let (theirs, held) = (lock.clone(), lock.lock());
    keep(move || waits_in_parking_lot_mutex(&theirs), || drop(held));
    let lock = Arc::new(parking_lot::RwLock::new(()));
    let (theirs, held) = (lock.clone(), lock.write());
    keep(
        move || waits_in_parking_lot_rwlock_read(&theirs),
        || drop(held),
    );
    let (theirs, held) = (lock.clone(), lock.read());
    keep(
        move || waits_in_parking_lot_rwlock_write(&theirs),
        || drop(held),
    );
    let gate = Arc::new((parking_lot::Mutex::new(false), parking_lot::Condvar::new()));
    let theirs = gate.clone();
    keep(
        move || waits_in_parking_lot_condvar(&theirs),
        || {
            *gate.0.lock() = true;
            gate.1.notify_all();
        },
    );
    let once = Arc::new(parking_lot::Once::new());
    let theirs = once.clone();
    after(
        move || theirs.call_once(take_a_while),
        || waits_in_parking_lot_once(&once),
    );
    let cell = Arc::new(once_cell::sync::OnceCell::new());
    let theirs = cell.clone();
    after(
        move || *theirs.get_or_init(take_a_while),
        || waits_in_once_cell(&cell),
    );

    let (sender, receiver) = crossbeam_channel::bounded(1);
    keep(
        move || waits_in_crossbeam_recv(&receiver),
        || sender.send(()).expect("a receiver"),
    );
    let (sender, receiver) = crossbeam_channel::bounded(0);
    keep(
        move || waits_in_crossbeam_send(&sender),
        || receiver.recv().expect("a sender"),
    );
    let group = crossbeam_utils::sync::WaitGroup::new();
    let theirs = group.clone();
    keep(
        move || waits_in_crossbeam_wait_group(theirs),
        || drop(group),
    );
    let parker = crossbeam_utils::sync::Parker::new();
    let unparker = parker.unparker().clone();
    keep(
        move || waits_in_crossbeam_parker(&parker),
        || unparker.unpark(),
    );
    let (sender, receiver) = flume::bounded(1);
    keep(
        move || waits_in_flume(&receiver),
        || sender.send(()).expect("a receiver"),
    );
    let (sender, receiver) = kanal::bounded(1);
    keep(
        move || waits_in_kanal(&receiver),
        || sender.send(()).expect("a receiver"),
    );
}

fn runtimes() {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .expect("threads");
    will_wait();
    waits_in_rayon_install(&pool);
    waits_in_rayon_join(&pool);
    waits_in_rayon_scope(&pool);
    pool.install(|| {
        will_wait();
        waits_in_rayon_worker(&AtomicBool::new(false));
    });
    drop(pool);

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build();
    let runtime = runtime.expect("threads");
    let (tell, told) = tokio::sync::oneshot::channel();
    keep(
        move || waits_in_tokio_block_on(&runtime, told),
        || drop(tell),
    );
    let lock = Arc::new(tokio::sync::Mutex::new(()));
    let (theirs, held) = (lock.clone(), lock.try_lock());
    keep(move || waits_in_tokio_blocking_lock(&theirs), || drop(held));
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    keep(
        move || waits_in_tokio_blocking_recv(&mut receiver),
        || {
            sender.try_send(()).expect("room");
        },
    );
}

fn main() {
    #[cfg(feature = "linked")]
    everprof::block::set_period(1);
    standard();
    crates();
    runtimes();
    #[cfg(feature = "linked")]
    if let Some(path) = std::env::args_os().nth(1) {
        let profile = everprof::profile::lookup("block").expect("there is one");
        let mut file = std::fs::File::create(path).expect("a file");
        profile.write_to(&mut file).expect("a file");
    }
}
