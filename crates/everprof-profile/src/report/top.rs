//! Top: what stands on each function itself, and on all that it called.
//!
//! Context: cold.
//! Invariant: the `flat` of all functions adds up to the total; a function that calls
//! itself counts once in its own `cum`.

use super::{Frame, Selection};
use crate::errorbars::Estimate;

/// The functions of a selection, largest first.
#[derive(Clone, Debug, Default)]
pub struct Top {
    /// Those that were asked for.
    pub rows: Vec<Row>,
    /// How many functions were left out, and what stands on them.
    pub left_out: (usize, i64),
}

/// A function.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Index for [`Selection::function`].
    pub function: u32,
    /// The line on which most of it stands; 0 if not known.
    pub line: u32,
    /// On the function itself.
    pub flat: Estimate,
    /// On the function and all that it called.
    pub cum: Estimate,
}

/// By what rows are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By what stands on the function itself.
    #[default]
    Flat,
    /// By what stands on the function and all that it called.
    Cum,
}

/// The `limit` largest functions.
pub fn top(selection: &Selection, order: Order, limit: usize) -> Top {
    let mut rows = functions(selection);
    let key = |row: &Row| match order {
        Order::Flat => (row.flat.value.unsigned_abs(), row.cum.value.unsigned_abs()),
        Order::Cum => (row.cum.value.unsigned_abs(), row.flat.value.unsigned_abs()),
    };
    rows.sort_by(|a, b| {
        let name = |row: &Row| &selection.function(row.function).name;
        key(b).cmp(&key(a)).then_with(|| name(a).cmp(name(b)))
    });
    let rest = rows.split_off(limit.min(rows.len()));
    Top {
        rows,
        left_out: (
            rest.len(),
            rest.iter().map(|row| row.flat.value).sum::<i64>(),
        ),
    }
}

/// Each function that stands in a stack, in the order of their numbers.
pub(super) fn functions(selection: &Selection) -> Vec<Row> {
    let mut rows: Vec<Row> = (0..selection.function_count())
        .map(|number| Row {
            function: number as u32,
            line: 0,
            flat: Estimate::default(),
            cum: Estimate::default(),
        })
        .collect();
    // The stack at which a function was last counted, so that recursion counts once.
    let mut counted = vec![usize::MAX; rows.len()];
    let mut by_line: std::collections::HashMap<Frame, (u64, u64)> =
        std::collections::HashMap::new();
    for (number, (frames, estimate)) in selection.stacks().enumerate() {
        for frame in frames {
            let function = frame.function as usize;
            if counted[function] != number {
                counted[function] = number;
                rows[function].cum.add(estimate);
                let line = by_line.entry(*frame).or_default();
                line.1 = line.1.saturating_add(estimate.value.unsigned_abs());
            }
        }
        if let Some(leaf) = frames.last() {
            rows[leaf.function as usize].flat.add(estimate);
            let line = by_line.entry(*leaf).or_default();
            line.0 = line.0.saturating_add(estimate.value.unsigned_abs());
        }
    }
    let mut largest = vec![((0, 0), 0u32); rows.len()];
    for (frame, weight) in by_line {
        let known = &mut largest[frame.function as usize];
        // The lower line wins a tie, so that the order of a hash table never shows.
        if (weight, u32::MAX - frame.line) > (known.0, u32::MAX - known.1) {
            *known = (weight, frame.line);
        }
    }
    for (row, (_, line)) in rows.iter_mut().zip(largest) {
        row.line = line;
    }
    // Functions of no stack: their frames were left out.
    rows.retain(|row| counted[row.function as usize] != usize::MAX);
    rows
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::testdata;

    fn shown(selection: &Selection, top: &Top) -> Vec<(String, i64, i64, u32)> {
        top.rows
            .iter()
            .map(|row| {
                let name = selection.function(row.function).name.clone();
                (name, row.flat.value >> 10, row.cum.value >> 10, row.line)
            })
            .collect()
    }

    #[test]
    fn flat_adds_up_and_recursion_counts_once() {
        let selection = Selection::of(&testdata::heap(), None).unwrap();
        let all = top(&selection, Order::Flat, usize::MAX);
        let rows = shown(&selection, &all);
        assert_eq!(rows[0], ("alloc::raw_vec::grow".to_owned(), 90, 90, 50));
        assert_eq!(rows[1], ("app+0x900".to_owned(), 10, 10, 0));
        assert_eq!(rows[2], ("app::main".to_owned(), 0, 100, 10));
        assert_eq!(rows[3], ("app::parse".to_owned(), 0, 60, 20));
        let flat: i64 = all.rows.iter().map(|row| row.flat.value).sum();
        assert_eq!(flat, selection.total.value);
        assert_eq!(all.left_out, (0, 0));
    }

    #[test]
    fn what_the_limit_leaves_out_is_counted() {
        let selection = Selection::of(&testdata::heap(), None).unwrap();
        let one = top(&selection, Order::Flat, 1);
        assert_eq!((one.rows.len(), one.left_out), (1, (5, 10 << 10)));
    }

    #[test]
    fn order_by_cum_starts_at_the_root() {
        let selection = Selection::of(&testdata::heap(), None).unwrap();
        let rows = shown(&selection, &top(&selection, Order::Cum, 2));
        assert_eq!(rows[0].0, "app::main");
        assert_eq!(rows[1].0, "alloc::raw_vec::grow");
    }

    #[test]
    fn bars_of_a_function_are_those_of_its_samples() {
        let selection = Selection::of(&testdata::heap(), None).unwrap();
        let rows = functions(&selection);
        let main = rows.iter().find(|row| row.line == 10).unwrap();
        assert_eq!(main.cum, selection.total);
        assert!(selection.has_error_bars && main.cum.error() > 0.0);
    }
}
