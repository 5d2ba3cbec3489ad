//! Test binaries: known by where cargo puts them.
//!
//! Cargo names what it builds by the target and a hash of all that went into it, and
//! runs tests and benches straight from there: `target/debug/deps/parser-0f3a…`. The
//! compiler, build scripts and what a test starts stand elsewhere or have no such name.
//! Tests in documentation are built in a temporary directory, and are not known.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Whether this command runs tests or benches by cargo, so that the processes it starts
/// are what is to be profiled.
pub(crate) fn are_run_by(program: &OsStr, arguments: &[OsString]) -> bool {
    let name = Path::new(program).file_name();
    // Up to what is the tests' own.
    let words = arguments.iter().take_while(|argument| *argument != "--");
    name == Some(OsStr::new("cargo"))
        && words
            .filter_map(|word| word.to_str())
            .any(|word| matches!(word, "test" | "t" | "bench" | "nextest"))
}

/// The name that cargo gave it, hash included; none if this is no test binary.
pub(crate) fn name(executable: &Path) -> Option<&str> {
    let folder = executable.parent()?.file_name()?;
    let name = executable.file_name()?.to_str()?;
    let (target, hash) = name.rsplit_once('-')?;
    let is_hash = hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    (folder == "deps" && is_hash && !target.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_binary_is_known_by_its_place_and_its_hash() {
        let name = |path: &'static str| name(Path::new(path));
        let parser = "parser-0123456789abcdef";
        assert_eq!(
            name("/w/target/debug/deps/parser-0123456789abcdef"),
            Some(parser)
        );
        for other in [
            "/w/target/debug/parser-0123456789abcdef",
            "/w/target/debug/build/x-0123456789abcdef/build-script-build",
            "/w/target/debug/deps/parser",
            "/w/target/debug/deps/-0123456789abcdef",
            "/w/target/debug/deps/parser-0123456789abcdeg",
            "/usr/bin/rustc",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
    }

    #[test]
    fn cargo_runs_tests_where_its_own_words_say_so() {
        let are = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            are_run_by(&words[0], &words[1..])
        };
        assert!(are("cargo test") && are("/x/bin/cargo +nightly test --release -- name"));
        assert!(are("cargo nextest run") && are("cargo --locked bench"));
        assert!(!are("cargo run -- test") && !are("make test") && !are("cargo build"));
    }
}
