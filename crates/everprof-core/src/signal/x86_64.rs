//! The registers in a signal's context, x86_64.
//!
//! Context: signal. Twin of `aarch64.rs`.

use crate::stack::Registers;

pub(super) fn registers(context: &libc::ucontext_t) -> Registers {
    let general = &context.uc_mcontext.gregs;
    let [pc, sp, fp] = [libc::REG_RIP, libc::REG_RSP, libc::REG_RBP]
        .map(|register| general.get(register as usize).copied().unwrap_or(0) as u64);
    Registers { pc, sp, fp, lr: 0 }
}
