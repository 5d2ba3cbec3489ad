//! Modules: what is loaded where, and what was.
//!
//! Context: signal, except [`refresh`], which is cold: it takes the loader's lock.
//! Invariant: a record is never moved or freed, so that an address of a module
//! that has been unloaded since can still be named.
//!
//! Two questions are answered. A walk asks which tables cover an address *now*:
//! that is put to the C library (`loaded::find`; glibc's `_dl_find_object` takes no
//! lock), or to the records where it cannot tell. A profile asks what once stood
//! where: that is answered from the records ([`for_each`]), which [`refresh`] makes
//! of all modules, and a walk of each new module that it comes through.

mod records;

#[cfg_attr(
    not(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64"),
        not(miri)
    )),
    path = "modules/loaded_noop.rs"
)]
pub(crate) mod loaded;

pub use loaded::refresh;

/// One module, loaded now or once.
#[derive(Clone, Copy, Debug)]
pub struct ModuleInfo<'a> {
    /// First address of its code.
    pub start: u64,
    /// First address behind its code.
    pub limit: u64,
    /// Where in the file the byte at `start` stands.
    pub file_offset: u64,
    /// Addresses minus the addresses written in the file.
    pub bias: u64,
    /// GNU build id; empty if it has none.
    pub build_id: &'a [u8],
    /// Path, as the loader knows it.
    pub path: &'a [u8],
    /// Not found gone by the last [`refresh`].
    pub loaded: bool,
}

/// Calls `visit` with every module known, in the order they became so.
pub fn for_each(mut visit: impl FnMut(&ModuleInfo<'_>)) {
    for record in records::RECORDS.iter() {
        visit(&record.info());
    }
}

/// How many modules are known. Grows only.
#[must_use]
pub fn count() -> usize {
    records::RECORDS.count()
}

/// Modules that could not be recorded for want of room: their addresses have no name.
#[must_use]
pub fn lost() -> u64 {
    records::RECORDS.lost()
}
