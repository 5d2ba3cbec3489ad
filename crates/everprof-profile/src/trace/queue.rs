//! Queue: threads that have events, by the time of their next one.
//!
//! Context: cold, and asked whenever another thread's event is the next: with four busy
//! threads that is three times in four.
//! Invariant: no entry is before that of its parent, at `(place − 1) / 2`.
//! Source: a binary heap. Std's tells its first entry but not its second, which says
//! how far the first may go on; with it one step down does for a removal and an insertion.

/// Times of next events with their threads, the earliest first.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: Vec<(u64, u32)>,
}

impl Queue {
    /// The earliest.
    pub(crate) fn first(&self) -> Option<(u64, u32)> {
        self.entries.first().copied()
    }

    /// The time of the earliest but for the first.
    #[inline]
    pub(crate) fn second_time(&self) -> Option<u64> {
        let time = |place: usize| self.entries.get(place).map(|entry| entry.0);
        match (time(1), time(2)) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, _) => one,
        }
    }

    /// Adds a thread.
    pub(crate) fn push(&mut self, time: u64, thread: u32) {
        let mut at = self.entries.len();
        self.entries.push((time, thread));
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.entries[parent].0 <= time {
                break;
            }
            self.entries.swap(parent, at);
            at = parent;
        }
    }

    /// Says when the first one's next event is, or that it has none.
    #[inline]
    pub(crate) fn change_first(&mut self, time: Option<u64>) {
        let Some(last) = self.entries.last().copied() else {
            return;
        };
        let entry = match time {
            Some(time) => (time, self.entries[0].1),
            None => {
                self.entries.pop();
                last
            }
        };
        let entries = &mut self.entries[..];
        if entries.is_empty() {
            return;
        }
        let mut at = 0;
        loop {
            let mut child = 2 * at + 1;
            if child >= entries.len() {
                break;
            }
            if child + 1 < entries.len() && entries[child + 1].0 < entries[child].0 {
                child += 1;
            }
            if entry.0 <= entries[child].0 {
                break;
            }
            entries[at] = entries[child];
            at = child;
        }
        entries[at] = entry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_is_always_the_earliest(
            steps in prop::collection::vec((0..3, 0u64..50), 0..200),
        ) {
            let mut queue = Queue::default();
            let mut model: Vec<u64> = Vec::new();
            for (n, (kind, time)) in steps.into_iter().enumerate() {
                match kind {
                    0 => {
                        queue.push(time, n as u32);
                        model.push(time);
                    }
                    kind => {
                        queue.change_first((kind == 1).then_some(time));
                        if !model.is_empty() {
                            model.remove(0);
                            model.extend((kind == 1).then_some(time));
                        }
                    }
                }
                model.sort_unstable();
                prop_assert_eq!(queue.first().map(|first| first.0), model.first().copied());
                prop_assert_eq!(queue.second_time(), model.get(1).copied());
            }
        }
    }
}
