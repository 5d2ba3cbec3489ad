//! Own: stacks without what every Rust program has in them.
//!
//! Context: cold.
//! Invariant: no stack becomes empty, and none loses what stands on it.
//!
//! A heap profile's leaves are `Vec::with_capacity_in` and its kin, and its roots are the
//! start of the C library and of std. What a program can change stands between the two.

use super::{Frame, SelectedStack, Selection};

impl Selection {
    /// Charges what the standard library and the C library's start allocated to the
    /// functions that called them, and leaves out what called the program's first function.
    /// A stack with none of the program's own functions stays as it is.
    #[must_use]
    pub fn own(mut self) -> Selection {
        let is_foreign: Vec<bool> = self
            .functions
            .iter()
            .map(|function| {
                is_standard(&function.name)
                    || is_start(&function.name)
                    || STANDARD_FILES
                        .iter()
                        .any(|part| function.file.contains(part))
            })
            .collect();
        let mut stacks = Vec::with_capacity(self.stacks.len());
        for stack in &self.stacks {
            let frames = &self.frames[stack.start..stack.end];
            let is_own = |frame: &Frame| !is_foreign[frame.function as usize];
            let first = frames.iter().position(is_own).unwrap_or(0);
            let last = frames.iter().rposition(is_own);
            let end = last.map_or(stack.end, |last| stack.start + last + 1);
            stacks.push(SelectedStack {
                start: stack.start + first,
                end,
                estimate: stack.estimate,
            });
        }
        self.stacks = stacks;
        self
    }
}

/// Whether a function comes with the compiler: of std, core, alloc, or of hashbrown, which
/// std's maps are made of. Methods of the program's traits on std's types are its own.
pub fn is_standard(name: &str) -> bool {
    let Some(implementation) = name.strip_prefix('<') else {
        return is_standard_path(name);
    };
    // `<Type as Trait>::method`, `<Type>::method`: by the trait if there is one.
    let mut depth = 0usize;
    for (at, c) in implementation.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if implementation[..at].ends_with('-') => {}
            '>' if depth == 0 => return is_standard_path(implementation),
            '>' => depth -= 1,
            ' ' if depth == 0 => {
                if let Some(of_trait) = implementation[at..].strip_prefix(" as ") {
                    return is_standard_path(of_trait) && is_standard_path(implementation);
                }
            }
            _ => {}
        }
    }
    false
}

fn is_standard_path(path: &str) -> bool {
    let path = path.trim_start_matches(['<', '&', '*', '[', '(']);
    let path = ["mut ", "const ", "dyn "]
        .iter()
        .fold(path, |path, word| path.strip_prefix(word).unwrap_or(path));
    let end = path
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(path.len());
    let (krate, rest) = path.split_at(end);
    match krate {
        "std" | "core" | "alloc" | "hashbrown" => rest.starts_with("::"),
        "__rust_alloc" | "__rust_alloc_zeroed" | "__rust_realloc" | "__rustc" => true,
        _ => false,
    }
}

/// Where the source of std stands: as the compiler's makers name it, and as rustup installs
/// it. For functions whose names do not tell, such as `<[u8]>::to_vec`.
const STANDARD_FILES: [&str; 3] = ["/rustc/", "/rust/deps/", "/rustlib/src/rust/library/"];

/// What runs before a program's main.
fn is_start(name: &str) -> bool {
    // A Rust program's `main` is made by the compiler and calls `lang_start`; a C program's
    // is its own, and all of its functions are called by it: nothing is lost.
    matches!(
        name,
        "_start"
            | "main"
            | "__libc_start_main"
            | "__libc_start_main_impl"
            | "__libc_start_call_main"
            | "start_thread"
            | "clone"
            | "clone3"
            | "__clone3"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::{testdata, top};

    #[test]
    fn what_std_allocates_is_its_callers() {
        let selection = Selection::of(&testdata::heap(), None).unwrap().own();
        let top = top::top(&selection, top::Order::Flat, 3);
        let flat: Vec<_> = top
            .rows
            .iter()
            .map(|row| {
                let name = &selection.function(row.function).name;
                (name.as_str(), row.flat.value >> 10)
            })
            .collect();
        assert_eq!(
            flat,
            [("app::parse", 60), ("app::cache", 30), ("app+0x900", 10)]
        );
        let stacks = selection.stacks().map(|(_, estimate)| estimate.value);
        assert_eq!(stacks.sum::<i64>(), selection.total.value);
    }

    #[test]
    fn standard_is_told_by_crate_and_trait() {
        for name in [
            "std::rt::lang_start",
            "alloc::vec::Vec<T,A>::with_capacity_in",
            "<alloc::vec::Vec<T> as core::iter::traits::collect::FromIterator<T>>::from_iter",
            "<&dyn core::ops::function::Fn<(), Output = i32> as core::ops::function::FnOnce<()>>::call_once",
            "<alloc::vec::Vec<u8>>::with_capacity_in",
            "hashbrown::raw::RawTable<T,A>::reserve",
        ] {
            assert!(is_standard(name), "{name}");
        }
        for name in [
            "app::main",
            "<app::Cache as core::clone::Clone>::clone",
            "<alloc::vec::Vec<T> as app::Fill>::fill",
            "stdx::f",
            "alloc",
            "core",
            "malloc",
            "<",
            "",
        ] {
            assert!(!is_standard(name), "{name}");
        }
    }
}
