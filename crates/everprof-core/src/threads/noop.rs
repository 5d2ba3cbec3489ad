//! Nothing is known about threads.
//!
//! Context: cold. Twin of `linux.rs`.

use std::time::Duration;

use super::dump::{Collected, Dump};
use super::turn::Turn;

#[path = "standing_noop.rs"]
mod standing;

pub use standing::{REACH_BYTES, Standing, StandingThread, WhoAsks};

/// An empty dump that says so.
pub(super) fn collect(_patience: Duration) -> Dump {
    static TURN: Turn<Dump> = Turn::new();
    TURN.share(|| {
        Dump::new(Collected {
            rows: Vec::new(),
            frames: Vec::new(),
            supported: false,
            complete: true,
            unix_nanos: 0,
            duration_nanos: 0,
        })
    })
}

/// Nothing to wait for.
#[derive(Debug)]
#[must_use]
pub struct Exec<'s>(core::marker::PhantomData<&'s ()>);

/// Nobody is asked anything here.
pub(super) fn before_exec() -> Exec<'static> {
    Exec(core::marker::PhantomData)
}
