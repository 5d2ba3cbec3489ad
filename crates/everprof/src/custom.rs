//! Profiles of a program's own: what it holds, by who took it.
//!
//! Context: cold, but for `add`, which neither allocates nor locks once the profile is
//! served. Invariant: what a guard takes off is what it added.
//! Source: Go's `runtime/pprof.NewProfile`, `Profile.Add` and `Profile.Remove`.

use std::fmt;
use std::sync::{Arc, OnceLock};

use everprof_core::custom::Held;
use everprof_core::global;
use everprof_core::stack::Registers;

use crate::added::{self, About, Added};
use crate::assemble;
use crate::error::{Error, Kind};
use crate::profile::{Ask, Taken, Time};
use crate::start::complain;

/// A profile of what the program holds: connections, open handles, transactions.
///
/// It becomes a profile of this name: on the endpoint, in
/// [`lookup`](crate::profile::lookup) and in [`all`](crate::profile::all). One sample is
/// one stack that took such things. Its values are how many of them are held now, the
/// sum of their values if they [have one](Custom::with_value), and as `total_{name}` how
/// many were ever taken. Nothing is sampled.
///
/// ```
/// use everprof::{Custom, custom::Guard};
///
/// static CONNECTIONS: Custom = Custom::new("connections").with_value("buffers", "bytes");
///
/// struct Connection {
///     buffer: Vec<u8>,
///     _counted: Guard,
/// }
///
/// impl Connection {
///     fn open() -> Self {
///         let buffer = vec![0; 4096];
///         let _counted = CONNECTIONS.add(buffer.len() as u64);
///         Self { buffer, _counted }
///     }
/// }
///
/// let open = Connection::open();
/// let profile = everprof::profile::lookup("connections").expect("one is held");
/// # drop(open);
/// ```
///
/// # Names
///
/// Letters, digits, `-`, `_` and `.`, and none of everprof's own: in a constant or static
/// anything else is an error when the program is compiled. Where two profiles of a
/// program have one name, the second is not served: [`serve`](Custom::serve) says so,
/// and so does, once, a line on standard error when something is added to it.
///
/// # Overhead
///
/// The stack is walked, and a few counters are added to. The memory is that of the
/// other profiles, and under the same limit; what finds no room for its stack is under
/// `everprof::lost::table_full`, in all custom profiles alike.
///
/// # Fork
///
/// A child holds nothing: guards that it inherited take nothing off there.
pub struct Custom {
    name: &'static str,
    description: &'static str,
    value: Option<(&'static str, &'static str)>,
    /// Set when it is served, or was refused.
    served: OnceLock<Served>,
}

enum Served {
    /// Kept, so that it is listed.
    As(Arc<Listed>),
    /// Another has its name. Counted all the same, for nobody.
    Refused(Arc<Listed>),
}

/// What is listed of a profile.
struct Listed {
    number: u64,
    about: Arc<About>,
    value: Option<(&'static str, &'static str)>,
}

impl Custom {
    /// A profile of this name. It is served from the first
    /// [`add`](Custom::add) or [`serve`](Custom::serve) on.
    ///
    /// # Panics
    ///
    /// If no profile can have this name: see the section on names above.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        if let Err(bad) = added::check(name) {
            panic!("{}", bad.expected());
        }
        Self {
            name,
            description: "What the program holds, by the stack that took it",
            value: None,
            served: OnceLock::new(),
        }
    }

    /// Gives each thing that is held a value: its name, and the unit (`bytes`,
    /// `count`, …).
    #[must_use]
    pub const fn with_value(self, name: &'static str, unit: &'static str) -> Self {
        let mut custom = self;
        custom.value = Some((name, unit));
        custom
    }

    /// Says in one sentence what it tells, for the list of profiles.
    #[must_use]
    pub const fn with_description(self, description: &'static str) -> Self {
        let mut custom = self;
        custom.description = description;
        custom
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Serves it from now on, also while it holds nothing.
    ///
    /// # Errors
    ///
    /// Where another profile has its name ([`Error::is_busy`]).
    pub fn serve(&self) -> Result<(), Error> {
        match self.served() {
            Served::As(_) => Ok(()),
            Served::Refused(_) => Err(refusal(self.name)),
        }
    }

    /// Records that the caller holds one more, until the guard is dropped, on whichever
    /// thread. `value` is added where the profile [has one](Custom::with_value).
    #[inline(always)]
    pub fn add(&self, value: u64) -> Guard {
        self.add_from(value, &Registers::here())
    }

    #[inline(never)]
    fn add_from(&self, value: u64, registers: &Registers) -> Guard {
        let (Served::As(listed) | Served::Refused(listed)) = self.served();
        Guard {
            held: global::custom().take(listed.number, value, registers),
        }
    }

    fn served(&self) -> &Served {
        self.served.get_or_init(|| {
            let listed = Arc::new(Listed {
                number: next_number(),
                about: Arc::new(About {
                    name: self.name.to_owned(),
                    description: self.description.to_owned(),
                    time: Time::Instant,
                }),
                value: self.value,
            });
            let added: Arc<dyn Added> = listed.clone();
            match added::add(&added) {
                Ok(()) => Served::As(listed),
                Err(error) => {
                    complain(format!("everprof: {error}"));
                    Served::Refused(listed)
                }
            }
        })
    }
}

/// Something that is held until this is dropped.
#[derive(Debug)]
#[must_use = "it is held as long as this is kept"]
pub struct Guard {
    /// None: there was no memory at all.
    held: Option<Held>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(held) = self.held {
            global::custom().give_back(held);
        }
    }
}

/// Never 0: that is what nobody's buckets have.
fn next_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static LAST: AtomicU64 = AtomicU64::new(0);
    // Relaxed: only to differ.
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

fn refusal(name: &str) -> Error {
    Error::new(
        Kind::Busy,
        format!("a profile `{name}` exists already: give this one another name"),
    )
}

impl Added for Listed {
    fn about(&self) -> &Arc<About> {
        &self.about
    }

    /// As Go's list: how many are held.
    fn count(&self) -> usize {
        let snapshot = global::custom().snapshot(self.number);
        let held: u64 = snapshot.iter().map(|bucket| bucket.held.0).sum();
        usize::try_from(held).unwrap_or(usize::MAX)
    }

    fn take(&self, _: &Ask<'_>) -> Result<Taken, Error> {
        Ok(assemble::custom(self.number, &self.about.name, self.value))
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Custom")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
