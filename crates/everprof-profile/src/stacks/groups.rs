//! Groups: threads that stand at the same place, most first.
//!
//! Context: cold. Invariant: the counts of all groups add up to all threads.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::{Frames, Stacks, ThreadParagraph};

/// Threads with equal stacks and equal labels.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// How many.
    pub count: u64,
    /// The first of them: its stack, labels and kind are those of all.
    pub first: &'a ThreadParagraph,
    /// All of them.
    pub threads: Vec<&'a ThreadParagraph>,
}

impl Group<'_> {
    /// What they do, without addresses and times, each with how many do it, most first.
    pub fn states(&self) -> Vec<(&str, u64)> {
        counted(self.threads.iter().map(|thread| {
            let state = thread.state.as_str();
            let end = state.find([',', ':']).unwrap_or(state.len());
            let end = state.find(" 0x").map_or(end, |at| at.min(end));
            // `waiting 3.2 s`, `running on thread 7`.
            let is_digit = |c: char| c.is_ascii_digit();
            let end = match state.find(is_digit) {
                Some(at) if thread.kind == "task" => at.min(end),
                _ => end,
            };
            (state[..end].trim_end(), thread.count)
        }))
    }

    /// What they are called, without numbers at the end, each with how many bear it, most
    /// first: the threads of a pool are numbered.
    pub fn names(&self) -> Vec<(&str, u64)> {
        counted(self.threads.iter().map(|thread| {
            let name = thread
                .name
                .trim_end_matches(|c: char| c.is_ascii_digit())
                .trim_end_matches(['-', '_', '#', ' ', ':']);
            // One that is all number is known by it.
            let name = if name.is_empty() { &thread.name } else { name };
            (name, thread.count)
        }))
    }
}

/// The threads in groups.
pub fn groups(stacks: &Stacks) -> Vec<Group<'_>> {
    type Key<'a> = (&'a str, &'a Frames, &'a [(String, String)]);
    let mut numbers: HashMap<Key<'_>, usize> = HashMap::new();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for thread in &stacks.threads {
        let key = (
            thread.kind.as_str(),
            &thread.frames,
            thread.labels.as_slice(),
        );
        let number = *numbers.entry(key).or_insert_with(|| {
            groups.push(Group {
                count: 0,
                first: thread,
                threads: Vec::new(),
            });
            groups.len() - 1
        });
        let group = &mut groups[number];
        group.count = group.count.saturating_add(thread.count);
        group.threads.push(thread);
    }
    // Stable: groups of one size stay in the order of the profile.
    groups.sort_by_key(|group| Reverse(group.count));
    groups
}

/// Equal texts with their sums, largest first; empty ones are left out.
fn counted<'a>(texts: impl Iterator<Item = (&'a str, u64)>) -> Vec<(&'a str, u64)> {
    let mut sums: Vec<(&str, u64)> = Vec::new();
    for (text, count) in texts.filter(|(text, _)| !text.is_empty()) {
        match sums.iter_mut().find(|(known, _)| *known == text) {
            Some((_, sum)) => *sum = sum.saturating_add(count),
            None => sums.push((text, count)),
        }
    }
    sums.sort_by_key(|&(_, sum)| Reverse(sum));
    sums
}

#[cfg(test)]
mod tests {
    use super::super::tests::threads;
    use super::*;

    #[test]
    fn threads_at_one_place_are_one_group_whatever_their_names_and_times() {
        let stacks = Stacks::of(&threads());
        let groups = groups(&stacks);
        let counts: Vec<u64> = groups.iter().map(|group| group.count).collect();
        assert_eq!(counts, [2, 1]);
        assert_eq!(groups[0].states(), [("mutex", 2)]);
        assert_eq!(groups[1].states(), [("no stack", 1)]);
    }

    #[test]
    fn threads_of_a_pool_are_known_by_its_name() {
        let thread = |name: &str| ThreadParagraph {
            name: name.to_owned(),
            count: 1,
            ..ThreadParagraph::default()
        };
        let stacks = Stacks {
            threads: ["rayon-0", "main", "rayon-17", "42", ""].map(thread).into(),
            deadlocks: Vec::new(),
        };
        let groups = groups(&stacks);
        assert_eq!(groups[0].names(), [("rayon", 2), ("main", 1), ("42", 1)]);
    }
}
