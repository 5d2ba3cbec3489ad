//! The load: clients that ask by TCP, and workers that answer.
//!
//! Every third request in ten is of one kind, the others of the other, so that each pair of
//! sites has a proportion that does not depend on the machine. Whatever is compared with a
//! profile is in a function of its own that is never inlined.

use std::collections::VecDeque;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, Scope};
use std::time::Duration;

use everprof::labels;

use crate::is_over;
use crate::truth::{ALLOCATED, BORN, BURNT, CACHED, HELD_UP, QUEUE, Side, WAITED};
use crate::truth::{cpu_nanos, timed};

const WORKERS: usize = 3;
/// Requests on one connection; a client then makes another.
const REQUESTS: u32 = 100;

/// Objects of the two kinds: sizes, and how many of them are kept.
const SIZES: [usize; 2] = [400, 6000];
const KEPT: usize = 6_000;

static LOCK: Mutex<()> = Mutex::new(());
static CACHE: Mutex<VecDeque<(Side, Vec<u8>)>> = Mutex::new(VecDeque::new());

/// Starts it.
pub fn start<'scope>(scope: &'scope Scope<'scope, '_>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound above");
    let (accepted, to_serve) = channel();
    scope.spawn(move || accept(&listener, &accepted));
    let to_serve: &Mutex<Receiver<TcpStream>> = Box::leak(Box::new(Mutex::new(to_serve)));
    let (ask, asked) = channel::<Sender<u64>>();
    scope.spawn(move || answer_slowly(&asked));
    for _ in 0..WORKERS {
        let ask = ask.clone();
        scope.spawn(move || serve(to_serve, &ask));
    }
    for _ in 0..WORKERS {
        scope.spawn(move || {
            while !is_over() {
                let connection = TcpStream::connect(address).expect("it listens");
                be_client(connection);
            }
            // Whoever accepts looks whether it is over.
            drop(TcpStream::connect(address));
        });
    }
    scope.spawn(bear_threads);
}

fn accept(listener: &TcpListener, accepted: &Sender<TcpStream>) {
    while !is_over() {
        let (stream, _) = listener.accept().expect("a connection");
        if accepted.send(stream).is_err() {
            return;
        }
    }
}

fn be_client(mut connection: TcpStream) {
    connection.set_nodelay(true).expect("a socket");
    for request in 0..REQUESTS {
        if is_over() {
            return;
        }
        let kind = u8::from(request % 10 >= 3);
        let mut answer = [0; 9];
        let sent = connection.write_all(&[kind]);
        if sent
            .and_then(|()| connection.read_exact(&mut answer))
            .is_err()
        {
            assert!(is_over(), "the server closes last");
            return;
        }
    }
}

fn serve(connections: &Mutex<Receiver<TcpStream>>, ask: &Sender<Sender<u64>>) {
    let next = || {
        let connections = connections.lock().expect("nobody panics with it");
        connections.recv_timeout(Duration::from_millis(100))
    };
    while !is_over() {
        let Ok(mut connection) = next() else {
            continue;
        };
        let mut kind = [0];
        while !is_over() && connection.read_exact(&mut kind).is_ok() {
            let side = if kind[0] == 0 { Side::One } else { Side::Other };
            answer(side, ask);
            if connection.write_all(&[0; 9]).is_err() {
                break;
            }
        }
    }
}

/// A request: it works, allocates, keeps, waits.
fn answer(side: Side, ask: &Sender<Sender<u64>>) {
    let tenant = if matches!(side, Side::One) {
        "one"
    } else {
        "other"
    };
    let _labels = labels! { "tenant" => tenant };
    let object = match side {
        Side::One => {
            burns_one();
            makes_one()
        }
        Side::Other => {
            burns_other();
            makes_other()
        }
    };
    keep(side, object);
    match side {
        Side::One => holds_one(),
        Side::Other => holds_other(),
    }
    waits_for_word(ask);
}

/// A fifth of a millisecond or so: what reading the clock takes, which is of the function but not
/// between its readings, is 0.3 % of that; of 24 µs it was up to 5 % where the kernel's code was
/// not in the cache.
const TURNS: u64 = 800_000;

#[inline(never)]
fn burns_one() {
    let before = cpu_nanos();
    burn(3 * TURNS);
    BURNT.add(Side::One, cpu_nanos() - before);
}

#[inline(never)]
fn burns_other() {
    let before = cpu_nanos();
    burn(TURNS);
    BURNT.add(Side::Other, cpu_nanos() - before);
}

#[inline(always)]
fn burn(turns: u64) {
    for n in 0..turns {
        black_box(n.wrapping_mul(3));
    }
}

#[inline(never)]
fn makes_one() -> Vec<u8> {
    for _ in 0..49 {
        drop(black_box(vec![1_u8; SIZES[0]]));
    }
    ALLOCATED.add(Side::One, 50 * SIZES[0] as u64);
    black_box(vec![1; SIZES[0]])
}

#[inline(never)]
fn makes_other() -> Vec<u8> {
    for _ in 0..4 {
        drop(black_box(vec![1_u8; SIZES[1]]));
    }
    ALLOCATED.add(Side::Other, 5 * SIZES[1] as u64);
    black_box(vec![1; SIZES[1]])
}

/// In a cache that forgets the oldest, whoever made it.
fn keep(side: Side, object: Vec<u8>) {
    let mut cache = CACHE.lock().expect("nobody panics with it");
    CACHED.add(side, object.len() as u64);
    cache.push_back((side, object));
    if cache.len() > KEPT
        && let Some((side, object)) = cache.pop_front()
    {
        CACHED.take_off(side, object.len() as u64);
    }
}

#[inline(never)]
fn holds_one() {
    let held = waits_for_lock();
    thread::sleep(Duration::from_micros(900));
    HELD_UP.add(Side::One, QUEUE.unlock());
    drop(held);
    black_box(());
}

#[inline(never)]
fn holds_other() {
    let held = waits_for_lock();
    thread::sleep(Duration::from_micros(100));
    HELD_UP.add(Side::Other, QUEUE.unlock());
    drop(held);
    black_box(());
}

#[inline(never)]
fn waits_for_lock() -> MutexGuard<'static, ()> {
    if let Ok(held) = LOCK.try_lock() {
        QUEUE.pass();
        return held;
    }
    // Hidden, so that this function is not left by a jump into the one that waits.
    black_box(timed(&WAITED, Side::One, || {
        QUEUE.wait(|| LOCK.lock().expect("nobody panics with it"))
    }))
}

#[inline(never)]
fn waits_for_word(ask: &Sender<Sender<u64>>) {
    let (tell, told) = channel();
    ask.send(tell).expect("somebody answers");
    let word = timed(&WAITED, Side::Other, || told.recv());
    assert_eq!(word, Ok(1));
}

/// Until everybody who could ask has ended.
fn answer_slowly(asked: &Receiver<Sender<u64>>) {
    for tell in asked {
        thread::sleep(Duration::from_micros(200));
        tell.send(1).expect("it waits");
    }
}

fn bear_threads() {
    while !is_over() {
        for _ in 0..3 {
            bears_one();
        }
        bears_other();
        thread::sleep(Duration::from_millis(2));
    }
}

#[inline(never)]
fn bears_one() {
    BORN.add(Side::One, 1);
    thread::spawn(|| drop(black_box(vec![0_u8; 1000])))
        .join()
        .expect("no panic");
}

#[inline(never)]
fn bears_other() {
    BORN.add(Side::Other, 1);
    let born = thread::spawn(|| thread::sleep(Duration::from_micros(50)));
    born.join().expect("no panic");
}
