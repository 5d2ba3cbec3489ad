//! Frames: the functions of one stack, and what they are as text.
//!
//! Context: cold. Invariant: the text is that of the frames. All who stand there share both:
//! 100,000 tasks wait in few places, and their names would be copied 100,000 times.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::{StackFrame, TASK_MADE_FRAME, frames_at};
use crate::{Profile, Sample, StackId, is_own_frame};

/// The functions of a stack, innermost first. A copy is the same in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Frames(Arc<Shown>);

#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct Shown {
    frames: Vec<StackFrame>,
    text: String,
}

impl From<Vec<StackFrame>> for Frames {
    fn from(frames: Vec<StackFrame>) -> Self {
        let text = frames.iter().map(StackFrame::to_string).collect();
        Self(Arc::new(Shown { frames, text }))
    }
}

impl Deref for Frames {
    type Target = [StackFrame];

    fn deref(&self) -> &[StackFrame] {
        &self.0.frames
    }
}

/// Lines, each with its end.
impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

/// A stack as it is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// Where a thread stands, or a task waits.
    pub(super) frames: Frames,
    /// The function that made a task, as lines; empty for threads.
    pub(super) maker: Arc<str>,
}

/// The stacks of a profile that were met so far.
pub(super) struct Known<'p> {
    profile: &'p Profile,
    locations: Vec<Option<Vec<StackFrame>>>,
    /// A task's ends where it was made, a thread's does not.
    stacks: HashMap<(StackId, bool), Told>,
}

impl<'p> Known<'p> {
    pub(super) fn new(profile: &'p Profile) -> Self {
        Self {
            profile,
            locations: vec![None; profile.locations().len()],
            stacks: HashMap::new(),
        }
    }

    pub(super) fn stack(&mut self, sample: &Sample<'_>, is_task: bool) -> Told {
        let key = (sample.stack_id(), is_task);
        if let Some(told) = self.stacks.get(&key) {
            return told.clone();
        }
        let mut frames = Vec::new();
        for at in sample.stack() {
            let here =
                self.locations[at.index()].get_or_insert_with(|| frames_at(self.profile, at));
            frames.extend_from_slice(here);
        }
        let is_marker = |frame: &StackFrame| is_task && frame.name == TASK_MADE_FRAME;
        let maker = match frames.iter().position(is_marker) {
            Some(marker) => frames.split_off(marker),
            None => Vec::new(),
        };
        // Ours are taken off where they are known: not in a program that was stripped, whose
        // profile gets its names later.
        let is_programs = |frame: &&StackFrame| !is_own_frame(&frame.name);
        let made = maker.get(1..).unwrap_or_default();
        let told = Told {
            frames: frames.into(),
            maker: made
                .iter()
                .find(is_programs)
                .or(made.first())
                .map_or(Arc::default(), |frame| frame.to_string().into()),
        };
        self.stacks.insert(key, told.clone());
        told
    }
}
