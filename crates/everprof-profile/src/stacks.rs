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

use std::collections::HashMap;
use std::fmt::{self, Write};

pub use frames::Frames;
pub use groups::{Group, groups};

use self::about::About;
use self::frames::{Known, Told};
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
        let mut out = WholeLines { buffer, len: 0 };
        for (done, thread) in self.threads.iter().enumerate() {
            let gap = if done == 0 { "" } else { "\n" };
            if write!(out, "{gap}{thread}").is_err() {
                let left = self.threads.len() - done;
                let plural = if left == 1 { "" } else { "s" };
                out.end_with(&format!(
                    "… {left} more thread{plural}, not whole or not here\n"
                ));
                return out.len;
            }
        }
        if self.write_deadlocks(&mut out).is_err() {
            out.end_with("… more of deadlocks, not here\n");
        }
        out.len
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

/// A buffer that is filled by writing and cut at the ends of lines.
struct WholeLines<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl WholeLines<'_> {
    /// Takes lines off until `text` has room behind the rest. If it never has, nothing
    /// stays: half a truth without a word that it is half is worse.
    fn end_with(&mut self, text: &str) {
        let is_end = |n: &usize| *n == 0 || self.buffer[*n - 1] == b'\n';
        let fits = |n: &usize| n + text.len() <= self.buffer.len();
        let Some(end) = (0..=self.len).rev().filter(is_end).find(fits) else {
            self.len = 0;
            return;
        };
        self.buffer[end..][..text.len()].copy_from_slice(text.as_bytes());
        self.len = end + text.len();
    }
}

impl Write for WholeLines<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // A whole stack comes at once, of which some lines may have room.
        let fits = text.len().min(self.buffer.len() - self.len);
        self.buffer[self.len..][..fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        if fits < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Function, Label, Line, Mapping};

    /// Three threads: two wait at one place, one has no stack.
    pub(crate) fn threads() -> Profile {
        let mut profile = Profile::new(&[("threads", "count")]);
        let mapping = profile.add_mapping(Mapping {
            start: 0x1000,
            limit: 0x9000,
            offset: 0x200,
            file: "/srv/app",
            ..Mapping::default()
        });
        let leaf = profile.add_location(0x1233, Some(mapping));
        let lines = [("app::fill", 31), ("app::serve", 7)].map(|(name, line)| Line {
            function: profile.add_function(Function {
                name,
                file: "src/a.rs",
                ..Function::default()
            }),
            line,
            column: 0,
        });
        profile.set_lines(leaf, &lines);
        let root = profile.add_location(0x2000, Some(mapping));
        for (id, name, state) in [
            (7, "worker", "mutex 0x7f2a10, 3.2 s"),
            (8, "work\ner", "mutex 0x7f2a10, 17 ms"),
        ] {
            let labels = [
                Label::number(ID_LABEL, id, ""),
                Label::string(NAME_LABEL, name),
                Label::string(STATE_LABEL, state),
                Label::string(CREATOR_LABEL, "app::main\n\tsrc/main.rs:40 +0x5011"),
                Label::string("tenant", "blue"),
            ];
            profile.push_sample(&[leaf, root], &[1], &labels);
        }
        let labels = [
            Label::number(ID_LABEL, 9, ""),
            Label::string(STATE_LABEL, "no stack: it blocks the signal"),
        ];
        profile.push_sample(&[], &[1], &labels);
        profile
    }

    const TEXT: &str = "\
thread 7 \"worker\" [mutex 0x7f2a10, 3.2 s] {\"tenant\":\"blue\"}:
app::fill
\tsrc/a.rs:31
app::serve
\tsrc/a.rs:7 +0x433
app+0x1200
created by app::main
\tsrc/main.rs:40 +0x5011

thread 8 \"work\u{fffd}er\" [mutex 0x7f2a10, 17 ms] {\"tenant\":\"blue\"}:
app::fill
\tsrc/a.rs:31
app::serve
\tsrc/a.rs:7 +0x433
app+0x1200
created by app::main
\tsrc/main.rs:40 +0x5011

thread 9 [no stack: it blocks the signal]:
";

    #[test]
    fn a_paragraph_a_thread_as_a_panic_prints_it() {
        assert_eq!(Stacks::of(&threads()).to_string(), TEXT);
    }

    #[test]
    fn what_was_written_to_a_file_reads_the_same() {
        let mut bytes = Vec::new();
        crate::pprof::encode(&threads(), &mut bytes).unwrap();
        let read = crate::pprof::decode(&bytes, &crate::pprof::Limits::default()).unwrap();
        assert_eq!(Stacks::of(&read), Stacks::of(&threads()));
    }

    #[test]
    fn a_buffer_of_any_length_gets_whole_lines_and_a_word_of_the_rest() {
        let stacks = Stacks::of(&threads());
        let lines: Vec<&str> = TEXT.lines().collect();
        for len in 0..TEXT.len() + 9 {
            let mut buffer = vec![0xff; len];
            let written = stacks.write_into(&mut buffer);
            let text = std::str::from_utf8(&buffer[..written]).unwrap();
            if len >= TEXT.len() {
                assert_eq!(text, TEXT);
                continue;
            }
            let mut whole: Vec<&str> = text.lines().collect();
            let Some(last) = whole.pop() else {
                // Not even the last line has room.
                assert!(len < 50, "{len}");
                continue;
            };
            assert!(last.starts_with("… ") && text.ends_with('\n'), "{text}");
            assert_eq!(whole, lines[..whole.len()]);
            let next = lines[whole.len()];
            assert!(written + next.len() + "\n".len() > len, "{len}: {next}");
        }
    }

    #[test]
    fn deadlocks_stand_behind_the_threads() {
        let mut profile = threads();
        profile.add_comment("no matter");
        profile.add_comment("deadlock: a thread waits for itself; thread 7 waits for mutex 0x10");
        let more = "\ndeadlock: a thread waits for itself\n\tthread 7 waits for mutex 0x10\n";
        let text = TEXT.to_owned() + more;
        let stacks = Stacks::of(&profile);
        assert_eq!(stacks.to_string(), text);
        let mut buffer = [0; 2048];
        let written = stacks.write_into(&mut buffer);
        assert_eq!(&buffer[..written], text.as_bytes());
        let written = stacks.write_into(&mut buffer[..text.len() - 1]);
        let cut = TEXT.to_owned() + "\n… more of deadlocks, not here\n";
        assert_eq!(&buffer[..written], cut.as_bytes());
    }

    /// A task that waits in two places, and others that are not told apart, some in two places.
    fn tasks() -> Profile {
        let mut profile = Profile::new(&[("tasks", "count"), ("waited", "nanoseconds")]);
        let mut place = |address, name, file| {
            let at = profile.add_location(address, None);
            let function = profile.add_function(Function {
                name,
                file,
                ..Function::default()
            });
            let line = Line {
                function,
                line: 3,
                column: 0,
            };
            profile.set_lines(at, &[line]);
            at
        };
        let left = place(0x100, "app::left", "");
        let right = place(0x200, "app::right", "");
        let made = place(0x22, TASK_MADE_FRAME, "");
        let main = place(0x300, "app::main", "src/main.rs");
        let labels = [
            Label::number(TASK_ID_LABEL, 7, ""),
            Label::number(TASK_MAKER_LABEL, 2, ""),
            Label::number(TASK_PARENT_LABEL, 3, ""),
            Label::string(TASK_LABEL, "app::serve"),
            Label::string(TASK_STATE_LABEL, "waiting 3.2 s"),
            Label::string("tenant", "blue"),
        ];
        profile.push_sample(&[left, made, main], &[1, 9], &labels);
        profile.push_sample(&[right, made, main], &[0, 0], &labels);
        let labels = [
            Label::string(TASK_LABEL, "app::serve"),
            Label::string(TASK_STATE_LABEL, "waiting"),
            Label::string(TASK_LEAK_LABEL, "certain"),
        ];
        profile.push_sample(&[left, made], &[2, 5], &labels);
        let labels = [
            Label::number(TASK_GROUP_LABEL, 11, ""),
            Label::string(TASK_LABEL, "app::join"),
            Label::string(TASK_STATE_LABEL, "waiting"),
        ];
        profile.push_sample(&[right, made], &[3, 5], &labels);
        profile.push_sample(&[left, made], &[0, 0], &labels);
        profile
    }

    #[test]
    fn task_is_a_paragraph_with_all_its_stacks_and_its_maker() {
        let text = Stacks::of(&tasks()).to_string();
        let expected = "\
task 7 \"app::serve\" [waiting 3.2 s, part of task 3] {\"tenant\":\"blue\"}:
app::left
and in
app::right
created by app::main in task 2
\tsrc/main.rs:3

2 tasks \"app::serve\" [waiting, leak certain]:
app::left

3 tasks \"app::join\" [waiting]:
app::right
and in
app::left
";
        assert_eq!(text, expected);
    }

    #[test]
    fn goroutines_are_told_by_their_samples() {
        let mut profile = Profile::new(&[("goroutine", "count")]);
        let at = profile.add_location(0x10, None);
        profile.push_sample(&[at], &[3], &[]);
        profile.push_sample(&[at], &[-1], &[Label::string("gone", "in a delta")]);
        assert_eq!(Stacks::of(&profile).to_string(), "3 goroutines:\n0x10\n");
    }
}
