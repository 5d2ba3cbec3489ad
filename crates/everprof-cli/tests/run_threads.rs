//! Threads of a C program under `everprof run`: who created them, and that each still
//! runs, returns, exits and is cancelled as without.
#![allow(clippy::unwrap_used)]

mod launch;

use everprof_profile::Profile;
use launch::{compile, profile, room, run, success};

/// Created and live, by stacks that have `site`.
fn threads_of(profile: &Profile, site: &str) -> (i64, i64) {
    let mut sums = (0, 0);
    for sample in profile.samples() {
        let mut lines = sample
            .stack()
            .flat_map(|location| profile.location(location).lines);
        if lines.any(|line| profile.function(line.function).name == site) {
            sums.0 += sample.values()[0];
            sums.1 += sample.values()[1];
        }
    }
    sums
}

#[test]
fn threads_of_a_c_program_are_counted_where_they_were_created() {
    let room = room();
    let program = compile(&room, "spawns.c", &[]);
    let profiles = room.path().join("out");
    let output = run(&profiles, &["--quiet"]).arg(program).output().unwrap();
    let (out, _) = success(output);
    assert_eq!(out, "86 1 7\n");

    let threads = profile(&profiles, "threadcreate");
    let types: Vec<_> = threads
        .sample_types()
        .map(|of| (of.kind, of.unit))
        .collect();
    let expected = [
        ("threadcreate", "count"),
        ("live", "count"),
        ("cpu", "nanoseconds"),
    ];
    assert_eq!(types, expected);
    assert_eq!(threads_of(&threads, "first_site"), (2, 0));
    assert_eq!(threads_of(&threads, "second_site"), (3, 1));
    assert_eq!(threads_of(&threads, "c11_site"), (1, 0));
    // The leaf is the program's: everprof's own function is no part of its stack.
    for sample in threads.samples() {
        let leaf = sample.stack().next().unwrap();
        let name = threads
            .function(threads.location(leaf).lines[0].function)
            .name;
        assert!(name.ends_with("_site"), "{name}");
    }
}
