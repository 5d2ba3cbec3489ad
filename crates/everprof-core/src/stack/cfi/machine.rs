//! Executes call-frame instructions.
//!
//! Context: signal. Invariant: it ends, since each instruction takes at least a byte
//! of the entry. Source: DWARF 5 §6.4.2; of each row only three registers are kept.

use super::cursor::Cursor;
use super::entry::Cie;
use super::{Cfa, Fault, RegisterNumbers, Row, Saved, Tables};

/// Rows that one function may remember at once. Compilers nest two (a shrink-wrapped
/// epilogue inside another); hand-written code was seen with three.
const REMEMBERED: usize = 6;

/// The registers and rows of one run.
pub(super) struct Machine {
    code_align: u64,
    data_align: i64,
    encoding: u8,
    data: u64,
    numbers: RegisterNumbers,
    /// The register and offset of the CFA: `def_cfa_register` and `def_cfa_offset` change one of them.
    cfa_register: u64,
    cfa_offset: i64,
    location: u64,
    pub(super) row: Row,
    initial: Row,
    remembered: [(Row, u64, i64); REMEMBERED],
    depth: usize,
}

impl Machine {
    pub(super) fn new(
        tables: &Tables<'_>,
        cie: &Cie<'_>,
        numbers: RegisterNumbers,
        blank: Row,
    ) -> Self {
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
    pub(super) fn begin(&mut self, start: u64) {
        self.initial = self.row;
        self.location = start;
    }

    /// Runs until the row that holds at `lookup` is complete.
    pub(super) fn run(&mut self, mut program: Cursor<'_>, lookup: u64) -> Result<(), Fault> {
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
