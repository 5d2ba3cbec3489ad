//! Under each schedule a watched program polls as it does unwatched, and comes to its end.

use std::sync::{Mutex, PoisonError};

use schedules::{Points, Scheduler, Watch, different, explore, programs};

/// Schedules of each kind. With four kinds each program goes through four times as many.
const COUNT: usize = 10_000;

/// How many instead: fewer to try something, more over night.
const VARIABLE: &str = "SCHEDULES";

/// Changes of priorities: orders that take so many of them are found with a known probability.
const SCHEDULERS: [Scheduler; 2] = [Scheduler::Random, Scheduler::Priorities(3)];

/// Dumps tell of all tasks of the process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

macro_rules! each {
    ($($room:ident: $($program:ident),*);* $(;)?) => {
        $($(#[test]
        fn $program() {
            explored(stringify!($program), schedules::$room::$program);
        })*)*
    };
}

programs!(each);

fn explored(name: &str, program: schedules::Program) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let count = match std::env::var(VARIABLE) {
        Ok(told) => told.parse().expect("SCHEDULES is a number"),
        Err(_) => COUNT,
    };
    let mut found = Vec::new();
    for scheduler in SCHEDULERS {
        let explore = |watch, points| explore(program, watch, points, scheduler, count);
        let unwatched = explore(Watch::No, Points::Wakes);
        assert_alike(&explore(Watch::Yes, Points::Wakes), &unwatched, "watched");
        assert_alike(
            &explore(Watch::Dumped, Points::Wakes),
            &unwatched,
            "watched and dumped",
        );
        // Where threads change within everprof's own calls, too, it is held against itself.
        let watched = explore(Watch::Yes, Points::All);
        assert_alike(&explore(Watch::Dumped, Points::All), &watched, "dumped");
        found.extend([different(&unwatched), different(&watched)]);
    }
    assert_eq!(
        everprof::tasks::counts().watched,
        0,
        "a task is on record that is no more"
    );
    println!("{name}: of {count} schedules each {found:?} courses");
}

fn assert_alike(is: &[Vec<String>], must_be: &[Vec<String>], what: &str) {
    assert_eq!(is.len(), must_be.len());
    for (number, (is, must_be)) in is.iter().zip(must_be).enumerate() {
        assert_eq!(is, must_be, "schedule {number}, {what}");
    }
}
