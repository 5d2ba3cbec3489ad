//! The walk: from a frame's registers to its caller's, over and over.
//!
//! Context: signal. No allocation, no lock, no panic. Invariant: memory is read
//! only through [`Memory`], which refuses what is not known to be readable; the
//! number of steps is bounded by the length of `out`.
//!
//! Each entry of a stack is one more than an address inside the instruction that
//! the frame stands at: a return address as it is, an interrupted pc plus one.
//! Whoever looks an entry up subtracts one, without exception.

use core::ops::Range;

use super::memo::{Memo, Prediction, Step};
use super::platform;
use super::rules::{FpIn, Kind, Rule};
use super::{Captured, Registers, StackEnd, TRUNCATED};

/// Where the walk reads a stack's words.
pub(crate) trait Memory {
    /// The word at `address`, or nothing where reading might fault.
    fn read(&mut self, address: u64) -> Option<u64>;

    /// The same, if that is known without asking anybody.
    fn peek(&self, address: u64) -> Option<u64>;

    /// Eight bytes of code, at any alignment.
    fn code(&mut self, address: u64) -> Option<u64> {
        let aligned = address & !7;
        let shift = (address & 7) * 8;
        let first = self.read(aligned)?;
        if shift == 0 {
            return Some(first);
        }
        let second = self.read(aligned.checked_add(8)?)?;
        Some(first >> shift | second << (64 - shift))
    }

    /// The frame pointer of a frame whose own was [`UNKNOWN`], from other evidence.
    fn frame_pointer(&mut self, place: Place) -> Option<u64> {
        let _ = place;
        None
    }
}

/// Stands for a frame pointer that nobody knows. Odd, so that it leads nowhere; as data
/// of a program that keeps none it does no harm.
pub(crate) const UNKNOWN: u64 = 1;

/// What is known of a frame whose frame pointer is not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// An address inside its instruction.
    pub(crate) lookup: u64,
    pub(crate) sp: u64,
    /// It is the leaf, or was interrupted: not in the middle of a call.
    pub(crate) exact: bool,
}

/// Where the walk gets its rules.
pub(crate) trait Rules {
    /// The rule for `lookup`. A frame that was found by frame pointers alone is
    /// not `trusted`: its address may be anything.
    fn rule(&mut self, lookup: u64, trusted: bool) -> Rule;
}

/// One frame's registers.
#[derive(Clone, Copy, Debug)]
struct Frame {
    pc: u64,
    sp: u64,
    fp: u64,
    /// The link register, while it may still hold the return address.
    lr: Option<u64>,
    /// `pc` is the instruction itself, not the one behind a call.
    exact: bool,
    /// Every step up to here followed the tables.
    trusted: bool,
}

/// Frames that may be left out at the leaf end. Our own are fewer than ten; the
/// bound ends a loop among them.
const MAX_SKIPPED: usize = 64;

/// Walks from `registers` and writes the stack to `out`.
pub(crate) fn walk<M: Memory, R: Rules>(
    registers: &Registers,
    memory: &mut M,
    rules: &mut R,
    memo: Option<&mut Memo>,
    out: &mut [u64],
    skip: &Range<u64>,
) -> Captured {
    let frame = Frame {
        pc: registers.pc,
        sp: registers.sp,
        fp: registers.fp,
        lr: Some(registers.lr),
        exact: true,
        trusted: true,
    };
    let Some(memo) = memo else {
        return follow(frame, memory, rules, &mut None, out, skip);
    };
    let mut prediction = Some(memo.open());
    let captured = follow(frame, memory, rules, &mut prediction, out, skip);
    if let Some((written, moved)) = prediction.map(Prediction::end) {
        memo.close(written, moved);
    }
    captured
}

/// Walks the stack of another thread, of whose registers two may be unknown: the frame
/// pointer is then [`UNKNOWN`], the link register 0.
#[cfg_attr(
    miri,
    allow(dead_code, reason = "there are no other threads' stacks there")
)]
pub(crate) fn walk_outside<M: Memory, R: Rules>(
    registers: &Registers,
    memory: &mut M,
    rules: &mut R,
    out: &mut [u64],
) -> Captured {
    let frame = Frame {
        pc: registers.pc,
        sp: registers.sp,
        fp: registers.fp,
        lr: (registers.lr != 0).then_some(registers.lr),
        exact: true,
        trusted: false,
    };
    follow(frame, memory, rules, &mut None, out, &(0..0))
}

#[inline(always)]
fn follow<M: Memory, R: Rules>(
    mut frame: Frame,
    memory: &mut M,
    rules: &mut R,
    prediction: &mut Option<Prediction<'_>>,
    out: &mut [u64],
    skip: &Range<u64>,
) -> Captured {
    let mut depth = 0;
    let mut skipped = 0;
    loop {
        if depth != 0
            && !frame.exact
            && let Some(prediction) = prediction
        {
            let places = out.get_mut(depth..).unwrap_or(&mut []);
            let steps = frame.follow_steps(prediction.ahead(frame.sp), memory, places);
            prediction.took(steps);
            depth += steps;
        }
        if depth == 0 && skipped < MAX_SKIPPED && skip.contains(&frame.pc) {
            skipped += 1;
        } else if let Some(place) = out.get_mut(depth) {
            *place = frame.pc.wrapping_add(u64::from(frame.exact));
            depth += 1;
        } else {
            if let Some(last) = out.last_mut() {
                *last = TRUNCATED;
            }
            let end = StackEnd::Truncated;
            return Captured { depth, end };
        }
        let lookup = frame.pc.wrapping_sub(u64::from(!frame.exact));
        let predicted = match prediction {
            Some(prediction) => prediction.rule(lookup, frame.sp),
            None => None,
        };
        let rule = match predicted {
            Some(rule) => rule,
            None => {
                let rule = rules.rule(lookup, frame.trusted);
                let sp = frame.sp;
                if let Some(prediction) = prediction
                    && !rule.is_volatile()
                {
                    prediction.note(Step { lookup, sp, rule });
                }
                rule
            }
        };
        if let Some(registers) = frame.common(rule, memory) {
            (frame.pc, frame.sp, frame.fp) = registers;
            (frame.lr, frame.exact) = (None, false);
            continue;
        }
        frame = match frame.caller(rule, memory) {
            Ok(caller) => caller,
            Err(end) => return Captured { depth, end },
        };
    }
}

impl Frame {
    /// Follows `steps` while they fit, the memory is known and nothing is out of the
    /// common, and writes the frames passed to `out`; their number.
    ///
    /// The loop that warm walks spend their time in: no calls, no state but three
    /// registers.
    #[inline(always)]
    fn follow_steps<M: Memory>(&mut self, steps: &[Step], memory: &M, out: &mut [u64]) -> usize {
        let mut frame = *self;
        let mut taken = 0;
        for (step, place) in steps.iter().zip(out) {
            if step.sp != frame.sp || step.lookup != frame.pc.wrapping_sub(1) {
                break;
            }
            let Some(registers) = frame.common(step.rule, memory) else {
                break;
            };
            *place = frame.pc;
            (frame.pc, frame.sp, frame.fp) = registers;
            taken += 1;
        }
        (self.pc, self.sp, self.fp) = (frame.pc, frame.sp, frame.fp);
        if taken != 0 {
            self.lr = None;
        }
        taken
    }

    /// The caller's pc, sp and fp by a rule of the common kinds, where the stack grows
    /// as it should, in memory that is known to be readable. None of that is an error
    /// if it is not so: [`Frame::caller`] sees to it.
    #[inline(always)]
    fn common<M: Memory>(&self, rule: Rule, memory: &M) -> Option<(u64, u64, u64)> {
        if !rule.is_common() {
            return None;
        }
        let base = if rule.is_based_on_fp() {
            self.fp
        } else {
            self.sp
        };
        let cfa = base.wrapping_add(rule.cfa());
        if cfa <= self.sp {
            return None;
        }
        let pc = platform::strip(memory.peek(cfa.wrapping_add(rule.ra()))?);
        let mut fp = self.fp;
        if rule.is_fp_in_cfa() {
            fp = memory.peek(cfa.wrapping_add(rule.fp()))?;
        }
        (pc != 0).then_some((pc, cfa, fp))
    }

    /// The caller by any rule.
    #[cold]
    fn caller<M: Memory>(mut self, rule: Rule, memory: &mut M) -> Result<Self, StackEnd> {
        let cfa = match rule.kind() {
            Kind::Sp => self.sp.wrapping_add(rule.cfa()),
            Kind::Fp => {
                self.fp = self.frame_pointer(memory)?;
                self.fp.wrapping_add(rule.cfa())
            }
            Kind::AtFp => {
                self.fp = self.frame_pointer(memory)?;
                word(memory, self.fp.wrapping_add(rule.cfa()))?
            }
            Kind::Signal => return self.interrupted(memory),
            Kind::Root => return Err(StackEnd::Root),
            Kind::Malformed => return Err(StackEnd::Malformed),
            Kind::NotCovered if memory.code(self.pc) == Some(platform::TRAMPOLINE) => {
                return self.interrupted(memory);
            }
            Kind::NotCovered => return self.by_frame_pointer(memory, StackEnd::NotCovered),
            Kind::Unsupported => return self.by_frame_pointer(memory, StackEnd::Unsupported),
        };
        let ra = if rule.ra_in_link_register() {
            // Only the leaf, or a function interrupted before its first store.
            self.lr.ok_or(StackEnd::Malformed)?
        } else {
            // A frame based on the stack pointer lies above it. One based on the
            // frame pointer may be on another stack (segments, coroutines).
            if cfa <= self.sp && rule.kind() == Kind::Sp {
                return Err(StackEnd::Malformed);
            }
            word(memory, cfa.wrapping_add(rule.ra()))?
        };
        let fp = match rule.fp_in() {
            FpIn::Register => self.fp,
            FpIn::Cfa => word(memory, cfa.wrapping_add(rule.fp()))?,
            FpIn::Fp => word(memory, self.fp.wrapping_add(rule.fp()))?,
            FpIn::Lost => 0,
        };
        let pc = platform::strip(ra);
        if pc == 0 {
            return Err(StackEnd::Root);
        }
        Ok(Self {
            pc,
            sp: cfa,
            fp,
            lr: None,
            exact: false,
            trusted: self.trusted,
        })
    }

    /// Its frame pointer, from other evidence where it is unknown.
    fn frame_pointer<M: Memory>(&self, memory: &mut M) -> Result<u64, StackEnd> {
        if self.fp != UNKNOWN {
            return Ok(self.fp);
        }
        let place = Place {
            lookup: self.pc.wrapping_sub(u64::from(!self.exact)),
            sp: self.sp,
            exact: self.exact,
        };
        let found = memory.frame_pointer(place);
        found.ok_or(StackEnd::NoFramePointer)
    }

    /// The frame that a signal interrupted, from what the kernel stored.
    fn interrupted<M: Memory>(&self, memory: &mut M) -> Result<Self, StackEnd> {
        let mut word = |offset: u64| word(memory, self.sp.wrapping_add(offset));
        let frame = Self {
            pc: word(platform::SIGNAL_PC)?,
            sp: word(platform::SIGNAL_SP)?,
            fp: word(platform::SIGNAL_FP)?,
            lr: Some(word(platform::SIGNAL_LR)?),
            exact: true,
            trusted: self.trusted,
        };
        if frame.pc == 0 {
            Err(StackEnd::Root)
        } else {
            Ok(frame)
        }
    }

    /// The caller by the frame pointer, if that looks like one: aligned, above
    /// the stack pointer, growing.
    fn by_frame_pointer<M: Memory>(
        &self,
        memory: &mut M,
        otherwise: StackEnd,
    ) -> Result<Self, StackEnd> {
        // Where a stack begins, the frame pointer is zero by the ABI.
        if self.fp == 0 && otherwise == StackEnd::NotCovered {
            return Err(StackEnd::Root);
        }
        if !self.fp.is_multiple_of(8) || self.fp < self.sp {
            return Err(otherwise);
        }
        let fp = memory.read(self.fp).ok_or(otherwise)?;
        let pc = platform::strip(memory.read(self.fp.wrapping_add(8)).ok_or(otherwise)?);
        if pc == 0 {
            return Err(StackEnd::Root);
        }
        // The first page is never code, and sentinels of ours are in it.
        if pc < 4096 || (fp != 0 && fp <= self.fp) {
            return Err(otherwise);
        }
        let sp = self.fp.wrapping_add(16);
        Ok(Self {
            pc,
            sp,
            fp,
            lr: None,
            exact: false,
            trusted: false,
        })
    }
}

fn word<M: Memory>(memory: &mut M, address: u64) -> Result<u64, StackEnd> {
    memory.read(address).ok_or(StackEnd::Unreadable)
}

#[cfg(test)]
mod tests;
