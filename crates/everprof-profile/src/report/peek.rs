//! Peek: who called a function, and what it called.
//!
//! Context: cold.
//! Invariant: with recursion every call counts where it happens, yet never twice for one
//! stack, so that callers and callees each add up to at least the function's `cum`.

use std::collections::{HashMap, HashSet};

use regex_lite::Regex;

use super::Selection;
use super::top::{self, Row};
use crate::Error;
use crate::errorbars::Estimate;

/// A function with its neighbours.
#[derive(Clone, Debug)]
pub struct Peek {
    /// The function.
    pub row: Row,
    /// The functions that called it, largest first.
    pub callers: Vec<Call>,
    /// The functions that it called, largest first.
    pub callees: Vec<Call>,
}

/// One side of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Index for [`Selection::function`].
    pub function: u32,
    /// What stands on the stacks in which the call happens.
    pub estimate: Estimate,
}

/// A regular expression for names of functions.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Reads the expression; it may match any part of a name.
    ///
    /// # Errors
    ///
    /// [`Error::is_pattern`] when it is no regular expression.
    pub fn new(pattern: &str) -> Result<Pattern, Error> {
        Regex::new(pattern).map(Pattern).map_err(|source| {
            Error::pattern(format!("`{pattern}`: expected a regular expression"))
                .with_source(source)
        })
    }
}

/// The functions whose names match, largest `cum` first.
pub fn peek(selection: &Selection, pattern: &Pattern) -> Vec<Peek> {
    let mut peeks: Vec<Peek> = top::functions(selection)
        .into_iter()
        .filter(|row| pattern.0.is_match(&selection.function(row.function).name))
        .map(|row| Peek {
            row,
            callers: Vec::new(),
            callees: Vec::new(),
        })
        .collect();
    let wanted: HashMap<u32, usize> = peeks
        .iter()
        .enumerate()
        .map(|(n, peek)| (peek.row.function, n))
        .collect();
    let mut calls: HashMap<(u32, u32), Estimate> = HashMap::new();
    let mut seen = HashSet::new();
    for (frames, estimate) in selection.stacks() {
        seen.clear();
        for pair in frames.windows(2) {
            let call = (pair[0].function, pair[1].function);
            let is_wanted = wanted.contains_key(&call.0) || wanted.contains_key(&call.1);
            if is_wanted && seen.insert(call) {
                calls.entry(call).or_default().add(estimate);
            }
        }
    }
    for ((caller, callee), estimate) in calls {
        if let Some(&n) = wanted.get(&callee) {
            peeks[n].callers.push(Call {
                function: caller,
                estimate,
            });
        }
        if let Some(&n) = wanted.get(&caller) {
            peeks[n].callees.push(Call {
                function: callee,
                estimate,
            });
        }
    }
    let name = |function: u32| &selection.function(function).name;
    for peek in &mut peeks {
        for side in [&mut peek.callers, &mut peek.callees] {
            side.sort_by(|a, b| {
                let size = |call: &Call| call.estimate.value.unsigned_abs();
                size(b)
                    .cmp(&size(a))
                    .then_with(|| name(a.function).cmp(name(b.function)))
            });
        }
    }
    peeks.sort_by(|a, b| {
        let size = |peek: &Peek| peek.row.cum.value.unsigned_abs();
        size(b)
            .cmp(&size(a))
            .then_with(|| name(a.row.function).cmp(name(b.row.function)))
    });
    peeks
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::testdata;

    fn sides(pattern: &str) -> Vec<(String, Vec<String>, Vec<String>)> {
        let selection = Selection::of(&testdata::heap(), None).unwrap();
        let name = |function: u32| selection.function(function).name.clone();
        let side = |calls: &[Call]| {
            calls
                .iter()
                .map(|call| format!("{} {}", name(call.function), call.estimate.value >> 10))
                .collect()
        };
        peek(&selection, &Pattern::new(pattern).unwrap())
            .iter()
            .map(|peek| {
                (
                    name(peek.row.function),
                    side(&peek.callers),
                    side(&peek.callees),
                )
            })
            .collect()
    }

    #[test]
    fn neighbours_of_a_leaf_are_its_callers() {
        assert_eq!(
            sides("grow$"),
            [(
                "alloc::raw_vec::grow".to_owned(),
                vec!["app::parse 60".to_owned(), "app::cache 30".to_owned()],
                vec![]
            )]
        );
    }

    #[test]
    fn recursion_is_its_own_caller() {
        assert_eq!(
            sides("parse"),
            [(
                "app::parse".to_owned(),
                vec!["app::main 60".to_owned(), "app::parse 20".to_owned()],
                vec![
                    "alloc::raw_vec::grow 60".to_owned(),
                    "app::parse 20".to_owned()
                ],
            )]
        );
    }

    #[test]
    fn nothing_matches_nothing() {
        assert!(sides("no such function").is_empty());
    }
}
