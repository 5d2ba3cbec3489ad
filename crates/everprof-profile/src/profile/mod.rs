//! Profile: samples, and the locations, functions and mappings that they refer to.
//!
//! Context: cold.
//! Invariant: every id kept in a profile was given out by it, so that following one
//! never fails; string 0 is empty; each sample has one value a sample type.
//! Source: the value model of profile.proto (github.com/google/pprof). Stacks are kept
//! once each, as the packed varints that the encoded profile holds: with fewer than
//! 16,384 locations a frame costs 2 bytes, so 100,000 stacks of 32 frames take 6.4 MB
//! where a `Vec<u64>` each would take 28 MB.

mod build;
#[cfg(test)]
mod named;
mod rewrite;
mod view;

pub use view::{
    Function, FunctionId, Label, LabelSetId, LabelValue, Labels, Line, Location, LocationId,
    Mapping, MappingId, Sample, Stack, StackId, ValueType,
};

use crate::index::{Index, Seed};
use crate::pool::Pool;

/// Samples with all that is known of their stacks.
///
/// Built from the outside in: strings are taken as they come and kept once, mappings,
/// functions and locations get ids, samples refer to them.
///
/// ```
/// use everprof_profile::{Function, Label, Line, Mapping, Profile};
///
/// let mut profile = Profile::new(&[("inuse_objects", "count"), ("inuse_space", "bytes")]);
/// let program = profile.add_mapping(Mapping {
///     start: 0x1000, limit: 0x9000, file: "/bin/app", ..Mapping::default()
/// });
/// let main = profile.add_function(Function { name: "app::main", ..Function::default() });
/// let at = profile.add_location(0x1234, Some(program));
/// profile.set_lines(at, &[Line { function: main, line: 17, column: 0 }]);
/// profile.push_sample(&[at], &[3, 96], &[Label::number("bytes", 32, "bytes")]);
///
/// let sample = profile.samples().next().expect("one was pushed");
/// assert_eq!(sample.values(), [3, 96]);
/// let leaf = sample.stack().next().expect("it has one location");
/// assert_eq!(profile.function(profile.location(leaf).lines[0].function).name, "app::main");
/// ```
///
/// Ids are those of this profile: using one with another profile gives that one's part
/// of the same number, or panics where it has none.
#[derive(Clone, Debug)]
pub struct Profile {
    /// When the profile was taken, in nanoseconds since 1970; 0 if not known.
    pub time_nanos: i64,
    /// The time that the profile covers, in nanoseconds; 0 if it covers everything.
    pub duration_nanos: i64,
    /// Mean distance between samples, in units of [`Profile::period_type`].
    pub period: i64,
    strings: Pool,
    sample_types: Vec<ValueTypeRecord>,
    default_sample_type: u32,
    period_type: Option<ValueTypeRecord>,
    drop_frames: u32,
    keep_frames: u32,
    doc_url: u32,
    comments: Vec<u32>,
    mappings: Vec<MappingRecord>,
    locations: Vec<LocationRecord>,
    location_index: Index,
    lines: Vec<Line>,
    functions: Vec<FunctionRecord>,
    function_index: Index,
    seed: Seed,
    stacks: Pool,
    label_sets: Pool,
    samples: Vec<SampleRecord>,
    values: Vec<i64>,
    scratch: Vec<u8>,
}

/// Numbers of strings.
#[derive(Clone, Copy, Debug)]
struct ValueTypeRecord {
    kind: u32,
    unit: u32,
}

#[derive(Clone, Copy, Debug)]
struct MappingRecord {
    start: u64,
    limit: u64,
    offset: u64,
    file: u32,
    build_id: u32,
    has_functions: bool,
    has_filenames: bool,
    has_line_numbers: bool,
    has_inline_frames: bool,
}

#[derive(Clone, Copy, Debug)]
struct LocationRecord {
    address: u64,
    mapping: Option<MappingId>,
    /// Its lines are `lines[lines_start..][..lines_len]`.
    lines_start: u32,
    lines_len: u32,
    is_folded: bool,
    /// All that debug information says of it is known.
    is_looked_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FunctionRecord {
    name: u32,
    system_name: u32,
    file: u32,
    start_line: i64,
}

/// Sample `n` has the values `values[n * sample_types.len()..][..sample_types.len()]`.
#[derive(Clone, Copy, Debug)]
struct SampleRecord {
    stack: StackId,
    labels: LabelSetId,
}

/// Reading.
impl Profile {
    /// What each value of a sample is, in their order.
    pub fn sample_types(&self) -> impl ExactSizeIterator<Item = ValueType<'_>> + Clone {
        self.sample_types
            .iter()
            .map(|record| self.read_value_type(record))
    }

    /// Which of a sample's values is of this kind.
    pub fn sample_type_index(&self, kind: &str) -> Option<usize> {
        self.sample_types()
            .position(|value_type| value_type.kind == kind)
    }

    /// The sample type that reports show when they are not told; may be empty.
    pub fn default_sample_type(&self) -> &str {
        self.text(self.default_sample_type)
    }

    /// Which of a sample's values reports show when they are not told: that of the
    /// default sample type, else the last one, as `go tool pprof` does. `None` when
    /// samples have no values.
    pub fn default_sample_type_index(&self) -> Option<usize> {
        self.sample_type_index(self.default_sample_type())
            .or_else(|| self.sample_types.len().checked_sub(1))
    }

    /// What [`Profile::period`] counts.
    pub fn period_type(&self) -> Option<ValueType<'_>> {
        self.period_type
            .as_ref()
            .map(|record| self.read_value_type(record))
    }

    /// The regular expression of the functions whose frames readers leave out.
    pub fn drop_frames(&self) -> &str {
        self.text(self.drop_frames)
    }

    /// The regular expression of the functions that stay nevertheless.
    pub fn keep_frames(&self) -> &str {
        self.text(self.keep_frames)
    }

    /// The address of a page that explains the profile; may be empty.
    pub fn doc_url(&self) -> &str {
        self.text(self.doc_url)
    }

    /// Remarks for people.
    pub fn comments(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.comments.iter().map(|&comment| self.text(comment))
    }

    /// All mappings, the main program first.
    pub fn mappings(&self) -> impl ExactSizeIterator<Item = (MappingId, Mapping<'_>)> + Clone {
        (0..self.mappings.len())
            .map(MappingId::from_index)
            .map(|id| (id, self.mapping(id)))
    }

    /// A mapping.
    pub fn mapping(&self, id: MappingId) -> Mapping<'_> {
        let record = &self.mappings[id.index()];
        Mapping {
            start: record.start,
            limit: record.limit,
            offset: record.offset,
            file: self.text(record.file),
            build_id: self.text(record.build_id),
            has_functions: record.has_functions,
            has_filenames: record.has_filenames,
            has_line_numbers: record.has_line_numbers,
            has_inline_frames: record.has_inline_frames,
        }
    }

    /// All locations.
    pub fn locations(&self) -> impl ExactSizeIterator<Item = (LocationId, Location<'_>)> + Clone {
        (0..self.locations.len())
            .map(LocationId::from_index)
            .map(|id| (id, self.location(id)))
    }

    /// A location.
    pub fn location(&self, id: LocationId) -> Location<'_> {
        let record = &self.locations[id.index()];
        Location {
            address: record.address,
            mapping: record.mapping,
            lines: &self.lines[record.lines_start as usize..][..record.lines_len as usize],
            is_folded: record.is_folded,
        }
    }

    /// All functions.
    pub fn functions(&self) -> impl ExactSizeIterator<Item = (FunctionId, Function<'_>)> + Clone {
        (0..self.functions.len())
            .map(FunctionId::from_index)
            .map(|id| (id, self.function(id)))
    }

    /// A function.
    pub fn function(&self, id: FunctionId) -> Function<'_> {
        let record = &self.functions[id.index()];
        Function {
            name: self.text(record.name),
            system_name: self.text(record.system_name),
            file: self.text(record.file),
            start_line: record.start_line,
        }
    }

    /// How many different stacks there are.
    pub fn stack_count(&self) -> usize {
        self.stacks.len()
    }

    /// The locations of a stack, leaf first.
    pub fn stack(&self, id: StackId) -> Stack<'_> {
        Stack::new(self.stacks.get(id.get() - 1))
    }

    /// All samples, in the order in which they were added.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = Sample<'_>> + Clone {
        let types = self.sample_types.len();
        self.samples
            .iter()
            .enumerate()
            .map(move |(n, record)| Sample {
                stacks: &self.stacks,
                label_sets: &self.label_sets,
                strings: &self.strings,
                stack: record.stack,
                labels: record.labels,
                values: &self.values[n * types..][..types],
            })
    }

    /// The sum of each value over all samples, in the order of the sample types. Sums
    /// beyond 64 bits stay at the limit.
    pub fn totals(&self) -> Vec<i64> {
        let mut totals = vec![0i64; self.sample_types.len()];
        for sample in self.samples() {
            for (total, value) in totals.iter_mut().zip(sample.values()) {
                *total = total.saturating_add(*value);
            }
        }
        totals
    }

    fn read_value_type(&self, record: &ValueTypeRecord) -> ValueType<'_> {
        ValueType {
            kind: self.text(record.kind),
            unit: self.text(record.unit),
        }
    }

    fn text(&self, number: u32) -> &str {
        view::text(&self.strings, number)
    }
}

/// As they stand in the encoded profile.
impl Profile {
    /// The table of strings, the empty one first.
    pub(crate) fn string_table(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.strings.len()).map(|n| self.text(n as u32))
    }

    /// Bytes of all stacks, sets of labels and strings.
    pub(crate) fn pool_bytes(&self) -> u64 {
        let pools = [&self.strings, &self.stacks, &self.label_sets];
        pools.iter().map(|pool| pool.total_bytes() as u64).sum()
    }

    /// A stack's ids as packed varints.
    pub(crate) fn packed_stack(&self, id: StackId) -> &[u8] {
        self.stacks.get(id.get() - 1)
    }

    /// A set of labels as fields of a sample's message.
    pub(crate) fn encoded_labels(&self, id: LabelSetId) -> &[u8] {
        self.label_sets.get(id.get() - 1)
    }

    /// The number of a string that is known to be in the table.
    pub(crate) fn string_number(&self, text: &str) -> u32 {
        self.strings
            .find(text.as_bytes())
            .expect("views borrow their strings from the table")
    }
}
