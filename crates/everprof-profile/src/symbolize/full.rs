//! Names, inlined functions, files and lines from debug information.
//!
//! Context: cold.
//! Source: blazesym. It is asked for addresses of the file's tables, so that it does not
//! matter whether the process that was recorded still runs, or where.

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};

use super::binaries::{Binaries, Mapped};
use super::{Outcome, demangle, names};
use crate::{Error, Function, Line, LocationId, MappingId, Profile};

pub(super) fn run(profile: &mut Profile, binaries: &Binaries) -> Outcome {
    // One for all: it keeps what it has read of a file for the file's other mappings.
    let symbolizer = Symbolizer::builder()
        .enable_auto_reload(false)
        .enable_code_info(true)
        .enable_inlined_fns(true)
        // Both names are wanted.
        .enable_demangling(false)
        .build();
    let mut bare: Vec<Vec<LocationId>> = vec![Vec::new(); profile.mappings().len()];
    for (id, location) in profile.locations() {
        if let Some(mapping) = location.mapping
            && location.lines.iter().all(|line| line.line == 0)
        {
            bare[mapping.index()].push(id);
        }
    }
    names::for_each_mapping(profile, |profile, id, unnamed| {
        let wanted = &bare[id.index()];
        if wanted.is_empty() {
            return Ok(());
        }
        let Some(mapped) = Mapped::open(profile, id, binaries) else {
            return Ok(());
        };
        let mapped = mapped?;
        let resolved = resolve(profile, &symbolizer, &mapped, wanted);
        // What it does not know the symbol table may, as it takes symbols without a type.
        let left: Vec<_> = unnamed
            .iter()
            .copied()
            .filter(|&at| profile.location(at).lines.is_empty())
            .collect();
        names::name(profile, &mapped, &left)?;
        set_flags(profile, id);
        resolved
    })
}

fn resolve(
    profile: &mut Profile,
    symbolizer: &Symbolizer,
    mapped: &Mapped,
    wanted: &[LocationId],
) -> Result<(), Error> {
    let mut wanted: Vec<(u64, LocationId)> = wanted
        .iter()
        .filter_map(|&id| Some((mapped.address_of(profile.location(id).address)?, id)))
        .collect();
    wanted.sort_unstable();
    let addresses: Vec<u64> = wanted.iter().map(|&(address, _)| address).collect();
    let source = Source::Elf(Elf::new(&mapped.path));
    let found = symbolizer
        .symbolize(&source, Input::VirtOffset(&addresses))
        .map_err(|error| {
            Error::symbols(format!(
                "the debug information of `{}` cannot be read",
                mapped.path.display()
            ))
            .with_source(error)
        })?;
    let mut lines = Vec::new();
    for (&(_, id), found) in wanted.iter().zip(&found) {
        let Symbolized::Sym(symbol) = found else {
            continue;
        };
        if symbol.code_info.is_none() && !profile.location(id).lines.is_empty() {
            continue;
        }
        lines.clear();
        push_lines(profile, symbol, &mut lines);
        profile.set_lines(id, &lines);
    }
    Ok(())
}

/// The frames of a symbol, innermost first.
fn push_lines(profile: &mut Profile, symbol: &Sym<'_>, lines: &mut Vec<Line>) {
    for inlined in symbol.inlined.iter().rev() {
        lines.push(line(profile, &inlined.name, inlined.code_info.as_ref()));
    }
    lines.push(line(profile, &symbol.name, symbol.code_info.as_deref()));
}

fn line(profile: &mut Profile, symbol: &str, place: Option<&CodeInfo<'_>>) -> Line {
    let file = place.map(|place| place.to_path().to_string_lossy().into_owned());
    let function = profile.add_function(Function {
        name: &demangle(symbol),
        system_name: symbol,
        file: file.as_deref().unwrap_or_default(),
        start_line: 0,
    });
    Line {
        function,
        line: place.and_then(|place| place.line).map_or(0, i64::from),
        column: place.and_then(|place| place.column).map_or(0, i64::from),
    }
}

/// Files and lines are there when every location has them; inlined functions are known
/// wherever lines are, as both come from the same information.
fn set_flags(profile: &mut Profile, id: MappingId) {
    let (mut functions, mut files, mut numbers) = (true, true, true);
    for (_, location) in profile.locations().filter(|(_, at)| at.mapping == Some(id)) {
        functions &= !location.lines.is_empty();
        for line in location.lines {
            files &= !profile.function(line.function).file.is_empty();
            numbers &= line.line != 0;
        }
    }
    let (files, numbers) = (functions && files, functions && numbers);
    profile.set_mapping_flags(id, (functions, files, numbers, files && numbers));
}
