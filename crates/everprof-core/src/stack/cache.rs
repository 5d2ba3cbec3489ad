//! The cache of unwind rules: by address, near one another for addresses that are.
//!
//! Context: signal. Invariant: a cached rule is found only under the very key
//! it was put with.
//!
//! The cache is shared by all threads and has neither locks nor versions. A
//! slot is two words, `key ^ scramble(rule)` and `rule`; whoever reads them
//! torn, from two writers, computes another key and misses. Two words that fit
//! by chance need 64 bits to agree.
//!
//! Four slots are a line of the processor's cache, and an address has two of those:
//!
//! | line | is | for |
//! |---|---|---|
//! | near | one of the page that its 64 KiB of code have | nearly all |
//! | far | any, by hash | what finds its near one full |
//!
//! So a program touches a page of the cache for each 64 KiB of code that it samples in;
//! by hash alone each rule touched another page, up to a MiB. A page has room for 256
//! rules, and code of 64 KiB some 3,000 calls: of few of them is a sampled stack made.
//! Where both lines are full, what is new replaces something in the far one.
//!
//! Source: lock-less transposition tables of chess programs (R. Hyatt, T. Mann,
//! "A lock-less transposition table implementation", 2002) for the slots.

use core::sync::atomic::{AtomicU64, Ordering};

use super::rules::Rule;

/// Rules by lookup address.
#[derive(Debug)]
pub(crate) struct Cache<const LINES: usize> {
    lines: [Line; LINES],
}

/// Filled from the front.
#[derive(Debug)]
#[repr(align(64))]
struct Line([Slot; 4]);

/// Any thread writes and reads both words; each is only believed beside the other.
#[derive(Debug)]
struct Slot {
    /// 0: nothing was put here.
    check: AtomicU64,
    rule: AtomicU64,
}

/// Code that has one page of the cache.
const CODE_BITS: u32 = 16;
/// Lines of a page of 4 KiB.
const PAGE_BITS: u32 = 6;

impl<const LINES: usize> Cache<LINES> {
    pub(crate) const fn new() -> Self {
        Self {
            lines: [const { Line([const { Slot::new() }; 4]) }; LINES],
        }
    }

    /// The rule for `lookup` under `identity`, if it was put there.
    #[inline(always)]
    pub(crate) fn get(&self, lookup: u64, identity: u64) -> Option<Rule> {
        let (key, hash) = (lookup ^ identity, hash(lookup));
        for slot in &self.near(lookup, hash)?.0 {
            if let Some(rule) = slot.get(key) {
                return Some(rule);
            }
            if slot.is_free() {
                return None;
            }
        }
        self.get_far(key, hash)
    }

    #[cold]
    #[inline(never)]
    fn get_far(&self, key: u64, hash: u64) -> Option<Rule> {
        self.far(hash)?.0.iter().find_map(|slot| slot.get(key))
    }

    /// Remembers a rule.
    pub(crate) fn put(&self, lookup: u64, identity: u64, rule: Rule) {
        let (key, hash) = (lookup ^ identity, hash(lookup));
        let (Some(near), Some(far)) = (self.near(lookup, hash), self.far(hash)) else {
            return;
        };
        let mut slots = near.0.iter().chain(&far.0);
        let slot = match slots.find(|slot| slot.is_free() || slot.get(key).is_some()) {
            Some(slot) => slot,
            // By bits that no index depends on.
            None => &far.0[(hash >> 20) as usize & 3],
        };
        slot.put(key, rule);
    }

    #[inline(always)]
    fn near(&self, lookup: u64, hash: u64) -> Option<&Line> {
        let page = (lookup >> CODE_BITS) << PAGE_BITS;
        // The upper bits of the product depend on all of the address.
        let index = page | hash >> (u64::BITS - PAGE_BITS);
        self.lines.get(index as usize % LINES)
    }

    #[inline(always)]
    fn far(&self, hash: u64) -> Option<&Line> {
        self.lines.get((hash >> 32) as usize % LINES)
    }
}

impl Slot {
    const fn new() -> Self {
        Self {
            check: AtomicU64::new(0),
            rule: AtomicU64::new(0),
        }
    }

    #[inline(always)]
    fn get(&self, key: u64) -> Option<Rule> {
        // Relaxed: the check word, not the order, tells whether the two belong together.
        let check = self.check.load(Ordering::Relaxed);
        let rule = self.rule.load(Ordering::Relaxed);
        (check ^ scramble(rule) == key).then_some(Rule::from_bits(rule))
    }

    #[inline(always)]
    fn is_free(&self) -> bool {
        // Relaxed: a hint; a rule that is put into two places does no harm.
        self.check.load(Ordering::Relaxed) == 0
    }

    fn put(&self, key: u64, rule: Rule) {
        let bits = rule.bits();
        // Relaxed: as in `get`.
        self.check.store(key ^ scramble(bits), Ordering::Relaxed);
        self.rule.store(bits, Ordering::Relaxed);
    }
}

/// Fibonacci hashing.
#[inline(always)]
fn hash(lookup: u64) -> u64 {
    lookup.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Spreads a rule over the word, so that two rules' difference does not look
/// like the difference of two addresses.
#[inline(always)]
fn scramble(rule: u64) -> u64 {
    // +1: an empty slot must not match address 0 under identity 0.
    // The factor is MurmurHash3's first finaliser (A. Appleby).
    (rule.wrapping_add(1)).wrapping_mul(0xff51_afd7_ed55_8ccd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(number: u64) -> Rule {
        Rule::from_bits(number << 44)
    }

    #[test]
    fn a_rule_is_found_only_under_its_key() {
        let cache = Cache::<1>::new();
        assert_eq!(cache.get(0, 0), None);
        cache.put(0x1000, 7, rule(1));
        assert_eq!(cache.get(0x1000, 7), Some(rule(1)));
        assert_eq!(cache.get(0x1000, 0), None);
        assert_eq!(cache.get(0x1000, 8), None);
        assert_eq!(cache.get(0x1001, 7), None);
    }

    #[test]
    fn a_torn_slot_matches_nothing() {
        let cache = Cache::<1>::new();
        cache.put(0x1000, 0, rule(1));
        let slot = &cache.lines[0].0[0];
        slot.rule.store(rule(2).bits(), Ordering::Relaxed);
        for lookup in [0x1000, 0x2000] {
            assert_eq!(cache.get(lookup, 0), None);
        }
    }

    #[test]
    fn code_that_is_near_shares_a_page_and_what_finds_no_room_there_is_found_elsewhere() {
        let cache = Box::new(Cache::<2048>::new());
        let calls: Vec<u64> = (0..500).map(|n| 0x5555_0000 + 120 * n).collect();
        let pages = || {
            let is_touched = |line: &Line| line.0.iter().any(|slot| !slot.is_free());
            let pages = cache.lines.chunks(1 << PAGE_BITS);
            pages.filter(|page| page.iter().any(is_touched)).count()
        };
        for (number, lookup) in calls.iter().enumerate() {
            cache.put(*lookup, 0, rule(number as u64));
            if number == 40 {
                assert_eq!(pages(), 1);
            }
        }
        // Twice the page's room.
        assert!(pages() > 10);
        let found = calls.iter().enumerate();
        let found =
            found.filter(|(number, lookup)| cache.get(**lookup, 0) == Some(rule(*number as u64)));
        // One far line in 32 is on the full page: a rule put there replaces another.
        assert!(found.count() > 480);
    }

    #[test]
    fn the_newest_rule_is_kept_where_all_places_are_taken() {
        let cache = Cache::<1>::new();
        for number in 0..100 {
            cache.put(0x1000 + number, 0, rule(number));
            assert_eq!(cache.get(0x1000 + number, 0), Some(rule(number)));
        }
        cache.put(0x1063, 0, rule(7));
        assert_eq!(cache.get(0x1063, 0), Some(rule(7)), "put again, changed");
    }
}
