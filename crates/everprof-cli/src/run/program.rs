//! Finding the program, and saying beforehand why it cannot be profiled.
//!
//! A library gets into a program by its dynamic loader. Where there is no
//! loader, or it ignores `LD_PRELOAD`, the program would run as if nothing had
//! been asked, and the user would find an empty profile. So the file is read
//! first: [`find`] does what the shell does with `PATH`, [`check`] follows
//! `#!` lines to the binary that the kernel will really run.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::elf;
use super::error::Error;

/// The file that `name` stands for: itself if it has a slash, else the first
/// executable one in `PATH`.
pub(crate) fn find(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, Error> {
    if name.as_bytes().contains(&b'/') {
        return executable(Path::new(name));
    }
    let mut refused = None;
    for directory in std::env::split_paths(path.unwrap_or(OsStr::new("/usr/bin:/bin"))) {
        match executable(&directory.join(name)) {
            Ok(found) => return Ok(found),
            Err(error) if error.is_not_found() => {}
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| Error::not_found(name)))
}

fn executable(path: &Path) -> Result<PathBuf, Error> {
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(Error::not_executable(path, "permission denied"));
        }
        Err(_) => return Err(Error::not_found(path.as_os_str())),
    };
    if metadata.is_dir() {
        return Err(Error::not_executable(path, "it is a directory"));
    }
    if metadata.mode() & 0o111 == 0 || access(path, Access::EXEC_OK).is_err() {
        return Err(Error::not_executable(path, "permission denied"));
    }
    Ok(path.to_owned())
}

/// Whether the library will get into the program at `path`; the binary that will
/// really run.
pub(crate) fn check(path: &Path) -> Result<PathBuf, Error> {
    let mut path = path.to_owned();
    // The kernel follows as many interpreters of interpreters.
    for _ in 0..5 {
        let Ok(file) = File::open(&path) else {
            // Executable but not readable: runs, and takes the library too.
            return Ok(path);
        };
        privileges(
            &path,
            &file.metadata().map_err(|e| Error::unreadable(&path, e))?,
        )?;
        match interpreter(&file).map_err(|e| Error::unreadable(&path, e))? {
            Some(next) if !next.exists() => return Err(Error::no_interpreter(&path, &next)),
            Some(next) => path = next,
            None => {
                elf::check(&path, file)?;
                return Ok(path);
            }
        }
    }
    Err(Error::not_executable(
        &path,
        "too many levels of `#!` interpreters",
    ))
}

/// The loader ignores `LD_PRELOAD` paths in a program that gains rights.
fn privileges(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    let mode = metadata.permissions().mode();
    let set_uid = mode & 0o4000 != 0 && metadata.uid() != rustix::process::getuid().as_raw();
    let set_gid = mode & 0o2010 == 0o2010 && metadata.gid() != rustix::process::getgid().as_raw();
    if set_uid || set_gid {
        return Err(Error::privileged(
            path,
            if set_uid { "set-uid" } else { "set-gid" },
        ));
    }
    let mut value = [0_u8; 64];
    let capabilities = rustix::fs::getxattr(path, "security.capability", &mut value).is_ok();
    if capabilities && !rustix::process::geteuid().is_root() {
        return Err(Error::privileged(path, "a holder of file capabilities"));
    }
    Ok(())
}

/// The interpreter that a `#!` line names.
fn interpreter(file: &File) -> io::Result<Option<PathBuf>> {
    // The kernel reads 256 bytes of the line.
    let mut line = Vec::new();
    BufReader::new(file.take(256)).read_until(b'\n', &mut line)?;
    let Some(rest) = line.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let word = rest
        .split(|byte| byte.is_ascii_whitespace())
        .find(|word| !word.is_empty())
        .unwrap_or_default();
    Ok((!word.is_empty()).then(|| OsString::from_vec(word.to_vec()).into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(directory: &tempfile::TempDir, name: &str, contents: &[u8], mode: u32) -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_name_is_looked_up_in_path_and_a_path_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let tool = file(&directory, "tool", b"", 0o755);
        file(&directory, "data", b"", 0o644);
        let path = Some(directory.path().as_os_str());
        assert_eq!(find(OsStr::new("tool"), path).unwrap(), tool);
        assert!(find(OsStr::new("tol"), path).unwrap_err().is_not_found());
        assert!(!find(OsStr::new("data"), path).unwrap_err().is_not_found());
        assert!(find(OsStr::new("./tool"), path).unwrap_err().is_not_found());
        assert!(
            !find(directory.path().as_os_str(), path)
                .unwrap_err()
                .is_not_found()
        );
    }

    #[test]
    fn interpreters_are_read_as_the_kernel_reads_them() {
        let directory = tempfile::tempdir().unwrap();
        let read = |text: &[u8]| {
            interpreter(&File::open(file(&directory, "script", text, 0o755)).unwrap()).unwrap()
        };
        assert_eq!(read(b"#!/bin/sh\nls"), Some("/bin/sh".into()));
        assert_eq!(
            read(b"#! /usr/bin/env python3"),
            Some("/usr/bin/env".into())
        );
        assert_eq!(read(b"#!\n"), None);
        assert_eq!(read(b"ls"), None);
        assert_eq!(read(b""), None);
    }

    #[test]
    fn an_interpreter_that_names_itself_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("loop");
        let text = format!("#!{}\n", path.display());
        file(&directory, "loop", text.as_bytes(), 0o755);
        assert!(
            check(&path)
                .unwrap_err()
                .to_string()
                .contains("interpreters")
        );
    }

    #[test]
    fn a_set_uid_program_of_another_user_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory, "sudo", b"#!/bin/sh\n", 0o755);
        let own = path.metadata().unwrap();
        assert!(privileges(&path, &own).is_ok());
        // Ours with the bit set gains nothing, so the loader does not mind.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o4755)).unwrap();
        assert!(privileges(&path, &path.metadata().unwrap()).is_ok());
    }
}
