//! Claims about paragraphs: each thread and task is told, in whole lines.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::{Label, Mapping};

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
    let frames = [("app::fill", "src/a.rs", 31), ("app::serve", "src/a.rs", 7)];
    let leaf = profile.add_named(0x1233, Some(mapping), frames);
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
    let mut place = |address, name, file| profile.add_named(address, None, [(name, file, 3)]);
    let left = place(0x100, "app::left", "");
    let right = place(0x200, "app::right", "");
    let made = place(0x22, TASK_MADE_FRAME, "");
    let main = place(0x300, "app::main", "src/main.rs");
    // Named later than the profile was taken, so that nobody took it off.
    let ours = place(0x280, "everprof_core::tasks::task::Task::begin", "");
    let labels = [
        Label::number(TASK_ID_LABEL, 7, ""),
        Label::number(TASK_MAKER_LABEL, 2, ""),
        Label::number(TASK_PARENT_LABEL, 3, ""),
        Label::string(TASK_LABEL, "app::serve"),
        Label::string(TASK_STATE_LABEL, "waiting 3.2 s"),
        Label::string("tenant", "blue"),
    ];
    profile.push_sample(&[left, made, ours, main], &[1, 9], &labels);
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
