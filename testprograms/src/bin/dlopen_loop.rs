//! Loads and unloads a library, calls into it and is called back from it, while
//! every allocation is sampled, on two threads.
//!
//! The library's path is the first argument.

use std::ffi::{CString, c_int, c_void};

extern "C" fn callback(size: c_int) -> c_int {
    let mine = vec![1u8; 400 + size as usize];
    std::hint::black_box(mine.len()) as c_int
}

fn rounds(path: &CString, count: usize) {
    for round in 0..count {
        // SAFETY: the path is a C string; the library's constructors are trivial.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "dlopen of {path:?} failed");
        // SAFETY: `handle` is open.
        let symbol = unsafe { libc::dlsym(handle, c"call_back".as_ptr()) };
        assert!(!symbol.is_null());
        // SAFETY: that is how the library declares it.
        let call_back = unsafe {
            std::mem::transmute::<
                *mut c_void,
                extern "C" fn(extern "C" fn(c_int) -> c_int, c_int) -> c_int,
            >(symbol)
        };
        assert_eq!(
            call_back(callback, round as c_int),
            2 * (400 + round as c_int)
        );
        // SAFETY: `handle` is open and nothing of the library is used any more.
        assert_eq!(unsafe { libc::dlclose(handle) }, 0);
    }
}

fn main() {
    let path = std::env::args()
        .nth(1)
        .expect("the library's path as the first argument");
    let path = CString::new(path).expect("a path without NUL");
    let other = path.clone();
    let thread = std::thread::spawn(move || rounds(&other, 300));
    rounds(&path, 300);
    testprograms::churn(1, 5000, 100);
    thread.join().expect("the second loader");
    testprograms::ok();
}
