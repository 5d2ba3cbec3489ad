//! Names from symbol tables.
//!
//! Context: cold.

use super::binaries::{Binaries, Mapped};
use super::known::{Depth, Known};
use super::{Outcome, demangle};
use crate::{Error, Function, Line, LocationId, Mapping, MappingId, Profile};

/// `known` is of no use where other files are given than those that were mapped.
pub(super) fn run(profile: &mut Profile, binaries: &Binaries, known: &mut Known) -> Outcome {
    known.begin();
    for_each_mapping(profile, |profile, mapping, unnamed| {
        let left = known.fill(Depth::Name, profile, mapping, unnamed);
        if left.locations.is_empty() {
            return Ok(());
        }
        let Some(mapped) = Mapped::open(profile, mapping, binaries) else {
            return Ok(());
        };
        name(profile, &mapped?, &left.locations)?;
        known.learn(Depth::Name, profile, mapping, left);
        Ok(())
    })
}

/// Calls `work` with each mapping and its locations without a name, then says in the
/// mapping's flags and in the outcome what came of it.
pub(super) fn for_each_mapping(
    profile: &mut Profile,
    mut work: impl FnMut(&mut Profile, MappingId, &[LocationId]) -> Result<(), Error>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut unnamed: Vec<Vec<LocationId>> = vec![Vec::new(); profile.mappings().len()];
    let mut is_used = vec![false; unnamed.len()];
    for (id, location) in profile.locations() {
        if let Some(mapping) = location.mapping {
            is_used[mapping.index()] = true;
            if location.lines.is_empty() {
                unnamed[mapping.index()].push(id);
            }
        }
    }
    for (place, unnamed) in unnamed.iter().enumerate() {
        if !is_used[place] {
            continue;
        }
        let id = MappingId::from_index(place);
        let done = work(profile, id, unnamed);
        let is_unnamed = |&&at: &&LocationId| profile.location(at).lines.is_empty();
        let left = unnamed.iter().filter(is_unnamed).count();
        let problem = match done {
            Err(error) => Some(error.to_string()),
            Ok(()) => stripped_program(&profile.mapping(id), id, unnamed.len(), left),
        };
        if let Some(problem) = problem {
            profile.add_comment(&format!("symbols: {problem}"));
            outcome.problems.push(problem);
        }
        outcome.named += unnamed.len() - left;
        let mapping = profile.mapping(id);
        if mapping.file.starts_with('/') {
            outcome.unnamed += left;
        }
        if left == 0 {
            let has = (
                true,
                mapping.has_filenames,
                mapping.has_line_numbers,
                mapping.has_inline_frames,
            );
            profile.set_mapping_flags(id, has);
        }
    }
    outcome
}

/// What to say when the program itself has no names at all. Libraries are often without,
/// and few of a profile's addresses are theirs.
fn stripped_program(
    mapping: &Mapping<'_>,
    id: MappingId,
    wanted: usize,
    left: usize,
) -> Option<String> {
    let is_stripped =
        id.index() == 0 && mapping.file.starts_with('/') && left == wanted && wanted > 0;
    is_stripped.then(|| {
        format!(
            "`{}` has no symbol for any of its {wanted} addresses: it was stripped, so name them \
             from an unstripped copy (`everprof top --binary COPY PROFILE`)",
            mapping.file
        )
    })
}

/// Names these locations of one file.
pub(super) fn name(
    profile: &mut Profile,
    mapped: &Mapped,
    unnamed: &[LocationId],
) -> Result<(), Error> {
    let mut wanted: Vec<(u64, LocationId)> = unnamed
        .iter()
        .filter_map(|&id| Some((mapped.address_of(profile.location(id).address)?, id)))
        .collect();
    wanted.sort_unstable();
    let addresses: Vec<u64> = wanted.iter().map(|&(address, _)| address).collect();
    for (&(_, id), symbol) in wanted.iter().zip(mapped.elf.names(&addresses)?) {
        let Some(symbol) = symbol else { continue };
        let function = profile.add_function(Function {
            name: &demangle(&symbol),
            system_name: &symbol,
            ..Function::default()
        });
        profile.set_lines(
            id,
            &[Line {
                function,
                line: 0,
                column: 0,
            }],
        );
    }
    Ok(())
}
