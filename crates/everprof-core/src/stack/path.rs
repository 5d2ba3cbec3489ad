//! Path: what has to stand on a stack for a walk to pass the frames that another one passed.
//!
//! Context: signal. Invariant: if a path holds, a walk from these registers writes the very stack
//! that the path was made from: up to a frame that is left out, or to its end ([`Upto`]).
//!
//! A step of a walk depends on the frame's pc, which decides the rule, and on its stack and frame
//! pointer. So two walks take the same steps if
//!
//! - they begin at the same pc,
//! - the words that give the next pc, frame by frame, are the same, and
//! - the words that give a frame pointer lead equally far, wherever a rule goes by it.
//!
//! A walk finds these words one after another: each rule says where the next one stands. A path
//! knows where all of them stand, as distances from where the walk begins. It only compares.
//!
//! ```text
//! words  pc | salt | reach | fp | returns | distance, word | distance, word | …
//!                                            └─ returns of these: return addresses
//!                                               the rest: frame pointers, less where it begins
//! ```
//!
//! A path is made only where all rules are of the common kinds, all modules are such as cannot be
//! unloaded ([`super::lookup`]), and all words stand on the thread's own stack.

use super::super::platform;
use super::super::rules::Kind;
use super::super::walk::{Memory, Rules};
use super::lookup::Lookup;
use super::probe::{Readable, ThreadMemory};
use crate::modules::loaded::salt;
use crate::stack::Registers;
use crate::sync::{AtomicU64, Ordering};

/// Words in front of the pairs.
const HEAD_WORDS: usize = 5;

/// In the place of the first frame pointer: no rule goes by it. Odd, as no distance is.
const ANY: u64 = 1;

/// Words that a path of so many frames takes at most: a return address and a frame pointer each.
pub(crate) const fn most_words(frames: usize) -> usize {
    HEAD_WORDS + 4 * (frames + 2)
}

/// Whether the stack that `registers` stand in, up to the frame whose stack pointer is `below`,
/// is the one that `path` was made from.
#[inline]
pub(crate) fn holds(
    path: &[AtomicU64],
    registers: &Registers,
    memory: &ThreadMemory,
    below: u64,
) -> bool {
    let Some((head, pairs)) = path.split_first_chunk::<HEAD_WORDS>() else {
        return false;
    };
    // Relaxed, all: whoever gives the path has it from where it was published.
    let [pc, of_salt, reach, fp, returns] = head;
    let sp = registers.sp;
    let reach_now = below.wrapping_sub(sp);
    let fp_now = registers.fp.wrapping_sub(sp);
    let fp = fp.load(Ordering::Relaxed);
    if pc.load(Ordering::Relaxed) != registers.pc
        || reach.load(Ordering::Relaxed) != reach_now
        || of_salt.load(Ordering::Relaxed) != salt()
        || (fp != ANY && fp != fp_now)
        || !memory.spans(sp, below)
    {
        return false;
    }
    let returns = returns.load(Ordering::Relaxed) as usize;
    let (pairs, _) = pairs.as_chunks::<2>();
    let (returns, frame_pointers) = pairs.split_at_checked(returns).unwrap_or((&[], pairs));
    let word_at = |distance: &AtomicU64| {
        let distance = distance.load(Ordering::Relaxed) & !7;
        // SAFETY: `spans` has seen to it that `sp` is divisible by 8, and that all from it up to
        // `below` is this thread's own stack, which can be read.
        (distance < reach_now).then(|| unsafe { platform::word(sp + distance) })
    };
    returns.iter().all(|[distance, address]| {
        word_at(distance).map(platform::strip) == Some(address.load(Ordering::Relaxed))
    }) && frame_pointers.iter().all(|[distance, ahead]| {
        word_at(distance) == Some(ahead.load(Ordering::Relaxed).wrapping_add(sp))
    })
}

/// How far up a path goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Upto {
    /// To the frame that has this stack pointer, which is left out as the leaf's is.
    Frame(u64),
    /// To the thread's first frame, and with the leaf's own: as a stack is written whole.
    Root,
}

/// How far `path` reaches from the walk's first stack pointer, in bytes, and how many frames a walk
/// passes on that way, those among them that it does not write.
#[inline]
pub(crate) fn extent(path: &[AtomicU64]) -> (u64, usize) {
    let Some(([_, _, reach, _, returns], _)) = path.split_first_chunk::<HEAD_WORDS>() else {
        return (0, 0);
    };
    // Relaxed, both: as in `holds`.
    let returns = returns.load(Ordering::Relaxed) as usize;
    (reach.load(Ordering::Relaxed), returns + 1)
}

/// Writes to `out` the path of a walk that has just written `stack`, and returns how many words it
/// has. `None`: this walk has no path.
#[cold]
pub(crate) fn make(
    registers: &Registers,
    memory: &ThreadMemory,
    upto: Upto,
    stack: &[u64],
    out: &mut [u64],
) -> Option<usize> {
    let start = registers.sp;
    let below = match upto {
        Upto::Frame(below) => below,
        Upto::Root => start + memory.above(start)?,
    };
    if !memory.spans(start, below) {
        return None;
    }
    let distance = |address: u64| {
        let is_between = (start..below).contains(&address) && address.is_multiple_of(8);
        is_between.then(|| address - start)
    };
    let (readable, mut lookup) = (Readable::new(memory, start), Lookup::new());
    let (head, room) = out.split_first_chunk_mut::<HEAD_WORDS>()?;
    let (pairs, _) = room.as_chunks_mut::<2>();
    // Return addresses from the front, frame pointers behind where those end at most.
    let half = pairs.len() / 2;
    let (returns, frame_pointers) = pairs.split_at_mut_checked(half)?;
    let (mut first_fp, mut fp_count) = (ANY, 0);
    // Where the frame pointer is from, until a rule has gone by it: `None`, from the registers.
    let mut fp_at = Some(None);
    let (mut pc, mut sp, mut fp) = (registers.pc, start, registers.fp);
    // Behind the last word that is compared.
    let mut reach = 0;
    let mut count = 0;
    loop {
        let rule = lookup.rule(pc.wrapping_sub(u64::from(count != 0)), true);
        if rule.is_volatile() {
            return None;
        }
        if matches!(upto, Upto::Root) && rule.kind() == Kind::Root {
            break;
        }
        if !rule.is_common() {
            return None;
        }
        if rule.is_based_on_fp()
            && let Some(at) = fp_at.take()
        {
            let ahead = fp.wrapping_sub(start);
            match at {
                None => first_fp = ahead,
                Some(at) => {
                    *frame_pointers.get_mut(fp_count)? = [at, ahead];
                    fp_count += 1;
                }
            }
        }
        let base = if rule.is_based_on_fp() { fp } else { sp };
        let cfa = base.wrapping_add(rule.cfa());
        if cfa <= sp {
            return None;
        }
        let return_at = cfa.wrapping_add(rule.ra());
        if matches!(upto, Upto::Frame(_)) && return_at >= below {
            reach = below - start;
            break;
        }
        let at = distance(return_at)?;
        reach = reach.max(at + WORD_BYTES);
        let next = platform::strip(readable.peek(return_at)?);
        if rule.is_fp_in_cfa() {
            let saved_at = distance(cfa.wrapping_add(rule.fp()))?;
            reach = reach.max(saved_at + WORD_BYTES);
            fp_at = Some(Some(saved_at));
            fp = readable.peek(start + saved_at)?;
        }
        *returns.get_mut(count)? = [at, next];
        count += 1;
        if next == 0 {
            // A walk ends here. That the word is 0 is part of the path.
            break;
        }
        (pc, sp) = (next, cfa);
    }
    if !is_of(stack, registers.pc, returns.get(..count)?, upto) {
        return None;
    }
    pairs.copy_within(half..half + fp_count, count);
    *head = [registers.pc, salt(), reach, first_fp, count as u64];
    Some(HEAD_WORDS + 2 * (count + fp_count))
}

/// Whether these are the frames of `stack`: it is what a walk has written.
fn is_of(stack: &[u64], leaf: u64, returns: &[[u64; 2]], upto: Upto) -> bool {
    let addresses = returns.iter().map(|[_, address]| *address);
    match upto {
        // Behind all of the stack the frame that is left out.
        Upto::Frame(_) => {
            returns.len() == stack.len() + 1
                && stack.iter().copied().eq(addresses.take(stack.len()))
        }
        Upto::Root => {
            let whole = core::iter::once(leaf.wrapping_add(1)).chain(addresses);
            let whole = whole.filter(|address| *address != 0);
            // Frames at the leaf end may have been left out.
            let skipped = whole.clone().count().checked_sub(stack.len());
            skipped.is_some_and(|skipped| whole.skip(skipped).eq(stack.iter().copied()))
        }
    }
}

/// Bytes of a word on the stack.
const WORD_BYTES: u64 = 8;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::hint::black_box;

    use super::super::capture_below;
    use super::*;

    /// What a leaf knows: the stack that a walk writes, the path of it, and whether a path given
    /// holds.
    struct Leaf<'m> {
        memory: &'m ThreadMemory,
        below: u64,
        path: &'m [AtomicU64],
    }

    type Told = (Vec<u64>, Option<Vec<AtomicU64>>, bool);

    #[inline(never)]
    fn leaf(of: &Leaf<'_>) -> Told {
        let registers = Registers::here();
        let mut out = [0; 24];
        let depth = capture_below(&registers, of.memory, &mut out, of.below).depth;
        let stack = out[1..depth].to_vec();
        let mut words = [0; most_words(24)];
        let made = make(
            &registers,
            of.memory,
            Upto::Frame(of.below),
            &stack,
            &mut words,
        );
        let made = made.map(|count| words[..count].iter().copied().map(AtomicU64::new).collect());
        let holds = holds(of.path, &registers, of.memory, of.below);
        (stack, made, holds)
    }

    /// Calls of one depth, by another way for each bit.
    #[inline(never)]
    fn calls(of: &Leaf<'_>, ways: u32, depth: u32) -> Told {
        let mut told = match (depth, ways & 1) {
            (0, _) => leaf(of),
            (_, 0) => calls(of, ways >> 1, depth - 1),
            (_, _) => calls(of, black_box(ways) >> 1, depth - 1),
        };
        black_box(&mut told);
        told
    }

    #[inline(never)]
    fn begin(ways: u32, depth: u32, path: &[AtomicU64]) -> Told {
        // Where the C library tells of no address without a lock, as musl: cold code does.
        crate::modules::refresh();
        let memory = ThreadMemory::new();
        let below = Registers::here().sp;
        let of = Leaf {
            memory: &memory,
            below,
            path,
        };
        black_box(calls(&of, ways, depth))
    }

    #[test]
    fn path_holds_on_every_stack_that_is_the_same_and_on_no_other() {
        let made: Vec<_> = (0..8).map(|ways| begin(black_box(ways), 3, &[])).collect();
        for (ways, (stack, path, _)) in made.iter().enumerate() {
            assert_eq!(stack.len(), 4, "{stack:x?}");
            let path = path.as_ref().unwrap();
            for (other, (others, _, _)) in made.iter().enumerate() {
                let (again, _, holds) = begin(black_box(other as u32), 3, path);
                assert_eq!(&again, others);
                assert_eq!(holds, stack == others, "{ways} and {other}");
            }
            for depth in [2, 4] {
                assert!(!begin(black_box(0), depth, path).2);
            }
        }
        assert_ne!(made[0].0, made[7].0);
    }

    #[test]
    fn path_is_of_this_stack_or_there_is_none() {
        let (stack, path, _) = begin(black_box(0), 2, &[]);
        let path = path.unwrap();
        // Any word of it changed: another place, another address.
        for (at, word) in path.iter().enumerate() {
            let before = word.fetch_xor(8, Ordering::Relaxed);
            assert!(!begin(black_box(0), 2, &path).2, "word {at}");
            word.store(before, Ordering::Relaxed);
        }
        assert!(begin(black_box(0), 2, &path).2);
        assert_eq!(stack.len(), 3);
    }
}
