//! No signals that we know of.
//!
//! Context: any. Twin of `linux.rs`.

use core::marker::PhantomData;
use core::ops::Range;

use super::Ours;
use crate::stack::Registers;

/// What a signal brought. There is none here.
#[derive(Debug)]
pub struct Arrival<'a> {
    signal: PhantomData<&'a ()>,
}

impl Arrival<'_> {
    /// Why it was sent.
    #[must_use]
    pub fn code(&self) -> i32 {
        0
    }

    /// The process that a queued signal says it is from.
    #[must_use]
    pub fn sender(&self) -> u32 {
        0
    }

    /// What a queued signal or a timer carries.
    #[must_use]
    pub fn value(&self) -> u64 {
        0
    }

    /// Expirations of a timer that came to nothing since the last signal of it.
    #[must_use]
    pub fn overruns(&self) -> u32 {
        0
    }

    /// Where the thread's signal stack is.
    #[must_use]
    pub fn signal_stack(&self) -> Range<u64> {
        0..0
    }

    /// Where the thread was interrupted.
    #[must_use]
    pub fn registers(&self) -> Registers {
        Registers {
            pc: 0,
            sp: 0,
            fp: 0,
            lr: 0,
        }
    }
}

/// Installs nothing.
pub fn install(_signal: i32, _ours: Ours) -> bool {
    false
}

/// Never.
#[must_use]
pub fn is_installed(_signal: i32) -> bool {
    false
}

/// Never.
#[must_use]
pub fn is_default(_signal: i32) -> bool {
    false
}
