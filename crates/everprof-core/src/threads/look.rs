//! A look at a thread: does it sleep, where, and what is its stack?
//!
//! Context: cold. Invariant: a stack is only reported if its thread had no processor
//! from before the kernel told its registers until after the last word was read.
//!
//! That is known from the thread's processor time, asked before and after: it grows by
//! nanoseconds whenever the thread runs, be it only for the kernel's own part of a call.
//! (Reading the file again would not do: a thread that came back to the same call in
//! the meantime looks the same.)

use std::io;

use super::tasks::{self, TaskFile, Tasks, number};
use crate::stack::backend::{Leaf, Reader};
use crate::stack::{Captured, Registers, StackEnd};
use crate::threads::State;
use crate::{global, sys};

/// What a look showed.
#[derive(Debug)]
pub(super) enum Seen {
    /// There is no such thread any more.
    Gone,
    /// It sleeps.
    Asleep(Asleep),
    /// It runs or is ready to; it has taken so many nanoseconds of processor time.
    Running(u64),
    /// It slept, and ran while its stack was read.
    Restless,
    /// The kernel does not tell.
    Unknown,
}

/// A thread that slept from before until after this was read of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asleep {
    pub(super) state: State,
    /// Its stack, or the leaf end of it.
    pub(super) captured: Captured,
    /// In force, if they are known.
    pub(super) labels: Option<u32>,
    /// The processor time that it has taken.
    pub(super) cpu_nanos: u64,
}

impl Asleep {
    /// Whether the stack is whole, as far as it is to be.
    pub(super) fn is_whole(&self) -> bool {
        is_whole(&self.captured)
    }
}

fn is_whole(captured: &Captured) -> bool {
    matches!(captured.end, StackEnd::Root | StackEnd::Truncated)
}

/// Looks at threads, one at a time.
#[derive(Debug)]
pub(super) struct Looker {
    reader: Box<Reader>,
}

/// Times that a stack is read anew at once if its thread ran meanwhile.
const ATTEMPTS: u32 = 3;

impl Looker {
    pub(super) fn new() -> Self {
        Self {
            reader: Box::new(Reader::new()),
        }
    }

    /// Walks the stack of a thread that sleeps, as far as the caller knows. What is learned
    /// on its account of modules that may go is not kept.
    pub(super) fn walk(&mut self, registers: (u64, u64), leaf: Leaf, out: &mut [u64]) -> Captured {
        let captured = self.reader.capture(registers, leaf, out);
        self.reader.slept(false);
        captured
    }

    /// Walks the stack of `thread` from `registers`, which are those of a frame that it does not
    /// return to before something is over that `goes_on`. With the processor time that it has taken.
    /// `None`: that is over, the thread ran meanwhile, or this is not its whole stack.
    pub(super) fn walk_still(
        &mut self,
        thread: u32,
        registers: &Registers,
        out: &mut [u64],
        goes_on: impl FnOnce() -> bool,
    ) -> Option<(Captured, u64)> {
        let before_nanos = sys::thread_cpu_nanos(thread)?;
        if !goes_on() {
            return None;
        }
        let captured = self.reader.capture_from(registers, out);
        let slept = sys::thread_cpu_nanos(thread) == Some(before_nanos);
        self.reader.slept(slept);
        (slept && is_whole(&captured)).then_some((captured, before_nanos))
    }

    /// Looks at `thread`; the stack, if there is one, is at the front of `out`.
    pub(super) fn look(&mut self, tasks: &Tasks, thread: u32, out: &mut [u64]) -> Seen {
        for _ in 0..ATTEMPTS {
            let Some(before_nanos) = sys::thread_cpu_nanos(thread) else {
                return Seen::Gone;
            };
            let mut line = [0; 256];
            let line = match tasks.read(thread, tasks::SYSCALL, &mut line) {
                Ok(line) => line,
                Err(error) if is_gone(&error) => return Seen::Gone,
                Err(_) => return Seen::Unknown,
            };
            let (state, registers) = match Place::parse(line) {
                Place::Running => return Seen::Running(before_nanos),
                Place::Unknown => return Seen::Unknown,
                Place::Asleep(state, registers) => (state, registers),
            };
            let leaf = match state {
                State::InCall { .. } => Leaf::InCall,
                _ => Leaf::Interrupted,
            };
            let captured = self.reader.capture(registers, leaf, out);
            // Of the same moment, as what is asked next says.
            let labels = global::labels_of(thread);
            let after_nanos = sys::thread_cpu_nanos(thread);
            let slept = after_nanos == Some(before_nanos);
            self.reader.slept(slept);
            if after_nanos.is_none() {
                return Seen::Gone;
            }
            if slept {
                return Seen::Asleep(Asleep {
                    state,
                    captured,
                    labels,
                    cpu_nanos: before_nanos,
                });
            }
        }
        Seen::Restless
    }
}

/// Whether a thread runs, by its `syscall` file.
pub(super) fn is_running(file: &TaskFile) -> bool {
    file.read(&mut [0; 256])
        .is_ok_and(|line| Place::parse(line) == Place::Running)
}

/// What the kernel says when a thread has ended: no such file before, no such process
/// after it was opened.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// What a `syscall` file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Running,
    /// With pc and stack pointer.
    Asleep(State, (u64, u64)),
    Unknown,
}

impl Place {
    /// `running`, or `number a b c d e f sp pc`, or `-1 sp pc` (proc(5)).
    pub(super) fn parse(line: &[u8]) -> Self {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if line == b"running" {
            return Self::Running;
        }
        let mut words = line.split(|&byte| byte == b' ');
        let first = words.next().unwrap_or(&[]);
        let mut hex = || number(words.next()?.strip_prefix(b"0x")?, 16);
        let mut next = |state| match (hex(), hex()) {
            (Some(sp), Some(pc)) => Self::Asleep(state, (pc, sp)),
            _ => Self::Unknown,
        };
        if first == b"-1" {
            return next(State::InFault);
        }
        let mut words = line.split(|&byte| byte == b' ').skip(1);
        let mut hex = || number(words.next()?.strip_prefix(b"0x")?, 16);
        let mut all = [0; 8];
        for word in &mut all {
            match hex() {
                Some(value) => *word = value,
                None => return Self::Unknown,
            }
        }
        let [a, b, c, d, e, f, sp, pc] = all;
        match number(first, 10).and_then(|number| u32::try_from(number).ok()) {
            Some(number) => Self::Asleep(
                State::InCall {
                    number,
                    arguments: [a, b, c, d, e, f],
                },
                (pc, sp),
            ),
            None => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_file_is_read() {
        assert_eq!(Place::parse(b"running\n"), Place::Running);
        let in_call = State::InCall {
            number: 202,
            arguments: [0x10, 0x80, 2, 0, 0, 0xff],
        };
        let line = b"202 0x10 0x80 0x2 0x0 0x0 0xff 0x7f4681ca4ea8 0x7f4681d7312b\n";
        let registers = (0x7f46_81d7_312b, 0x7f46_81ca_4ea8);
        assert_eq!(Place::parse(line), Place::Asleep(in_call, registers));
        let line = b"-1 0x7f4681ca4ea8 0x7f4681d7312b\n";
        assert_eq!(Place::parse(line), Place::Asleep(State::InFault, registers));
        for other in [&b""[..], b"202 0x1\n", b"x 0x1 0x2\n", b"-1 0x1"] {
            assert_eq!(Place::parse(other), Place::Unknown);
        }
    }

    #[test]
    fn a_thread_that_never_was_is_gone() {
        let Some(tasks) = Tasks::open() else {
            return;
        };
        let seen = Looker::new().look(&tasks, 0x3fff_ffff, &mut [0; 8]);
        assert!(matches!(seen, Seen::Gone));
    }
}
