//! Walks on stacks that are small, switched, unmapped since, or not stacks at all.

#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![allow(clippy::unwrap_used)]

mod oracle;

use std::ffi::c_void;
use std::hint::black_box;
use std::thread;

use everprof_core::stack::{
    Captured, Registers, StackEnd, ThreadMemory, capture, depth_limit, set_depth_limit,
};
use oracle::ours;
use proptest::prelude::*;

#[inline(never)]
fn recurse<T>(depth: usize, leaf: &mut dyn FnMut() -> T) -> T {
    let mut room = [0_u8; 32];
    black_box(&mut room);
    let result = if depth == 0 {
        leaf()
    } else {
        recurse(depth - 1, leaf)
    };
    black_box(&mut room);
    result
}

#[test]
fn small_thread_stacks_are_walked() {
    // AddressSanitizer keeps room around every variable.
    let times = if cfg!(everprof_sanitizer = "address") {
        8
    } else {
        1
    };
    for kibibytes in [16, 32, 64].map(|kibibytes| kibibytes * times) {
        let thread = thread::Builder::new().stack_size(kibibytes << 10);
        let captured = thread
            .spawn(|| {
                recurse(10, &mut || {
                    let mut out = [0; 128];
                    ours(&mut out)
                })
            })
            .unwrap()
            .join()
            .unwrap();
        assert!(captured.depth > 10);
        assert_eq!(captured.end, StackEnd::Root);
    }
}

#[test]
fn deep_stacks_are_walked_to_the_limit_that_is_set() {
    // The only test here that depends on the limit: others stay below 128.
    assert_eq!(depth_limit(), 128);
    let walk = |depth: usize| {
        let mut out = vec![0; 2000];
        recurse(depth, &mut || ours(&mut out))
    };
    assert_eq!(
        walk(1500),
        Captured {
            depth: 128,
            end: StackEnd::Truncated
        }
    );
    set_depth_limit(1000);
    assert_eq!(
        walk(1500),
        Captured {
            depth: 1000,
            end: StackEnd::Truncated
        }
    );
    assert_eq!(walk(600).end, StackEnd::Root);
    set_depth_limit(5000);
    assert_eq!(walk(1500).depth, 1024);
    set_depth_limit(0);
    assert_eq!(
        walk(3),
        Captured {
            depth: 1,
            end: StackEnd::Truncated
        }
    );
    set_depth_limit(128);
}

/// Anonymous memory, unmapped when dropped.
struct Mapping {
    start: *mut c_void,
    bytes: usize,
}

impl Mapping {
    fn new(at: usize, bytes: usize) -> Self {
        let fixed = if at == 0 {
            0
        } else {
            libc::MAP_FIXED_NOREPLACE
        };
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: replaces no mapping.
        let start = unsafe { libc::mmap(at as *mut c_void, bytes, access, kind | fixed, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        Self { start, bytes }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`.
        unsafe { libc::munmap(self.start, self.bytes) };
    }
}

/// `makecontext` is glibc's. The sanitizers keep account of each thread's stack, and
/// lose it where one is exchanged without their being told.
#[cfg(all(
    target_env = "gnu",
    not(any(everprof_sanitizer = "address", everprof_sanitizer = "thread"))
))]
mod coroutine {
    use std::{mem, ptr};

    use super::oracle::{assert_same_stack, both};
    use super::*;

    /// Runs `work` on another stack, as coroutines do.
    fn on_stack<T>(stack: &Mapping, work: impl FnOnce() -> T) -> T {
        struct Job<T, F> {
            work: Option<F>,
            result: Option<T>,
            back: libc::ucontext_t,
            there: libc::ucontext_t,
        }
        extern "C" fn enter<T, F: FnOnce() -> T>(high: libc::c_uint, low: libc::c_uint) {
            let job = ((high as usize) << 32 | low as usize) as *mut Job<T, F>;
            // SAFETY: `on_stack` waits for this one and touches nothing meanwhile.
            let job = unsafe { &mut *job };
            job.result = job.work.take().map(|work| work());
            // SAFETY: saved by the swap that came here.
            unsafe { libc::setcontext(&raw const job.back) };
        }
        type Enter = extern "C" fn(libc::c_uint, libc::c_uint);
        fn entry<T, F: FnOnce() -> T>(_: &F) -> Enter {
            enter::<T, F>
        }
        let enter = entry::<T, _>(&work);
        // SAFETY: all bits zero is a valid, empty context.
        let [back, there] = unsafe { mem::zeroed() };
        let mut job = Box::new(Job {
            work: Some(work),
            result: None,
            back,
            there,
        });
        let address = (&raw mut *job) as usize;
        // SAFETY: fills the context.
        unsafe { libc::getcontext(&raw mut job.there) };
        job.there.uc_stack.ss_sp = stack.start;
        job.there.uc_stack.ss_size = stack.bytes;
        job.there.uc_link = ptr::null_mut();
        // SAFETY: makecontext takes any function of integers.
        let enter = unsafe { mem::transmute::<Enter, extern "C" fn()>(enter) };
        let (high, low) = ((address >> 32) as libc::c_uint, address as libc::c_uint);
        // SAFETY: a filled context with a stack; two arguments.
        unsafe { libc::makecontext(&raw mut job.there, enter, 2, high, low) };
        // SAFETY: comes back by the setcontext above.
        unsafe { libc::swapcontext(&raw mut job.back, &raw const job.there) };
        job.result.take().unwrap()
    }

    /// glibc says on x86_64 that `__start_context` has no caller. On aarch64 its
    /// rules for `__startcontext` say instead that the return address is still in
    /// its register and the stack as deep as before: a frame that calls itself.
    const COROUTINE_END: StackEnd = if cfg!(target_arch = "aarch64") {
        StackEnd::Malformed
    } else {
        StackEnd::Root
    };

    #[test]
    fn a_coroutine_is_walked_to_its_own_root() {
        for bytes in [16 << 10, 64 << 10, 1 << 20] {
            let stack = Mapping::new(0, bytes);
            for depth in [1, 30, 5] {
                let captured = on_stack(&stack, || recurse(depth, &mut || ours(&mut [0; 128])));
                assert!(captured.depth > depth);
                assert!(captured.depth < depth + 30);
                assert_eq!(captured.end, COROUTINE_END);
            }
            // Back on the thread's own.
            assert_same_stack(&both());
        }
    }

    /// Taken away by its protection: what is unmapped may be another test's stack at once.
    #[test]
    fn what_was_a_coroutines_stack_is_not_read_once_it_is_taken_away() {
        const KEPT: usize = 16 << 10;
        let memory = ThreadMemory::new();
        let walk = |registers: &Registers| capture(registers, &memory, &mut [0; 128], &(0..0));
        let large = Mapping::new(0, 256 << 10);
        let place = large.start as usize;
        on_stack(&large, || recurse(40, &mut || walk(&Registers::here())));
        let nothing_there = Mapping::new(0, 4096);
        let taken = large.start.wrapping_byte_add(KEPT);
        // SAFETY: our own pages; the coroutine that ran there has ended.
        let status = unsafe { libc::mprotect(taken, large.bytes - KEPT, libc::PROT_NONE) };
        assert_eq!(status, 0);
        let small = mem::ManuallyDrop::new(Mapping {
            start: large.start,
            bytes: KEPT,
        });
        let captured = on_stack(&small, || {
            let mut registers = Registers::here();
            // Code that no table covers, so that the frame pointer is asked.
            registers.pc = nothing_there.start as u64;
            registers.fp = place as u64 + (255 << 10);
            walk(&registers)
        });
        assert_eq!(captured.end, StackEnd::NotCovered);
    }
}

#[test]
fn guard_pages_end_a_walk() {
    let memory = ThreadMemory::new();
    let pages = Mapping::new(0, 8192);
    let top = pages.start as u64 + 4096;
    // SAFETY: our own second page.
    unsafe { libc::mprotect(top as *mut c_void, 4096, libc::PROT_NONE) };
    let code = guard_pages_end_a_walk as *const () as u64;
    for fp in [top - 8, top - 16, top, top + 4088] {
        let registers = Registers {
            pc: code,
            sp: top - 64,
            fp,
            lr: 0,
        };
        let captured = capture(&registers, &memory, &mut [0; 128], &(0..0));
        assert!(captured.depth >= 1);
        assert_ne!(captured.end, StackEnd::Truncated);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// No registers make a walk fault. Places: near this stack, in this program's
    /// code and data, at the edges, anywhere.
    #[test]
    fn garbage_registers_never_fault(
        pc in place(), sp in place(), fp in place(), lr in place(), shared in any::<bool>()
    ) {
        thread_local! {
            static SHARED: ThreadMemory = const { ThreadMemory::new() };
        }
        let registers = Registers { pc, sp, fp, lr };
        let mut out = [0; 64];
        let fresh = ThreadMemory::new();
        let captured = if shared {
            SHARED.with(|memory| capture(&registers, memory, &mut out, &(0..0)))
        } else {
            capture(&registers, &fresh, &mut out, &(0..0))
        };
        prop_assert!(captured.depth <= 64);
    }
}

fn place() -> impl Strategy<Value = u64> {
    let near = |address: u64, reach: i64| {
        (-reach..reach).prop_map(move |by| address.wrapping_add_signed(by * 8))
    };
    let local = 0_u64;
    prop_oneof![
        near((&raw const local) as u64, 4096),
        near((&raw const local) as u64, 1 << 24),
        near(garbage_registers_never_fault as *const () as u64, 1 << 16),
        near(libc::qsort as *const () as u64, 1 << 16).prop_map(|address| address + 3),
        near(DATA.as_ptr() as u64, 1 << 10),
        0..64_u64,
        (u64::MAX - 4096)..=u64::MAX,
        any::<u64>(),
    ]
}

static DATA: [u64; 64] = [7; 64];
