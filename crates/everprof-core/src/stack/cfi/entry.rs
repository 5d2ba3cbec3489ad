//! Entries of `.eh_frame`.
//!
//! Context: signal. Invariant: as `cursor`'s, through which all is read.
//! Source: LSB 5.0 §10.6.1.

use super::cursor::{Cursor, encoding};
use super::{Fault, Tables};

/// A common information entry: what many functions' entries share.
#[derive(Clone, Copy)]
pub(super) struct Cie<'a> {
    pub(super) code_align: u64,
    pub(super) data_align: i64,
    pub(super) encoding: u8,
    pub(super) augmented: bool,
    pub(super) signal: bool,
    pub(super) program: Cursor<'a>,
}

impl<'a> Cie<'a> {
    fn parse(tables: &Tables<'a>, address: u64) -> Result<Self, Fault> {
        let mut cursor = entry(tables, address)?;
        if cursor.u32()? != 0 {
            return Err(Fault::Malformed);
        }
        let version = cursor.u8()?;
        if version != 1 && version != 3 {
            return Err(Fault::Unsupported);
        }
        let mut names = cursor;
        while cursor.u8()? != 0 {}
        let code_align = cursor.uleb()?;
        let data_align = cursor.sleb()?;
        if version == 1 {
            cursor.skip(1)?;
        } else {
            cursor.uleb()?;
        }
        let mut cie = Cie {
            code_align,
            data_align,
            encoding: encoding::ABSOLUTE,
            augmented: false,
            signal: false,
            program: cursor,
        };
        match names.u8()? {
            0 => return Ok(cie),
            b'z' => cie.augmented = true,
            // Without the length nothing behind it can be skipped.
            _ => return Err(Fault::Unsupported),
        }
        let length = cursor.uleb()?;
        let mut data = cursor.take(length)?;
        cie.program = cursor;
        loop {
            match names.u8()? {
                0 => return Ok(cie),
                b'R' => cie.encoding = data.u8()?,
                b'L' => data.skip(1)?,
                b'P' => {
                    let personality = data.u8()?;
                    data.encoded(personality & !encoding::INDIRECT, 0)?;
                }
                b'S' => cie.signal = true,
                // B: signed with the other key; G: tagged memory. Neither moves a slot.
                b'B' | b'G' => {}
                _ => return Err(Fault::Unsupported),
            }
        }
    }
}

/// A frame description entry: one function.
pub(super) struct Fde<'a> {
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) cie: Cie<'a>,
    pub(super) program: Cursor<'a>,
}

impl<'a> Fde<'a> {
    pub(super) fn parse(tables: &Tables<'a>, address: u64) -> Result<Self, Fault> {
        let mut cursor = entry(tables, address)?;
        let pointer_at = cursor.here();
        let back = cursor.u32()?;
        if back == 0 {
            return Err(Fault::Malformed);
        }
        let cie = Cie::parse(tables, pointer_at.wrapping_sub(u64::from(back)))?;
        let start = cursor.encoded(cie.encoding, tables.header)?;
        let size = cursor.encoded(cie.encoding & encoding::FORMAT, 0)?;
        if cie.augmented {
            let length = cursor.uleb()?;
            cursor.skip(length)?;
        }
        Ok(Fde {
            start,
            size,
            cie,
            program: cursor,
        })
    }
}

/// The body of the entry whose length field is at `address`.
fn entry<'a>(tables: &Tables<'a>, address: u64) -> Result<Cursor<'a>, Fault> {
    let mut cursor = tables.at(address)?;
    match cursor.u32()? {
        // The terminator.
        0 => Err(Fault::Malformed),
        // 64-bit DWARF, which no linker writes into `.eh_frame`.
        u32::MAX => Err(Fault::Unsupported),
        length => cursor.take(u64::from(length)),
    }
}
