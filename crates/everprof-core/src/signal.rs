//! Signals of ours in a program that has its own.
//!
//! Context: cold to install, signal in [`Ours`] and [`Arrival`].
//! Invariant: a handler that the program had before gets every signal that is not
//! ours, as it would without us; `errno` is as before when ours is done.
//!
//! ```text
//! kernel ─→ entry ─→ ours(&Arrival) ── true ──────────────────────────→ return
//!                        └─ false ─→ before: handler      → called
//!                                            SIG_IGN      → return
//!                                            SIG_DFL      → restored, raised again
//! ```
//!
//! Flags. SA_RESTART: what can go on after a signal goes on; what cannot is told in
//! docs/threads.md. No SA_ONSTACK of our own: std's signal stacks are 8 KiB, of which
//! the kernel takes 3 for vector registers (11 with AMX), while a thread's own stack
//! has room, as the interrupted function could have called another. Where the
//! program's handler asked for its signal stack, it keeps it. Its mask is kept as well.
//!
//! What is not as it would be without us: a handler that the program installed
//! without SA_RESTART has it now. Whoever replaces our handler without calling it takes
//! the signal from us ([`is_installed`] tells), and we do not take it back.
//!
//! Source: the chain is what Go's runtime does for handlers of C code
//! (`sigfwdgo`, runtime/signal_unix.go).

#[cfg_attr(
    all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64"),
        not(miri)
    ),
    path = "signal/linux.rs"
)]
#[cfg_attr(
    not(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64"),
        not(miri)
    )),
    path = "signal/noop.rs"
)]
mod backend;
pub use backend::{Arrival, install, is_default, is_installed};

/// What we do with a signal; false if it is not ours. Must neither panic, allocate
/// nor lock; it may change `errno`.
pub type Ours = fn(&Arrival<'_>) -> bool;
