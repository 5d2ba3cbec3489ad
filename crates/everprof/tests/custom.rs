//! Profiles of a program's own.
#![allow(clippy::unwrap_used)]

use std::sync::OnceLock;

use everprof::custom::Guard;
use everprof::{Custom, profile};
use everprof_profile::pprof::{Limits, decode};

static CONNECTIONS: Custom = Custom::new("connections")
    .with_value("buffers", "bytes")
    .with_description("Open connections");
static FILES: Custom = Custom::new("files");
static ALSO_FILES: Custom = Custom::new("files");

/// The first record makes the memory for all, and what another thread adds in that very
/// moment is not recorded: so one test does, and the others wait for it.
fn begin() {
    static FIRST: Custom = Custom::new("first");
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| drop(FIRST.add(0)));
}

#[inline(never)]
fn connect(bytes: u64) -> Guard {
    CONNECTIONS.add(bytes)
}

fn text(name: &str) -> String {
    let mut text = Vec::new();
    let profile = profile::lookup(name).unwrap();
    profile.write_text(&mut text, 1).unwrap();
    String::from_utf8(text).unwrap()
}

/// How many are held, as the list of profiles shows.
fn count(name: &str) -> String {
    let index = everprof::handle(&everprof::Request::get("/debug/pprof/"));
    let index = String::from_utf8(index.body.to_vec()).unwrap();
    let row = index
        .lines()
        .find(|line| line.contains(&format!("'{name}?")));
    let row = row.unwrap().split_once("count>").unwrap().1;
    row.split_once('<').unwrap().0.to_owned()
}

#[test]
fn what_is_held_is_served_until_the_guard_is_dropped_on_any_thread() {
    begin();
    let guards = [connect(100), connect(20)];
    assert_eq!(count("connections"), "2");
    let shown = text("connections");
    assert!(shown.contains("custom::connect"), "{shown}");
    assert!(!shown.contains("everprof::custom"), "{shown}");
    std::thread::spawn(move || drop(guards)).join().unwrap();
    assert_eq!(count("connections"), "0");
    let response = everprof::handle(&everprof::Request::get("/debug/pprof/connections"));
    assert_eq!(response.status, 200);
    let index = everprof::handle(&everprof::Request::get("/debug/pprof/"));
    assert!(String::from_utf8_lossy(&index.body).contains("Open connections"));
}

#[test]
fn second_profile_of_a_name_is_refused_and_the_first_goes_on() {
    begin();
    FILES.serve().unwrap();
    let error = ALSO_FILES.serve().unwrap_err();
    assert!(error.is_busy() && error.to_string().contains("`files`"));
    let _first = FILES.add(1);
    let _second = ALSO_FILES.add(1);
    assert_eq!(count("files"), "1");
}

#[test]
fn values_are_held_now_and_ever_under_the_labels_in_force() {
    begin();
    static LEASES: Custom = Custom::new("leases").with_value("seconds", "seconds");
    let _labels = everprof::labels! { "tenant" => "one" };
    let [_kept, returned] = [30, 12].map(|seconds| LEASES.add(seconds));
    drop(returned);
    let mut bytes = Vec::new();
    profile::lookup("leases")
        .unwrap()
        .write_to(&mut bytes)
        .unwrap();
    let leases = decode(&bytes, &Limits::default()).unwrap();
    let kinds: Vec<_> = leases.sample_types().map(|kind| kind.kind).collect();
    assert_eq!(kinds, ["leases", "seconds", "total_leases"]);
    let samples: Vec<_> = leases.samples().collect();
    assert_eq!(samples.len(), 1);
    assert_eq!(samples[0].values(), [1, 30, 2]);
    assert_eq!(samples[0].string_label("tenant"), Some("one"));
}
