//! Clock: nanoseconds that cost little, and ticks that cost less.
//!
//! Context: any, but for [`begin`] and [`look`], which are cold. No lock, no allocation, no
//! wait; nothing of it belongs to a thread, so that a fork's child goes on with it.
//! Invariant: [`now_nanos`] never runs backwards, on one thread or from one to another,
//! for as long as neither the processor's counter nor the kernel's clock does.
//!
//! The kernel's clock takes 21 ns a call, two of which were more than half of what a wait
//! cost; the counter that the kernel reads for it takes 9. So it is read here as well, where
//! the kernel itself goes by it, and turned into nanoseconds by a straight line ([`mod@line`]).
//! Where the kernel goes by something else, so does this: by the kernel's clock.
//!
//! ```text
//!  kernel ──begin──→ warming ───────adopt───────→ counting ───look───→ distrusted
//!     └──not trusted──→ refused     the first pair lies    it and the kernel
//!                                   far enough back        have parted
//!  ╰────────── the kernel's clock ──────────╯╰──the line──╯╰─ the kernel's, put ahead ─╯
//! ```
//!
//! **The rate** is not asked of anybody. Two *pairs* of counter and clock, far enough from each
//! other, prove it, and nobody sleeps until then: whoever reads the clock while it is warming
//! takes a pair, and the first for whom the proof holds puts the line in force. Some 10 ms
//! after the beginning that is so.
//!
//! **Forwards.** The line lies on or above the kernel's clock, as the pair is taken from its
//! early end and the rate from its upper one. So it does not matter who goes by which at the
//! change. Once in force a line is never changed.
//!
//! **Parted.** Both follow one counter, and can part only where the kernel takes a new
//! bearing: after it was suspended, or moved to a machine whose counter is another, or when
//! it found the counter wrong. [`look`] compares how far both went since the last look, and
//! goes back to the kernel's clock for good if they disagree. Until then an interval that
//! spans such a moment may be wrong by as much as was slept through, or read as 0.
//!
//! Source: the kernel's own clock is such a line (`kernel/time/timekeeping.c`), with another
//! slope at each tick.

use crate::sync::{AtomicU32, AtomicU64, Ordering};
use line::{Line, Pair};

pub mod line;

#[cfg(not(everprof_loom))]
mod process;
#[cfg(not(everprof_loom))]
pub use process::{begin, conversion, early_nanos, look, now_nanos, ticks};

#[cfg_attr(
    all(target_os = "linux", target_arch = "x86_64", not(miri)),
    path = "clock/x86_64.rs"
)]
#[cfg_attr(
    all(target_os = "linux", target_arch = "aarch64", not(miri)),
    path = "clock/aarch64.rs"
)]
#[cfg_attr(
    not(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64"),
        not(miri)
    )),
    path = "clock/noop.rs"
)]
#[cfg(not(everprof_loom))]
mod counter;

/// What a clock is made from; tests make their own.
pub trait Source {
    /// The counter, read as early as the processor likes.
    fn ticks(&self) -> u64;

    /// The counter, read after whatever comes before.
    fn ticks_in_order(&self) -> u64;

    /// The kernel's clock.
    fn nanos(&self) -> u64;
}

/// A clock. All bits zero: the kernel's.
///
/// What each reading goes by stands first, on one line of the processor's cache.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Clock {
    /// One of the states below. Publishes the line, the first pair and `offset_nanos`.
    state: AtomicU32,
    /// The line. Written once, by whoever adopts it.
    base_ticks: AtomicU64,
    base_nanos: AtomicU64,
    rate: AtomicU64,
    /// How far ahead of the kernel's clock it is once the counter is distrusted.
    offset_nanos: AtomicU64,
    /// By how much the line was ahead of the kernel's clock at the last look, and when that
    /// was. Written by who looks; of two at once either will do, as both are from now.
    seen_ahead_nanos: AtomicU64,
    seen_nanos: AtomicU64,
    /// The first pair. Written once, by `begin`.
    first: [AtomicU64; 3],
}

/// Nobody has asked for the counter.
const KERNEL: u32 = 0;
/// Somebody asks whether it can be trusted.
const BEGINNING: u32 = 1;
/// It cannot.
const REFUSED: u32 = 2;
/// There is a first pair. From here on ticks are the counter's.
const WARMING: u32 = 3;
/// Somebody writes the line.
const ADOPTING: u32 = 4;
/// The line is in force.
const COUNTING: u32 = 5;
/// It is not any more.
const DISTRUSTED: u32 = 6;

impl Clock {
    /// The kernel's clock.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "for statics")]
    #[cfg(not(everprof_loom))]
    pub const fn new() -> Self {
        Self {
            state: AtomicU32::new(KERNEL),
            base_ticks: AtomicU64::new(0),
            base_nanos: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            offset_nanos: AtomicU64::new(0),
            seen_ahead_nanos: AtomicU64::new(0),
            seen_nanos: AtomicU64::new(0),
            first: [const { AtomicU64::new(0) }; 3],
        }
    }

    /// The same, where no atomic can be made ahead of time.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "as its twin")]
    #[cfg(everprof_loom)]
    pub fn new() -> Self {
        Self {
            state: AtomicU32::new(KERNEL),
            base_ticks: AtomicU64::new(0),
            base_nanos: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            offset_nanos: AtomicU64::new(0),
            seen_ahead_nanos: AtomicU64::new(0),
            seen_nanos: AtomicU64::new(0),
            first: [(); 3].map(|()| AtomicU64::new(0)),
        }
    }

    /// Begins to go by the counter, if `trusts` says that it may. Once; again does nothing.
    pub fn begin(&self, source: &impl Source, trusts: impl FnOnce() -> bool) {
        // Relaxed, both: only one goes on, and what it reads is not of others.
        let claimed =
            self.state
                .compare_exchange(KERNEL, BEGINNING, Ordering::Relaxed, Ordering::Relaxed);
        if claimed.is_err() {
            return;
        }
        let first = trusts().then(|| narrowest(source));
        let Some(first) = first.filter(|(_, each_nanos)| *each_nanos <= MOST_READ_NANOS) else {
            // Relaxed: publishes nothing.
            return self.state.store(REFUSED, Ordering::Relaxed);
        };
        for (cell, word) in self.first.iter().zip(first.0.to_words()) {
            // Relaxed: published by the state.
            cell.store(word, Ordering::Relaxed);
        }
        // Release: publishes the pair. Pairs with the Acquire in `otherwise`.
        self.state.store(WARMING, Ordering::Release);
    }

    /// Nanoseconds, after whatever comes before on this thread.
    #[inline(always)]
    pub fn now_nanos(&self, source: &impl Source) -> u64 {
        self.tell(source, || source.ticks_in_order())
    }

    /// As `now_nanos`, but read as early as the processor likes.
    #[inline(always)]
    pub fn early_nanos(&self, source: &impl Source) -> u64 {
        self.tell(source, || source.ticks())
    }

    /// The counter, or the kernel's clock where that is not gone by.
    #[inline(always)]
    pub fn ticks(&self, source: &impl Source) -> u64 {
        // Relaxed: the counter is read whatever the pair is, or the line.
        if self.state.load(Ordering::Relaxed) >= WARMING {
            source.ticks()
        } else {
            source.nanos()
        }
    }

    /// What turns ticks into nanoseconds. `None`: the rate is not proven yet.
    #[must_use]
    pub fn conversion(&self, source: &impl Source) -> Option<Line> {
        let _ = self.now_nanos(source);
        // Acquire: pairs with the Release in `adopt`; the line is whole.
        match self.state.load(Ordering::Acquire) {
            KERNEL | BEGINNING | REFUSED => Some(Line::IDENTITY),
            COUNTING | DISTRUSTED => Some(self.line()),
            _ => None,
        }
    }

    /// Compares with the kernel's clock, and goes by that again if the counter has left it.
    pub fn look(&self, source: &impl Source) {
        // Acquire: pairs with the Release in `adopt`; the line is whole.
        match self.state.load(Ordering::Acquire) {
            WARMING => _ = self.now_nanos(source),
            COUNTING => self.compare(source),
            _ => {}
        }
    }

    /// Whether the counter is gone by now. For tests.
    #[doc(hidden)]
    pub fn is_counting(&self) -> bool {
        // Relaxed: a figure.
        self.state.load(Ordering::Relaxed) == COUNTING
    }

    #[inline(always)]
    fn tell(&self, source: &impl Source, ticks: impl FnOnce() -> u64) -> u64 {
        // Acquire: pairs with the Release in `adopt`; the line is whole.
        if self.state.load(Ordering::Acquire) == COUNTING {
            self.line().nanos_at(ticks())
        } else {
            self.otherwise(source)
        }
    }

    #[inline(always)]
    fn line(&self) -> Line {
        // Relaxed, all: published by the state, and written once.
        Line::from_words([
            self.base_ticks.load(Ordering::Relaxed),
            self.base_nanos.load(Ordering::Relaxed),
            self.rate.load(Ordering::Relaxed),
        ])
    }

    /// The time where the line is not in force, as far as is known.
    #[cold]
    #[inline(never)]
    fn otherwise(&self, source: &impl Source) -> u64 {
        // Acquire: pairs with the Release in `begin` and `compare`.
        let nanos = match self.state.load(Ordering::Acquire) {
            WARMING => {
                let pair = Pair::read(source);
                self.adopt(&pair);
                pair.nanos
            }
            DISTRUSTED => {
                // Relaxed: published by the state.
                source
                    .nanos()
                    .saturating_add(self.offset_nanos.load(Ordering::Relaxed))
            }
            _ => source.nanos(),
        };
        // The line may be in force by now, and with it the kernel's clock may have begun to
        // go faster: what was read before it is not told after it. Acquire: as in `tell`.
        if self.state.load(Ordering::Acquire) == COUNTING {
            self.line().nanos_at(source.ticks_in_order())
        } else {
            nanos
        }
    }

    /// Puts the line through the first pair and this one in force, if they prove it.
    fn adopt(&self, pair: &Pair) {
        // Relaxed: published by the state, which the caller has seen.
        let first = [0, 1, 2].map(|at: usize| {
            self.first
                .get(at)
                .map_or(0, |cell| cell.load(Ordering::Relaxed))
        });
        let Some(line) = Line::proven_by(&Pair::from_words(first), pair) else {
            return;
        };
        // Relaxed, both: only one goes on. If that is killed or forked in the midst of it, or
        // a handler comes over it, the kernel's clock goes on.
        let claimed =
            self.state
                .compare_exchange(WARMING, ADOPTING, Ordering::Relaxed, Ordering::Relaxed);
        if claimed.is_err() {
            return;
        }
        let [base_ticks, base_nanos, rate] = line.to_words();
        // Relaxed, all: published by the state.
        self.base_ticks.store(base_ticks, Ordering::Relaxed);
        self.base_nanos.store(base_nanos, Ordering::Relaxed);
        self.rate.store(rate, Ordering::Relaxed);
        self.seen_nanos.store(pair.nanos, Ordering::Relaxed);
        // Release: publishes the line. Pairs with the Acquire in `tell` and others.
        self.state.store(COUNTING, Ordering::Release);
    }

    #[cold]
    fn compare(&self, source: &impl Source) {
        let (pair, _) = narrowest(source);
        let line = self.line();
        let ahead_nanos = |ticks| line.nanos_at(ticks).wrapping_sub(pair.nanos).cast_signed();
        let (least, most) = (ahead_nanos(pair.before), ahead_nanos(pair.after));
        // Relaxed, here and below: figures of one look or of another of the same time.
        let since_nanos = self.seen_nanos.load(Ordering::Relaxed);
        let elapsed_nanos = pair.nanos.saturating_sub(since_nanos);
        // This thread was held up within the pair, or looks again at once.
        if most.wrapping_sub(least) > MOST_WIDTH_NANOS || elapsed_nanos < LEAST_LOOK_NANOS {
            return;
        }
        let before = self.seen_ahead_nanos.load(Ordering::Relaxed).cast_signed();
        let moved_nanos = least.wrapping_sub(before).unsigned_abs();
        let allowed_nanos = elapsed_nanos / MOST_SLEW + 2 * MOST_WIDTH_NANOS.unsigned_abs();
        if moved_nanos <= allowed_nanos {
            self.seen_ahead_nanos
                .store(least.cast_unsigned(), Ordering::Relaxed);
            self.seen_nanos.store(pair.nanos, Ordering::Relaxed);
            return;
        }
        // Not behind what others have been told, even those who read the counter just now.
        let offset_nanos = most.max(0).unsigned_abs().saturating_add(LEAP_NANOS);
        // Relaxed: published by the state. The greater of two, as it may be in force already.
        self.offset_nanos.fetch_max(offset_nanos, Ordering::Relaxed);
        // Release: publishes the offset. Pairs with the Acquire in `otherwise`. Relaxed: another
        // was faster.
        let _ =
            self.state
                .compare_exchange(COUNTING, DISTRUSTED, Ordering::Release, Ordering::Relaxed);
    }
}

/// The narrowest of a few pairs, and how long one took at least.
fn narrowest(source: &impl Source) -> (Pair, u64) {
    let mut best = Pair::read(source);
    let mut last_nanos = best.nanos;
    let mut least_nanos = u64::MAX;
    for _ in 1..ATTEMPTS {
        let pair = Pair::read(source);
        least_nanos = least_nanos.min(pair.nanos.saturating_sub(last_nanos));
        last_nanos = pair.nanos;
        if pair.width_ticks() < best.width_ticks() {
            best = pair;
        }
    }
    (best, least_nanos)
}

/// One of them is not interrupted, on the busiest machine.
#[cfg(not(everprof_loom))]
const ATTEMPTS: u32 = 8;
/// So that a model comes to an end.
#[cfg(everprof_loom)]
const ATTEMPTS: u32 = 2;

/// A pair takes 40 to 60 ns. Where it takes so long the counter is not read but asked of
/// somebody who traps it (a hypervisor or the kernel, 1 µs and more each of the two times),
/// and dearer than the kernel's clock.
const MOST_READ_NANOS: u64 = 2_000;

/// Of a pair by which the clocks are compared.
const MOST_WIDTH_NANOS: i64 = 10_000;

/// Between two looks, so that what a pair leaves open is little.
const LEAST_LOOK_NANOS: u64 = 1_000_000;

/// The kernel goes faster or slower to follow the time of day: one part in 2,000 at the most
/// (`MAXFREQ` of `include/uapi/linux/timex.h`), unless who keeps the time moves the tick too.
const MOST_SLEW: u64 = 1_000;

/// Put on top when the counter is left: a thread may read it once more, some moments after
/// it was compared.
const LEAP_NANOS: u64 = 100_000;
