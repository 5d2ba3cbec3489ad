//! The locks that are compared, and the clock around them.

use std::time::Instant;

/// A lock that anyone may wait for.
pub trait Lock: Default + Sync {
    type Held<'l>
    where
        Self: 'l;

    fn lock(&self) -> Self::Held<'_>;

    fn try_lock(&self) -> Option<Self::Held<'_>>;

    /// Takes it. Says when waiting for it began and when it ended; none if it was free.
    fn lock_timed(&self) -> (Self::Held<'_>, Option<[Instant; 2]>) {
        if let Some(held) = self.try_lock() {
            return (held, None);
        }
        let begin = Instant::now();
        let held = self.lock();
        (held, Some([begin, Instant::now()]))
    }
}

impl Lock for std::sync::Mutex<()> {
    type Held<'l> = std::sync::MutexGuard<'l, ()>;

    fn lock(&self) -> Self::Held<'_> {
        Self::lock(self).expect("nobody panics")
    }

    fn try_lock(&self) -> Option<Self::Held<'_>> {
        Self::try_lock(self).ok()
    }
}

impl Lock for parking_lot::Mutex<()> {
    type Held<'l> = parking_lot::MutexGuard<'l, ()>;

    fn lock(&self) -> Self::Held<'_> {
        Self::lock(self)
    }

    fn try_lock(&self) -> Option<Self::Held<'_>> {
        Self::try_lock(self)
    }
}
