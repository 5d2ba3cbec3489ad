//! Which threads can never go on, as far as that can be known.
//!
//! Context: cold. Invariant: a thread is called stuck only if no thread that is not
//! stuck could end its wait: whoever *may* hold its lock counts, not who is likely to.
//!
//! A lock that nobody had to wait for was taken without a trace, so its holder is
//! often not known: only who may be it. The answer is therefore the greatest set of
//! waiting threads with this property:
//!
//! > each waits, without a time limit, for a lock all of whose possible holders are
//! > in the set, or for the end of a thread in the set.
//!
//! It is found by taking out, again and again, whoever waits for something that a
//! thread outside of the set could still give. What is left waits for itself, and
//! whatever the truth about each holder is, there is a cycle in it.
//!
//! Source: the reduction of wait-for graphs in the "OR" model (E. Knapp, "Deadlock
//! detection in distributed databases", ACM Computing Surveys 19(4), 1987).

use everprof_core::threads::LockAddress;

/// What a thread waits for. Threads are known by their index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// Nothing, or what anybody may bring about: a message, time, a signal.
    Anybody,
    /// A lock that one of these holds. None of them: nobody knows who.
    HolderOf {
        /// Which lock.
        address: LockAddress,
        /// Every thread that may hold it.
        candidates: Vec<usize>,
    },
    /// The end of a thread.
    EndOf(usize),
}

/// The threads that can never go on, by index, in order.
pub(crate) fn stuck(threads: &[Awaits]) -> Vec<usize> {
    let mut is_stuck: Vec<bool> = threads
        .iter()
        .map(|awaits| *awaits != Awaits::Anybody)
        .collect();
    loop {
        let freed: Vec<usize> = (0..threads.len())
            .filter(|&thread| is_stuck[thread] && may_go_on(&threads[thread], &is_stuck))
            .collect();
        if freed.is_empty() {
            break;
        }
        for thread in freed {
            is_stuck[thread] = false;
        }
    }
    (0..threads.len())
        .filter(|&thread| is_stuck[thread])
        .collect()
}

fn may_go_on(awaits: &Awaits, is_stuck: &[bool]) -> bool {
    let is_free = |thread: &usize| !is_stuck.get(*thread).copied().unwrap_or(false);
    match awaits {
        Awaits::Anybody => true,
        Awaits::HolderOf { candidates, .. } => {
            candidates.is_empty() || candidates.iter().any(is_free)
        }
        Awaits::EndOf(thread) => is_free(thread),
    }
}

/// Parts the stuck threads into groups that wait for one another, each in order;
/// threads that only wait behind a group are in none.
pub(crate) fn cycles(threads: &[Awaits], stuck: &[usize]) -> Vec<Vec<usize>> {
    let reachable = |from: usize| -> Vec<bool> {
        let mut seen = vec![false; threads.len()];
        let mut open = next(&threads[from]);
        while let Some(thread) = open.pop() {
            if let Some(seen) = seen.get_mut(thread)
                && !*seen
            {
                *seen = true;
                open.extend(next(&threads[thread]));
            }
        }
        seen
    };
    let reach: Vec<(usize, Vec<bool>)> = stuck.iter().map(|&t| (t, reachable(t))).collect();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (thread, seen) in &reach {
        if !seen[*thread] || groups.iter().flatten().any(|other| other == thread) {
            continue;
        }
        let mutual = reach
            .iter()
            .filter(|(other, back)| seen[*other] && back[*thread])
            .map(|(other, _)| *other);
        groups.push(mutual.collect());
    }
    groups
}

/// For each group, the stuck threads in none that wait for it and for no group before.
pub(crate) fn behind(
    threads: &[Awaits],
    stuck: &[usize],
    groups: &[Vec<usize>],
) -> Vec<Vec<usize>> {
    let mut place: Vec<Option<usize>> = vec![None; threads.len()];
    for (group, members) in groups.iter().enumerate() {
        for &thread in members {
            place[thread] = Some(group);
        }
    }
    let mut behind = vec![Vec::new(); groups.len()];
    // Whoever waits for somebody with a place has one: as many rounds as the longest queue.
    loop {
        let next: Vec<(usize, usize)> = stuck
            .iter()
            .filter(|&&thread| place[thread].is_none())
            .filter_map(|&thread| {
                let groups = next(&threads[thread]).into_iter();
                Some((thread, groups.filter_map(|other| *place.get(other)?).min()?))
            })
            .collect();
        if next.is_empty() {
            return behind;
        }
        for (thread, group) in next {
            place[thread] = Some(group);
            behind[group].push(thread);
        }
    }
}

/// Those that could end a thread's wait.
fn next(awaits: &Awaits) -> Vec<usize> {
    match awaits {
        Awaits::Anybody => Vec::new(),
        Awaits::HolderOf { candidates, .. } => candidates.clone(),
        Awaits::EndOf(other) => vec![*other],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(address: u64, candidates: &[usize]) -> Awaits {
        Awaits::HolderOf {
            address: LockAddress::new(address),
            candidates: candidates.to_vec(),
        }
    }

    fn found(threads: &[Awaits]) -> Vec<Vec<usize>> {
        cycles(threads, &stuck(threads))
    }

    #[test]
    fn cycles_of_two_and_three_are_found_and_who_waits_behind_them_is_stuck() {
        let two = [lock(1, &[1]), lock(2, &[0]), Awaits::Anybody];
        assert_eq!(found(&two), [vec![0, 1]]);
        let three = [lock(1, &[1]), lock(2, &[2]), lock(3, &[0]), lock(1, &[1])];
        assert_eq!(stuck(&three), [0, 1, 2, 3]);
        assert_eq!(found(&three), [vec![0, 1, 2]]);
        let groups = found(&three);
        assert_eq!(behind(&three, &stuck(&three), &groups), [vec![3]]);
        let oneself = [lock(1, &[0])];
        assert_eq!(found(&oneself), [vec![0]]);
    }

    #[test]
    fn a_holder_that_may_be_somebody_who_runs_is_no_deadlock() {
        let threads = [lock(1, &[1, 2]), lock(2, &[0]), Awaits::Anybody];
        assert!(stuck(&threads).is_empty());
        // Nobody knows who holds it: nobody says that it is stuck.
        assert!(stuck(&[lock(1, &[])]).is_empty());
        // Somebody waits in vain, but for what a thread that runs may bring.
        assert!(stuck(&[Awaits::Anybody, lock(1, &[0])]).is_empty());
    }

    #[test]
    fn whoever_of_several_holds_it_all_of_them_are_stuck() {
        // The main thread joins one of two that wait for each other, and may itself
        // hold either lock.
        let threads = [Awaits::EndOf(1), lock(1, &[0, 1, 2]), lock(2, &[0, 1, 2])];
        assert_eq!(stuck(&threads), [0, 1, 2]);
        assert_eq!(found(&threads), [vec![0, 1, 2]]);
    }

    /// Random programs in which each lock has one true holder, known only as one of
    /// several. Whoever is called stuck cannot finish in truth: running the program
    /// with its true holders to its end leaves all of them waiting. A fixed seed.
    #[test]
    fn nobody_is_called_stuck_who_could_go_on() {
        let mut seed = 7_u64;
        let mut random = move |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % below
        };
        let (mut deadlocked, mut alarms) = (0, 0);
        for _ in 0..20_000 {
            let count = 2 + random(6);
            let locks = 1 + random(4);
            let holder: Vec<usize> = (0..locks).map(|_| random(count)).collect();
            let threads: Vec<Awaits> = (0..count)
                .map(|thread| match random(4) {
                    0 => Awaits::Anybody,
                    1 if thread > 0 => Awaits::EndOf(random(thread)),
                    _ => {
                        let at = random(locks);
                        let mut candidates = vec![holder[at]];
                        candidates.extend((0..random(3)).map(|_| random(count)));
                        lock(at as u64, &candidates)
                    }
                })
                .collect();
            // The truth: a thread ends when what it waits for is given; then it lets go
            // of all that it holds.
            let mut ended = vec![false; count];
            for _ in 0..=count {
                for thread in 0..count {
                    ended[thread] |= match &threads[thread] {
                        Awaits::Anybody => true,
                        Awaits::HolderOf { address, .. } => ended[holder[address.get() as usize]],
                        Awaits::EndOf(other) => ended[*other],
                    };
                }
            }
            let called = stuck(&threads);
            assert!(called.iter().all(|&thread| !ended[thread]));
            alarms += usize::from(!called.is_empty());
            deadlocked += usize::from(ended.iter().any(|ended| !ended));
        }
        // Both happen: the test is about something.
        assert!(
            alarms > 1000 && deadlocked > alarms,
            "{alarms} {deadlocked}"
        );
    }
}
