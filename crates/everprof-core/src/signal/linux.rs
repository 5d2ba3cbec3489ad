//! Handlers of ours on Linux, each in front of the one that was there.
//!
//! Context: cold to install, signal otherwise. Twin of `noop.rs`.
//! Invariant: `entry` is installed for a signal only after what it calls is known.

use core::ffi::{c_int, c_void};
use core::mem;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering};

use super::Ours;
use crate::stack::Registers;
use crate::sys::keeping_errno;

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod machine;

/// What a signal brought. Only a handler has one.
#[derive(Debug)]
pub struct Arrival<'a> {
    info: &'a libc::siginfo_t,
    context: &'a libc::ucontext_t,
}

impl Arrival<'_> {
    /// Why it was sent: `SI_QUEUE`, `SI_TIMER`, …
    #[must_use]
    pub fn code(&self) -> i32 {
        self.info.si_code
    }

    /// The process that a queued signal says it is from.
    #[must_use]
    pub fn sender(&self) -> u32 {
        // SAFETY: the kernel fills all 128 bytes of a siginfo, so that the word is there
        // and initialised whatever it means for this code.
        unsafe { self.info.si_pid() }.cast_unsigned()
    }

    /// What a queued signal or a timer carries.
    #[must_use]
    pub fn value(&self) -> u64 {
        // SAFETY: as in `sender`.
        let value = unsafe { self.info.si_value() };
        value.sival_ptr.addr() as u64
    }

    /// Expirations of a timer that came to nothing since the last signal of it.
    #[must_use]
    pub fn overruns(&self) -> u32 {
        // `si_overrun` stands where `si_uid` does (Linux asm-generic/siginfo.h).
        // SAFETY: as in `sender`.
        unsafe { self.info.si_uid() }
    }

    /// Where the thread's signal stack is; empty if it has none, or if that is not to be
    /// known while a handler runs on it (`SS_AUTODISARM`).
    #[must_use]
    pub fn signal_stack(&self) -> Range<u64> {
        let stack = &self.context.uc_stack;
        let start = stack.ss_sp.addr() as u64;
        start..start.saturating_add(stack.ss_size as u64)
    }

    /// Where the thread was interrupted.
    #[must_use]
    pub fn registers(&self) -> Registers {
        machine::registers(self.context)
    }
}

/// Puts `ours` in front of whatever handles `signal`; again is the same as once.
/// It stays: a late signal of ours must find it.
///
/// False if the system refuses, or if somebody has put a handler in front of ours since:
/// that one may call ours for what is not its own, and ours calling it would be a ring.
///
/// `signal`'s default action must be to end the process, as is that of all realtime
/// signals and SIGPROF: a foreign one that finds no handler of the program restores it.
/// Whoever installs does so from one thread at a time.
pub fn install(signal: i32, ours: Ours) -> bool {
    let Some(slot) = slot(signal) else {
        return false;
    };
    // Release: what `ours` relies on was made before. Pairs with the Acquire in `entry`.
    slot.ours.store(ours as *mut (), Ordering::Release);
    let Some(before) = action(signal) else {
        return false;
    };
    if is_entry(&before) {
        return true;
    }
    if !slot.may_stand_behind(&before) {
        return false;
    }
    slot.keep(&before);
    let mut wanted = before;
    wanted.sa_sigaction = entry as *const () as usize;
    // Their signal stack and their exceptions from the mask; the rest is ours.
    let kept = before.sa_flags & (libc::SA_ONSTACK | libc::SA_NODEFER);
    wanted.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | kept;
    let mut replaced = EMPTY;
    // SAFETY: `entry` has the type that SA_SIGINFO asks for and finds its slot filled.
    let failed = unsafe { libc::sigaction(signal, &raw const wanted, &raw mut replaced) };
    if failed != 0 {
        return false;
    }
    // Relaxed: read by `install` alone.
    slot.installed.store(true, Ordering::Relaxed);
    // The program changed its handler in between: it counts.
    if !is_entry(&replaced) && replaced.sa_sigaction != before.sa_sigaction {
        slot.keep(&replaced);
    }
    true
}

/// Whether a signal still comes to us first.
#[must_use]
pub fn is_installed(signal: i32) -> bool {
    action(signal).is_some_and(|action| is_entry(&action))
}

/// Whether nobody handles or ignores `signal`.
#[must_use]
pub fn is_default(signal: i32) -> bool {
    action(signal).is_some_and(|action| action.sa_sigaction == libc::SIG_DFL)
}

/// One signal's two handlers.
#[derive(Debug)]
struct Slot {
    /// An [`Ours`], or null. Written by `install`, read by `entry`.
    ours: AtomicPtr<()>,
    /// The program's `sa_sigaction` and `sa_flags`. Written by `install` before `entry`
    /// is, and by `entry` for SA_RESETHAND; read by `entry`.
    before: AtomicUsize,
    flags: AtomicI32,
    /// `entry` has been this signal's handler. Written and read by `install`.
    installed: AtomicBool,
}

/// By number. Linux has 64 signals on both architectures.
static SLOTS: [Slot; 65] = [const {
    Slot {
        ours: AtomicPtr::new(ptr::null_mut()),
        before: AtomicUsize::new(libc::SIG_DFL),
        flags: AtomicI32::new(0),
        installed: AtomicBool::new(false),
    }
}; 65];

fn slot(signal: c_int) -> Option<&'static Slot> {
    SLOTS.get(usize::try_from(signal).ok()?)
}

impl Slot {
    fn keep(&self, action: &libc::sigaction) {
        // Relaxed: `sigaction` comes after it, and the kernel runs no `entry` before.
        self.flags.store(action.sa_flags, Ordering::Relaxed);
        self.before.store(action.sa_sigaction, Ordering::Relaxed);
    }

    /// Whether the handler cannot know of ours: ours was never there before, or it is the
    /// one that was there before ours, or none.
    fn may_stand_behind(&self, action: &libc::sigaction) -> bool {
        // Relaxed, both: `install` runs on one thread at a time.
        let handler = action.sa_sigaction;
        !self.installed.load(Ordering::Relaxed)
            || handler == libc::SIG_DFL
            || handler == libc::SIG_IGN
            || handler == self.before.load(Ordering::Relaxed)
    }

    fn ours(&self) -> Option<Ours> {
        // Acquire: pairs with the Release in `install`.
        let ours = self.ours.load(Ordering::Acquire);
        // SAFETY: only `install` stores here, and it stores an `Ours`; null is `None`.
        unsafe { mem::transmute::<*mut (), Option<Ours>>(ours) }
    }

    /// Does with the signal what would be done without us.
    ///
    /// # Safety
    /// To be called by a handler with what the kernel gave it.
    unsafe fn pass_on(&self, signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        // Relaxed: see `keep`.
        let flags = self.flags.load(Ordering::Relaxed);
        let before = if flags & libc::SA_RESETHAND == 0 {
            self.before.load(Ordering::Relaxed)
        } else {
            self.before.swap(libc::SIG_DFL, Ordering::Relaxed)
        };
        match before {
            libc::SIG_IGN => {}
            libc::SIG_DFL => end_by(signal),
            handler if flags & libc::SA_SIGINFO != 0 => {
                // SAFETY: the program gave it to `sigaction` with SA_SIGINFO, so it has
                // this type and stays callable as long as it is not replaced.
                let handler = unsafe { mem::transmute::<usize, Full>(handler) };
                // SAFETY: the arguments that the kernel made for it.
                unsafe { handler(signal, info, context) };
            }
            handler => {
                // SAFETY: as above, without SA_SIGINFO.
                let handler = unsafe { mem::transmute::<usize, Plain>(handler) };
                // SAFETY: as above.
                unsafe { handler(signal) };
            }
        }
    }
}

type Full = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
type Plain = unsafe extern "C" fn(c_int);

/// What the kernel calls.
///
/// # Safety
/// The kernel passes a siginfo and a ucontext that are there while the handler runs.
unsafe extern "C" fn entry(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(slot) = slot(signal) else {
        return;
    };
    // The interrupted code must find it as it left it.
    let taken = keeping_errno(|| {
        // SAFETY: the kernel's (see above); nobody writes it meanwhile.
        let info = unsafe { &*info };
        // SAFETY: as above.
        let context = unsafe { &*context.cast::<libc::ucontext_t>() };
        slot.ours()
            .is_some_and(|ours| ours(&Arrival { info, context }))
    });
    if !taken {
        // SAFETY: what the kernel gave us.
        unsafe { slot.pass_on(signal, info, context) };
    }
}

/// The default action, which for the signals here ends the process: takes effect when
/// the handler returns, since the signal is blocked in it.
#[cold]
fn end_by(signal: c_int) {
    let default = EMPTY;
    // SAFETY: restores the default action.
    unsafe { libc::sigaction(signal, &raw const default, ptr::null_mut()) };
    // SAFETY: a plain system call.
    unsafe { libc::raise(signal) };
}

fn action(signal: c_int) -> Option<libc::sigaction> {
    let mut action = EMPTY;
    // SAFETY: asks only.
    let failed = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    (failed == 0).then_some(action)
}

fn is_entry(action: &libc::sigaction) -> bool {
    action.sa_sigaction == entry as *const () as usize
}

/// SIG_DFL, no flags, nothing blocked.
// SAFETY: integers, a set of bits and an absent function: all bits zero is a value of each.
const EMPTY: libc::sigaction = unsafe { mem::zeroed() };
