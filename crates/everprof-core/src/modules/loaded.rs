//! Which module is loaded at an address now.
//!
//! Context: signal; [`refresh`] is cold. Twin of `loaded_noop.rs`.
//! Invariant: a walk reads nothing of a module unless something keeps it loaded
//! meanwhile: a frame of it on this very stack, or its being permanent.

use core::ffi::{CStr, c_int, c_void};
use core::slice;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub(crate) use elf::Headers;
pub(crate) use loader::{Object, answers as can_tell, object as object_now};

use super::records::{Description, RECORDS};
use crate::stack::{backend::probe, platform};

mod elf;
mod loader;

/// A module that has a frame on this thread's stack, or can never go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) start: u64,
    pub(crate) limit: u64,
    bias: u64,
    object: Option<Object>,
}

impl Found {
    fn headers(&self) -> Option<Headers<'_>> {
        // SAFETY: the loader names only loaded modules, whose first page is mapped; it
        // stays while the frame that led here is on the stack (type's promise). For
        // records, `recorded` has looked.
        let here = unsafe { Headers::at(self.start, self.bias) };
        here.or_else(|| self.headers_apart())
    }

    /// Those of a module in which segments stand apart: where a page between two of them is
    /// nobody's, glibc tells of the one segment that it was asked for.
    #[cold]
    fn headers_apart(&self) -> Option<Headers<'_>> {
        let link_map = self.object?.link_map;
        let is_first_page = |object: Object| {
            object.link_map == link_map && object.limit - self.bias >= elf::FIRST_PAGE as u64
        };
        if loader::object(self.bias).is_some_and(is_first_page) {
            // SAFETY: that page is of a segment of this module, and stays as in `headers`.
            return unsafe { Headers::at(self.bias, self.bias) };
        }
        // A program that stands where it was linked to.
        // SAFETY: `getauxval` reads a vector that is there from the start.
        let auxiliary = |kind| unsafe { libc::getauxval(kind) };
        if !(self.start..self.limit).contains(&auxiliary(libc::AT_ENTRY)) {
            return None;
        }
        let first = auxiliary(libc::AT_PHDR) as *const libc::Elf64_Phdr;
        let count = usize::try_from(auxiliary(libc::AT_PHNUM)).ok()?;
        if first.is_null() || !first.is_aligned() {
            return None;
        }
        // SAFETY: the program's own headers, which the kernel has mapped for its loader, and
        // which stay.
        let segments = unsafe { slice::from_raw_parts(first, count) };
        Some(Headers::new(self.bias, segments))
    }

    /// Address of `.eh_frame_hdr`, and the segment that holds it.
    pub(crate) fn tables(&self) -> Option<(u64, &[u8])> {
        self.headers()?.unwind_tables()
    }

    /// Differs between any two modules that may follow one another in one place. Never 0.
    pub(crate) fn identity(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut mix = |word: u64| {
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 29;
        };
        mix(self.start);
        mix(self.limit);
        if let Some(object) = self.object {
            mix(object.link_map);
            mix(object.unwind_header);
        }
        for chunk in self
            .headers()
            .map_or(&[][..], |headers| headers.build_id())
            .chunks(8)
        {
            mix(chunk
                .iter()
                .fold(0, |word, &byte| word << 8 | u64::from(byte)));
        }
        hash | 1
    }
}

/// The module that is loaded at `address`, which is in a frame of this thread's stack
/// or in a permanent module.
pub(crate) fn find(address: u64) -> Option<Found> {
    match loader::object(address) {
        Some(object) => Some(Found {
            start: object.start,
            limit: object.limit,
            bias: object.bias(),
            object: Some(object),
        }),
        None if loader::answers() => None,
        None => recorded(address),
    }
}

/// As [`find`], from the records alone.
fn recorded(address: u64) -> Option<Found> {
    let record = RECORDS.iter().find(|record| {
        record.info().loaded && record.map_start <= address && address < record.map_limit
    })?;
    let found = Found {
        start: record.map_start,
        limit: record.map_limit,
        bias: record.bias,
        object: None,
    };
    // It may have been unloaded since, and even another loaded there.
    let unchanged = probe::probe(found.start)
        && found
            .headers()
            .is_some_and(|headers| headers.build_id() == record.info().build_id);
    unchanged.then_some(found)
}

/// Changes when the keys of cached rules must.
#[inline(always)]
pub(crate) fn salt() -> u64 {
    // Relaxed: rules are found under one salt or the other; both hold a moment longer.
    SALT.load(Ordering::Relaxed)
}

/// Written by refreshes that found a module gone, where the loader cannot be asked.
static SALT: AtomicU64 = AtomicU64::new(0);

/// Whether the module at `address`, if there is one, cannot be unloaded while this
/// code runs, as far as can be known.
pub(crate) fn is_permanent(address: u64) -> bool {
    if !loader::answers() {
        return true;
    }
    // Acquire: pairs with the Release in `find_permanent`; the ranges are there.
    if PERMANENT_KNOWN.load(Ordering::Acquire) == 0 {
        find_permanent();
    }
    PERMANENT.iter().any(|range| range.contains(address))
}

/// As [`is_permanent`], for whoever has no frame of the module on its own stack and
/// must be sure.
pub(crate) fn stays_loaded(address: u64) -> bool {
    (loader::answers() || loader::NEVER_UNLOADS) && is_permanent(address)
}

/// Places of modules that cannot go. Written by `find_permanent`, by any number of
/// threads at once, all with the same values.
static PERMANENT: [AtomicRange; 5] = [const { AtomicRange::new() }; 5];
/// 1: the places are found. Written as they are.
static PERMANENT_KNOWN: AtomicU32 = AtomicU32::new(0);

#[cold]
fn find_permanent() {
    // SAFETY: `getauxval` reads a vector that is there from the start.
    let auxiliary = |kind| unsafe { libc::getauxval(kind) };
    let inside = [
        // The program.
        auxiliary(libc::AT_ENTRY),
        // The kernel's own module.
        auxiliary(libc::AT_SYSINFO_EHDR),
        // This very module.
        find_permanent as *const () as u64,
        // The C library; in a program that is linked statically, the program.
        libc::getauxval as *const () as u64,
        // The loader.
        platform::find_object_address(),
    ];
    for (range, address) in PERMANENT.iter().zip(inside) {
        if let Some(object) = loader::object(address) {
            range.set(object.start, object.limit);
        }
    }
    // Release: publishes the ranges. Pairs with the Acquire in `is_permanent`.
    PERMANENT_KNOWN.store(1, Ordering::Release);
}

#[derive(Debug)]
struct AtomicRange {
    start: AtomicU64,
    limit: AtomicU64,
}

impl AtomicRange {
    const fn new() -> Self {
        Self {
            start: AtomicU64::new(0),
            limit: AtomicU64::new(0),
        }
    }

    fn contains(&self, address: u64) -> bool {
        // Relaxed: published by PERMANENT_KNOWN.
        let start = self.start.load(Ordering::Relaxed);
        start <= address && address < self.limit.load(Ordering::Relaxed)
    }

    fn set(&self, start: u64, limit: u64) {
        // Relaxed: published by PERMANENT_KNOWN.
        self.start.store(start, Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
    }
}

/// Records a module that a walk has come through.
pub(crate) fn note(found: &Found) {
    let (Some(headers), Some(object)) = (found.headers(), found.object) else {
        return;
    };
    // Relaxed: a refresh under way sees its own number or adds the module itself.
    let refresh = REFRESHES.load(Ordering::Relaxed);
    add(&headers, found.bias, object.path(), refresh);
}

fn add(headers: &Headers<'_>, bias: u64, path: &[u8], refresh: u64) {
    let (Some(code), Some((map_start, map_limit))) = (headers.code(), headers.extent()) else {
        return;
    };
    let module = Description {
        start: code.start,
        limit: code.limit,
        file_offset: code.file_offset,
        bias,
        map_start,
        map_limit,
        build_id: headers.build_id(),
        path,
    };
    RECORDS.add(&module, refresh);
}

/// Records every module that is loaded, and marks those that no longer are.
///
/// Context: cold. Takes the loader's lock, so never call it beneath an allocator, in
/// a signal handler, or holding a lock that a library's initialiser could want.
pub fn refresh() {
    // SAFETY: takes no argument.
    let process = unsafe { libc::getpid() }.cast_unsigned();
    // Acquire, Release: one refresh sees what the one before it did. A lock left by
    // the parent of a fork bears the parent's number.
    // Relaxed load: compared only.
    let held = REFRESHING.load(Ordering::Relaxed);
    if held == process
        || REFRESHING
            .compare_exchange(held, process, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
    {
        // Another thread is at it.
        return;
    }
    // Relaxed: a number; who may count it up is decided above.
    let mut refresh = REFRESHES.fetch_add(1, Ordering::Relaxed) + 1;
    // SAFETY: the callback has the type asked for and gets the number it expects.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut refresh).cast::<c_void>()) };
    let gone = RECORDS.forget_unseen(refresh);
    if gone && !loader::answers() {
        // Relaxed: see `salt`. An odd multiple of 2^48 or more stays clear of addresses.
        SALT.fetch_add(0x0001_0001_0000_0000 << 16, Ordering::Relaxed);
    }
    // Release: pairs with the Acquire above.
    REFRESHING.store(0, Ordering::Release);
}

/// Number of the last refresh that has begun. Written by refreshes.
static REFRESHES: AtomicU64 = AtomicU64::new(0);

/// The process that is refreshing, 0 for none: a lock that nobody waits for.
static REFRESHING: AtomicU32 = AtomicU32::new(0);

/// Records one module that the loader tells of.
unsafe extern "C" fn visit(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    refresh: *mut c_void,
) -> c_int {
    // SAFETY: the loader passes a valid structure.
    let info = unsafe { &*info };
    // SAFETY: `refresh` passed a number's address.
    let refresh = unsafe { *refresh.cast::<u64>() };
    // SAFETY: the loader's headers, valid during the call.
    let segments = unsafe { slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let headers = Headers::new(info.dlpi_addr, segments);
    let mut program = [0_u8; 4096];
    let mut path: &[u8] = &[];
    if !info.dlpi_name.is_null() {
        // SAFETY: the loader's string, valid during the call.
        path = unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes();
    }
    if path.is_empty() {
        path = program_path(&mut program);
    }
    add(&headers, info.dlpi_addr, path, refresh);
    0
}

fn program_path(buffer: &mut [u8; 4096]) -> &[u8] {
    let link = c"/proc/self/exe".as_ptr();
    // SAFETY: writes at most the buffer's length.
    let length = unsafe { libc::readlink(link, buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(length)
        .ok()
        .and_then(|length| buffer.get(..length))
        .unwrap_or(&[])
}
