//! What happened and could not be recorded as it should: frames that say so.
//!
//! Context: any. A stack may hold, in the place of an address, one of the first
//! 63 numbers, where no code ever lies. It is the outermost "frame" of a stack
//! that was cut, or the only one of a sample that has no stack of its own. The
//! counts are those of the buckets such stacks belong to: nothing is counted twice.
//! Invariant: a reason's number and name never change their meaning, since
//! recordings and profiles of other versions hold them.

/// Why a stack is not, or not wholly, that of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
#[non_exhaustive]
pub enum Lost {
    /// No memory for another stack; the sample's weight is all here.
    TableFull = 1,
    /// No memory to remember another object: counted as allocated and, at
    /// once, as freed.
    InUseFull = 2,
    /// The stack goes on beyond the depth limit.
    Truncated = 3,
    /// Allocated by a signal handler or a destructor while the same thread was
    /// recording another sample: counted as allocated and, at once, as freed.
    Reentry = 4,
    /// The stack could not be walked at all.
    NoStack = 5,
    /// The label set in force was one too many, or too large: the sample stands
    /// under this in place of its labels.
    Labels = 6,
    /// There was no place to keep what was waited for: the wait's delay, which
    /// nobody who ended it can be charged with.
    WaitUnattributed = 7,
    /// There was no memory for another watched future: it runs, and is not seen.
    TaskUnseen = 8,
    /// CPU time that no sample stands for: of threads that ended before a profile saw
    /// them, or that block its signal.
    CpuUnseen = 12,
}

/// Every reason, in the order of its number.
pub const ALL: [Lost; 9] = [
    Lost::TableFull,
    Lost::InUseFull,
    Lost::Truncated,
    Lost::Reentry,
    Lost::NoStack,
    Lost::Labels,
    Lost::WaitUnattributed,
    Lost::TaskUnseen,
    Lost::CpuUnseen,
];

/// Stands for a thread's creator where that is the system: the process's first thread.
pub const MAIN_THREAD: u64 = 32;

/// Stands for a thread's creator where nobody was seen to create it.
pub const UNKNOWN_CREATOR: u64 = 33;

/// Stands between the stack in which a task waits and the one that made it.
pub const TASK_MADE: u64 = 34;

/// The first number that may be an address.
pub const FIRST_ADDRESS: u64 = 64;

impl Lost {
    /// What stands in the stack.
    #[must_use]
    pub const fn pc(self) -> u64 {
        self as u64
    }

    /// What stands in a profile.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TableFull => "everprof::lost::table_full",
            Self::InUseFull => "everprof::lost::inuse_full",
            Self::Truncated => "everprof::lost::truncated",
            Self::Reentry => "everprof::lost::reentry",
            Self::NoStack => "everprof::lost::no_stack",
            Self::Labels => "everprof::lost::labels",
            Self::WaitUnattributed => "everprof::lost::wait_unattributed",
            Self::TaskUnseen => "everprof::lost::task_unseen",
            Self::CpuUnseen => "everprof::lost::cpu_unseen",
        }
    }
}

/// The reason that stands in a stack as `pc`.
#[must_use]
pub fn of_pc(pc: u64) -> Option<Lost> {
    ALL.into_iter().find(|lost| lost.pc() == pc)
}

/// The frame that a profile shows for `pc`; `None` if it is an address. Numbers
/// of a later version have a name too.
#[must_use]
pub fn name(pc: u64) -> Option<&'static str> {
    match of_pc(pc) {
        Some(lost) => Some(lost.name()),
        None if pc == MAIN_THREAD => Some("everprof::spawn::main"),
        None if pc == TASK_MADE => Some("everprof::spawn::task"),
        None if pc == UNKNOWN_CREATOR => Some("everprof::spawn::unknown"),
        None if pc < FIRST_ADDRESS => Some("everprof::lost::unknown"),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_addresses_are_told_apart() {
        for lost in ALL {
            assert_eq!(of_pc(lost.pc()), Some(lost));
            assert_eq!(name(lost.pc()), Some(lost.name()));
        }
        assert_eq!(name(63), Some("everprof::lost::unknown"));
        assert_eq!(name(FIRST_ADDRESS), None);
    }
}
