//! What the C library's loader says without taking a lock.
//!
//! Context: signal. Invariant: it is asked about addresses only whose module cannot
//! go meanwhile, so that what it points to stays. Source: glibc manual, "Dynamic Linker Introspection":
//! `_dl_find_object` (since 2.35) is async-signal-safe and takes no lock.

use core::ffi::{CStr, c_char, c_int, c_void};

use crate::stack::platform;

/// A loaded module, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) start: u64,
    pub(crate) limit: u64,
    /// Address of its `.eh_frame_hdr`, 0 if it has none.
    pub(crate) unwind_header: u64,
    pub(crate) link_map: u64,
}

impl Object {
    /// Addresses minus the addresses written in the file.
    pub(crate) fn bias(&self) -> u64 {
        self.link_map().map_or(self.start, |map| map.l_addr)
    }

    /// As the loader knows it; empty for the program itself.
    pub(crate) fn path(&self) -> &[u8] {
        match self.link_map() {
            Some(map) if !map.l_name.is_null() => {
                // SAFETY: the loader's string, which lives as long as the module.
                unsafe { CStr::from_ptr(map.l_name) }.to_bytes()
            }
            _ => &[],
        }
    }

    fn link_map(&self) -> Option<&LinkMap> {
        // SAFETY: null, or the link map of a loaded module. Walks ask only about modules
        // that have a frame on this very stack, so that none can go meanwhile.
        unsafe { (self.link_map as *const LinkMap).as_ref() }
    }
}

/// The public beginning of `struct link_map` (`<link.h>`).
#[repr(C)]
struct LinkMap {
    l_addr: u64,
    l_name: *const c_char,
}

/// `struct dl_find_object` (`<dlfcn.h>`), without the fields that neither x86_64 nor
/// aarch64 has.
#[repr(C)]
struct FindObject {
    flags: u64,
    map_start: u64,
    map_end: u64,
    link_map: u64,
    eh_frame: u64,
    reserved: [u64; 7],
}

type FindObjectFn = unsafe extern "C" fn(*mut c_void, *mut FindObject) -> c_int;

/// musl's `dlclose` does nothing (musl, "Functional differences from glibc").
pub(crate) const NEVER_UNLOADS: bool = cfg!(target_env = "musl");

/// Whether the loader can be asked at all.
pub(crate) fn answers() -> bool {
    platform::find_object_address() != 0
}

/// The module that `address` is in.
pub(crate) fn object(address: u64) -> Option<Object> {
    let function = platform::find_object_address();
    if function == 0 {
        return None;
    }
    // SAFETY: the address of the symbol `_dl_find_object`, not null; this is its type.
    let function = unsafe { core::mem::transmute::<u64, FindObjectFn>(function) };
    let mut found = FindObject {
        flags: 0,
        map_start: 0,
        map_end: 0,
        link_map: 0,
        eh_frame: 0,
        reserved: [0; 7],
    };
    // SAFETY: takes any address; writes the structure.
    let failed = unsafe { function(address as *mut c_void, &raw mut found) };
    (failed == 0).then_some(Object {
        start: found.map_start,
        limit: found.map_end,
        unwind_header: found.eh_frame,
        link_map: found.link_map,
    })
}
