//! Recorder: whom the allocator asks, and tells.
//!
//! Context: `tick` is hot, all else sampled.
//! Invariant: everything is inlined into the allocator's own functions, so that the registers
//! that `sample` reads are those of the frame that outlives its walk.

use everprof_core::allocation::{Allocating, Freeing};
use everprof_core::global;
use everprof_core::stack::Registers;

/// What the allocator asks of the recorders; a trait, so that tests decide
/// which allocation is sampled. "Sampled" is whatever somebody wants to see again when it
/// is freed: a trace wants to see everything.
pub(super) trait Recorder {
    type Ticket;
    type Taken;

    /// Counts bytes; true when a sample is due.
    fn tick(size: usize) -> bool;
    /// The decision on a sample that is due; none: this one is not recorded.
    fn sample(size: usize) -> Option<Self::Ticket>;
    fn commit(ticket: Self::Ticket, address: usize, shifted: bool);
    /// The same, of an object that stood at `from`, and was taken there if it was sampled.
    fn commit_moved(
        ticket: Self::Ticket,
        from: usize,
        taken: Option<Self::Taken>,
        address: usize,
        shifted: bool,
    );
    fn may_be_sampled(address: usize) -> bool;
    fn take(address: usize) -> Option<Self::Taken>;
    fn shifted(taken: &Self::Taken) -> bool;
    fn free(taken: Self::Taken);
    fn restore(taken: Self::Taken);
}

/// The process's own recorders.
pub(super) struct Heap;

impl Recorder for Heap {
    type Ticket = Allocating<'static>;
    type Taken = Freeing<'static>;

    #[inline(always)]
    fn tick(size: usize) -> bool {
        global::tick(size)
    }

    #[inline(always)]
    fn sample(size: usize) -> Option<Allocating<'static>> {
        // Read here, in the frame of the cold function, which outlives the walk.
        global::allocations().allocating(size, &Registers::here())
    }

    #[inline(always)]
    fn commit(ticket: Allocating<'static>, address: usize, shifted: bool) {
        // How far follows from the layout, which every free and realloc tells.
        ticket.commit(address, usize::from(shifted));
    }

    #[inline(always)]
    fn commit_moved(
        ticket: Allocating<'static>,
        from: usize,
        taken: Option<Freeing<'static>>,
        address: usize,
        shifted: bool,
    ) {
        ticket.commit_moved(from, taken, address, usize::from(shifted));
    }

    #[inline(always)]
    fn may_be_sampled(address: usize) -> bool {
        global::allocations().may_be_wanted(address)
    }

    #[inline(always)]
    fn take(address: usize) -> Option<Freeing<'static>> {
        global::allocations().freeing(address)
    }

    #[inline(always)]
    fn shifted(taken: &Freeing<'static>) -> bool {
        taken.shift() != 0
    }

    #[inline(always)]
    fn free(taken: Freeing<'static>) {
        drop(taken);
    }

    #[inline(always)]
    fn restore(taken: Freeing<'static>) {
        taken.restore();
    }
}
