//! No system call of the program ends with EINTR because somebody dumped its threads.
//!
//! What cannot be had is told in docs/threads.md: a thread that is busy may enter such a
//! call in the microseconds before the signal reaches it. The threads here work for some
//! 10 µs between sleeps of 10 ms, and only who spent 200 µs of processor time without a
//! sleep is asked. For a false alarm one of them must have taken twenty times as long as
//! usual between two sleeps, while a dump looked, and end that in the 3 µs between the last
//! look and the signal: less than once in ten thousand runs, if the machine makes one
//! sleep in a hundred so slow.

#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![allow(clippy::unwrap_used)]

use std::ffi::{c_int, c_long};
use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{io, mem, ptr, thread};

use everprof_core::threads::{Source, collect};

const SHORT: Duration = Duration::from_millis(10);
const SHORT_MILLIS: c_int = 10;

fn short() -> libc::timespec {
    libc::timespec {
        tv_sec: 0,
        tv_nsec: 10_000_000,
    }
}

/// Whether a call that returned `result` was interrupted.
fn interrupted(result: impl Into<i64>) -> bool {
    result.into() < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
}

/// Sleeps once; true if that was interrupted.
type Sleep = Box<dyn FnMut() -> bool + Send>;

fn sleeps() -> Vec<(&'static str, Sleep)> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let accepting = TcpListener::bind("127.0.0.1:0").unwrap();
    stream.set_read_timeout(Some(SHORT)).unwrap();
    datagrams.set_read_timeout(Some(SHORT)).unwrap();
    set_read_timeout(&accepting);
    mem::forget(listener);
    let is_interrupted = |error: io::Error| error.kind() == io::ErrorKind::Interrupted;
    // SAFETY: a plain system call.
    let epoll = unsafe { libc::epoll_create1(0) };
    let mut semaphore = mem::MaybeUninit::<libc::sem_t>::uninit();
    // SAFETY: writes the semaphore.
    unsafe { libc::sem_init(semaphore.as_mut_ptr(), 0, 0) };
    let word = Box::new(0_u32);
    vec![
        (
            "read with a timeout",
            Box::new(move || stream.read(&mut [0]).is_err_and(is_interrupted)),
        ),
        (
            "recv with a timeout",
            Box::new(move || datagrams.recv(&mut [0]).is_err_and(is_interrupted)),
        ),
        (
            "accept with a timeout",
            Box::new(move || {
                // SAFETY: no address is asked for.
                let accepted = unsafe {
                    libc::accept(accepting.as_raw_fd(), ptr::null_mut(), ptr::null_mut())
                };
                interrupted(accepted)
            }),
        ),
        (
            "poll",
            Box::new(|| {
                // SAFETY: no descriptors.
                interrupted(unsafe { libc::poll(ptr::null_mut(), 0, SHORT_MILLIS) })
            }),
        ),
        (
            "ppoll",
            Box::new(|| {
                let short = short();
                // SAFETY: no descriptors, no mask.
                interrupted(unsafe {
                    libc::ppoll(ptr::null_mut(), 0, &raw const short, ptr::null())
                })
            }),
        ),
        (
            "epoll_wait",
            Box::new(move || {
                let mut event = libc::epoll_event { events: 0, u64: 0 };
                // SAFETY: room for one event.
                interrupted(unsafe { libc::epoll_wait(epoll, &raw mut event, 1, SHORT_MILLIS) })
            }),
        ),
        (
            "select",
            Box::new(|| {
                let none = ptr::null_mut();
                let mut short = libc::timeval {
                    tv_sec: 0,
                    tv_usec: 10_000,
                };
                // SAFETY: no sets.
                interrupted(unsafe { libc::select(0, none, none, none, &raw mut short) })
            }),
        ),
        (
            "nanosleep",
            Box::new(|| {
                let short = short();
                // SAFETY: the rest is not asked for.
                interrupted(unsafe { libc::nanosleep(&raw const short, ptr::null_mut()) })
            }),
        ),
        (
            "clock_nanosleep",
            Box::new(|| {
                let short = short();
                // SAFETY: the rest is not asked for.
                let error = unsafe {
                    libc::clock_nanosleep(
                        libc::CLOCK_MONOTONIC,
                        0,
                        &raw const short,
                        ptr::null_mut(),
                    )
                };
                error == libc::EINTR
            }),
        ),
        (
            "sem_timedwait",
            Box::new(move || {
                let mut until = short();
                // SAFETY: `until` is ours to write.
                unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut until) };
                until.tv_nsec += 10_000_000;
                if until.tv_nsec >= 1_000_000_000 {
                    until.tv_nsec -= 1_000_000_000;
                    until.tv_sec += 1;
                }
                // SAFETY: initialised above, used by this thread alone.
                interrupted(unsafe {
                    libc::sem_timedwait(semaphore.as_mut_ptr(), &raw const until)
                })
            }),
        ),
        (
            "a futex with a timeout",
            Box::new(move || {
                let short = short();
                // SAFETY: waits on a word of ours that nobody wakes.
                let woken: c_long = unsafe {
                    libc::syscall(
                        libc::SYS_futex,
                        &raw const *word,
                        libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                        0,
                        &raw const short,
                    )
                };
                interrupted(woken)
            }),
        ),
    ]
}

fn set_read_timeout(socket: &TcpListener) {
    let short = libc::timeval {
        tv_sec: 0,
        tv_usec: 10_000,
    };
    // SAFETY: a socket, and an option of this type.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const short).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    };
    assert_eq!(failed, 0);
}

/// Set when it is dropped, so that a failure does not wait for threads that go on.
struct SetOnDrop<'s>(&'s AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_call_ends_early_while_dumps_run_in_a_loop() {
    let stop = AtomicBool::new(false);
    let asked = AtomicU64::new(0);
    let sleeps = sleeps();
    let slept: Vec<_> = sleeps.iter().map(|_| AtomicU32::new(0)).collect();
    let least_slept = || {
        let slept = slept.iter().map(|slept| slept.load(Ordering::Relaxed));
        slept.min().unwrap()
    };
    let dumps = thread::scope(|scope| {
        let over = SetOnDrop(&stop);
        let threads: Vec<_> = sleeps
            .into_iter()
            .zip(&slept)
            .map(|((name, mut sleep), slept)| {
                let stop = &stop;
                let run = move || {
                    // A thread's first moments are full of page faults, and long.
                    sleep();
                    slept.store(1, Ordering::Relaxed);
                    let mut interrupted = 0_u32;
                    while !stop.load(Ordering::Relaxed) {
                        interrupted += u32::from(sleep());
                        slept.fetch_add(1, Ordering::Relaxed);
                    }
                    interrupted
                };
                (name, scope.spawn(run))
            })
            .collect();
        // One that runs, so that signals are sent.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        while least_slept() == 0 {
            thread::yield_now();
        }
        let until = Instant::now() + Duration::from_secs(3);
        let mut dumps = 0;
        // Three seconds, or until each has slept a while: on a busy machine it may get no turn.
        while Instant::now() < until || least_slept() <= 10 {
            let dump = collect(Duration::from_secs(5));
            let is_asked = |source: &Source| matches!(source, Source::Signalled { .. });
            let count = dump
                .iter()
                .filter(|thread| is_asked(&thread.source))
                .count();
            asked.fetch_add(count as u64, Ordering::Relaxed);
            dumps += 1;
        }
        drop(over);
        for ((name, thread), slept) in threads.into_iter().zip(&slept) {
            let (interrupted, slept) = (thread.join().unwrap(), slept.load(Ordering::Relaxed));
            println!("{name}: {slept} times");
            assert_eq!(interrupted, 0, "{name}, of {slept}");
        }
        dumps
    });
    let asked = asked.into_inner();
    println!("{dumps} dumps, {asked} threads asked");
    assert!(asked > 0);
}
