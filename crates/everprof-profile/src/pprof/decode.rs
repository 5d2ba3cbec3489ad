//! Decoding: profile.proto, gzip'd or not, from anyone.
//!
//! Context: cold.
//! Invariant: any bytes give a valid profile or an error, never a panic, and never more
//! memory than a small multiple of `Limits::max_bytes`.
//! Source: lenient where `go tool pprof` is (an unknown mapping or function id is none),
//! strict where it is (unknown locations and strings, counts of values).

use std::borrow::Cow;

use super::schema::{function, label, line, location, mapping, profile as top, sample, value_type};
use crate::wire::{Fault, Reader};
use crate::{Error, Function, FunctionId, Label, LabelValue, Line, LocationId, Mapping};
use crate::{MappingId, Profile};

mod fields;
mod sniff;
mod unzip;

use fields::{Fields, Ids, damaged};
use sniff::not_a_profile;
pub use unzip::Limits;
use unzip::{gunzip, too_large};

/// Reads a profile, gzip'd or not.
///
/// Strings that are not UTF-8 are read with replacement characters; a reference to a
/// mapping or function that the profile does not hold is read as none.
///
/// # Errors
///
/// [`Error::is_malformed`] when the bytes are no profile or a damaged one, with a message
/// that says what they look like; [`Error::is_limit`] when they exceed `limits`.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Profile, Error> {
    let max_bytes = limits.max_bytes.min(MOST_BYTES);
    let limits = &Limits {
        max_bytes,
        ..*limits
    };
    if bytes.starts_with(&GZIP_MAGIC) {
        return decode_plain(&gunzip(bytes, limits)?);
    }
    if bytes.len() as u64 > limits.max_bytes {
        return Err(too_large(limits));
    }
    decode_plain(bytes)
}

fn decode_plain(bytes: &[u8]) -> Result<Profile, Error> {
    let no_profile = |fault: Fault| match not_a_profile(bytes) {
        Some(error) => error,
        None => damaged(fault, "the profile"),
    };
    if bytes.is_empty() {
        return Err(Error::malformed(
            "the input is empty, expected a pprof profile: the program that wrote it may have \
             been stopped before it was done",
        ));
    }
    // One look at all fields, so that the passes below meet no fault at this level.
    let mut reader = Reader::new(bytes);
    let mut has_sample_type = false;
    while !reader.is_empty() {
        let (field, _) = reader.field().map_err(no_profile)?;
        has_sample_type |= field == top::SAMPLE_TYPE;
    }
    if !has_sample_type {
        return Err(not_a_profile(bytes).unwrap_or_else(|| {
            Error::malformed(
                "the input names no sample type, which every pprof profile does; expected \
                 gzip'd or plain profile.proto",
            )
        }));
    }
    Decoder::new(bytes)?.run()
}

/// Reads kind after kind of message, each in a pass of its own, as fields come in any
/// order and refer to one another.
struct Decoder<'a> {
    bytes: &'a [u8],
    strings: Vec<Cow<'a, str>>,
    mappings: Ids<MappingId>,
    functions: Ids<FunctionId>,
    locations: Ids<LocationId>,
}

impl<'a> Decoder<'a> {
    fn new(bytes: &'a [u8]) -> Result<Decoder<'a>, Error> {
        let mut decoder = Decoder {
            bytes,
            strings: Vec::new(),
            mappings: Ids::default(),
            functions: Ids::default(),
            locations: Ids::default(),
        };
        decoder.strings = decoder
            .messages(top::STRING_TABLE)
            .map(|text| Ok(String::from_utf8_lossy(text?)))
            .collect::<Result<_, Error>>()?;
        match decoder.strings.first() {
            Some(first) if first.is_empty() => Ok(decoder),
            first => Err(Error::malformed(format!(
                "the first string of the profile is {first:?}, expected an empty one"
            ))),
        }
    }

    fn run(mut self) -> Result<Profile, Error> {
        let types = self
            .messages(top::SAMPLE_TYPE)
            .map(|message| self.value_type(message?))
            .collect::<Result<Vec<_>, Error>>()?;
        let mut profile = Profile::new(&types);
        self.header(&mut profile)?;
        self.read_mappings(&mut profile)?;
        self.read_functions(&mut profile)?;
        self.read_locations(&mut profile)?;
        self.read_samples(&mut profile)?;
        Ok(profile)
    }

    /// Reads the fields that are no messages. They are set in one order, whatever theirs
    /// was and however often each stands there (the last one counts): the order decides
    /// the table of strings, and reading and writing twice is to change nothing.
    fn header(&self, profile: &mut Profile) -> Result<(), Error> {
        let [mut drop, mut keep, mut doc_url, mut default] = [0; 4];
        let mut comments = Vec::new();
        let mut period_type = None;
        let mut fields = Fields::new(self.bytes, "the profile");
        while let Some((field, value)) = fields.next()? {
            match field {
                top::TIME_NANOS => profile.time_nanos = fields.int(value)? as i64,
                top::DURATION_NANOS => profile.duration_nanos = fields.int(value)? as i64,
                top::PERIOD => profile.period = fields.int(value)? as i64,
                top::DROP_FRAMES => drop = fields.int(value)?,
                top::KEEP_FRAMES => keep = fields.int(value)?,
                top::DOC_URL => doc_url = fields.int(value)?,
                top::DEFAULT_SAMPLE_TYPE => default = fields.int(value)?,
                top::COMMENT => fields.ints(value, &mut comments)?,
                top::PERIOD_TYPE => period_type = Some(self.value_type(fields.bytes(value)?)?),
                _ => {}
            }
        }
        profile.set_drop_frames(self.string(drop)?);
        profile.set_keep_frames(self.string(keep)?);
        profile.set_doc_url(self.string(doc_url)?);
        profile.set_default_sample_type(self.string(default)?);
        for comment in comments {
            profile.add_comment(self.string(comment)?);
        }
        if let Some((kind, unit)) = period_type {
            profile.set_period_type(kind, unit);
        }
        Ok(())
    }

    fn value_type(&self, message: &[u8]) -> Result<(&str, &str), Error> {
        let (mut kind, mut unit) = ("", "");
        let mut fields = Fields::new(message, "a sample type");
        while let Some((field, value)) = fields.next()? {
            match field {
                value_type::TYPE => kind = self.string(fields.int(value)?)?,
                value_type::UNIT => unit = self.string(fields.int(value)?)?,
                _ => {}
            }
        }
        Ok((kind, unit))
    }

    fn read_mappings(&mut self, profile: &mut Profile) -> Result<(), Error> {
        let mut ids = Ids::default();
        for message in self.messages(top::MAPPING) {
            let mut id = 0;
            let mut item = Mapping::default();
            let mut fields = Fields::new(message?, "a mapping");
            while let Some((field, value)) = fields.next()? {
                match field {
                    mapping::ID => id = fields.int(value)?,
                    mapping::MEMORY_START => item.start = fields.int(value)?,
                    mapping::MEMORY_LIMIT => item.limit = fields.int(value)?,
                    mapping::FILE_OFFSET => item.offset = fields.int(value)?,
                    mapping::FILENAME => item.file = self.string(fields.int(value)?)?,
                    mapping::BUILD_ID => item.build_id = self.string(fields.int(value)?)?,
                    mapping::HAS_FUNCTIONS => item.has_functions = fields.int(value)? != 0,
                    mapping::HAS_FILENAMES => item.has_filenames = fields.int(value)? != 0,
                    mapping::HAS_LINE_NUMBERS => item.has_line_numbers = fields.int(value)? != 0,
                    mapping::HAS_INLINE_FRAMES => item.has_inline_frames = fields.int(value)? != 0,
                    _ => {}
                }
            }
            ids.add(id, profile.add_mapping(item), "mapping")?;
        }
        self.mappings = ids;
        Ok(())
    }

    fn read_functions(&mut self, profile: &mut Profile) -> Result<(), Error> {
        let mut ids = Ids::default();
        for message in self.messages(top::FUNCTION) {
            let mut id = 0;
            let mut item = Function::default();
            let mut fields = Fields::new(message?, "a function");
            while let Some((field, value)) = fields.next()? {
                match field {
                    function::ID => id = fields.int(value)?,
                    function::NAME => item.name = self.string(fields.int(value)?)?,
                    function::SYSTEM_NAME => item.system_name = self.string(fields.int(value)?)?,
                    function::FILENAME => item.file = self.string(fields.int(value)?)?,
                    function::START_LINE => item.start_line = fields.int(value)? as i64,
                    _ => {}
                }
            }
            ids.add(id, profile.add_function(item), "function")?;
        }
        self.functions = ids;
        Ok(())
    }

    fn read_locations(&mut self, profile: &mut Profile) -> Result<(), Error> {
        let mut ids = Ids::default();
        let mut lines = Vec::new();
        for message in self.messages(top::LOCATION) {
            let (mut id, mut mapping, mut address, mut folded) = (0, 0, 0, false);
            lines.clear();
            let mut fields = Fields::new(message?, "a location");
            while let Some((field, value)) = fields.next()? {
                match field {
                    location::ID => id = fields.int(value)?,
                    location::MAPPING_ID => mapping = fields.int(value)?,
                    location::ADDRESS => address = fields.int(value)?,
                    location::IS_FOLDED => folded = fields.int(value)? != 0,
                    location::LINE => lines.push(self.line(fields.bytes(value)?, profile)?),
                    _ => {}
                }
            }
            let at = profile.push_location(address, self.mappings.get(mapping));
            profile.set_lines(at, &lines);
            profile.set_folded(at, folded);
            ids.add(id, at, "location")?;
        }
        self.locations = ids;
        Ok(())
    }

    fn line(&self, message: &[u8], profile: &mut Profile) -> Result<Line, Error> {
        let (mut id, mut line, mut column) = (0, 0, 0);
        let mut fields = Fields::new(message, "a line");
        while let Some((field, value)) = fields.next()? {
            match field {
                line::FUNCTION_ID => id = fields.int(value)?,
                line::LINE => line = fields.int(value)? as i64,
                line::COLUMN => column = fields.int(value)? as i64,
                _ => {}
            }
        }
        let function = self.functions.get(id);
        let function = function.unwrap_or_else(|| profile.add_function(Function::default()));
        Ok(Line {
            function,
            line,
            column,
        })
    }

    fn read_samples(&self, profile: &mut Profile) -> Result<(), Error> {
        let types = profile.sample_types().len();
        let (mut ids, mut stack, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        profile.reserve_samples(self.messages(top::SAMPLE).count());
        for message in self.messages(top::SAMPLE) {
            ids.clear();
            numbers.clear();
            labels.clear();
            let mut fields = Fields::new(message?, "a sample");
            while let Some((field, value)) = fields.next()? {
                match field {
                    sample::LOCATION_ID => fields.ints(value, &mut ids)?,
                    sample::VALUE => fields.ints(value, &mut numbers)?,
                    sample::LABEL => labels.push(self.label(fields.bytes(value)?)?),
                    _ => {}
                }
            }
            if numbers.len() != types {
                return Err(Error::malformed(format!(
                    "sample {} has {} values, expected {types}, one for each sample type",
                    profile.samples().len(),
                    numbers.len(),
                )));
            }
            stack.clear();
            for &id in &ids {
                stack.push(self.locations.get(id).ok_or_else(|| {
                    Error::malformed(format!(
                        "sample {} refers to location {id}, which the profile does not hold",
                        profile.samples().len(),
                    ))
                })?);
            }
            values.clear();
            values.extend(numbers.iter().map(|&value| value as i64));
            profile.push_sample(&stack, &values, &labels);
        }
        Ok(())
    }

    fn label(&self, message: &[u8]) -> Result<Label<'_>, Error> {
        let [mut key, mut string, mut unit] = [""; 3];
        let mut number = 0;
        let mut fields = Fields::new(message, "a label");
        while let Some((field, value)) = fields.next()? {
            match field {
                label::KEY => key = self.string(fields.int(value)?)?,
                label::STR => string = self.string(fields.int(value)?)?,
                label::NUM => number = fields.int(value)? as i64,
                label::NUM_UNIT => unit = self.string(fields.int(value)?)?,
                _ => {}
            }
        }
        let value = match string {
            "" => LabelValue::Number {
                value: number,
                unit,
            },
            string => LabelValue::String(string),
        };
        Ok(Label { key, value })
    }

    fn string(&self, number: u64) -> Result<&str, Error> {
        let found = usize::try_from(number)
            .ok()
            .and_then(|number| self.strings.get(number));
        found.map(|text| &**text).ok_or_else(|| {
            Error::malformed(format!(
                "the profile refers to string {number}, but has only {}",
                self.strings.len()
            ))
        })
    }

    /// The contents of every field of this number.
    fn messages(&self, wanted: u64) -> impl Iterator<Item = Result<&'a [u8], Error>> + use<'a> {
        let mut fields = Fields::new(self.bytes, "the profile");
        std::iter::from_fn(move || {
            loop {
                match fields.next() {
                    Ok(Some((field, value))) if field == wanted => {
                        return Some(fields.bytes(value));
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(error) => return Some(Err(error)),
                }
            }
        })
    }
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The pools of a profile end at 4 GiB. An id of 1 byte may be one of 4 bytes with us, and
/// a byte that is no UTF-8 a replacement character of 3.
const MOST_BYTES: u64 = 768 << 20;
