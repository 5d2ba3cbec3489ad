//! Encoding: a profile as gzip'd profile.proto.
//!
//! Context: cold.
//! Invariant: equal profiles built by equal calls give equal bytes; ids are 1..n in the
//! profile's order, so the main program's mapping stays the first.
//! Source: messages are made one at a time and go through one 64 KiB buffer into the
//! compressor: the uncompressed whole, tens of megabytes for a large heap, never exists.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use super::schema::{function, line, location, mapping, profile as top, sample, value_type};
use crate::wire::{BYTES, bytes_len, put_bytes, put_uint, put_varint};
use crate::{Error, Profile, ValueType};

/// Writes a profile as every pprof tool reads it: gzip'd profile.proto.
///
/// Ids are 1..n, the first mapping added is the main program's, equal profiles give equal
/// bytes. Nothing is held in memory but the profile and buffers of some 400 KiB.
///
/// # Errors
///
/// Those of the writer.
pub fn encode(profile: &Profile, out: impl Write) -> Result<(), Error> {
    // Level 1, as Go's runtime/pprof: profiles shrink to about a quarter at any level, and
    // the reader's time to wait is the encoder's.
    let mut gzip = GzEncoder::new(out, Compression::fast());
    encode_plain(profile, &mut gzip)?;
    gzip.finish()?.flush()?;
    Ok(())
}

/// Writes a profile as profile.proto without compression.
///
/// # Errors
///
/// Those of the writer.
pub fn encode_plain(profile: &Profile, out: impl Write) -> Result<(), Error> {
    let mut sink = Sink {
        out,
        buffer: Vec::with_capacity(BUFFER_BYTES + BUFFER_BYTES / 4),
    };
    let number = |text: &str| u64::from(profile.string_number(text));
    let mut message = Vec::new();
    let mut packed = Vec::new();

    for kind in profile.sample_types() {
        put_value_type(&mut message, profile, kind);
        sink.message(top::SAMPLE_TYPE, &mut message)?;
    }
    for item in profile.samples() {
        for &value in item.values() {
            put_varint(&mut packed, value as u64);
        }
        let stack = profile.packed_stack(item.stack_id());
        let labels = profile.encoded_labels(item.label_set_id());
        // Its length is known beforehand, so that it need not be made apart and copied.
        let len = bytes_len(sample::LOCATION_ID, stack)
            + bytes_len(sample::VALUE, &packed)
            + labels.len();
        let buffer = &mut sink.buffer;
        put_varint(buffer, top::SAMPLE << 3 | BYTES);
        put_varint(buffer, len as u64);
        put_bytes(buffer, sample::LOCATION_ID, stack);
        put_bytes(buffer, sample::VALUE, &packed);
        buffer.extend_from_slice(labels);
        packed.clear();
        sink.flush_if_full()?;
    }
    for (id, item) in profile.mappings() {
        put_uint(&mut message, mapping::ID, id.get().into());
        put_uint(&mut message, mapping::MEMORY_START, item.start);
        put_uint(&mut message, mapping::MEMORY_LIMIT, item.limit);
        put_uint(&mut message, mapping::FILE_OFFSET, item.offset);
        put_uint(&mut message, mapping::FILENAME, number(item.file));
        put_uint(&mut message, mapping::BUILD_ID, number(item.build_id));
        put_uint(
            &mut message,
            mapping::HAS_FUNCTIONS,
            item.has_functions.into(),
        );
        put_uint(
            &mut message,
            mapping::HAS_FILENAMES,
            item.has_filenames.into(),
        );
        put_uint(
            &mut message,
            mapping::HAS_LINE_NUMBERS,
            item.has_line_numbers.into(),
        );
        put_uint(
            &mut message,
            mapping::HAS_INLINE_FRAMES,
            item.has_inline_frames.into(),
        );
        sink.message(top::MAPPING, &mut message)?;
    }
    for (id, item) in profile.locations() {
        put_uint(&mut message, location::ID, id.get().into());
        put_uint(
            &mut message,
            location::MAPPING_ID,
            item.mapping.map_or(0, |id| id.get().into()),
        );
        put_uint(&mut message, location::ADDRESS, item.address);
        for frame in item.lines {
            put_uint(&mut packed, line::FUNCTION_ID, frame.function.get().into());
            put_uint(&mut packed, line::LINE, frame.line as u64);
            put_uint(&mut packed, line::COLUMN, frame.column as u64);
            put_bytes(&mut message, location::LINE, &packed);
            packed.clear();
        }
        put_uint(&mut message, location::IS_FOLDED, item.is_folded.into());
        sink.message(top::LOCATION, &mut message)?;
    }
    for (id, item) in profile.functions() {
        put_uint(&mut message, function::ID, id.get().into());
        put_uint(&mut message, function::NAME, number(item.name));
        put_uint(
            &mut message,
            function::SYSTEM_NAME,
            number(item.system_name),
        );
        put_uint(&mut message, function::FILENAME, number(item.file));
        put_uint(&mut message, function::START_LINE, item.start_line as u64);
        sink.message(top::FUNCTION, &mut message)?;
    }
    for text in profile.string_table() {
        message.extend_from_slice(text.as_bytes());
        sink.message(top::STRING_TABLE, &mut message)?;
    }
    let buffer = &mut sink.buffer;
    put_uint(buffer, top::DROP_FRAMES, number(profile.drop_frames()));
    put_uint(buffer, top::KEEP_FRAMES, number(profile.keep_frames()));
    put_uint(buffer, top::TIME_NANOS, profile.time_nanos as u64);
    put_uint(buffer, top::DURATION_NANOS, profile.duration_nanos as u64);
    if let Some(kind) = profile.period_type() {
        put_value_type(&mut message, profile, kind);
        put_bytes(buffer, top::PERIOD_TYPE, &message);
    }
    put_uint(buffer, top::PERIOD, profile.period as u64);
    for comment in profile.comments() {
        put_varint(&mut packed, number(comment));
    }
    if !packed.is_empty() {
        put_bytes(buffer, top::COMMENT, &packed);
    }
    put_uint(
        buffer,
        top::DEFAULT_SAMPLE_TYPE,
        number(profile.default_sample_type()),
    );
    put_uint(buffer, top::DOC_URL, number(profile.doc_url()));
    sink.flush()
}

fn put_value_type(out: &mut Vec<u8>, profile: &Profile, kind: ValueType<'_>) {
    put_uint(
        out,
        value_type::TYPE,
        profile.string_number(kind.kind).into(),
    );
    put_uint(
        out,
        value_type::UNIT,
        profile.string_number(kind.unit).into(),
    );
}

/// Collects small messages into writes of a size that compresses well.
struct Sink<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> Sink<W> {
    /// Writes `message` as a field and empties it.
    fn message(&mut self, field: u64, message: &mut Vec<u8>) -> Result<(), Error> {
        put_bytes(&mut self.buffer, field, message);
        message.clear();
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<(), Error> {
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// Twice deflate's window: enough that calls into the compressor do not count.
const BUFFER_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Label, Mapping};

    fn small() -> Profile {
        let mut profile = Profile::new(&[("n", "count")]);
        let mapping = profile.add_mapping(Mapping {
            file: "/bin/a",
            ..Mapping::default()
        });
        let at = profile.add_location(1, Some(mapping));
        profile.push_sample(&[at], &[7], &[Label::string("k", "v")]);
        profile
    }

    #[test]
    fn bytes_are_those_of_the_format() {
        let mut bytes = Vec::new();
        encode_plain(&small(), &mut bytes).unwrap();
        let strings = ["", "n", "count", "/bin/a", "k", "v"];
        let mut expected = vec![0x0a, 4, 0x08, 1, 0x10, 2];
        expected.extend([0x12, 12, 0x0a, 1, 1, 0x12, 1, 7, 0x1a, 4, 0x08, 4, 0x10, 5]);
        expected.extend([0x1a, 4, 0x08, 1, 0x28, 3]);
        expected.extend([0x22, 6, 0x08, 1, 0x10, 1, 0x18, 1]);
        for text in strings {
            expected.extend([0x32, text.len() as u8]);
            expected.extend(text.as_bytes());
        }
        assert_eq!(bytes, expected);
    }

    #[test]
    fn equal_profiles_give_equal_bytes() {
        let bytes = || {
            let mut bytes = Vec::new();
            encode(&small(), &mut bytes).unwrap();
            bytes
        };
        assert_eq!(bytes(), bytes());
    }

    #[test]
    fn failure_of_the_writer_is_told() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("disk full"))
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let error = encode(&small(), Full).unwrap_err();
        assert!(error.is_io());
        assert_eq!(error.to_string(), "writing the profile: disk full");
    }
}
