//! Latest: of the waits of one thread, the one that it is in now.
//!
//! Context: cold. Invariant: there is at most one of each thread.
//!
//! A thread is in several waits where a signal handler interrupted one and waits in its
//! turn: the last to begin is where it stands.

use std::cmp::Reverse;

use super::Blocked;

/// The latest wait of each thread.
#[derive(Debug)]
pub struct Latest<W> {
    waits: Vec<W>,
    /// By thread; what it names stands in `waits`. Apart, so that what is sorted is small.
    order: Vec<(u32, Reverse<u64>, usize)>,
}

impl<W: AsRef<Blocked>> Latest<W> {
    /// Of all these.
    #[must_use]
    pub fn of(waits: Vec<W>) -> Self {
        let word = |(index, wait): (usize, &W)| {
            let &Blocked {
                tid, since_nanos, ..
            } = wait.as_ref();
            (tid, Reverse(since_nanos), index)
        };
        let mut order: Vec<_> = waits.iter().enumerate().map(word).collect();
        order.sort_unstable();
        order.dedup_by_key(|(tid, ..)| *tid);
        Self { waits, order }
    }

    /// That of a thread, if it is in any.
    #[must_use]
    pub fn get(&self, tid: u32) -> Option<&W> {
        let found = self.order.binary_search_by_key(&tid, |(tid, ..)| *tid);
        let &(.., index) = self.order.get(found.ok()?)?;
        self.waits.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::Registers;
    use crate::waits::Operation;

    fn wait(tid: u32, since_nanos: u64) -> Blocked {
        Blocked {
            tid,
            operation: Operation::Futex,
            address: 0,
            since_nanos,
            timed: false,
            labels: 0,
            registers: Registers {
                pc: 0,
                sp: 0,
                fp: 0,
                lr: 0,
            },
        }
    }

    #[test]
    fn last_to_begin_is_told_whatever_the_order() {
        let mut waits = vec![
            wait(7, 50),
            wait(3, 10),
            wait(7, 90),
            wait(7, 70),
            wait(9, 1),
        ];
        for _ in 0..waits.len() {
            waits.rotate_left(1);
            let latest = Latest::of(waits.clone());
            let since = |tid| latest.get(tid).map(|wait| wait.since_nanos);
            assert_eq!(
                [since(3), since(7), since(9)],
                [Some(10), Some(90), Some(1)]
            );
            assert_eq!([since(0), since(8), since(10)], [None; 3]);
        }
    }
}
