//! The program's environment, and our two traces in it.
//!
//! Context: cold (`strip`, before `main`); signal (`Restored`, as `exec` may
//! be called there: raw mmap, no allocation).
//! Invariant: every variable but these two reaches the program byte for byte.
//!
//! `LD_PRELOAD` and `EVERPROF_RUN` bring the library into the program. The
//! program itself, and what it starts, should see what the user gave them, so
//! both are taken out before `main` and put back only for an `exec` that is to
//! be followed. The first variable may hold the user's own list after our path.

use std::ffi::{CStr, c_char};
use std::{ptr, slice};

use crate::settings;

const PRELOAD: &[u8] = b"LD_PRELOAD=";

/// The settings' line in `environment`, without its name.
///
/// # Safety
/// `environment` is null or a null-terminated array of C strings that live for `'a`.
pub(crate) unsafe fn settings_line<'a>(environment: *const *mut c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    let variables = unsafe { variables(environment) };
    // SAFETY: the caller's promise.
    variables
        .iter()
        .find_map(|variable| unsafe { value(*variable, settings::VARIABLE) })
}

/// Takes our traces out, in place.
///
/// # Safety
/// `environment` is null or a null-terminated array of writable C strings, and
/// nobody else uses it now.
pub(crate) unsafe fn strip(environment: *mut *mut c_char, library: &[u8]) {
    if environment.is_null() {
        return;
    }
    // SAFETY: the caller's promise.
    let count = unsafe { variables(environment) }.len();
    // SAFETY: the array and its null, which nobody else uses now.
    let array = unsafe { slice::from_raw_parts_mut(environment, count + 1) };
    let mut kept = 0;
    for index in 0..count {
        let variable = array[index];
        // SAFETY: a string of the array.
        if unsafe { keeps(variable, library) } {
            array[kept] = variable;
            kept += 1;
        }
    }
    array[kept] = ptr::null_mut();
}

/// Whether this variable stays, after taking `library` out of it.
///
/// # Safety
/// `variable` is a writable C string.
unsafe fn keeps(variable: *mut c_char, library: &[u8]) -> bool {
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(variable) }.to_bytes();
    if bytes.starts_with(settings::VARIABLE) {
        return false;
    }
    let Some(list) = bytes.strip_prefix(PRELOAD) else {
        return true;
    };
    // The command line puts the library first.
    let Some(rest) = list.strip_prefix(library) else {
        return true;
    };
    match rest {
        [] => false,
        [b':' | b' ', theirs @ ..] => {
            // From the string itself: `theirs` may not reach its terminator, nor be written over.
            let (behind, count) = (bytes.len() - theirs.len(), theirs.len() + 1);
            // SAFETY: `theirs` begins there, in the same string.
            let from = unsafe { variable.add(behind) };
            // SAFETY: the value begins behind the name, in the same string.
            let to = unsafe { variable.add(PRELOAD.len()) };
            // SAFETY: moves the tail with its terminator forward within the string, which is
            // not read by `bytes` any more.
            unsafe { ptr::copy(from, to, count) };
            true
        }
        _ => true,
    }
}

/// What has to be put back.
#[derive(Debug)]
pub(crate) struct Traces {
    /// The settings' line, without name.
    pub(crate) line: Box<[u8]>,
    /// The library's path.
    pub(crate) library: Box<[u8]>,
}

/// An environment with our traces in it, for one `exec`.
#[derive(Debug)]
pub(crate) struct Restored {
    memory: *mut c_char,
    len: usize,
}

impl Restored {
    /// Copies `environment` and adds `traces`. `None`: no memory, or they are
    /// there already.
    ///
    /// # Safety
    /// `environment` is null or a null-terminated array of C strings that
    /// outlive the result.
    pub(crate) unsafe fn new(environment: *const *mut c_char, traces: &Traces) -> Option<Self> {
        // SAFETY: the caller's promise.
        if unsafe { settings_line(environment) }.is_some() {
            return None;
        }
        // SAFETY: the caller's promise.
        let theirs = unsafe { variables(environment) };
        // SAFETY: each variable is a C string.
        let list_of = |variable: &*mut c_char| unsafe { value(*variable, PRELOAD) };
        let list = theirs.iter().find_map(list_of).unwrap_or(b"");
        let separator = if list.is_empty() { &b""[..] } else { b":" };
        let run = [settings::VARIABLE, &traces.line];
        let preload = [PRELOAD, &traces.library, separator, list];
        // Two more pointers and the null, then the two strings with theirs.
        let pointers = theirs.len() + 3;
        let text = run
            .iter()
            .chain(&preload)
            .map(|part| part.len())
            .sum::<usize>()
            + 2;
        let restored = Self::map(pointers * size_of::<*mut c_char>() + text)?;

        // SAFETY: that many pointers were mapped, and the text behind them.
        let behind = unsafe { restored.as_ptr().add(pointers) }.cast::<u8>();
        // SAFETY: the mapping begins with `pointers` of them, is page-aligned, and nobody
        // else knows it.
        let array = unsafe { slice::from_raw_parts_mut(restored.as_ptr(), pointers) };
        // SAFETY: `text` bytes of the mapping follow the pointers, and are none of `array`'s.
        let text = unsafe { slice::from_raw_parts_mut(behind, text) };
        let (run_text, preload_text) =
            text.split_at_mut(settings::VARIABLE.len() + traces.line.len() + 1);
        // The mapping is zero: terminators and the array's null stand already.
        let added = [join(preload_text, &preload), join(run_text, &run)];
        let kept = theirs
            .iter()
            .copied()
            .filter(|variable| list_of(variable).is_none());
        for (slot, variable) in array.iter_mut().zip(kept.chain(added)) {
            *slot = variable;
        }
        Some(restored)
    }

    /// A zeroed private mapping.
    fn map(len: usize) -> Option<Self> {
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a fresh private mapping; no address is asked for.
        let memory = unsafe { libc::mmap(ptr::null_mut(), len, access, kind, -1, 0) };
        (memory != libc::MAP_FAILED).then_some(Self {
            memory: memory.cast(),
            len,
        })
    }

    /// The array to give to `exec`.
    pub(crate) fn as_ptr(&self) -> *mut *mut c_char {
        self.memory.cast()
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        // SAFETY: `new` mapped exactly this.
        unsafe { libc::munmap(self.memory.cast(), self.len) };
    }
}

/// Writes the parts in a row and returns where they begin.
fn join(text: &mut [u8], parts: &[&[u8]]) -> *mut c_char {
    for (to, from) in text.iter_mut().zip(parts.iter().flat_map(|part| *part)) {
        *to = *from;
    }
    text.as_mut_ptr().cast()
}

/// The value of `variable` if it begins with `name` (which ends in `=`).
///
/// # Safety
/// `variable` is a C string that lives for `'a`.
unsafe fn value<'a>(variable: *const c_char, name: &[u8]) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(variable) }
        .to_bytes()
        .strip_prefix(name)
}

/// The array without its null.
///
/// # Safety
/// `environment` is null or a null-terminated array that lives for `'a`.
unsafe fn variables<'a>(environment: *const *mut c_char) -> &'a [*mut c_char] {
    if environment.is_null() {
        return &[];
    }
    let mut end = environment;
    // SAFETY: stops at the null.
    while !unsafe { *end }.is_null() {
        // SAFETY: not at the null yet.
        end = unsafe { end.add(1) };
    }
    // SAFETY: both lie in the one array.
    let count = unsafe { end.offset_from(environment) };
    // SAFETY: as many pointers as were just seen.
    unsafe { slice::from_raw_parts(environment, count.unsigned_abs()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::multiple_unsafe_ops_per_block)]
    use super::*;
    use std::ffi::CString;

    fn stripped(variables: &[&str]) -> Vec<String> {
        // Their own bytes: `strip` shortens what the strings were made with.
        let owned = variables.iter().map(|v| CString::new(*v).unwrap());
        let mut owned: Vec<Vec<u8>> = owned.map(CString::into_bytes_with_nul).collect();
        let pointers = owned.iter_mut().map(|bytes| bytes.as_mut_ptr().cast());
        let mut array: Vec<*mut c_char> = pointers.collect();
        array.push(ptr::null_mut());
        // SAFETY: a null-terminated array of owned C strings.
        unsafe { strip(array.as_mut_ptr(), b"/proc/7/fd/3") };
        // SAFETY: still such an array.
        unsafe { strings(array.as_ptr()) }
    }

    unsafe fn strings(array: *const *mut c_char) -> Vec<String> {
        // SAFETY: the caller's array is null-terminated.
        let variables = unsafe { variables(array) };
        // SAFETY: each a C string.
        let text = |v: &*mut c_char| unsafe { CStr::from_ptr(*v) }.to_str().unwrap().to_owned();
        variables.iter().map(text).collect()
    }

    #[test]
    fn strip_takes_out_ours_and_keeps_the_order_of_the_rest() {
        let left = stripped(&[
            "A=1",
            "LD_PRELOAD=/proc/7/fd/3",
            "B=2",
            "EVERPROF_RUN=heap=1",
            "C=3",
        ]);
        assert_eq!(left, ["A=1", "B=2", "C=3"]);
    }

    #[test]
    fn strip_keeps_the_users_own_preloads() {
        assert_eq!(
            stripped(&["LD_PRELOAD=/proc/7/fd/3:/a.so:b.so"]),
            ["LD_PRELOAD=/a.so:b.so"]
        );
        assert_eq!(stripped(&["LD_PRELOAD=/a.so"]), ["LD_PRELOAD=/a.so"]);
        assert_eq!(
            stripped(&["LD_PRELOAD=/proc/7/fd/33"]),
            ["LD_PRELOAD=/proc/7/fd/33"]
        );
        assert_eq!(stripped(&[]), [""; 0]);
    }

    #[test]
    fn restored_is_what_strip_undoes() {
        let traces = Traces {
            line: b"heap=1".as_slice().into(),
            library: b"/proc/7/fd/3".as_slice().into(),
        };
        for given in [&["A=1", "LD_PRELOAD=/a.so", "B=2"][..], &["A=1"], &[]] {
            let owned: Vec<CString> = given.iter().map(|v| CString::new(*v).unwrap()).collect();
            let mut array: Vec<*mut c_char> = owned.iter().map(|v| v.as_ptr().cast_mut()).collect();
            array.push(ptr::null_mut());
            // SAFETY: a null-terminated array of C strings that outlive the result.
            let restored = unsafe { Restored::new(array.as_ptr(), &traces) }.unwrap();
            // SAFETY: `Restored` is such an array.
            let line = unsafe { settings_line(restored.as_ptr()) };
            assert_eq!(line, Some(&b"heap=1"[..]));
            // SAFETY: as above, and the two new strings are writable.
            unsafe { strip(restored.as_ptr(), b"/proc/7/fd/3") };
            // SAFETY: as above.
            let mut left = unsafe { strings(restored.as_ptr()) };
            left.sort();
            let mut expected = given.to_vec();
            expected.sort_unstable();
            assert_eq!(left, expected);
        }
    }

    #[test]
    fn restored_leaves_an_environment_alone_that_has_the_traces() {
        let traces = Traces {
            line: b"x".as_slice().into(),
            library: b"y".as_slice().into(),
        };
        let variable = CString::new("EVERPROF_RUN=heap=1").unwrap();
        let array = [variable.as_ptr().cast_mut(), ptr::null_mut()];
        // SAFETY: a null-terminated array of C strings.
        assert!(unsafe { Restored::new(array.as_ptr(), &traces) }.is_none());
    }
}
