//! Watched and dumped, a program polls as it does unwatched.

#![allow(clippy::unwrap_used)]

use tasks::alike::{self, run};
use tasks::alike_programs;
use tasks::watch::Watch;

macro_rules! each {
    ($($program:ident),* $(,)?) => {
        $(#[test]
        fn $program() {
            let unwatched = run(alike::$program, Watch::No);
            assert!(!unwatched.is_empty());
            assert_eq!(run(alike::$program, Watch::No), unwatched, "it is not the same twice");
            assert_eq!(run(alike::$program, Watch::Yes), unwatched, "watched");
            assert_eq!(run(alike::$program, Watch::Dumped), unwatched, "watched and dumped");
        })*
    };
}

alike_programs!(each);
