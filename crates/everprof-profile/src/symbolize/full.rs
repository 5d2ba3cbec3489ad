//! Names, inlined functions, files and lines from debug information.
//!
//! Context: cold.
//! Source: blazesym. It is asked for addresses of the file's tables, so that it does not
//! matter whether the process that was recorded still runs, or where. Where the debug
//! information has lines but bare names, the symbol table names the function that stands
//! at the address, and the file's path the functions inlined there, if it can.

use std::borrow::Cow;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};

use super::binaries::{Binaries, Mapped};
use super::known::{Depth, Known};
use super::{Outcome, demangle, names, origin};
use crate::{Error, Function, Line, LocationId, MappingId, Profile};

pub(super) fn run(profile: &mut Profile, binaries: &Binaries, known: &mut Known) -> Outcome {
    known.begin();
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
            // Other files may say more than those that were asked.
            && !(binaries.is_empty() && profile.is_looked_up(id))
        {
            bare[mapping.index()].push(id);
        }
    }
    names::for_each_mapping(profile, |profile, id, unnamed| {
        let wanted = &bare[id.index()];
        if wanted.is_empty() {
            return Ok(());
        }
        let new = known.fill(Depth::Full, profile, id, wanted);
        if new.locations.is_empty() {
            wanted.iter().for_each(|&at| profile.set_looked_up(at));
            set_flags(profile, id);
            return Ok(());
        }
        let Some(mapped) = Mapped::open(profile, id, binaries) else {
            return Ok(());
        };
        let mapped = mapped?;
        let resolved = resolve(profile, &symbolizer, &mapped, &new.locations);
        if resolved.is_ok() {
            wanted.iter().for_each(|&at| profile.set_looked_up(at));
        }
        // What it does not know the symbol table may, as it takes symbols without a type.
        let left: Vec<_> = unnamed
            .iter()
            .copied()
            .filter(|&at| profile.location(at).lines.is_empty())
            .collect();
        names::name(profile, &mapped, &left)?;
        set_flags(profile, id);
        if resolved.is_ok() {
            known.learn(Depth::Full, profile, id, new);
        }
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
    let whole = whole_names(mapped, &addresses, &found);
    let whole_of = |place: usize| whole.as_ref().ok()?.get(place)?.as_deref();
    let mut lines = Vec::new();
    for (place, (&(_, id), found)) in wanted.iter().zip(&found).enumerate() {
        let Symbolized::Sym(symbol) = found else {
            continue;
        };
        if symbol.code_info.is_none() && !profile.location(id).lines.is_empty() {
            continue;
        }
        lines.clear();
        push_lines(profile, symbol, whole_of(place), &mut lines);
        profile.set_lines(id, &lines);
    }
    whole.map(|_| ())
}

/// What the symbol table says of each address whose function has only a bare name.
fn whole_names(
    mapped: &Mapped,
    addresses: &[u64],
    found: &[Symbolized<'_>],
) -> Result<Vec<Option<String>>, Error> {
    // Both manglings of Rust and that of C++ begin so.
    let is_mangled = |name: &str| name.starts_with("_R") || name.starts_with("_Z");
    let bare_name = |found: &Symbolized<'_>| match found {
        Symbolized::Sym(symbol) if !is_mangled(&symbol.name) => Some(symbol.name.to_string()),
        _ => None,
    };
    let bare: Vec<Option<String>> = found.iter().map(bare_name).collect();
    let asked: Vec<u64> = addresses
        .iter()
        .zip(&bare)
        .filter_map(|(&address, name)| name.is_some().then_some(address))
        .collect();
    let mut symbols = if asked.is_empty() {
        Vec::new()
    } else {
        mapped.elf.names(&asked)?
    }
    .into_iter();
    let whole = |name: Option<String>| {
        let name = name?;
        let symbol = symbols.next()??;
        is_whole_name_of(&symbol, &name).then_some(symbol)
    };
    Ok(bare.into_iter().map(whole).collect())
}

/// The frames of a symbol, innermost first.
fn push_lines(profile: &mut Profile, symbol: &Sym<'_>, whole: Option<&str>, lines: &mut Vec<Line>) {
    for inlined in symbol.inlined.iter().rev() {
        lines.push(line(profile, &inlined.name, inlined.code_info.as_ref()));
    }
    let name = whole.unwrap_or(&symbol.name);
    lines.push(line(profile, name, symbol.code_info.as_deref()));
}

/// Whether a symbol is the mangled name of the function of this bare name. Functions of
/// equal code may be one, with the symbol of another than the one the lines are of.
fn is_whole_name_of(symbol: &str, bare: &str) -> bool {
    let own = origin::bare(bare).unwrap_or(bare);
    // `{closure#0}` and `{async_fn#0}` are `{{closure}}` in the older mangling.
    let own = if own.starts_with('{') {
        "{closure"
    } else {
        own
    };
    let Cow::Owned(name) = demangle(symbol) else {
        return false;
    };
    let goes_on = |c: char| c.is_alphanumeric() || c == '_';
    !own.is_empty()
        && name.match_indices(own).any(|(at, _)| {
            !name[..at].ends_with(goes_on) && !name[at + own.len()..].starts_with(goes_on)
        })
}

fn line(profile: &mut Profile, symbol: &str, place: Option<&CodeInfo<'_>>) -> Line {
    let file = place.map(|place| place.to_path().to_string_lossy().into_owned());
    let file = file.as_deref().unwrap_or_default();
    let name = demangle(symbol);
    let qualified = origin::qualified(&name, file);
    let function = profile.add_function(Function {
        name: qualified.as_deref().unwrap_or(&name),
        system_name: symbol,
        file,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbol_names_a_function_only_if_it_is_its_own() {
        for (symbol, bare, expected) in [
            ("_ZN3app5cache4fill17h0123456789abcdefE", "fill", true),
            (
                "_ZN3app5cache4fill17h0123456789abcdefE",
                "fill<u8, app::T>",
                true,
            ),
            ("_ZN3app5cache4fill17h0123456789abcdefE", "drain", false),
            (
                "_ZN3app4main28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE",
                "{closure#0}",
                true,
            ),
            ("_RNCNvCs1234_3app4main0B3_", "{async_fn#0}", true),
            ("_ZNSt6vectorIiE4pushEv", "push", true),
            (
                "__libc_start_main@@GLIBC_2.34",
                "__libc_start_main_impl",
                false,
            ),
            ("fill", "fill", false),
            ("_ZN3app5cache4fill17h0123456789abcdefE", "ill", false),
            ("_ZN3app5cache4fill17h0123456789abcdefE", "fil", false),
            ("_ZN3app5cache4fill17h0123456789abcdefE", "", false),
        ] {
            assert_eq!(is_whole_name_of(symbol, bare), expected, "{symbol} {bare}");
        }
    }
}
