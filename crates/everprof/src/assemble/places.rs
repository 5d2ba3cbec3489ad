//! The locations of one profile, made as addresses are met.
//!
//! Context: cold.
//! Invariant: an address has one location.
//!
//! **Addresses.** The recorders keep return addresses: the instruction *behind*
//! a call. A profile's location is the call itself, so one byte is subtracted,
//! as Go does. A name or line looked up for the return address would be that of
//! the next statement; where the call is a function's last instruction, that of
//! the next function. The leaf may be an instruction of the allocator itself;
//! one byte less is still within it, and it is trimmed.
//!
//! **Mappings** are those that some sample's address lies in, and the program's
//! own file before them, whether or not any does. A module that was unloaded has
//! one too.
//!
//! **Losses.** In place of an address a stack may hold a small number that
//! stands for what was not recorded; it becomes a frame `everprof::lost::…`.

use std::hash::{BuildHasher, RandomState};

use everprof_core::lost;
use everprof_profile::{Function, Line, LocationId, Mapping, MappingId, Profile};

use super::modules::{Module, Modules};

/// The locations made so far of one profile, by address.
#[derive(Clone)]
pub(super) struct Places<'a> {
    modules: &'a Modules,
    mappings: Vec<Option<MappingId>>,
    locations: ByAddress,
}

impl<'a> Places<'a> {
    pub(super) fn new(modules: &'a Modules) -> Self {
        Self {
            modules,
            mappings: vec![None; modules.all.len()],
            locations: ByAddress::default(),
        }
    }

    /// Where the addresses are looked up.
    pub(super) fn modules(&self) -> &'a Modules {
        self.modules
    }

    /// Readers take the first mapping for the program itself. So do the modules.
    pub(super) fn add_program(&mut self, profile: &mut Profile) {
        if !self.modules.all.is_empty() {
            self.mapping(profile, 0);
        }
    }

    /// The call that returns to `pc`, or the loss that it stands for.
    #[inline]
    pub(super) fn of_return(&mut self, profile: &mut Profile, pc: u64) -> LocationId {
        // An address has one location however it is asked for, so the call is
        // known by its own; a loss is no address.
        let address = pc - u64::from(pc >= lost::FIRST_ADDRESS);
        match self.locations.get(address) {
            Some(location) => location,
            None if pc < lost::FIRST_ADDRESS => self.add_loss(profile, pc),
            None => self.add(profile, address),
        }
    }

    /// A stack as it was recorded, as the calls that it is made of, innermost first.
    pub(super) fn of_stack(
        &mut self,
        profile: &mut Profile,
        stack: &[u64],
    ) -> impl Iterator<Item = LocationId> {
        stack.iter().map(|pc| self.of_return(profile, *pc))
    }

    /// The very instruction at `address`.
    pub(super) fn location(&mut self, profile: &mut Profile, address: u64) -> LocationId {
        match self.locations.get(address) {
            Some(location) => location,
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

/// Locations by address: open addressing, at most half full.
///
/// A profile of 100,000 stacks asks 4,000,000 times. With std's own hasher that took a third
/// of the whole. With this hash in a `HashMap` it took 42 instructions each: that keeps a byte
/// of each key's hash apart from the keys, where one word is as quickly compared.
#[derive(Clone)]
struct ByAddress {
    /// A power of two.
    slots: Vec<Slot>,
    taken: usize,
    /// Odd. Drawn, since a recording may hold addresses that were chosen to collide.
    seed: u64,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    address: u64,
    location: Option<LocationId>,
}

impl Default for ByAddress {
    fn default() -> Self {
        Self {
            slots: vec![Slot::default(); 64],
            taken: 0,
            seed: RandomState::new().hash_one(0_u8) | 1,
        }
    }
}

impl ByAddress {
    #[inline]
    fn get(&self, address: u64) -> Option<LocationId> {
        // None in a free one, which is there if the address is not.
        self.slots[self.place(address)].location
    }

    /// Adds an address that `get` does not know.
    fn insert(&mut self, address: u64, location: LocationId) {
        if (self.taken + 1) * 2 > self.slots.len() {
            let bigger = vec![Slot::default(); self.slots.len() * 2];
            for slot in std::mem::replace(&mut self.slots, bigger) {
                if slot.location.is_some() {
                    let place = self.place(slot.address);
                    self.slots[place] = slot;
                }
            }
        }
        let place = self.place(address);
        self.slots[place] = Slot {
            address,
            location: Some(location),
        };
        self.taken += 1;
    }

    /// The slot of an address, or the free one that would be.
    #[inline]
    fn place(&self, address: u64) -> usize {
        let mask = self.slots.len() - 1;
        // Both halves of a product with an odd number: each bit of the address reaches
        // the low bits.
        let product = u128::from(address) * u128::from(self.seed);
        let mut place = (product as u64 ^ (product >> 64) as u64) as usize & mask;
        while self.slots[place].location.is_some() && self.slots[place].address != address {
            place = (place + 1) & mask;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::super::modules::tests::{module, modules};
    use super::*;

    #[test]
    fn the_program_is_the_first_mapping_and_others_come_as_they_are_used() {
        let modules = modules(&[
            module(0x1000, 0x2000, b"/bin/program", true),
            module(0x3000, 0x4000, b"/lib/unused.so", true),
            module(0x5000, 0x6000, b"linux-vdso.so.1", true),
        ]);
        let mut profile = Profile::new(&[("heap", "count")]);
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
    fn addresses_are_found_again_however_many_come() {
        let modules = modules(&[]);
        let mut profile = Profile::new(&[("heap", "count")]);
        let mut places = Places::new(&modules);
        let address = |n: u64| 0x1000 + 16 * n * n;
        let ids: Vec<_> = (0..1000)
            .map(|n| places.location(&mut profile, address(n)))
            .collect();
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(places.location(&mut profile, address(n as u64)), *id);
        }
        assert_eq!(profile.locations().len(), 1000);
    }

    #[test]
    fn a_return_address_becomes_the_call_before_it_and_a_loss_a_frame_of_its_own() {
        let modules = modules(&[module(0x1000, 0x2000, b"program", true)]);
        let mut profile = Profile::new(&[("heap", "count")]);
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
