//! Origin: the module of a function, from the path of its source file.
//!
//! Context: cold.
//! Source: `debug = "line-tables-only"` leaves functions their last name only (`alloc`,
//! `with_capacity_in`, `{closure#0}`). The symbol table knows the rest, but not of inlined
//! functions. Of the standard library's and our own crates the files are known, and there
//! a file is a module; of others a path tells a package, which need not be the crate.

/// The name with its module before it, for a bare name in a file of the standard library
/// or of everprof. The type that a method is of stays unknown, and generic arguments go, as
/// they do from most symbols: `grow_one<u8, alloc::alloc::Global>` of `RawVec<T, A>` is
/// `alloc::raw_vec::grow_one`.
pub(crate) fn qualified(name: &str, file: &str) -> Option<String> {
    let name = bare(name)?;
    let (crate_name, path) = std_file(file).or_else(|| our_file(file))?;
    Some(format!("{}::{name}", module(crate_name, path)?))
}

/// The name without generic arguments, if no path stands before it.
pub(crate) fn bare(name: &str) -> Option<&str> {
    let own = name.split('<').next()?;
    (!own.is_empty() && !own.contains("::")).then_some(own)
}

/// The crate of a file of the standard library, and its path below `src`. Compilers come
/// with `/rustc/<commit>/library/…`, those of distributions with `/usr/src/rustc-<version>`;
/// std that was built from its component lies in the toolchain. Its hash maps are those of
/// a package, whose directory it names.
fn std_file(file: &str) -> Option<(&'static str, &str)> {
    if let Some(rest) = file.strip_prefix("/rust/deps/hashbrown-") {
        let (version, path) = rest.split_once("/src/")?;
        return is_version(version).then_some(("hashbrown", path));
    }
    let (root, rest) = file.split_once("/library/")?;
    let is_one = |part: &str| !part.is_empty() && !part.contains('/');
    let is_std = root.strip_prefix("/rustc/").is_some_and(is_one)
        || root.strip_prefix("/usr/src/rustc-").is_some_and(is_one)
        || root.ends_with("/lib/rustlib/src/rust");
    let (name, path) = rest.split_once("/src/")?;
    let name = ["core", "alloc", "std"].into_iter().find(|&n| n == name)?;
    is_std.then_some((name, path))
}

/// The crate of a file of ours, and its path below `src`: in a checkout, or unpacked from
/// a registry, where directories end in a version. We have no programs there.
fn our_file(file: &str) -> Option<(&'static str, &str)> {
    let (directory, path) = file.rsplit_once("/src/")?;
    let directory = directory.rsplit('/').next()?;
    let is_ours = |&&(package, _): &&(&str, _)| {
        directory
            .strip_prefix(package)
            .is_some_and(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(is_version))
    };
    let (_, name) = OUR_PACKAGES.iter().find(is_ours)?;
    (path != "main.rs" && !path.starts_with("bin/")).then_some((name, path))
}

/// Whether this is `1.2.3`, with or without more after it.
fn is_version(text: &str) -> bool {
    let mut parts = text.splitn(3, '.');
    let mut number = || parts.next().is_some_and(|part| part.parse::<u32>().is_ok());
    number()
        && number()
        && parts.next().is_some_and(|patch| {
            patch.starts_with(|c: char| c.is_ascii_digit()) && !patch.contains('/')
        })
}

/// The module that a file is. `None` for what is no module of its crate, and for macros at
/// its root, whose lines may stand in anyone's function.
fn module(crate_name: &str, path: &str) -> Option<String> {
    let path = path.strip_suffix(".rs")?;
    let mut parts: Vec<&str> = path.split('/').collect();
    let is_name = |part: &&str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if !parts.iter().all(is_name) {
        return None;
    }
    if parts.last() == Some(&"mod") || parts == ["lib"] {
        parts.pop();
    }
    // `num/int_macros.rs` and the like hold methods of the module above.
    if parts.last().is_some_and(|last| last.ends_with("macros")) {
        parts.pop();
        if parts.is_empty() {
            return None;
        }
    }
    parts.insert(0, crate_name);
    Some(parts.join("::"))
}

/// Packages of ours that stand in programs, and their crates.
const OUR_PACKAGES: [(&str, &str); 3] = [
    ("everprof", "everprof"),
    ("everprof-core", "everprof_core"),
    ("everprof-agent", "everprof_agent"),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const COMMIT: &str = "59807616e1fa2540724bfbac14d7976d7e4a3860";

    #[test]
    fn bare_names_in_std_get_the_module_of_their_file() {
        for (name, file, expected) in [
            ("alloc", "alloc/src/alloc.rs", "alloc::alloc::alloc"),
            (
                "with_capacity_in<u8, alloc::alloc::Global>",
                "alloc/src/raw_vec/mod.rs",
                "alloc::raw_vec::with_capacity_in",
            ),
            (
                "aligned_malloc",
                "std/src/sys/alloc/unix.rs",
                "std::sys::alloc::unix::aligned_malloc",
            ),
            (
                "{closure#0}",
                "core/src/option.rs",
                "core::option::{closure#0}",
            ),
            ("f", "std/src/lib.rs", "std::f"),
            (
                "abs_diff",
                "core/src/num/uint_macros.rs",
                "core::num::abs_diff",
            ),
            (
                "next",
                "core/src/slice/iter/macros.rs",
                "core::slice::iter::next",
            ),
        ] {
            for root in [
                &format!("/rustc/{COMMIT}"),
                "/rustc/1.95.0",
                "/usr/src/rustc-1.85.0",
                "/home/me/.rustup/toolchains/stable/lib/rustlib/src/rust",
            ] {
                let file = format!("{root}/library/{file}");
                assert_eq!(qualified(name, &file).as_deref(), Some(expected), "{file}");
            }
        }
    }

    #[test]
    fn hash_maps_of_std_are_of_the_package_it_names() {
        let file = "/rust/deps/hashbrown-0.16.1/src/raw/alloc.rs";
        let name = qualified("do_alloc<alloc::alloc::Global>", file);
        assert_eq!(name.as_deref(), Some("hashbrown::raw::alloc::do_alloc"));
    }

    #[test]
    fn bare_names_in_our_crates_get_the_module_of_their_file() {
        for (file, expected) in [
            (
                "/home/me/everprof/crates/everprof/src/alloc.rs",
                "everprof::alloc::f",
            ),
            (
                "/home/me/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/everprof-0.1.0/src/alloc/slow.rs",
                "everprof::alloc::slow::f",
            ),
            (
                "/v/everprof-core-1.20.3-rc.1/src/lib.rs",
                "everprof_core::f",
            ),
            (
                "everprof-core/src/stack/cfi.rs",
                "everprof_core::stack::cfi::f",
            ),
            (
                "/w/everprof-agent/src/malloc.rs",
                "everprof_agent::malloc::f",
            ),
        ] {
            assert_eq!(qualified("f", file).as_deref(), Some(expected), "{file}");
        }
    }

    #[test]
    fn files_that_look_alike_are_the_programs() {
        for file in [
            "",
            "/w/everprofile/src/alloc.rs",
            "/w/my-everprof/src/alloc.rs",
            "/w/everprof-cli/src/run.rs",
            "/w/everprof-http-0.1.0/src/lib.rs",
            "/w/everprof-2/src/lib.rs",
            "/w/everprof-1.2/src/lib.rs",
            "/w/everprof-core-fork/src/lib.rs",
            "/w/everprof/examples/service.rs",
            "/w/everprof/tests/heap.rs",
            "/w/everprof/src/main.rs",
            "/w/everprof/src/bin/tool.rs",
            "/w/everprof/src/app/src/alloc.rs",
            "/home/everprof/src/app/main.c",
            "/w/library/alloc/src/alloc.rs",
            "/w/rustc/1/library/alloc/src/alloc.rs",
            "/rust/deps/hashbrown-mine/src/map.rs",
            "/w/rust/deps/hashbrown-0.16.1/src/map.rs",
            "/rustc/a/b/library/alloc/src/alloc.rs",
            "/rustc/1.95.0/library/mine/src/alloc.rs",
            "/rustc/1.95.0/library/std/src/../../backtrace/src/lib.rs",
            "/rustc/1.95.0/library/core/src/macros/mod.rs",
            "/rustc/1.95.0/library/std/src/macros.rs",
            "/rustc/1.95.0/library/std/src/x.c",
            "/rustc/1.95.0/library/std/src/.rs",
        ] {
            assert_eq!(qualified("f", file), None, "{file}");
        }
    }

    #[test]
    fn qualified_names_stay() {
        let file = "/rustc/1.95.0/library/alloc/src/alloc.rs";
        for name in [
            "",
            "app::f",
            "<app::T as core::ops::Drop>::drop",
            "alloc::alloc::alloc::<u8>",
        ] {
            assert_eq!(qualified(name, file), None, "{name}");
        }
    }
}
