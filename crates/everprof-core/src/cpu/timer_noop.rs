//! No timers that we know of.
//!
//! Context: any. Twin of `timer.rs`.

/// No signal says so.
pub(super) const CODE: i32 = i32::MIN;

/// No signal.
pub(super) const SIGNAL: i32 = 0;

/// There is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer(u32);

/// Why there is no timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The thread has ended.
    #[expect(dead_code, reason = "the twin's")]
    Gone,
    /// There are too many.
    #[expect(dead_code, reason = "the twin's")]
    Full,
    /// There is no such call.
    Denied,
}

impl Timer {
    pub(super) fn begin(tid: u32, value: u64, period_nanos: u64) -> Result<Self, Refused> {
        let _ = (tid, value, period_nanos);
        Err(Refused::Denied)
    }

    pub(super) fn arm(self, first_nanos: u64, period_nanos: u64) -> bool {
        let _ = (self, first_nanos, period_nanos);
        false
    }

    pub(super) fn disarm(self) {}

    pub(super) fn is_armed(self) -> bool {
        false
    }

    pub(super) fn delete(self) {}

    pub(super) fn raw(self) -> u32 {
        self.0
    }

    pub(super) fn from_raw(raw: u32) -> Self {
        Self(raw)
    }
}

pub(super) fn hold_other_signals() {}
