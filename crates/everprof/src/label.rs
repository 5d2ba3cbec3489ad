//! Labels: which tenant, route or job a thread works for, on every sample of it.
//!
//! ```
//! fn handle(id: u64, path: &str) {
//!     let _labels = everprof::labels! { "tenant" => id, "route" => path };
//!     // … whatever is recorded from here on carries both …
//! }
//! # handle(7, "/search");
//! ```
//!
//! They are in every profile: an object keeps those that were in force when it was
//! allocated until it is freed. `go tool pprof -tags` counts by them,
//! `-tagfocus=tenant=7` and `?label=tenant:7` keep what carries one.
//!
//! What is set within is added to what is set without, and wins where a key is in
//! both; an empty value takes a label off. A thread starts with the labels of the thread that made it, where thread
//! creation is seen (feature `interpose`, not in static programs); to hand them on
//! by hand, take [`Labels::current`] along and [`enter`](Labels::enter) it there.
//! Futures carry theirs [`with_labels`](WithLabels::with_labels).
//!
//! # Limits
//!
//! Each distinct set is stored once: 4,096 sets, a MiB of them (or a sixteenth of the
//! memory limit), 32 labels and 1 KiB a set. What would go beyond is counted under
//! the frame `everprof::lost::labels`. So label by what has few values: a tenant, not
//! the id of a request.
//!
//! # Overhead
//!
//! See [`labels!`](crate::labels!).

use std::borrow::Cow;
use std::future::Future;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use everprof_core::{global, labels};

pub use everprof_core::labels::Labelled;

/// Sets labels for this thread, until the [`Guard`](crate::label::Guard) that it
/// returns is dropped.
///
/// Keys are `&str`; values text, integers, `bool` or `char`: [`Value`](crate::label::Value).
///
/// ```
/// let (id, path) = (42, String::from("/search"));
/// let _labels = everprof::labels! { "tenant" => id, "route" => path };
/// {
///     let _more = everprof::labels! { "phase" => "parse" };
///     // tenant, route and phase
/// }
/// // tenant and route
/// ```
///
/// # Overhead
///
/// No lock, no allocation, no system call. A set met before is a look-up: see
/// `docs/labels.md` for instructions and time. Dropping is one store.
#[macro_export]
macro_rules! labels {
    ($($key:expr => $value:expr),+ $(,)?) => {
        $crate::label::Guard::of(&[$((
            $key,
            $crate::label::Value::text(&$value, &mut $crate::label::Digits::new()),
        )),+])
    };
}

/// Keeps labels in force on this thread. Dropped, it puts back those of before.
///
/// To be dropped in the reverse order of making, as scopes do by themselves. Bound
/// to `_` it is dropped at once; bind it to a name: `_labels`.
#[derive(Debug)]
#[must_use = "labels are in force as long as their guard lives"]
pub struct Guard {
    before: labels::Labels,
    /// What is in force is a thread's.
    not_send: PhantomData<*const ()>,
}

impl Guard {
    /// Adds pairs to the labels in force: what [`labels!`](crate::labels!) calls, for
    /// labels whose number is known only at run time.
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        let outer = labels::current();
        Labels(labels::extend(global::store(), outer, pairs)).enter()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        labels::enter(self.before);
    }
}

/// Labels that were in force somewhere, to be in force elsewhere: one word.
///
/// ```
/// let here = everprof::label::Labels::current();
/// std::thread::spawn(move || {
///     let _labels = here.enter();
///     // … works for whom its maker works for …
/// });
/// ```
///
/// In the child of a `fork` whose records lie in a file they are lost, and counted so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Labels(labels::Labels);

impl Labels {
    /// No labels.
    pub const NONE: Self = Self(labels::Labels::NONE);

    /// Those of this thread now.
    #[must_use]
    pub fn current() -> Self {
        Self(labels::current())
    }

    /// Puts them, and no others, in force on this thread.
    pub fn enter(self) -> Guard {
        Guard {
            before: labels::enter(self.0),
            not_send: PhantomData,
        }
    }
}

/// The labels that the guard keeps in force; it is dropped.
impl From<Guard> for Labels {
    fn from(_guard: Guard) -> Self {
        Self::current()
    }
}

/// Labels for futures, on any executor.
pub trait WithLabels: Future + Sized {
    /// Puts `labels` in force whenever this future is polled, on whichever thread,
    /// in the place of that thread's. They are those of here and now, with
    /// whatever is given on top.
    ///
    /// ```
    /// use everprof::WithLabels;
    ///
    /// async fn answer() {}
    /// let task = answer().with_labels(everprof::labels! { "route" => "/search" });
    /// # drop(task);
    /// ```
    ///
    /// A guard of [`labels!`](crate::labels!) is no way to do that: held across
    /// an `.await` it stays in force on the thread while others are polled there. A
    /// future that holds one is therefore not `Send`.
    ///
    /// # Overhead
    ///
    /// Two loads and two stores a poll.
    fn with_labels(self, labels: impl Into<Labels>) -> Labelled<Self> {
        Labelled::new(self, labels.into().0)
    }
}

impl<F: Future> WithLabels for F {}

/// What can be a label's value.
pub trait Value {
    /// It as text, which may be put into `digits`.
    fn text<'a>(&'a self, digits: &'a mut Digits) -> &'a str;
}

/// Room for a number or a character as text.
#[derive(Debug)]
pub struct Digits([u8; LONGEST]);

/// Of `i64::MIN`, and of `u64::MAX`.
const LONGEST: usize = 20;

impl Digits {
    #[doc(hidden)]
    #[must_use]
    #[inline]
    #[allow(clippy::new_without_default, reason = "the macro's alone")]
    pub const fn new() -> Self {
        Self([0; LONGEST])
    }

    /// Two digits a division, from the last.
    fn write(&mut self, magnitude: u64, negative: bool) -> &str {
        let (mut rest, mut at) = (magnitude, LONGEST);
        let mut put = |digit: u64| {
            at -= 1;
            self.0[at] = b'0' + digit as u8;
            at
        };
        while rest >= 10 {
            let two = rest % 100;
            rest /= 100;
            put(two % 10);
            put(two / 10);
        }
        let mut start = if rest > 0 || magnitude == 0 {
            put(rest)
        } else {
            at
        };
        if negative {
            start -= 1;
            self.0[start] = b'-';
        }
        // Nothing but ASCII was written.
        str::from_utf8(&self.0[start..]).unwrap_or_default()
    }
}

macro_rules! values {
    (as_text: $($name:ty),+; unsigned: $($unsigned:ty),+; signed: $($signed:ty),+) => {
        $(impl Value for $name {
            #[inline]
            fn text<'a>(&'a self, _: &'a mut Digits) -> &'a str {
                self
            }
        })+
        $(impl Value for $unsigned {
            fn text<'a>(&'a self, digits: &'a mut Digits) -> &'a str {
                digits.write(*self as u64, false)
            }
        })+
        $(impl Value for $signed {
            fn text<'a>(&'a self, digits: &'a mut Digits) -> &'a str {
                digits.write((*self as i64).unsigned_abs(), *self < 0)
            }
        })+
    };
}
values! {
    as_text: str, String, Box<str>, Rc<str>, Arc<str>, Cow<'_, str>;
    unsigned: u8, u16, u32, u64, usize;
    signed: i8, i16, i32, i64, isize
}

impl<V: Value + ?Sized> Value for &V {
    #[inline]
    fn text<'a>(&'a self, digits: &'a mut Digits) -> &'a str {
        (**self).text(digits)
    }
}

impl Value for bool {
    fn text<'a>(&'a self, _: &'a mut Digits) -> &'a str {
        if *self { "true" } else { "false" }
    }
}

impl Value for char {
    fn text<'a>(&'a self, digits: &'a mut Digits) -> &'a str {
        self.encode_utf8(&mut digits.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &impl Value) -> String {
        value.text(&mut Digits::new()).to_owned()
    }

    #[test]
    fn numbers_are_written_as_display_writes_them() {
        for bits in 0..64 {
            for n in [1_u64 << bits, (1_u64 << bits) - 1, 10_u64.pow(bits % 20)] {
                assert_eq!(text(&n), n.to_string());
                assert_eq!(text(&n.cast_signed()), n.cast_signed().to_string());
                assert_eq!(text(&(n as i8)), (n as i8).to_string());
            }
        }
        let ends = [i64::MIN, i64::MAX, 0, -1, 99, 100, -100];
        assert!(ends.iter().all(|n| text(n) == n.to_string()));
        assert_eq!(text(&u64::MAX), u64::MAX.to_string());
    }

    #[test]
    fn text_of_all_kinds_is_a_value() {
        let own = String::from("a");
        assert_eq!([text(&own), text(&"a"), text(&&own)], ["a", "a", "a"]);
        assert_eq!(text(&Cow::Borrowed("b")), "b");
        assert_eq!([text(&'ü'), text(&true)], ["ü", "true"]);
    }

    #[test]
    fn guards_nest_and_restore() {
        let before = Labels::current();
        let outer = crate::labels! { "a" => 1, "b" => "x" };
        let with_outer = Labels::current();
        {
            let _inner = crate::labels! { "b" => "y" };
            assert_ne!(Labels::current(), with_outer);
            let _same = crate::labels! { "b" => "x" };
            assert_eq!(Labels::current(), with_outer);
        }
        assert_eq!(Labels::current(), with_outer);
        drop(outer);
        assert_eq!(Labels::current(), before);
    }
}
