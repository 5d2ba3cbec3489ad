//! The C functions of the `exec` family, defined by us: arguments, environment and failure are
//! as the C library has them.
//!
//! That no signal of ours goes along is tried in `threads_exec`.

#![cfg(all(
    feature = "interpose",
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![allow(clippy::unwrap_used)]

mod again;

use std::env;
use std::ffi::{CStr, c_char, c_int};
use std::ptr::null;

use again::this_binary;
use libc::{execl, execle, execlp};

/// Prints each of its arguments, and a variable.
const SAY: &CStr = c"printf '<%s>' \"$0\" \"$@\" \"$SAID\"";
const SH: &CStr = c"/bin/sh";

unsafe extern "C" {
    fn execveat(
        directory: c_int,
        path: *const c_char,
        arguments: *const *const c_char,
        variables: *const *const c_char,
        flags: c_int,
    ) -> c_int;
}

/// Set in the processes that the tests start: how they are to replace themselves.
const PART: &str = "EVERPROF_TEST_PART";

/// What the next program has said.
fn said(way: &str) -> String {
    let output = this_binary("replaces_itself")
        .envs([(PART, way), ("SAID", "inherited")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{way}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text[text.find('<').unwrap()..].to_owned()
}

#[test]
fn replaces_itself() {
    let Some(way) = env::var_os(PART) else {
        return;
    };
    let (sh, c, say) = (SH.as_ptr(), c"-c".as_ptr(), SAY.as_ptr());
    let end = null::<c_char>();
    let given = [c"SAID=given".as_ptr(), end];
    let [one, two, three] = [c"1", c"2", c"3"].map(CStr::as_ptr);
    // SAFETY, of each: C strings, ended by null; `execle` is given an array that is, too.
    match way.to_str().unwrap() {
        // SAFETY: as above.
        "execl" => unsafe { execl(sh, sh, c, say, one, end) },
        // SAFETY: as above. More than there are registers.
        "execl, many" => unsafe {
            execl(
                sh, sh, c, say, one, two, three, one, two, three, one, two, three, end,
            )
        },
        // SAFETY: as above.
        "execlp" => unsafe { execlp(c"sh".as_ptr(), sh, c, say, one, two, end) },
        // SAFETY: as above.
        "execle" => unsafe { execle(sh, sh, c, say, one, end, given.as_ptr()) },
        // SAFETY: as above. The environment is on the stack.
        "execle, many" => unsafe {
            execle(
                sh,
                sh,
                c,
                say,
                one,
                two,
                three,
                one,
                two,
                three,
                end,
                given.as_ptr(),
            )
        },
        // SAFETY: as above.
        "execveat" => unsafe {
            let words = [sh, c, say, one, end];
            execveat(libc::AT_FDCWD, sh, words.as_ptr(), given.as_ptr(), 0)
        },
        other => panic!("{other}"),
    };
    panic!("{way:?}: {}", std::io::Error::last_os_error());
}

#[test]
fn the_next_program_has_the_list_and_the_environment_that_were_given() {
    assert_eq!(said("execl"), "<1><inherited>");
    let many = said("execl, many");
    assert_eq!(many, "<1><2><3><1><2><3><1><2><3><inherited>");
    assert_eq!(said("execlp"), "<1><2><inherited>");
    assert_eq!(said("execle"), "<1><given>");
    assert_eq!(said("execle, many"), "<1><2><3><1><2><3><given>");
    // qemu's user emulation has no such call.
    if !cfg!(everprof_emulated) {
        assert_eq!(said("execveat"), "<1><given>");
    }
}

#[test]
fn what_fails_says_so_and_the_program_goes_on() {
    let none = c"/no/such/program".as_ptr();
    let end = null::<c_char>();
    let error = || std::io::Error::last_os_error().raw_os_error();
    for _ in 0..3 {
        // SAFETY: C strings, ended by null.
        assert_eq!(unsafe { execl(none, none, none, end) }, -1);
        assert_eq!(error(), Some(libc::ENOENT));
        // SAFETY: as above, and an environment that ends at once.
        let status = unsafe { execle(none, none, none, none, none, none, end, &raw const end) };
        assert_eq!((status, error()), (-1, Some(libc::ENOENT)));
        // SAFETY: no words but null, which is where they end.
        let status = unsafe { execveat(-1, none, &raw const end, &raw const end, -1) };
        let expected = if cfg!(everprof_emulated) {
            libc::ENOSYS
        } else {
            libc::EINVAL
        };
        assert_eq!((status, error()), (-1, Some(expected)));
    }
}
