//! The C function `syscall`, defined by us, is the C library's to whoever calls it.
//!
//! The truth to compare with is the kernel, asked by an instruction of the test's own.

#![cfg(all(
    feature = "interpose",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![allow(clippy::unwrap_used)]

mod kernel;
mod seen;

use std::ffi::{c_int, c_long, c_void};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use everprof_core::waits::Operation;
use kernel::kernel;
use seen::{ended, wakes, want_all};

fn errno() -> c_int {
    // SAFETY: no preconditions.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: this thread's own.
    unsafe { place.read() }
}

fn set_errno(value: c_int) {
    // SAFETY: no preconditions.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: this thread's own.
    unsafe { place.write(value) }
}

/// `libc::syscall` of six words: what it returned, and `errno`, which was 77 before.
fn ours(number: c_long, words: [usize; 6]) -> (c_long, c_int) {
    let [one, two, three, four, five, six] = words;
    set_errno(77);
    // SAFETY: each test gives words that are sound for its call.
    let result = unsafe { libc::syscall(number, one, two, three, four, five, six) };
    (result, errno())
}

/// What the C library makes of what the kernel says.
fn expected(raw: isize) -> (c_long, c_int) {
    if (-4095..0).contains(&raw) {
        (-1, -raw as c_int)
    } else {
        (raw as c_long, 77)
    }
}

fn word(value: &AtomicU32) -> usize {
    value.as_ptr() as usize
}

const PRIVATE: usize = libc::FUTEX_PRIVATE_FLAG as usize;
const CLOCK_REALTIME: usize = libc::FUTEX_CLOCK_REALTIME as usize;

#[test]
fn calls_without_side_effects_say_what_the_kernel_says() {
    let mut buffer = [0_u8; 64];
    let buffer = buffer.as_mut_ptr() as usize;
    let calls: &[(c_long, [usize; 6])] = &[
        (libc::SYS_getpid, [0; 6]),
        (libc::SYS_gettid, [0; 6]),
        (libc::SYS_getuid, [0; 6]),
        (libc::SYS_getcwd, [buffer, 1, 0, 0, 0, 0]),
        (libc::SYS_close, [usize::MAX, 0, 0, 0, 0, 0]),
        (libc::SYS_read, [usize::MAX, buffer, 8, 0, 0, 0]),
        (libc::SYS_getpriority, [0; 6]),
        (libc::SYS_sched_getaffinity, [0, 64, buffer, 0, 0, 0]),
        (libc::SYS_membarrier, [0; 6]),
        (99_999, [1, 2, 3, 4, 5, 6]),
        (-1, [1, 2, 3, 4, 5, 6]),
    ];
    for &(number, words) in calls {
        assert_eq!(
            ours(number, words),
            expected(kernel(number, words)),
            "{number}"
        );
    }
}

#[test]
fn all_six_words_arrive() {
    // The sixth is the offset: two pages, and the second one of a file of two.
    let page = 65536_usize;
    // SAFETY: a plain call.
    let file = unsafe { libc::memfd_create(c"six".as_ptr(), 0) };
    // SAFETY: a descriptor of ours.
    assert_eq!(unsafe { libc::ftruncate(file, 2 * page as i64) }, 0);
    // SAFETY: as above; one byte.
    let written = unsafe { libc::pwrite(file, c"x".as_ptr().cast(), 1, page as i64) };
    assert_eq!(written, 1);
    let flags = libc::MAP_PRIVATE as usize;
    let words = [
        0,
        page,
        libc::PROT_READ as usize,
        flags,
        file as usize,
        page,
    ];
    let (at, errno) = ours(libc::SYS_mmap, words);
    assert_eq!(errno, 77);
    // SAFETY: mapped above.
    assert_eq!(unsafe { *(at as *const u8) }, b'x');
    assert_eq!(
        ours(libc::SYS_munmap, [at as usize, page, 0, 0, 0, 0]),
        (0, 77)
    );
    assert_eq!(
        ours(libc::SYS_close, [file as usize, 0, 0, 0, 0, 0]),
        (0, 77)
    );
}

#[test]
fn result_below_the_errors_is_no_error() {
    // SAFETY: plain calls.
    let memory = unsafe { libc::open(c"/proc/self/mem".as_ptr(), libc::O_RDONLY) };
    assert!(memory >= 0);
    let far = -8192_isize as usize;
    let (at, errno) = ours(libc::SYS_lseek, [memory as usize, far, 0, 0, 0, 0]);
    assert_eq!((at, errno), (-8192, 77));
    // SAFETY: opened above.
    unsafe { libc::close(memory) };
}

#[test]
fn every_futex_error_is_exact_and_success_keeps_errno() {
    let value = AtomicU32::new(5);
    let at = word(&value);
    // No thread has such a number (Linux `include/linux/threads.h`: at most 2²²).
    let nobodys = AtomicU32::new(0x3fff_0000);
    let owned = word(&nobodys);
    let short = libc::timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    };
    let past = libc::timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let bad = libc::timespec {
        tv_sec: 0,
        tv_nsec: 2_000_000_000,
    };
    let [short, past, bad] = [&short, &past, &bad].map(|time| std::ptr::from_ref(time) as usize);
    let all = u32::MAX as usize;
    for flags in [0, PRIVATE] {
        let [
            wait,
            wake,
            requeue,
            cmp_requeue,
            wake_op,
            wait_bitset,
            wake_bitset,
        ] = [0, 1, 3, 4, 5, 9, 10].map(|operation: usize| operation | flags);
        let [lock_pi, unlock_pi, trylock_pi] = [6, 7, 8].map(|operation: usize| operation | flags);
        let calls: &[([usize; 6], c_int)] = &[
            ([at, wait, 4, 0, 0, 0], libc::EAGAIN),
            ([at, wait, 5, short, 0, 0], libc::ETIMEDOUT),
            ([at, wait, 5, bad, 0, 0], libc::EINVAL),
            ([at, wait, 5, 1, 0, 0], libc::EFAULT),
            ([8, wait, 5, 0, 0, 0], libc::EFAULT),
            ([at + 1, wait, 5, 0, 0, 0], libc::EINVAL),
            ([at, wait_bitset, 4, 0, 0, all], libc::EAGAIN),
            ([at, wait_bitset, 5, past, 0, all], libc::ETIMEDOUT),
            (
                [at, wait_bitset | CLOCK_REALTIME, 5, past, 0, all],
                libc::ETIMEDOUT,
            ),
            ([at, wait_bitset, 5, past, 0, 0], libc::EINVAL),
            ([at, wake, 1, 0, 0, 0], 0),
            (
                [8, wake, 1, 0, 0, 0],
                if flags == 0 { libc::EFAULT } else { 0 },
            ),
            ([at + 1, wake, 1, 0, 0, 0], libc::EINVAL),
            ([at, wake_bitset, 1, 0, 0, all], 0),
            ([at, wake_bitset, 1, 0, 0, 0], libc::EINVAL),
            ([at, requeue, 1, 1, at, 0], 0),
            ([at, cmp_requeue, 1, 1, at, 5], 0),
            ([at, cmp_requeue, 1, 1, at, 6], libc::EAGAIN),
            ([at, wake_op, 1, 1, at + 1, 0], libc::EINVAL),
            ([owned, unlock_pi, 0, 0, 0, 0], libc::EPERM),
            ([owned, trylock_pi, 0, 0, 0, 0], libc::ESRCH),
            ([owned, lock_pi, 0, 0, 0, 0], libc::ESRCH),
            ([at, 77, 0, 0, 0, 0], libc::ENOSYS),
            ([at, wake | CLOCK_REALTIME, 0, 0, 0, 0], libc::ENOSYS),
        ];
        for (words, error) in calls {
            let raw = kernel(libc::SYS_futex, *words);
            // What this kernel says is what counts; the number is what it should be.
            let said = ours(libc::SYS_futex, *words);
            assert_eq!(said, expected(raw), "{words:x?}");
            let words_of = if *error == 0 { (0, 77) } else { (-1, *error) };
            assert_eq!(said, words_of, "{words:x?}");
        }
    }
    assert_eq!(value.load(Ordering::Relaxed), 5);
}

#[test]
fn waits_and_wakes_are_told_and_counted_by_the_kernel() {
    static WORD: AtomicU32 = AtomicU32::new(0);
    static OTHER: AtomicU32 = AtomicU32::new(0);
    want_all();
    let before = (ended(Operation::Futex), wakes());
    let at = word(&WORD);
    let waiters: Vec<_> = (0..3)
        .map(|_| std::thread::spawn(move || ours(libc::SYS_futex, [at, PRIVATE, 0, 0, 0, 0])))
        .collect();
    // Moves what sleeps on WORD, until all three have been moved.
    let mut moved = 0;
    while moved < 3 {
        let words = [at, 3 | PRIVATE, 0, 3, word(&OTHER), 0];
        let (result, errno) = ours(libc::SYS_futex, words);
        assert_eq!(errno, 77);
        moved += result;
        std::thread::yield_now();
    }
    let woken = ours(libc::SYS_futex, [word(&OTHER), 1 | PRIVATE, 9, 0, 0, 0]);
    assert_eq!(woken, (3, 77));
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), (0, 77));
    }
    assert!(ended(Operation::Futex) >= before.0 + 3);
    assert!(wakes() > before.1);
}

#[test]
fn forks_return_twice() {
    // SIGCHLD alone: what fork does.
    let flags = libc::SIGCHLD as usize;
    #[cfg(target_arch = "x86_64")]
    forked(|| ours(libc::SYS_fork, [0; 6]));
    forked(|| ours(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]));
    // An emulator may not have it, and then says so.
    if kernel(libc::SYS_clone3, [0; 6]) != -(libc::ENOSYS as isize) {
        forked(|| {
            let mut arguments = [0_u64; 8];
            arguments[4] = libc::SIGCHLD as u64;
            ours(
                libc::SYS_clone3,
                [arguments.as_mut_ptr() as usize, 64, 0, 0, 0, 0],
            )
        });
    }
}

fn forked(fork: impl FnOnce() -> (c_long, c_int)) {
    let (process, errno) = fork();
    assert_eq!(errno, 77);
    if process == 0 {
        // In the child: a futex call and a plain one work, too.
        let value = AtomicU32::new(1);
        let said = ours(libc::SYS_futex, [word(&value), PRIVATE, 0, 0, 0, 0]);
        let own = ours(libc::SYS_getpid, [0; 6]).0;
        let right = said == (-1, libc::EAGAIN) && own == c_long::from(std::process::id() as i32);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(if right { 42 } else { 1 }) };
    }
    assert_eq!(status(process), 42);
}

fn status(process: c_long) -> c_int {
    assert!(process > 0);
    let mut status = 0;
    // SAFETY: a child of ours.
    unsafe { libc::waitpid(process as c_int, &raw mut status, 0) };
    assert!(libc::WIFEXITED(status), "{status:#x}");
    libc::WEXITSTATUS(status)
}

#[test]
fn clone_starts_on_its_own_stack_and_vfork_shares_ours() {
    // No frame of Rust's may stand between these calls and the kernel.
    const FLAGS: c_int = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let mut stack = vec![0_u64; 8192];
    // SAFETY: one behind the last word.
    let top = unsafe { stack.as_mut_ptr().add(stack.len()) } as usize;
    // With a stack of its own; and, as vfork, on ours while we wait.
    for top in [top & !15, 0] {
        let child = kernel::clone_and_exit(FLAGS as usize, top);
        assert_eq!(status(child as c_long), 23);
    }
}

#[test]
fn signal_without_restart_ends_a_wait_and_with_it_does_not() {
    static HANDLED: AtomicU32 = AtomicU32::new(0);
    extern "C" fn handle(_: c_int) {
        // In the handler, above a futex call: another one.
        let value = AtomicU32::new(1);
        let before = errno();
        // SAFETY: it returns at once, as the value is another.
        let result = unsafe { libc::syscall(libc::SYS_futex, value.as_ptr(), 0, 0, 0) };
        if result == -1 && errno() == libc::EAGAIN {
            HANDLED.fetch_add(1, Ordering::Relaxed);
        }
        set_errno(before);
    }
    static WORD: AtomicU32 = AtomicU32::new(0);
    for (restart, expected) in [(0, (-1, libc::EINTR)), (libc::SA_RESTART, (0, 77))] {
        let before = HANDLED.load(Ordering::Relaxed);
        // SAFETY: all zero is a valid sigaction.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = restart;
        // SAFETY: a handler that is async-signal-safe.
        unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, null_mut()) };
        let (tell, thread) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || {
            // SAFETY: no preconditions.
            tell.send(unsafe { libc::pthread_self() } as usize).unwrap();
            ours(libc::SYS_futex, [word(&WORD), PRIVATE, 0, 0, 0, 0])
        });
        let thread = thread.recv().unwrap() as libc::pthread_t;
        // Until one has come while it slept: the wait has ended, or, with SA_RESTART, a
        // wake finds it asleep after a signal.
        loop {
            // SAFETY: not joined yet.
            unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
            std::thread::sleep(Duration::from_millis(2));
            let handled = HANDLED.load(Ordering::Relaxed) - before;
            if waiter.is_finished() {
                break;
            }
            if restart != 0 && handled >= 3 {
                ours(libc::SYS_futex, [word(&WORD), 1 | PRIVATE, 1, 0, 0, 0]);
            }
        }
        assert_eq!(waiter.join().unwrap(), expected);
        assert!(HANDLED.load(Ordering::Relaxed) > before);
    }
}

#[test]
fn yielding_returns_what_it_always_has() {
    want_all();
    set_errno(77);
    let before = ended(Operation::Yield);
    // SAFETY: no preconditions.
    assert_eq!(unsafe { libc::sched_yield() }, 0);
    assert_eq!(errno(), 77);
    assert!(ended(Operation::Yield) > before);
}

/// Ran before `main`, by the loader: 1 if a futex call was right there.
static BEFORE_MAIN: AtomicU32 = AtomicU32::new(0);

#[used]
#[unsafe(link_section = ".init_array.00101")]
static EARLY: extern "C" fn() = early;

extern "C" fn early() {
    let value = AtomicU32::new(1);
    let right = ours(libc::SYS_futex, [word(&value), 0, 0, 0, 0, 0]) == (-1, libc::EAGAIN);
    // SAFETY: no descriptors, no time.
    let polled = unsafe { libc::poll(null_mut(), 0, 1) } == 0;
    // SAFETY: no time.
    let slept = unsafe { libc::nanosleep(&raw const NO_TIME, null_mut()) } == 0;
    BEFORE_MAIN.store(u32::from(right && polled && slept), Ordering::Relaxed);
}

static NO_TIME: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

#[test]
fn constructors_before_ours_are_served() {
    assert_eq!(BEFORE_MAIN.load(Ordering::Relaxed), 1);
}

#[test]
fn destructors_of_a_threads_end_are_served() {
    static SERVED: AtomicU32 = AtomicU32::new(0);
    unsafe extern "C" fn destroy(_: *mut c_void) {
        let value = AtomicU32::new(1);
        let futex = ours(libc::SYS_futex, [word(&value), PRIVATE, 0, 0, 0, 0]);
        // SAFETY: no descriptors, no time.
        let polled = unsafe { libc::poll(null_mut(), 0, 1) };
        if futex == (-1, libc::EAGAIN) && polled == 0 {
            SERVED.fetch_add(1, Ordering::Relaxed);
        }
    }
    let mut key = 0;
    // SAFETY: a destructor that touches nothing of the thread's.
    unsafe { libc::pthread_key_create(&raw mut key, Some(destroy)) };
    std::thread::spawn(move || {
        // SAFETY: a key made above; any value that is not null.
        unsafe { libc::pthread_setspecific(key, (&raw const SERVED).cast()) };
    })
    .join()
    .unwrap();
    assert_eq!(SERVED.load(Ordering::Relaxed), 1);
}

#[test]
fn threads_are_joined_with_what_they_return() {
    extern "C" fn start(argument: *mut c_void) -> *mut c_void {
        argument
    }
    want_all();
    let before = ended(Operation::Join);
    let (mut thread, mut value) = (MaybeUninit::uninit(), null_mut());
    // SAFETY: a function that returns its argument.
    let made =
        unsafe { libc::pthread_create(thread.as_mut_ptr(), null(), start, 7 as *mut c_void) };
    assert_eq!(made, 0);
    // SAFETY: it was made.
    let thread = unsafe { thread.assume_init() };
    // SAFETY: made above.
    assert_eq!(unsafe { libc::pthread_join(thread, &raw mut value) }, 0);
    assert_eq!(value as usize, 7);
    // A static program has its C library's own.
    if cfg!(target_feature = "crt-static") {
        return;
    }
    // SAFETY: no preconditions; joining oneself is refused.
    let own = unsafe { libc::pthread_self() };
    // SAFETY: this very thread.
    let refused = unsafe { libc::pthread_join(own, null_mut()) };
    assert_eq!(refused, libc::EDEADLK);
    assert!(ended(Operation::Join) > before);
}
