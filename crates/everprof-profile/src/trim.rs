//! Trim: takes off the leaf of stacks what is the profiler's own, and what lies between it and
//! the program: the allocator's shims, the clone of a waker.
//!
//! Context: cold.
//! Invariant: sums of values stay what they were, and the outermost frame of a stack
//! always stays.
//! Source: names as rustc-demangle writes them, of both manglings, which for one function
//! are `<a::B as c::D>::e` (v0, as std) and `<a::B<T> as c::D>::e` (legacy, as most else).
//! By name, not by address: this works on profiles of other processes too. A bare name
//! (`alloc`), as others take it from debug information without more, is told by its file.

use crate::symbolize::origin;
use crate::{Line, LocationId, Profile};

/// The pattern for [`Profile::set_drop_frames`] of heap profiles: std's own path from a
/// collection to the allocator. Readers leave out these frames and all that they called,
/// so that `Vec::push` stands at the leaf.
///
/// Only functions that never call back into the program are named: a pattern that matched
/// a frame near the root would take the whole stack.
pub const ALLOCATOR_FRAMES: &str = r"(__rustc::)?__(rust|rg|rdl)_(alloc|realloc|alloc_zeroed|dealloc)|<?alloc::alloc::.*|<?alloc::raw_vec::.*|hashbrown::raw::alloc::.*";

/// The pattern for [`Profile::set_drop_frames`] of profiles of waits: the slow paths of
/// locks and what lies beneath them, so that `Mutex::lock`, or where it was inlined its
/// caller, stands at the leaf.
///
/// As for [`ALLOCATOR_FRAMES`], none of these calls back into the program. `Once` does.
pub const LOCK_FRAMES: &str = r"syscall|__(lll_lock|futex)_.*|<?std::sys::pal::unix::futex::.*|<?std::sys::sync::(mutex|rwlock|condvar|thread_parking)::.*|<?std::thread::thread::Thread>?::park.*|<?parking_lot::raw_(mutex|rwlock|fair_mutex)::.*|<?parking_lot::condvar::Condvar>?::wait_until_internal.*|<?parking_lot_core::.*";

impl Profile {
    /// Takes off the leaf of each stack: frames of everprof's own crates, the shims between
    /// `alloc` and `#[global_allocator]`, and the system allocator of std beneath them;
    /// also where they were inlined into one location with the program's functions. Frames
    /// that stand for lost samples (`everprof::lost::…`) stay.
    ///
    /// So goes the clone of a waker, in which the await stacks of tasks are taken: the leaf is
    /// the function that keeps the waker.
    ///
    /// A thread that is seen within a call that everprof passes on has our frames beneath
    /// those of the C library, as `clock_nanosleep` < ours < `std::thread::sleep`. All of
    /// them go: the call is the one that the program made of the function that is ours.
    ///
    /// Locations must have been named. Samples that become equal are added up.
    pub fn trim(&mut self) {
        let whose: Vec<Whose> = self
            .functions()
            .map(|(_, function)| {
                let qualified = origin::qualified(function.name, function.file);
                let mut names = [Some(function.name), qualified.as_deref()]
                    .into_iter()
                    .flatten();
                if names.clone().any(is_profiler_frame) {
                    Whose::Ours
                } else if names.any(is_clone_of_waker) {
                    Whose::Wakers
                } else {
                    Whose::Programs
                }
            })
            .collect();
        let of_line = |line: &Line| whose[line.function.index()];
        // How many of a location's frames to take off, and whether these are all.
        let trims: Vec<(usize, bool)> = self
            .locations()
            .map(|(_, location)| {
                let lines = location.lines;
                // What calls our closure is ours with it, where both were inlined.
                let calls = |line: &Line| calls_a_closure(self.function(line.function).name);
                let ours = lines
                    .iter()
                    .take_while(|line| of_line(line) != Whose::Programs || calls(line))
                    .enumerate()
                    .filter(|(_, line)| of_line(line) != Whose::Programs)
                    .last()
                    .map_or(0, |(at, _)| at + 1);
                (ours, ours > 0 && ours == lines.len())
            })
            .collect();
        if trims.iter().all(|&(ours, _)| ours == 0) {
            return;
        }
        let roles: Vec<Role> = (0..trims.len())
            .map(|place| self.role(LocationId::from_index(place)))
            .collect();
        self.shorten_stacks(|stack| {
            let whole = stack.clone().take_while(|at| trims[at.index()].1).count();
            let mut through = 0;
            for (n, at) in stack.clone().enumerate() {
                match roles[at.index()] {
                    Role::PassesOn => through = n + usize::from(trims[at.index()].1),
                    Role::Beneath if through == 0 && n < MOST_BENEATH => {}
                    _ => break,
                }
            }
            let cut = whole.max(through);
            // A stack of nothing else keeps its root, or its values would stand nowhere.
            match stack.clone().nth(cut) {
                Some(_) => cut,
                None => stack.depth().saturating_sub(1),
            }
        });
        // Only a leaf can bear such a frame: these functions are called in place of the
        // allocator, and do not call the program. The clone of a waker may, where an executor's
        // does something: such a location stays as it is.
        let calls = match whose.contains(&Whose::Wakers) {
            true => self.locations_that_call(),
            false => Vec::new(),
        };
        for (place, &(ours, all)) in trims.iter().enumerate() {
            if ours == 0 || all {
                continue;
            }
            let id = LocationId::from_index(place);
            let (trimmed, rest) = self.location(id).lines.split_at(ours);
            let is_wakers = trimmed.iter().any(|line| of_line(line) == Whose::Wakers);
            if !(is_wakers && calls.get(place) == Some(&true)) {
                let rest = rest.to_vec();
                self.set_lines(id, &rest);
            }
        }
    }

    /// Which locations stand above others in some stack.
    fn locations_that_call(&self) -> Vec<bool> {
        let mut calls = vec![false; self.locations().len()];
        for sample in self.samples() {
            for at in sample.stack().skip(1) {
                calls[at.index()] = true;
            }
        }
        calls
    }
}

/// Whose a function is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    /// The clone of a waker.
    Wakers,
    Programs,
}

/// What a location is to the call that a thread is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The C library's, or nobody knows; or ours, or what calls a closure for us where
    /// nothing is inlined.
    Beneath,
    /// Ours, and calls what it stands in for.
    PassesOn,
    Other,
}

/// A call into the C library takes two or three frames; in builds without optimisation
/// some of ours stand between it and the function that is ours.
const MOST_BENEATH: usize = 9;

fn calls_a_closure(name: &str) -> bool {
    // Debug information has the method's bare name, and the file says the rest.
    name.starts_with("core::ops::function::Fn") || name == "core::ops::function::call_once"
}

impl Profile {
    fn role(&self, at: LocationId) -> Role {
        let lines = self.location(at).lines;
        let names = || lines.iter().map(|line| self.function(line.function).name);
        if names().any(passes_on) {
            Role::PassesOn
        } else if names()
            .all(|name| !name.contains("::") || calls_a_closure(name) || is_profiler_frame(name))
        {
            Role::Beneath
        } else {
            Role::Other
        }
    }
}

/// Whether a function stands in for one of the C library's that waits, and calls it.
fn passes_on(name: &str) -> bool {
    let path = name.trim_start_matches(['<', '&']);
    strip_crate(path, "everprof_core").is_some_and(|rest| {
        [
            "interpose::displaced::",
            "interpose::futex",
            "interpose::yields",
            "waits::",
        ]
        .iter()
        .any(|own| rest.starts_with(own))
    })
}

/// Whether a function is everprof's own, by its name.
pub fn is_own_frame(name: &str) -> bool {
    is_profiler_frame(name)
}

/// Whether a function's name is of the profiler or of a shim between it and the program.
fn is_profiler_frame(name: &str) -> bool {
    let path = name.trim_start_matches(['<', '&']);
    let path = path.strip_prefix("mut ").unwrap_or(path);
    if OUR_CRATES
        .iter()
        .any(|name| strip_crate(path, name).is_some())
    {
        // These are no calls of ours: they stand for what the program did.
        return !matches!(
            strip_crate(path, "everprof"),
            Some(rest) if rest.starts_with("lost::") || rest.starts_with("spawn::")
        );
    }
    let shim = strip_crate(path, "__rustc").unwrap_or(path);
    let allocates = |name: &str| {
        let verb = ["__rust_", "__rg_", "__rdl_"]
            .iter()
            .find_map(|p| name.strip_prefix(p));
        matches!(verb, Some("alloc" | "realloc" | "alloc_zeroed" | "dealloc"))
    };
    allocates(shim)
        || name.starts_with("__everprof_")
        || watches(name)
        || strip_crate(path, "std").is_some_and(|rest| {
            [
                "alloc::System as ",
                "alloc::__rdl_",
                "sys::alloc::",
                // How our thread state is reached where nothing is inlined. Only v0 tells
                // whose it is.
                "thread::local::LocalKey<everprof_core::",
            ]
            .iter()
            .any(|own| rest.starts_with(own))
        })
}

/// Whether a function clones a waker, so that what is called is the waker's own clone. A bare
/// name that was told by its file lacks the type.
fn is_clone_of_waker(name: &str) -> bool {
    let path = match name.strip_prefix("<core::task::wake::Waker as core::clone::Clone>::") {
        Some(method) => method,
        None => name.strip_prefix("core::task::wake::").unwrap_or_default(),
    };
    matches!(path, "clone" | "clone_from")
}

/// `.watched()`, which v0 names by the future that is watched, and legacy by its trait alone.
fn watches(name: &str) -> bool {
    name.rsplit_once(" as ")
        .and_then(|(_, path)| strip_crate(path, "everprof"))
        .is_some_and(|rest| rest.starts_with("task::Watch>::watched"))
}

/// What follows `name::` or, with a crate's hash shown, `name[0123456789abcdef]::`.
fn strip_crate<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(name)?;
    let rest = match rest.strip_prefix('[') {
        Some(hash) => hash.split_once(']')?.1,
        None => rest,
    };
    rest.strip_prefix("::")
}

const OUR_CRATES: [&str; 3] = ["everprof", "everprof_core", "everprof_agent"];

#[cfg(test)]
mod tests;
