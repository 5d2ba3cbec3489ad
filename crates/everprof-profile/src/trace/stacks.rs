//! Stacks: the stacks of a trace with their names, by number.
//!
//! Context: cold.
//! Invariant: what is done with profiles (naming, trimming, filtering) is done with these in
//! the same way, for they are samples of one: each with the number of its stack as a label.

use std::collections::HashMap;
use std::ops::Range;

use regex_lite::Regex;

use super::places::Places;
use super::tables::Tables;
use crate::trim::ALLOCATOR_FRAMES;
use crate::{Error, Filter, Label, Line, Profile};

/// A profile of stacks with these numbers, one sample each, their addresses without names.
/// [`kept`] and [`Shown`] read it when it has been named.
///
/// # Errors
///
/// [`Error::is_limit`] when the stacks are a bomb.
pub fn profile(tables: &Tables, numbers: Range<u32>) -> Result<Profile, Error> {
    // A kind by which reports know that a recorder's own frames lead the stacks.
    let mut profile = Profile::new(&[("alloc_objects", "count")]);
    let mut places = Places::new(tables, &mut profile);
    for number in numbers {
        let stack = places.stack(&mut profile, number)?;
        let labels = profile.add_label_set(&[Label::number(NUMBER, number.into(), "")]);
        profile.push_sample_of(stack, &[1], labels);
    }
    Ok(profile)
}

/// Which stacks a filter keeps, by number. Labels are not the stacks', so that a filter of
/// labels keeps none.
pub fn kept(stacks: &Profile, filter: &Filter) -> Vec<bool> {
    let mut kept = vec![false; stacks.samples().len()];
    for number in numbers(&stacks.filter(filter)) {
        if let Some(is_kept) = kept.get_mut(number) {
            *is_kept = true;
        }
    }
    kept
}

fn numbers(stacks: &Profile) -> impl Iterator<Item = usize> + '_ {
    stacks.samples().filter_map(|sample| {
        let number = sample.number_label(NUMBER)?;
        usize::try_from(number).ok()
    })
}

/// Stacks as lines of text. Frames are kept once: 100,000 stacks have some thousands.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    frames: Vec<ShownFrame>,
    known: HashMap<ShownFrame, u32>,
    /// Numbers of frames, innermost first.
    stacks: Vec<Box<[u32]>>,
}

/// A frame for people.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShownFrame {
    /// The function, or where it stands if it has no name.
    pub name: String,
    /// Source file; empty if not known.
    pub file: String,
    /// Line of the file; 0 if not known.
    pub line: i64,
}

impl Shown {
    /// Takes in stacks that [`profile`] made, and that have been named and trimmed.
    ///
    /// Left out are std's own path to the allocator, and what there was before the
    /// program: the frames that called the thread's own first function.
    pub fn add(&mut self, stacks: &Profile) {
        let plumbing = Regex::new(&format!("^(?:{ALLOCATOR_FRAMES})$")).ok();
        for sample in stacks.samples() {
            let Some(number) = sample.number_label(NUMBER) else {
                continue;
            };
            let Ok(number) = usize::try_from(number) else {
                continue;
            };
            if self.stacks.len() <= number {
                self.stacks.resize_with(number + 1, Box::default);
            }
            let frames = sample.stack().flat_map(|at| shown(stacks, at)).collect();
            let frames = own(frames, plumbing.as_ref()).into_iter();
            self.stacks[number] = frames.map(|frame| self.number(frame)).collect();
        }
    }

    /// The frames of a stack, innermost first.
    pub fn frames(&self, stack: u32) -> impl Iterator<Item = &ShownFrame> {
        let numbers = self.stacks.get(stack as usize);
        let numbers = numbers.into_iter().flatten();
        numbers.map(|&number| &self.frames[number as usize])
    }

    fn number(&mut self, frame: ShownFrame) -> u32 {
        if let Some(&known) = self.known.get(&frame) {
            return known;
        }
        // A profile has fewer than 2^32 functions.
        let number = self.frames.len() as u32;
        self.known.insert(frame.clone(), number);
        self.frames.push(frame);
        number
    }

    /// The number of the first stack that has not been taken in.
    pub fn next(&self) -> u32 {
        u32::try_from(self.stacks.len()).unwrap_or(u32::MAX)
    }
}

fn own(mut frames: Vec<ShownFrame>, plumbing: Option<&Regex>) -> Vec<ShownFrame> {
    let is_start = |frame: &ShownFrame| frame.name.contains("__rust_begin_short_backtrace");
    if let Some(start @ 1..) = frames.iter().position(is_start) {
        frames.truncate(start);
    }
    let is_plumbing = |frame: &ShownFrame| plumbing.is_some_and(|of| of.is_match(&frame.name));
    let inner = frames.iter().rposition(is_plumbing).map_or(0, |at| at + 1);
    // A stack of nothing else keeps its frames: they are all there is.
    if inner < frames.len() {
        frames.drain(..inner);
    }
    frames
}

fn shown(profile: &Profile, at: crate::LocationId) -> Vec<ShownFrame> {
    let location = profile.location(at);
    if location.lines.is_empty() {
        let nameless = ShownFrame {
            name: crate::report::nameless(profile, &location),
            file: String::new(),
            line: 0,
        };
        return vec![nameless];
    }
    let shown = |line: &Line| {
        let function = profile.function(line.function);
        ShownFrame {
            name: function.name.to_owned(),
            file: function.file.to_owned(),
            line: line.line,
        }
    };
    location.lines.iter().map(shown).collect()
}

/// The label that has the number of a stack.
const NUMBER: &str = "stack";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plumbing_and_start_are_left_out() {
        let plumbing = Regex::new(&format!("^(?:{ALLOCATOR_FRAMES})$")).ok();
        let left = |names: &[&str]| -> Vec<String> {
            let frame = |name: &&str| ShownFrame {
                name: (*name).to_owned(),
                file: String::new(),
                line: 0,
            };
            let frames = names.iter().map(frame).collect();
            let left = own(frames, plumbing.as_ref());
            left.into_iter().map(|frame| frame.name).collect()
        };
        let start = "std::sys::backtrace::__rust_begin_short_backtrace";
        let grow = "alloc::raw_vec::RawVecInner::try_allocate_in";
        let alloc = "alloc::alloc::alloc";
        assert_eq!(
            left(&[alloc, grow, "app::f", "app::main", start, "main"]),
            ["app::f", "app::main"]
        );
        assert_eq!(left(&[alloc, grow]), [alloc, grow]);
        assert_eq!(left(&[start, "main"]), [start, "main"]);
    }
}
