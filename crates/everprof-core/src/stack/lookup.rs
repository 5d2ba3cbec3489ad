//! From a code address to its rule: cache, module, tables.
//!
//! Context: signal. Invariant: a rule is served for an address only while the
//! module it was read from is still the one loaded there.
//!
//! Modules are *permanent* (the program, the C library, the loader, the kernel's
//! own, this very one: none can go while we run) or may be unloaded, and others be
//! loaded in their place. A permanent module's rules are cached under identity 0
//! and served at once. Others' are cached under an identity made of the module's
//! place, its link map and its build id, which is asked for anew in each walk (once
//! for a run of frames in one module) with `_dl_find_object`, which takes no lock.
//! Rules of an unloaded module therefore match nothing any more and are overwritten
//! in time.
//!
//! Where the C library has no such function, modules are known from
//! [`refresh`](crate::modules::refresh) alone and count as permanent until a refresh finds one gone,
//! which changes `modules::salt` and with it all keys. musl never unloads.
//!
//! Size of the cache: 64 Ki rules of 16 bytes, 1 MiB of zero pages, of which a
//! program touches what its stacks need, a page for 64 KiB of code. It is a static: no system call to make it,
//! no failure, and outside of the recorders' shared mapping, where another process
//! could write.

use crate::modules::loaded as modules;
use crate::stack::cache::Cache;
use crate::stack::cfi::{Fault, Tables};
use crate::stack::platform;
use crate::stack::rules::Rule;
use crate::stack::walk::Rules;

static CACHE: Cache<16384> = Cache::new();

/// Finds rules during one walk.
#[derive(Debug)]
pub(crate) struct Lookup {
    salt: u64,
    /// The module, not permanent, that the walk is in, and its identity.
    start: u64,
    limit: u64,
    identity: u64,
}

impl Lookup {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self {
            salt: modules::salt(),
            start: 0,
            limit: 0,
            identity: 0,
        }
    }

    #[cold]
    fn missed(&mut self, lookup: u64, trusted: bool) -> Rule {
        if modules::is_permanent(lookup) {
            let Some(found) = modules::find(lookup) else {
                return Rule::NOT_COVERED.volatile();
            };
            let rule = read(&found, lookup);
            CACHE.put(lookup, self.salt, rule);
            return rule;
        }
        // Another thread may be unloading whatever a stray address points into.
        if !trusted {
            return Rule::NOT_COVERED.volatile();
        }
        let known = self.start <= lookup && lookup < self.limit;
        if known && let Some(rule) = CACHE.get(lookup, self.identity) {
            return rule.volatile();
        }
        let Some(found) = modules::find(lookup) else {
            return Rule::NOT_COVERED.volatile();
        };
        (self.start, self.limit, self.identity) = (found.start, found.limit, found.identity());
        if !known && let Some(rule) = CACHE.get(lookup, self.identity) {
            return rule.volatile();
        }
        modules::note(&found);
        let rule = read(&found, lookup);
        CACHE.put(lookup, self.identity, rule);
        rule.volatile()
    }
}

impl Rules for Lookup {
    #[inline(always)]
    fn rule(&mut self, lookup: u64, trusted: bool) -> Rule {
        match CACHE.get(lookup, self.salt) {
            Some(rule) => rule,
            None => self.missed(lookup, trusted),
        }
    }
}

/// Reads the rule from the module's tables.
fn read(found: &modules::Found, lookup: u64) -> Rule {
    let Some((header, segment)) = found.tables() else {
        return Rule::NOT_COVERED;
    };
    let tables = tables(header, segment);
    let row = match tables.row(lookup, platform::NUMBERS) {
        // Where a stack was made by hand (`makecontext`), the outermost return address is
        // a function's first byte, and `lookup` the padding before it.
        Err(Fault::NotCovered) => tables.row(lookup.wrapping_add(1), platform::NUMBERS),
        row => row,
    };
    Rule::new(row)
}

/// Mapped tables as they are read.
pub(crate) fn tables(header: u64, segment: &[u8]) -> Tables<'_> {
    Tables {
        segment,
        address: segment.as_ptr() as u64,
        header,
    }
}
