//! The house keeps to its own rules: which crate may stand on which, where
//! unsafe code may be, and which words must not be left in the sources.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Who may stand on whom. A crate that is not named here may stand on none.
const ARROWS: &[(&str, &[&str])] = &[
    ("everprof-core", &[]),
    ("everprof-macros", &[]),
    ("everprof-profile", &[]),
    (
        "everprof",
        &["everprof-core", "everprof-macros", "everprof-profile"],
    ),
    ("everprof-agent", &["everprof", "everprof-core"]),
    ("everprof-cli", &["everprof", "everprof-profile"]),
];

/// The only crates that core's own code may call: what they do on a recording
/// path, core answers for.
const CORE_STANDS_ON: &[&str] = &["libc"];

/// Where unsafe code may be. Tests and test programs may have it everywhere.
const UNSAFE_ROOMS: &[&str] = &[
    "crates/everprof-core/src",
    "crates/everprof-agent",
    "crates/everprof/src/alloc",
    "crates/everprof/src/start",
];

/// The only room where recorded and readable meet: `assemble.rs` and what is in it.
const BRIDGE: &str = "crates/everprof/src/assemble";

#[test]
fn crates_stand_only_on_what_the_arrows_allow() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.keys().map(String::as_str).collect();
    for (name, allowed) in ARROWS {
        let stands_on = dependencies(&packages[*name]);
        let ours: BTreeSet<&str> = stands_on.intersection(&ours).copied().collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(
            ours.is_subset(&allowed),
            "{name} stands on {ours:?}; may on {allowed:?}"
        );
    }
}

#[test]
fn every_crate_of_the_product_has_its_arrows() {
    let packages = packages();
    let named: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    for (name, package) in &packages {
        let product = package["manifest_path"]
            .as_str()
            .unwrap()
            .contains("/crates/");
        assert!(
            !product || named.contains(name.as_str()),
            "{name} has no arrows"
        );
    }
}

#[test]
fn core_stands_on_libc_alone() {
    let packages = packages();
    let allowed: BTreeSet<&str> = CORE_STANDS_ON.iter().copied().collect();
    let stands_on = dependencies(&packages["everprof-core"]);
    assert!(
        stands_on.is_subset(&allowed),
        "everprof-core stands on {stands_on:?}"
    );
    // And libc on nothing, in the choice of features that core makes.
    let tree = cargo(&[
        "tree",
        "-p",
        "everprof-core",
        "-e",
        "normal",
        "--prefix=none",
    ]);
    let tree: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(tree, BTreeSet::from(["everprof-core", "libc"]));
}

#[test]
fn agent_and_command_line_take_the_facade_without_its_defaults() {
    // A default of the facade's is for programs that link it: an endpoint's
    // router or an interposed symbol has no place in these two.
    let packages = packages();
    for name in ["everprof-agent", "everprof-cli"] {
        for dependency in packages[name]["dependencies"].as_array().unwrap() {
            if dependency["name"] == "everprof" {
                assert_eq!(dependency["uses_default_features"], false, "{name}");
            }
        }
    }
}

#[test]
fn agent_stands_in_for_c_functions_and_command_line_does_not() {
    // The command line reads profiles; its own waits are nobody's business.
    for (package, expected) in [("everprof-agent", true), ("everprof-cli", false)] {
        let tree = cargo(&["tree", "-p", package, "-e", "features", "--prefix=none"]);
        let has = tree.contains("everprof-core feature \"interpose\"");
        assert_eq!(has, expected, "{package}");
    }
}

#[test]
fn recorded_and_readable_meet_in_one_room() {
    for (path, code) in sources("crates/everprof/src") {
        let meets = code.contains("everprof_core") && code.contains("everprof_profile");
        assert!(
            !meets || path.starts_with(BRIDGE),
            "{path} names both crates; only {BRIDGE} may"
        );
    }
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    for (path, code) in sources("crates") {
        let test = path.contains("/tests/") || path.contains("/benches/");
        let allowed = test || UNSAFE_ROOMS.iter().any(|room| path.starts_with(room));
        let has = words(&code).any(|word| word == "unsafe");
        assert!(
            !has || allowed,
            "{path} has unsafe code; its rooms are {UNSAFE_ROOMS:?}"
        );
    }
    let lib = fs::read_to_string(root().join("crates/everprof-profile/src/lib.rs")).unwrap();
    assert!(lib.contains("#![forbid(unsafe_code)]"));
}

#[test]
fn nothing_is_left_for_later() {
    let left = [
        "todo!",
        "unimplemented!",
        "dbg!",
        "#[ignore",
        "FIXME",
        "XXX",
    ];
    for folder in ["crates", "xtask/src", "testprograms"] {
        for (path, code) in sources(folder) {
            for word in left {
                assert!(!code.contains(word), "{path} has {word}");
            }
        }
    }
}

/// The workspace's packages by name.
fn packages() -> BTreeMap<String, Value> {
    let text = cargo(&["metadata", "--format-version=1", "--no-deps"]);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|p| (p["name"].as_str().unwrap().to_owned(), p.clone()))
        .collect()
}

/// What a package stands on when it is built, tests and models apart.
fn dependencies(package: &Value) -> BTreeSet<&str> {
    let all = package["dependencies"].as_array().unwrap().iter();
    let built = all.filter(|dependency| dependency["kind"] != "dev");
    // Under loom the models' own crate stands in for std's atomics.
    let model = |target: &str| target == "cfg(everprof_loom)";
    let real = built.filter(|dependency| !dependency["target"].as_str().is_some_and(model));
    real.map(|dependency| dependency["name"].as_str().unwrap())
        .collect()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// Path and code, without comments and strings, of the Rust files under a folder.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let code = without_comments_and_strings(&fs::read_to_string(&path).unwrap());
                let path = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((path, code));
            }
        }
    }
    assert!(!found.is_empty(), "no Rust file under {folder}");
    found
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|character: char| !character.is_alphanumeric() && character != '_')
}

/// Enough of Rust's lexer to tell code from prose: comments nest, raw strings
/// end where their hashes do, and a quote after a letter begins a lifetime.
fn without_comments_and_strings(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            nested_comment(rest)
        } else if let Some(length) = raw_string(rest, code.chars().last()) {
            length
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' && is_character(rest) {
            quoted(rest, '\'')
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[length..];
    }
    code
}

fn nested_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn raw_string(rest: &str, before: Option<char>) -> Option<usize> {
    let inside_a_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let body = rest
        .strip_prefix('r')
        .filter(|_| !inside_a_word || before == Some('b'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let body = body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(1 + hashes + 1 + body.find(&end)? + end.len())
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `'a'` or `'\n'`, not the lifetime `'a`.
fn is_character(rest: &str) -> bool {
    let mut characters = rest.chars().skip(1);
    characters.next() == Some('\\') || characters.next() == Some('\'')
}

#[test]
fn lexer_tells_code_from_prose() {
    let source = r##"
        // unsafe in a comment
        /* unsafe /* nested */ unsafe */
        let a = "unsafe \" unsafe"; let b = r#"unsafe " unsafe"#; let c = b"unsafe";
        let d = '"'; let e: &'static str = "unsafe"; let f = '\''; let for_r = br"unsafe";
        marker();
    "##;
    let code = without_comments_and_strings(source);
    assert!(!code.contains("unsafe"), "{code}");
    assert!(
        code.contains("marker") && code.contains("'static"),
        "{code}"
    );
    assert!(words("unsafe { }").any(|word| word == "unsafe"));
    assert!(!words("unsafe_code").any(|word| word == "unsafe"));
}
