//! Interposition: C functions in which programs wait, defined here in place of the C library's.
//!
//! Context: signal. Each function here may be called before any initialiser, in a
//! handler, in a child of `fork` or `vfork`, while a thread ends, and by other
//! people's C code. So nothing is set up, allocated or locked, and no state is kept but
//! addresses of functions and hints, for which zero is a good first value.
//!
//! Invariant: the caller cannot tell. Arguments reach the displaced function or the
//! kernel as they came, its result and `errno` come back as they are, once, at the end.
//! No function here catches or stops an unwinder and none has anything to destroy, so
//! that a thread may be cancelled in it. A wait that ends that way is never told to have
//! ended: [`waits`](crate::waits) takes a thread's place back when it finds its
//! frame gone.
//!
//! ```text
//!  std, parking_lot, …               the program, C                    C, run under the agent
//!        │ syscall(SYS_futex, …)           │ pthread_join, poll, …           │ pthread_mutex_lock, …
//!        ▼                                 ▼                                 ▼
//!  platform: is it SYS_futex?       displaced: does `waits` want     displaced/locks: try; is it
//!        │ no         │ yes         this kind?                       busy, or does somebody wait?
//!        │            ▼                │ no        │ yes                 │ no        │ yes
//!        │      futex: which           │           ▼                     │           ▼
//!        │      operation? ───────────────────▶ waits::around, wake, requeued ◀─────┘
//!        ▼            ▼                ▼           ▼                     ▼
//!       kernel      kernel            next definition in the loader's order (displaced/next)
//! ```
//!
//! What is there depends on what can be: `syscall` and `sched_yield` go to the kernel by
//! themselves and are everywhere; the rest need a next definition, and so a loader
//! (none of them exist in a static program); C's locks are for the agent only, as Rust
//! programs do not use them.
//!
//! Source: the `syscall` symbol as the one door that std and parking_lot share was found
//! by looking at what they call; putting a definition before the C library's is as old as
//! `LD_PRELOAD`.

mod errno;
mod futex;
mod yields;

#[cfg_attr(target_arch = "x86_64", path = "interpose/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "interpose/aarch64.rs")]
mod platform;

#[cfg(not(target_feature = "crt-static"))]
mod displaced;
