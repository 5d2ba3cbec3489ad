//! What a thread waits for, told by the names of the functions it waits in.
//!
//! Context: cold. Invariant: a kind is told by frames of the standard library and
//! of crates that make locks, channels and runtimes, never by the program's own:
//! looking outwards ends at the first function of the program.
//!
//! A lock's slow path is a function of its own in every build, also where fat LTO
//! inlines all else: `lock_contended`, `lock_slow`. A condition variable's `wait`
//! is not: without debug information such a wait may be told by nothing, and is
//! [`WaitKind::Other`] then, rather than a guess.
//!
//! From the leaf outwards, the first frame that says *what* is waited for ends the
//! search. One that only says *how* (parked, on a condition variable) is kept, and
//! gives way to a channel, a join or a lock that turns out to be built on it. Where
//! no function of the program is met at all, the thread is a runtime's own, and
//! idle.

mod names;

use names::{HELPS, OWN_WORDS, is_plumbing, is_runtime, named, without_generics};

/// What a wait was for: the label `wait` of block profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitKind {
    /// An exclusive lock.
    Mutex,
    /// A lock for readers or a writer.
    RwLock,
    /// Something that is initialised once.
    Once,
    /// A condition variable.
    Condvar,
    /// A message, or room for one.
    Channel,
    /// The end of a thread, or of a piece of work that others do.
    Join,
    /// Others to arrive, too.
    Barrier,
    /// `thread::park`, for nothing that is known.
    Park,
    /// A future that is run to its end on this thread.
    Task,
    /// Time to pass.
    Sleep,
    /// A descriptor.
    Io,
    /// A runtime's thread without work.
    Idle,
    /// Another thread's turn, in no lock: the program yielded by itself.
    Yield,
    /// Told by no name.
    Other,
}

impl WaitKind {
    /// As the label says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mutex => "mutex",
            Self::RwLock => "rwlock",
            Self::Once => "once",
            Self::Condvar => "condvar",
            Self::Channel => "channel",
            Self::Join => "join",
            Self::Barrier => "barrier",
            Self::Park => "park",
            Self::Task => "task",
            Self::Sleep => "sleep",
            Self::Io => "io",
            Self::Idle => "idle",
            Self::Yield => "yield",
            Self::Other => "other",
        }
    }

    /// Whether it ends by somebody's unlocking: what a mutex profile shows.
    #[must_use]
    pub const fn is_lock(self) -> bool {
        matches!(self, Self::Mutex | Self::RwLock)
    }

    /// Whether nobody is kept waiting by it: what a block profile shows only if asked to.
    #[must_use]
    pub const fn is_idle(self) -> bool {
        matches!(self, Self::Idle | Self::Yield)
    }

    /// The kind of a wait in these functions, leaf first; `known` is what the call
    /// itself says (a join, a sleep), [`WaitKind::Other`] if nothing.
    pub fn of_stack<'a>(names: impl IntoIterator<Item = &'a str>, known: Self) -> Self {
        let mut kind = known;
        let mut runtime = false;
        let mut asked_for = matches!(known, Self::Join | Self::Sleep);
        for name in names {
            let path = without_generics(name);
            runtime |= is_runtime(&path);
            match named(&path) {
                Some(what) if kind.gives_way_to(what) => {
                    // A worker that waits for others' work, within work of its own or
                    // for its first: the frames further out say which.
                    let helps = what == Self::Join && path.contains(HELPS);
                    asked_for = !helps && matches!(what, Self::Join | Self::Task);
                    kind = what;
                }
                Some(_) => {}
                None if is_plumbing(name, &path) => {}
                None => return kind,
            }
            if kind.is_final() {
                return kind;
            }
        }
        // Whatever it waits for, it is nothing that the program asked for.
        if runtime && !asked_for {
            Self::Idle
        } else {
            kind
        }
    }

    /// Nothing further out says it better.
    fn is_final(self) -> bool {
        matches!(
            self,
            Self::Mutex | Self::RwLock | Self::Once | Self::Channel | Self::Barrier | Self::Sleep
        )
    }

    fn gives_way_to(self, what: Self) -> bool {
        let rank = |kind| match kind {
            Self::Other | Self::Yield => 0,
            Self::Park | Self::Condvar => 1,
            Self::Io | Self::Task | Self::Join => 2,
            _ => 3,
        };
        rank(self) < rank(what)
    }
}

/// Whether parks of this function are on a word of the thread's own, so that the
/// address waited for does not say which lock it was: parking_lot's.
#[must_use]
pub fn parks_on_own_word(name: &str) -> bool {
    let path = without_generics(name);
    path.starts_with("parking_lot::") || path.starts_with("parking_lot_core::")
}

/// The kind of lock whose own word a thread sleeps on that waits in these functions, leaf
/// first: std's locks. `None`: it sleeps on something else, be it on behalf of a lock.
pub fn sleeps_on_lock<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<WaitKind> {
    for name in names {
        let path = without_generics(name);
        if let Some(kind) = named(&path) {
            let is_own = OWN_WORDS.iter().any(|part| path.contains(part));
            return is_own.then_some(kind);
        }
        if !is_plumbing(name, &path) {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests;
