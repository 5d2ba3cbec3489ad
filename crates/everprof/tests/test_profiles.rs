//! The profiles of a test, as one writes them.
#![allow(clippy::unwrap_used)]

use std::fs;

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
