//! What each thread is doing, as a program sees it: values, text and endpoint.

#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use everprof::{Request, handle, profile, stacks, threads};
use everprof_profile::pprof::{Limits, decode};

/// Threads that wait in [`waits_here`] until they are let go.
struct Waiting {
    threads: Vec<(Sender<()>, JoinHandle<()>)>,
}

impl Waiting {
    fn start(name: &str, count: usize) -> Self {
        let start = |_| {
            let (go, told) = channel();
            let thread = std::thread::Builder::new().name(name.to_owned());
            (go, thread.spawn(move || waits_here(&told)).unwrap())
        };
        let waiting = Self {
            threads: (0..count).map(start).collect(),
        };
        // They may not wait yet: seen anew until they do.
        let waits = |thread: &threads::ThreadRecord| {
            thread.name == name && thread.state.starts_with("channel")
        };
        while threads::records()
            .unwrap()
            .iter()
            .filter(|t| waits(t))
            .count()
            < count
        {
            std::thread::yield_now();
        }
        waiting
    }

    fn end(self) {
        for (go, thread) in self.threads {
            drop(go);
            thread.join().unwrap();
        }
    }
}

#[inline(never)]
fn waits_here(told: &std::sync::mpsc::Receiver<()>) {
    assert!(told.recv().is_err());
    std::hint::black_box(());
}

#[inline(never)]
fn who_asks(all: bool) -> String {
    let mut text = String::new();
    stacks::write(all, &mut text).unwrap();
    std::hint::black_box(text)
}

fn get(target: &str) -> String {
    let response = handle(&Request::get(format!("/debug/pprof/{target}")));
    assert_eq!(response.status, 200, "{target}");
    String::from_utf8(response.body).unwrap()
}

#[test]
fn the_thread_that_asks_comes_first_and_begins_where_it_asks() {
    let alone = who_asks(false);
    let mut lines = alone.lines();
    let title = lines.next().unwrap();
    assert!(
        title.starts_with("thread ") && title.ends_with("[running]:"),
        "{alone}"
    );
    assert!(
        lines.next().unwrap().ends_with("threads::who_asks"),
        "{alone}"
    );
    let place = lines.next().unwrap();
    assert!(
        place.starts_with('\t') && place.contains("tests/threads.rs:"),
        "{alone}"
    );
    assert!(!alone.contains("\n\n"), "{alone}");
    assert_eq!(who_asks(true).lines().next(), Some(title));
}

#[test]
fn a_small_buffer_gets_whole_lines() {
    let mut buffer = [0; 300];
    let written = stacks::write_into(true, &mut buffer).unwrap();
    let text = std::str::from_utf8(&buffer[..written]).unwrap();
    assert!(
        text.starts_with("thread ") && text.ends_with('\n'),
        "{text}"
    );
}

#[test]
fn a_paragraph_tells_who_waits_for_what_and_where() {
    let waiting = Waiting::start("paragraph", 1);
    let text = get("goroutine?debug=2");
    let paragraph = text
        .split("\n\n")
        .find(|text| text.contains("\"paragraph\""))
        .unwrap();
    assert!(
        paragraph.contains("\"paragraph\" [channel 0x"),
        "{paragraph}"
    );
    assert!(paragraph.contains("threads::waits_here\n\t"), "{paragraph}");
    waiting.end();
}

#[test]
fn equal_stacks_are_one_line_of_debug_1() {
    let waiting = Waiting::start("equal", 5);
    for name in ["threads", "goroutine"] {
        let text = get(&format!("{name}?debug=1"));
        assert!(
            text.starts_with(&format!("{name} profile: total ")),
            "{text}"
        );
        let group = text
            .split("\n\n")
            .find(|group| group.contains("waits_here"))
            .unwrap();
        let line = group.lines().find(|line| line.contains(" @ ")).unwrap();
        let count: usize = line.split(' ').next().unwrap().parse().unwrap();
        // Other tests may have threads there, too.
        assert!(count >= 5, "{group}");
    }
    waiting.end();
}

#[test]
fn a_profile_has_one_sample_a_thread_and_its_text_has_lines() {
    let waiting = Waiting::start("profiled", 2);
    let threads = profile::lookup("threads").unwrap();
    let mut bytes = Vec::new();
    threads.write_to(&mut bytes).unwrap();
    let decoded = decode(&bytes, &Limits::default()).unwrap();
    let named = decoded
        .samples()
        .filter(|sample| sample.string_label("thread") == Some("profiled"));
    assert_eq!(named.count(), 2);
    assert_eq!(decoded.default_sample_type(), "threads");
    let mut text = Vec::new();
    threads.write_text(&mut text, 2).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("\"profiled\"") && text.contains("tests/threads.rs:"));
    waiting.end();
}

#[test]
fn a_delta_shows_who_came() {
    let before = profile::lookup("threads").unwrap();
    let waiting = Waiting::start("came", 3);
    let after = profile::lookup("threads").unwrap();
    let mut bytes = Vec::new();
    after.delta(&before).unwrap().write_to(&mut bytes).unwrap();
    let delta = decode(&bytes, &Limits::default()).unwrap();
    let came = delta
        .samples()
        .filter(|sample| sample.string_label("thread") == Some("came"));
    assert_eq!(came.map(|sample| sample.values()[0]).sum::<i64>(), 3);
    waiting.end();
}
