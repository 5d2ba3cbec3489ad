//! /proc/self/task: which threads there are, and what the kernel says of each.
//!
//! Context: cold. Invariant: nothing here waits for another thread.
//! Source: proc(5); `fs/proc/base.c` for the list and its gaps, `kernel/fork.c`
//! (`copy_process`) for its order.

use core::ffi::CStr;
use std::io;

use crate::stack::platform;

/// The directory, open.
#[derive(Debug)]
pub(super) struct Tasks {
    directory: i32,
    /// Room for a list in one call: a list read in pieces has gaps where threads end
    /// between two. 24 to 32 bytes a thread.
    entries: Vec<u8>,
}

/// The system call that a thread sleeps in.
pub(super) const SYSCALL: &str = "syscall";
/// Its name.
pub(super) const COMM: &str = "comm";
const STATUS: &str = "status";

impl Tasks {
    pub(super) fn open() -> Option<Self> {
        let directory = open_at(libc::AT_FDCWD, c"/proc/self/task", libc::O_DIRECTORY).ok()?;
        Some(Self {
            directory,
            entries: vec![0; 64 << 10],
        })
    }

    /// Puts the threads from the `from`th on into `list`, the oldest first. True: the list
    /// had no gap, as far as its length tells.
    ///
    /// The kernel goes along its list of threads, oldest first, and ends early if the one
    /// that it stands at ends meanwhile. So the number of entries is compared with the
    /// number of threads, which the directory's link count gives.
    pub(super) fn list(&mut self, from: usize, list: &mut Vec<u32>) -> bool {
        list.clear();
        let threads = self.count();
        let wanted = (threads.saturating_sub(from) + threads / 8 + 64) * 32;
        if self.entries.len() < wanted {
            self.entries.resize(wanted, 0);
        }
        // A position is `.`, `..`, then one a thread (`proc_task_readdir`).
        let position = if from == 0 { 0 } else { from + 2 };
        // SAFETY: a plain system call on a descriptor of ours.
        unsafe { libc::lseek(self.directory, position as libc::off_t, libc::SEEK_SET) };
        loop {
            // SAFETY: the kernel writes at most the length given.
            let read = unsafe {
                platform::syscall4(
                    libc::SYS_getdents64,
                    self.directory as u64,
                    self.entries.as_mut_ptr() as u64,
                    self.entries.len() as u64,
                    0,
                )
            };
            let Some(entries) = usize::try_from(read)
                .ok()
                .filter(|&read| read > 0)
                .and_then(|read| self.entries.get(..read))
            else {
                break;
            };
            list.extend(Entries(entries));
        }
        from + list.len() == threads && self.count() == threads
    }

    /// Where a list begins that holds what was born lately: sixteen threads from the end.
    pub(super) fn tail(&self) -> usize {
        self.count().saturating_sub(16)
    }

    /// How many threads there are: the directory's links but `.` and `..`.
    fn count(&self) -> usize {
        let mut about = core::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: the kernel writes the structure.
        let failed = unsafe { libc::fstat(self.directory, about.as_mut_ptr()) };
        if failed != 0 {
            return 0;
        }
        // SAFETY: written above.
        let about = unsafe { about.assume_init() };
        (about.st_nlink as usize).saturating_sub(2)
    }

    /// What fits of a thread's file into `to`.
    pub(super) fn read<'b>(
        &self,
        thread: u32,
        file: &str,
        to: &'b mut [u8],
    ) -> io::Result<&'b [u8]> {
        self.file(thread, file)?.read(to)
    }

    /// A thread's file, to be read more than once.
    pub(super) fn file(&self, thread: u32, file: &str) -> io::Result<TaskFile> {
        let mut path = [0; 32];
        let path = path_to(thread, file, &mut path);
        open_at(self.directory, path, 0).map(TaskFile)
    }

    /// What its status says; `None` if it is gone.
    pub(super) fn status(&self, thread: u32) -> Option<Status> {
        // It has 1.5 KiB; what is wanted stands in its last third.
        let mut status = [0; 4096];
        self.read(thread, STATUS, &mut status)
            .ok()
            .map(Status::parse)
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // SAFETY: ours, opened by `open`.
        unsafe { libc::close(self.directory) };
    }
}

/// An open file of a thread's.
#[derive(Debug)]
pub(super) struct TaskFile(i32);

impl TaskFile {
    /// What fits of it into `to`, as it is now.
    pub(super) fn read<'b>(&self, to: &'b mut [u8]) -> io::Result<&'b [u8]> {
        // SAFETY: the kernel writes at most the length given.
        let read = unsafe { libc::pread(self.0, to.as_mut_ptr().cast(), to.len(), 0) };
        match usize::try_from(read) {
            Ok(read) => Ok(to.get(..read).unwrap_or(&[])),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for TaskFile {
    fn drop(&mut self) {
        // SAFETY: ours, opened by `Tasks::file`.
        unsafe { libc::close(self.0) };
    }
}

fn open_at(directory: i32, path: &CStr, flags: i32) -> io::Result<i32> {
    // SAFETY: a string that ends in zero.
    let descriptor = unsafe {
        libc::openat(
            directory,
            path.as_ptr(),
            flags | libc::O_RDONLY | libc::O_CLOEXEC,
        )
    };
    if descriptor < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(descriptor)
    }
}

/// `thread/file`, without formatting: this is done twice a thread.
fn path_to<'p>(thread: u32, file: &str, path: &'p mut [u8; 32]) -> &'p CStr {
    // Ten digits at most, written from the end.
    let mut digits = [0; 10];
    let mut first = digits.len();
    let mut rest = thread;
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let text = digits[first..].iter().chain(b"/").chain(file.as_bytes());
    for (to, from) in path.iter_mut().zip(text) {
        *to = *from;
    }
    CStr::from_bytes_until_nul(path).unwrap_or(c"")
}

/// The numbers among `struct linux_dirent64`s.
struct Entries<'e>(&'e [u8]);

impl Iterator for Entries<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        loop {
            // Inode and offset, eight bytes each; length; type; name, ended by zero.
            let length = u16::from_ne_bytes(*self.0.get(16..)?.first_chunk()?);
            let (entry, rest) = self.0.split_at_checked(usize::from(length))?;
            self.0 = if entry.is_empty() { &[] } else { rest };
            let name = entry.get(19..)?.split(|&byte| byte == 0).next()?;
            if let Some(number) = number(name, 10) {
                return Some(number as u32);
            }
        }
    }
}

/// Two lines of a status file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    blocked_signals: u64,
    /// How often the thread gave its processor up of its own will: to sleep.
    pub(super) times_asleep: u64,
}

impl Status {
    fn parse(status: &[u8]) -> Self {
        let mut found = Self::default();
        for line in status.split(|&byte| byte == b'\n') {
            if let Some(mask) = line.strip_prefix(b"SigBlk:\t") {
                found.blocked_signals = number(mask, 16).unwrap_or(0);
            } else if let Some(times) = line.strip_prefix(b"voluntary_ctxt_switches:\t") {
                found.times_asleep = number(times, 10).unwrap_or(0);
            }
        }
        found
    }

    pub(super) fn blocks(&self, signal: i32) -> bool {
        self.blocked_signals >> (signal - 1) & 1 != 0
    }
}

/// A number that fills `text`.
pub(super) fn number(text: &[u8], radix: u32) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, &byte| {
        let digit = char::from(byte).to_digit(radix)?;
        number
            .checked_mul(u64::from(radix))?
            .checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sys;

    #[test]
    fn a_path_is_number_and_file() {
        let mut path = [0; 32];
        assert_eq!(path_to(1, COMM, &mut path), c"1/comm");
        let mut path = [0; 32];
        assert_eq!(path_to(u32::MAX, SYSCALL, &mut path), c"4294967295/syscall");
    }

    #[test]
    fn this_thread_is_listed_once() {
        let mut tasks = Tasks::open().unwrap();
        let mut list = vec![7];
        for _ in 0..3 {
            tasks.list(0, &mut list);
            let this = |&&id: &&u32| id == sys::thread_id();
            assert_eq!(list.iter().filter(this).count(), 1);
            assert!(!list.contains(&7));
        }
    }

    #[test]
    fn files_of_threads_are_read() {
        let tasks = Tasks::open().unwrap();
        let mut bytes = [0; 64];
        let own = tasks.read(sys::thread_id(), SYSCALL, &mut bytes).unwrap();
        assert!(own.starts_with(b"running") || own[0].is_ascii_digit());
        assert!(tasks.read(u32::MAX, COMM, &mut bytes).is_err());
    }

    #[test]
    fn the_status_tells_of_signals_and_sleep() {
        let status = Status::parse(
            b"Name:\tx\nSigBlk:\t8000000000000001\nSigIgn:\t0000000000001000\n\
              voluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n",
        );
        assert_eq!(status.times_asleep, 150);
        assert_eq!(
            [1, 2, 63, 64].map(|signal| status.blocks(signal)),
            [true, false, false, true]
        );
        assert_eq!(Status::parse(b"Name:\tx\n"), Status::default());
        let own = Tasks::open().unwrap().status(sys::thread_id()).unwrap();
        assert!(!own.blocks(64));
    }

    #[test]
    fn numbers_are_whole_or_none() {
        assert_eq!(number(b"1234", 10), Some(1234));
        assert_eq!(number(b"7fff00", 16), Some(0x7f_ff00));
        for text in [&b""[..], b"12a", b"-1", b"18446744073709551616"] {
            assert_eq!(number(text, 10), None);
        }
    }
}
