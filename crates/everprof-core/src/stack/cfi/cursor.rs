//! A bounds-checked reader of mapped tables.
//!
//! Context: signal. Invariant: a read outside of the bytes it was made with is a
//! [`Fault`].

use super::Fault;

/// Pointer encodings of `.eh_frame` (LSB 5.0 §10.5.1).
pub(super) mod encoding {
    pub(in super::super) const ABSOLUTE: u8 = 0x00;
    pub(in super::super) const ULEB128: u8 = 0x01;
    pub(in super::super) const UDATA2: u8 = 0x02;
    pub(in super::super) const UDATA4: u8 = 0x03;
    pub(in super::super) const UDATA8: u8 = 0x04;
    pub(in super::super) const SLEB128: u8 = 0x09;
    pub(in super::super) const SDATA2: u8 = 0x0a;
    pub(in super::super) const SDATA4: u8 = 0x0b;
    pub(in super::super) const SDATA8: u8 = 0x0c;
    pub(in super::super) const PC_RELATIVE: u8 = 0x10;
    pub(in super::super) const DATA_RELATIVE: u8 = 0x30;
    pub(in super::super) const INDIRECT: u8 = 0x80;
    pub(in super::super) const OMITTED: u8 = 0xff;
    pub(in super::super) const FORMAT: u8 = 0x0f;
    pub(in super::super) const RELATION: u8 = 0x70;
}

/// A bounds-checked reader.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Address of `bytes[0]`, for pc-relative pointers.
    address: u64,
}

impl<'a> Cursor<'a> {
    /// Reads `bytes` from `at` on; `bytes[0]` stands at `address`.
    pub(super) fn new(bytes: &'a [u8], at: usize, address: u64) -> Self {
        Self { bytes, at, address }
    }

    /// Address of the next byte.
    pub(super) fn here(&self) -> u64 {
        self.address.wrapping_add(self.at as u64)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let tail = self.bytes.get(self.at..).ok_or(Fault::Malformed)?;
        let found = tail.first_chunk::<N>().ok_or(Fault::Malformed)?;
        self.at += N;
        Ok(*found)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, Fault> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Bits above the 64th are refused: no table means such a number.
    pub(super) fn uleb(&mut self) -> Result<u64, Fault> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Malformed)
    }

    pub(super) fn sleb(&mut self) -> Result<i64, Fault> {
        let mut value = 0_i64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let unused = 64_u32.saturating_sub(shift + 7);
                return Ok((value << unused) >> unused);
            }
        }
        Err(Fault::Malformed)
    }

    pub(super) fn skip(&mut self, count: u64) -> Result<(), Fault> {
        self.take(count).map(|_| ())
    }

    /// The next `count` bytes as a reader of their own.
    pub(super) fn take(&mut self, count: u64) -> Result<Cursor<'a>, Fault> {
        let count = usize::try_from(count).map_err(|_| Fault::Malformed)?;
        let end = self.at.checked_add(count).ok_or(Fault::Malformed)?;
        let bytes = self.bytes.get(..end).ok_or(Fault::Malformed)?;
        let taken = Cursor {
            bytes,
            at: self.at,
            address: self.address,
        };
        self.at = end;
        Ok(taken)
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or(&[])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// A pointer in one of the encodings, `data` being the base of
    /// data-relative ones. Omitted pointers are 0.
    pub(super) fn encoded(&mut self, encoding: u8, data: u64) -> Result<u64, Fault> {
        if encoding == encoding::OMITTED {
            return Ok(0);
        }
        if encoding & encoding::INDIRECT != 0 {
            return Err(Fault::Unsupported);
        }
        let base = match encoding & encoding::RELATION {
            encoding::ABSOLUTE => 0,
            encoding::PC_RELATIVE => self.here(),
            encoding::DATA_RELATIVE => data,
            _ => return Err(Fault::Unsupported),
        };
        let value = match encoding & encoding::FORMAT {
            encoding::ABSOLUTE | encoding::UDATA8 | encoding::SDATA8 => self.u64()?,
            encoding::ULEB128 => self.uleb()?,
            encoding::SLEB128 => self.sleb()? as u64,
            encoding::UDATA2 => u64::from(self.u16()?),
            encoding::SDATA2 => i64::from(self.u16()? as i16) as u64,
            encoding::UDATA4 => u64::from(self.u32()?),
            encoding::SDATA4 => i64::from(self.i32()?) as u64,
            _ => return Err(Fault::Unsupported),
        };
        Ok(base.wrapping_add(value))
    }
}
