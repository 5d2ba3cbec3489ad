//! A dump shows what each thread does: asleep, running, in C code, on small stacks.

// Where musl's code has no tables its frames end stacks; its threads are tried in `threads_churn`.
#![cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![allow(clippy::unwrap_used)]
#![cfg_attr(everprof_sanitizer = "thread", allow(dead_code, unused_imports))]
// What the kernel tells of an emulated thread that sleeps are the emulator's registers, and the number
// of its own system call: whoever is looked at from outside, with no wait recorded, has no stack there.
#![cfg_attr(everprof_emulated, allow(dead_code, unused_imports))]

mod oracle;

use std::ffi::{c_int, c_void};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Barrier, Condvar, Mutex, MutexGuard, RwLock};
use std::time::Duration;
use std::{mem, panic, ptr, thread};

use everprof_core::own_threads::OwnThread;
use everprof_core::stack::StackEnd;
use everprof_core::threads::{Dump, Missing, RecordedWait, Source, State, Thread, collect};
use everprof_core::waits::Operation;
use oracle::library::{Library, build};
use oracle::truth;

/// Longer than any machine of ours is busy with other things.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than any test.
const LONG: Duration = Duration::from_secs(1000);

fn of<'d>(dump: &'d Dump, name: &str) -> Thread<'d> {
    let found: Vec<_> = dump
        .iter()
        .filter(|thread| thread.name == name.as_bytes())
        .collect();
    assert_eq!(found.len(), 1, "{name}");
    found[0]
}

/// Starts a thread that tells its id and its stack, as exceptions would unwind it, and
/// then does `work` in the same frame. It is never joined.
fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Started {
    let (tell, told) = channel();
    thread::Builder::new()
        .name(name.into())
        .stack_size(64 << 10)
        .spawn(move || tell_and_do(&tell, work))
        .unwrap();
    let (id, outer) = told.recv().unwrap();
    Started { id, outer }
}

struct Started {
    id: u32,
    /// The entries of its stack outside of `tell_and_do`.
    outer: Vec<u64>,
}

#[inline(never)]
fn tell_and_do(tell: &Sender<(u32, Vec<u64>)>, work: impl FnOnce()) {
    // SAFETY: takes no argument.
    let id = unsafe { libc::gettid() }.cast_unsigned();
    tell.send((id, truth()[2..].to_vec())).unwrap();
    work();
    std::hint::black_box(());
}

impl Started {
    /// Waits until the thread sleeps in a system call.
    fn asleep(self) -> Self {
        loop {
            let file = format!("/proc/self/task/{}/syscall", self.id);
            let line = std::fs::read_to_string(file).unwrap();
            // Not in the channel's futex, nor in a short one of the allocator.
            if line != "running\n" && still(&line, self.id) {
                return self;
            }
            thread::yield_now();
        }
    }

    #[track_caller]
    fn assert_whole(&self, thread: &Thread<'_>) {
        assert_eq!(thread.id, self.id);
        assert_eq!(thread.end, StackEnd::Root, "{thread:x?}");
        assert!(
            thread.stack.ends_with(&self.outer),
            "{thread:x?} {:x?}",
            self.outer
        );
        assert!(thread.stack.len() > self.outer.len());
    }
}

/// The same line for five milliseconds: what these tests sleep in lasts longer.
fn still(line: &str, id: u32) -> bool {
    (0..5).all(|_| {
        thread::sleep(Duration::from_millis(1));
        std::fs::read_to_string(format!("/proc/self/task/{id}/syscall")).unwrap() == line
    })
}

/// Not given back, and not leaked either: a leak checker finds it here, when the threads that
/// have it are gone.
fn forever<T: Sync>(value: T) -> &'static T {
    static KEPT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let value: &'static T = Box::leak(Box::new(value));
    KEPT.lock()
        .unwrap()
        .push(ptr::from_ref(value).expose_provenance());
    value
}

fn locked() -> (&'static Mutex<()>, MutexGuard<'static, ()>) {
    let mutex = forever(Mutex::new(()));
    (mutex, mutex.lock().unwrap())
}

fn socket() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    mem::forget(listener);
    socket
}

/// A name and what a thread of this name sleeps in.
type Sleep = (&'static str, Box<dyn FnOnce() + Send>);

fn sleeps() -> Vec<Sleep> {
    let (mutex, guard) = locked();
    mem::forget(guard);
    let lock = forever(RwLock::new(()));
    mem::forget(lock.write().unwrap());
    let wait = forever((Mutex::new(()), Condvar::new()));
    let timed = forever((Mutex::new(()), Condvar::new()));
    let (sender, receiver) = channel::<()>();
    mem::forget(sender);
    let pause = libc::timespec {
        tv_sec: 1000,
        tv_nsec: 0,
    };
    vec![
        ("mutex", Box::new(|| drop(mutex.lock()))),
        ("rwlock", Box::new(|| drop(lock.read()))),
        (
            "condvar",
            Box::new(|| drop(wait.1.wait(wait.0.lock().unwrap()))),
        ),
        (
            "condvar-timed",
            Box::new(|| drop(timed.1.wait_timeout(timed.0.lock().unwrap(), LONG))),
        ),
        ("park", Box::new(thread::park)),
        ("park-timed", Box::new(|| thread::park_timeout(LONG))),
        ("sleep", Box::new(|| thread::sleep(LONG))),
        ("channel", Box::new(move || receiver.recv().unwrap())),
        (
            "join",
            Box::new(|| {
                let sleeper = thread::Builder::new().name("joined".into());
                let sleeper = sleeper.spawn(|| thread::sleep(LONG)).unwrap();
                sleeper.join().unwrap();
            }),
        ),
        (
            "accept",
            Box::new(|| drop(TcpListener::bind("127.0.0.1:0").unwrap().accept())),
        ),
        ("read", Box::new(|| drop(socket().read(&mut [0])))),
        (
            "read-timed",
            Box::new(|| {
                let mut socket = socket();
                socket.set_read_timeout(Some(LONG)).unwrap();
                drop(socket.read(&mut [0]));
            }),
        ),
        (
            "recv-timed",
            Box::new(|| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.set_read_timeout(Some(LONG)).unwrap();
                drop(socket.recv(&mut [0]));
            }),
        ),
        (
            "pipe",
            Box::new(|| {
                let (mut reader, writer) = std::io::pipe().unwrap();
                drop(reader.read(&mut [0]));
                drop(writer);
            }),
        ),
        (
            "poll",
            Box::new(|| {
                // SAFETY: no descriptors.
                unsafe { libc::poll(ptr::null_mut(), 0, -1) };
            }),
        ),
        (
            "epoll",
            Box::new(|| {
                // SAFETY: a plain system call.
                let epoll = unsafe { libc::epoll_create1(0) };
                let mut event = libc::epoll_event { events: 0, u64: 0 };
                // SAFETY: room for one event.
                unsafe { libc::epoll_wait(epoll, &raw mut event, 1, -1) };
            }),
        ),
        (
            "select",
            Box::new(|| {
                // SAFETY: no sets, no timeout.
                unsafe {
                    libc::select(
                        0,
                        ptr::null_mut(),
                        ptr::null_mut(),
                        ptr::null_mut(),
                        ptr::null_mut(),
                    )
                };
            }),
        ),
        (
            "nanosleep",
            Box::new(move || {
                // SAFETY: a valid time.
                unsafe { libc::nanosleep(&raw const pause, ptr::null_mut()) };
            }),
        ),
        (
            "pause",
            Box::new(|| {
                // SAFETY: takes no argument.
                unsafe { libc::pause() };
            }),
        ),
    ]
}

/// What the recorder of waits knows such a sleep as, by default and where it sees any.
fn operation(name: &str) -> Option<Operation> {
    let operation = match name {
        "join" => Operation::Join,
        "mutex" | "rwlock" | "condvar" | "condvar-timed" | "park" | "park-timed" | "channel" => {
            Operation::Futex
        }
        _ => return None,
    };
    cfg!(feature = "interpose").then_some(operation)
}

// An emulator's: see above.
#[cfg(not(everprof_emulated))]
#[test]
fn sleeping_threads_are_walked_whole_and_undisturbed() {
    let before_nanos = everprof_core::waits::now_nanos();
    let started: Vec<_> = sleeps()
        .into_iter()
        .map(|(name, sleep)| (name, start(name, sleep)))
        .collect();
    let started: Vec<_> = started
        .into_iter()
        .map(|(name, thread)| (name, thread.asleep()))
        .collect();
    for _ in 0..3 {
        let dump = collect(PATIENCE);
        assert!(dump.is_supported());
        for (name, started) in &started {
            let thread = of(&dump, name);
            match operation(name) {
                Some(operation) => {
                    let Source::Recorded(wait) = thread.source else {
                        panic!("{name} {:?} {:?}", thread.source, thread.end);
                    };
                    assert_eq!(wait.operation, operation, "{name}");
                    assert!(before_nanos < wait.since_nanos, "{name}");
                    assert!(
                        wait.since_nanos < everprof_core::waits::now_nanos(),
                        "{name}"
                    );
                    assert_ne!(wait.address.get(), 0, "{name}");
                }
                None => {
                    assert_eq!(thread.source, Source::Outside, "{name} {:?}", thread.end);
                    assert!(matches!(thread.state, State::InCall { .. }), "{name}");
                }
            }
            // AddressSanitizer stands in front of `poll` and others with frames that are aligned
            // anew, which neither tables nor first instructions tell from outside: there the
            // stack says that it ends.
            if !cfg!(everprof_sanitizer = "address") {
                started.assert_whole(&thread);
            }
        }
    }
}

// ThreadSanitizer keeps a signal until its thread comes to a function or an atomic of its own: one
// that spins never answers.
#[cfg(not(everprof_sanitizer = "thread"))]
#[test]
fn a_running_thread_walks_itself() {
    let started = start("runs", || {
        loop {
            std::hint::spin_loop();
        }
    });
    let dump = collect(PATIENCE);
    let thread = of(&dump, "runs");
    assert!(
        matches!(thread.source, Source::Signalled { .. }),
        "{thread:?}"
    );
    assert_eq!(thread.state, State::Running);
    started.assert_whole(&thread);
}

#[test]
fn the_thread_that_asks_is_in_its_own_dump() {
    let (id, outer, dump) = thread::spawn(|| {
        // SAFETY: takes no argument.
        let id = unsafe { libc::gettid() }.cast_unsigned();
        let outer = truth()[2..].to_vec();
        (id, outer, collect(PATIENCE))
    })
    .join()
    .unwrap();
    let thread = dump.iter().find(|thread| thread.id == id).unwrap();
    // Somebody else may have made this dump at the same time, and shared it.
    assert!(matches!(
        thread.source,
        Source::Itself | Source::Outside | Source::Recorded(_)
    ));
    assert_eq!(thread.end, StackEnd::Root);
    assert!(thread.stack.ends_with(&outer));
}

#[test]
fn a_thread_that_runs_with_all_signals_blocked_is_explained_at_once() {
    let (has_blocked, blocked) = channel();
    let started = start("blocks", move || {
        let mut all = mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: fills the set.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: a set that was filled.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut()) };
        has_blocked.send(()).unwrap();
        loop {
            std::hint::spin_loop();
        }
    });
    blocked.recv().unwrap();
    let dump = collect(PATIENCE);
    let thread = of(&dump, "blocks");
    assert_eq!(thread.id, started.id);
    assert_eq!(thread.source, Source::Missing(Missing::SignalBlocked));
    assert!(thread.stack.is_empty());
    // It was not waited for.
    assert!(Duration::from_nanos(dump.duration_nanos()) < PATIENCE);
}

// An emulator's: see above.
#[cfg(not(everprof_emulated))]
#[test]
fn a_thread_that_sleeps_with_all_signals_blocked_is_walked() {
    let started = start("blocks-asleep", || {
        let mut all = mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: fills the set.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: a set that was filled.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut()) };
        thread::sleep(LONG);
    })
    .asleep();
    let dump = collect(PATIENCE);
    started.assert_whole(&of(&dump, "blocks-asleep"));
}

#[test]
fn threads_of_our_own_are_left_out() {
    let (go_on, told) = channel::<()>();
    let started = start("ours", move || {
        let mark = OwnThread::register();
        told.recv().unwrap();
        drop(mark);
        thread::sleep(LONG);
    })
    .asleep();
    let has = |dump: &Dump| dump.iter().any(|thread| thread.id == started.id);
    assert!(!has(&collect(PATIENCE)));
    go_on.send(()).unwrap();
    while !has(&collect(PATIENCE)) {}
}

unsafe extern "C" fn call(work: *mut c_void) {
    // SAFETY: `through` passes this.
    let work = unsafe { &mut *work.cast::<&mut dyn FnMut()>() };
    work();
}

/// Does `work` at the leaf of twenty frames of C code without frame pointers.
fn through(library: &Library, mut work: &mut dyn FnMut()) {
    let nest = library.nest("deep");
    // SAFETY: calls `call` once with what it expects.
    unsafe { nest(20 as c_int, call, (&raw mut work).cast()) };
}

// ThreadSanitizer: as above.
// An emulator's: see above.
#[cfg(not(everprof_emulated))]
#[cfg(not(everprof_sanitizer = "thread"))]
#[test]
fn c_code_without_frame_pointers_in_a_library_that_may_go_is_walked() {
    let path = build("dumped", 0, &[]);
    let (mutex, guard) = locked();
    let (running, sleeping) = (path.clone(), path.clone());
    let started = [
        start("c-locks", move || {
            let library = Library::open(&path);
            through(&library, &mut || drop(mutex.lock()));
        })
        .asleep(),
        start("c-sleeps", move || {
            let library = Library::open(&sleeping);
            through(&library, &mut || thread::sleep(LONG));
        })
        .asleep(),
        start("c-runs", move || {
            let library = Library::open(&running);
            through(&library, &mut || {
                loop {
                    std::hint::spin_loop();
                }
            });
        }),
    ];
    for _ in 0..10 {
        let dump = collect(PATIENCE);
        for (name, started) in ["c-locks", "c-sleeps", "c-runs"].iter().zip(&started) {
            let thread = of(&dump, name);
            started.assert_whole(&thread);
            assert!(thread.stack.len() > started.outer.len() + 20);
        }
    }
    drop(guard);
}

#[test]
fn a_panic_in_progress_is_walked() {
    struct Unwinding(&'static Barrier);
    impl Drop for Unwinding {
        fn drop(&mut self) {
            self.0.wait();
            self.0.wait();
        }
    }
    let barrier = forever(Barrier::new(2));
    let started = start("panics", || {
        let _unwinding = Unwinding(barrier);
        panic::resume_unwind(Box::new(()));
    });
    barrier.wait();
    let started = started.asleep();
    let dump = collect(PATIENCE);
    let thread = of(&dump, "panics");
    assert_eq!(thread.end, StackEnd::Root, "{thread:?}");
    started.assert_whole(&thread);
    barrier.wait();
}

// An emulator's: see above.
#[cfg(not(everprof_emulated))]
#[test]
fn requests_at_the_same_time_all_show_all() {
    let started: Vec<_> = (0..50)
        .map(|index| start(&format!("all-{index}"), || thread::sleep(LONG)).asleep())
        .collect();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let dump = collect(PATIENCE);
                    for (index, started) in started.iter().enumerate() {
                        started.assert_whole(&of(&dump, &format!("all-{index}")));
                    }
                }
            });
        }
    });
}

/// After Go's TestGoroutineCounts: as many rows of one stack as threads that sleep there.
// An emulator's: see above.
#[cfg(not(everprof_emulated))]
#[test]
fn threads_in_one_place_have_one_stack() {
    let place = |name: &str, count: usize, sleep: fn()| -> Vec<u32> {
        (0..count).map(|_| start(name, sleep).asleep().id).collect()
    };
    let expected = [
        place("count-a", 10, || thread::sleep(LONG)),
        place("count-b", 25, thread::park),
        place("count-c", 5, || {
            // SAFETY: takes no argument.
            unsafe { libc::pause() };
        }),
    ];
    let dump = collect(PATIENCE);
    for ids in expected {
        let stack = |id: u32| dump.iter().find(|thread| thread.id == id).unwrap().stack;
        for &id in &ids {
            assert_eq!(stack(id), stack(ids[0]));
        }
        let same = dump.iter().filter(|thread| thread.stack == stack(ids[0]));
        assert_eq!(same.count(), ids.len());
    }
}

/// The program's own signals keep working, be it those of the kind that dumps take.
// ThreadSanitizer hands the signal on within its own code, which cannot be walked.
#[cfg(not(everprof_sanitizer = "thread"))]
#[test]
fn a_realtime_signal_that_the_program_handles_is_not_taken() {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    extern "C" fn count(_signal: c_int) {
        SEEN.fetch_add(1, Ordering::SeqCst);
    }
    // SAFETY: all bits zero is an empty action.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = count as *const () as usize;
    // Not the two last: qemu's user emulation takes handlers for them and sends neither.
    let signals = [libc::SIGRTMIN(), libc::SIGRTMAX() - 2, libc::SIGUSR1];
    for signal in signals {
        // SAFETY: a handler that stays.
        unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    }
    let stop = forever(AtomicBool::new(false));
    let started = start("signalled", || {
        while !stop.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
    });
    for round in 1..=20 {
        started.assert_whole(&of(&collect(PATIENCE), "signalled"));
        for signal in signals {
            // SAFETY: handled; the thread runs until it is told to stop.
            unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), started.id, signal) };
        }
        while SEEN.load(Ordering::SeqCst) != 3 * round {
            thread::yield_now();
        }
    }
    stop.store(true, Ordering::SeqCst);
}

/// Threads that wait over and over, so that slots are left and claimed while they are read:
/// what is told as recorded is a whole stack all the same, and of the right thread.
#[test]
fn a_wait_that_ends_while_it_is_read_is_not_told_half() {
    let pairs: Vec<_> = (0..8)
        .map(|number| {
            let (sender, receiver) = channel::<()>();
            let (back, returned) = channel::<()>();
            let echo = start(&format!("echo-{number}"), move || {
                for () in receiver {
                    back.send(()).unwrap();
                }
            });
            let call = start(&format!("call-{number}"), move || {
                loop {
                    sender.send(()).unwrap();
                    returned.recv().unwrap();
                }
            });
            [echo, call]
        })
        .collect();
    let mut recorded: Vec<RecordedWait> = Vec::new();
    for _ in 0..200 {
        let dump = collect(PATIENCE);
        for started in pairs.iter().flatten() {
            let Some(thread) = dump.iter().find(|thread| thread.id == started.id) else {
                panic!("{} is missing", started.id);
            };
            if let Source::Recorded(wait) = thread.source {
                started.assert_whole(&thread);
                recorded.push(wait);
            }
        }
    }
    assert_eq!(recorded.is_empty(), operation("channel").is_none());
}

/// A thread that is busy in a handler of the program's, on a signal stack of this size.
fn busy_on_signal_stack(name: &str, bytes: usize) -> Started {
    extern "C" fn spin(_signal: c_int) {
        loop {
            std::hint::spin_loop();
        }
    }
    // SAFETY: all bits zero is an empty action.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = spin as *const () as usize;
    action.sa_flags = libc::SA_ONSTACK;
    // SAFETY: a handler that stays.
    unsafe { libc::sigaction(libc::SIGUSR2, &raw const action, ptr::null_mut()) };
    start(name, move || {
        let stack = libc::stack_t {
            ss_sp: vec![0_u8; bytes].leak().as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: bytes,
        };
        // SAFETY: memory that is never freed.
        unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
        // SAFETY: handled.
        unsafe { libc::raise(libc::SIGUSR2) };
    })
}

// ThreadSanitizer: as of the one that spins.
#[cfg(not(everprof_sanitizer = "thread"))]
#[test]
fn a_thread_on_a_signal_stack_is_walked_if_there_is_room() {
    let large = busy_on_signal_stack("large-stack", 256 << 10);
    // Two frames of the kernel's, of 3 KiB on x86-64 and 4.6 on aarch64, and 6.
    let aarch64 = cfg!(target_arch = "aarch64");
    let small = if aarch64 { 16 << 10 } else { 12 << 10 };
    busy_on_signal_stack("small-stack", small);
    let dump = collect(PATIENCE);
    large.assert_whole(&of(&dump, "large-stack"));
    let small = of(&dump, "small-stack");
    if cfg!(debug_assertions) {
        assert_eq!(small.source, Source::Missing(Missing::NoRoom));
    } else {
        // How much the kernel takes for its frames decides.
        assert!(small.end == StackEnd::Root || small.stack.is_empty());
    }
}

/// A dump costs no descriptor and writes to nothing of the program's.
#[test]
fn nothing_is_left_open() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"x").unwrap();
    drop((reader, writer));
    let children = || {
        // SAFETY: the child dumps and ends; see `threads_churn` for what it may do.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let before = open();
            for _ in 0..100 {
                let _ = collect(PATIENCE);
            }
            let status = c_int::from(open() != before);
            // SAFETY: ends the child without running anybody's destructors.
            unsafe { libc::_exit(status) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        status
    };
    assert_eq!(children(), 0);
}

/// Gives this thread a name by the system call alone, past whoever might watch the C library's.
fn rename(name: &str) {
    let mut bytes = [0_u8; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the kernel reads 16 bytes.
    let failed = unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_NAME, bytes.as_ptr()) };
    assert_eq!(failed, 0);
}

/// Dumps follow each other while it sleeps, so that its name need not be read again; when it has
/// run it has to.
#[test]
fn name_that_a_thread_gives_itself_is_told_from_the_next_dump_on() {
    let (tell, told) = channel::<&str>();
    let (ask, asked) = channel();
    let thread = start("name-first", move || {
        for name in told {
            rename(name);
            ask.send(()).unwrap();
        }
    });
    for name in ["name-second", "name-third"] {
        let before = collect(PATIENCE);
        assert!(
            before
                .iter()
                .any(|thread| thread.name.starts_with(b"name-"))
        );
        tell.send(name).unwrap();
        asked.recv().unwrap();
        for _ in 0..2 {
            assert_eq!(of(&collect(PATIENCE), name).id, thread.id);
        }
    }
}
