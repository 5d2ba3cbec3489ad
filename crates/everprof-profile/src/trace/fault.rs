//! Fault: what is wrong with a trace's bytes.
//!
//! Context: cold. Invariant: it becomes part of an [`Ending`](super::Ending); what was read
//! before it stays read.

use std::borrow::Cow;

use crate::wire;

/// What is wrong, in words that follow "at byte N: ".
///
/// One word wide, as it stands in the result of each number that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault(Box<Cow<'static, str>>);

impl Fault {
    pub(crate) fn new(words: impl Into<Cow<'static, str>>) -> Fault {
        Fault(Box::new(words.into()))
    }

    /// The words.
    pub(crate) fn words(&self) -> &str {
        &self.0
    }
}

impl From<wire::Fault> for Fault {
    fn from(fault: wire::Fault) -> Fault {
        Fault::new(match fault {
            wire::Fault::Overlong => "a number of more than 64 bits",
            // The other faults are of protobuf's fields, which a trace has none of.
            _ => "the block's payload ends within a field",
        })
    }
}

/// A number that must fit 32 bits.
pub(crate) fn narrow(value: u64, what: &str) -> Result<u32, Fault> {
    u32::try_from(value).map_err(|_| Fault::new(format!("{what} {value}: expected below 2^32")))
}
