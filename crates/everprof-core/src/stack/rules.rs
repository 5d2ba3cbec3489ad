//! Unwind rules: a row of the tables in one word.
//!
//! Context: signal. Invariant: a rule says no more than its row; what does not fit is
//! of a kind that is not followed.
//!
//! ```text
//! rule   63      44 43        27 26        10  9 8 7 6 5 4 3      0
//!        cfa bytes/8  fp bytes/8   ra bytes/8  - V - L F F   kind
//! ```
//! V: the module may be unloaded, so the rule must be looked up under the
//! module's identity each time. L: the return address is in the link register.
//! F: where the caller's frame pointer is ([`FpIn`]).

use super::cfi::{Cfa, Fault, Row, Saved};

/// How to get from a frame to its caller's, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Rule(u64);

/// What sort of step a [`Rule`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The canonical frame address is the stack pointer plus bytes.
    Sp,
    /// It is the frame pointer plus bytes.
    Fp,
    /// It is the word at the frame pointer plus bytes.
    AtFp,
    /// A signal trampoline: the caller's registers are in the kernel's frame.
    Signal,
    /// The outermost frame.
    Root,
    /// No table covers the address.
    NotCovered,
    /// The table says it in a way that is not followed.
    Unsupported,
    /// The table is damaged.
    Malformed,
}

/// Where the caller's frame pointer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FpIn {
    Register,
    Cfa,
    Fp,
    Lost,
}

impl Rule {
    pub(crate) const NOT_COVERED: Self = Self(5);
    pub(crate) const SIGNAL: Self = Self(3);
    /// There are tables, and they cannot be read: to go on without them would pass frames by.
    pub(crate) const ENDS: Self = Self(7);
    /// Fills places that hold no rule and that nobody reads. Zero, so that half a
    /// megabyte of such places is no part of every executable's file.
    pub(crate) const EMPTY: Self = Self(0);
    const VOLATILE: u64 = 1 << 8;
    const LINK: u64 = 1 << 6;

    /// Packs what the tables say.
    pub(crate) fn new(row: Result<Row, Fault>) -> Self {
        let row = match row {
            Ok(row) => row,
            Err(Fault::NotCovered) => return Self::NOT_COVERED,
            Err(Fault::Unsupported) => return Self(6),
            Err(Fault::Malformed) => return Self(7),
        };
        if row.signal {
            return Self::SIGNAL;
        }
        Self::pack(&row).unwrap_or(Self(6))
    }

    fn pack(row: &Row) -> Option<Self> {
        let (kind, cfa) = match row.cfa {
            Cfa::Sp(bytes) => (0, bytes),
            Cfa::Fp(bytes) => (1, bytes),
            Cfa::AtFp(bytes) => (2, bytes),
            Cfa::Unsupported => return None,
        };
        let (fp_in, fp) = match row.fp {
            Saved::Same => (0, 0),
            Saved::AtCfa(bytes) => (1, bytes),
            Saved::AtFp(bytes) => (2, bytes),
            // A lost frame pointer is only missed if a caller's rule asks for it.
            Saved::Undefined | Saved::Unsupported => (3, 0),
        };
        let (link, ra) = match row.ra {
            Saved::AtCfa(bytes) => (0, bytes),
            Saved::Same => (Self::LINK, 0),
            Saved::Undefined => return Some(Self(4)),
            Saved::AtFp(_) | Saved::Unsupported => return None,
        };
        // 20 and 17 bits of words: frames up to 4 MiB, slots up to 512 KiB away.
        // Beyond that the frame pointer has to do.
        let cfa = words(cfa, 20)? << 44;
        let fp = words(fp, 17)? << 27;
        let ra = words(ra, 17)? << 10;
        Some(Self(kind | fp_in << 4 | link | cfa | fp | ra))
    }

    /// As the cache has it.
    #[inline(always)]
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// For the cache.
    #[inline(always)]
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The same rule, valid only for the module that is loaded now.
    pub(crate) fn volatile(self) -> Self {
        Self(self.0 | Self::VOLATILE)
    }

    #[inline(always)]
    pub(crate) fn is_volatile(self) -> bool {
        self.0 & Self::VOLATILE != 0
    }

    /// Of the kinds that nearly all frames are: based on a register, return address
    /// and frame pointer in their slots or untouched.
    #[inline(always)]
    pub(crate) fn is_common(self) -> bool {
        // Kinds 0 and 1, frame pointer 0 and 1, no link register.
        self.0 & 0x66 == 0
    }

    /// Of a common rule: the base is the frame pointer, not the stack pointer.
    #[inline(always)]
    pub(crate) fn is_based_on_fp(self) -> bool {
        self.0 & 1 != 0
    }

    /// Of a common rule: the caller's frame pointer is in memory.
    #[inline(always)]
    pub(crate) fn is_fp_in_cfa(self) -> bool {
        self.0 & 0x10 != 0
    }

    #[inline(always)]
    pub(crate) fn ra_in_link_register(self) -> bool {
        self.0 & Self::LINK != 0
    }

    #[inline(always)]
    pub(crate) fn kind(self) -> Kind {
        match self.0 & 7 {
            0 => Kind::Sp,
            1 => Kind::Fp,
            2 => Kind::AtFp,
            3 => Kind::Signal,
            4 => Kind::Root,
            5 => Kind::NotCovered,
            6 => Kind::Unsupported,
            _ => Kind::Malformed,
        }
    }

    #[inline(always)]
    pub(crate) fn fp_in(self) -> FpIn {
        match self.0 >> 4 & 3 {
            0 => FpIn::Register,
            1 => FpIn::Cfa,
            2 => FpIn::Fp,
            _ => FpIn::Lost,
        }
    }

    /// Bytes, to be added with wrapping.
    #[inline(always)]
    pub(crate) fn cfa(self) -> u64 {
        ((self.0 as i64 >> 44) << 3) as u64
    }

    /// Bytes, to be added with wrapping.
    #[inline(always)]
    pub(crate) fn fp(self) -> u64 {
        (((self.0 << 20) as i64 >> 47) << 3) as u64
    }

    /// Bytes, to be added with wrapping.
    #[inline(always)]
    pub(crate) fn ra(self) -> u64 {
        (((self.0 << 37) as i64 >> 47) << 3) as u64
    }
}

/// `bytes` as two's complement words in `bits` bits.
fn words(bytes: i32, bits: u32) -> Option<u64> {
    if bytes % 8 != 0 {
        return None;
    }
    let words = i64::from(bytes / 8);
    let limit = 1_i64 << (bits - 1);
    (-limit..limit)
        .contains(&words)
        .then_some(words as u64 & ((1 << bits) - 1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(cfa: Cfa, fp: Saved, ra: Saved) -> Row {
        Row {
            cfa,
            fp,
            ra,
            signed: false,
            signal: false,
        }
    }

    #[test]
    fn a_row_survives_packing() {
        let rule = Rule::new(Ok(row(
            Cfa::Sp(4096 * 8),
            Saved::AtCfa(-16),
            Saved::AtCfa(-8),
        )));
        assert_eq!(rule.kind(), Kind::Sp);
        assert_eq!(rule.cfa(), 4096 * 8);
        assert_eq!(rule.fp_in(), FpIn::Cfa);
        assert_eq!(rule.fp() as i64, -16);
        assert_eq!(rule.ra() as i64, -8);
        assert!(!rule.ra_in_link_register() && !rule.is_volatile());
    }

    #[test]
    fn volatile_rules_keep_their_offsets() {
        let rule = Rule::new(Ok(row(Cfa::AtFp(-8), Saved::AtFp(0), Saved::AtCfa(-8)))).volatile();
        assert!(rule.is_volatile());
        assert_eq!(rule.kind(), Kind::AtFp);
        assert_eq!(rule.cfa() as i64, -8);
        assert_eq!(rule.fp_in(), FpIn::Fp);
    }

    #[test]
    fn offsets_beyond_the_bits_are_unsupported_not_truncated() {
        for cfa in [Cfa::Sp(4 << 20), Cfa::Sp(12), Cfa::Unsupported] {
            let rule = Rule::new(Ok(row(cfa, Saved::Same, Saved::AtCfa(-8))));
            assert_eq!(rule.kind(), Kind::Unsupported);
        }
        let rule = Rule::new(Ok(row(
            Cfa::Sp((4 << 20) - 8),
            Saved::Same,
            Saved::AtCfa(-(512 << 10)),
        )));
        assert_eq!(rule.cfa(), (4 << 20) - 8);
        assert_eq!(rule.ra() as i64, -(512 << 10));
    }
}
