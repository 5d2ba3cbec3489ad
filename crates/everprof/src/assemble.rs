//! From a snapshot to a profile: the only place that knows both.
//!
//! Context: cold.
//! Invariant: an address has one location, and every sample has all four values.
//!
//! **Addresses.** The recorders keep return addresses: the instruction *behind*
//! a call. A profile's location is the call itself, so one byte is subtracted,
//! as Go does; a name or line looked up for the return address would be that of
//! the next statement, or, where the call is a function's last instruction, of
//! the next function. The leaf may be an instruction of the allocator itself;
//! one byte less is still within it, and it is trimmed.
//!
//! **Mappings** are those that some sample's address lies in, and the program's
//! own file before them, whether or not any does. A module that was unloaded has
//! one too.
//!
//! **Losses.** In place of an address a stack may hold a small number that
//! stands for what was not recorded; it becomes a frame `everprof::lost::…`.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;

use everprof_core::heap::{Bucket, Snapshot, Tally};
use everprof_core::modules::{self, ModuleInfo};
use everprof_core::recording::Recording;
use everprof_core::{global, lost};
use everprof_profile::{
    ALLOCATOR_FRAMES, Filter, Function, Label, Line, LocationId, Mapping, MappingId, Profile,
    symbolize,
};

use crate::error::{Error, Kind};
use crate::profile::{Ask, Names};

const HEAP_TYPES: [(&str, &str); 4] = [
    ("alloc_objects", "count"),
    ("alloc_space", "bytes"),
    ("inuse_objects", "count"),
    ("inuse_space", "bytes"),
];

/// What tells `heap` and `allocs` apart: all else in them is the same.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DefaultType {
    InUse,
    Allocated,
}

/// This process's heap now, by addresses.
pub(crate) fn heap(default: DefaultType, ask: &Ask) -> Profile {
    modules::refresh();
    let snapshot = match ask.older_than {
        Some(age) => {
            global::heap().snapshot_older_than(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX))
        }
        None => global::heap().snapshot(),
    };
    let mut modules = Modules::default();
    modules::for_each(|module| modules.add(module));
    assemble(&snapshot, &modules, default)
}

/// The profiles in the file that another process records to, or did: each with
/// its name.
///
/// # Errors
///
/// Where the file is no recording, or cannot be read.
#[doc(hidden)]
pub fn recording(path: &Path) -> Result<Vec<(&'static str, Profile)>, Error> {
    let recording = Recording::open(path).map_err(|e| {
        let path = path.display();
        Error::new(Kind::Io, format!("cannot read the recording `{path}`: {e}")).caused_by(e)
    })?;
    let Some(snapshot) = recording.heap() else {
        return Ok(Vec::new());
    };
    let mut modules = Modules::default();
    recording.for_each_module(|module| modules.add(module));
    let named = [
        ("allocs", DefaultType::Allocated),
        ("heap", DefaultType::InUse),
    ];
    let profiles = named.map(|(name, default)| {
        (
            name,
            finish(assemble(&snapshot, &modules, default), Names::Table, &[]),
        )
    });
    Ok(profiles.into())
}

/// Keeps the samples with these labels, names what is to be named, and takes our
/// own frames off.
pub(crate) fn finish(profile: Profile, names: Names, labels: &[(String, String)]) -> Profile {
    let mut filter = Filter::new();
    for (key, value) in labels {
        // A key is never empty here, and that is all that can be wrong.
        if let Ok(narrower) = filter.clone().label(&format!("{key}:{value}")) {
            filter = narrower;
        }
    }
    let mut profile = if filter.is_empty() {
        profile
    } else {
        profile.filter(&filter)
    };
    // What could not be named, the profile says in its comments.
    let _ = match names {
        Names::None => return profile,
        Names::Table => symbolize::names(&mut profile),
        Names::Full => symbolize::full(&mut profile),
    };
    profile.trim();
    profile
}

/// The names of functions at these addresses of this process.
pub(crate) fn names_of(addresses: &[u64]) -> Vec<Option<String>> {
    modules::refresh();
    let mut modules = Modules::default();
    modules::for_each(|module| modules.add(module));
    let mut profile = Profile::new(&[("addresses", "count")]);
    let mut places = Places::new(&modules);
    let ids: Vec<_> = addresses
        .iter()
        .map(|address| places.location(&mut profile, *address))
        .collect();
    // Those that have no name stay without.
    let _ = symbolize::names(&mut profile);
    let name = |id: &LocationId| {
        let line = profile.location(*id).lines.last()?;
        Some(profile.function(line.function).name.to_owned())
    };
    ids.iter().map(name).collect()
}

fn assemble(snapshot: &Snapshot, modules: &Modules, default: DefaultType) -> Profile {
    let mut profile = Profile::new(&HEAP_TYPES);
    profile.set_default_sample_type(match default {
        DefaultType::InUse => "inuse_space",
        DefaultType::Allocated => "alloc_space",
    });
    profile.set_period_type("space", "bytes");
    profile.period = as_value(snapshot.period_bytes);
    profile.time_nanos = as_value(snapshot.taken_at_unix_nanos());
    profile.set_drop_frames(ALLOCATOR_FRAMES);
    if snapshot.is_torn() {
        profile.add_comment(
            "not whole: a thread was stopped while it recorded, so that its last sample may be \
             counted in part, or there was no memory for a copy",
        );
    }
    let mut places = Places::new(modules);
    places.add_program(&mut profile);
    profile.reserve_samples(snapshot.len());
    let mut stack = Vec::new();
    for bucket in snapshot.iter() {
        stack.clear();
        stack.extend(
            bucket
                .stack
                .iter()
                .map(|pc| places.of_return(&mut profile, *pc)),
        );
        let size = Label::number("bytes", as_value(bucket.size_class_bytes), "bytes");
        profile.push_sample(&stack, &values(&bucket), &[size]);
    }
    profile
}

fn values(Bucket { alloc, freed, .. }: &Bucket<'_>) -> [i64; 4] {
    let objects = |tally: &Tally| tally.objects.round() as i64;
    [
        objects(alloc),
        as_value(alloc.bytes),
        objects(alloc).saturating_sub(objects(freed)).max(0),
        as_value(alloc.bytes.saturating_sub(freed.bytes)),
    ]
}

/// pprof has signed values; what is greater than they can be has no meaning.
fn as_value(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The modules that addresses are looked up in.
#[derive(Debug, Default)]
struct Modules {
    all: Vec<Module>,
}

#[derive(Debug)]
struct Module {
    start: u64,
    limit: u64,
    file_offset: u64,
    build_id: String,
    file: String,
    loaded: bool,
}

impl Modules {
    fn add(&mut self, module: &ModuleInfo<'_>) {
        self.all.push(Module {
            start: module.start,
            limit: module.limit,
            file_offset: module.file_offset,
            build_id: hex(module.build_id),
            file: file_of(module.path),
            loaded: module.loaded,
        });
    }

    /// Which module an address lies in. Where one was unloaded and another
    /// loaded to its place, the one that is there now; else the latest that was.
    fn find(&self, address: u64) -> Option<usize> {
        let holds = |module: &Module| (module.start..module.limit).contains(&address);
        let now = self
            .all
            .iter()
            .position(|module| module.loaded && holds(module));
        now.or_else(|| self.all.iter().rposition(holds))
    }
}

/// The page of code that the kernel maps is no file; readers know it as this.
fn file_of(path: &[u8]) -> String {
    let is_kernels = path.starts_with(b"linux-vdso") || path.starts_with(b"linux-gate");
    if is_kernels {
        "[vdso]".to_owned()
    } else {
        String::from_utf8_lossy(path).into_owned()
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            // Writing to a String cannot fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
}

/// The locations made so far of one profile, by address.
struct Places<'a> {
    modules: &'a Modules,
    mappings: Vec<Option<MappingId>>,
    locations: HashMap<u64, LocationId, ByAddress>,
}

impl<'a> Places<'a> {
    fn new(modules: &'a Modules) -> Self {
        Self {
            modules,
            mappings: vec![None; modules.all.len()],
            locations: HashMap::default(),
        }
    }

    /// Readers take the first mapping for the program itself. So do the modules.
    fn add_program(&mut self, profile: &mut Profile) {
        if !self.modules.all.is_empty() {
            self.mapping(profile, 0);
        }
    }

    /// The call that returns to `pc`, or the loss that it stands for.
    fn of_return(&mut self, profile: &mut Profile, pc: u64) -> LocationId {
        // An address has one location however it is asked for, so the call is
        // known by its own; a loss is no address.
        let address = if pc < lost::FIRST_ADDRESS { pc } else { pc - 1 };
        match self.locations.get(&address) {
            Some(location) => *location,
            None if pc < lost::FIRST_ADDRESS => self.add_loss(profile, pc),
            None => self.add(profile, address),
        }
    }

    fn location(&mut self, profile: &mut Profile, address: u64) -> LocationId {
        match self.locations.get(&address) {
            Some(location) => *location,
            None => self.add(profile, address),
        }
    }

    #[cold]
    fn add(&mut self, profile: &mut Profile, address: u64) -> LocationId {
        let module = self.modules.find(address);
        let mapping = module.map(|module| self.mapping(profile, module));
        let location = profile.add_location(address, mapping);
        self.locations.insert(address, location);
        location
    }

    #[cold]
    fn add_loss(&mut self, profile: &mut Profile, pc: u64) -> LocationId {
        let name = lost::name(pc).unwrap_or_default();
        let function = profile.add_function(Function {
            name,
            system_name: name,
            file: "",
            start_line: 0,
        });
        let location = profile.add_location(pc, None);
        let line = Line {
            function,
            line: 0,
            column: 0,
        };
        profile.set_lines(location, &[line]);
        self.locations.insert(pc, location);
        location
    }

    fn mapping(&mut self, profile: &mut Profile, module: usize) -> MappingId {
        let Module {
            start,
            limit,
            file_offset,
            build_id,
            file,
            ..
        } = &self.modules.all[module];
        *self.mappings[module].get_or_insert_with(|| {
            profile.add_mapping(Mapping {
                start: *start,
                limit: *limit,
                offset: *file_offset,
                file,
                build_id,
                ..Mapping::default()
            })
        })
    }
}

/// Hashes addresses. A profile of 100,000 stacks asks 4,000,000 times, and std's
/// own hasher took a third of the whole.
#[derive(Clone, Copy)]
struct ByAddress(u64);

/// Seeded, since a recording may hold addresses that were chosen to collide.
impl Default for ByAddress {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0_u8) | 1)
    }
}

impl BuildHasher for ByAddress {
    type Hasher = AddressHasher;

    fn build_hasher(&self) -> AddressHasher {
        AddressHasher {
            seed: self.0,
            hash: 0,
        }
    }
}

struct AddressHasher {
    seed: u64,
    hash: u64,
}

impl Hasher for AddressHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    /// Both halves of a product with an odd number: each bit of the address
    /// reaches the low bits that choose the slot and the high ones that tell keys
    /// in it apart.
    fn write_u64(&mut self, n: u64) {
        let product = u128::from(self.hash ^ n) * u128::from(self.seed);
        self.hash = product as u64 ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(start: u64, limit: u64, path: &[u8], loaded: bool) -> ModuleInfo<'_> {
        ModuleInfo {
            start,
            limit,
            file_offset: 0x10,
            bias: 0,
            build_id: &[0xAB, 0x01],
            path,
            loaded,
        }
    }

    fn modules(of: &[ModuleInfo<'_>]) -> Modules {
        let mut modules = Modules::default();
        of.iter().for_each(|module| modules.add(module));
        modules
    }

    #[test]
    fn the_program_is_the_first_mapping_and_others_come_as_they_are_used() {
        let modules = modules(&[
            module(0x1000, 0x2000, b"/bin/program", true),
            module(0x3000, 0x4000, b"/lib/unused.so", true),
            module(0x5000, 0x6000, b"linux-vdso.so.1", true),
        ]);
        let mut profile = Profile::new(&HEAP_TYPES);
        let mut places = Places::new(&modules);
        places.add_program(&mut profile);
        let in_vdso = places.location(&mut profile, 0x5800);
        let files: Vec<_> = profile
            .mappings()
            .map(|(_, mapping)| mapping.file)
            .collect();
        assert_eq!(files, ["/bin/program", "[vdso]"]);
        let (_, program) = profile.mappings().next().expect("there are two");
        assert_eq!(
            (program.start, program.limit, program.offset),
            (0x1000, 0x2000, 0x10)
        );
        assert_eq!(program.build_id, "ab01");
        assert_eq!(profile.location(in_vdso).address, 0x5800);
        assert_eq!(
            profile.location(in_vdso).mapping.map(MappingId::index),
            Some(1)
        );
    }

    #[test]
    fn an_address_belongs_to_what_is_loaded_there_else_to_what_was_last() {
        let modules = modules(&[
            module(0x1000, 0x2000, b"first", false),
            module(0x1000, 0x1800, b"now", true),
            module(0x1000, 0x2000, b"second", false),
        ]);
        let file = |address| {
            modules
                .find(address)
                .map(|at| modules.all[at].file.as_str())
        };
        assert_eq!(file(0x1000), Some("now"));
        assert_eq!(file(0x17ff), Some("now"));
        assert_eq!(file(0x1800), Some("second"));
        assert_eq!(file(0x2000), None);
    }

    #[test]
    fn a_return_address_becomes_the_call_before_it_and_a_loss_a_frame_of_its_own() {
        let modules = modules(&[module(0x1000, 0x2000, b"program", true)]);
        let mut profile = Profile::new(&HEAP_TYPES);
        let mut places = Places::new(&modules);
        let call = places.of_return(&mut profile, 0x1000 + 5);
        assert_eq!(profile.location(call).address, 0x1004);
        // A call that is its module's last instruction returns behind the module.
        let last = places.of_return(&mut profile, 0x2000);
        assert!(profile.location(last).mapping.is_some());
        let lost = places.of_return(&mut profile, lost::Lost::Truncated.pc());
        assert_eq!(
            places.of_return(&mut profile, lost::Lost::Truncated.pc()),
            lost
        );
        let line = profile.location(lost).lines[0];
        assert_eq!(
            profile.function(line.function).name,
            "everprof::lost::truncated"
        );
        assert_eq!(profile.location(lost).mapping, None);
    }
}
