//! Walks through code that Rust did not compile: C without frame pointers, the C
//! library's callbacks, libraries that come and go.

// Static musl has neither `dlopen` nor tables for its own code.
#![cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![allow(clippy::unwrap_used)]

mod oracle;

use std::ffi::{c_int, c_void};

use everprof_core::modules;
use oracle::library::{Library, build};
use oracle::{Stacks, assert_same_stack, both};

unsafe extern "C" fn leaf(stacks: *mut c_void) {
    // SAFETY: the callers below pass this.
    let stacks = unsafe { &mut *stacks.cast::<Option<Stacks>>() };
    *stacks = Some(both());
}

fn through(library: &Library, function: &str, depth: c_int) -> Stacks {
    let mut stacks: Option<Stacks> = None;
    let nest = library.nest(function);
    // SAFETY: calls `leaf` once with what it expects.
    unsafe { nest(depth, leaf, (&raw mut stacks).cast()) };
    stacks.unwrap()
}

#[test]
fn c_without_frame_pointers_is_walked() {
    let library = Library::open(&build("plain", 0, &[]));
    for depth in [0, 1, 20, 70, 20, 70] {
        let stacks = through(&library, "deep", depth);
        assert!(stacks.ours.len() > depth as usize);
        assert_same_stack(&stacks);
    }
}

#[test]
fn functions_that_realign_their_stack_are_walked() {
    let library = Library::open(&build("realigned", 0, &[]));
    for depth in [0, 1, 20] {
        let stacks = through(&library, "realigned", depth);
        assert!(stacks.ours.len() > depth as usize + 3);
        assert_same_stack(&stacks);
    }
}

/// The outermost frame without tables saved the frame pointer of its caller. If that
/// one, like ours, keeps none, it is that of std, which has them as it is shipped;
/// ThreadSanitizer wants std built anew, where the register holds anything at all.
#[cfg(not(everprof_sanitizer = "thread"))]
#[test]
fn code_without_tables_is_passed_by_its_frame_pointers() {
    let flags = [
        "-fno-asynchronous-unwind-tables",
        "-fno-unwind-tables",
        "-fno-omit-frame-pointer",
    ];
    let library = Library::open(&build("bare", 0, &flags));
    let with_tables = Library::open(&build("tables", 0, &flags[2..]));
    let expected = through(&with_tables, "deep", 9);
    assert_same_stack(&expected);
    let found = through(&library, "deep", 9);
    // The same number of frames, and the same ones outside of this function's calls.
    assert_eq!(found.end, expected.end);
    assert_eq!(found.ours.len(), expected.ours.len());
    assert_eq!(found.ours[14..], expected.ours[14..]);
}

#[test]
fn a_callback_from_the_c_library_is_walked() {
    unsafe extern "C" fn compare(_left: *const c_void, _right: *const c_void) -> c_int {
        let mut stacks = None;
        // SAFETY: what `leaf` expects.
        unsafe { leaf((&raw mut stacks).cast()) };
        assert_same_stack(&stacks.unwrap());
        0
    }
    let mut items = [3, 1, 2];
    // SAFETY: three items of four bytes; the comparison ignores them.
    unsafe { libc::qsort(items.as_mut_ptr().cast(), items.len(), 4, Some(compare)) };
}

#[test]
fn libraries_that_follow_one_another_in_one_place_do_not_mix() {
    let paths: Vec<_> = (0..3)
        .map(|index| build(&format!("turn{index}"), 96 + index * 48, &[]))
        .collect();
    // None is what another test builds: one build id in one place is one module, whatever its name.
    let mut places = Vec::new();
    for round in 0..60 {
        let path = &paths[round % paths.len()];
        let library = Library::open(path);
        let stacks = through(&library, "deep", 12);
        assert_same_stack(&stacks);
        places.push(library.nest("deep") as usize & !0xfff);
        drop(library);
        if round % 7 == 0 {
            modules::refresh();
        }
    }
    // The point of it: they did stand in each other's place. (Emulators of other
    // processors hand addresses out in order and never again.)
    let in_place = |place| places.iter().filter(|&&other| other == place).count();
    let most = places.iter().map(|&place| in_place(place)).max().unwrap();
    assert!(most > paths.len() || cfg!(not(target_arch = "x86_64")));
    // None was refreshed while it was loaded, so all are known from walks alone.
    let mut known = Vec::new();
    modules::for_each(|module| {
        if String::from_utf8_lossy(module.path).contains("libturn") {
            assert_eq!(module.build_id.len(), 20);
            known.push(module.build_id.to_vec());
        }
    });
    known.sort();
    known.dedup();
    assert_eq!(known.len(), 3);
}

#[test]
fn a_library_that_is_gone_is_still_named() {
    let path = build("gone", 16, &[]);
    let state = || {
        let mut state = None;
        modules::refresh();
        modules::for_each(|module| {
            if module.path == path.to_str().unwrap().as_bytes() {
                state = Some(module.loaded);
            }
        });
        state
    };
    assert_eq!(state(), None);
    let library = Library::open(&path);
    assert_eq!(state(), Some(true));
    drop(library);
    assert_eq!(state(), Some(false));
}

#[test]
fn the_program_is_known_as_its_file_says() {
    use object::{Object, ObjectSegment};
    modules::refresh();
    let path = std::env::current_exe().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let mut found = false;
    modules::for_each(|module| {
        if module.path != path.to_str().unwrap().as_bytes() {
            return;
        }
        found = true;
        assert!(module.loaded);
        assert_eq!(module.build_id, file.build_id().unwrap().unwrap_or(&[]));
        let here = the_program_is_known_as_its_file_says as *const () as u64;
        assert!((module.start..module.limit).contains(&here));
        let code = file
            .segments()
            .find(|segment| segment.permissions().executable())
            .unwrap();
        assert_eq!(module.start - module.bias, code.address() & !0xfff);
        assert_eq!(module.file_offset, code.file_range().0 & !0xfff);
    });
    assert!(found);
}
