//! Timers of the kernel's: one thread's CPU time, SIGPROF to that thread.
//!
//! Context: signal. Straight system calls: nothing of the C library's, no `errno`.
//! Twin of `timer_noop.rs`.
//! Invariant: a number is passed to the kernel only in the process that got it.

use crate::stack::platform::syscall4;
use crate::sys;

/// What a signal of a timer says it is from.
pub(super) const CODE: i32 = libc::SI_TIMER;

/// The signal.
pub(super) const SIGNAL: i32 = libc::SIGPROF;

/// A timer, as the kernel numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer(u32);

/// Why there is no timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The thread has ended.
    Gone,
    /// The user has as many timers and queued signals as `RLIMIT_SIGPENDING` allows.
    Full,
    /// There is no such call, or a filter forbids it.
    Denied,
}

/// The kernel's `struct sigevent`, 64 bytes on both architectures.
#[repr(C)]
struct Event {
    value: u64,
    signal: i32,
    notify: i32,
    thread: u32,
    rest: [u32; 11],
}

const _: () = assert!(size_of::<Event>() == 64);

/// The kernel's `struct itimerspec`: seconds and nanoseconds.
#[repr(C)]
#[derive(Default)]
struct Setting {
    interval: [i64; 2],
    first: [i64; 2],
}

impl Timer {
    /// Makes a timer whose signal carries `value` and is due at the thread's next tick.
    pub(super) fn begin(tid: u32, value: u64, period_nanos: u64) -> Result<Self, Refused> {
        let event = Event {
            value,
            signal: SIGNAL,
            notify: libc::SIGEV_THREAD_ID,
            thread: tid,
            rest: [0; 11],
        };
        let clock = i64::from(sys::thread_cpu_clock(tid)).cast_unsigned();
        let mut number = 0_u32;
        let (event, place) = (&raw const event, &raw mut number);
        // SAFETY: the kernel reads the event and writes one word to `number`.
        let result =
            unsafe { syscall4(libc::SYS_timer_create, clock, event as u64, place as u64, 0) };
        if result != 0 {
            return Err(match i32::try_from(-result) {
                // No thread of this number in this process: then its clock is unknown.
                Ok(libc::EINVAL) => Refused::Gone,
                Ok(libc::EAGAIN) => Refused::Full,
                _ => Refused::Denied,
            });
        }
        let timer = Self(number);
        if timer.arm(1, period_nanos) {
            return Ok(timer);
        }
        timer.delete();
        Err(Refused::Gone)
    }

    /// Due in `first_nanos` of the thread's time, then each `period_nanos`. False: the
    /// thread has ended.
    pub(super) fn arm(self, first_nanos: u64, period_nanos: u64) -> bool {
        self.set(&Setting {
            interval: parts(period_nanos),
            first: parts(first_nanos),
        })
    }

    /// Not due any more.
    pub(super) fn disarm(self) {
        self.set(&Setting::default());
    }

    /// Whether it will be due once more: false if its thread, this very one and not
    /// another by its number, has ended.
    pub(super) fn is_armed(self) -> bool {
        let mut setting = Setting::default();
        let place = &raw mut setting;
        // SAFETY: the kernel writes one setting.
        let result =
            unsafe { syscall4(libc::SYS_timer_gettime, self.0.into(), place as u64, 0, 0) };
        result == 0 && setting.first != [0; 2]
    }

    /// Gives it back to the kernel.
    pub(super) fn delete(self) {
        // SAFETY: no memory is named. One that is not there is an error of no consequence.
        unsafe { syscall4(libc::SYS_timer_delete, self.0.into(), 0, 0, 0) };
    }

    pub(super) fn raw(self) -> u32 {
        self.0
    }

    pub(super) fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    fn set(self, setting: &Setting) -> bool {
        let place = core::ptr::from_ref(setting);
        // SAFETY: the kernel reads one setting; the old one is not asked for.
        unsafe { syscall4(libc::SYS_timer_settime, self.0.into(), 0, place as u64, 0) == 0 }
    }
}

/// Lets no other handler come over the one that calls this. The kernel undoes it as it
/// returns from the signal, since it restores what was blocked before.
pub(super) fn hold_other_signals() {
    let all = u64::MAX;
    let place = &raw const all;
    let how = libc::SIG_BLOCK as u64;
    // SAFETY: the kernel reads one set of 8 bytes; the old one is not asked for.
    unsafe { syscall4(libc::SYS_rt_sigprocmask, how, place as u64, 0, 8) };
}

fn parts(nanos: u64) -> [i64; 2] {
    const SECOND: u64 = 1_000_000_000;
    [(nanos / SECOND) as i64, (nanos % SECOND) as i64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timer_is_armed_as_long_as_its_thread_lives() {
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let _ = tell.send(sys::thread_id());
            let _ = ended.recv();
        });
        let tid = told.recv().unwrap_or(0);
        // Not within the test's time: nobody handles the signal.
        let hour = 3_600_000_000_000;
        let timer = Timer::begin(tid, 0, hour);
        let Ok(timer) = timer else {
            panic!("{timer:?}");
        };
        timer.arm(hour, hour);
        assert!(timer.is_armed());
        drop(end);
        assert!(thread.join().is_ok());
        // The kernel may be taking the thread down yet.
        while sys::thread_cpu_nanos(tid).is_some() {
            std::thread::yield_now();
        }
        assert!(!timer.is_armed());
        timer.delete();
        assert_eq!(Timer::begin(tid, 0, hour), Err(Refused::Gone));
    }
}
