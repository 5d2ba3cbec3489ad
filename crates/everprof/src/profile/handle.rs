//! A profile's kind, whether everprof's own or added by the program.
//!
//! Context: cold. Invariant: whoever handles profiles asks a `Handle`, and so serves
//! both alike.

use std::cell::RefCell;
use std::io::{BufWriter, Write};
use std::ops::Deref;
use std::sync::Arc;

use everprof_profile::stacks::Stacks;
use everprof_profile::text;

use super::{Ask, LongText, Names, Profile, Source, Time, registry};
use crate::added::{self, About, Added};
use crate::assemble;
use crate::error::Error;

/// What a profile is called, and what can be asked of it. Taken profiles keep it.
#[derive(Clone, Debug)]
pub(crate) enum Listing {
    /// One of everprof's own.
    Own(&'static Source),
    /// One that the program added.
    Added(Arc<About>),
}

/// A profile that can be taken.
#[derive(Clone)]
pub(crate) struct Handle {
    listing: Listing,
    taker: Taker,
}

/// Whoever takes it.
#[derive(Clone)]
enum Taker {
    Own(&'static Source),
    Added(Arc<dyn Added>),
}

/// All that the process has now: everprof's own, and those that were added.
pub(crate) fn handles() -> Vec<Handle> {
    let own = registry().iter().map(|source| Handle::own(source));
    own.chain(added::all()).collect()
}

impl Listing {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Own(source) => source.name,
            Self::Added(about) => &about.name,
        }
    }

    pub(crate) fn description(&self) -> &str {
        match self {
            Self::Own(source) => source.description,
            Self::Added(about) => &about.description,
        }
    }

    pub(crate) fn time(&self) -> Time {
        match self {
            Self::Own(source) => source.time,
            Self::Added(about) => about.time,
        }
    }

    pub(crate) fn has_age(&self) -> bool {
        matches!(self, Self::Own(source) if source.has_age)
    }

    pub(crate) fn has_idle(&self) -> bool {
        matches!(self, Self::Own(source) if source.has_idle)
    }

    pub(crate) fn has_leaks(&self) -> bool {
        matches!(self, Self::Own(source) if source.has_leaks)
    }

    /// Whether this text is made of paragraphs, which want files and lines.
    pub(crate) fn has_paragraphs(&self, debug: i64) -> bool {
        debug >= 2 && matches!(self, Self::Own(source) if source.long_text == LongText::Threads)
    }

    /// Writes a profile of this kind as text, for any `debug` but 0.
    pub(crate) fn write_text(
        &self,
        profile: &everprof_profile::Profile,
        debug: i64,
        out: &mut impl Write,
    ) -> Result<(), Error> {
        if self.has_paragraphs(debug) {
            let mut out = BufWriter::with_capacity(64 << 10, out);
            return write!(out, "{}", Stacks::of(profile))
                .and_then(|()| out.flush())
                .map_err(|e| Error::io("write", e));
        }
        Ok(text::write_debug1(profile, self.name(), out)?)
    }

    /// What was taken, with the names of its functions.
    pub(crate) fn finished(self, data: everprof_profile::Profile) -> Profile {
        Profile {
            listing: self,
            data: assemble::finish(data, Names::Table, &[]),
            tasks: None,
        }
    }
}

impl Handle {
    pub(crate) fn own(source: &'static Source) -> Self {
        Self {
            listing: Listing::Own(source),
            taker: Taker::Own(source),
        }
    }

    pub(crate) fn added(added: Arc<dyn Added>) -> Self {
        Self {
            listing: Listing::Added(Arc::clone(added.about())),
            taker: Taker::Added(added),
        }
    }

    /// Its stacks now; 0 where that cannot be known without taking it.
    pub(crate) fn count(&self) -> usize {
        match &self.taker {
            Taker::Own(source) => (source.count)(),
            Taker::Added(added) => added.count(),
        }
    }

    /// Takes it, by addresses.
    pub(crate) fn take(&self, ask: &Ask<'_>) -> Result<everprof_profile::Profile, Error> {
        match &self.taker {
            Taker::Own(source) => (source.take)(ask),
            Taker::Added(added) => added.take(ask),
        }
    }

    /// Takes it, where that needs no time.
    pub(super) fn profile(self) -> Option<Result<Profile, Error>> {
        if let Time::Window(_) = self.time() {
            return None;
        }
        // It may be written as paragraphs.
        let kept = RefCell::new(None);
        let taken = self.take(&Ask {
            keep: self.has_paragraphs(2).then_some(&kept),
            ..Ask::default()
        });
        Some(taken.map(|data| Profile {
            tasks: kept.into_inner(),
            ..self.listing.finished(data)
        }))
    }
}

/// A handle is a kind that can be taken.
impl Deref for Handle {
    type Target = Listing;

    fn deref(&self) -> &Listing {
        &self.listing
    }
}
