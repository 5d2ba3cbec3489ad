//! What an executable's headers say about preloading.

use std::fs::File;
use std::path::Path;

use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Architecture, Endianness, FileKind, Object, elf};

use super::error::Error;

/// The machine this program, and so the library inside it, was built for.
#[cfg(target_arch = "x86_64")]
const MACHINE: (elf::Machine, &str) = (elf::EM_X86_64, "x86-64");
#[cfg(target_arch = "aarch64")]
const MACHINE: (elf::Machine, &str) = (elf::EM_AARCH64, "aarch64");

/// Part of the name of the loader that belongs to the library's C library.
const LOADER: &str = if cfg!(target_env = "musl") {
    "ld-musl"
} else {
    "ld-linux"
};

/// Whether the library can be preloaded into the executable in `file`.
pub(crate) fn check(path: &Path, file: File) -> Result<(), Error> {
    let cache = ReadCache::new(file);
    match FileKind::parse(&cache) {
        Ok(FileKind::Elf64) => {}
        Ok(FileKind::Elf32) => return Err(Error::other_machine(path, "32-bit", MACHINE.1)),
        _ => {
            return Err(Error::not_executable(
                path,
                "it is neither an ELF binary nor a `#!` script",
            ));
        }
    }
    let damaged = |error| Error::damaged(path, error);
    let header = elf::FileHeader64::<Endianness>::parse(&cache).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    if header.e_machine(endian) != MACHINE.0 {
        let file = object::File::parse(&cache).map_err(damaged)?;
        return Err(Error::other_machine(
            path,
            machine(file.architecture()),
            MACHINE.1,
        ));
    }
    let mut loader = None;
    for segment in header.program_headers(endian, &cache).map_err(damaged)? {
        loader = loader.or(segment.interpreter(endian, &cache).map_err(damaged)?);
    }
    let Some(loader) = loader else {
        return Err(Error::static_binary(path));
    };
    let loader = String::from_utf8_lossy(loader);
    if !loader
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .contains(LOADER)
    {
        return Err(Error::other_libc(path, &loader));
    }
    Ok(())
}

fn machine(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "x86-64",
        Architecture::Aarch64 => "aarch64",
        Architecture::Riscv64 => "riscv64",
        Architecture::PowerPc64 => "powerpc64",
        Architecture::S390x => "s390x",
        _ => "another machine's",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn checked(contents: &[u8]) -> Result<(), Error> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, contents).unwrap();
        check(file.path(), file.reopen().unwrap())
    }

    #[test]
    fn this_very_test_is_an_ordinary_program() {
        let path = std::env::current_exe().unwrap();
        check(&path, File::open(&path).unwrap()).unwrap();
    }

    #[test]
    fn headers_of_other_machines_are_told_apart() {
        let mut bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        bytes[18..20].copy_from_slice(&elf::EM_RISCV.0.to_le_bytes());
        assert!(checked(&bytes).unwrap_err().to_string().contains("riscv64"));
        bytes[4] = elf::ELFCLASS32.0;
        assert!(checked(&bytes).unwrap_err().to_string().contains("32-bit"));
    }

    #[test]
    fn text_and_torn_headers_are_refused_not_trusted() {
        assert!(
            checked(b"echo hello\n")
                .unwrap_err()
                .to_string()
                .contains("neither")
        );
        assert!(checked(b"").is_err());
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for len in [5, 16, 40, 64, 100] {
            assert!(checked(&bytes[..len]).is_err(), "{len} bytes");
        }
    }
}
