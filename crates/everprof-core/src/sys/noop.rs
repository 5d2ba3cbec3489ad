//! No operating system that we know: memory from the system's allocator, which
//! is not the program's global one, clocks from std. Miri and loom run on this.
//!
//! Context and invariant: see `sys`. Twin of `linux.rs`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Instant, SystemTime};

/// Bytes that lengths are rounded to.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Zeroed private memory.
pub(crate) fn map_private(len: usize) -> Option<NonNull<u8>> {
    let layout = layout(len)?;
    // SAFETY: the layout has a size above 0, checked by `layout`.
    NonNull::new(unsafe { System.alloc_zeroed(layout) })
}

/// Not to be had here.
pub(crate) fn map_file(fd: i32, len: usize) -> Option<NonNull<u8>> {
    let _ = (fd, len);
    None
}

/// Not to be had here.
///
/// # Safety
/// None is asked.
pub(crate) unsafe fn read_file(fd: i32, base: NonNull<u8>, len: usize) -> bool {
    let _ = (fd, base, len);
    false
}

/// Puts zeroes in the place of what the memory held.
///
/// # Safety
/// `base` and `len` are a whole mapping made by this file, and nobody relies
/// on what it holds.
pub(crate) unsafe fn replace_with_private(base: NonNull<u8>, len: usize) -> bool {
    // SAFETY: the caller gives the whole range.
    unsafe { base.write_bytes(0, len) };
    true
}

/// Not to be had here.
///
/// # Safety
/// None is asked.
pub(crate) unsafe fn replace_with_file(base: NonNull<u8>, len: usize, fd: i32) -> bool {
    let _ = (base, len, fd);
    false
}

/// Gives memory back.
///
/// # Safety
/// `base` and `len` are a whole mapping made by this file, used by nobody any more.
pub(crate) unsafe fn unmap(base: NonNull<u8>, len: usize) {
    if let Some(layout) = layout(len) {
        // SAFETY: `map_private` made it with this layout.
        unsafe { System.dealloc(base.as_ptr(), layout) };
    }
}

/// Not to be had here.
pub(crate) fn map_wiped_on_fork() -> Option<NonNull<u8>> {
    None
}

/// This process.
pub(crate) fn process_id() -> u32 {
    std::process::id()
}

/// This thread, by a number that no other thread has.
pub(crate) fn thread_id() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    thread_local! {
        static THIS: u32 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    THIS.with(|this| *this)
}

/// Not to be had here.
pub(crate) fn copy(process: i32, address: u64, to: &mut [u64]) -> usize {
    let _ = (process, address, to);
    0
}

/// Not to be had here.
pub(crate) fn thread_cpu_nanos(tid: u32) -> Option<u64> {
    let _ = tid;
    None
}

/// Not to be had here.
pub(crate) fn process_cpu_nanos() -> u64 {
    0
}

/// Not to be had here.
pub(crate) fn tick_nanos() -> u64 {
    0
}

/// Not to be had here.
pub(crate) fn thread_ids() -> Option<Vec<u32>> {
    None
}

/// Nobody knows: yes.
pub(crate) fn thread_is_alive(tid: u32) -> bool {
    tid != 0
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn unix_nanos() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

/// Nanoseconds of a clock that only goes forward.
pub(crate) fn coarse_nanos() -> u64 {
    monotonic_nanos()
}

/// Nanoseconds of a clock that only goes forward.
pub(crate) fn monotonic_nanos() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Not to be had here.
pub(crate) fn clock_source(_name: &mut [u8]) -> &[u8] {
    &[]
}

/// Lets other threads run. Cold.
pub(crate) fn pause_briefly() {
    std::thread::yield_now();
}

/// Sleeps while `word` is `seen`, for so long at most; now and then shorter.
#[cfg(not(everprof_loom))]
pub(crate) fn sleep_while(word: &AtomicU32, seen: u32, most: std::time::Duration) {
    // Acquire: as a sleeper on Linux, which sees all that was done before it was woken.
    if word.load(Ordering::Acquire) == seen {
        std::thread::sleep(most.min(std::time::Duration::from_millis(1)));
    }
}

/// Nobody sleeps for long here.
#[cfg(not(everprof_loom))]
pub(crate) fn wake_all(word: &AtomicU32) {
    let _ = word;
}

fn layout(len: usize) -> Option<Layout> {
    if len == 0 {
        None
    } else {
        Layout::from_size_align(len, PAGE_BYTES).ok()
    }
}
