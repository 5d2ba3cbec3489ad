//! Profiles by name: which there are, and taking one now.
//!
//! Context: cold. Invariant: what is allocated here is left out of what is taken.
//! A profile that is added to this crate adds its `Source` to
//! the registry below and is then served, listed and looked up like the others.
//!
//! Source: Go's runtime/pprof has `Lookup`, `Profiles` and `WriteTo`.

use std::cell::RefCell;
use std::io::Write;
use std::time::Duration;

use everprof_profile::pprof;

use crate::assemble::{self, KeptTasks};
use crate::error::{Error, Kind};
use crate::start::LeftOut;
use crate::{block, cpu, heap, mutex, taskblock, tasks, threadcreate, threads};
pub(crate) use handle::{Handle, Listing, handles};

mod handle;

/// A profile as it was when it was taken: `heap`, `block`, `threads`, ….
///
/// ```
/// let before = everprof::profile::lookup("heap").expect("there is one");
/// let kept = vec![0_u8; 10 << 20];
/// let grown = everprof::profile::lookup("heap").expect("there is one").delta(&before)?;
///
/// let mut file = Vec::new();
/// grown.write_to(&mut file)?; // for `go tool pprof`, `everprof top`, …
/// # drop(kept);
/// # Ok::<(), everprof::Error>(())
/// ```
#[derive(Debug)]
pub struct Profile {
    listing: Listing,
    data: everprof_profile::Profile,
    /// The tasks in it, where several are one sample: paragraphs tell each.
    tasks: Option<KeptTasks>,
}

/// Takes the profile of this name, with the names of its functions; none if
/// there is no such profile, or it cannot be had at an instant, as that of CPU time.
///
/// # Overhead
///
/// Counters are copied and symbol tables read, on this thread; no thread that
/// allocates waits. The bench `snapshot` takes, names and writes 100,000 stacks.
#[must_use]
pub fn lookup(name: &str) -> Option<Profile> {
    let _left_out = LeftOut::new();
    let handle = handles().into_iter().find(|handle| handle.name() == name)?;
    handle.profile()?.ok()
}

/// Takes every profile there is, in the order of their names: each as
/// [`lookup`] does, one after the other, and at the same cost. Those that cover a time,
/// as that of CPU time, are left out.
///
/// ```
/// for profile in everprof::profile::all() {
///     println!("{}: {}", profile.name(), profile.description());
/// }
/// ```
#[must_use]
pub fn all() -> Vec<Profile> {
    let _left_out = LeftOut::new();
    let mut profiles: Vec<_> = handles()
        .into_iter()
        .filter_map(|handle| handle.profile()?.ok())
        .collect();
    profiles.sort_by(|one, other| one.name().cmp(other.name()));
    profiles
}

impl Profile {
    /// Its name: the last part of its address on the endpoint.
    #[must_use]
    pub fn name(&self) -> &str {
        self.listing.name()
    }

    /// What it tells, in one sentence.
    #[must_use]
    pub fn description(&self) -> &str {
        self.listing.description()
    }

    /// Writes it as gzip'd pprof, which `go tool pprof` and most others read.
    ///
    /// # Errors
    ///
    /// Where `out` fails.
    pub fn write_to(&self, out: &mut impl Write) -> Result<(), Error> {
        let _left_out = LeftOut::new();
        Ok(pprof::encode(&self.data, out)?)
    }

    /// Writes it as text. `debug` 1 is the form that Go's programs give to
    /// `debug=1`. 2 is one paragraph a thread, with files and lines, where the
    /// profile is of threads; of others it is the same as 1.
    ///
    /// # Errors
    ///
    /// Where `out` fails, or `debug` is 0: that is the form of
    /// [`write_to`](Self::write_to).
    pub fn write_text(&self, out: &mut impl Write, debug: u32) -> Result<(), Error> {
        if debug == 0 {
            return Err(Error::new(
                Kind::Invalid,
                "debug=0 is the binary form: call Profile::write_to, or pass 1 for text",
            ));
        }
        let _left_out = LeftOut::new();
        if self.listing.has_paragraphs(debug.into()) {
            let mut data = match &self.tasks {
                Some(tasks) => tasks.each(self.name())?,
                None => self.data.clone(),
            };
            assemble::name(&mut data, Names::Full);
            data.trim();
            return self.listing.write_text(&data, debug.into(), out);
        }
        self.listing.write_text(&self.data, debug.into(), out)
    }

    /// What has come since `earlier`: this profile's values minus those.
    ///
    /// # Errors
    ///
    /// Where the two are of different names.
    pub fn delta(&self, earlier: &Self) -> Result<Self, Error> {
        if self.name() != earlier.name() {
            let (name, other) = (self.name(), earlier.name());
            return Err(Error::new(
                Kind::Invalid,
                format!("no delta of `{name}` and `{other}`: expected two of one name"),
            ));
        }
        let _left_out = LeftOut::new();
        Ok(Self {
            listing: self.listing.clone(),
            data: self.data.delta(&earlier.data)?,
            tasks: None,
        })
    }
}

/// What is taken: values, stacks, and names once it is finished.
pub(crate) type Taken = everprof_profile::Profile;

/// What a profile is to show.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// Only what is older than this.
    pub(crate) older_than: Option<Duration>,
    /// Only what may have been leaked, of those that know.
    pub(crate) leaked: bool,
    /// One sample each, where equals would be one together.
    pub(crate) each: bool,
    /// Where to leave the tasks that were seen, so that each can be told later.
    pub(crate) keep: Option<&'a RefCell<Option<KeptTasks>>>,
    /// Also the waits of worker threads that have nothing to do.
    pub(crate) idle: bool,
    /// How far names will be taken. Who needs names to tell what a thread does takes
    /// them as far; who does not leaves that to [`finish`](crate::assemble::finish).
    pub(crate) names: Names,
    /// How long to record. Given to those that cover a time, and to no others.
    pub(crate) window: Option<Duration>,
    /// Waits that long; false where the wait was broken off. What has been
    /// recorded by then is of no use to anybody.
    pub(crate) wait: &'a dyn Fn(Duration) -> bool,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            older_than: None,
            leaked: false,
            each: false,
            keep: None,
            idle: false,
            names: Names::Table,
            window: None,
            wait: &|time| {
                std::thread::sleep(time);
                true
            },
        }
    }
}

/// What time a profile is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// All since the program started.
    Cumulative,
    /// Now. The difference of two instants is of use, too: what has come and
    /// stayed, what has gone.
    Instant,
    /// From when it is asked for, so long unless told otherwise.
    Window(Duration),
}

/// How far addresses are turned into names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Not at all; whoever reads the profile has the binary.
    None,
    /// Functions, from the symbol tables: little time and memory.
    Table,
    /// Inlined functions and lines, from the debug information: much of both.
    Full,
}

/// One kind of profile: how it is called, and how it is taken.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) time: Time,
    /// It knows how old what it shows is: [`Ask::older_than`].
    pub(crate) has_age: bool,
    /// It tells idle waits apart: [`Ask::idle`].
    pub(crate) has_idle: bool,
    /// It knows what may have been leaked: [`Ask::leaked`].
    pub(crate) has_leaks: bool,
    /// How it is written as `debug=2`.
    pub(crate) long_text: LongText,
    /// Its stacks now; 0 where that cannot be known without taking it.
    pub(crate) count: fn() -> usize,
    /// Takes it, by addresses.
    pub(crate) take: fn(&Ask<'_>) -> Result<everprof_profile::Profile, Error>,
}

/// What `debug=2` gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LongText {
    /// The same as `debug=1`.
    None,
    /// A paragraph a thread, as a panic prints it. The profile has one sample a
    /// thread, with the labels of [`everprof_profile::stacks`].
    Threads,
}

/// Everprof's own profiles. A program may add others: [`handles`].
pub(crate) fn registry() -> &'static [&'static Source] {
    static REGISTRY: [&Source; 10] = [
        &heap::ALLOCS,
        &block::BLOCK,
        &threads::GOROUTINE,
        &heap::HEAP,
        &mutex::MUTEX,
        &cpu::CPU,
        &taskblock::TASKBLOCK,
        &tasks::TASKS,
        &threadcreate::THREADCREATE,
        &threads::THREADS,
    ];
    &REGISTRY
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn profiles_are_found_by_name_only() {
        assert_eq!(lookup("heap").unwrap().name(), "heap");
        assert!(lookup("Heap").is_none() && lookup("").is_none());
        let all = all();
        let names: Vec<_> = all.iter().map(Profile::name).collect();
        for name in ["allocs", "block", "heap", "mutex"] {
            assert!(names.contains(&name), "{name}");
        }
        assert!(names.is_sorted());
    }

    #[test]
    fn what_covers_a_time_is_not_taken_unasked() {
        assert!(lookup("profile").is_none());
        assert!(all().iter().all(|profile| profile.name() != "profile"));
    }

    #[test]
    fn text_has_a_form_and_deltas_have_one_name() {
        let (heap, allocs) = (lookup("heap").unwrap(), lookup("allocs").unwrap());
        assert!(
            heap.write_text(&mut Vec::new(), 0)
                .unwrap_err()
                .is_invalid()
        );
        heap.write_text(&mut Vec::new(), 1).unwrap();
        assert!(
            heap.delta(&allocs)
                .unwrap_err()
                .to_string()
                .contains("of one name")
        );
    }
}
