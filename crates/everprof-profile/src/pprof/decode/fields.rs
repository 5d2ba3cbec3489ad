//! Fields: one message's, and ours by the ids that messages use for one another.
//!
//! Context: cold. Invariant: each fault names the message that it is in.

use std::collections::HashMap;
use std::hash::Hash;

use crate::Error;
use crate::wire::{Fault, Reader, Value};

/// The fields of one message, with errors that name the message.
pub(super) struct Fields<'a> {
    reader: Reader<'a>,
    part: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8], part: &'static str) -> Fields<'a> {
        Fields {
            reader: Reader::new(message),
            part,
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Error> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        self.reader
            .field()
            .map(Some)
            .map_err(|fault| damaged(fault, self.part))
    }

    pub(super) fn int(&self, value: Value<'a>) -> Result<u64, Error> {
        match value {
            Value::Int(number) => Ok(number),
            _ => Err(self.wrong_type("a number")),
        }
    }

    pub(super) fn bytes(&self, value: Value<'a>) -> Result<&'a [u8], Error> {
        match value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong_type("bytes")),
        }
    }

    /// Appends repeated numbers, packed or one at a time.
    pub(super) fn ints(&self, value: Value<'a>, out: &mut Vec<u64>) -> Result<(), Error> {
        match value {
            Value::Int(number) => out.push(number),
            Value::Bytes(packed) => {
                let mut reader = Reader::new(packed);
                while !reader.is_empty() {
                    out.push(reader.varint().map_err(|fault| damaged(fault, self.part))?);
                }
            }
            Value::Fixed => return Err(self.wrong_type("numbers")),
        }
        Ok(())
    }

    fn wrong_type(&self, expected: &str) -> Error {
        Error::malformed(format!(
            "{} has a field of the wrong type, expected {expected}: the input is damaged or no \
             pprof profile",
            self.part
        ))
    }
}

/// Our ids by the profile's. Most writers count from 1, so these are looked up directly.
pub(super) struct Ids<T> {
    dense: Vec<T>,
    others: HashMap<u64, T>,
}

impl<T> Default for Ids<T> {
    fn default() -> Ids<T> {
        Ids {
            dense: Vec::new(),
            others: HashMap::new(),
        }
    }
}

impl<T: Copy + Eq + Hash> Ids<T> {
    pub(super) fn add(&mut self, id: u64, ours: T, part: &str) -> Result<(), Error> {
        if id == 0 {
            return Err(Error::malformed(format!(
                "a {part} has id 0, expected 1 or more"
            )));
        }
        if self.get(id).is_some() {
            return Err(Error::malformed(format!("two {part}s have the id {id}")));
        }
        if id == self.dense.len() as u64 + 1 {
            self.dense.push(ours);
        } else {
            self.others.insert(id, ours);
        }
        Ok(())
    }

    pub(super) fn get(&self, id: u64) -> Option<T> {
        let place = usize::try_from(id.checked_sub(1)?).ok()?;
        self.dense
            .get(place)
            .or_else(|| self.others.get(&id))
            .copied()
    }
}

/// Says what is wrong with a part of the input.
pub(super) fn damaged(fault: Fault, part: &str) -> Error {
    let what = match fault {
        Fault::Truncated => "ends in the middle of a field".to_owned(),
        Fault::Overlong => "holds a number of more than 64 bits".to_owned(),
        Fault::WireType(n) => format!("holds a field of type {n}, which protobuf does not have"),
        Fault::FieldNumber(n) => format!("holds field number {n}, which protobuf does not have"),
    };
    Error::malformed(format!(
        "{part} {what}: the input is damaged or no pprof profile (expected gzip'd or plain \
         profile.proto)"
    ))
}
