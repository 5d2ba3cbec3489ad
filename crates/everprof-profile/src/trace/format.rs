//! Format: the numbers of a trace's bytes, and how integers become bytes.
//!
//! Context: cold.
//! Invariant: nothing here changes its meaning while [`VERSION`] stays what it is.
//! docs/trace-format.md tells the whole; this file has the numbers that it names.

/// What a trace begins with; the version follows as one byte.
pub(crate) const MAGIC: &[u8; 15] = b"everprof-trace\n";

/// The version that is written, and the only one that is read.
pub const VERSION: u8 = 1;

/// Bytes before the first block.
pub(crate) const HEAD_BYTES: usize = MAGIC.len() + 1;

/// Bytes of a block before its payload: kind, length, checksum.
pub(crate) const BLOCK_HEAD_BYTES: usize = 1 + 4 + 4;

/// No payload is longer. Recorders write some 64 KiB; a command line may have 2 MiB.
pub const MOST_PAYLOAD_BYTES: usize = 4 << 20;

/// No stack has more frames: four times what a recorder can be told to keep.
pub const MOST_FRAMES: usize = 4096;

/// Times are ticks without so many of their lowest bits, at most.
pub const MOST_SHIFT: u32 = 31;

/// The first number in a stack that may be an address; lower ones are names of
/// [`Table::Frames`].
pub const FIRST_ADDRESS: u64 = 64;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// Which process, when, and how it counts time. The first block, and only that.
    Program = 1,
    /// What is loaded where, from now on.
    Modules = 2,
    /// Stacks by number.
    Stacks = 3,
    /// Names by number.
    Names = 4,
    /// A thread, or its new name.
    Thread = 5,
    /// What one thread did.
    Events = 6,
    /// Everything before a time is in the file by now.
    Round = 7,
    /// The last block.
    End = 8,
}

impl Kind {
    /// The kind of this number, if it is known.
    pub(crate) fn of(number: u8) -> Option<Kind> {
        [
            Kind::Program,
            Kind::Modules,
            Kind::Stacks,
            Kind::Names,
            Kind::Thread,
            Kind::Events,
            Kind::Round,
            Kind::End,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == number)
    }
}

/// What a block of names names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Table {
    /// Types of objects in managed heaps.
    Types = 0,
    /// Managed heaps.
    Heaps = 1,
    /// Frames that are no code: numbers below [`FIRST_ADDRESS`] in a stack.
    Frames = 2,
}

/// The lowest three bits of an event's first byte.
pub(crate) mod event {
    pub(crate) const ALLOC: u8 = 0;
    pub(crate) const FREE: u8 = 1;
    pub(crate) const REALLOC: u8 = 2;
    pub(crate) const MANAGED_ALLOC: u8 = 3;
    pub(crate) const MANAGED_FREE: u8 = 4;
    pub(crate) const CYCLE: u8 = 5;
    pub(crate) const LOST: u8 = 6;

    /// How many bits the kind takes.
    pub(crate) const KIND_BITS: u32 = 3;
    /// In the place of the time since the event before: it follows as a varint.
    pub(crate) const LONG_TIME: u8 = 31;
}

/// Multiples of 8, which nearly all addresses are, have nothing in the bits that are
/// rotated to the top.
const ADDRESS_BITS: u32 = 3;

/// The checksum of a block: CRC-32 (IEEE 802.3) of its kind, its length and its payload.
pub(crate) fn checksum(kind: u8, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[kind]);
    crc.update(&(payload.len() as u32).to_le_bytes());
    crc.update(payload);
    crc.finalize()
}

/// Signed numbers so that those near 0 are small: 0, −1, 1, −2, … become 0, 1, 2, 3, ….
pub(crate) fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// What [`zigzag`] made it of.
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// An address as it is written behind another one.
pub(crate) fn address_step(before: u64, address: u64) -> u64 {
    let rotated = address.rotate_right(ADDRESS_BITS);
    zigzag(rotated.wrapping_sub(before.rotate_right(ADDRESS_BITS)) as i64)
}

/// The address that is so written behind `before`.
pub(crate) fn address_after(before: u64, step: u64) -> u64 {
    let rotated = before.rotate_right(ADDRESS_BITS);
    rotated
        .wrapping_add(unzigzag(step) as u64)
        .rotate_left(ADDRESS_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zigzag_comes_back() {
        for value in [0, -1, 1, -2, 63, -64, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
        assert_eq!((zigzag(0), zigzag(-1), zigzag(1), zigzag(-2)), (0, 1, 2, 3));
    }

    #[test]
    fn every_address_comes_back() {
        let addresses = [
            0,
            1,
            7,
            8,
            0x7fff_1234_5678,
            0x7fff_1234_5670,
            1 << 63,
            u64::MAX,
        ];
        for before in addresses {
            for address in addresses {
                let step = address_step(before, address);
                assert_eq!(address_after(before, step), address);
            }
        }
    }

    #[test]
    fn near_multiples_of_eight_take_one_byte() {
        for distance in [0, 8, 16, 504] {
            assert!(address_step(0x7f00_0000_0000, 0x7f00_0000_0000 + distance) < 128);
            assert!(address_step(0x7f00_0000_0000 + distance, 0x7f00_0000_0000) < 128);
        }
    }

    #[test]
    fn checksum_is_that_of_the_standard() {
        // The check value of CRC-32/ISO-HDLC is of "123456789"; here kind and length are its
        // first five bytes.
        let length = u32::from_le_bytes(*b"2345");
        let mut crc = crc32fast::Hasher::new();
        crc.update(b"1");
        crc.update(&length.to_le_bytes());
        crc.update(b"6789");
        assert_eq!(crc.finalize(), 0xcbf4_3926);
        assert_ne!(checksum(1, b"a"), checksum(2, b"a"));
    }
}
