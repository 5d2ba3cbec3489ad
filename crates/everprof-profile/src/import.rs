//! Import: copies samples of one profile into another, with all that they refer to.
//!
//! Context: cold.
//! Invariant: a part is copied once; parts that mean the same become one, even when they
//! come from several profiles.
//! Source: the identities are those of `go tool pprof`: mappings by build id (else file),
//! size and offset, so that processes loaded at different addresses fit together;
//! locations by their place in the mapping and their lines.

use std::collections::HashMap;

use crate::{Function, FunctionId, Label, LabelSetId, Line, LocationId, MappingId};
use crate::{Profile, Sample, StackId};

/// What of the profile being built is known by its meaning.
pub(crate) struct Importer {
    pub(crate) into: Profile,
    mappings: HashMap<MappingKey, MappingId>,
    locations: HashMap<LocationKey, LocationId>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct MappingKey {
    size: u64,
    offset: u64,
    /// The build id or, where it is not known, the file.
    file: String,
    /// Where there is neither, only the address tells one mapping from another.
    start: u64,
    /// How many mappings of its profile are the same up to here and stand before it, so
    /// that two of one process are never joined.
    before: usize,
}

#[derive(PartialEq, Eq, Hash)]
struct LocationKey {
    mapping: Option<MappingId>,
    /// As in the mapping that it becomes part of.
    address: u64,
    lines: Vec<Line>,
    is_folded: bool,
}

/// The parts of one source profile that are copied already.
pub(crate) struct Source<'a> {
    from: &'a Profile,
    /// The mapping here, and what to add to the addresses.
    mappings: Vec<(MappingId, u64)>,
    functions: Vec<Option<FunctionId>>,
    locations: Vec<Option<LocationId>>,
    stacks: Vec<Option<StackId>>,
    label_sets: HashMap<LabelSetId, LabelSetId>,
}

impl Importer {
    /// An empty profile with the sample types, period type, patterns and links of `like`.
    pub(crate) fn new(like: &Profile) -> Importer {
        let types: Vec<_> = like
            .sample_types()
            .map(|kind| (kind.kind, kind.unit))
            .collect();
        let mut into = Profile::new(&types);
        into.set_default_sample_type(like.default_sample_type());
        if let Some(kind) = like.period_type() {
            into.set_period_type(kind.kind, kind.unit);
        }
        into.period = like.period;
        into.time_nanos = like.time_nanos;
        into.duration_nanos = like.duration_nanos;
        into.set_drop_frames(like.drop_frames());
        into.set_keep_frames(like.keep_frames());
        into.set_doc_url(like.doc_url());
        Importer {
            into,
            mappings: HashMap::new(),
            locations: HashMap::new(),
        }
    }

    /// Begins to copy from a profile. Its mappings are copied now, all of them, so that
    /// the main program stays the first.
    pub(crate) fn source<'a>(&mut self, from: &'a Profile) -> Source<'a> {
        let mut seen: HashMap<MappingKey, usize> = HashMap::new();
        let mappings = from
            .mappings()
            .map(|(_, mapping)| {
                let mut key = MappingKey {
                    // Rounded up, because some tools count to the last byte of the file.
                    size: mapping
                        .limit
                        .wrapping_sub(mapping.start)
                        .saturating_add(0xfff)
                        & !0xfff,
                    offset: mapping.offset,
                    file: match mapping.build_id {
                        "" => mapping.file.to_owned(),
                        build_id => build_id.to_owned(),
                    },
                    start: match (mapping.build_id, mapping.file) {
                        ("", "") => mapping.start,
                        _ => 0,
                    },
                    before: 0,
                };
                let before = seen.entry(key.clone()).or_default();
                key.before = *before;
                *before += 1;
                let into = &mut self.into;
                let id = *self
                    .mappings
                    .entry(key)
                    .or_insert_with(|| into.add_mapping(mapping));
                let mut joined = self.into.mapping(id);
                let shift = joined.start.wrapping_sub(mapping.start);
                joined.has_functions &= mapping.has_functions;
                joined.has_filenames &= mapping.has_filenames;
                joined.has_line_numbers &= mapping.has_line_numbers;
                joined.has_inline_frames &= mapping.has_inline_frames;
                let has = (
                    joined.has_functions,
                    joined.has_filenames,
                    joined.has_line_numbers,
                    joined.has_inline_frames,
                );
                self.into.set_mapping_flags(id, has);
                (id, shift)
            })
            .collect();
        Source {
            from,
            mappings,
            functions: vec![None; from.functions().len()],
            locations: vec![None; from.locations().len()],
            stacks: vec![None; from.stack_count()],
            label_sets: HashMap::new(),
        }
    }

    /// Copies a sample of `source` with other values.
    pub(crate) fn copy(&mut self, source: &mut Source<'_>, sample: &Sample<'_>, values: &[i64]) {
        let stack = self.stack(source, sample);
        let labels = self.labels(source, sample);
        self.into.push_sample_of(stack, values, labels);
    }

    fn stack(&mut self, source: &mut Source<'_>, sample: &Sample<'_>) -> StackId {
        let old = sample.stack_id();
        if let Some(id) = source.stacks[old.index()] {
            return id;
        }
        let ids: Vec<_> = sample.stack().map(|at| self.location(source, at)).collect();
        let id = self.into.add_stack(ids);
        source.stacks[old.index()] = Some(id);
        id
    }

    fn labels(&mut self, source: &mut Source<'_>, sample: &Sample<'_>) -> LabelSetId {
        let into = &mut self.into;
        *source
            .label_sets
            .entry(sample.label_set_id())
            .or_insert_with(|| {
                let labels: Vec<Label<'_>> = sample.labels().collect();
                into.add_label_set(&labels)
            })
    }

    fn location(&mut self, source: &mut Source<'_>, old: LocationId) -> LocationId {
        if let Some(id) = source.locations[old.index()] {
            return id;
        }
        let location = source.from.location(old);
        let (mapping, shift) = match location.mapping {
            Some(mapping) => {
                let (mapping, shift) = source.mappings[mapping.index()];
                (Some(mapping), shift)
            }
            None => (None, 0),
        };
        let lines: Vec<_> = location
            .lines
            .iter()
            .map(|line| Line {
                function: self.function(source, line.function),
                ..*line
            })
            .collect();
        let address = location.address.wrapping_add(shift);
        let key = LocationKey {
            mapping,
            address,
            lines,
            is_folded: location.is_folded,
        };
        let id = match self.locations.get(&key) {
            Some(&id) => id,
            None => {
                let id = self.into.push_location(address, mapping);
                self.into.set_lines(id, &key.lines);
                self.into.set_folded(id, key.is_folded);
                self.locations.insert(key, id);
                if source.from.is_looked_up(old) {
                    self.into.set_looked_up(id);
                }
                id
            }
        };
        source.locations[old.index()] = Some(id);
        id
    }

    fn function(&mut self, source: &mut Source<'_>, old: FunctionId) -> FunctionId {
        let known = &mut source.functions[old.index()];
        *known.get_or_insert_with(|| {
            let function: Function<'_> = source.from.function(old);
            self.into.add_function(function)
        })
    }
}
