//! Claims about trimming: which frames go, and which stay.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::{Function, Line};

#[test]
fn our_frames_and_the_shims_are_known_in_every_spelling() {
    for name in [
        "__rust_alloc",
        "__rust_realloc",
        "__rust_alloc_zeroed",
        "__rust_dealloc",
        "__rg_alloc",
        "__rdl_realloc",
        "__rustc::__rust_alloc",
        "__rustc[5224e6b81cd82a8f]::__rg_alloc_zeroed",
        "everprof::alloc::slow",
        "everprof[1f]::alloc::slow",
        "everprof_core::heap::Recorder::sample",
        "<everprof_core::heap::Recorder>::sample",
        "everprof_core::interpose::futex::futex",
        "everprof_core[1f]::interpose::displaced::join::pthread_join",
        "everprof_agent::malloc",
        "<everprof::Alloc<std::alloc::System> as core::alloc::global::GlobalAlloc>::alloc",
        "<everprof::alloc::Alloc as core::alloc::global::GlobalAlloc>::realloc",
        "<&everprof::alloc::Alloc as core::alloc::global::GlobalAlloc>::realloc",
        "<std::alloc::System as core::alloc::global::GlobalAlloc>::alloc",
        "std::sys::alloc::unix::aligned_malloc",
        "std::alloc::__rdl_alloc",
        "<std::thread::local::LocalKey<everprof_core::local::Local>>::with::<u8>",
        "__everprof_slow",
        "everprof::task::Watch::watched",
        "<app::serve::{closure#0} as everprof::task::Watch>::watched",
        "<app::Or<app::A as app::B> as everprof[1f]::task::Watch>::watched",
    ] {
        assert!(is_profiler_frame(name), "{name}");
    }
}

#[test]
fn names_that_look_alike_are_the_programs() {
    for name in [
        "everprofile::main",
        "everprof_cli::run",
        "my::everprof::alloc",
        "<my::Alloc as core::alloc::global::GlobalAlloc>::alloc",
        "<my::Type as everprof::Thing>::call",
        "<my::Type as my::everprof::task::Watch>::watched",
        "__rustc::rust_begin_unwind",
        "__rust_alloc_error_handler",
        "__rust_begin_short_backtrace",
        "std::sys::backtrace::__rust_begin_short_backtrace",
        "<std::thread::local::LocalKey<my::State>>::with::<u8>",
        "everprof::lost::table_full",
        "everprof[1f]::lost::inuse_full",
        "alloc::alloc::alloc",
        "malloc",
        "",
    ] {
        assert!(!is_profiler_frame(name), "{name}");
    }
}

/// A profile with one sample a stack; a location is its frames, innermost first.
fn profile(stacks: &[&[&[&str]]]) -> Profile {
    let mut profile = Profile::new(&[("n", "count")]);
    for stack in stacks {
        let ids: Vec<_> = stack
            .iter()
            .map(|frames| {
                // The address says which frames, so that equal ones are one location.
                let address = frames
                    .join("|")
                    .bytes()
                    .fold(0, |sum, byte| (sum * 31 + u64::from(byte)) & 0xffff_ffff);
                profile.add_named(address, None, frames.iter().map(|name| (*name, "", 0)))
            })
            .collect();
        profile.push_sample(&ids, &[1], &[]);
    }
    profile
}

fn stacks(profile: &Profile) -> Vec<(String, i64)> {
    let frames = |id| {
        let names: Vec<_> = profile
            .location(id)
            .lines
            .iter()
            .map(|line| profile.function(line.function).name)
            .collect();
        names.join("|")
    };
    profile
        .samples()
        .map(|sample| {
            let stack: Vec<_> = sample.stack().map(frames).collect();
            (stack.join(" < "), sample.values()[0])
        })
        .collect()
}

#[test]
fn leading_frames_go_at_every_inline_level_and_equal_stacks_join() {
    let mut profile = profile(&[
        &[
            &["everprof_core::sample"],
            &["everprof::slow", "__rust_alloc", "app::f"],
            &["main"],
        ],
        &[
            &["__rust_alloc"],
            &["everprof::slow", "__rust_alloc", "app::f"],
            &["main"],
        ],
        &[&["app::g"], &["__rust_alloc"], &["main"]],
    ]);
    profile.trim();
    assert_eq!(
        stacks(&profile),
        [
            ("app::f < main".to_owned(), 2),
            ("app::g < __rust_alloc < main".to_owned(), 1),
        ]
    );
}

#[test]
fn calls_that_are_passed_on_are_the_programs_own() {
    let mut profile = profile(&[
        &[
            &["__GI___clock_nanosleep"],
            &["everprof_core::interpose::displaced::sleep::clock_nanosleep::{{closure}}"],
            &["everprof_core::interpose::displaced::sleep::clock_nanosleep"],
            &["std::thread::functions::sleep"],
            &["main"],
        ],
        // As a build without optimisation has it.
        &[
            &["__GI___clock_nanosleep"],
            &["core::ops::function::FnOnce::call_once"],
            &["everprof_core::stack::spilled::around"],
            &["everprof_core::waits::asleep"],
            &["everprof_core::interpose::displaced::sleep::clock_nanosleep"],
            &["std::thread::functions::sleep"],
            &["main"],
        ],
        // As an optimised build with debug information has it: inlined into one another.
        &[
            &["__GI___clock_nanosleep"],
            &[
                "core::ops::function::call_once",
                "everprof_core::stack::spilled::around",
                "everprof_core::interpose::displaced::sleep::clock_nanosleep",
            ],
            &["std::thread::functions::sleep"],
            &["main"],
        ],
        // A closure of the program's is its own.
        &[&["core::ops::function::call_once", "app::job"], &["main"]],
        // Ours at the root, or behind the program's own, is another matter.
        &[
            &["app::work"],
            &["everprof_core::interpose::displaced::sleep::clock_nanosleep"],
            &["main"],
        ],
        &[
            &["work"],
            &["main"],
            &["everprof_core::interpose::thread::start"],
            &["clone"],
        ],
    ]);
    profile.trim();
    assert_eq!(
        stacks(&profile)
            .iter()
            .map(|(stack, _)| stack.as_str())
            .collect::<Vec<_>>(),
        [
            "std::thread::functions::sleep < main",
            "core::ops::function::call_once|app::job < main",
            "app::work < everprof_core::interpose::displaced::sleep::clock_nanosleep < main",
            "work < main < everprof_core::interpose::thread::start < clone",
        ]
    );
}

#[test]
fn clone_of_a_waker_goes_from_the_leaf_and_stays_where_it_calls_an_executor() {
    const CLONE: &str = "<core::task::wake::Waker as core::clone::Clone>::clone";
    const CLONE_FROM: &str = "<core::task::wake::Waker as core::clone::Clone>::clone_from";
    let mut profile = profile(&[
        &[&[CLONE], &["app::waits"], &["main"]],
        &[&[CLONE], &[CLONE_FROM], &["app::waits"], &["main"]],
        &[&[CLONE, "app::polls"], &["main"]],
        &[&["executor::clone"], &[CLONE], &["app::waits"], &["main"]],
        &[&["executor::clone"], &[CLONE, "app::calls"], &["main"]],
    ]);
    profile.trim();
    assert_eq!(
        stacks(&profile),
        [
            ("app::waits < main".to_owned(), 2),
            ("app::polls < main".to_owned(), 1),
            (format!("executor::clone < {CLONE} < app::waits < main"), 1),
            (format!("executor::clone < {CLONE}|app::calls < main"), 1),
        ]
    );
}

#[test]
fn bare_names_are_told_by_their_files() {
    let mut profile = Profile::new(&[("n", "count")]);
    let mut line = |name, file| Line {
        function: profile.add_function(Function {
            name,
            file,
            ..Function::default()
        }),
        line: 7,
        column: 0,
    };
    let lines = [
        line(
            "alloc<std::alloc::System>",
            "/w/everprof-0.1.0/src/alloc.rs",
        ),
        line("malloc", "/rustc/1/library/std/src/sys/alloc/unix.rs"),
        line("alloc", "/w/everprofile/src/alloc.rs"),
        line("alloc", "/w/everprof-0.1.0/src/alloc.rs"),
    ];
    let at = profile.add_location(1, None);
    profile.set_lines(at, &lines);
    profile.push_sample(&[at], &[1], &[]);
    profile.trim();
    assert_eq!(profile.location(at).lines, &lines[2..]);
}

#[test]
fn stack_of_nothing_else_keeps_its_root() {
    let mut profile = profile(&[&[&["everprof::a"], &["everprof::b"]], &[]]);
    profile.trim();
    assert_eq!(
        stacks(&profile),
        [("everprof::b".to_owned(), 1), (String::new(), 1)]
    );
}

#[test]
fn unnamed_locations_stay() {
    let mut profile = profile(&[&[&[], &["everprof::b"], &["main"]]]);
    profile.trim();
    assert_eq!(stacks(&profile), [(" < everprof::b < main".to_owned(), 1)]);
}

#[test]
fn drop_pattern_takes_plumbing_and_nothing_near_a_root() {
    let pattern = regex_lite::Regex::new(&format!("^({ALLOCATOR_FRAMES})$")).unwrap();
    for name in [
        "__rustc::__rust_alloc",
        "alloc::alloc::exchange_malloc",
        "<alloc::alloc::Global>::alloc_impl",
        "<alloc::alloc::Global as core::alloc::Allocator>::allocate",
        "<alloc::raw_vec::RawVecInner<_>>::reserve::do_reserve_and_handle::<alloc::alloc::Global>",
        "alloc::raw_vec::RawVec<T,A>::grow_one",
        "alloc::raw_vec::grow_one",
        "hashbrown::raw::alloc::inner::do_alloc",
    ] {
        assert!(pattern.is_match(name), "{name}");
    }
    for name in [
        "alloc::vec::Vec<T,A>::push",
        "<alloc::boxed::Box<F,A> as core::ops::function::FnOnce<Args>>::call_once",
        "app::alloc::alloc::f",
        "hashbrown::raw::RawTable<T,A>::reserve_rehash",
        "everprof::lost::table_full",
        "main",
    ] {
        assert!(!pattern.is_match(name), "{name}");
    }
}

#[test]
fn lock_frames_lead_to_what_the_program_called() {
    let pattern = regex_lite::Regex::new(&format!("^({LOCK_FRAMES})$")).unwrap();
    for name in [
        "syscall",
        "__lll_lock_wait",
        "__futex_abstimed_wait_common",
        "std::sys::pal::unix::futex::futex_wait",
        "<std::sys::sync::mutex::futex::Mutex>::lock_contended",
        "std::sys::sync::rwlock::futex::RwLock::wake_writer_or_readers",
        "<std::sys::sync::condvar::futex::Condvar>::wait_optional_timeout",
        "<std::thread::thread::Thread>::park",
        "parking_lot::raw_mutex::RawMutex::lock_slow",
        "<parking_lot::raw_rwlock::RawRwLock>::lock_exclusive_slow",
        "parking_lot::condvar::Condvar::wait_until_internal",
        "parking_lot_core::parking_lot::park",
    ] {
        assert!(pattern.is_match(name), "{name}");
    }
    for name in [
        "<std::sync::poison::mutex::Mutex<T>>::lock",
        "std::sys::sync::once::futex::Once::call",
        "std::thread::functions::park",
        "lock_api::mutex::Mutex<R,T>::lock",
        "parking_lot::condvar::Condvar::wait",
        "pthread_mutex_lock",
        "app::syscall",
    ] {
        assert!(!pattern.is_match(name), "{name}");
    }
}
