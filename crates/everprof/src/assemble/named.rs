//! Stacks whose functions' names are wanted before there is a profile: names tell what
//! is waited for.
//!
//! Context: cold. Invariant: names are found once, for all stacks together, and are
//! those of the profile that is made of them.

use everprof_profile::wait_kind::WaitKind;
use everprof_profile::{LocationId, Profile};

use super::modules::Modules;
use super::name;
use super::places::Places;
use crate::profile::Names;

/// Stacks with the names of their functions.
pub(super) struct Named<'a> {
    places: Places<'a>,
    profile: Profile,
    names: Names,
}

/// One function on a stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'s> {
    pub(super) function: &'s str,
    /// Empty if not known.
    pub(super) file: &'s str,
    pub(super) line: i64,
}

impl<'a> Named<'a> {
    /// Names as far as `names` says, and at least by the symbol tables.
    pub(super) fn new(types: &[(&str, &str)], modules: &'a Modules, names: Names) -> Self {
        let mut profile = Profile::new(types);
        let mut places = Places::new(modules);
        places.add_program(&mut profile);
        Self {
            places,
            profile,
            names,
        }
    }

    /// The stack, whose functions are to be named.
    pub(super) fn stack(&mut self, stack: &[u64]) -> Vec<LocationId> {
        self.places.of_stack(&mut self.profile, stack).collect()
    }

    /// Names all that were asked for.
    pub(super) fn finish(&mut self) {
        let least = if self.names == Names::None {
            Names::Table
        } else {
            self.names
        };
        name(&mut self.profile, least);
    }

    /// The frames of a stack, innermost first. After `finish`.
    pub(super) fn frames<'s>(&'s self, stack: &'s [LocationId]) -> impl Iterator<Item = Frame<'s>> {
        stack.iter().flat_map(|id| {
            let lines = self.profile.location(*id).lines;
            lines.iter().map(|line| {
                let function = self.profile.function(line.function);
                Frame {
                    function: function.name,
                    file: function.file,
                    line: line.line,
                }
            })
        })
    }

    /// The functions of a stack, innermost first. After `finish`.
    pub(super) fn functions<'s>(
        &'s self,
        stack: &'s [LocationId],
    ) -> impl Iterator<Item = &'s str> {
        self.frames(stack).map(|frame| frame.function)
    }

    /// What a thread with this stack waits for, if it waits; `known` is what its call
    /// itself says. After `finish`.
    pub(super) fn kind(&self, stack: &[LocationId], known: WaitKind) -> WaitKind {
        WaitKind::of_stack(self.functions(stack), known)
    }

    /// Whether nothing tells what the program did here: it was stripped. A few of its names may
    /// be there all the same, of the C functions that others find in it. Libraries come without
    /// names often, and say nothing of the program. After `finish`.
    pub(super) fn is_nameless(&self, stack: &[LocationId]) -> bool {
        // The first: see `new`.
        let program = self.profile.mappings().next().map(|(id, _)| id);
        let is_unnamed = |id: &LocationId| {
            let location = self.profile.location(*id);
            let is_librarys = location.mapping.is_some() && location.mapping != program;
            location.lines.is_empty() && !is_librarys
        };
        // A frame for what is lost is none of the program's.
        let is_programs = |name: &str| name.contains("::") && !name.starts_with("everprof::");
        stack.iter().any(is_unnamed) && !self.functions(stack).any(is_programs)
    }

    /// A profile to fill, and its locations so far: with the names that were found, or
    /// anew without any where none were asked for.
    pub(super) fn begin(&self, types: &[(&str, &str)]) -> (Profile, Places<'a>) {
        match self.names {
            Names::None => {
                let (mut profile, mut places) =
                    (Profile::new(types), Places::new(self.places.modules()));
                places.add_program(&mut profile);
                (profile, places)
            }
            _ => (self.profile.clone(), self.places.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use everprof_core::lost::Lost;
    use everprof_profile::Mapping;

    use super::*;

    #[test]
    fn what_has_no_name_of_the_programs_is_nameless() {
        everprof_core::modules::refresh();
        let modules = Modules::of_this_process();
        let mut named = Named::new(&[("delay", "nanoseconds")], &modules, Names::Table);
        // In no file, so that nothing names it.
        let nowhere = 0x1000;
        // Those of this crate are named as everprof's frames are.
        let known = (std::thread::yield_now as *const ()).addr() as u64 + 1;
        let cut = Lost::Truncated.pc();
        let stripped = named.stack(&[nowhere, cut]);
        let whole = named.stack(&[nowhere, known]);
        let lost = named.stack(&[cut]);
        let library = named.profile.add_mapping(Mapping {
            start: 0x2000,
            limit: 0x3000,
            file: "/no/such/library.so",
            ..Mapping::default()
        });
        let librarys = named.profile.add_location(0x2004, Some(library));
        named.finish();
        assert!(named.is_nameless(&stripped));
        assert!(!named.is_nameless(&whole));
        assert!(!named.is_nameless(&lost));
        assert!(!named.is_nameless(&[librarys]));
        assert!(!named.is_nameless(&[]));
    }
}
