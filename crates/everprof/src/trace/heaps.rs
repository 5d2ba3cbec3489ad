//! Numbers of managed heaps, by which traces know them.
//!
//! Context: cold. Invariant: a number belongs to one name for good; numbers are given in
//! turn, from 1.

use std::sync::{Mutex, PoisonError};

static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The number of the heap of this name.
pub(crate) fn number_of(name: &str) -> u32 {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = names.iter().position(|known| known == name);
    let index = known.unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    index as u32 + 1
}

/// The names of all numbers from `first` on.
pub(crate) fn names_from(first: u32) -> Vec<(u32, String)> {
    let names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let numbered = (1..).zip(names.iter());
    numbered
        .skip(first.saturating_sub(1) as usize)
        .map(|(number, name)| (number, name.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_has_one_number_for_good() {
        let (one, other) = (number_of("one, of a test"), number_of("another"));
        assert_ne!(one, other);
        assert_eq!(number_of("one, of a test"), one);
        let names = names_from(one);
        assert!(names.contains(&(one, "one, of a test".to_owned())));
        assert!(names.iter().all(|(number, _)| *number >= one));
    }
}
