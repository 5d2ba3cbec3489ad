//! Thread creation: `pthread_create`, and C11's `thrd_create`, which does not go through it.
//!
//! Context: signal. Invariant: see `interpose`. Attributes and results are the next
//! definition's. The thread runs the program's routine with no frame of ours beneath it
//! ([`platform`]): unwinders, cancellation and `pthread_exit` find the stack as it would be.
//!
//! ```text
//! creator              next pthread_create(…, begin, start)          the thread
//! spawn::begin ──────────────────────────────────────────────▶ begin: started(start)
//! spawn: succeeded, or given back                                    jump to the routine
//!                                                                    …
//!                                        the C library's destructors: ended
//! ```
//!
//! **The end** of a thread, by return, `pthread_exit` or cancellation, is told by the
//! destructor of a key of thread-specific data. Unlike a thread-local's it is registered
//! without an allocation: the first 32 keys have their place in glibc's thread block,
//! all in musl's. Where those are taken, ends are found later, see [`crate::spawn`].
//! Destructors that the C library runs after ours are not in the thread's CPU time.

use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use libc::{pthread_attr_t, pthread_key_t, pthread_t};

use super::next::{Function3, Function4, Next};
use crate::spawn::Run;
use crate::stack::Registers;
use crate::{global, local};

#[cfg_attr(target_arch = "x86_64", path = "thread/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "thread/aarch64.rs")]
mod platform;

/// A thread's routine, as a word: which type it has is between the program and the C library.
type Routine = *const c_void;
/// C11's `thrd_t`, which in glibc and musl is a `pthread_t`.
type Thrd = pthread_t;

static CREATE: Next<Function4<*mut pthread_t, *const pthread_attr_t, Routine, *mut c_void, c_int>> =
    Next::by_result(c"pthread_create");
static THRD_CREATE: Next<Function3<*mut Thrd, Routine, *mut c_void, c_int>> =
    Next::by_result(c"thrd_create");

/// The key, plus 1; 0: there is none. Written once, by `resolve`.
static KEY: AtomicU32 = AtomicU32::new(0);

/// glibc's keys beyond these get their place by `calloc`, at the first use in a thread.
const KEYS_WITHOUT_ALLOCATION: pthread_key_t = if cfg!(target_env = "gnu") { 32 } else { 128 };

pub(super) fn resolve() {
    CREATE.look_up();
    THRD_CREATE.look_up();
    let mut key: pthread_key_t = 0;
    // SAFETY: `key` is ours to write; the destructor takes any value.
    if unsafe { libc::pthread_key_create(&raw mut key, Some(ended)) } != 0 {
        return;
    }
    if key < KEYS_WITHOUT_ALLOCATION {
        // Relaxed: a number; threads that read 0 tell nothing.
        KEY.store(key + 1, Ordering::Relaxed);
    } else {
        // SAFETY: made above, used by nobody.
        unsafe { libc::pthread_key_delete(key) };
    }
}

/// C's `pthread_create`.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    routine: Routine,
    argument: *mut c_void,
) -> c_int {
    let next = CREATE.get();
    create(
        routine,
        argument,
        &Registers::here(),
        |routine, argument| {
            // SAFETY: the caller keeps the contract, which is the next definition's too;
            // `create` gives the caller's routine or one that comes to it.
            unsafe { next(thread, attributes, routine, argument) }
        },
    )
}

/// C11's `thrd_create`. Its routine returns an `int`, in the register that is
/// any routine's result: `begin` leaves it there.
///
/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn thrd_create(
    thread: *mut Thrd,
    routine: Routine,
    argument: *mut c_void,
) -> c_int {
    let next = THRD_CREATE.get();
    create(
        routine,
        argument,
        &Registers::here(),
        |routine, argument| {
            // SAFETY: as in `pthread_create`.
            unsafe { next(thread, routine, argument) }
        },
    )
}

/// Runs `call`, which creates a thread and returns 0, around the records of it.
#[inline(always)]
fn create(
    routine: Routine,
    argument: *mut c_void,
    registers: &Registers,
    call: impl FnOnce(Routine, *mut c_void) -> c_int,
) -> c_int {
    let recorder = global::spawn();
    let run = Run {
        routine: routine.addr(),
        argument: argument.addr(),
    };
    let begun = super::super::errno::kept(|| recorder.begin(run, registers));
    let Some(created) = begun else {
        return call(routine, argument);
    };
    let result = call(platform::begin as Routine, created.start().cast());
    super::super::errno::kept(|| {
        if result == 0 {
            created.succeeded();
        } else {
            drop(created);
        }
    });
    result
}

/// Takes note that the thread of a start has begun. What [`platform::begin`] is to run: two
/// words, which are returned in registers.
extern "C" fn started(start: *mut c_void) -> Run {
    // SAFETY: `create` had this start made for the thread that now runs, for the first time.
    let begun = local::with(|local| unsafe { global::spawn().start(local, start.cast()) });
    // Relaxed: see `resolve`.
    let key = KEY.load(Ordering::Relaxed);
    if begun.is_on_record && key != 0 {
        // Any value but null has the destructor called.
        // SAFETY: the key exists as long as the process, and is kept by each thread.
        unsafe { libc::pthread_setspecific(key - 1, ptr::from_ref(&KEY).cast()) };
    }
    // Last: from here on the thread may be sampled.
    global::cpu().thread_began();
    begun.run
}

/// The thread's end. It may have destructors to run that come after this one.
unsafe extern "C" fn ended(_value: *mut c_void) {
    local::with(|local| global::spawn().end(local));
}
