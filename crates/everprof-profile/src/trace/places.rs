//! Places: locations of a profile for the frames of a trace's stacks.
//!
//! Context: cold.
//! Invariant: a module becomes a mapping when a frame lies in it, the program's own before
//! all others: readers take the first mapping for the program.

use super::format::{FIRST_ADDRESS, Table};
use super::tables::{Frame, Tables};
use crate::{Error, Function, Line, LocationId, Mapping, MappingId, Profile, StackId};

/// The locations made so far in one profile.
pub(crate) struct Places<'a> {
    tables: &'a Tables,
    mappings: Vec<Option<MappingId>>,
    /// Frames of all stacks so far.
    frames: usize,
}

/// A profile of a real program has a fifth of that. Stacks that share their frames take
/// next to nothing in a trace, but their frames each in a profile: more is a bomb.
const MOST_FRAMES_IN_ALL: usize = 1 << 27;

impl<'a> Places<'a> {
    pub(crate) fn new(tables: &'a Tables, profile: &mut Profile) -> Places<'a> {
        let mut places = Places {
            tables,
            mappings: vec![None; tables.modules().len()],
            frames: 0,
        };
        if !tables.modules().is_empty() {
            places.mapping(profile, 0);
        }
        places
    }

    /// The stack of a number. What has no stack gets a frame that says so, or its values
    /// would stand nowhere.
    pub(crate) fn stack(&mut self, profile: &mut Profile, number: u32) -> Result<StackId, Error> {
        let mut ids: Vec<LocationId> = Vec::new();
        for frame in self.tables.stack(number) {
            ids.push(self.location(profile, frame));
        }
        if ids.is_empty() {
            ids.push(named(profile, 0, NO_STACK));
        }
        self.frames += ids.len();
        if self.frames > MOST_FRAMES_IN_ALL {
            return Err(Error::limit(format!(
                "the trace's stacks have more than {MOST_FRAMES_IN_ALL} frames: \
                 expected those of a program"
            )));
        }
        Ok(profile.add_stack(ids))
    }

    fn location(&mut self, profile: &mut Profile, frame: Frame) -> LocationId {
        let Frame {
            return_address,
            module,
        } = frame;
        if return_address < FIRST_ADDRESS {
            let name = self.tables.name(Table::Frames, return_address as u32);
            return named(profile, return_address, name.unwrap_or(UNKNOWN));
        }
        let mapping = module.map(|module| self.mapping(profile, module));
        // The call, which stands before what it returns to.
        profile.add_location(return_address - 1, mapping)
    }

    fn mapping(&mut self, profile: &mut Profile, module: u32) -> MappingId {
        let known = &mut self.mappings[module as usize];
        let module = &self.tables.modules()[module as usize];
        *known.get_or_insert_with(|| {
            let hex = |byte: &u8| format!("{byte:02x}");
            let build_id: String = module.build_id.iter().map(hex).collect();
            profile.add_mapping(Mapping {
                start: module.start,
                limit: module.limit,
                offset: module.offset,
                file: &module.file,
                build_id: &build_id,
                ..Mapping::default()
            })
        })
    }
}

fn named(profile: &mut Profile, address: u64, name: &str) -> LocationId {
    let id = profile.add_location(address, None);
    if profile.location(id).lines.is_empty() {
        let function = profile.add_function(Function {
            name,
            system_name: name,
            ..Function::default()
        });
        let line = Line {
            function,
            line: 0,
            column: 0,
        };
        profile.set_lines(id, &[line]);
    }
    id
}

const NO_STACK: &str = "everprof::lost::no_stack";
const UNKNOWN: &str = "everprof::lost::unknown";
