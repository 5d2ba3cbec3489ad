//! Locations whose functions have names, for the tests of all that reads profiles.

use super::{Function, Line, LocationId, MappingId, Profile};

impl Profile {
    /// A location of these functions, innermost first, each with its file and line.
    pub(crate) fn add_named<'a>(
        &mut self,
        address: u64,
        mapping: Option<MappingId>,
        frames: impl IntoIterator<Item = (&'a str, &'a str, i64)>,
    ) -> LocationId {
        let mut lines = Vec::new();
        for (name, file, line) in frames {
            let function = self.add_function(Function {
                name,
                file,
                ..Function::default()
            });
            lines.push(Line {
                function,
                line,
                column: 0,
            });
        }
        let at = self.add_location(address, mapping);
        self.set_lines(at, &lines);
        at
    }
}
