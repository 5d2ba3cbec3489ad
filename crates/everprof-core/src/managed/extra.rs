//! A bucket's extra key: size class and type in one word.
//!
//! Context: sampled. Invariant: what was packed is unpacked as it was, up to classes
//! of 2⁶² bytes.
//!
//! | bits | |
//! |---|---|
//! | 0–7 | the class without its trailing zeroes: never above 127, see `size_class` |
//! | 8–15 | how many zeroes |
//! | 32–63 | the type's number |

/// A class and a type as one word; never 0.
pub(super) fn pack(class_bytes: u64, type_number: u32) -> u64 {
    let class = class_bytes.clamp(1, 1 << 62);
    let zeroes = class.trailing_zeros();
    u64::from(type_number) << 32 | u64::from(zeroes) << 8 | (class >> zeroes & 0xff)
}

/// The class in bytes and the type's number.
pub(super) fn unpack(extra: u64) -> (u64, u32) {
    let zeroes = (extra >> 8 & 0x3f) as u32;
    ((extra & 0xff) << zeroes, (extra >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::size_class;

    #[test]
    fn every_class_is_unpacked_as_it_was() {
        let powers = (0..62).flat_map(|power| [1 << power, (1 << power) + 1, 3 << power >> 1]);
        for size in (0..5000).chain(powers) {
            let class = size_class(size);
            assert_eq!(unpack(pack(class, 77)), (class, 77), "size {size}");
        }
        assert_eq!(unpack(pack(size_class(u64::MAX), 1)).0, 1 << 62);
    }
}
