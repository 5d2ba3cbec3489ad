//! Claims about the walk, over memory and rules that the tests make.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use super::super::cfi::{Cfa, Row, Saved};
use super::*;

/// A stack of words from `BASE` on, and rules by address.
#[derive(Default)]
struct World {
    words: Vec<u64>,
    rules: HashMap<u64, Rule>,
    /// By lookup, where the walk does not know them.
    frame_pointers: HashMap<u64, u64>,
}

const BASE: u64 = 0x7000_0000;

impl Memory for &mut World {
    fn read(&mut self, address: u64) -> Option<u64> {
        self.peek(address)
    }

    fn peek(&self, address: u64) -> Option<u64> {
        let offset = address.checked_sub(BASE)?;
        if offset % 8 != 0 {
            return None;
        }
        self.words.get(usize::try_from(offset / 8).ok()?).copied()
    }

    fn frame_pointer(&mut self, place: Place) -> Option<u64> {
        self.frame_pointers.get(&place.lookup).copied()
    }
}

struct Table<'t>(&'t HashMap<u64, Rule>);

impl Rules for Table<'_> {
    fn rule(&mut self, lookup: u64, _trusted: bool) -> Rule {
        self.0.get(&lookup).copied().unwrap_or(Rule::NOT_COVERED)
    }
}

fn rule(cfa: Cfa, fp: Saved) -> Rule {
    let ra = Saved::AtCfa(-8);
    Rule::new(Ok(Row {
        cfa,
        fp,
        ra,
        signed: false,
        signal: false,
    }))
}

fn root() -> Rule {
    let (cfa, fp, ra) = (Cfa::Sp(8), Saved::Same, Saved::Undefined);
    Rule::new(Ok(Row {
        cfa,
        fp,
        ra,
        signed: false,
        signal: false,
    }))
}

impl World {
    fn walk(
        &mut self,
        pc: u64,
        sp: u64,
        fp: u64,
        limit: usize,
        skip: Range<u64>,
    ) -> (Vec<u64>, StackEnd) {
        let rules = self.rules.clone();
        let mut out = vec![0; limit];
        let mut memo = Box::new(Memo::new());
        let mut first = None;
        // Without a memo, with an empty one, with one that fits.
        for round in 0..3 {
            let memo = (round > 0).then_some(&mut *memo);
            let registers = Registers {
                pc,
                sp: BASE + sp * 8,
                fp,
                lr: 0,
            };
            let mut world = &mut *self;
            let captured = walk(
                &registers,
                &mut world,
                &mut Table(&rules),
                memo,
                &mut out,
                &skip,
            );
            let found = (out[..captured.depth].to_vec(), captured.end);
            assert_eq!(first.get_or_insert(found.clone()), &found, "round {round}");
        }
        first.unwrap()
    }
}

/// 0x1000 calls 0x2000 calls 0x3000, frames of 2, 3 and 1 words.
fn three() -> World {
    let mut world = World {
        words: vec![9, 0x2005, 9, 9, 0x1005, 9],
        ..World::default()
    };
    world.rules.insert(0x3003, rule(Cfa::Sp(16), Saved::Same));
    world.rules.insert(0x2004, rule(Cfa::Sp(24), Saved::Same));
    world.rules.insert(0x1004, root());
    world
}

#[test]
fn frames_follow_one_another_to_the_root() {
    let (stack, end) = three().walk(0x3003, 0, 0, 10, 0..0);
    assert_eq!(stack, [0x3004, 0x2005, 0x1005]);
    assert_eq!(end, StackEnd::Root);
}

#[test]
fn an_unknown_frame_pointer_ends_the_stack_unless_there_is_evidence() {
    let mut world = three();
    world.rules.insert(0x2004, rule(Cfa::Fp(16), Saved::Same));
    let rules = world.rules.clone();
    let outside = |world: &mut World, fp: u64| {
        let mut out = [0; 10];
        let registers = Registers {
            pc: 0x3003,
            sp: BASE,
            fp,
            lr: 0,
        };
        let mut memory = world;
        let captured = walk_outside(&registers, &mut memory, &mut Table(&rules), &mut out);
        (out[..captured.depth].to_vec(), captured.end)
    };
    let cut = (vec![0x3004, 0x2005], StackEnd::NoFramePointer);
    assert_eq!(outside(&mut world, UNKNOWN), cut);
    let whole = (vec![0x3004, 0x2005, 0x1005], StackEnd::Root);
    assert_eq!(outside(&mut world, BASE + 3 * 8), whole);
    world.frame_pointers.insert(0x2004, BASE + 3 * 8);
    assert_eq!(outside(&mut world, UNKNOWN), whole);
}

#[test]
fn leading_frames_in_the_skipped_range_are_left_out() {
    let (stack, _) = three().walk(0x3003, 0, 0, 10, 0x2000..0x4000);
    assert_eq!(stack, [0x1005]);
    // Not in the middle of a stack.
    let (stack, _) = three().walk(0x3003, 0, 0, 10, 0x2000..0x3000);
    assert_eq!(stack.len(), 3);
}

#[test]
fn the_limit_leaves_room_for_the_mark() {
    for limit in 1..3 {
        let (stack, end) = three().walk(0x3003, 0, 0, limit, 0..0);
        assert_eq!((stack.len(), end), (limit, StackEnd::Truncated));
        assert_eq!(stack.last(), Some(&TRUNCATED));
    }
    assert_eq!(three().walk(0x3003, 0, 0, 3, 0..0).1, StackEnd::Root);
    assert_eq!(
        three().walk(0x3003, 0, 0, 0, 0..0),
        (vec![], StackEnd::Truncated)
    );
}

#[test]
fn a_saved_frame_pointer_is_the_callers_base() {
    let mut world = World {
        words: vec![BASE + 5 * 8, 0x2005, 7, 7, 7, 0, 0x1005],
        ..World::default()
    };
    world
        .rules
        .insert(0x3003, rule(Cfa::Sp(16), Saved::AtCfa(-16)));
    world
        .rules
        .insert(0x2004, rule(Cfa::Fp(16), Saved::AtCfa(-16)));
    world.rules.insert(0x1004, root());
    let (stack, end) = world.walk(0x3003, 0, 1, 10, 0..0);
    assert_eq!((stack, end), (vec![0x3004, 0x2005, 0x1005], StackEnd::Root));
}

#[test]
fn code_without_tables_is_passed_by_frame_pointer() {
    let mut world = three();
    // 0x5000 has no tables; its frame pointer leads to 0x3003's frame.
    world.words = vec![7, 0, 0x3004, 9, 0x2005, 9, 9, 0x1005];
    let (stack, end) = world.walk(0x5000, 0, BASE + 8, 10, 0..0);
    assert_eq!(stack, [0x5001, 0x3004, 0x2005, 0x1005]);
    assert_eq!(end, StackEnd::Root);
}

#[test]
fn frame_pointers_that_do_not_hold_are_not_followed() {
    let below = BASE - 8;
    for fp in [
        1,
        8,
        below,
        BASE + 4,
        BASE + 1000 * 8,
        u64::MAX,
        u64::MAX - 7,
    ] {
        let mut world = three();
        let (stack, end) = world.walk(0x5000, 0, fp, 10, 0..0);
        assert_eq!((stack.len(), end), (1, StackEnd::NotCovered), "{fp:#x}");
    }
    // Not growing: it points to itself.
    let mut world = World {
        words: vec![BASE, 0x5005],
        ..World::default()
    };
    assert_eq!(
        world.walk(0x5000, 0, BASE, 10, 0..0).1,
        StackEnd::NotCovered
    );
}

#[test]
fn an_interrupted_frame_is_unwound_at_its_very_pc() {
    let mut world = three();
    world.words.resize(200, 0);
    let context = 10;
    let mut put = |offset: u64, value| world.words[context + (offset / 8) as usize] = value;
    put(platform::SIGNAL_FP, 0);
    put(platform::SIGNAL_SP, BASE);
    put(platform::SIGNAL_PC, 0x3003);
    world.words[9] = 0x6001;
    world.rules.insert(0x4000, rule(Cfa::Sp(16), Saved::Same));
    world.rules.insert(0x6000, Rule::SIGNAL);
    let (stack, end) = world.walk(0x4000, 8, 0, 10, 0..0);
    assert_eq!(stack, [0x4001, 0x6001, 0x3004, 0x2005, 0x1005]);
    assert_eq!(end, StackEnd::Root);
}

#[test]
fn stacks_that_bite_their_tail_end_at_the_limit_or_before() {
    // A frame based on the frame pointer that leads to itself.
    let mut world = World {
        words: vec![BASE, 0x3004],
        ..World::default()
    };
    world
        .rules
        .insert(0x3003, rule(Cfa::Fp(16), Saved::AtCfa(-16)));
    let (stack, end) = world.walk(0x3003, 0, BASE, 50, 0..0);
    assert_eq!((stack.len(), end), (50, StackEnd::Truncated));
    // The same among frames that are left out.
    let (_, end) = world.walk(0x3003, 0, BASE, 50, 0..u64::MAX);
    assert_eq!(end, StackEnd::Truncated);
    // One based on the stack pointer must grow.
    world.rules.insert(0x3003, rule(Cfa::Sp(0), Saved::Same));
    assert_eq!(world.walk(0x3003, 0, BASE, 50, 0..0).1, StackEnd::Malformed);
}

#[test]
fn unreadable_words_end_the_stack() {
    let mut world = three();
    world.words.truncate(3);
    let (stack, end) = world.walk(0x3003, 0, 0, 10, 0..0);
    assert_eq!((stack, end), (vec![0x3004, 0x2005], StackEnd::Unreadable));
}
