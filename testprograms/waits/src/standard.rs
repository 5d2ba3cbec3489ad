//! What std has.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock};
use std::thread;
use std::time::Duration;

use everprof_core::waits::Operation::{Futex, Io, Join, Sleep, Yield};

use crate::{done, seen};

pub fn all() {
    locks();
    once();
    meetings();
    threads();
    descriptors();
}

fn locks() {
    let mutex = Arc::new(Mutex::new(()));
    let (theirs, held) = (mutex.clone(), mutex.lock());
    seen("Mutex", Futex, move || done(theirs.lock()), || done(held));

    let lock = Arc::new(RwLock::new(()));
    let (theirs, held) = (lock.clone(), lock.write());
    seen(
        "RwLock::read",
        Futex,
        move || done(theirs.read()),
        || done(held),
    );
    let (theirs, held) = (lock.clone(), lock.read());
    seen(
        "RwLock::write",
        Futex,
        move || done(theirs.write()),
        || done(held),
    );

    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let theirs = pair.clone();
    let wait = move || {
        let guard = theirs.0.lock().expect("no panic");
        done(theirs.1.wait_while(guard, |ready| !*ready));
    };
    let release = || {
        *pair.0.lock().expect("no panic") = true;
        pair.1.notify_all();
    };
    seen("Condvar", Futex, wait, release);
}

fn once() {
    // Each is begun by a thread that waits for the word, and waited for by another.
    fn begun(name: &str, run: fn(&dyn Fn()), wait: fn()) {
        static GO: AtomicBool = AtomicBool::new(false);
        static BEGUN: AtomicBool = AtomicBool::new(false);
        GO.store(false, Ordering::SeqCst);
        BEGUN.store(false, Ordering::SeqCst);
        let first = thread::spawn(move || {
            run(&|| {
                BEGUN.store(true, Ordering::SeqCst);
                while !GO.load(Ordering::SeqCst) {
                    std::hint::spin_loop();
                }
            });
        });
        while !BEGUN.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        seen(name, Futex, wait, || GO.store(true, Ordering::SeqCst));
        done(first.join());
    }
    static ONCE: Once = Once::new();
    begun(
        "Once",
        |body| ONCE.call_once(body),
        || ONCE.call_once(|| ()),
    );
    static LOCK: OnceLock<()> = OnceLock::new();
    begun(
        "OnceLock",
        |body| *LOCK.get_or_init(body),
        || *LOCK.get_or_init(|| ()),
    );
    static STARTED: AtomicBool = AtomicBool::new(false);
    static FINISH: AtomicBool = AtomicBool::new(false);
    static LAZY: LazyLock<()> = LazyLock::new(|| {
        STARTED.store(true, Ordering::SeqCst);
        while !FINISH.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
    });
    let first = thread::spawn(|| *LAZY);
    while !STARTED.load(Ordering::SeqCst) {
        thread::yield_now();
    }
    seen(
        "LazyLock",
        Futex,
        || *LAZY,
        || FINISH.store(true, Ordering::SeqCst),
    );
    done(first.join());
}

fn meetings() {
    let (send, receive) = channel();
    seen(
        "mpsc::recv",
        Futex,
        move || done(receive.recv()),
        || done(send.send(())),
    );
    let (send, receive) = sync_channel(0);
    seen(
        "SyncSender::send",
        Futex,
        move || done(send.send(())),
        || done(receive.recv()),
    );
    let barrier = Arc::new(Barrier::new(2));
    let theirs = barrier.clone();
    let meet = move || done(theirs.wait());
    seen("Barrier", Futex, meet, || done(barrier.wait()));
}

fn threads() {
    let (send, receive) = channel();
    let park = move || {
        send.send(thread::current()).expect("a receiver");
        thread::park();
    };
    seen("park", Futex, park, || {
        receive.recv().expect("a sender").unpark()
    });
    let (send, receive) = channel::<()>();
    let scoped = move || thread::scope(|scope| done(scope.spawn(move || done(receive.recv()))));
    seen("scope", Futex, scoped, || done(send.send(())));
    seen("yield", Yield, thread::yield_now, || ());
    if cfg!(target_feature = "crt-static") {
        return;
    }
    let (send, receive) = channel::<()>();
    let inner = thread::spawn(move || done(receive.recv()));
    seen(
        "join",
        Join,
        move || done(inner.join()),
        || done(send.send(())),
    );
    seen(
        "sleep",
        Sleep,
        || thread::sleep(Duration::from_millis(1)),
        || (),
    );
}

fn descriptors() {
    if cfg!(target_feature = "crt-static") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let theirs = listener.try_clone().expect("a descriptor");
    let connect = || done(TcpStream::connect(address));
    seen("accept", Io, move || done(theirs.accept()), connect);
    let mut near = TcpStream::connect(address).expect("a listener");
    let (mut far, _) = listener.accept().expect("a connection");
    let read = move || done(far.read(&mut [0]));
    seen("TcpStream::read", Io, read, || done(near.write(&[1])));
}
