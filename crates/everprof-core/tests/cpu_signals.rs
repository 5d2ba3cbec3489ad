//! CPU profiles where signals are odd: the program's own, small signal stacks, handlers
//! that are left by longjmp, forks, threads that end, any instruction.

#![cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri),
    not(everprof_loom)
))]
#![allow(clippy::unwrap_used)]

mod child;

use std::ffi::c_int;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, mem, ptr, thread};

use child::holds_in_child;
use everprof_core::cpu::{Snapshot, StartError};
use everprof_core::lost::Lost;
use everprof_core::{global, modules};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    modules::refresh();
    // Before the first session, which finds it there.
    static ONCE: Once = Once::new();
    ONCE.call_once(|| handle(libc::SIGPROF, programs_own, libc::SA_RESTART));
    guard
}

/// Runs for so long on this thread's clock.
#[inline(never)]
fn burn(millis: u64) {
    let now = || {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` is ours to write.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
    };
    let began = now();
    while now() < began + millis {
        for n in 0..1000_u64 {
            black_box(n.wrapping_mul(3));
        }
    }
}

fn handle(signal: c_int, handler: extern "C" fn(c_int), flags: c_int) {
    // SAFETY: all bits zero is an empty action.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = flags;
    // SAFETY: a handler that stays for the rest of the process.
    let failed = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    assert_eq!(failed, 0);
}

fn timers() -> usize {
    let timers = fs::read_to_string("/proc/self/timers").unwrap_or_default();
    timers
        .lines()
        .filter(|line| line.starts_with("ID:"))
        .count()
}

/// Samples in all, and those lost for `reason`.
fn count(snapshot: &Snapshot, reason: Lost) -> (u64, u64) {
    let (mut all, mut lost) = (0, 0);
    snapshot.for_each(|bucket| {
        all += bucket.samples;
        lost += match bucket.stack {
            [only] if *only == reason.pc() => bucket.samples,
            _ => 0,
        };
    });
    (all, lost)
}

static PROGRAMS: AtomicU64 = AtomicU64::new(0);

extern "C" fn programs_own(_signal: c_int) {
    PROGRAMS.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn programs_own_handler_gets_what_is_not_ours_and_nothing_else() {
    let _alone = alone();
    PROGRAMS.store(0, Ordering::Relaxed);
    let session = global::start_cpu(1000).unwrap();
    burn(50);
    for _ in 0..10 {
        // SAFETY: the signal is handled.
        unsafe { libc::raise(libc::SIGPROF) };
    }
    burn(50);
    let (samples, _) = count(&session.stop(), Lost::NoStack);
    assert!(samples >= 50);
    assert_eq!(PROGRAMS.load(Ordering::Relaxed), 10);
    // And when there is no session.
    // SAFETY: as above.
    unsafe { libc::raise(libc::SIGPROF) };
    assert_eq!(PROGRAMS.load(Ordering::Relaxed), 11);
}

extern "C" fn another(_signal: c_int) {}

/// Another profiler's: what it would make of our signals cannot be known.
#[test]
fn handler_put_in_the_place_of_ours_ends_the_profiles() {
    let _alone = alone();
    assert!(holds_in_child(|| {
        drop(global::start_cpu(100));
        handle(libc::SIGPROF, another, 0);
        let refused = global::start_cpu(100).err() == Some(StartError::SignalTaken);
        handle(libc::SIGPROF, programs_own, 0);
        refused && global::start_cpu(100).is_ok()
    }));
}

/// The program profiles itself by the process's timer meanwhile: both get their own.
#[test]
fn programs_own_profiling_timer_goes_on() {
    let _alone = alone();
    PROGRAMS.store(0, Ordering::Relaxed);
    let every = libc::timeval {
        tv_sec: 0,
        tv_usec: 10_000,
    };
    let on = libc::itimerval {
        it_interval: every,
        it_value: every,
    };
    // SAFETY: a valid setting; the old one is not asked for.
    unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const on, ptr::null_mut()) };
    let session = global::start_cpu(100).unwrap();
    burn(300);
    // The process's timer has one signal, which is not made anew while it is pending: a virtual
    // machine that gets no processor for a while loses some, but not for ever.
    let mut burnt_millis = 300;
    while PROGRAMS.load(Ordering::Relaxed) < 15 && burnt_millis < 30_000 {
        burn(100);
        burnt_millis += 100;
    }
    // Of ours none is lost: what a thread's timer missed is in its next one's weight.
    let (samples, _) = count(&session.stop(), Lost::NoStack);
    // SAFETY: all bits zero switches it off.
    let off: libc::itimerval = unsafe { mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const off, ptr::null_mut()) };
    assert!(
        samples >= burnt_millis / 15,
        "{samples} in {burnt_millis} ms"
    );
    let programs = PROGRAMS.load(Ordering::Relaxed);
    assert!(programs >= 15, "{programs} in {burnt_millis} ms");
}

extern "C" fn burn_in_handler(_signal: c_int) {
    burn(200);
}

/// Gives this thread a signal stack and runs a handler on it that takes its time.
fn on_signal_stack(bytes: usize) {
    let page = 4096;
    let (kind, access) = (
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        libc::PROT_READ | libc::PROT_WRITE,
    );
    // SAFETY: a mapping of its own.
    let guard = unsafe { libc::mmap(ptr::null_mut(), bytes + page, access, kind, -1, 0) };
    assert_ne!(guard, libc::MAP_FAILED);
    // What is below the stack cannot be written.
    // SAFETY: the first page of the above, which nobody has used.
    let failed = unsafe { libc::mprotect(guard, page, libc::PROT_NONE) };
    assert_eq!(failed, 0);
    let start = guard.wrapping_byte_add(page);
    let stack = libc::stack_t {
        ss_sp: start,
        ss_flags: 0,
        ss_size: bytes,
    };
    let mut before = std::mem::MaybeUninit::<libc::stack_t>::uninit();
    // SAFETY: memory that is never given back nor read by others; the other is written.
    let failed = unsafe { libc::sigaltstack(&raw const stack, before.as_mut_ptr()) };
    assert_eq!(failed, 0);
    handle(libc::SIGUSR1, burn_in_handler, libc::SA_ONSTACK);
    // SAFETY: the signal is handled.
    unsafe { libc::raise(libc::SIGUSR1) };
    // At the thread's end std, and AddressSanitizer, give back what is in force then.
    // SAFETY: written above.
    let failed = unsafe { libc::sigaltstack(before.as_ptr(), ptr::null_mut()) };
    assert_eq!(failed, 0);
}

/// Two frames of the kernel's, one for each signal, and 6 KiB: on x86-64 they have 3 KiB, on
/// aarch64 4.6, whatever the processor has (`struct rt_sigframe`, most of it reserved).
const SMALL_BYTES: usize = if cfg!(target_arch = "aarch64") {
    16 << 10
} else {
    12 << 10
};

/// std's signal stacks are 8 KiB, and the kernel takes most of them: what is below the stack's
/// end would be overwritten.
// AddressSanitizer's frames alone are larger.
#[cfg(not(everprof_sanitizer = "address"))]
#[test]
fn handlers_on_small_signal_stacks_are_counted_without_a_stack() {
    let _alone = alone();
    let session = global::start_cpu(100).unwrap();
    let small = thread::Builder::new();
    small
        .spawn(|| {
            global::cpu().thread_began();
            on_signal_stack(SMALL_BYTES);
        })
        .unwrap()
        .join()
        .unwrap();
    let (all, without) = count(&session.stop(), Lost::NoStack);
    assert!(
        without >= 10 && without * 10 >= all * 8,
        "{without} of {all}"
    );
}

#[test]
fn handlers_on_large_signal_stacks_are_walked_to_what_they_interrupted() {
    let _alone = alone();
    let session = global::start_cpu(100).unwrap();
    thread::spawn(|| {
        global::cpu().thread_began();
        on_signal_stack(256 << 10);
    })
    .join()
    .unwrap();
    let snapshot = session.stop();
    let (mut through, mut all) = (0, 0);
    let start = burn_in_handler as *const () as u64;
    snapshot.for_each(|bucket| {
        let handler = bucket
            .stack
            .iter()
            .position(|entry| (start..start + 64).contains(entry));
        if let Some(at) = handler {
            all += bucket.samples;
            // The trampoline, the raise, this file's function, the thread's start.
            through += if bucket.stack.len() > at + 6 {
                bucket.samples
            } else {
                0
            };
        }
    });
    assert!(all >= 10 && through == all, "{through} of {all}");
}

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    #[link_name = "__sigsetjmp"]
    fn sigsetjmp(buffer: *mut std::ffi::c_void, save: c_int) -> c_int;
    fn siglongjmp(buffer: *mut std::ffi::c_void, value: c_int) -> !;
}

/// Room for glibc's `sigjmp_buf`, which has 200 bytes.
#[cfg(target_arch = "x86_64")]
#[repr(C, align(16))]
struct Jump(std::cell::UnsafeCell<[u8; 512]>);

// SAFETY: one test uses it, on one thread.
#[cfg(target_arch = "x86_64")]
unsafe impl Sync for Jump {}

#[cfg(target_arch = "x86_64")]
static JUMP: Jump = Jump(std::cell::UnsafeCell::new([0; 512]));

#[cfg(target_arch = "x86_64")]
extern "C" fn jump_out(_signal: c_int) {
    // SAFETY: set by the frame that this handler interrupts, which has not returned.
    unsafe { siglongjmp(JUMP.0.get().cast(), 1) };
}

/// A program's handler comes over ours and leaves by longjmp, as thread cancellers and
/// interpreters do: the session must end, and the next be whole.
#[cfg(target_arch = "x86_64")]
#[test]
fn handlers_left_by_longjmp_do_not_hold_the_end_up() {
    let _alone = alone();
    handle(libc::SIGVTALRM, jump_out, libc::SA_NODEFER);
    thread::spawn(|| {
        let session = global::start_cpu(1000).unwrap();
        let every = libc::timeval {
            tv_sec: 0,
            tv_usec: 1_000,
        };
        let on = libc::itimerval {
            it_interval: every,
            it_value: every,
        };
        let until = Instant::now() + Duration::from_millis(500);
        // SAFETY: this frame outlives every jump; nothing here is changed in between.
        unsafe { sigsetjmp(JUMP.0.get().cast(), 1) };
        // SAFETY: a valid setting.
        unsafe { libc::setitimer(libc::ITIMER_VIRTUAL, &raw const on, ptr::null_mut()) };
        while Instant::now() < until {
            black_box(0);
        }
        // SAFETY: all bits zero switches it off.
        let off: libc::itimerval = unsafe { mem::zeroed() };
        // SAFETY: as above.
        unsafe { libc::setitimer(libc::ITIMER_VIRTUAL, &raw const off, ptr::null_mut()) };
        assert!(!session.stop().torn);
    })
    .join()
    .unwrap();
    assert_eq!(timers(), 0);
}

#[test]
fn child_has_no_timers_and_takes_profiles_of_its_own() {
    let _alone = alone();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Somebody is in a handler when the fork comes, now and then.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                burn(1);
            }
        });
        for _ in 0..20 {
            let session = global::start_cpu(1000).unwrap();
            burn(3);
            let held = holds_in_child(|| {
                global::cpu().thread_began();
                let clean = timers() == 0;
                burn(20);
                let own = global::start_cpu(1000).unwrap();
                // The copy of the parent's session ends, and not the child's own.
                let parents = count(&session.stop(), Lost::NoStack).0;
                burn(100);
                let snapshot = own.stop();
                let seen = count(&snapshot, Lost::CpuUnseen);
                clean && parents == 0 && !snapshot.torn && seen.0 > 50 && timers() == 0
            });
            assert!(held);
        }
        let session = global::start_cpu(1000).unwrap();
        assert!(holds_in_child(|| {
            drop(global::start_cpu(100).unwrap());
            true
        }));
        burn(100);
        assert!(count(&session.stop(), Lost::NoStack).0 > 50);
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn threads_end_while_their_timers_are_armed() {
    let _alone = alone();
    let mut session = global::start_cpu(1000).unwrap();
    for round in 0..200 {
        thread::spawn(move || {
            global::cpu().thread_began();
            if round % 2 == 0 {
                burn(2);
            }
        })
        .join()
        .unwrap();
        if round % 20 == 0 {
            session.cover();
        }
    }
    assert!(!session.stop().torn);
    assert_eq!(timers(), 0);
}

#[test]
fn errno_is_kept() {
    let _alone = alone();
    let session = global::start_cpu(1000).unwrap();
    // SAFETY: it gives the place of this thread's errno.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: this thread's own.
    unsafe { errno.write(77) };
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until {
        // SAFETY: as above.
        assert_eq!(unsafe { errno.read_volatile() }, 77);
    }
    drop(session);
}

#[test]
fn limit_of_timers_is_named_and_leaves_nothing_behind() {
    let _alone = alone();
    assert!(holds_in_child(|| {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 1000,
        };
        // SAFETY: a valid limit.
        unsafe { libc::setrlimit(libc::RLIMIT_SIGPENDING, &raw const none) };
        let Err(error) = global::start_cpu(100) else {
            return false;
        };
        let some = libc::rlimit {
            rlim_cur: 1000,
            ..none
        };
        // SAFETY: as above.
        unsafe { libc::setrlimit(libc::RLIMIT_SIGPENDING, &raw const some) };
        let named = error == StartError::NoTimers && error.to_string().contains("SIGPENDING");
        named && global::start_cpu(100).is_ok() && timers() == 0
    }));
}
