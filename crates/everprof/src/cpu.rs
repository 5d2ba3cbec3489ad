//! Where the CPU time goes: a profile of what the threads of the program run.
//!
//! While a profile is taken each thread has a timer on its own CPU clock, and its stack
//! is recorded each time a period of that has passed, 10 ms unless asked for otherwise.
//! A thread that waits costs nothing and is not seen. At all other times there is no
//! timer, and nothing costs anything.
//!
//! A sample stands for the period. Threads that begin meanwhile are in the profile
//! within 10 ms; what was missed is under `everprof::lost::cpu_unseen`, so that the
//! total is the CPU time of the process. Everprof's own work on the program's threads
//! (recording an allocation, say) is shown as what it is, its own threads are left out.
//!
//! # What the program notices
//!
//! SIGPROF, on threads that run: a system call that it interrupts goes on by itself
//! (`SA_RESTART`), but for those that never do, such as `epoll_wait`, `poll`,
//! `nanosleep`, and reads with a timeout of the socket's, which may return `EINTR`
//! (signal(7) has the list). As the timers count CPU time and not the time of day, that
//! takes a thread whose timer expired just before it went to wait. A handler that the
//! program has for SIGPROF keeps getting what is not ours. One that it installs after the
//! first profile was taken stands in the place of everprof's: its samples go there, and
//! further profiles are refused ([`Error::is_busy`]).
//!
//! Context: cold. Invariant: no timer is left when a function here has returned.
//! Source: Go's `runtime/pprof.StartCPUProfile` and `/debug/pprof/profile`.

use std::thread;
use std::time::{Duration, Instant};

use everprof_core::cpu::{COVER_EVERY, DEFAULT_HZ, StartError};
use everprof_core::global;
use everprof_core::own_threads::OwnThread;

use crate::assemble;
use crate::error::{Error, Kind};
use crate::profile::{Listing, LongText, Profile, Source, Time};
use crate::start::LeftOut;

/// Takes a CPU profile of the next `duration`, on the calling thread, which is left out
/// of it.
///
/// # Errors
///
/// Where one is being taken already ([`Error::is_busy`]), or the platform has no such
/// timers ([`Error::is_unsupported`]).
///
/// # Overhead
///
/// The work of a thread takes as long as without, to within the 0.7 % that can be told
/// apart on a shared x86_64 machine, at 100 Hz and at 1,000. The calling thread wakes up
/// every 5 ms, for 1.5 µs where no thread has begun, else for 17 µs among 10 threads and
/// 0.7 ms among 1,000 (`cargo bench -p everprof --bench cpu`).
///
/// ```
/// let profile = everprof::cpu::profile(std::time::Duration::from_millis(50))?;
/// profile.write_to(&mut std::io::sink())?; // for `go tool pprof`, `everprof top`, …
/// # Ok::<(), everprof::Error>(())
/// ```
pub fn profile(duration: Duration) -> Result<Profile, Error> {
    profile_at(DEFAULT_HZ, duration)
}

/// As [`profile`], with `hz` samples in a second of a thread's CPU time: 1 to 1,000.
///
/// A thread is interrupted no more often than the kernel's clock ticks, which most do
/// 250 times a second; a sample then stands for several.
///
/// # Errors
///
/// As [`profile`], and where `hz` is none of these ([`Error::is_invalid`]).
pub fn profile_at(hz: u32, duration: Duration) -> Result<Profile, Error> {
    let _left_out = LeftOut::new();
    let wait = |time| {
        thread::sleep(time);
        true
    };
    Ok(Listing::Own(&CPU).finished(take(hz, duration, &wait)?))
}

/// Samples for `duration`, by addresses. `wait` waits that long, or says false where
/// there is no use in waiting any more: that ends it early.
pub(crate) fn take(
    hz: u32,
    duration: Duration,
    wait: &dyn Fn(Duration) -> bool,
) -> Result<assemble::Assembled, Error> {
    let _own = OwnThread::register();
    let mut session = global::start_cpu(hz).map_err(|e| refused(hz, e))?;
    // What came before, a timer for each thread, is not of the time that was asked for.
    let began = Instant::now();
    while let Some(left) = duration.checked_sub(began.elapsed()) {
        if left.is_zero() || !wait(left.min(COVER_EVERY)) {
            break;
        }
        session.cover();
    }
    Ok(assemble::cpu(&session.stop()))
}

fn refused(hz: u32, error: StartError) -> Error {
    let kind = match error {
        StartError::InUse | StartError::SignalTaken => Kind::Busy,
        StartError::Period => Kind::Invalid,
        StartError::NoMemory | StartError::NoTimers => Kind::Io,
        _ => Kind::Unsupported,
    };
    let message = match error {
        StartError::Period => format!("cpu profile of {hz} samples a second: {error}"),
        _ => error.to_string(),
    };
    Error::new(kind, message).caused_by(error)
}

/// The profile as others name it.
pub(crate) static CPU: Source = Source {
    name: "profile",
    description: "What the threads of this program run: CPU time, a sampling. \
        `seconds=` says for how long, 30 unless given.",
    time: Time::Window(DEFAULT_DURATION),
    has_age: false,
    has_idle: false,
    has_leaks: false,
    long_text: LongText::None,
    count: || 0,
    take: |ask| take(DEFAULT_HZ, ask.window.unwrap_or(DEFAULT_DURATION), ask.wait),
};

/// As long as Go's endpoint takes one unless told otherwise.
const DEFAULT_DURATION: Duration = Duration::from_secs(30);
