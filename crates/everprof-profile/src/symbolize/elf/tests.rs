//! Claims about ELF files: whose name an address gets, and what damage does.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, SymbolFlags, SymbolKind, SymbolScope};

use super::*;

/// A file among the temporary ones, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Scratch {
        let path = std::env::temp_dir().join(format!("everprof-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing to do if it is gone already.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Name, address, size, whether others see it.
type Spec = (&'static str, u64, u64, bool);

/// A relocatable file, in which the address of a symbol is its place in its section.
fn object(architecture: Architecture, endian: object::Endianness, specs: &[Spec]) -> Vec<u8> {
    let mut file = Object::new(BinaryFormat::Elf, architecture, endian);
    let text = file.section_id(object::write::StandardSection::Text);
    file.append_section_data(text, &[0; 0x400], 16);
    for &(name, value, size, is_global) in specs {
        file.add_symbol(Symbol {
            name: name.into(),
            value,
            size,
            kind: SymbolKind::Text,
            scope: if is_global {
                SymbolScope::Dynamic
            } else {
                SymbolScope::Compilation
            },
            weak: false,
            section: SymbolSection::Section(text),
            flags: SymbolFlags::None,
        });
    }
    file.write().unwrap()
}

fn names_of(bytes: &[u8], addresses: &[u64]) -> Vec<String> {
    let name = format!("{}-{:p}", addresses.len(), bytes);
    let file = Scratch::new(&name, bytes);
    let elf = ElfFile::open(&file.0).unwrap();
    let names = elf.names(addresses).unwrap();
    names.into_iter().map(Option::unwrap_or_default).collect()
}

const SPECS: [Spec; 7] = [
    ("outer", 0x10, 0x40, true),
    ("inner", 0x20, 0x10, false),
    ("local_alias", 0x80, 0x10, false),
    ("global_alias", 0x80, 0x10, true),
    ("unsized", 0x100, 0, true),
    ("after", 0x180, 0x10, true),
    ("last_unsized", 0x300, 0, false),
];

#[test]
fn nearest_symbol_that_holds_the_address_wins_in_every_class_and_order() {
    for architecture in [
        Architecture::X86_64,
        Architecture::I386,
        Architecture::PowerPc,
    ] {
        let endian = match architecture {
            Architecture::PowerPc => object::Endianness::Big,
            _ => object::Endianness::Little,
        };
        let mut specs = SPECS;
        for _ in 0..2 {
            let found = names_of(
                &object(architecture, endian, &specs),
                &[
                    0, 0xf, 0x10, 0x1f, 0x20, 0x2f, 0x30, 0x4f, 0x50, 0x7f, 0x80, 0x8f,
                ],
            );
            let expected = [
                "",
                "",
                "outer",
                "outer",
                "inner",
                "inner",
                "outer",
                "outer",
                "",
                "",
                "global_alias",
                "global_alias",
            ];
            assert_eq!(found, expected, "{architecture:?}");
            specs.reverse();
        }
    }
}

#[test]
fn symbol_without_size_names_what_follows_up_to_the_next_symbol_or_section() {
    let bytes = object(Architecture::X86_64, object::Endianness::Little, &SPECS);
    let found = names_of(
        &bytes,
        &[0x90, 0x100, 0x17f, 0x180, 0x190, 0x300, 0x3ff, 0x400],
    );
    let expected = [
        "",
        "unsized",
        "unsized",
        "after",
        "",
        "last_unsized",
        "last_unsized",
        "",
    ];
    assert_eq!(found, expected);
}

#[test]
fn equal_addresses_get_equal_names() {
    let bytes = object(Architecture::X86_64, object::Endianness::Little, &SPECS);
    assert_eq!(names_of(&bytes, &[0x10, 0x10, 0x11]), ["outer"; 3]);
}

#[test]
fn damaged_files_give_errors_or_names_but_no_panic() {
    let bytes = object(Architecture::X86_64, object::Endianness::Little, &SPECS);
    for at in 0..bytes.len() {
        for with in [0xff, 0x80, 0x01] {
            let mut damaged = bytes.clone();
            damaged[at] ^= with;
            damaged.truncate(bytes.len() - at % 7);
            let file = Scratch::new("damaged", &damaged);
            if let Ok(elf) = ElfFile::open(&file.0) {
                let _ = elf.names(&[0, 0x10, 0x120, u64::MAX]);
                elf.address_of(u64::MAX);
            }
        }
    }
}

#[test]
fn program_without_symbols_is_called_stripped() {
    let file = Scratch::new(
        "stripped",
        &object(Architecture::X86_64, object::Endianness::Little, &[]),
    );
    let mut profile = crate::Profile::new(&[("n", "count")]);
    for _ in 0..2 {
        let path = file.0.to_str().unwrap();
        let mapping = crate::Mapping {
            limit: 99,
            file: path,
            ..crate::Mapping::default()
        };
        let mapping = profile.add_mapping(mapping);
        profile.add_location(7, Some(mapping));
    }
    let outcome = crate::symbolize::names(&mut profile);
    assert_eq!(
        (outcome.named, outcome.unnamed, outcome.problems.len()),
        (0, 2, 1)
    );
    assert!(outcome.problems[0].contains("no symbol for any of its 1 addresses"));
    assert!(outcome.problems[0].contains("--binary"));
}

#[test]
fn own_program_has_segments_and_names() {
    let elf = ElfFile::open(&std::env::current_exe().unwrap());
    if cfg!(target_os = "linux") {
        let elf = elf.unwrap();
        let code = elf
            .segments
            .iter()
            .find(|segment| segment.is_executable)
            .unwrap();
        assert_eq!(elf.address_of(code.file_offset + 5), Some(code.address + 5));
        assert_eq!(elf.address_of(u64::MAX), None);
    }
}
