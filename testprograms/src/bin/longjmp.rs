//! A C caller that leaves Rust's allocating frames by longjmp, again and again:
//! what the recorder left half-done must heal.

use std::cell::UnsafeCell;
use std::ffi::c_int;

#[repr(C, align(16))]
struct JumpBuffer(UnsafeCell<[u8; 512]>);

// SAFETY: only the main thread touches it.
unsafe impl Sync for JumpBuffer {}

unsafe extern "C" {
    fn longjmp(buffer: *mut [u8; 512], value: c_int) -> !;
}

static BUFFER: JumpBuffer = JumpBuffer(UnsafeCell::new([0; 512]));

extern "C" fn leave() {
    let kept = vec![1u8; 700];
    // What is jumped over is leaked on purpose; a frame with a destructor must
    // not be skipped.
    std::mem::forget(kept);
    // SAFETY: BUFFER was filled by `set` below, whose frame is still there.
    unsafe { longjmp(BUFFER.0.get(), 1) }
}

// `setjmp` returns twice, which Rust code must not see: this frame is ours.
// `rbx` or `x19` keeps nothing across the call, so the second return is alike.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".globl everprof_try_leave",
    "everprof_try_leave:",
    ".cfi_startproc",
    "push rbp",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset rbp, -16",
    "mov rbp, rsp",
    ".cfi_def_cfa_register rbp",
    "push rsi",
    "push rsi",
    "call {setjmp}@PLT",
    "test eax, eax",
    "jne 2f",
    "call [rsp]",
    "2:",
    "leave",
    ".cfi_def_cfa rsp, 8",
    "ret",
    ".cfi_endproc",
    setjmp = sym setjmp,
);
#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".globl everprof_try_leave",
    "everprof_try_leave:",
    ".cfi_startproc",
    "stp x29, x30, [sp, #-32]!",
    ".cfi_def_cfa_offset 32",
    ".cfi_offset x29, -32",
    ".cfi_offset x30, -24",
    "mov x29, sp",
    "str x1, [sp, #16]",
    "bl {setjmp}",
    "cbnz w0, 2f",
    "ldr x1, [sp, #16]",
    "blr x1",
    "2:",
    "ldp x29, x30, [sp], #32",
    "ret",
    ".cfi_endproc",
    setjmp = sym setjmp,
);

unsafe extern "C" {
    #[link_name = "_setjmp"]
    fn setjmp(buffer: *mut [u8; 512]) -> c_int;
    fn everprof_try_leave(buffer: *mut [u8; 512], callback: extern "C" fn());
}

fn main() {
    for round in 0..20_000 {
        // SAFETY: `leave` jumps back into this very call, before it returns.
        unsafe { everprof_try_leave(BUFFER.0.get(), leave) };
        if round % 64 == 0 {
            testprograms::churn(round, 50, 20);
        }
    }
    testprograms::ok();
}
