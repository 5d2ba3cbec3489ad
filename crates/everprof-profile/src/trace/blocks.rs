//! Blocks: a trace's bytes as they come, in checked pieces.
//!
//! Context: cold.
//! Invariant: a payload that is handed out has the checksum that was written with it, and
//! no more memory is taken than bytes have come.

use std::io::{self, BufReader, Read};

use super::fault::Fault;
use super::format::{self, BLOCK_HEAD_BYTES, HEAD_BYTES, MAGIC, MOST_PAYLOAD_BYTES, VERSION};
use crate::Error;

/// Reads blocks one after another.
#[derive(Debug)]
pub(crate) struct Blocks<R> {
    input: BufReader<R>,
    /// How many bytes were read, which is where the next block begins.
    offset: u64,
}

/// A block's kind and place; its payload is in the caller's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) kind: u8,
    pub(crate) offset: u64,
}

/// Why there is no other block.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The bytes end here, within a block or before one.
    CutOff,
    Damaged(Fault),
    Unreadable(io::Error),
}

impl<R: Read> Blocks<R> {
    /// Reads what every trace begins with.
    pub(crate) fn new(input: R) -> Result<Blocks<R>, Error> {
        let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
        let unreadable = |source| Error::io("reading the trace", source);
        let mut head = [0; HEAD_BYTES];
        let got = fill(&mut input, &mut head).map_err(unreadable)?;
        let same = MAGIC.iter().zip(&head[..got]).all(|(a, b)| a == b);
        if got == 0 {
            return Err(Error::malformed("nothing: expected a trace of everprof's"));
        }
        if !same || got < MAGIC.len() {
            return Err(Error::malformed(format!(
                "no trace: it begins with {}, expected `everprof-trace`",
                shown(&head[..got])
            )));
        }
        match head[MAGIC.len()] {
            _ if got < HEAD_BYTES => Err(Error::malformed(
                "a trace that was cut off within its first 16 bytes: expected its version",
            )),
            VERSION => Ok(Blocks {
                input,
                offset: HEAD_BYTES as u64,
            }),
            version => Err(Error::malformed(format!(
                "a trace of version {version}: expected {VERSION}; a newer everprof may read it"
            ))),
        }
    }

    /// Goes on at a block that begins so far from the start.
    pub(crate) fn behind_head(input: R, offset: u64) -> Blocks<R> {
        let input = BufReader::with_capacity(BLOCK_HEAD_BYTES, input);
        Blocks { input, offset }
    }

    /// Where the next block begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next block, its payload into `payload`.
    pub(crate) fn next(&mut self, payload: &mut Vec<u8>) -> Result<Block, Stop> {
        payload.clear();
        let mut head = [0; BLOCK_HEAD_BYTES];
        let got = fill(&mut self.input, &mut head).map_err(Stop::Unreadable)?;
        if got < BLOCK_HEAD_BYTES {
            return Err(Stop::CutOff);
        }
        let [kind, a, b, c, d, e, f, g, h] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        let checksum = u32::from_le_bytes([e, f, g, h]);
        if length as usize > MOST_PAYLOAD_BYTES {
            return Err(Stop::Damaged(Fault::new(format!(
                "a block of {length} bytes: expected at most {MOST_PAYLOAD_BYTES}"
            ))));
        }
        let mut limited = (&mut self.input).take(length.into());
        limited.read_to_end(payload).map_err(Stop::Unreadable)?;
        if payload.len() < length as usize {
            return Err(Stop::CutOff);
        }
        if format::checksum(kind, payload) != checksum {
            return Err(Stop::Damaged(Fault::new("a block with a wrong checksum")));
        }
        let offset = self.offset;
        self.offset += (BLOCK_HEAD_BYTES + payload.len()) as u64;
        Ok(Block { kind, offset })
    }
}

/// Reads until the buffer is full or the input ends, and tells how much that was.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match input.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// Bytes as a person can read them.
fn shown(bytes: &[u8]) -> String {
    format!("`{}`", bytes.escape_ascii())
}

/// Four runs of events, so that a pipe is asked seldom.
const BUFFER_BYTES: usize = 256 << 10;

impl From<Stop> for Box<dyn std::error::Error + Send + Sync> {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::CutOff => "cut off".into(),
            Stop::Damaged(fault) => fault.words().into(),
            Stop::Unreadable(error) => error.into(),
        }
    }
}
