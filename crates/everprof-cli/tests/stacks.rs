//! What `everprof stacks` says of threads, word for word.
#![allow(clippy::unwrap_used)]

mod support;

use everprof_profile::stacks::{
    CREATOR_LABEL, ID_LABEL, NAME_LABEL, STATE_LABEL, TASK_LABEL, TASK_STATE_LABEL,
};
use everprof_profile::{Function, Label, Line, LocationId, Profile};
use serde_json::Value;
use support::{Place, answer, encoded, server};

/// Two workers at one place, one thread at another.
fn threads() -> Profile {
    let mut profile = Profile::new(&[("threads", "count")]);
    profile.time_nanos = 1_795_441_205_000_000_000;
    let mut at = |address: u64, name: &str, line: i64| -> LocationId {
        let function = profile.add_function(Function {
            name,
            file: "src/app.rs",
            ..Function::default()
        });
        let id = profile.add_location(address, None);
        let line = Line {
            function,
            line,
            column: 0,
        };
        profile.set_lines(id, &[line]);
        id
    };
    let main = at(1, "app::main", 10);
    let lock = at(2, "std::sync::Mutex<T>::lock", 20);
    let work = at(3, "app::work", 30);
    let start = at(4, "std::sys::backtrace::__rust_begin_short_backtrace", 40);
    for (id, name, state) in [
        (7, "worker-1", "mutex 0x7f10, 3.2 s"),
        (8, "worker-2", "mutex 0x7f10, 17 ms"),
    ] {
        let labels = [
            Label::number(ID_LABEL, id, ""),
            Label::string(NAME_LABEL, name),
            Label::string(STATE_LABEL, state),
            Label::string(CREATOR_LABEL, "app::main\n\tsrc/app.rs:11 +0x5011"),
            Label::string("tenant", "blue"),
        ];
        profile.push_sample(&[lock, work, start], &[1], &labels);
    }
    let labels = [
        Label::number(ID_LABEL, 6, ""),
        Label::string(NAME_LABEL, "app\u{1b}[31m"),
        Label::string(STATE_LABEL, "running"),
    ];
    profile.push_sample(&[main], &[1], &labels);
    profile
}

fn place() -> Place {
    let place = Place::new();
    place.put("threads.pb.gz", &encoded(&threads()));
    place
}

#[track_caller]
fn same(actual: &str, expected: &str) {
    assert!(
        actual == expected.trim_start_matches('\n'),
        "the report is now:\n{actual}"
    );
}

#[test]
fn threads_at_one_place_stand_together() {
    same(
        &place().stdout(&["stacks", "threads.pb.gz"]),
        "
threads.pb.gz: 3 threads at 2 places, taken 2026-11-23 13:40:05 UTC

2 threads \"worker\" [mutex] {tenant:blue}
  std::sync::Mutex<T>::lock  src/app.rs:20
  app::work                  src/app.rs:30
  created by app::main       src/app.rs:11 +0x5011

1 thread 6 \"app\\u{1b}[31m\" [running]
  app::main  src/app.rs:10
",
    );
}

#[test]
fn the_start_of_a_thread_is_shown_when_asked_for() {
    let place = place();
    let start = "__rust_begin_short_backtrace";
    assert!(!place.stdout(&["stacks", "threads.pb.gz"]).contains(start));
    assert!(
        place
            .stdout(&["stacks", "--full", "threads.pb.gz"])
            .contains(start)
    );
}

#[test]
fn tasks_and_threads_are_counted_apart_and_names_found_meanwhile_not_told_missing() {
    let mut profile = threads();
    let labels = [
        Label::string(TASK_LABEL, "app::serve"),
        Label::string(TASK_STATE_LABEL, "waiting"),
    ];
    profile.push_sample(&[], &[4], &labels);
    profile.add_comment("4 watched tasks");
    profile.add_comment("symbols: `/app` has no symbol for any of its 2 addresses");
    let place = Place::new();
    place.put("both.pb.gz", &encoded(&profile));
    let text = place.stdout(&["stacks", "both.pb.gz"]);
    let mut lines = text.lines();
    let head = lines.next().unwrap();
    assert!(
        head.contains(": 4 tasks and 3 threads at 3 places, taken"),
        "{text}"
    );
    assert_eq!(lines.next(), Some("4 watched tasks"));
    assert!(!text.contains("symbols: "), "{text}");
}

#[test]
fn what_the_limit_leaves_out_is_counted() {
    let text = place().stdout(&["stacks", "-n", "1", "threads.pb.gz"]);
    assert!(
        text.ends_with("\n… 1 thread more at 1 place (-n 0 shows all)\n"),
        "{text}"
    );
}

#[test]
fn each_is_a_paragraph_a_thread() {
    let text = place().stdout(&["stacks", "--each", "threads.pb.gz"]);
    same(
        &text,
        "
thread 7 \"worker-1\" [mutex 0x7f10, 3.2 s] {\"tenant\":\"blue\"}:
std::sync::Mutex<T>::lock
\tsrc/app.rs:20
app::work
\tsrc/app.rs:30
std::sys::backtrace::__rust_begin_short_backtrace
\tsrc/app.rs:40
created by app::main
\tsrc/app.rs:11 +0x5011

thread 8 \"worker-2\" [mutex 0x7f10, 17 ms] {\"tenant\":\"blue\"}:
std::sync::Mutex<T>::lock
\tsrc/app.rs:20
app::work
\tsrc/app.rs:30
std::sys::backtrace::__rust_begin_short_backtrace
\tsrc/app.rs:40
created by app::main
\tsrc/app.rs:11 +0x5011

thread 6 \"app\u{fffd}[31m\" [running]:
app::main
\tsrc/app.rs:10
",
    );
}

#[test]
fn stacks_as_markdown() {
    same(
        &place().stdout(&["stacks", "--format", "md", "-n", "1", "threads.pb.gz"]),
        "
threads.pb.gz: 3 threads at 2 places, taken 2026-11-23 13:40:05 UTC

**2 threads \"worker\" [mutex] {tenant:blue}**

```
std::sync::Mutex<T>::lock  src/app.rs:20
app::work                  src/app.rs:30
created by app::main       src/app.rs:11 +0x5011
```

… 1 thread more at 1 place (-n 0 shows all)
",
    );
}

#[test]
fn stacks_as_json_tell_of_every_thread() {
    let text = place().stdout(&["stacks", "--format", "json", "threads.pb.gz"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["count"], 3);
    let group = &value["groups"][0];
    assert_eq!(group["count"], 2);
    assert_eq!(group["labels"]["tenant"], "blue");
    assert_eq!(group["states"][0]["state"], "mutex");
    assert_eq!(group["frames"][1]["name"], "app::work");
    assert_eq!(group["frames"][1]["line"], 30);
    assert_eq!(group["threads"][1]["id"], 8);
    assert_eq!(group["threads"][1]["state"], "mutex 0x7f10, 17 ms");
}

#[test]
fn a_bare_address_means_the_goroutines_that_every_server_has() {
    let mut goroutines = Profile::new(&[("goroutine", "count")]);
    let at = goroutines.add_location(0x10, None);
    goroutines.push_sample(&[at], &[41], &[]);
    let (address, asked) = server(answer("200 OK", &encoded(&goroutines)));
    let text = Place::new().stdout(&["stacks", &address]);
    let asked = asked.recv().unwrap();
    assert!(
        asked.starts_with("GET /debug/pprof/goroutine HTTP/1.1"),
        "{asked}"
    );
    assert!(text.contains("41 goroutines at 1 place"), "{text}");
    assert!(text.contains("\n41 goroutines\n  0x10\n"), "{text}");
}

#[test]
fn a_profile_of_something_else_is_refused_with_the_next_command() {
    let output = Place::new().run(&["stacks", "heap.pb.gz"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("expected a profile of threads"), "{errors}");
    assert!(errors.contains("everprof top heap.pb.gz"), "{errors}");
}
