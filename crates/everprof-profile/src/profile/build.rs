//! Building a profile: strings, functions and locations are kept once, samples refer to them.
//!
//! Context: cold.
//! Invariant: no id of another profile's length gets in: each is checked where it enters.

use super::view;
use super::{
    Function, FunctionId, Label, LabelSetId, LabelValue, Line, LocationId, Mapping, MappingId,
    StackId,
};
use super::{
    FunctionRecord, LocationRecord, MappingRecord, Profile, SampleRecord, ValueTypeRecord,
};
use crate::index::{Index, Seed};
use crate::pool::Pool;
use crate::wire;

impl Profile {
    /// An empty profile of these kinds and units.
    pub fn new(sample_types: &[(&str, &str)]) -> Profile {
        let mut profile = Profile {
            time_nanos: 0,
            duration_nanos: 0,
            period: 0,
            strings: Pool::default(),
            sample_types: Vec::with_capacity(sample_types.len()),
            default_sample_type: 0,
            period_type: None,
            drop_frames: 0,
            keep_frames: 0,
            doc_url: 0,
            comments: Vec::new(),
            mappings: Vec::new(),
            locations: Vec::new(),
            location_index: Index::default(),
            lines: Vec::new(),
            functions: Vec::new(),
            function_index: Index::default(),
            seed: Seed::default(),
            stacks: Pool::default(),
            label_sets: Pool::default(),
            samples: Vec::new(),
            values: Vec::new(),
            scratch: Vec::new(),
        };
        profile.intern("");
        for (kind, unit) in sample_types {
            let record = profile.value_type(kind, unit);
            profile.sample_types.push(record);
        }
        profile
    }

    /// Says which sample type reports show when they are not told.
    pub fn set_default_sample_type(&mut self, kind: &str) {
        self.default_sample_type = self.intern(kind);
    }

    /// Says what [`Profile::period`] counts.
    pub fn set_period_type(&mut self, kind: &str, unit: &str) {
        self.period_type = Some(self.value_type(kind, unit));
    }

    /// Sets the regular expression of the functions whose frames, with all that they
    /// called, readers leave out. It must match the whole name.
    pub fn set_drop_frames(&mut self, pattern: &str) {
        self.drop_frames = self.intern(pattern);
    }

    /// Sets the regular expression of the functions that stay although
    /// [`Profile::drop_frames`] matches them.
    pub fn set_keep_frames(&mut self, pattern: &str) {
        self.keep_frames = self.intern(pattern);
    }

    /// Sets the address of a page that explains the profile. Readers open `https:` and
    /// `http:` only.
    pub fn set_doc_url(&mut self, url: &str) {
        self.doc_url = self.intern(url);
    }

    /// Adds a remark for people.
    pub fn add_comment(&mut self, comment: &str) {
        let comment = self.intern(comment);
        self.comments.push(comment);
    }

    /// Adds a mapping. The first one added is the main program, for whoever reads the
    /// profile.
    pub fn add_mapping(&mut self, mapping: Mapping<'_>) -> MappingId {
        let record = self.mapping_record(mapping);
        self.mappings.push(record);
        MappingId::from_index(self.mappings.len() - 1)
    }

    /// Replaces a mapping.
    pub fn set_mapping(&mut self, id: MappingId, mapping: Mapping<'_>) {
        self.mappings[id.index()] = self.mapping_record(mapping);
    }

    /// Says what is known of a mapping's locations: functions, file names, line numbers,
    /// inlined functions.
    pub(crate) fn set_mapping_flags(&mut self, id: MappingId, has: (bool, bool, bool, bool)) {
        let record = &mut self.mappings[id.index()];
        record.has_functions = has.0;
        record.has_filenames = has.1;
        record.has_line_numbers = has.2;
        record.has_inline_frames = has.3;
    }

    /// The location of an address within a mapping, added if it is new.
    pub fn add_location(&mut self, address: u64, mapping: Option<MappingId>) -> LocationId {
        let hash_of = |address: u64, mapping: Option<MappingId>, seed: Seed| {
            seed.pair(address, mapping.map_or(0, |id| id.get().into()))
        };
        let hash = hash_of(address, mapping, self.seed);
        let known = self.location_index.find(hash, |n| {
            let record = &self.locations[n as usize];
            record.address == address && record.mapping == mapping
        });
        if let Some(number) = known {
            return LocationId::from_index(number as usize);
        }
        let id = self.push_location(address, mapping);
        let (locations, seed) = (&self.locations, self.seed);
        self.location_index.insert(hash, id.get() - 1, |n| {
            let record = &locations[n as usize];
            hash_of(record.address, record.mapping, seed)
        });
        id
    }

    /// Adds a location even if there is one of this address and mapping, for profiles
    /// that tell locations apart by their lines only.
    pub fn push_location(&mut self, address: u64, mapping: Option<MappingId>) -> LocationId {
        if let Some(mapping) = mapping {
            assert!(
                mapping.index() < self.mappings.len(),
                "{mapping:?} is of another profile"
            );
        }
        self.locations.push(LocationRecord {
            address,
            mapping,
            lines_start: 0,
            lines_len: 0,
            is_folded: false,
            is_looked_up: false,
        });
        LocationId::from_index(self.locations.len() - 1)
    }

    /// Says which frames stand at a location, innermost first.
    pub fn set_lines(&mut self, id: LocationId, lines: &[Line]) {
        for line in lines {
            let function = line.function;
            assert!(
                function.index() < self.functions.len(),
                "{function:?} is of another profile"
            );
        }
        let record = &mut self.locations[id.index()];
        let room = record.lines_start as usize..(record.lines_start + record.lines_len) as usize;
        if lines.len() <= room.len() {
            self.lines[room.start..room.start + lines.len()].copy_from_slice(lines);
        } else {
            record.lines_start =
                u32::try_from(self.lines.len()).expect("a profile has fewer than 2^32 lines");
            self.lines.extend_from_slice(lines);
        }
        record.lines_len = u32::try_from(lines.len()).expect("a location has few lines");
    }

    /// Says whether several functions share a location's address.
    pub fn set_folded(&mut self, id: LocationId, is_folded: bool) {
        self.locations[id.index()].is_folded = is_folded;
    }

    /// Whether debug information has nothing more to say of a location: it is much work to
    /// be told so again.
    pub(crate) fn is_looked_up(&self, id: LocationId) -> bool {
        self.locations[id.index()].is_looked_up
    }

    pub(crate) fn set_looked_up(&mut self, id: LocationId) {
        self.locations[id.index()].is_looked_up = true;
    }

    /// The function of these names and this place, added if it is new.
    pub fn add_function(&mut self, function: Function<'_>) -> FunctionId {
        let record = FunctionRecord {
            name: self.intern(function.name),
            system_name: self.intern(function.system_name),
            file: self.intern(function.file),
            start_line: function.start_line,
        };
        let hash_of = |record: &FunctionRecord, seed: Seed| {
            let names = u64::from(record.name) << 32 | u64::from(record.system_name);
            seed.pair(
                names,
                (record.start_line as u64) << 32 ^ u64::from(record.file),
            )
        };
        let hash = hash_of(&record, self.seed);
        let known = self
            .function_index
            .find(hash, |n| self.functions[n as usize] == record);
        if let Some(number) = known {
            return FunctionId::from_index(number as usize);
        }
        self.functions.push(record);
        let id = FunctionId::from_index(self.functions.len() - 1);
        let (functions, seed) = (&self.functions, self.seed);
        self.function_index.insert(hash, id.get() - 1, |n| {
            hash_of(&functions[n as usize], seed)
        });
        id
    }

    /// Adds a sample: its locations leaf first, a value for each sample type, labels in
    /// any order. A label with an empty string is left out.
    ///
    /// # Panics
    ///
    /// If there is not one value for each sample type, or a location is not of this
    /// profile.
    pub fn push_sample(&mut self, stack: &[LocationId], values: &[i64], labels: &[Label<'_>]) {
        let stack = self.add_stack(stack.iter().copied());
        let labels = self.add_label_set(labels);
        self.push_sample_of(stack, values, labels);
    }

    /// The stack of these locations, leaf first, added if it is new.
    ///
    /// # Panics
    ///
    /// If a location is not of this profile.
    pub fn add_stack(&mut self, stack: impl IntoIterator<Item = LocationId>) -> StackId {
        // As long as it ever was: what is behind `end` means nothing.
        let mut packed = std::mem::take(&mut self.scratch);
        let mut end = 0;
        for id in stack {
            assert!(
                id.index() < self.locations.len(),
                "{id:?} is of another profile"
            );
            if packed.len() - end < size_of::<wire::Room>() {
                packed.resize(2 * end + size_of::<wire::Room>(), 0);
            }
            if let Some(room) = packed[end..].first_chunk_mut() {
                end += wire::write_varint(room, id.get());
            }
        }
        let number = self.stacks.insert(&packed[..end]);
        self.scratch = packed;
        StackId::from_index(number as usize)
    }

    /// The set of these labels, added if it is new.
    pub fn add_label_set(&mut self, labels: &[Label<'_>]) -> LabelSetId {
        let mut sorted: Vec<&Label<'_>> = labels
            .iter()
            .filter(|label| !matches!(label.value, LabelValue::String("")))
            .collect();
        sorted.sort_by_key(|label| label.key);
        let mut set = std::mem::take(&mut self.scratch);
        set.clear();
        for label in sorted {
            view::put_label(&mut set, label, |text| self.intern(text));
        }
        let id = LabelSetId::from_index(self.label_sets.insert(&set) as usize);
        self.scratch = set;
        id
    }

    /// [`Profile::push_sample`] of a stack and labels that have their ids.
    ///
    /// # Panics
    ///
    /// If there is not one value for each sample type, or an id is not of this profile.
    pub fn push_sample_of(&mut self, stack: StackId, values: &[i64], labels: LabelSetId) {
        let types = self.sample_types.len();
        assert_eq!(
            values.len(),
            types,
            "a sample has one value for each sample type"
        );
        assert!(
            stack.index() < self.stacks.len(),
            "{stack:?} is of another profile"
        );
        assert!(
            labels.index() < self.label_sets.len(),
            "{labels:?} is of another profile"
        );
        self.values.extend_from_slice(values);
        self.samples.push(SampleRecord { stack, labels });
    }

    /// Makes room for this many more samples, so that their values are never moved, and for
    /// as many stacks.
    pub fn reserve_samples(&mut self, additional: usize) {
        self.stacks.reserve(additional);
        self.samples.reserve_exact(additional);
        self.values
            .reserve_exact(additional * self.sample_types.len());
    }

    fn intern(&mut self, text: &str) -> u32 {
        self.strings.insert(text.as_bytes())
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> ValueTypeRecord {
        ValueTypeRecord {
            kind: self.intern(kind),
            unit: self.intern(unit),
        }
    }

    fn mapping_record(&mut self, mapping: Mapping<'_>) -> MappingRecord {
        MappingRecord {
            start: mapping.start,
            limit: mapping.limit,
            offset: mapping.offset,
            file: self.intern(mapping.file),
            build_id: self.intern(mapping.build_id),
            has_functions: mapping.has_functions,
            has_filenames: mapping.has_filenames,
            has_line_numbers: mapping.has_line_numbers,
            has_inline_frames: mapping.has_inline_frames,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn heap() -> Profile {
        Profile::new(&[("objects", "count"), ("space", "bytes")])
    }

    #[test]
    fn equal_addresses_of_a_mapping_are_one_location() {
        let mut profile = heap();
        let mapping = profile.add_mapping(Mapping::default());
        let a = profile.add_location(16, Some(mapping));
        assert_eq!(profile.add_location(16, Some(mapping)), a);
        assert_ne!(profile.add_location(16, None), a);
        assert_ne!(profile.add_location(17, Some(mapping)), a);
        assert_eq!(profile.locations().len(), 3);
        assert_ne!(profile.push_location(16, Some(mapping)), a);
    }

    #[test]
    fn functions_are_told_apart_by_every_field() {
        let mut profile = heap();
        let base = Function {
            name: "f",
            system_name: "_f",
            file: "f.rs",
            start_line: 3,
        };
        let id = profile.add_function(base);
        assert_eq!(profile.add_function(base), id);
        for other in [
            Function { name: "g", ..base },
            Function {
                system_name: "_g",
                ..base
            },
            Function {
                file: "g.rs",
                ..base
            },
            Function {
                start_line: 4,
                ..base
            },
        ] {
            assert_ne!(profile.add_function(other), id);
        }
        assert_eq!(profile.function(id), base);
    }

    #[test]
    fn samples_come_back_in_order_with_values_stack_and_labels() {
        let mut profile = heap();
        let a = profile.add_location(1, None);
        let b = profile.add_location(200, None);
        profile.push_sample(&[a, b, a], &[1, -2], &[]);
        let labels = [
            Label::string("tenant", "blue"),
            Label::number("bytes", -48, "bytes"),
            Label::string("gone", ""),
        ];
        profile.push_sample(&[], &[3, 4], &labels);
        let samples: Vec<_> = profile.samples().collect();
        assert_eq!(samples[0].stack().collect::<Vec<_>>(), [a, b, a]);
        assert_eq!(samples[0].stack().depth(), 3);
        assert_eq!(samples[0].values(), [1, -2]);
        assert_eq!(samples[0].labels().count(), 0);
        assert_eq!(samples[1].stack().depth(), 0);
        assert_eq!(
            samples[1].labels().collect::<Vec<_>>(),
            [labels[1], labels[0]]
        );
        assert_eq!(samples[1].number_label("bytes"), Some(-48));
        assert_eq!(samples[1].string_label("tenant"), Some("blue"));
        assert_eq!(profile.totals(), [4, 2]);
    }

    #[test]
    fn order_of_labels_does_not_matter() {
        let mut profile = heap();
        let (x, y) = (Label::string("x", "1"), Label::string("y", "2"));
        let one = profile.add_label_set(&[x, y]);
        assert_eq!(profile.add_label_set(&[y, x]), one);
        assert_ne!(profile.add_label_set(&[x]), one);
    }

    #[test]
    fn lines_can_be_replaced_by_more_and_by_fewer() {
        let mut profile = heap();
        let function = profile.add_function(Function::default());
        let line = |line| Line {
            function,
            line,
            column: 0,
        };
        let at = profile.add_location(1, None);
        let other = profile.add_location(2, None);
        profile.set_lines(at, &[line(1)]);
        profile.set_lines(other, &[line(9)]);
        profile.set_lines(at, &[line(2), line(3)]);
        assert_eq!(profile.location(at).lines, [line(2), line(3)]);
        profile.set_lines(at, &[line(4)]);
        assert_eq!(profile.location(at).lines, [line(4)]);
        profile.set_lines(at, &[]);
        assert_eq!(profile.location(at).lines, []);
        assert_eq!(profile.location(other).lines, [line(9)]);
    }

    #[test]
    fn default_sample_type_is_the_named_one_else_the_last() {
        let mut profile = heap();
        assert_eq!(profile.default_sample_type_index(), Some(1));
        profile.set_default_sample_type("objects");
        assert_eq!(profile.default_sample_type_index(), Some(0));
        assert_eq!(Profile::new(&[]).default_sample_type_index(), None);
    }

    #[test]
    #[should_panic(expected = "one value for each sample type")]
    fn sample_with_too_few_values_is_refused() {
        heap().push_sample(&[], &[1], &[]);
    }

    #[test]
    fn a_frame_of_many_stacks_costs_two_bytes() {
        let mut profile = heap();
        let ids: Vec<_> = (0..10_000).map(|n| profile.add_location(n, None)).collect();
        for n in 0..1000usize {
            let stack: Vec<_> = (0..32)
                .map(|d| ids[(n * 31 + d * 307) % ids.len()])
                .collect();
            profile.push_sample(&stack, &[1, 1], &[]);
        }
        assert!(profile.stacks.total_bytes() <= 1000 * 32 * 2);
        assert_eq!(size_of::<SampleRecord>(), 8);
        assert_eq!(size_of::<LocationRecord>(), 24);
    }
}
