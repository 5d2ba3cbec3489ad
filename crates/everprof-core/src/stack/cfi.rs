//! Call-frame information: from a code address to the row that unwinds it.
//!
//! Context: signal. No allocation, no lock, no panic; about 500 bytes of stack.
//! Invariant: every read goes through [`Cursor`], which checks its bounds, so
//! hostile tables end in a [`Fault`], never in a wild read. Arithmetic wraps.
//! Source: LSB 5.0 `.eh_frame` and `.eh_frame_hdr`; DWARF 5 §6.4; the AArch64
//! ABI's `negate_ra_state`. A general interpreter keeps all registers of four
//! nested rows (17 KB of stack were measured for a cold walk with one); a stack
//! needs three: the canonical frame address, the frame pointer and the return
//! address.

/// Why a table gave no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The table covers no such address.
    NotCovered,
    /// The table uses what this interpreter leaves out.
    Unsupported,
    /// The table contradicts itself or its bounds.
    Malformed,
}

/// The numbers DWARF gives to the three registers that are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterNumbers {
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
    /// Return address (x86_64: a column of its own; aarch64: the link register).
    pub ra: u64,
}

impl RegisterNumbers {
    /// System V ABI for x86_64, figure 3.36.
    pub const X86_64: Self = Self {
        sp: 7,
        fp: 6,
        ra: 16,
    };
    /// DWARF for the Arm 64-bit architecture, §4.1.
    pub const AARCH64: Self = Self {
        sp: 31,
        fp: 29,
        ra: 30,
    };
}

/// One module's unwind tables, as they are mapped.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// The mapped segment that holds `.eh_frame_hdr` and `.eh_frame`.
    pub segment: &'a [u8],
    /// Address of the segment's first byte.
    pub address: u64,
    /// Address of `.eh_frame_hdr`.
    pub header: u64,
}

/// How the canonical frame address is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cfa {
    /// Stack pointer plus bytes.
    Sp(i32),
    /// Frame pointer plus bytes.
    Fp(i32),
    /// The word at frame pointer plus bytes (functions that realign their stack).
    AtFp(i32),
    /// In a way that is not followed.
    Unsupported,
}

/// Where the caller's value of a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Still in the register.
    Same,
    /// Nowhere. For the return address: this is the stack's end.
    Undefined,
    /// In memory at the canonical frame address plus bytes.
    AtCfa(i32),
    /// In memory at the frame pointer plus bytes.
    AtFp(i32),
    /// In a place that is not followed.
    Unsupported,
}

/// What the tables say about one code address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The canonical frame address: the caller's stack pointer.
    pub cfa: Cfa,
    /// The caller's frame pointer.
    pub fp: Saved,
    /// The return address.
    pub ra: Saved,
    /// The return address carries a pointer authentication code.
    pub signed: bool,
    /// The function is a signal trampoline: its caller was interrupted, not left by a call.
    pub signal: bool,
}

impl<'a> Tables<'a> {
    /// The row for `lookup`, an address inside the instruction that is to be unwound.
    ///
    /// # Errors
    ///
    /// [`Fault`] says why there is none.
    pub fn row(&self, lookup: u64, numbers: RegisterNumbers) -> Result<Row, Fault> {
        let entry = self.search(lookup)?;
        let fde = Fde::parse(self, entry)?;
        if lookup.wrapping_sub(fde.start) >= fde.size {
            return Err(Fault::NotCovered);
        }
        let blank = Row {
            cfa: Cfa::Unsupported,
            fp: Saved::Same,
            ra: Saved::Same,
            signed: false,
            signal: fde.cie.signal,
        };
        let mut machine = Machine::new(self, &fde.cie, numbers, blank);
        machine.run(fde.cie.program, u64::MAX)?;
        machine.begin(fde.start);
        machine.run(fde.program, lookup)?;
        Ok(machine.row)
    }

    /// Address of the frame description entry that may cover `lookup`, by
    /// binary search in `.eh_frame_hdr`.
    fn search(&self, lookup: u64) -> Result<u64, Fault> {
        let mut cursor = self.at(self.header)?;
        let version = cursor.u8()?;
        let frames_encoding = cursor.u8()?;
        let count_encoding = cursor.u8()?;
        let table_encoding = cursor.u8()?;
        if version != 1 {
            return Err(Fault::Malformed);
        }
        // The one layout linkers write: sorted pairs of four bytes, relative to
        // the header. A table of another kind would need a linear scan.
        if table_encoding != (encoding::DATA_RELATIVE | encoding::SDATA4) {
            return Err(Fault::Unsupported);
        }
        cursor.encoded(frames_encoding, self.header)?;
        let count = cursor.encoded(count_encoding, self.header)?;
        let table = cursor.rest();
        if count > (table.len() / 8) as u64 {
            return Err(Fault::Malformed);
        }
        let entry = |index: usize| -> Result<(u64, u64), Fault> {
            let mut pair = Cursor {
                bytes: table,
                at: index.wrapping_mul(8),
                address: 0,
            };
            let start = pair.i32()?;
            let frame = pair.i32()?;
            Ok((
                self.header.wrapping_add_signed(i64::from(start)),
                self.header.wrapping_add_signed(i64::from(frame)),
            ))
        };
        // Invariant: every entry below `low` starts at or before `lookup`,
        // every entry from `high` on starts after it.
        let (mut low, mut high) = (0, count as usize);
        while low < high {
            let middle = low + (high - low) / 2;
            if entry(middle)?.0 <= lookup {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        match low.checked_sub(1) {
            Some(last) => Ok(entry(last)?.1),
            None => Err(Fault::NotCovered),
        }
    }

    /// A cursor at a mapped address.
    fn at(&self, address: u64) -> Result<Cursor<'a>, Fault> {
        let offset =
            usize::try_from(address.wrapping_sub(self.address)).map_err(|_| Fault::Malformed)?;
        if offset >= self.segment.len() {
            return Err(Fault::Malformed);
        }
        Ok(Cursor {
            bytes: self.segment,
            at: offset,
            address: self.address,
        })
    }
}

/// Pointer encodings of `.eh_frame` (LSB 5.0 §10.5.1).
mod encoding {
    pub(super) const ABSOLUTE: u8 = 0x00;
    pub(super) const ULEB128: u8 = 0x01;
    pub(super) const UDATA2: u8 = 0x02;
    pub(super) const UDATA4: u8 = 0x03;
    pub(super) const UDATA8: u8 = 0x04;
    pub(super) const SLEB128: u8 = 0x09;
    pub(super) const SDATA2: u8 = 0x0a;
    pub(super) const SDATA4: u8 = 0x0b;
    pub(super) const SDATA8: u8 = 0x0c;
    pub(super) const PC_RELATIVE: u8 = 0x10;
    pub(super) const DATA_RELATIVE: u8 = 0x30;
    pub(super) const INDIRECT: u8 = 0x80;
    pub(super) const OMITTED: u8 = 0xff;
    pub(super) const FORMAT: u8 = 0x0f;
    pub(super) const RELATION: u8 = 0x70;
}

/// A bounds-checked reader.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Address of `bytes[0]`, for pc-relative pointers.
    address: u64,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let tail = self.bytes.get(self.at..).ok_or(Fault::Malformed)?;
        let found = tail.first_chunk::<N>().ok_or(Fault::Malformed)?;
        self.at += N;
        Ok(*found)
    }

    fn u8(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, Fault> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Bits above the 64th are refused: no table means such a number.
    fn uleb(&mut self) -> Result<u64, Fault> {
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

    fn sleb(&mut self) -> Result<i64, Fault> {
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

    fn skip(&mut self, count: u64) -> Result<(), Fault> {
        self.take(count).map(|_| ())
    }

    /// The next `count` bytes as a reader of their own.
    fn take(&mut self, count: u64) -> Result<Cursor<'a>, Fault> {
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

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or(&[])
    }

    fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// A pointer in one of the encodings, `data` being the base of
    /// data-relative ones. Omitted pointers are 0.
    fn encoded(&mut self, encoding: u8, data: u64) -> Result<u64, Fault> {
        if encoding == encoding::OMITTED {
            return Ok(0);
        }
        if encoding & encoding::INDIRECT != 0 {
            return Err(Fault::Unsupported);
        }
        let base = match encoding & encoding::RELATION {
            encoding::ABSOLUTE => 0,
            encoding::PC_RELATIVE => self.address.wrapping_add(self.at as u64),
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

/// A common information entry: what many functions' entries share.
#[derive(Clone, Copy)]
struct Cie<'a> {
    code_align: u64,
    data_align: i64,
    encoding: u8,
    augmented: bool,
    signal: bool,
    program: Cursor<'a>,
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
struct Fde<'a> {
    start: u64,
    size: u64,
    cie: Cie<'a>,
    program: Cursor<'a>,
}

impl<'a> Fde<'a> {
    fn parse(tables: &Tables<'a>, address: u64) -> Result<Self, Fault> {
        let mut cursor = entry(tables, address)?;
        let pointer_at = cursor.address.wrapping_add(cursor.at as u64);
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

/// Rows that one function may remember at once. Compilers nest two (a shrink-wrapped
/// epilogue inside another); hand-written code was seen with three.
const REMEMBERED: usize = 6;

/// Executes call-frame instructions.
struct Machine {
    code_align: u64,
    data_align: i64,
    encoding: u8,
    data: u64,
    numbers: RegisterNumbers,
    /// The register and offset of the CFA: `def_cfa_register` and `def_cfa_offset` change one of them.
    cfa_register: u64,
    cfa_offset: i64,
    location: u64,
    row: Row,
    initial: Row,
    remembered: [(Row, u64, i64); REMEMBERED],
    depth: usize,
}

impl Machine {
    fn new(tables: &Tables<'_>, cie: &Cie<'_>, numbers: RegisterNumbers, blank: Row) -> Self {
        Self {
            code_align: cie.code_align,
            data_align: cie.data_align,
            encoding: cie.encoding,
            data: tables.header,
            numbers,
            cfa_register: u64::MAX,
            cfa_offset: 0,
            location: 0,
            row: blank,
            initial: blank,
            remembered: [(blank, 0, 0); REMEMBERED],
            depth: 0,
        }
    }

    /// Ends the shared program: what it set is what `restore` returns to.
    fn begin(&mut self, start: u64) {
        self.initial = self.row;
        self.location = start;
    }

    /// Runs until the row that holds at `lookup` is complete.
    fn run(&mut self, mut program: Cursor<'_>, lookup: u64) -> Result<(), Fault> {
        while !program.is_empty() {
            let opcode = program.u8()?;
            let low = u64::from(opcode & 0x3f);
            let advanced = match opcode >> 6 {
                1 => Some(low.wrapping_mul(self.code_align)),
                2 => {
                    let offset = self.factored(program.uleb()?);
                    self.save(low, at_cfa(offset));
                    None
                }
                3 => {
                    self.restore(low);
                    None
                }
                _ => self.extended(opcode, &mut program)?,
            };
            if let Some(bytes) = advanced {
                self.location = self.location.wrapping_add(bytes);
                if self.location > lookup {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// An instruction whose opcode fills its byte; some advance the location.
    fn extended(&mut self, opcode: u8, program: &mut Cursor<'_>) -> Result<Option<u64>, Fault> {
        match opcode {
            op::NOP => {}
            op::SET_LOC => {
                let target = program.encoded(self.encoding, self.data)?;
                return Ok(Some(target.wrapping_sub(self.location)));
            }
            op::ADVANCE_LOC1 => {
                return Ok(Some(u64::from(program.u8()?).wrapping_mul(self.code_align)));
            }
            op::ADVANCE_LOC2 => {
                return Ok(Some(
                    u64::from(program.u16()?).wrapping_mul(self.code_align),
                ));
            }
            op::ADVANCE_LOC4 => {
                return Ok(Some(
                    u64::from(program.u32()?).wrapping_mul(self.code_align),
                ));
            }
            op::OFFSET_EXTENDED => {
                let register = program.uleb()?;
                let offset = self.factored(program.uleb()?);
                self.save(register, at_cfa(offset));
            }
            op::OFFSET_EXTENDED_SF => {
                let register = program.uleb()?;
                let offset = program.sleb()?.wrapping_mul(self.data_align);
                self.save(register, at_cfa(offset));
            }
            op::GNU_NEGATIVE_OFFSET_EXTENDED => {
                let register = program.uleb()?;
                let offset = self.factored(program.uleb()?).wrapping_neg();
                self.save(register, at_cfa(offset));
            }
            op::RESTORE_EXTENDED => {
                let register = program.uleb()?;
                self.restore(register);
            }
            op::UNDEFINED => {
                let register = program.uleb()?;
                self.save(register, Saved::Undefined);
            }
            op::SAME_VALUE => {
                let register = program.uleb()?;
                self.save(register, Saved::Same);
            }
            op::REGISTER => {
                let register = program.uleb()?;
                program.uleb()?;
                self.save(register, Saved::Unsupported);
            }
            op::VAL_OFFSET => {
                let register = program.uleb()?;
                program.uleb()?;
                self.save(register, Saved::Unsupported);
            }
            op::VAL_OFFSET_SF => {
                let register = program.uleb()?;
                program.sleb()?;
                self.save(register, Saved::Unsupported);
            }
            op::REMEMBER_STATE => {
                let slot = self
                    .remembered
                    .get_mut(self.depth)
                    .ok_or(Fault::Unsupported)?;
                *slot = (self.row, self.cfa_register, self.cfa_offset);
                self.depth += 1;
            }
            op::RESTORE_STATE => {
                self.depth = self.depth.checked_sub(1).ok_or(Fault::Malformed)?;
                let slot = self.remembered.get(self.depth).ok_or(Fault::Malformed)?;
                (self.row, self.cfa_register, self.cfa_offset) = *slot;
            }
            op::DEF_CFA => {
                self.cfa_register = program.uleb()?;
                self.cfa_offset = program.uleb()? as i64;
                self.define_cfa();
            }
            op::DEF_CFA_SF => {
                self.cfa_register = program.uleb()?;
                self.cfa_offset = program.sleb()?.wrapping_mul(self.data_align);
                self.define_cfa();
            }
            op::DEF_CFA_REGISTER => {
                self.cfa_register = program.uleb()?;
                self.define_cfa();
            }
            op::DEF_CFA_OFFSET => {
                self.cfa_offset = program.uleb()? as i64;
                self.define_cfa();
            }
            op::DEF_CFA_OFFSET_SF => {
                self.cfa_offset = program.sleb()?.wrapping_mul(self.data_align);
                self.define_cfa();
            }
            op::DEF_CFA_EXPRESSION => {
                let length = program.uleb()?;
                let expression = program.take(length)?;
                self.row.cfa = match self.frame_relative(expression)? {
                    Some((offset, true)) => Cfa::AtFp(offset),
                    Some((offset, false)) => Cfa::Fp(offset),
                    None => Cfa::Unsupported,
                };
            }
            op::EXPRESSION => {
                let register = program.uleb()?;
                let length = program.uleb()?;
                let expression = program.take(length)?;
                let saved = match self.frame_relative(expression)? {
                    Some((offset, false)) => Saved::AtFp(offset),
                    _ => Saved::Unsupported,
                };
                self.save(register, saved);
            }
            op::VAL_EXPRESSION => {
                let register = program.uleb()?;
                let length = program.uleb()?;
                program.skip(length)?;
                self.save(register, Saved::Unsupported);
            }
            op::AARCH64_NEGATE_RA_STATE | op::AARCH64_NEGATE_RA_STATE_WITH_PC => {
                self.row.signed = !self.row.signed;
            }
            op::GNU_ARGS_SIZE => {
                program.uleb()?;
            }
            _ => return Err(Fault::Unsupported),
        }
        Ok(None)
    }

    fn factored(&self, offset: u64) -> i64 {
        (offset as i64).wrapping_mul(self.data_align)
    }

    fn save(&mut self, register: u64, saved: Saved) {
        if register == self.numbers.fp {
            self.row.fp = saved;
        } else if register == self.numbers.ra {
            self.row.ra = saved;
        }
    }

    fn restore(&mut self, register: u64) {
        if register == self.numbers.fp {
            self.row.fp = self.initial.fp;
        } else if register == self.numbers.ra {
            self.row.ra = self.initial.ra;
        }
    }

    fn define_cfa(&mut self) {
        self.row.cfa = match i32::try_from(self.cfa_offset) {
            Ok(offset) if self.cfa_register == self.numbers.sp => Cfa::Sp(offset),
            Ok(offset) if self.cfa_register == self.numbers.fp => Cfa::Fp(offset),
            _ => Cfa::Unsupported,
        };
    }

    /// The expressions compilers write for functions that realign their stack:
    /// frame pointer plus bytes, and whether the word there is meant.
    fn frame_relative(&self, mut expression: Cursor<'_>) -> Result<Option<(i32, bool)>, Fault> {
        if u64::from(expression.u8()?) != self.numbers.fp.wrapping_add(u64::from(op::BREG0)) {
            return Ok(None);
        }
        let Ok(offset) = i32::try_from(expression.sleb()?) else {
            return Ok(None);
        };
        if expression.is_empty() {
            return Ok(Some((offset, false)));
        }
        let dereferenced = expression.u8()? == op::DEREF && expression.is_empty();
        Ok(dereferenced.then_some((offset, true)))
    }
}

fn at_cfa(offset: i64) -> Saved {
    i32::try_from(offset).map_or(Saved::Unsupported, Saved::AtCfa)
}

/// Call-frame instructions (DWARF 5 table 7.29 and the vendors' additions).
mod op {
    pub(super) const NOP: u8 = 0x00;
    pub(super) const SET_LOC: u8 = 0x01;
    pub(super) const ADVANCE_LOC1: u8 = 0x02;
    pub(super) const ADVANCE_LOC2: u8 = 0x03;
    pub(super) const ADVANCE_LOC4: u8 = 0x04;
    pub(super) const OFFSET_EXTENDED: u8 = 0x05;
    pub(super) const RESTORE_EXTENDED: u8 = 0x06;
    pub(super) const UNDEFINED: u8 = 0x07;
    pub(super) const SAME_VALUE: u8 = 0x08;
    pub(super) const REGISTER: u8 = 0x09;
    pub(super) const REMEMBER_STATE: u8 = 0x0a;
    pub(super) const RESTORE_STATE: u8 = 0x0b;
    pub(super) const DEF_CFA: u8 = 0x0c;
    pub(super) const DEF_CFA_REGISTER: u8 = 0x0d;
    pub(super) const DEF_CFA_OFFSET: u8 = 0x0e;
    pub(super) const DEF_CFA_EXPRESSION: u8 = 0x0f;
    pub(super) const EXPRESSION: u8 = 0x10;
    pub(super) const OFFSET_EXTENDED_SF: u8 = 0x11;
    pub(super) const DEF_CFA_SF: u8 = 0x12;
    pub(super) const DEF_CFA_OFFSET_SF: u8 = 0x13;
    pub(super) const VAL_OFFSET: u8 = 0x14;
    pub(super) const VAL_OFFSET_SF: u8 = 0x15;
    pub(super) const VAL_EXPRESSION: u8 = 0x16;
    pub(super) const AARCH64_NEGATE_RA_STATE_WITH_PC: u8 = 0x2c;
    pub(super) const AARCH64_NEGATE_RA_STATE: u8 = 0x2d;
    pub(super) const GNU_ARGS_SIZE: u8 = 0x2e;
    pub(super) const GNU_NEGATIVE_OFFSET_EXTENDED: u8 = 0x2f;
    /// Expression operation: a register's value plus bytes.
    pub(super) const BREG0: u8 = 0x70;
    /// Expression operation: the word at the top's address.
    pub(super) const DEREF: u8 = 0x06;
}
