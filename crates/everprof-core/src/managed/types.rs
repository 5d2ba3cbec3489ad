//! Types: names of objects' types, each kept once and known by a number.
//!
//! Context: sampled. Invariant: a number names one name for good.
//!
//! A name is kept as the table keeps stacks: eight of its bytes for an address.

use crate::arena::{NewRecord, Offset, Region, Root, records};
use crate::lost::Lost;
use crate::sync::AtomicU32;
use crate::table::{Bucket, Key, Table};

/// Bytes of a name that are kept: longer ones are cut at a character.
pub const MOST_BYTES: usize = 256;

/// Names that are kept: more than a program has types, unless it puts values into
/// their names. What is over this counts under [`LOST_NAME`].
#[cfg(not(miri))]
pub const MOST_NAMES: usize = 4096;
/// Few enough for Miri; more than the table's own buckets, which are counted with them.
#[cfg(miri)]
pub const MOST_NAMES: usize = 32;

/// The name of all types that there was no room for.
pub const LOST_NAME: &str = "everprof::lost::types";

/// The number of no type.
pub const NONE: u32 = 0;

const WORD: usize = 8;

/// Nothing but the name.
#[repr(C)]
#[derive(Debug)]
pub struct Nothing([AtomicU32; 0]);

impl NewRecord for Nothing {
    fn new_record() -> Self {
        Self([])
    }
}
records!(Bucket<Nothing>);

/// The names, borrowed from their arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Types<'a> {
    table: Table<'a, Nothing>,
}

impl<'a> Types<'a> {
    /// Makes them. `None`: no room.
    pub(crate) fn create(region: Region<'a>) -> Option<Self> {
        let table = Table::create_of(region, Root::ManagedTypes)?;
        Some(Self { table })
    }

    /// Those that `create` made in this arena.
    pub(crate) fn open(region: Region<'a>) -> Option<Self> {
        let table = Table::open_of(region, Root::ManagedTypes)?;
        Some(Self { table })
    }

    /// The number of a name.
    pub(crate) fn number(&self, name: &str) -> u32 {
        let mut words = [0; MOST_BYTES / WORD];
        let bytes = name
            .get(..name.floor_char_boundary(MOST_BYTES))
            .unwrap_or_default()
            .as_bytes();
        for (word, bytes) in words.iter_mut().zip(bytes.chunks(WORD)) {
            let mut padded = [0; WORD];
            for (to, from) in padded.iter_mut().zip(bytes) {
                *to = *from;
            }
            *word = u64::from_ne_bytes(padded);
        }
        let key = Key {
            stack: words.get(..bytes.len().div_ceil(WORD)).unwrap_or_default(),
            // Never 0: that is what the table's own buckets have.
            extra: bytes.len() as u64 + 1,
            labels: 0,
        };
        let found = if self.table.len() < MOST_NAMES {
            self.table.find_or_insert(&key)
        } else {
            self.table.find(&key)
        };
        found
            .or_else(|| self.table.lost(Lost::TableFull))
            .map_or(NONE, Offset::raw)
    }

    /// The name of a number.
    pub(crate) fn name(&self, number: u32) -> Option<&'a str> {
        let at = Offset::from_raw(number)?;
        let Some(len) = self.table.bucket(at)?.extra().checked_sub(1) else {
            return Some(LOST_NAME);
        };
        let words = self.table.stack(at)?;
        // SAFETY: the same memory, seen as bytes, of which any is valid; written before
        // the bucket was linked, never after (`table`).
        let bytes =
            unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<u8>(), size_of_val(words)) };
        std::str::from_utf8(bytes.get(..usize::try_from(len).ok()?)?).ok()
    }
}

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::arena::Arena;

    #[test]
    fn names_are_kept_once_and_given_back() {
        let arena = Arena::anonymous(1 << 20).unwrap();
        let types = Types::create(arena.region()).unwrap();
        let names = ["String", "Array", "", "Array\0", "nine byte", "größer"];
        let numbers: Vec<_> = names.map(|name| types.number(name)).into();
        for (name, number) in names.iter().zip(&numbers) {
            assert_eq!(types.number(name), *number);
            assert_eq!(types.name(*number), Some(*name));
        }
        let long = "ü".repeat(MOST_BYTES);
        let cut = types.name(types.number(&long)).unwrap();
        assert_eq!((cut.len(), cut), (MOST_BYTES, &long[..MOST_BYTES]));
        assert_eq!(types.name(NONE), None);
    }

    #[test]
    fn names_over_the_cap_have_one_that_says_so() {
        let arena = Arena::anonymous(2 << 20).unwrap();
        let types = Types::create(arena.region()).unwrap();
        let known = types.number("known");
        for n in 0..MOST_NAMES + 5 {
            types.number(&format!("type {n}"));
        }
        assert_eq!(types.name(types.number("one more")), Some(LOST_NAME));
        assert_eq!(types.number("known"), known);
    }
}
