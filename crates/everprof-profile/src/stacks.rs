//! Stacks: what each thread is doing, in paragraphs and in groups, for people.
//!
//! Context: cold.
//! Invariant: every thread of the profile stands in it; a line of text is one line,
//! whatever names hold; a fixed buffer gets whole lines.
//! Source: the layout is that of a Go panic, which people and tools know.
//!
//! ```text
//! thread 7 "worker" [mutex 0x7f2a10, 3.2 s] {"tenant":"blue"}:
//! app::cache::fill                          innermost first
//!         src/cache.rs:31
//! app::serve                                fill was inlined into it
//!         src/main.rs:12 +0x51c0            the address, as an offset in its file
//! created by app::main
//!         src/main.rs:40 +0x5011
//! ```
//!
//! A profile of threads has one sample a thread, and says in labels what is no stack:
//! number and name of the thread, what it does, where it was created. So a profile that
//! was written to a file gives the same paragraphs as the process itself. Profiles
//! without these labels, as those of Go's goroutines, give a paragraph a sample.

mod about;
mod frames;
mod groups;
mod whole_lines;

use std::collections::HashMap;
use std::fmt::{self, Write};

pub use frames::Frames;
pub use groups::{Group, groups};

use self::about::About;
use self::frames::{Known, Told};
use self::whole_lines::WholeLines;
use crate::one_line::{clean, quoted};
use crate::report::nameless;
use crate::{LocationId, Profile, Sample};

/// The label that holds a thread's number, as the kernel counts them.
pub const ID_LABEL: &str = "thread_id";
/// The label that holds a thread's name.
pub const NAME_LABEL: &str = "thread";
/// The label that says what a thread does: `running`, `sleep`, `mutex 0x7f2a10, 3.2 s`.
pub const STATE_LABEL: &str = "thread_state";
/// The label that says where a thread was created: the lines of text below `created by`.
pub const CREATOR_LABEL: &str = "thread_creator";

/// The label that holds a watched task's number.
pub const TASK_ID_LABEL: &str = "task_id";
/// The label that joins the stacks of tasks that are one sample and wait in several places at
/// once: the number of the first of these tasks.
pub const TASK_GROUP_LABEL: &str = "task_group";
/// The label that says what a task is: the path of its function.
pub const TASK_LABEL: &str = "task";
/// The label that says what a task does: `waiting 3.2 s`, `woken, not yet polled 40 ms`.
pub const TASK_STATE_LABEL: &str = "task_state";
/// The label that holds the number of the task in whose poll this one is polled.
pub const TASK_PARENT_LABEL: &str = "task_parent";
/// The label that holds the number of the task that made this one.
pub const TASK_MAKER_LABEL: &str = "task_maker";
/// The label that says why a task may never run again.
pub const TASK_LEAK_LABEL: &str = "task_leak";

/// The frame between the stack in which a task waits and the one that made it.
pub const TASK_MADE_FRAME: &str = "everprof::spawn::task";

/// What a comment of a profile of threads begins with that tells of a deadlock: sentences
/// between semicolons, the first of which says how many threads are in it.
pub const DEADLOCK: &str = "deadlock: ";

/// Whether a label tells of the thread itself, and is none that the program has set.
pub(crate) fn is_of_thread(key: &str) -> bool {
    [
        ID_LABEL,
        NAME_LABEL,
        STATE_LABEL,
        CREATOR_LABEL,
        TASK_LABEL,
        TASK_STATE_LABEL,
        TASK_LEAK_LABEL,
    ]
    .contains(&key)
}

/// The stacks of threads at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stacks {
    /// Each thread, in the order of the profile.
    pub threads: Vec<ThreadParagraph>,
    /// What the profile says of deadlocks, each with its sentences.
    pub deadlocks: Vec<Vec<String>>,
}

/// A thread, or several that the profile does not tell apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadParagraph {
    /// What it is: `thread`, `task`, `goroutine`.
    pub kind: String,
    /// How many it stands for.
    pub count: u64,
    /// Its number; 0 if not known.
    pub id: u64,
    /// Its name; may be empty.
    pub name: String,
    /// What it does, or why it has no stack; may be empty.
    pub state: String,
    /// Keys and values that the program has set.
    pub labels: Vec<(String, String)>,
    /// Innermost first.
    pub frames: Frames,
    /// Further stacks of a task that waits in several places at once.
    pub also: Vec<Frames>,
    /// Where it was created, innermost first, as lines of text; may be empty.
    pub created_by: String,
}

/// A function on a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StackFrame {
    /// Name, or where it stands if it has none: `app+0x1234`.
    pub name: String,
    /// Source file; empty if not known.
    pub file: String,
    /// Line of the file; 0 if not known.
    pub line: i64,
    /// The program or library, and the offset in it, where the address is known and the
    /// frame was not inlined.
    pub place: Option<(String, u64)>,
}

impl Stacks {
    /// The threads of a profile of threads, tasks or goroutines. Names and lines are those
    /// that the profile holds.
    pub fn of(profile: &Profile) -> Stacks {
        let kind = match profile.sample_types().next().map(|kind| kind.kind) {
            Some("goroutine") => "goroutine",
            Some("tasks") => "task",
            _ => "thread",
        };
        let mut known = Known::new(profile);
        let mut threads: Vec<ThreadParagraph> = Vec::new();
        let (mut places, mut further) = (HashMap::new(), Vec::new());
        for sample in profile.samples() {
            let count = sample.values().first().copied().unwrap_or(0);
            let about = About::of(&sample);
            let task = about.task_id.or(about.task_group);
            // A further stack counts for nothing, and has the number of its task or of the
            // first of its tasks.
            if let (0, Some(task)) = (count, task) {
                further.push((task, known.stack(&sample, about.is_of_task()).frames));
            } else if count > 0 {
                if let Some(task) = task {
                    places.insert(task, threads.len());
                }
                threads.push(paragraph(&sample, about, kind, &mut known));
            }
        }
        for (task, frames) in further {
            if let Some(thread) = places.get(&task).and_then(|&at| threads.get_mut(at)) {
                thread.also.push(frames);
            }
        }
        Stacks {
            threads,
            deadlocks: profile
                .comments()
                .filter(|comment| comment.starts_with(DEADLOCK))
                .map(|comment| comment.split("; ").map(str::to_owned).collect())
                .collect(),
        }
    }

    /// Writes as many whole lines as the buffer holds, and says in the last one how many
    /// threads are not there whole. Returns the bytes written.
    pub fn write_into(&self, buffer: &mut [u8]) -> usize {
        let mut out = WholeLines::new(buffer);
        for (done, thread) in self.threads.iter().enumerate() {
            let gap = if done == 0 { "" } else { "\n" };
            if write!(out, "{gap}{thread}").is_err() {
                let left = self.threads.len() - done;
                let plural = if left == 1 { "" } else { "s" };
                out.end_with(&format!(
                    "… {left} more thread{plural}, not whole or not here\n"
                ));
                return out.len();
            }
        }
        if self.write_deadlocks(&mut out).is_err() {
            out.end_with("… more of deadlocks, not here\n");
        }
        out.len()
    }

    fn write_deadlocks(&self, out: &mut impl Write) -> fmt::Result {
        for (n, sentences) in self.deadlocks.iter().enumerate() {
            if n > 0 || !self.threads.is_empty() {
                out.write_char('\n')?;
            }
            for (n, sentence) in sentences.iter().enumerate() {
                let indent = if n == 0 { "" } else { "\t" };
                writeln!(out, "{indent}{}", clean(sentence))?;
            }
        }
        Ok(())
    }
}

/// Paragraphs, with an empty line between two; deadlocks after all threads.
impl fmt::Display for Stacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, thread) in self.threads.iter().enumerate() {
            if n > 0 {
                f.write_char('\n')?;
            }
            thread.fmt(f)?;
        }
        self.write_deadlocks(f)
    }
}

/// Lines, each with its end.
impl fmt::Display for ThreadParagraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.count, self.id) {
            (2.., _) => write!(f, "{} {}s", self.count, clean(&self.kind))?,
            (_, 0) => f.write_str(&clean(&self.kind))?,
            (_, id) => write!(f, "{} {id}", clean(&self.kind))?,
        }
        if !self.name.is_empty() {
            write!(f, " \"{}\"", clean(&self.name))?;
        }
        if !self.state.is_empty() {
            write!(f, " [{}]", clean(&self.state))?;
        }
        if !self.labels.is_empty() {
            f.write_char(' ')?;
            write_labels(&self.labels, f)?;
        }
        f.write_str(":\n")?;
        self.frames.fmt(f)?;
        for frames in &self.also {
            f.write_str("and in\n")?;
            frames.fmt(f)?;
        }
        let mut lines = self.created_by.lines();
        if let Some(first) = lines.next() {
            writeln!(f, "created by {}", clean(first))?;
            for line in lines {
                writeln!(f, "\t{}", clean(line.trim_start_matches('\t')))?;
            }
        }
        Ok(())
    }
}

/// A line with the name, and one with the place where that is known.
impl fmt::Display for StackFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", clean(&self.name))?;
        match (self.file.as_str(), &self.place) {
            ("", None) => return Ok(()),
            ("", Some((file, offset))) => write!(f, "\t{} +{offset:#x}", clean(file))?,
            (file, place) => {
                write!(f, "\t{}:{}", clean(file), self.line)?;
                if let Some((_, offset)) = place {
                    write!(f, " +{offset:#x}")?;
                }
            }
        }
        f.write_char('\n')
    }
}

/// As Go's `debug=1` does, on one line.
fn write_labels(labels: &[(String, String)], out: &mut impl Write) -> fmt::Result {
    out.write_char('{')?;
    for (n, (key, value)) in labels.iter().enumerate() {
        let gap = if n == 0 { "" } else { ", " };
        write!(out, "{gap}{}:{}", quoted(key), quoted(value))?;
    }
    out.write_char('}')
}

fn paragraph(
    sample: &Sample<'_>,
    about: About<'_>,
    kind: &str,
    known: &mut Known<'_>,
) -> ThreadParagraph {
    let told = known.stack(sample, about.is_of_task());
    let count = u64::try_from(sample.values()[0]).unwrap_or(0);
    if about.is_of_task() {
        return task(count, about, told);
    }
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    ThreadParagraph {
        // What has a number of the kernel's is a thread, by whatever name it was asked for.
        kind: about.id.map_or(kind, |_| "thread").to_owned(),
        count,
        id: number(about.id),
        name: text(about.name),
        state: text(about.state),
        labels: about.labels,
        frames: told.frames,
        also: Vec::new(),
        created_by: text(about.creator),
    }
}

/// A task, whose stack ends in the one that made it.
fn task(count: u64, about: About<'_>, told: Told) -> ThreadParagraph {
    let mut created_by = String::from(&*told.maker);
    let maker = number(about.task_maker);
    if maker != 0 && !created_by.is_empty() {
        let maker = format!(" in task {maker}");
        created_by.insert_str(created_by.find('\n').unwrap_or(created_by.len()), &maker);
    }
    let mut state = about.task_state.unwrap_or_default().to_owned();
    let parent = number(about.task_parent);
    if parent != 0 {
        let _ = write!(state, ", part of task {parent}");
    }
    if let Some(leak) = about.task_leak.filter(|leak| !leak.is_empty()) {
        let _ = write!(state, ", leak {leak}");
    }
    ThreadParagraph {
        kind: "task".to_owned(),
        count,
        id: number(about.task_id),
        name: about.task.unwrap_or_default().to_owned(),
        state,
        labels: about.labels,
        frames: told.frames,
        also: Vec::new(),
        created_by,
    }
}

/// A number that counts something; 0, where there is none.
fn number(label: Option<i64>) -> u64 {
    label
        .and_then(|label| u64::try_from(label).ok())
        .unwrap_or(0)
}

/// The functions of a location, innermost first.
fn frames_at(profile: &Profile, at: LocationId) -> Vec<StackFrame> {
    let location = profile.location(at);
    let place = location.mapping.and_then(|id| {
        let mapping = profile.mapping(id);
        let file = mapping.file.rsplit('/').next().unwrap_or_default();
        let offset = location.address.checked_sub(mapping.start)?;
        (!file.is_empty()).then(|| (file.to_owned(), offset.saturating_add(mapping.offset)))
    });
    if location.lines.is_empty() {
        // Its name says the place already.
        return vec![StackFrame {
            name: nameless(profile, &location),
            ..StackFrame::default()
        }];
    }
    let last = location.lines.len() - 1;
    let frame = |(n, line): (usize, &crate::Line)| {
        let function = profile.function(line.function);
        StackFrame {
            name: match (function.name, function.system_name) {
                ("", "") => nameless(profile, &location),
                ("", system_name) => system_name.to_owned(),
                (name, _) => name.to_owned(),
            },
            file: function.file.to_owned(),
            line: line.line,
            place: if n == last { place.clone() } else { None },
        }
    };
    location.lines.iter().enumerate().map(frame).collect()
}

#[cfg(test)]
pub(crate) mod tests;
