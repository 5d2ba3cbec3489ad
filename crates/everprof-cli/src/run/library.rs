//! The preloaded library, carried inside this program.
//!
//! It is put into a memfd and the loader gets `/proc/{our pid}/fd/{n}`. Against
//! a temporary file: nothing is left behind when we are killed, a `noexec`
//! `/tmp` does not matter, and the path holds no colon or space, which
//! `LD_PRELOAD` takes for separators. The path is good while we live, and
//! that is as long as the program does; only a process that outlives both of
//! us (a daemon started under `--children`) meets a dead path if it then
//! executes something, and the loader says so and goes on.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

use everprof_profile::Profile;
use everprof_profile::symbolize::Binaries;
use everprof_profile::trace::PRELOADED;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// The library as built; see `build.rs`.
static IMAGE: &[u8] = include_bytes!(env!("EVERPROF_AGENT_IMAGE"));

/// The library where the loader can find it, as long as this lives.
#[derive(Debug)]
pub(crate) struct Library {
    file: File,
}

impl Library {
    /// Puts the library into memory.
    pub(crate) fn unpack() -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Since Linux 6.3 a system may want it said that code will run from it;
        // older kernels refuse the flag.
        let fd = memfd_create("everprof-agent", flags | MemfdFlags::EXEC)
            .or_else(|_| memfd_create("everprof-agent", flags))?;
        let mut file = File::from(fd);
        file.write_all(IMAGE)?;
        // The program's processes map it: nobody may change it beneath them.
        fcntl_add_seals(
            &file,
            SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW,
        )?;
        Ok(Self { file })
    }

    /// The library, if it was in the program that `profile` is of: the file that was loaded
    /// there is gone. Another everprof's is not this one.
    pub(crate) fn in_profile(profile: &Profile) -> Option<Self> {
        let is_there = profile
            .mappings()
            .any(|(_, mapping)| mapping.file == PRELOADED);
        let library = is_there.then(Self::unpack)?.ok()?;
        let mut binaries = Binaries::new();
        binaries.add(library.path()).ok()?;
        binaries.unused(profile).is_empty().then_some(library)
    }

    /// The path for `LD_PRELOAD`.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// The value of `LD_PRELOAD`: the library before whatever the user preloads.
    pub(crate) fn preload(&self, users: Option<OsString>) -> OsString {
        let mut list = OsString::from(self.path());
        if let Some(users) = users.filter(|users| !users.is_empty()) {
            list.push(":");
            list.push(users);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_path_leads_to_a_shared_object() {
        let library = Library::unpack().unwrap();
        let image = std::fs::read(library.path()).unwrap();
        assert_eq!(&image[..4], b"\x7fELF");
        assert_eq!(image, IMAGE);
    }

    #[test]
    fn the_users_preloads_come_after_ours() {
        let library = Library::unpack().unwrap();
        let path = library.path();
        assert_eq!(library.preload(None), OsString::from(&path));
        assert_eq!(library.preload(Some("".into())), OsString::from(&path));
        assert_eq!(
            library.preload(Some("a.so b.so".into())),
            *format!("{path}:a.so b.so")
        );
    }
}
