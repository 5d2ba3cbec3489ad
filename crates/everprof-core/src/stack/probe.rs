//! Which memory a walk may read.
//!
//! Context: signal. Invariant: a word is read only inside a range whose pages
//! the kernel has said to be readable, and which stay so while it is used.
//!
//! Two kinds of range:
//!
//! - The thread's *own stack*, kept in [`ThreadMemory`]: contiguous readable pages
//!   from the lowest stack pointer seen up to the *anchor*. For threads of
//!   pthreads that is the thread control block, which stands at the upper end of
//!   the thread's stack; for the main thread the random bytes that the kernel
//!   puts above it. As the guard page below a stack is not readable, pages
//!   contiguous with the anchor belong to the anchor's own mapping and stay
//!   mapped for as long as the thread runs.
//! - Anything else (signal stacks, coroutines, segments) is verified anew in each
//!   walk, page by page as it is touched, because it may be unmapped between two.
//!
//! The question is put as `rt_sigprocmask(-1, address, NULL, 8)`: the kernel
//! copies the mask in before it looks at the operation, so it answers EFAULT for
//! an unreadable address and EINVAL for a readable one, and changes nothing.
//!
//! Signals: `low` is stored before `high` and read behind it, and both are written only with
//! verified values, so that a handler's walk between any two stores, and one whose
//! handler came between the two loads, find either nothing or a true range.

use core::cell::Cell;
use core::sync::atomic::{AtomicU8, Ordering, compiler_fence};

use crate::stack::platform;
use crate::stack::walk::Memory;

/// What a thread remembers between walks. All bits zero is its first state.
#[derive(Debug)]
pub struct ThreadMemory {
    /// The own stack is readable from here …
    low: Cell<u64>,
    /// … to here. 0: not yet known.
    high: Cell<u64>,
    /// A page below the own stack that was found unreadable.
    hole: Cell<u64>,
    /// Which memo this thread's walks use, plus one. 0: none assigned.
    pub(super) memo: Cell<u32>,
}

impl ThreadMemory {
    /// The state before the first walk.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            low: Cell::new(0),
            high: Cell::new(0),
            hole: Cell::new(0),
            memo: Cell::new(0),
        }
    }
}

impl ThreadMemory {
    /// The own stack, from the first to behind the last byte that is known: both 0 where nothing
    /// is.
    #[inline(always)]
    fn known(&self) -> (u64, u64) {
        let high = self.high.get();
        // A handler's first walk may come between: behind it `low` is no more than true, but
        // a `low` of before would have all memory up to its `high`. The compiler alone could
        // change the order: both are this thread's.
        compiler_fence(Ordering::SeqCst);
        (self.low.get(), high)
    }

    /// Whether all from `sp` up to `limit` is known to be the thread's own stack, and `sp`
    /// aligned as the words on it are.
    #[inline(always)]
    pub(super) fn spans(&self, sp: u64, limit: u64) -> bool {
        let (low, high) = self.known();
        low <= sp && sp <= limit && limit <= high && sp.is_multiple_of(8)
    }

    /// How many bytes of the thread's own stack, and of what stands in its pages, are above `sp`.
    /// Threads that one function starts have it equal where they call the same. `None`: the stack
    /// is not known so far down.
    #[inline(always)]
    pub(crate) fn above(&self, sp: u64) -> Option<u64> {
        let (low, high) = self.known();
        (low <= sp && sp < high).then(|| high - sp)
    }
}

impl Default for ThreadMemory {
    fn default() -> Self {
        Self::new()
    }
}

/// One walk's view of the memory.
#[derive(Debug)]
pub(crate) struct Readable<'t> {
    low: u64,
    bytes: u64,
    thread: &'t ThreadMemory,
}

/// Smallest page of both architectures. Where pages are larger, some are asked about twice.
const PAGE: u64 = 4096;

/// How far an anchor may be: twice the usual stack of 8 MiB, so at most 4,096
/// questions, once a thread.
const MAX_STACK: u64 = 16 << 20;

impl<'t> Readable<'t> {
    /// For a walk on this thread that begins at `sp`.
    #[inline(always)]
    pub(crate) fn new(thread: &'t ThreadMemory, sp: u64) -> Self {
        let (low, high) = thread.known();
        let mut readable = Self {
            low,
            bytes: high.saturating_sub(low),
            thread,
        };
        if sp.wrapping_sub(low) >= readable.bytes {
            readable.enter(sp);
        }
        readable
    }

    /// `sp` is not in the range known to be the own stack: extends that to it, or
    /// begins with the page of `sp` alone.
    #[cold]
    fn enter(&mut self, sp: u64) {
        let page = sp & !(PAGE - 1);
        let (low, high) = self.thread.known();
        (self.low, self.bytes) = (0, 0);
        let (target, end) = if high != 0 { (low, high) } else { anchor(sp) };
        let known_hole = self.thread.hole.get();
        let separated = page <= known_hole && known_hole < target;
        // The same page: a thread that is no deeper than its anchor's.
        if page <= target && target - page <= MAX_STACK && !separated {
            match (page..target)
                .step_by(PAGE as usize)
                .find(|&page| !probe(page))
            {
                None => {
                    self.thread.low.set(page);
                    // A handler's walk must not see the new `high` with the old `low`. The
                    // compiler alone could reorder them: both are this thread's.
                    compiler_fence(Ordering::SeqCst);
                    self.thread.high.set(end);
                    (self.low, self.bytes) = (page, end - page);
                }
                Some(hole) => {
                    self.thread.hole.set(hole);
                    (self.low, self.bytes) = (page, hole - page);
                }
            }
        } else if probe(page) {
            (self.low, self.bytes) = (page, PAGE);
        }
    }

    /// Makes the page of `address` part of the range, if it may be read.
    #[cold]
    fn admit(&mut self, address: u64) -> bool {
        let (low, high) = self.thread.known();
        if low <= address && address < high {
            (self.low, self.bytes) = (low, high - low);
            return true;
        }
        let page = address & !(PAGE - 1);
        if !probe(page) {
            return false;
        }
        if page == self.low.wrapping_add(self.bytes) {
            self.bytes += PAGE;
        } else {
            (self.low, self.bytes) = (page, PAGE);
        }
        true
    }
}

impl Memory for Readable<'_> {
    #[inline(always)]
    fn peek(&self, address: u64) -> Option<u64> {
        // Aligned words do not straddle pages, and ranges are whole pages. Rotation
        // makes a misaligned offset a huge one, so that one comparison refuses both.
        let offset = address.wrapping_sub(self.low);
        if offset.rotate_right(3) >= self.bytes >> 3 {
            return None;
        }
        // SAFETY: aligned, and inside a range of readable pages (module head).
        Some(unsafe { platform::word(address) })
    }

    #[inline(always)]
    fn read(&mut self, address: u64) -> Option<u64> {
        match self.peek(address) {
            Some(word) => Some(word),
            None if address.is_multiple_of(8) && self.admit(address) => self.peek(address),
            None => None,
        }
    }
}

/// The page that is readable for as long as this thread runs, and that the
/// thread's own stack is contiguous with: its first byte, and the next page's.
fn anchor(sp: u64) -> (u64, u64) {
    // SAFETY: takes no argument.
    let process = unsafe { libc::getpid() };
    // SAFETY: `gettid` takes no argument; the others are ignored.
    let thread = unsafe { platform::syscall4(libc::SYS_gettid, 0, 0, 0, 0) };
    let anchor = if i64::from(process) == thread {
        // SAFETY: reads the auxiliary vector, which is there from the start.
        unsafe { libc::getauxval(libc::AT_RANDOM) }
    } else {
        platform::thread_pointer()
    };
    if anchor <= sp {
        return (0, 0);
    }
    let page = anchor & !(PAGE - 1);
    (page, page + PAGE)
}

/// Whether the page at `page` can be read.
pub(crate) fn probe(page: u64) -> bool {
    // Relaxed: the answer is the same whoever finds it first.
    let way = match WAY.load(Ordering::Relaxed) {
        UNKNOWN => choose(),
        way => way,
    };
    way == SIGNAL_MASK && signal_mask(page) == -i64::from(libc::EINVAL)
        || way == AFFINITY && affinity(page) == -i64::from(libc::ESRCH)
}

/// How the kernel is asked. Written once by each thread that finds it unknown, all with the same value.
static WAY: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const SIGNAL_MASK: u8 = 1;
const AFFINITY: u8 = 2;
const NONE: u8 = 3;

/// Emulators and filters need not do as Linux does: asks about a word that can be
/// read and about one that cannot, and takes the way that tells them apart.
#[cold]
fn choose() -> u8 {
    let word = 0_u64;
    let readable = (&raw const word) as u64;
    // The last page of the address space is the kernel's.
    let unreadable = 0_u64.wrapping_sub(PAGE);
    let invalid = -i64::from(libc::EINVAL);
    let missing = -i64::from(libc::ESRCH);
    let way = if signal_mask(readable) == invalid && signal_mask(unreadable) != invalid {
        SIGNAL_MASK
    } else if affinity(readable) == missing && affinity(unreadable) != missing {
        AFFINITY
    } else {
        NONE
    };
    // Relaxed: as in `probe`.
    WAY.store(way, Ordering::Relaxed);
    way
}

fn signal_mask(address: u64) -> i64 {
    // SAFETY: operation -1 does not exist, so no mask is changed; the kernel
    // checks the address itself and returns EFAULT.
    unsafe { platform::syscall4(libc::SYS_rt_sigprocmask, u64::MAX, address, 0, 8) }
}

/// The same question to `sched_setaffinity` about a thread that cannot exist.
fn affinity(address: u64) -> i64 {
    // SAFETY: no thread has the largest id (the kernel's limit is 2^22), so none
    // is changed; the kernel checks the address itself and returns EFAULT.
    unsafe { platform::syscall4(libc::SYS_sched_setaffinity, i32::MAX as u64, 8, address, 0) }
}

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    use super::*;

    #[test]
    fn stack_within_the_anchors_page_is_known_from_the_first_walk_on() {
        let (page, end) = anchor(0);
        let memory = ThreadMemory::new();
        let _ = Readable::new(&memory, page);
        assert_eq!((memory.low.get(), memory.high.get()), (page, end));
    }
}
