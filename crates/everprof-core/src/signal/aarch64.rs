//! The registers in a signal's context, aarch64.
//!
//! Context: signal. Twin of `x86_64.rs`.

use crate::stack::Registers;

pub(super) fn registers(context: &libc::ucontext_t) -> Registers {
    let machine = &context.uc_mcontext;
    // x29 and x30 are the frame pointer and the link register (AAPCS64).
    let [.., fp, lr] = machine.regs;
    Registers {
        pc: machine.pc,
        sp: machine.sp,
        fp,
        lr,
    }
}
