//! Walks out of signal handlers: through the trampoline, from signal stacks, at
//! any instruction, in the middle of another walk.

// musl's own code, which handlers interrupt here, has no tables.
#![cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![allow(clippy::unwrap_used)]

mod oracle;

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::hint::black_box;
use std::{mem, ptr};

use everprof_core::stack::StackEnd;
use oracle::{Stacks, assert_same_stack, both, ours};

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::ucontext_t);

fn handle(signal: c_int, handler: Handler, flags: c_int) {
    // SAFETY: all bits zero is an empty action.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = flags | libc::SA_SIGINFO;
    // SAFETY: a handler that stays for the rest of the process.
    let failed = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    assert_eq!(failed, 0);
}

/// Does `work` on a thread with a signal stack of so many bytes; how many of them
/// were written.
fn with_signal_stack(bytes: usize, work: impl FnOnce()) -> usize {
    let mut memory = vec![UNUSED; bytes];
    let stack = libc::stack_t {
        ss_sp: memory.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: bytes,
    };
    // SAFETY: all bits zero is a valid stack_t.
    let mut before: libc::stack_t = unsafe { mem::zeroed() };
    // SAFETY: memory that lives until it is replaced below.
    let failed = unsafe { libc::sigaltstack(&raw const stack, &raw mut before) };
    assert_eq!(failed, 0);
    work();
    // SAFETY: what the thread had; no handler runs on ours.
    let failed = unsafe { libc::sigaltstack(&raw const before, ptr::null_mut()) };
    assert_eq!(failed, 0);
    memory
        .iter()
        .position(|byte| *byte != UNUSED)
        .map_or(0, |at| bytes - at)
}

const UNUSED: u8 = 0xa5;

#[inline(never)]
fn raise_within(depth: usize, signal: c_int) -> usize {
    let mut room = [0_u8; 100];
    black_box(&mut room);
    let result = if depth == 0 {
        // SAFETY: the signal is handled.
        unsafe { libc::raise(signal) as usize }
    } else {
        raise_within(depth - 1, signal)
    };
    black_box(&mut room);
    result + 1
}

thread_local! {
    static STACKS: RefCell<Option<Stacks>> = const { RefCell::new(None) };
}

extern "C" fn walk_both_ways(
    _signal: c_int,
    _info: *mut libc::siginfo_t,
    _context: *mut libc::ucontext_t,
) {
    STACKS.set(Some(both()));
}

#[test]
fn a_handler_is_walked_into_what_it_interrupted() {
    handle(libc::SIGUSR1, walk_both_ways, 0);
    for depth in [0, 5, 40] {
        raise_within(depth, libc::SIGUSR1);
        let stacks = STACKS.take().unwrap();
        assert!(stacks.ours.len() > depth + 3);
        assert_same_stack(&stacks);
    }
}

#[test]
fn a_handler_on_its_own_stack_is_walked_onto_the_threads() {
    handle(libc::SIGUSR2, walk_both_ways, libc::SA_ONSTACK);
    with_signal_stack(512 << 10, || {
        for depth in [0, 5, 40] {
            raise_within(depth, libc::SIGUSR2);
            assert_same_stack(&STACKS.take().unwrap());
        }
    });
}

thread_local! {
    static DEPTH: Cell<(usize, Option<StackEnd>)> = const { Cell::new((0, None)) };
}

extern "C" fn walk_in_little_room(
    _signal: c_int,
    _info: *mut libc::siginfo_t,
    _context: *mut libc::ucontext_t,
) {
    let mut out = [0; 128];
    let captured = ours(&mut out);
    DEPTH.set((captured.depth, Some(captured.end)));
}

extern "C" fn do_nothing(
    _signal: c_int,
    _info: *mut libc::siginfo_t,
    _context: *mut libc::ucontext_t,
) {
}

#[test]
fn a_walk_needs_little_stack() {
    let used = |handler| {
        handle(libc::SIGWINCH, handler, libc::SA_ONSTACK);
        with_signal_stack(512 << 10, || _ = raise_within(20, libc::SIGWINCH))
    };
    let bytes = used(walk_in_little_room) - used(do_nothing) - 128 * 8;
    let (depth, end) = DEPTH.get();
    assert!(depth > 20);
    assert_eq!(end, Some(StackEnd::Root));
    println!("{bytes} bytes");
    // std gives its threads signal stacks of 8 KiB, of which the kernel takes 3 for
    // vector registers. Unoptimised code keeps a copy of everything.
    let limit = if cfg!(debug_assertions) {
        16 << 10
    } else {
        2 << 10
    };
    assert!(bytes < limit, "{bytes}");
}

/// Walks of an interrupted thread at every instruction of what it does. Under
/// ThreadSanitizer these would be instructions of its own run-time library,
/// which cannot be called from a handler that interrupts it.
#[cfg(all(target_arch = "x86_64", not(everprof_sanitizer = "thread")))]
mod step {
    use everprof_core::stack::{Registers, ThreadMemory, capture};

    use super::oracle::library::{Library, build};
    use super::*;

    thread_local! {
        /// What is done at a trap on this thread.
        static ON_TRAP: Cell<Option<Handler>> = const { Cell::new(None) };
        /// The next trap is the last.
        static STOP: Cell<bool> = const { Cell::new(false) };
        static STEPS: Cell<usize> = const { Cell::new(0) };
        static ROOTS: Cell<usize> = const { Cell::new(0) };
        static WRONG: RefCell<Option<Stacks>> = const { RefCell::new(None) };
    }

    extern "C" fn compare(
        _signal: c_int,
        _info: *mut libc::siginfo_t,
        context: *mut libc::ucontext_t,
    ) {
        if STOP.get() {
            // SAFETY: the context that the kernel passed.
            return trap_no_more(unsafe { &mut *context });
        }
        let stacks = both();
        assert_same_from_context(&stacks, context);
        STEPS.set(STEPS.get() + 1);
        ROOTS.set(ROOTS.get() + usize::from(stacks.end == StackEnd::Root));
        // Where one of the two knows no way on, nothing can be compared.
        if stacks.end == StackEnd::Root && stacks.truth.len() > 8 {
            let common = stacks.ours.len().min(stacks.truth.len()).saturating_sub(4);
            if !stacks
                .truth
                .ends_with(&stacks.ours[stacks.ours.len() - common..])
            {
                WRONG.with_borrow_mut(|wrong| _ = wrong.get_or_insert(stacks));
            }
        }
    }

    fn trap_no_more(context: &mut libc::ucontext_t) {
        const TRAP_FLAG: libc::greg_t = 0x100;
        context.uc_mcontext.gregs[libc::REG_EFL as usize] &= !TRAP_FLAG;
    }

    /// What begins at the interrupted instruction is what the walk through the handler's
    /// own frame comes to, from there on.
    fn assert_same_from_context(stacks: &Stacks, context: *const libc::ucontext_t) {
        // SAFETY: the context that the kernel passed.
        let general = unsafe { &(*context).uc_mcontext.gregs };
        let [pc, sp, fp] = [libc::REG_RIP, libc::REG_RSP, libc::REG_RBP]
            .map(|register| general[register as usize] as u64);
        let mut out = [0; 512];
        let registers = Registers { pc, sp, fp, lr: 0 };
        let captured = capture(&registers, &ThreadMemory::new(), &mut out, &(0..0));
        let interrupted = &out[..captured.depth];
        if captured.end != stacks.end
            || interrupted.first() != Some(&(pc + 1))
            || !stacks.ours.ends_with(interrupted)
        {
            WRONG.with_borrow_mut(|wrong| _ = wrong.get_or_insert(*stacks));
        }
    }

    /// Runs `work` with a trap after each instruction; how many there were, and
    /// at how many the walk came to the root.
    fn every_instruction(work: impl FnOnce()) -> (usize, usize) {
        STEPS.set(0);
        ROOTS.set(0);
        trapping(compare, work);
        if let Some(wrong) = WRONG.take() {
            panic!("{:#x?}, not {:#x?}", &*wrong.ours, &*wrong.truth);
        }
        (STEPS.get(), ROOTS.get())
    }

    /// Runs `work` with a trap after each instruction, until `handler` wants no more.
    fn trapping(handler: Handler, work: impl FnOnce()) {
        handle(libc::SIGTRAP, trapped, 0);
        ON_TRAP.set(Some(handler));
        STOP.set(false);
        // SAFETY: sets the trap flag; the handler is in place. The red zone is kept.
        unsafe {
            std::arch::asm!(
                "sub rsp, 128",
                "pushfq",
                "or qword ptr [rsp], 0x100",
                "popfq",
                "add rsp, 128"
            );
        }
        work();
        STOP.set(true);
    }

    /// Tests run at the same time, and all have this one.
    extern "C" fn trapped(
        signal: c_int,
        info: *mut libc::siginfo_t,
        context: *mut libc::ucontext_t,
    ) {
        if let Some(handler) = ON_TRAP.get() {
            handler(signal, info, context);
        }
    }

    #[test]
    fn prologues_and_epilogues_of_c_are_walked_at_every_instruction() {
        let library = Library::open(&build("step", 0, &[]));
        let work = library.work();
        // SAFETY: plain computation.
        unsafe { work(1) };
        // SAFETY: as above.
        let (steps, roots) = every_instruction(|| _ = black_box(unsafe { work(3) }));
        assert!(steps > 30, "{steps}");
        assert_eq!(roots, steps);
    }

    #[test]
    fn allocation_and_formatting_are_walked_at_every_instruction() {
        let work = || _ = black_box((0..3).map(|n| format!("{n}-{}", n * 7)).collect::<Vec<_>>());
        work();
        let (steps, roots) = every_instruction(work);
        assert!(steps > 1000, "{steps}");
        // The linkage table's entries are not followed: three instructions each.
        assert!(roots * 100 > steps * 97, "{roots} of {steps}");
    }

    thread_local! {
        /// The memory of a thread that has not walked, and in how many instructions a handler does.
        static FIRST: Cell<(*const ThreadMemory, usize)> = const { Cell::new((ptr::null(), 0)) };
    }

    /// The handler's walk is the first one, if none of another asks the kernel before.
    extern "C" fn walk_first(
        _signal: c_int,
        _info: *mut libc::siginfo_t,
        context: *mut libc::ucontext_t,
    ) {
        const SYSCALL: [u8; 2] = [0x0f, 0x05];
        // SAFETY: the context that the kernel passed.
        let context = unsafe { &mut *context };
        let pc = context.uc_mcontext.gregs[libc::REG_RIP as usize] as *const [u8; 2];
        let (memory, left) = FIRST.get();
        // SAFETY: an instruction stands there, and more code behind it.
        if STOP.get() || unsafe { pc.read() } == SYSCALL {
            return trap_no_more(context);
        }
        FIRST.set((memory, left - 1));
        if left == 1 {
            // SAFETY: the test's, which waits for its walk.
            let memory = unsafe { &*memory };
            let _ = capture(&Registers::here(), memory, &mut [0; 128], &(0..0));
            trap_no_more(context);
        }
    }

    /// What tells where a thread's stack is are two words: one of before that walk and one of
    /// behind it would say that all memory up to there is the stack.
    #[test]
    fn a_walk_interrupted_by_the_threads_first_one_reads_nothing_that_is_not_known() {
        let mut interrupted = 0;
        loop {
            let memory = ThreadMemory::new();
            // Nothing can be read there, and whether there is code is asked.
            let registers = Registers {
                pc: 0x2000,
                fp: 0,
                ..Registers::here()
            };
            let mut out = [0; 8];
            let mut depth = 0;
            FIRST.set((&raw const memory, interrupted + 1));
            trapping(walk_first, || {
                depth = capture(&registers, &memory, &mut out, &(0..0)).depth;
            });
            assert_eq!(out[..depth], [registers.pc + 1]);
            if FIRST.get().1 != 0 {
                break;
            }
            interrupted += 1;
        }
        assert!(interrupted > 20, "{interrupted}");
    }

    #[test]
    fn a_walk_interrupted_by_a_walk_stays_right() {
        let memory = ThreadMemory::new();
        let mut first = [0; 128];
        let mut second = [0; 128];
        let mut lengths = [0; 2];
        for _ in 0..2 {
            // The same call twice, the second time with traps: it is not disturbed.
            let walk =
                |out: &mut [u64; 128]| capture(&Registers::here(), &memory, out, &(0..0)).depth;
            lengths[0] = walk(&mut first);
            let (steps, roots) = every_instruction(|| lengths[1] = walk(&mut second));
            assert!(steps > 200, "{steps}");
            assert!(roots * 100 > steps * 97, "{roots} of {steps}");
        }
        // Outside of this function they are the same.
        let outer = lengths[0] - 2;
        assert!(outer > 5);
        assert_eq!(first[2..lengths[0]], second[lengths[1] - outer..lengths[1]]);
    }
}
