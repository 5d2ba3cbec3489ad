//! Protobuf's wire format: varints, keys, and a reader that cannot leave its bytes.
//!
//! Context: cold.
//! Invariant: `Reader` only ever hands out parts of the slice it was made from.
//! Source: protobuf.dev/programming-guides/encoding. Profiles need varints and
//! length-delimited fields; fixed-width fields and groups are skipped or refused.

/// Wire type of a varint field.
pub(crate) const VARINT: u64 = 0;
/// Wire type of a field of 8 bytes.
pub(crate) const FIXED64: u64 = 1;
/// Wire type of a length-delimited field.
pub(crate) const BYTES: u64 = 2;
/// Wire type of a field of 4 bytes.
pub(crate) const FIXED32: u64 = 5;

/// Appends `value` as a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Room for a varint of 32 bits.
pub(crate) type Room = [u8; 5];

/// Writes `value` to the front of `room`; returns how many bytes it takes. Stacks are packed
/// by this: pushed byte by byte they took three times as long.
#[inline]
pub(crate) fn write_varint(room: &mut Room, value: u32) -> usize {
    let byte = |index: u32| (value >> (7 * index)) as u8 | 0x80;
    let [one, two, ..] = room;
    match value {
        0..0x80 => {
            *one = value as u8;
            1
        }
        0x80..0x4000 => {
            *one = byte(0);
            *two = (value >> 7) as u8;
            2
        }
        _ => {
            let bytes = (value.ilog2() / 7) as usize + 1;
            *room = [0, 1, 2, 3, 4].map(byte);
            room[bytes - 1] &= 0x7f;
            bytes
        }
    }
}

/// How many bytes [`put_bytes`] appends.
pub(crate) fn bytes_len(field: u64, bytes: &[u8]) -> usize {
    varint_len(field << 3) + varint_len(bytes.len() as u64) + bytes.len()
}

fn varint_len(value: u64) -> usize {
    (value | 1).ilog2() as usize / 7 + 1
}

/// Appends a varint field, if it is not 0: absent and 0 mean the same in proto3.
pub(crate) fn put_uint(out: &mut Vec<u8>, field: u64, value: u64) {
    if value != 0 {
        put_varint(out, field << 3 | VARINT);
        put_varint(out, value);
    }
}

/// Appends a length-delimited field.
pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// One field's value, as far as the wire tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A varint.
    Int(u64),
    /// Bytes: a string, a message, or packed varints.
    Bytes(&'a [u8]),
    /// A fixed-width field, which no field of a profile is.
    Fixed,
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes end inside a field.
    Truncated,
    /// A varint of more than 10 bytes or 64 bits.
    Overlong,
    /// A wire type that proto3 does not have.
    WireType(u64),
    /// Field number 0, or above 2^29 - 1.
    FieldNumber(u64),
}

/// Reads fields off the front of a message.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their beginning.
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Whether everything was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are still to be read.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next varint.
    pub(crate) fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0u64;
        for at in 0..10 {
            let Some(&byte) = self.rest.get(at) else {
                return Err(Fault::Truncated);
            };
            let part = u64::from(byte & 0x7f);
            if at == 9 && part > 1 {
                return Err(Fault::Overlong);
            }
            value |= part << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(Fault::Overlong)
    }

    /// The next field's number and value.
    pub(crate) fn field(&mut self) -> Result<(u64, Value<'a>), Fault> {
        let key = self.varint()?;
        let number = key >> 3;
        if number == 0 || number >= 1 << 29 {
            return Err(Fault::FieldNumber(number));
        }
        let value = match key & 7 {
            VARINT => Value::Int(self.varint()?),
            BYTES => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            FIXED64 => self.take(8).map(|_| Value::Fixed)?,
            FIXED32 => self.take(4).map(|_| Value::Fixed)?,
            other => return Err(Fault::WireType(other)),
        };
        Ok((number, value))
    }

    /// The next so many bytes.
    pub(crate) fn take(&mut self, len: u64) -> Result<&'a [u8], Fault> {
        let len = usize::try_from(len).map_err(|_| Fault::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn varints_of_32_bits_are_the_same_written_and_pushed() {
        for bits in 0..=32 {
            for value in [(1u64 << bits) - 1, 1 << bits] {
                let Ok(value) = u32::try_from(value) else {
                    continue;
                };
                let mut room = [0xAA; 5];
                let len = write_varint(&mut room, value);
                let mut pushed = Vec::new();
                put_varint(&mut pushed, value.into());
                assert_eq!(room[..len], pushed, "{value:#x}");
                assert_eq!(varint_len(value.into()), len, "{value:#x}");
            }
        }
        let mut field = Vec::new();
        put_bytes(&mut field, 2, &[7; 200]);
        assert_eq!(bytes_len(2, &[7; 200]), field.len());
    }

    #[test]
    fn varints_come_back() {
        for value in [
            0,
            1,
            127,
            128,
            300,
            u64::from(u32::MAX),
            i64::MAX as u64,
            u64::MAX,
        ] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.varint(), Ok(value));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn varint_beyond_64_bits_is_refused() {
        assert_eq!(Reader::new(&[0xff; 11]).varint(), Err(Fault::Overlong));
        let mut bytes = [0xff; 10];
        bytes[9] = 2;
        assert_eq!(Reader::new(&bytes).varint(), Err(Fault::Overlong));
        assert_eq!(Reader::new(&[0x80]).varint(), Err(Fault::Truncated));
    }

    #[test]
    fn length_beyond_the_end_is_refused() {
        assert_eq!(Reader::new(&[0x0a, 5, 1]).field(), Err(Fault::Truncated));
        let mut bytes = vec![0x0a];
        put_varint(&mut bytes, u64::MAX);
        assert_eq!(Reader::new(&bytes).field(), Err(Fault::Truncated));
    }

    #[test]
    fn groups_and_field_zero_are_refused() {
        assert_eq!(Reader::new(&[0x0b]).field(), Err(Fault::WireType(3)));
        assert_eq!(Reader::new(&[0x00, 0]).field(), Err(Fault::FieldNumber(0)));
    }

    #[test]
    fn zero_is_left_out() {
        let mut bytes = Vec::new();
        put_uint(&mut bytes, 3, 0);
        assert!(bytes.is_empty());
        put_uint(&mut bytes, 3, 5);
        assert_eq!(Reader::new(&bytes).field().unwrap(), (3, Value::Int(5)));
    }
}
