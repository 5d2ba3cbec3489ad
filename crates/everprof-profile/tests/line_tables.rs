//! Names where the debug information has lines but bare names only: a program that is
//! compiled as `debug = "line-tables-only"` compiles it, with a crate in a directory that
//! is called as ours are.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use everprof_profile::{Location, Mapping, Profile, symbolize};
use object::read::elf::{ElfFile64, FileHeader, SectionHeader, Sym};
use object::{Endianness, elf};

const OURS: &str = "
#[inline(always)]
pub fn due(n: usize) -> usize { std::hint::black_box(n) + 1 }
";

const PROGRAM: &str = r"
struct Store;

impl Store {
    #[inline(never)]
    fn fill(n: usize) -> Vec<u64> {
        Vec::with_capacity(n)
    }

    #[inline(never)]
    fn count(n: usize) -> usize {
        everprof::alloc::due(n)
    }
}

fn main() {
    let n = std::env::args().count();
    println!(`{} {}`, Store::fill(n).capacity(), Store::count(n));
}
";

#[test]
fn symbol_names_the_function_and_files_the_inlined_ones() {
    let program = Compiled::new("names");
    let mut profile = program.profile("fill");
    let outcome = symbolize::full(&mut profile);
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    let mut allocates = 0;
    for (_, location) in profile.locations() {
        let frames = frames(&profile, location);
        let (name, file, _) = frames.last().unwrap();
        assert_eq!(name, "app::Store::fill");
        assert!(file.ends_with("/app.rs"), "{file}");
        let names: Vec<&str> = frames.iter().map(|(name, ..)| name.as_str()).collect();
        if names.contains(&"alloc::alloc::alloc") {
            allocates += 1;
            let at = |name| names.iter().position(|&n| n == name);
            assert!(at("alloc::alloc::alloc") < at("alloc::vec::with_capacity"));
            let line = PROGRAM.lines().nth(frames.last().unwrap().2 - 1).unwrap();
            assert!(line.contains("Vec::with_capacity(n)"), "{line}");
        }
    }
    assert!(allocates > 0, "{:?}", all_frames(&profile));
}

#[test]
fn inlined_frames_of_ours_are_known_by_their_file() {
    let program = Compiled::new("trim");
    let mut profile = program.profile("count");
    assert!(symbolize::full(&mut profile).problems.is_empty());
    let is_ours_at_leaf = |frames: &Vec<(String, String, usize)>| {
        frames[0].0 == "everprof::alloc::due" && frames[1].0 == "app::Store::count"
    };
    assert!(all_frames(&profile).iter().any(is_ours_at_leaf));
    profile.trim();
    let leaves = all_frames(&profile);
    let is_program = |frames: &Vec<(String, String, usize)>| frames[0].0 != "everprof::alloc::due";
    assert!(leaves.iter().all(is_program), "{leaves:?}");
}

fn all_frames(profile: &Profile) -> Vec<Vec<(String, String, usize)>> {
    profile
        .locations()
        .map(|(_, location)| frames(profile, location))
        .collect()
}

/// Name, file and line of each frame.
fn frames(profile: &Profile, location: Location<'_>) -> Vec<(String, String, usize)> {
    let frame = |line: &everprof_profile::Line| {
        let function = profile.function(line.function);
        let line = usize::try_from(line.line).unwrap();
        (function.name.to_owned(), function.file.to_owned(), line)
    };
    location.lines.iter().map(frame).collect()
}

/// The program in a directory of its own.
struct Compiled(PathBuf);

impl Compiled {
    fn new(name: &str) -> Compiled {
        let name = format!("everprof-lines-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let source = directory.join("everprof-0.1.0/src");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("lib.rs"), "pub mod alloc;").unwrap();
        fs::write(source.join("alloc.rs"), OURS).unwrap();
        fs::write(directory.join("app.rs"), PROGRAM.replace('`', "\"")).unwrap();
        let compiled = Compiled(directory);
        compiled.rustc(&[
            "--crate-type=rlib",
            "everprof-0.1.0/src/lib.rs",
            "--crate-name=everprof",
        ]);
        compiled.rustc(&["app.rs", "--extern=everprof=libeverprof.rlib"]);
        compiled
    }

    fn rustc(&self, arguments: &[&str]) {
        let rustc = Path::new(env!("CARGO")).with_file_name("rustc");
        let status = Command::new(rustc)
            .current_dir(&self.0)
            .args(["--edition=2024", "-O", "-Cdebuginfo=line-tables-only"])
            .args(arguments)
            .status();
        assert!(status.unwrap().success());
    }

    /// A sample for each byte of a function, as if the file were mapped at zero.
    fn profile(&self, function: &str) -> Profile {
        let path = self.0.join("app");
        let mut profile = Profile::new(&[("n", "count")]);
        let mapping = profile.add_mapping(Mapping {
            limit: u64::MAX,
            file: path.to_str().unwrap(),
            ..Mapping::default()
        });
        for at in file_offsets(&fs::read(&path).unwrap(), function) {
            let id = profile.add_location(at, Some(mapping));
            profile.push_sample(&[id], &[1], &[]);
        }
        profile
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where the code of the `Store`'s function stands in the file.
fn file_offsets(bytes: &[u8], function: &str) -> std::ops::Range<u64> {
    let file = ElfFile64::<Endianness>::parse(bytes).unwrap();
    let endian = file.endian();
    let header = file.elf_header();
    let sections = header.sections(endian, bytes).unwrap();
    let symbols = sections.symbols(endian, bytes, elf::SHT_SYMTAB).unwrap();
    let expected = format!("app::Store::{function}");
    let symbol = symbols
        .iter()
        .find(|symbol| {
            let name = symbol.name(endian, symbols.strings()).unwrap();
            symbolize::demangle(std::str::from_utf8(name).unwrap()) == *expected
        })
        .unwrap();
    let section = sections
        .section(object::SectionIndex(symbol.st_shndx(endian).0.into()))
        .unwrap();
    let start = symbol.st_value(endian) - section.sh_addr(endian) + section.sh_offset(endian);
    start..start + symbol.st_size(endian)
}
