//! Who waited, for what and how long: Go's TestBlockProfile for the locks and channels
//! that Rust programs use, and what else a block profile must hold to.
#![cfg(all(target_os = "linux", not(target_feature = "crt-static")))]
#![allow(clippy::unwrap_used)]

mod waiting;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use everprof::{Request, handle, labels};

use waiting::{
    GRAIN, KEPT, Waiter, assert_seen, decoded, is_in, kept, of_function, record_all, taken,
};

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

// ---- each primitive of std ----

#[inline(never)]
fn locks_std_mutex(mutex: &Mutex<()>) {
    drop(mutex.lock().unwrap());
}

#[test]
fn std_mutex_is_seen() {
    let mutex = Arc::new(Mutex::new(()));
    let (theirs, held) = (mutex.clone(), mutex.lock().unwrap());
    let wait = move || locks_std_mutex(&theirs);
    assert_seen("locks_std_mutex", "mutex", wait, || drop(held));
}

#[inline(never)]
fn reads_std_rwlock(lock: &RwLock<()>) {
    drop(lock.read().unwrap());
}

#[inline(never)]
fn writes_std_rwlock(lock: &RwLock<()>) {
    drop(lock.write().unwrap());
}

#[test]
fn std_rwlock_is_seen_by_readers_and_writers() {
    let lock = Arc::new(RwLock::new(()));
    let (theirs, held) = (lock.clone(), lock.write().unwrap());
    let wait = move || reads_std_rwlock(&theirs);
    assert_seen("reads_std_rwlock", "rwlock", wait, || drop(held));
    let (theirs, held) = (lock.clone(), lock.read().unwrap());
    let wait = move || writes_std_rwlock(&theirs);
    assert_seen("writes_std_rwlock", "rwlock", wait, || drop(held));
}

type Gate = Arc<(Mutex<bool>, Condvar)>;

#[inline(never)]
fn waits_for_std_condvar((open, opened): &(Mutex<bool>, Condvar)) {
    drop(opened.wait_while(open.lock().unwrap(), |open| !*open));
}

#[test]
fn std_condvar_is_seen_across_wakes_for_nothing() {
    let gate = Gate::default();
    let theirs = gate.clone();
    let wait = move || waits_for_std_condvar(&theirs);
    assert_seen("waits_for_std_condvar", "condvar", wait, || {
        // Somebody notifies before the condition holds.
        gate.1.notify_all();
        thread::sleep(KEPT);
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
    });
}

#[inline(never)]
fn waits_until_a_timeout((open, opened): &(Mutex<bool>, Condvar)) {
    let open = open.lock().unwrap();
    let (_open, timeout) = opened
        .wait_timeout_while(open, 2 * KEPT, |open| !*open)
        .unwrap();
    assert!(timeout.timed_out());
}

#[test]
fn timeout_ends_a_wait_and_leaves_no_waiter() {
    record_all();
    let (mut waits, mut least, mut most) = (0, Duration::ZERO, Duration::ZERO);
    // Where the machine is busy this thread may have no turn while the other waits: once more.
    while least < KEPT {
        let gate = Gate::default();
        let waiter = Waiter::start(move || waits_until_a_timeout(&gate));
        least += waiter.watch();
        most += waiter.join() + GRAIN;
        waits += 1;
    }
    let (contentions, delay) = of_function(&taken("block"), "waits_until_a_timeout");
    assert_eq!(contentions, waits);
    let passed = least - GRAIN..=most;
    assert!(passed.contains(&delay), "{delay:?} of {passed:?}");
}

#[inline(never)]
fn calls_std_once(once: &Once) {
    once.call_once(|| ());
}

#[inline(never)]
fn gets_std_once_lock(lock: &OnceLock<()>) {
    lock.get_or_init(|| ());
}

#[inline(never)]
fn forces_std_lazy_lock(lock: &LazyLock<(), Box<dyn FnOnce() + Send>>) {
    LazyLock::force(lock);
}

/// Begins `run` on another thread, which is in what it is given until the word is true.
fn begun(run: impl FnOnce(Box<dyn FnOnce() + Send>) + Send + 'static) -> Arc<AtomicBool> {
    let (begin, may_end) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
    let (begun, end) = (begin.clone(), may_end.clone());
    let body = move || {
        begun.wait();
        while !end.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
    };
    thread::spawn(move || run(Box::new(body)));
    begin.wait();
    may_end
}

#[test]
fn std_once_and_its_like_are_seen() {
    let once = Arc::new(Once::new());
    let theirs = once.clone();
    let end = begun(move |body| theirs.call_once(body));
    let wait = move || calls_std_once(&once);
    assert_seen("calls_std_once", "once", wait, || {
        end.store(true, Ordering::SeqCst)
    });

    let lock = Arc::new(OnceLock::new());
    let theirs = lock.clone();
    let end = begun(move |body| *theirs.get_or_init(body));
    let wait = move || gets_std_once_lock(&lock);
    assert_seen("gets_std_once_lock", "once", wait, || {
        end.store(true, Ordering::SeqCst)
    });

    let (give, body) = channel::<Box<dyn FnOnce() + Send>>();
    let first: Box<dyn FnOnce() + Send> = Box::new(move || body.recv().unwrap()());
    let lock = Arc::new(LazyLock::new(first));
    let theirs = lock.clone();
    let end = begun(move |body| {
        give.send(body).unwrap();
        LazyLock::force(&*theirs);
    });
    let wait = move || forces_std_lazy_lock(&lock);
    assert_seen("forces_std_lazy_lock", "once", wait, || {
        end.store(true, Ordering::SeqCst)
    });
}

#[inline(never)]
fn receives_from_std_channel(receiver: &std::sync::mpsc::Receiver<()>) {
    receiver.recv().unwrap();
}

#[inline(never)]
fn sends_to_full_std_channel(sender: &std::sync::mpsc::SyncSender<()>) {
    sender.send(()).unwrap();
}

#[test]
fn std_channels_are_seen_by_receivers_and_senders() {
    let (sender, receiver) = channel();
    let wait = move || receives_from_std_channel(&receiver);
    assert_seen("receives_from_std_channel", "channel", wait, || {
        sender.send(()).unwrap()
    });
    let (sender, receiver) = std::sync::mpsc::sync_channel(0);
    let wait = move || sends_to_full_std_channel(&sender);
    assert_seen("sends_to_full_std_channel", "channel", wait, || {
        receiver.recv().unwrap()
    });
}

#[inline(never)]
fn meets_at_std_barrier(barrier: &Barrier) {
    barrier.wait();
}

#[test]
fn std_barrier_is_seen() {
    let barrier = Arc::new(Barrier::new(2));
    let theirs = barrier.clone();
    let wait = move || meets_at_std_barrier(&theirs);
    assert_seen("meets_at_std_barrier", "barrier", wait, || {
        barrier.wait();
    });
}

#[inline(never)]
fn parks_once(tell: &std::sync::mpsc::Sender<Thread>) {
    tell.send(thread::current()).unwrap();
    thread::park();
}

#[test]
fn park_is_seen() {
    let (tell, told) = channel();
    let wait = move || parks_once(&tell);
    assert_seen("parks_once", "park", wait, || told.recv().unwrap().unpark());
}

#[inline(never)]
fn joins_a_thread(thread: JoinHandle<()>) {
    thread.join().unwrap();
}

#[inline(never)]
fn ends_a_scope(receiver: std::sync::mpsc::Receiver<()>) {
    thread::scope(|scope| drop(scope.spawn(move || receiver.recv().unwrap())));
}

#[test]
fn join_and_scope_are_seen() {
    let (sender, receiver) = channel();
    let thread = thread::spawn(move || receiver.recv().unwrap());
    let wait = move || joins_a_thread(thread);
    assert_seen("joins_a_thread", "join", wait, || sender.send(()).unwrap());
    let (sender, receiver) = channel();
    // Its own thread waits in a function of that name, too: it is `ends_a_scope::{closure}`.
    let wait = move || ends_a_scope(receiver);
    assert_seen("ends_a_scope", "join", wait, || sender.send(()).unwrap());
}

// ---- those of crates ----

#[inline(never)]
fn locks_parking_lot_mutex(mutex: &parking_lot::Mutex<()>) {
    drop(mutex.lock());
}

#[inline(never)]
fn reads_parking_lot_rwlock(lock: &parking_lot::RwLock<()>) {
    drop(lock.read());
}

#[inline(never)]
fn writes_parking_lot_rwlock(lock: &parking_lot::RwLock<()>) {
    drop(lock.write());
}

#[test]
fn parking_lot_locks_are_seen() {
    let mutex = Arc::new(parking_lot::Mutex::new(()));
    let (theirs, held) = (mutex.clone(), mutex.lock());
    let wait = move || locks_parking_lot_mutex(&theirs);
    assert_seen("locks_parking_lot_mutex", "mutex", wait, || drop(held));
    let lock = Arc::new(parking_lot::RwLock::new(()));
    let (theirs, held) = (lock.clone(), lock.write());
    let wait = move || reads_parking_lot_rwlock(&theirs);
    assert_seen("reads_parking_lot_rwlock", "rwlock", wait, || drop(held));
    let (theirs, held) = (lock.clone(), lock.read());
    let wait = move || writes_parking_lot_rwlock(&theirs);
    assert_seen("writes_parking_lot_rwlock", "rwlock", wait, || drop(held));
}

#[inline(never)]
fn waits_for_parking_lot_condvar(gate: &(parking_lot::Mutex<bool>, parking_lot::Condvar)) {
    gate.1.wait_while(&mut gate.0.lock(), |open| !*open);
}

#[inline(never)]
fn calls_parking_lot_once(once: &parking_lot::Once) {
    once.call_once(|| ());
}

#[test]
fn parking_lot_condvar_and_once_are_seen() {
    let gate = Arc::new((parking_lot::Mutex::new(false), parking_lot::Condvar::new()));
    let theirs = gate.clone();
    let wait = move || waits_for_parking_lot_condvar(&theirs);
    assert_seen("waits_for_parking_lot_condvar", "condvar", wait, || {
        *gate.0.lock() = true;
        gate.1.notify_all();
    });
    let once = Arc::new(parking_lot::Once::new());
    let theirs = once.clone();
    let end = begun(move |body| theirs.call_once(body));
    let wait = move || calls_parking_lot_once(&once);
    assert_seen("calls_parking_lot_once", "once", wait, || {
        end.store(true, Ordering::SeqCst)
    });
}

#[inline(never)]
fn receives_from_crossbeam(receiver: &crossbeam_channel::Receiver<()>) {
    receiver.recv().unwrap();
}

#[inline(never)]
fn receives_from_flume(receiver: &flume::Receiver<()>) {
    receiver.recv().unwrap();
}

#[test]
fn channels_of_crates_are_seen() {
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let wait = move || receives_from_crossbeam(&receiver);
    assert_seen("receives_from_crossbeam", "channel", wait, || {
        sender.send(()).unwrap()
    });
    let (sender, receiver) = flume::bounded(1);
    let wait = move || receives_from_flume(&receiver);
    assert_seen("receives_from_flume", "channel", wait, || {
        sender.send(()).unwrap()
    });
}

#[inline(never)]
fn locks_tokio_mutex(mutex: &tokio::sync::Mutex<()>) {
    drop(mutex.blocking_lock());
}

#[inline(never)]
fn receives_from_tokio(receiver: &mut tokio::sync::mpsc::Receiver<()>) {
    receiver.blocking_recv().unwrap();
}

#[inline(never)]
fn runs_a_task(receiver: tokio::sync::oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(receiver).unwrap();
}

#[test]
fn blocking_parts_of_tokio_are_seen() {
    let mutex = Arc::new(tokio::sync::Mutex::new(()));
    let (theirs, held) = (mutex.clone(), mutex.try_lock().unwrap());
    let wait = move || locks_tokio_mutex(&theirs);
    assert_seen("locks_tokio_mutex", "mutex", wait, || drop(held));
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let wait = move || receives_from_tokio(&mut receiver);
    assert_seen("receives_from_tokio", "channel", wait, || {
        sender.try_send(()).unwrap()
    });
}

// ---- what the profile leaves out, and what it says more ----

#[test]
fn idle_workers_are_shown_to_those_who_ask_and_tasks_to_all() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // The runtime ends with the call, and its workers' waits with it.
    kept(move || runs_a_task(receiver), || sender.send(()).unwrap());
    let of = |path: &str| {
        let profile = decoded(&handle(&Request::get(path)).body);
        let idle = profile
            .samples()
            .filter(|s| s.string_label("wait") == Some("idle"))
            .count();
        (idle, of_function(&profile, "runs_a_task").0)
    };
    let (idle, tasks) = of("/debug/pprof/block");
    assert_eq!(idle, 0);
    assert!(tasks > 0);
    assert!(of("/debug/pprof/block?idle=1").0 > 0);
}

#[inline(never)]
fn waits_for_a_tenant(mutex: &Mutex<()>) {
    let _labels = labels! { "tenant" => 7 };
    drop(mutex.lock().unwrap());
}

#[test]
fn labels_in_force_are_on_the_sample_beside_the_kind() {
    let mutex = Arc::new(Mutex::new(()));
    let (theirs, held) = (mutex.clone(), mutex.lock().unwrap());
    kept(move || waits_for_a_tenant(&theirs), || drop(held));
    let profile = taken("block");
    let mut ours = profile
        .samples()
        .filter(|s| is_in(&profile, s, "waits_for_a_tenant"));
    assert!(ours.any(|sample| {
        sample.string_label("tenant") == Some("7") && sample.string_label("wait") == Some("mutex")
    }));
}

#[inline(never)]
fn waited_before(mutex: &Mutex<()>) {
    drop(mutex.lock().unwrap());
}

#[inline(never)]
fn waits_meanwhile(mutex: &Mutex<()>) {
    drop(mutex.lock().unwrap());
}

#[test]
fn endpoints_delta_has_what_came_meanwhile_and_nothing_else() {
    let server = everprof::serve("127.0.0.1:0").unwrap();
    let mutex = Arc::new(Mutex::new(()));
    let (theirs, held) = (mutex.clone(), mutex.lock().unwrap());
    kept(move || waited_before(&theirs), || drop(held));

    let mut stream = TcpStream::connect(server.address()).unwrap();
    let asked = format!(
        "GET /debug/pprof/block?seconds=2 HTTP/1.1\r\nHost: {}\r\n\r\n",
        server.address()
    );
    stream.write_all(asked.as_bytes()).unwrap();
    // Over and over until the answer is there: some of it lies within, whenever that began.
    let answered = Arc::new(AtomicBool::new(false));
    let done = answered.clone();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        done.store(true, Ordering::SeqCst);
        bytes
    });
    while !answered.load(Ordering::SeqCst) {
        let (theirs, held) = (mutex.clone(), mutex.lock().unwrap());
        kept(move || waits_meanwhile(&theirs), || drop(held));
    }
    let bytes = reader.join().unwrap();
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let profile = decoded(&bytes[end + 4..]);
    assert!(profile.duration_nanos >= 2_000_000_000);
    let (contentions, delay) = of_function(&profile, "waits_meanwhile");
    assert!(contentions > 0 && delay >= KEPT, "{contentions} {delay:?}");
    assert_eq!(of_function(&profile, "waited_before").0, 0);
}

#[inline(never)]
fn waits_to_be_told(mutex: &Mutex<()>) {
    drop(mutex.lock().unwrap());
}

#[test]
fn text_has_gos_head_and_the_waits() {
    let mutex = Arc::new(Mutex::new(()));
    let (theirs, held) = (mutex.clone(), mutex.lock().unwrap());
    kept(move || waits_to_be_told(&theirs), || drop(held));
    let mut text = Vec::new();
    let profile = everprof::profile::lookup("block").unwrap();
    profile.write_text(&mut text, 1).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.starts_with("--- contention:\ncycles/second="),
        "{text}"
    );
    assert!(text.contains("waits_to_be_told"), "{text}");
}

#[inline(never)]
fn waits_in_a_record(mutex: &Mutex<()>) {
    drop(mutex.lock().unwrap());
}

#[test]
fn records_say_what_the_profile_says() {
    let mutex = Arc::new(Mutex::new(()));
    let (theirs, held) = (mutex.clone(), mutex.lock().unwrap());
    let passed = kept(move || waits_in_a_record(&theirs), || drop(held));
    // Addresses of calls in that function: a record has return addresses.
    let profile = taken("block");
    let calls: Vec<u64> = profile
        .locations()
        .filter(|(_, at)| {
            let mut lines = at.lines.iter();
            lines.any(|line| {
                profile
                    .function(line.function)
                    .name
                    .ends_with("::waits_in_a_record")
            })
        })
        .map(|(_, at)| at.address)
        .collect();
    let records = everprof::block::records();
    let is_call = |pc: &u64| calls.contains(&(pc - 1));
    let ours = records
        .iter()
        .filter(|record| record.stack.iter().any(is_call));
    let nanos: u64 = ours.map(|record| record.delay_nanos).sum();
    assert!(passed.contains(&Duration::from_nanos(nanos)), "{nanos}");
}
