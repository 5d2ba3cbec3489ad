//! Names of this very program: from its symbol table, its debug information, and through
//! the wrong file.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use everprof_profile::proc_maps::{self, Map};
use everprof_profile::symbolize::{self, Binaries, Known, Outcome};
use everprof_profile::{Location, LocationId, Mapping, Profile};

#[inline(never)]
fn outermost(n: u64) -> u64 {
    black_box(n) + inlined(n)
}

/// Gives the address of the instruction after a call made in here.
#[inline(always)]
fn inlined(n: u64) -> u64 {
    black_box(innermost(n))
}

#[inline(never)]
fn innermost(n: u64) -> u64 {
    black_box(n * 7)
}

fn maps() -> Vec<Map> {
    proc_maps::parse(fs::read("/proc/self/maps").unwrap())
}

/// This process's mappings of code, in a profile.
fn profile(build_id: &str) -> Profile {
    let mut profile = Profile::new(&[("n", "count")]);
    for map in maps().iter().filter(|map| map.permissions.execute) {
        profile.add_mapping(Mapping {
            start: map.start,
            limit: map.limit,
            offset: map.offset,
            file: &map.path_lossy(),
            build_id,
            ..Mapping::default()
        });
    }
    profile
}

fn locate(profile: &mut Profile, address: u64) -> LocationId {
    let mapping = profile
        .mappings()
        .find(|(_, mapping)| (mapping.start..mapping.limit).contains(&address))
        .map(|(id, _)| id);
    profile.add_location(address, mapping)
}

fn functions(profile: &Profile, location: Location<'_>) -> Vec<String> {
    let name = |line: &everprof_profile::Line| profile.function(line.function).name.to_owned();
    location.lines.iter().map(name).collect()
}

#[test]
fn names_come_from_the_symbol_table() {
    assert_eq!(outermost(6), 48);
    let mut profile = profile("");
    let at = [outermost as fn(u64) -> u64, innermost]
        .map(|function| locate(&mut profile, function as usize as u64 + 3));
    let nowhere = locate(&mut profile, 3);
    let outcome = symbolize::names(&mut profile);
    assert_eq!(outcome.named, 2, "{:?}", outcome.problems);
    assert_eq!(
        functions(&profile, profile.location(at[0])),
        ["symbolize::outermost"]
    );
    assert_eq!(
        functions(&profile, profile.location(at[1])),
        ["symbolize::innermost"]
    );
    assert!(profile.location(nowhere).lines.is_empty());
    let function = profile.function(profile.location(at[0]).lines[0].function);
    assert!(function.system_name.starts_with("_ZN") || function.system_name.starts_with("_R"));
    let mapping = profile.mapping(profile.location(at[0]).mapping.unwrap());
    assert!(mapping.has_functions && !mapping.has_line_numbers && !mapping.has_inline_frames);
}

#[test]
fn named_locations_are_left_alone() {
    let mut profile = profile("");
    let at = locate(
        &mut profile,
        outermost as fn(u64) -> u64 as usize as u64 + 3,
    );
    symbolize::names(&mut profile);
    let again = symbolize::names(&mut profile);
    assert_eq!((again.named, again.unnamed), (0, 0));
    assert_eq!(profile.location(at).lines.len(), 1);
}

#[test]
fn full_gives_inlines_files_and_lines() {
    let mut profile = profile("");
    // Every byte of the function is a location: one of them is in the inlined part.
    let start = outermost as fn(u64) -> u64 as usize as u64;
    // Ten instructions of x86_64 fit into 40 bytes; those of aarch64 have 4 each. Not more
    // than the function has: what lies behind it may be nobody's.
    let bytes = if cfg!(target_arch = "aarch64") {
        160
    } else {
        40
    };
    let ids: Vec<_> = (0..bytes)
        .map(|byte| locate(&mut profile, start + byte))
        .collect();
    symbolize::names(&mut profile);
    let outcome = symbolize::full(&mut profile);
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    let lines = |id: &LocationId| functions(&profile, profile.location(*id));
    let found = ids
        .iter()
        .find(|id| lines(id).len() == 2 && lines(id)[0] == "symbolize::inlined");
    let location = profile.location(*found.expect("a part of `outermost` is inlined"));
    assert_eq!(functions(&profile, location)[1], "symbolize::outermost");
    let source = include_str!("symbolize.rs");
    let text_of = |line: &everprof_profile::Line| {
        assert!(
            profile
                .function(line.function)
                .file
                .ends_with("tests/symbolize.rs")
        );
        source.lines().nth(line.line as usize - 1).unwrap()
    };
    assert!(text_of(&location.lines[0]).contains("black_box(innermost(n))"));
    assert!(text_of(&location.lines[1]).contains("inlined(n)"));
}

#[test]
fn other_build_id_leaves_addresses_raw_and_says_so() {
    for symbolize in [symbolize::names, symbolize::full] {
        let mut profile = profile("00112233");
        let at = locate(
            &mut profile,
            outermost as fn(u64) -> u64 as usize as u64 + 3,
        );
        let outcome = symbolize(&mut profile);
        assert_eq!((outcome.named, outcome.unnamed), (0, 1));
        assert!(profile.location(at).lines.is_empty());
        assert!(!profile.mappings().any(|(_, mapping)| mapping.has_functions));
        let comment = profile.comments().next().unwrap();
        assert!(comment.starts_with("symbols: `/"), "{comment}");
        assert!(comment.contains("but `00112233` was recorded"), "{comment}");
    }
}

#[test]
fn missing_file_and_no_elf_file_are_said() {
    for (file, says) in [
        ("/nowhere/at/all", "No such file"),
        ("/dev/zero", "not a regular file"),
        (
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
            "not an ELF file",
        ),
    ] {
        let mut profile = Profile::new(&[("n", "count")]);
        let mapping = profile.add_mapping(Mapping {
            limit: 99,
            file,
            ..Mapping::default()
        });
        profile.add_location(7, Some(mapping));
        let outcome = symbolize::names(&mut profile);
        assert_eq!(outcome.problems.len(), 1);
        assert!(
            outcome.problems[0].contains(says),
            "{}",
            outcome.problems[0]
        );
    }
}

#[test]
fn mapping_of_no_file_is_no_problem() {
    let mut profile = Profile::new(&[("n", "count")]);
    for file in ["", "[vdso]", "[heap]"] {
        let mapping = profile.add_mapping(Mapping {
            limit: 99,
            file,
            ..Mapping::default()
        });
        profile.add_location(7, Some(mapping));
    }
    let outcome = symbolize::full(&mut profile);
    assert_eq!(
        (outcome.named, outcome.unnamed, outcome.problems.len()),
        (0, 0, 0)
    );
}

#[test]
fn given_file_is_taken_in_place_of_the_recorded_path() {
    let exe = std::env::current_exe().unwrap();
    let name = exe.file_name().unwrap().to_str().unwrap();
    let mut profile = profile("");
    let at = locate(
        &mut profile,
        outermost as fn(u64) -> u64 as usize as u64 + 3,
    );
    // As if the recording came from elsewhere.
    let id = profile.location(at).mapping.unwrap();
    let mapping = profile.mapping(id);
    let elsewhere = format!("/elsewhere/{name}");
    let moved = Mapping {
        start: mapping.start,
        limit: mapping.limit,
        offset: mapping.offset,
        file: &elsewhere,
        ..Mapping::default()
    };
    profile.set_mapping(id, moved);
    let mut binaries = Binaries::new();
    binaries.add(&exe).unwrap();
    assert!(binaries.unused(&profile).is_empty());
    assert_eq!(binaries.unused(&Profile::new(&[])), [Path::new(&exe)]);
    assert_eq!(symbolize::names_from(&mut profile, &binaries).named, 1);
    assert_eq!(
        functions(&profile, profile.location(at)),
        ["symbolize::outermost"]
    );
    assert!(
        Binaries::new()
            .add(PathBuf::from("/nowhere/at/all"))
            .unwrap_err()
            .is_io()
    );
}

/// All that a profile says of its locations and mappings.
fn told(profile: &Profile) -> Vec<String> {
    let lines = |location: Location<'_>| {
        let line = |line: &everprof_profile::Line| {
            let function = profile.function(line.function);
            format!("{function:?} {} {}", line.line, line.column)
        };
        location.lines.iter().map(line).collect::<Vec<_>>()
    };
    let locations = profile.locations();
    locations
        .map(|(_, location)| format!("{:x} {:?}", location.address, lines(location)))
        .chain(
            profile
                .mappings()
                .map(|(_, mapping)| format!("{mapping:?}")),
        )
        .chain(profile.comments().map(str::to_owned))
        .collect()
}

/// Addresses of this program, some of them in its own functions, as if it lay in `file`.
fn profile_of(file: &Path) -> Profile {
    let mut profile = profile("");
    let at = outermost as fn(u64) -> u64 as usize as u64;
    let own = locate(&mut profile, at);
    let id = profile.location(own).mapping.unwrap();
    for byte in 1..40 {
        locate(&mut profile, at + byte);
    }
    for main in (0..4000).step_by(16) {
        let start = profile.mapping(id).start;
        locate(&mut profile, start + main);
    }
    let (start, limit, offset) = {
        let mapping = profile.mapping(id);
        (mapping.start, mapping.limit, mapping.offset)
    };
    let moved = Mapping {
        start,
        limit,
        offset,
        file: file.to_str().unwrap(),
        ..Mapping::default()
    };
    profile.set_mapping(id, moved);
    profile
}

type Naming = fn(&mut Known, &mut Profile) -> Outcome;
const NAMINGS: [Naming; 2] = [Known::names, Known::full];

fn copy_of_this_program(name: &str) -> PathBuf {
    let copy = std::env::temp_dir().join(format!("everprof-{name}-{}", std::process::id()));
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    copy
}

#[test]
fn what_is_known_is_told_as_the_file_told_it() {
    let copy = copy_of_this_program("known");
    let profiles = NAMINGS.map(|naming| {
        let mut known = Known::new(8 << 20);
        let mut profiles = [(); 3].map(|()| profile_of(&copy));
        let outcomes = profiles
            .each_mut()
            .map(|profile| naming(&mut known, profile));
        for (profile, outcome) in profiles.iter().zip(&outcomes) {
            assert_eq!(told(profile), told(&profiles[0]));
            assert_eq!(
                (outcome.named, outcome.unnamed, &outcome.problems),
                (
                    outcomes[0].named,
                    outcomes[0].unnamed,
                    &outcomes[0].problems
                )
            );
        }
        assert!(outcomes[0].named > 40, "{outcomes:?}");
        assert!(known.bytes() > 0);
        profiles
    });
    // What names say is not taken for all that there is.
    let mut known = Known::new(8 << 20);
    for (naming, [expected, ..]) in NAMINGS.iter().zip(&profiles) {
        let mut profile = profile_of(&copy);
        naming(&mut known, &mut profile);
        assert_eq!(told(&profile), told(expected));
    }
    fs::remove_file(copy).unwrap();
}

#[test]
fn program_has_its_names_while_another_file_or_none_has_its_place() {
    let at = outermost as fn(u64) -> u64 as usize as u64 + 3;
    let mut foreign = profile("00");
    locate(&mut foreign, at);
    let outcome = symbolize::names(&mut foreign);
    let told = outcome.problems.iter().find_map(|problem| {
        let (_, id) = problem.split_once("has build id `")?;
        Some(id.split_once('`')?.0.to_owned())
    });
    // Static programs may have none.
    let Some(own) = told.filter(|id| !id.is_empty()) else {
        return;
    };
    let maps = maps();
    let map = maps.iter().find(|map| (map.start..map.limit).contains(&at));
    let map = map.unwrap();
    for (build_id, named) in [(&*own, 1), ("00", 0), ("", 0)] {
        for naming in NAMINGS {
            let mut profile = Profile::new(&[("n", "count")]);
            profile.add_mapping(Mapping {
                start: map.start,
                limit: map.limit,
                offset: map.offset,
                file: "/no/such/program (deleted)",
                build_id,
                ..Mapping::default()
            });
            locate(&mut profile, at);
            let mut known = Known::new(0).with_program("/proc/self/exe");
            let outcome = naming(&mut known, &mut profile);
            assert_eq!(outcome.named, named, "{build_id}: {outcome:?}");
            assert_eq!(outcome.problems.is_empty(), named == 1, "{outcome:?}");
        }
    }
}

#[test]
fn file_without_a_build_id_is_read_again_when_it_has_changed() {
    let copy = copy_of_this_program("changed");
    for naming in NAMINGS {
        let mut known = Known::new(8 << 20);
        assert!(
            naming(&mut known, &mut profile_of(&copy))
                .problems
                .is_empty()
        );
        let program = fs::read(&copy).unwrap();
        fs::write(&copy, "no program").unwrap();
        let mut profile = profile_of(&copy);
        let outcome = naming(&mut known, &mut profile);
        assert_eq!(outcome.problems.len(), 1, "{outcome:?}");
        // What was wrong once is asked for again.
        fs::write(&copy, program).unwrap();
        let outcome = naming(&mut known, &mut profile_of(&copy));
        assert!(outcome.problems.is_empty(), "{outcome:?}");
    }
    fs::remove_file(copy).unwrap();
}

#[test]
fn file_is_not_read_where_all_is_known_of_its_build_id() {
    let copy = copy_of_this_program("gone");
    for naming in NAMINGS {
        let mut known = Known::new(8 << 20);
        let with_id = |id: &str| {
            let mut profile = profile_of(&copy);
            let ids: Vec<_> = profile.mappings().map(|(id, _)| id).collect();
            for of in ids {
                let mapping = profile.mapping(of);
                if mapping.file == copy.to_str().unwrap() {
                    let (start, limit, offset) = (mapping.start, mapping.limit, mapping.offset);
                    let file = mapping.file.to_owned();
                    let mapping = Mapping {
                        start,
                        limit,
                        offset,
                        file: &file,
                        build_id: id,
                        ..Mapping::default()
                    };
                    profile.set_mapping(of, mapping);
                }
            }
            profile
        };
        let outcome = naming(&mut known, &mut with_id("00112233"));
        // Told by the file itself, in the complaint.
        let own = outcome.problems[0].split('`').nth(3).unwrap().to_owned();
        let outcome = naming(&mut known, &mut with_id(&own));
        assert!(outcome.problems.is_empty(), "{outcome:?}");
        let gone = copy.with_extension("elsewhere");
        fs::rename(&copy, &gone).unwrap();
        let mut profile = with_id(&own);
        let again = naming(&mut known, &mut profile);
        assert!(again.problems.is_empty() && again.named == outcome.named);
        fs::rename(&gone, &copy).unwrap();
    }
    fs::remove_file(copy).unwrap();
}

#[test]
fn no_more_is_kept_than_was_allowed_and_names_are_right_all_the_same() {
    let exe = std::env::current_exe().unwrap();
    for naming in NAMINGS {
        let mut expected = profile_of(&exe);
        naming(&mut Known::new(0), &mut expected);
        for most in [0, 1, 1000, 10_000, 30_000] {
            let mut known = Known::new(most);
            for _ in 0..3 {
                let mut profile = profile_of(&exe);
                naming(&mut known, &mut profile);
                assert_eq!(told(&profile), told(&expected));
                assert!(known.bytes() <= most, "{} {most}", known.bytes());
            }
        }
    }
}
