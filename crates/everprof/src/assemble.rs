//! From what was recorded to a profile: the only place that knows both.
//!
//! One file a profile. For all of them `modules` and `places` turn addresses into locations,
//! `labels` adds what was in force, `samples` joins these; `named` has names where these decide
//! what a sample is.
//!
//! Context: cold. Invariant: what leaves here by `finish` has no frames of ours,
//! but for CPU time: what our own frames took of that is theirs.

mod cpu;
mod custom;
mod deadlocks;
mod heap;
mod labels;
mod managed;
mod modules;
mod named;
mod places;
mod samples;
mod spawn;
mod taskblock;
mod tasks;
mod threads;
mod trace;
mod waits;

use std::path::Path;
use std::sync::Mutex;

use everprof_core::recording::Recording;
use everprof_profile::symbolize::Known;
use everprof_profile::{Filter, LocationId, Profile};

/// What assembling gives.
pub(crate) use everprof_profile::Profile as Assembled;
/// What begins a paragraph about a deadlock.
pub(crate) use everprof_profile::stacks::DEADLOCK;

pub(crate) use self::cpu::cpu;
pub(crate) use self::custom::custom;
pub(crate) use self::deadlocks::{Findings, deadlocks, may_be_deadlocked};
pub(crate) use self::heap::{DefaultType, heap};
pub(crate) use self::managed::managed;
use self::modules::Modules;
use self::places::Places;
pub(crate) use self::spawn::spawn;
pub(crate) use self::taskblock::taskblock;
pub(crate) use self::tasks::{KeptTasks, task_records, tasks};
pub(crate) use self::threads::{
    ask_threads_with, goroutine, goroutine_count, thread_count, threads,
};
pub(crate) use self::trace::{Blocks, Head, Text, text};
pub(crate) use self::waits::{block, block_records, mutex, mutex_records};
use crate::error::{Error, Kind};
use crate::profile::Names;

/// The profiles in the file that another process records to, or did: each with
/// its name.
///
/// # Errors
///
/// Where the file is no recording, or cannot be read.
#[doc(hidden)]
pub fn recording(path: &Path) -> Result<Vec<(&'static str, Profile)>, Error> {
    let recording = Recording::open(path).map_err(|e| {
        let path = path.display();
        Error::new(Kind::Io, format!("cannot read the recording `{path}`: {e}")).caused_by(e)
    })?;
    let mut modules = Modules::default();
    recording.for_each_module(|module| modules.add(module));
    let mut profiles = Vec::new();
    if let Some(heap) = heap::of_recording(&recording, &modules) {
        // Named once: that takes most of the time.
        let heap = finish(heap, Names::Table, &[]);
        profiles.push(("allocs", heap::as_allocs(&heap)));
        profiles.push(("heap", heap));
    }
    for (name, profile) in waits::of_recording(&recording, &modules) {
        profiles.push((name, finish(profile, Names::Table, &[])));
    }
    if let Some(spawn) = spawn::of_recording(&recording, &modules) {
        profiles.push(("threadcreate", finish(spawn, Names::Table, &[])));
    }
    if let Some(taskblock) = taskblock::of_recording(&recording, &modules)
        && taskblock.samples().len() > 0
    {
        profiles.push(("taskblock", finish(taskblock, Names::Table, &[])));
    }
    Ok(profiles)
}

/// Keeps the samples with these labels, names what is to be named, and takes our
/// own frames off.
pub(crate) fn finish(profile: Profile, names: Names, labels: &[(String, String)]) -> Profile {
    let mut filter = Filter::new();
    for (key, value) in labels {
        // A key is never empty here, and that is all that can be wrong.
        if let Ok(narrower) = filter.clone().label(&format!("{key}:{value}")) {
            filter = narrower;
        }
    }
    let mut profile = if filter.is_empty() {
        profile
    } else {
        profile.filter(&filter)
    };
    name(&mut profile, names);
    let is_cpu = profile.period_type().is_some_and(|of| of.kind == CPU);
    if names != Names::None && !is_cpu {
        profile.trim();
    }
    profile
}

/// Names what has no name yet.
pub(crate) fn name(profile: &mut Profile, names: Names) {
    // The lock is not waited for. Who holds it may be a thread that panicked while it named, and
    // now waits for the dump that this one makes; in a fork's child it may be nobody.
    let mut nothing = Known::new(0).with_program(OWN_PROGRAM);
    let mut locked = KNOWN.try_lock();
    let known = match &mut locked {
        Ok(known) => &mut **known,
        Err(_) => &mut nothing,
    };
    // What could not be named, the profile says in its comments.
    let _ = match names {
        Names::None => return,
        Names::Table => known.names(profile),
        Names::Full => known.full(profile),
    };
}

/// What files have said of this process's addresses. After a panic within a naming nothing is
/// kept any more.
static KNOWN: Mutex<Known> = Mutex::new(Known::new(MOST_KNOWN_BYTES).with_program(OWN_PROGRAM));

/// This process's program, whatever stands at its path by now. In profiles of others, as
/// `everprof run` makes them, its build id is not theirs.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Some ten thousand places with their lines. A dump of a server's threads meets some hundred.
const MOST_KNOWN_BYTES: usize = 4 << 20;

/// The names of functions at these addresses of this process.
pub(crate) fn names_of(addresses: &[u64]) -> Vec<Option<String>> {
    everprof_core::modules::refresh();
    let modules = Modules::of_this_process();
    let mut profile = Profile::new(&[("addresses", "count")]);
    let mut places = Places::new(&modules);
    let ids: Vec<_> = addresses
        .iter()
        .map(|address| places.location(&mut profile, *address))
        .collect();
    // Those that have no name stay without.
    name(&mut profile, Names::Table);
    let name_of = |id: &LocationId| {
        let line = profile.location(*id).lines.last()?;
        Some(profile.function(line.function).name.to_owned())
    };
    ids.iter().map(name_of).collect()
}

/// The period type of a CPU profile.
const CPU: &str = "cpu";

/// When a profile is taken that has no snapshot's time.
fn now_unix_nanos() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// pprof has signed values; what is greater than they can be has no meaning.
fn as_value(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
