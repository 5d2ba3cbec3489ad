//! Time and memory of this process.

use std::time::Instant;

/// Since when.
pub struct Begun(Instant, f64);

impl Begun {
    pub fn now() -> Self {
        Self(Instant::now(), cpu_seconds())
    }

    /// By the clock, and of CPU time.
    pub fn seconds(&self) -> (f64, f64) {
        (self.0.elapsed().as_secs_f64(), cpu_seconds() - self.1)
    }

    /// Seconds by the clock, seconds of CPU time, KiB at the peak.
    pub fn print(&self) {
        let (wall, cpu) = self.seconds();
        println!("{wall} {cpu} {}", status_kib("VmHWM:"));
    }
}

/// KiB of resident memory now.
pub fn resident_kib() -> f64 {
    status_kib("VmRSS:")
}

fn cpu_seconds() -> f64 {
    // SAFETY: a plain struct of numbers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: writes one `rusage` through a valid pointer.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn status_kib(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("there is /proc");
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.expect("the kernel tells it")
}
