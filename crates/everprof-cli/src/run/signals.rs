//! Signals that everprof gets while the program runs, and the program's own end.
//!
//! | signal | what we do |
//! |---|---|
//! | TERM, HUP, USR1, USR2 | pass on to the program, and live |
//! | INT, QUIT typed at our terminal | nothing: the terminal sent it to the program too |
//! | INT, QUIT otherwise | pass on |
//! | what our caller had ignored (`nohup`) | leave ignored; the program inherits that |
//!
//! A signal sent to the whole process group reaches the program twice, once
//! from the sender and once from us; only a program that counts signals sees it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitCode, ExitStatus};
use std::thread::JoinHandle;

use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getpgrp, kill_process, pidfd_open,
    pidfd_send_signal, setrlimit,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle, Signals};

/// Signals held back until there is a program to pass them to.
pub(crate) struct Held {
    signals: Signals,
}

impl Held {
    /// From now on none of them ends this process.
    pub(crate) fn hold() -> io::Result<Self> {
        let ignored = ignored_signals();
        let wanted = [SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGINT, SIGQUIT];
        // A handler is reset by exec and an ignored signal stays so: the
        // program begins with just the dispositions that we were given.
        Ok(Self {
            signals: Signals::new(wanted.iter().filter(|s| ignored >> (**s - 1) & 1 == 0))?,
        })
    }

    /// Passes them on to `child` until the result is dropped.
    pub(crate) fn forward_to(mut self, child: &Child) -> io::Result<Forwarding> {
        // A pid descriptor: never another process that got the same number.
        let program = Pid::from_child(child);
        let descriptor = pidfd_open(program, PidfdFlags::empty()).ok();
        let handle = self.signals.handle();
        let thread = std::thread::Builder::new()
            .name("everprof-signals".to_owned())
            .spawn(move || {
                for number in &mut self.signals {
                    if matches!(number, SIGINT | SIGQUIT) && typed() {
                        continue;
                    }
                    let Some(signal) = Signal::from_named_raw(number) else {
                        continue;
                    };
                    // The program may have ended just now: nothing to pass on to.
                    let _ = match &descriptor {
                        Some(descriptor) => pidfd_send_signal(descriptor, signal),
                        None => kill_process(program, signal),
                    };
                }
            })?;
        Ok(Forwarding {
            handle,
            thread: Some(thread),
        })
    }
}

/// Ends the passing on when dropped.
pub(crate) struct Forwarding {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether we stand in our terminal's foreground, so that INT and QUIT are its doing.
fn typed() -> bool {
    std::fs::File::open("/dev/tty").is_ok_and(|terminal| {
        rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == getpgrp())
    })
}

/// The signals that our caller had ignored, one bit each from signal 1 on.
fn ignored_signals() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| mask(&status, "SigIgn:"))
        .unwrap_or(0)
}

fn mask(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Ends this process as the program ended: its code, or its signal.
pub(crate) fn end_like(status: ExitStatus) -> ExitCode {
    let Some(number) = status.signal() else {
        // A code is 0 to 255 on Unix.
        return ExitCode::from(u8::try_from(status.code().unwrap_or(125)).unwrap_or(125));
    };
    // The program's core, if any, is the one to look at.
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    );
    // Restores the default and raises; returns only for signals that do not end a process.
    let _ = signal_hook::low_level::emulate_default_handler(number);
    // Real-time signals and others without a name here: say it as shells do.
    ExitCode::from(128_u8.saturating_add(u8::try_from(number).unwrap_or(127)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read_from_status() {
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert_eq!(mask(status, "SigIgn:"), Some(0x1001));
        assert_eq!(mask(status, "SigCgt:"), None);
        // Rust's runtime ignores SIGPIPE (13).
        assert_eq!(ignored_signals() >> 12 & 1, 1);
    }

    #[test]
    fn an_exit_code_is_passed_through() {
        for code in [0, 1, 42, 255] {
            let status = ExitStatus::from_raw(code << 8);
            assert_eq!(
                end_like(status),
                ExitCode::from(u8::try_from(code).unwrap_or(9))
            );
        }
    }
}
