//! Linux: memory straight from the kernel, clocks from the vDSO.
//!
//! Context and invariant: see `sys`. Twin of `noop.rs`.

use std::fs;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

#[cfg(not(everprof_no_wipe))]
#[path = "linux/wiped.rs"]
mod wiped;
#[cfg(everprof_no_wipe)]
#[path = "linux/not_wiped.rs"]
mod wiped;
pub(crate) use wiped::map_wiped_on_fork;

#[cfg_attr(everprof_emulated, path = "linux/copied_by_file.rs")]
mod copied;
pub(crate) use copied::copy;

/// Bytes of a page as far as rounding goes. Kernels with larger pages (16 and
/// 64 KiB on aarch64) round lengths up by themselves, and every length rounded
/// to 64 KiB is a whole number of any of these pages.
pub(crate) const PAGE_BYTES: usize = 64 * 1024;

/// Zeroed private memory that costs nothing until it is touched.
///
/// `MAP_NORESERVE`: the cap is an upper bound, not a wish; strict overcommit
/// must not charge the program for it.
pub(crate) fn map_private(len: usize) -> Option<NonNull<u8>> {
    map(
        ptr::null_mut(),
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        -1,
    )
}

/// `len` bytes of the file behind `fd`, shared with whoever maps it too.
pub(crate) fn map_file(fd: i32, len: usize) -> Option<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    map(ptr::null_mut(), len, protection, libc::MAP_SHARED, fd)
}

/// Reads the first `len` bytes behind `fd` into zeroed memory, from the front;
/// what the file does not have stays zero, and so do its holes, which cost
/// nothing. False: the file cannot be read. Cold.
///
/// # Safety
/// `base` is good for writing `len` bytes, which are zero.
pub(crate) unsafe fn read_file(fd: i32, base: NonNull<u8>, len: usize) -> bool {
    let mut at = 0;
    while at < len {
        let Some(data) = seek(fd, at, libc::SEEK_DATA) else {
            // ENXIO: behind `at` is nothing but a hole.
            return io::Error::last_os_error().raw_os_error() == Some(libc::ENXIO);
        };
        let Some(hole) = seek(fd, data, libc::SEEK_HOLE) else {
            // Cut short in between, if it is that error again.
            return io::Error::last_os_error().raw_os_error() == Some(libc::ENXIO);
        };
        at = data;
        while at < hole.min(len) {
            // SAFETY: `at` is less than `len`, so it stays within the mapping.
            let to = unsafe { base.add(at) };
            let Ok(offset) = libc::off_t::try_from(at) else {
                return false;
            };
            // SAFETY: from there to the end are `len - at` bytes to write.
            let read = unsafe { libc::pread(fd, to.as_ptr().cast(), hole.min(len) - at, offset) };
            match usize::try_from(read) {
                Ok(0) => return true,
                Ok(read) => at += read,
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }
    true
}

fn seek(fd: i32, from: usize, whence: i32) -> Option<usize> {
    // SAFETY: a plain system call on a descriptor.
    let at = unsafe { libc::lseek(fd, libc::off_t::try_from(from).ok()?, whence) };
    usize::try_from(at).ok()
}

/// Puts zeroed private memory in the place of a mapping, shared or not.
///
/// # Safety
/// `base` and `len` are a whole mapping made by this file, and nobody relies
/// on what it holds.
pub(crate) unsafe fn replace_with_private(base: NonNull<u8>, len: usize) -> bool {
    map(
        base.as_ptr(),
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED,
        -1,
    )
    .is_some()
}

/// Puts the `len` bytes of the file behind `fd`, shared, in the place of a mapping.
///
/// # Safety
/// As [`replace_with_private`].
pub(crate) unsafe fn replace_with_file(base: NonNull<u8>, len: usize, fd: i32) -> bool {
    let flags = libc::MAP_SHARED | libc::MAP_FIXED;
    map(
        base.as_ptr(),
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        flags,
        fd,
    )
    .is_some()
}

/// Gives a mapping back.
///
/// # Safety
/// `base` and `len` are a whole mapping made by this file, used by nobody any more.
pub(crate) unsafe fn unmap(base: NonNull<u8>, len: usize) {
    keeping_errno(|| {
        // SAFETY: the caller gives up a whole mapping of ours.
        unsafe { libc::munmap(base.as_ptr().cast(), len) };
    });
}

/// This process.
pub(crate) fn process_id() -> u32 {
    // SAFETY: getpid has no preconditions.
    unsafe { libc::getpid() }.cast_unsigned()
}

/// This thread, as the kernel knows it.
pub(crate) fn thread_id() -> u32 {
    // SAFETY: gettid has no preconditions.
    unsafe { libc::gettid() }.cast_unsigned()
}

/// The stack that the C library gave this thread, its own records at the end included; none
/// where it does not tell. Cold.
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    allow(dead_code, reason = "nobody looks at all memory there")
)]
pub(crate) fn own_stack() -> Option<Range<u64>> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: it has no preconditions.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: the calling thread, which is there; writes all of it where it succeeds.
    if unsafe { libc::pthread_getattr_np(this, attributes) } != 0 {
        return None;
    }
    let (mut start, mut len) = (ptr::null_mut(), 0);
    // SAFETY: written above, as are the two places.
    let told = unsafe { libc::pthread_attr_getstack(attributes, &raw mut start, &raw mut len) };
    // SAFETY: as above, and not used any more.
    unsafe { libc::pthread_attr_destroy(attributes) };
    let start = start.addr() as u64;
    (told == 0).then_some(start..start.checked_add(len as u64)?)
}

/// The clock of a thread's CPU time: the thread's number, all bits inverted, above
/// three bits that say "one thread" (4) and "as the scheduler counts" (2); Linux
/// include/linux/posix-timers.h, `MAKE_THREAD_CPUCLOCK`. `pthread_getcpuclockid` makes
/// the same of a handle, and the handle of a thread that is not ours is not to be had.
pub(crate) fn thread_cpu_clock(tid: u32) -> libc::clockid_t {
    (!tid.cast_signed()) << 3 | 6
}

/// Nanoseconds that a thread of this process has run; none if there is no such thread.
pub(crate) fn thread_cpu_nanos(tid: u32) -> Option<u64> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours to write; a clock that does not exist is an error.
    let failed =
        keeping_errno(|| unsafe { libc::clock_gettime(thread_cpu_clock(tid), &raw mut time) });
    (failed == 0).then(|| in_nanos(&time))
}

/// Nanoseconds that all threads of this process have run, ended ones included.
pub(crate) fn process_cpu_nanos() -> u64 {
    nanos(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Nanoseconds between two ticks of the kernel's clock.
pub(crate) fn tick_nanos() -> u64 {
    let mut tick = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `tick` is ours to write; the clock exists since Linux 2.6.32.
    unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut tick) };
    in_nanos(&tick)
}

/// The threads of this process, as the kernel lists them; `None` where there is no
/// `/proc`. One that begins or ends meanwhile may be in it or not. Cold.
pub(crate) fn thread_ids() -> Option<Vec<u32>> {
    let tasks = fs::read_dir("/proc/self/task").ok()?;
    let id = |task: fs::DirEntry| task.file_name().to_str()?.parse().ok();
    Some(tasks.flatten().filter_map(id).collect())
}

/// Whether this process has a thread of that number. Cold.
///
/// Where a filter refuses the question it has: a wait that is given back while its thread
/// is in it would be ended twice.
pub(crate) fn thread_is_alive(tid: u32) -> bool {
    keeping_errno(|| {
        // SAFETY: signal 0 is sent to nobody; the numbers are checked by the kernel.
        let failed = unsafe { libc::syscall(libc::SYS_tgkill, process_id(), tid, 0) } != 0;
        let error = io::Error::last_os_error().raw_os_error();
        !(failed && matches!(error, Some(libc::ESRCH | libc::EINVAL)))
    })
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn unix_nanos() -> u64 {
    nanos(libc::CLOCK_REALTIME)
}

/// Nanoseconds of a clock that only goes forward, to a tick (1 to 10 ms): the
/// age of an object needs no more, and the coarse clock costs a load.
pub(crate) fn coarse_nanos() -> u64 {
    nanos(libc::CLOCK_MONOTONIC_COARSE)
}

/// Nanoseconds of a clock that only goes forward.
pub(crate) fn monotonic_nanos() -> u64 {
    nanos(libc::CLOCK_MONOTONIC)
}

/// What the kernel's clock goes by, as it calls it, at the front of `name`; nothing where it
/// does not tell. Cold.
pub(crate) fn clock_source(name: &mut [u8]) -> &[u8] {
    const PATH: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let read = keeping_errno(|| fs::File::open(PATH).and_then(|mut file| file.read(name)));
    let name = name.get(..read.unwrap_or(0)).unwrap_or(&[]);
    name.trim_ascii_end()
}

/// Lets other threads run. Cold.
pub(crate) fn pause_briefly() {
    // 50 µs: as long as the kernel may round a sleep up anyway (its default timer
    // slack), and a two-hundredth of a snapshot's patience.
    let wait = libc::timespec {
        tv_sec: 0,
        tv_nsec: 50_000,
    };
    keeping_errno(|| {
        // SAFETY: `wait` is a valid timespec; the remainder is not asked for.
        unsafe { libc::nanosleep(&raw const wait, ptr::null_mut()) };
    });
}

/// Sleeps while `word` is `seen` and nobody calls [`wake_all`], for so long at most; now and
/// then shorter. No point of cancellation.
pub(crate) fn sleep_while(word: &AtomicU32, seen: u32, most: Duration) {
    let most = libc::timespec {
        // The type's name is deprecated for musl; 68 years are in any.
        tv_sec: most.as_secs().min(i32::MAX as u64) as _,
        tv_nsec: most.subsec_nanos() as _,
    };
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    keeping_errno(|| {
        // SAFETY: the kernel reads the word and the time, which are borrowed all the while.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                operation,
                seen,
                &raw const most,
            )
        }
    });
}

/// Wakes all that sleep on `word`.
pub(crate) fn wake_all(word: &AtomicU32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    keeping_errno(|| {
        // SAFETY: the kernel does not touch the word.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, i32::MAX) }
    });
}

fn nanos(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is ours to write; the clocks above exist since Linux 2.6.32,
    // so the call does not fail and errno stays.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    in_nanos(&now)
}

fn in_nanos(time: &libc::timespec) -> u64 {
    // Neither field is negative on these clocks.
    (time.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec as u64)
}

fn map(at: *mut u8, len: usize, protection: i32, flags: i32, fd: i32) -> Option<NonNull<u8>> {
    keeping_errno(|| {
        // SAFETY: without MAP_FIXED the kernel chooses free addresses; with it,
        // `replace_with_private` was promised the whole range.
        let base = unsafe { libc::mmap(at.cast(), len, protection, flags, fd, 0) };
        if base == libc::MAP_FAILED {
            None
        } else {
            NonNull::new(base.cast())
        }
    })
}

/// Runs `f` and puts `errno` back: an allocation that happens to be sampled
/// must look to the program like any other.
pub(crate) fn keeping_errno<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: the location is this thread's for as long as the thread lives.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { errno.read() };
    let result = f();
    // SAFETY: as above.
    unsafe { errno.write(before) };
    result
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn failed_mapping_keeps_errno() {
        // SAFETY: it gives the place of this thread's errno.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: this thread's own.
        unsafe { errno.write(7) };
        assert!(map_file(-1, PAGE_BYTES).is_none());
        // SAFETY: as above.
        assert_eq!(unsafe { errno.read() }, 7);
    }

    #[test]
    fn replaced_memory_is_zero() {
        let base = map_private(PAGE_BYTES).unwrap();
        // SAFETY: a fresh mapping of a page or more.
        unsafe { base.write(9) };
        // SAFETY: a whole mapping, used by this test only.
        assert!(unsafe { replace_with_private(base, PAGE_BYTES) });
        // SAFETY: still mapped.
        assert_eq!(unsafe { base.read() }, 0);
        // SAFETY: the whole mapping, not used again.
        unsafe { unmap(base, PAGE_BYTES) };
    }

    #[test]
    fn clocks_go_forward() {
        let (coarse, fine) = (coarse_nanos(), monotonic_nanos());
        assert!(coarse <= monotonic_nanos() && fine <= monotonic_nanos());
        assert!(unix_nanos() > 1_600_000_000_000_000_000);
    }
}
