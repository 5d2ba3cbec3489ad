//! The truth to compare a walk with: the unwinder that exceptions use.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::ffi::{c_int, c_void};

use everprof_core::stack::{Captured, Registers, StackEnd, ThreadMemory, capture};

/// A stack of at most so many entries. Nothing here allocates: it runs in handlers
/// that interrupt the allocator.
#[derive(Clone, Copy)]
pub struct Stack {
    entries: [u64; 512],
    depth: usize,
}

impl std::ops::Deref for Stack {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.entries[..self.depth]
    }
}

/// One stack, walked twice.
#[derive(Clone, Copy)]
pub struct Stacks {
    pub ours: Stack,
    pub end: StackEnd,
    pub truth: Stack,
}

/// As a program's start does; where the loader cannot be asked, walks rest on it.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = {
    extern "C" fn start() {
        everprof_core::modules::refresh();
    }
    start
};

thread_local! {
    static MEMORY: ThreadMemory = const { ThreadMemory::new() };
}

/// Our walk, with this thread's memory.
#[inline(always)]
pub fn ours(out: &mut [u64]) -> Captured {
    let registers = Registers::here();
    MEMORY.with(|memory| capture(&registers, memory, out, &(0..0)))
}

/// Walks this very stack both ways.
#[inline(never)]
pub fn both() -> Stacks {
    let mut entries = [0_u64; 512];
    let captured = ours(&mut entries);
    let depth = captured.depth;
    Stacks {
        ours: Stack { entries, depth },
        end: captured.end,
        truth: truth(),
    }
}

/// Return addresses by `_Unwind_Backtrace`, this function's caller first.
#[inline(never)]
pub fn truth() -> Stack {
    let mut found = Stack {
        entries: [0; 512],
        depth: 0,
    };
    // SAFETY: the callback gets the stack that it expects.
    unsafe { _Unwind_Backtrace(visit, (&raw mut found).cast()) };
    while found.last() == Some(&0) {
        found.depth -= 1;
    }
    found
}

unsafe extern "C" fn visit(context: *mut c_void, found: *mut c_void) -> c_int {
    // SAFETY: `truth` passes its stack.
    let found = unsafe { &mut *found.cast::<Stack>() };
    let mut exact = 0;
    // SAFETY: the unwinder's own context.
    let pc = unsafe { _Unwind_GetIPInfo(context, &raw mut exact) } as u64;
    if let Some(place) = found.entries.get_mut(found.depth) {
        // Interrupted frames stand in our stacks as one more than their pc.
        *place = if pc == 0 {
            0
        } else {
            pc + u64::from(exact != 0)
        };
        found.depth += 1;
    }
    0
}

/// Same frames outside of the two walks, and both to the same root.
#[track_caller]
pub fn assert_same_stack(stacks: &Stacks) {
    assert_eq!(stacks.end, StackEnd::Root);
    assert!(stacks.ours.len() > 4);
    // Ours begins in `both`, the truth in `truth`, called from there. From the
    // caller of `both` on, they must not differ.
    let outer = &stacks.ours[1..];
    let truth = &stacks.truth;
    let at = truth
        .iter()
        .position(|pc| *pc == outer[0])
        .expect("the caller is in both");
    let truth = &truth[at..];
    // LLVM's unwinder, which musl builds have, stops at code of musl's own, which has
    // no tables. Ours goes on by the frame pointer.
    let common = if cfg!(target_env = "gnu") {
        outer.len()
    } else {
        truth.len()
    };
    assert_eq!(hex(&outer[..common]), hex(truth));
}

fn hex(stack: &[u64]) -> Vec<String> {
    stack.iter().map(|pc| format!("{pc:#x}")).collect()
}

unsafe extern "C" {
    fn _Unwind_Backtrace(
        visit: unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        data: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIPInfo(context: *mut c_void, exact: *mut c_int) -> usize;
}

/// Builds `library.c` and loads it.
pub mod library {
    use std::ffi::{CString, c_int, c_uint, c_void};
    use std::path::{Path, PathBuf};
    use std::process::Command;

    pub type Leaf = unsafe extern "C" fn(*mut c_void);
    pub type Nest = unsafe extern "C" fn(c_int, Leaf, *mut c_void) -> c_int;
    pub type Work = unsafe extern "C" fn(c_uint) -> c_uint;

    /// A shared library of its own for each `name`, with frames `pad` bytes larger.
    pub fn build(name: &str, pad: usize, flags: &[&str]) -> PathBuf {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/library.c");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("lib{name}-{}.so", std::process::id()));
        let compiler = if cfg!(all(target_arch = "aarch64", not(target_env = "musl")))
            && cfg!(target_os = "linux")
        {
            std::env::var("CC_aarch64_unknown_linux_gnu").unwrap_or_else(|_| "cc".into())
        } else {
            "cc".into()
        };
        let status = Command::new(compiler)
            .args([
                "-O2",
                "-fomit-frame-pointer",
                "-fno-optimize-sibling-calls",
                "-shared",
                "-fPIC",
                "-Wl,--build-id",
            ])
            .args(flags)
            .arg(format!("-DPAD={pad}"))
            .arg(here)
            .arg("-o")
            .arg(&path)
            .status()
            .expect("a C compiler");
        assert!(status.success());
        path
    }

    /// A loaded library; closed when dropped.
    pub struct Library(*mut c_void);

    impl Library {
        pub fn open(path: &Path) -> Self {
            let name = CString::new(path.to_str().unwrap()).unwrap();
            // SAFETY: a library without initialisers.
            let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
            assert!(!handle.is_null());
            Self(handle)
        }

        pub fn nest(&self, name: &str) -> Nest {
            // SAFETY: `deep` and `realigned` have this type.
            unsafe { std::mem::transmute::<*mut c_void, Nest>(self.symbol(name)) }
        }

        pub fn work(&self) -> Work {
            // SAFETY: `work` has this type.
            unsafe { std::mem::transmute::<*mut c_void, Work>(self.symbol("work")) }
        }

        fn symbol(&self, name: &str) -> *mut c_void {
            let name = CString::new(name).unwrap();
            // SAFETY: an open library.
            let symbol = unsafe { libc::dlsym(self.0, name.as_ptr()) };
            assert!(!symbol.is_null());
            symbol
        }
    }

    impl Drop for Library {
        fn drop(&mut self) {
            // SAFETY: opened by `open`; nothing of it is on the stack any more.
            unsafe { libc::dlclose(self.0) };
        }
    }
}
