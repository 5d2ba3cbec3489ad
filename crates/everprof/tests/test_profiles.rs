//! The profiles of a test, as one writes them.
#![allow(clippy::unwrap_used)]

mod by_hand;

use std::fs;

use by_hand::{Kept, Task};
use everprof::Watch;
use everprof::test::Profiles;
use everprof_profile::pprof::{Limits, decode};

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

#[inline(never)]
fn before() -> Vec<u8> {
    vec![1; 1 << 20]
}

#[inline(never)]
fn meanwhile() -> Vec<u8> {
    vec![1; 3 << 20]
}

#[test]
fn profiles_of_a_test_hold_what_came_while_they_were_kept() {
    everprof::heap::set_period(1);
    let _kept = before();
    let profiles = Profiles::of_this_test();
    let directory = profiles.directory().to_owned();
    assert!(directory.ends_with("profiles_of_a_test_hold_what_came_while_they_were_kept"));
    let _grown = meanwhile();
    drop(profiles);

    let bytes = fs::read(directory.join("heap.pb.gz")).unwrap();
    let heap = decode(&bytes, &Limits::default()).unwrap();
    let in_use = |function: &str| -> i64 {
        let has = |sample: &everprof_profile::Sample<'_>| {
            sample.stack().into_iter().any(|id| {
                let lines = heap.location(id).lines;
                lines
                    .iter()
                    .any(|line| heap.function(line.function).name.ends_with(function))
            })
        };
        let samples = heap.samples();
        samples.filter(has).map(|sample| sample.values()[3]).sum()
    };
    assert_eq!(in_use("::meanwhile"), 3 << 20);
    assert_eq!(in_use("::before"), 0);
    assert!(directory.join("allocs.pb.gz").is_file());
    assert!(!directory.join("profile.pb.gz").exists());
    fs::remove_dir_all(directory).unwrap();
}

#[inline(never)]
async fn waits_to_the_end(kept: Kept) {
    kept.wait().await;
}

#[test]
fn tasks_that_are_there_at_the_end_of_a_test_are_in_a_file() {
    let profiles = Profiles::of_this_test();
    let directory = profiles.directory().to_owned();
    let mut ended = Task::new(waits_to_the_end(Kept::new()).watched());
    assert!(ended.poll().is_pending());
    drop(ended);
    let kept: Vec<Kept> = (0..2).map(|_| Kept::new()).collect();
    let tasks = kept.iter().map(|kept| {
        let mut task = Task::new(waits_to_the_end(kept.clone()).watched());
        assert!(task.poll().is_pending());
        task
    });
    let tasks: Vec<_> = tasks.collect();
    drop(profiles);
    drop(tasks);

    let bytes = fs::read(directory.join("tasks.pb.gz")).unwrap();
    let tasks = decode(&bytes, &Limits::default()).unwrap();
    let samples: Vec<_> = tasks.samples().collect();
    let [both] = &samples[..] else {
        panic!("{samples:?}")
    };
    assert_eq!(both.values()[0], 2);
    let leaf = both.stack().into_iter().find_map(|id| {
        let lines = tasks.location(id).lines;
        lines.first().map(|line| tasks.function(line.function).name)
    });
    assert!(leaf.is_some_and(|name| !name.contains("Waker")), "{leaf:?}");
    assert!(directory.join("taskblock.pb.gz").is_file());
    fs::remove_dir_all(directory).unwrap();
}
