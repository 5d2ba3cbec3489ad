//! The library that `everprof run` preloads into a program.
//!
//! It defines the C allocation functions, so that the program's calls come
//! here instead of to the C library, and passes each one on to the definition
//! that it displaced. One call in many is also recorded.
//!
//! The way of a program through this crate:
//!
//! 1. The loader calls `start` before any other initialiser. No settings in
//!    the environment: the library stays dormant for good. Otherwise it makes
//!    the recorder's shared memory, hands a descriptor of it to the command
//!    line through [`announce`], and takes its own variables out of the
//!    environment ([`environment`]), so that the program sees what its user
//!    gave it.
//! 2. [`malloc`] counts bytes and records samples; [`real`] holds what it
//!    displaced.
//! 3. [`libc_main`] starts the endpoint ([`serve`]), once the C library is ready.
//! 4. [`exec`] puts the variables back when this very process replaces itself,
//!    [`fork`] keeps a child from writing to its parent's memory, and [`last`] ends a process
//!    that has no thread left but ours.
//!
//! Nothing is written at exit. The tables live in memory that the command line
//! holds open, so `_exit`, a fatal signal and SIGKILL lose nothing.
//!
//! Everything here may run before any constructor, in a signal handler or
//! while a thread ends.
//!
//! Context: named by each module. Invariant: every static is valid when all its
//! bytes are zero.

mod announce;
mod environment;
mod errno;
mod exec;
mod fork;
mod last;
mod libc_main;
mod malloc;
mod own_alloc;
mod real;
mod recorder;
mod serve;
mod settings;
mod start;
