//! Recording: the tables of another process, read from the file they live in.
//!
//! Context: cold.
//! Invariant: nothing is believed of the file. It is copied before it is looked
//! at, so that it can neither change nor vanish meanwhile. Every offset is checked
//! against its length, and every list is cut at as many steps as could fit.
//!
//! The process may be running, or have ended in any way, in the middle of
//! anything: what was counted is there up to its last instruction.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::arena::Arena;
use crate::heap::{self, Parts};
use crate::labels::sets::Sets;
use crate::module_list;
use crate::modules::ModuleInfo;
use crate::settings;
use crate::spawn;
use crate::sync::Ordering;
use crate::tasks;
use crate::waits;

/// Another process's arena, as it was when it was opened.
#[derive(Debug)]
pub struct Recording {
    arena: Arena,
}

impl Recording {
    /// Opens the file that a recorder was told to use.
    ///
    /// # Errors
    ///
    /// The file cannot be opened or read, or holds no arena of this version:
    /// then the error's kind is `InvalidData`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = usize::try_from(file.metadata()?.len()).map_err(|_| not_an_arena())?;
        let arena = Arena::open_read(file.as_raw_fd(), len).ok_or_else(not_an_arena)?;
        Ok(Self { arena })
    }

    /// The heap's buckets; nothing, where the process recorded none.
    #[must_use]
    pub fn heap(&self) -> Option<heap::Snapshot<'_>> {
        let period_bytes = self.setting(settings::Name::HeapPeriod);
        let parts = Parts::open(self.arena.region())?;
        Some(heap::Snapshot::of_recording(parts, period_bytes))
    }

    /// The waits that ended, by who waited.
    #[must_use]
    pub fn block(&self) -> Option<waits::BlockSnapshot<'_>> {
        let period_nanos = self.setting(settings::Name::BlockPeriod);
        waits::BlockSnapshot::of_recording(self.arena.region(), period_nanos)
    }

    /// The waits that ended, by who ended them.
    #[must_use]
    pub fn mutex(&self) -> Option<waits::MutexSnapshot<'_>> {
        let period_nanos = self.setting(settings::Name::MutexPeriod);
        let fraction = self.setting(settings::Name::MutexFraction);
        waits::MutexSnapshot::of_recording(self.arena.region(), period_nanos, fraction)
    }

    /// What tasks waited, by where they awaited.
    #[must_use]
    pub fn taskblock(&self) -> Option<tasks::BlockSnapshot<'_>> {
        let period_nanos = self.setting(settings::Name::TaskblockPeriod);
        tasks::BlockSnapshot::of_recording(self.arena.region(), period_nanos)
    }

    /// Who created threads; nothing, where the process recorded none.
    #[must_use]
    pub fn spawn(&self) -> Option<spawn::Snapshot<'_>> {
        let parts = spawn::Parts::open(self.arena.region())?;
        Some(spawn::Snapshot::of_recording(parts))
    }

    /// The label sets that buckets name.
    #[must_use]
    pub fn label_sets(&self) -> Option<Sets<'_>> {
        Sets::open(self.arena.region())
    }

    /// A figure that was in force.
    #[must_use]
    pub fn setting(&self, name: settings::Name) -> u64 {
        settings::published(self.arena.region().header(), name)
    }

    /// Calls `visit` with every module that was known when something was last
    /// recorded, the program itself first.
    pub fn for_each_module(&self, visit: impl FnMut(&ModuleInfo<'_>)) {
        module_list::for_each(self.arena.region(), visit);
    }

    /// The process that recorded, as its own pid namespace knows it.
    #[must_use]
    pub fn process_id(&self) -> u64 {
        // Relaxed, here and below: figures.
        self.arena
            .region()
            .header()
            .process_id
            .load(Ordering::Relaxed)
    }

    /// When it began to record, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn started_unix_nanos(&self) -> u64 {
        self.arena
            .region()
            .header()
            .started_unix_nanos
            .load(Ordering::Relaxed)
    }
}

fn not_an_arena() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "not a recording of this version of everprof, or one that has not begun",
    )
}
