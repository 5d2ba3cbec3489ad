//! Turns: which wakes a thread owes its last waits' ends to.
//!
//! Context: sampled. Invariant: all bits zero is the first state, as of all thread state.

/// The two kinds of waits that a thread did last, and the wakes that ended them: a lock
/// that it holds, and one that it took meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turns {
    last: [Turn; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    kind: u64,
    wake: u64,
}

impl Turns {
    pub(crate) const NONE: Self = Self {
        last: [Turn { kind: 0, wake: 0 }; 2],
    };

    /// A wait of that kind was ended by that wake; 0: by nobody that is known.
    pub(crate) fn note(&mut self, kind: u64, wake: u64) {
        let [first, _] = self.last;
        if first.kind != kind {
            self.last = [first; 2];
        }
        if let Some(first) = self.last.first_mut() {
            *first = Turn { kind, wake };
        }
    }

    /// The wake that ended the last wait of that kind.
    pub(crate) fn wake(&self, kind: u64) -> u64 {
        self.last
            .iter()
            .find(|turn| turn.kind == kind)
            .map_or(0, |turn| turn.wake)
    }
}

#[cfg(all(test, not(everprof_loom)))]
mod tests {
    use super::*;

    #[test]
    fn turns_of_two_kinds_are_remembered() {
        let mut turns = Turns::NONE;
        turns.note(7, 1);
        turns.note(8, 2);
        turns.note(8, 3);
        assert_eq!((turns.wake(7), turns.wake(8), turns.wake(9)), (1, 3, 0));
        turns.note(9, 4);
        assert_eq!((turns.wake(7), turns.wake(8), turns.wake(9)), (0, 3, 4));
    }
}
