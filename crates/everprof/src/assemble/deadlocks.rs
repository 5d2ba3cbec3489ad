//! Who can never go on: what stands still, and the names that say what is waited for.
//!
//! Context: cold. Invariant: a wait counts only where its word is the lock's own, told by
//! the function that sleeps; only what stood still from before its stack was read
//! until after it is used.
//!
//! A look finds out something of those that sleep all the while. In a program that
//! also works, one look may meet threads that run, which may hold any lock; so a look
//! that found nothing, and not all at rest, is repeated a few times.

use std::collections::HashMap;
use std::time::Duration;

use everprof_core::threads::{LockAddress, Standing, StandingThread, StandingWait, WhoAsks};
use everprof_core::waits::{self, Blocked, Operation};
use everprof_core::{global, modules};
use everprof_profile::LocationId;
use everprof_profile::wait_kind::{WaitKind, sleeps_on_lock};

use super::modules::Modules;
use super::named::Named;
use crate::deadlock::graph::{self, Awaits};
use crate::deadlock::{Awaited, Deadlock, StuckThread};
use crate::profile::Names;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) found: Vec<Deadlock>,
    /// For each thread that has waited long enough for a lock, by its number: who
    /// holds it. None: nobody knows.
    pub(crate) holders: HashMap<u32, Option<u32>>,
}

/// Looks for deadlocks among threads that have waited at least so long.
pub(crate) fn deadlocks(least_wait: Duration, asker: WhoAsks) -> Findings {
    let least_nanos = nanos(least_wait);
    for attempt in 0..ATTEMPTS {
        let is_last = attempt + 1 == ATTEMPTS;
        match look(least_nanos, asker) {
            Look::Sure(findings) => return findings,
            Look::Unsure(findings) if is_last || !findings.found.is_empty() => return findings,
            // Whoever runs is asleep soon, or never.
            Look::Unsure(_) => std::thread::sleep(PAUSE * (1 << attempt)),
        }
    }
    Findings::default()
}

/// Whether anybody has waited so long in what could be a lock, before stacks are looked at.
pub(crate) fn may_be_deadlocked(least_wait: Duration) -> bool {
    let until_nanos = waits::now_nanos().saturating_sub(nanos(least_wait));
    let mut is_any = false;
    global::waits().for_each_blocked(|wait| is_any |= may_be_of_lock(wait, until_nanos));
    is_any
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// 1 + 2 + 4 + 8 ms in all, where there is something to look at.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(1);

enum Look {
    /// Another one would find the same.
    Sure(Findings),
    Unsure(Findings),
}

/// What a thread waits for, by the names of its functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// A lock of Rust's standard library, which does not say who holds it.
    Lock(WaitKind),
    /// A lock of C's.
    OfC(WaitKind),
    End,
    Other,
}

fn look(least_nanos: u64, asker: WhoAsks) -> Look {
    let until_nanos = waits::now_nanos().saturating_sub(least_nanos);
    modules::refresh();
    let Some(mut standing) = Standing::look(until_nanos, asker) else {
        return Look::Sure(Findings::default());
    };
    let modules = Modules::of_this_process();
    let mut named = Named::new(&[("threads", "count")], &modules, Names::Table);
    let stacks: Vec<_> = standing.threads().map(|t| named.stack(t.stack)).collect();
    named.finish();
    let wanted: Vec<Wanted> = standing
        .threads()
        .zip(&stacks)
        .map(|(thread, stack)| wanted(&named, &thread, stack))
        .collect();
    if !wanted
        .iter()
        .any(|w| matches!(w, Wanted::Lock(_) | Wanted::OfC(_)))
    {
        return Look::Sure(Findings::default());
    }
    let waits: Vec<Option<StandingWait>> = standing.threads().map(|t| t.wait.copied()).collect();
    let locks: Vec<LockAddress> = wanted
        .iter()
        .zip(&waits)
        .filter(|(wanted, _)| matches!(wanted, Wanted::Lock(_)))
        .filter_map(|(_, wait)| Some(wait.as_ref()?.address))
        .collect();
    let mut may_hold = standing.may_hold(&locks).into_iter();
    let mut awaits: Vec<Awaits> = (0..wanted.len())
        .map(|n| match (wanted[n], &waits[n]) {
            (Wanted::Lock(_), Some(wait)) => Awaits::HolderOf {
                address: wait.address,
                candidates: may_hold.next().flatten().unwrap_or_default(),
            },
            (Wanted::OfC(_), Some(wait)) => Awaits::HolderOf {
                address: wait.address,
                candidates: standing.owner(wait).into_iter().collect(),
            },
            (Wanted::End, Some(wait)) => standing
                .thread_of(wait.address.get())
                .map_or(Awaits::Anybody, Awaits::EndOf),
            _ => Awaits::Anybody,
        })
        .collect();
    look_closer(&mut awaits, &standing, &wanted);
    let is_same = standing.look_again();
    let is_at_rest = is_same && (0..wanted.len()).all(|n| standing.is_still(n));
    amend(&mut awaits, &standing, &wanted);
    let findings = findings(&standing, &named, &stacks, &wanted, &awaits, &waits);
    if is_at_rest {
        Look::Sure(findings)
    } else {
        Look::Unsure(findings)
    }
}

/// Before anybody is called stuck: whoever was ruled out as a holder may have the guard
/// in memory that its stack leads to.
fn look_closer(awaits: &mut [Awaits], standing: &Standing, wanted: &[Wanted]) {
    let stuck = graph::stuck(awaits);
    let locks: Vec<LockAddress> = stuck
        .iter()
        .filter_map(|&thread| match (&awaits[thread], wanted[thread]) {
            (Awaits::HolderOf { address, .. }, Wanted::Lock(_)) => Some(*address),
            _ => None,
        })
        .collect();
    if locks.is_empty() {
        return;
    }
    for thread in 0..awaits.len() {
        let leads_to = standing.leads_to(thread, &locks);
        let met = locks.iter().zip(leads_to).filter(|(_, leads)| *leads);
        for (lock, _) in met {
            for (awaits, wanted) in awaits.iter_mut().zip(wanted) {
                if let (
                    Awaits::HolderOf {
                        address,
                        candidates,
                    },
                    Wanted::Lock(_),
                ) = (awaits, wanted)
                    && address == lock
                {
                    candidates.push(thread);
                }
            }
        }
    }
}

/// Who has not stood still may hold any lock that does not say who holds it, and waits for
/// nothing that is known.
fn amend(awaits: &mut [Awaits], standing: &Standing, wanted: &[Wanted]) {
    let restless: Vec<usize> = (0..awaits.len())
        .filter(|&n| !standing.is_still(n))
        .collect();
    for (thread, (awaits, seen)) in awaits.iter_mut().zip(standing.threads()).enumerate() {
        if seen.wait.is_none() {
            *awaits = Awaits::Anybody;
        }
        let is_of_c = matches!(wanted.get(thread), Some(Wanted::OfC(_)));
        if let Awaits::HolderOf { candidates, .. } = awaits
            && !is_of_c
        {
            if !standing.is_complete() {
                candidates.clear();
            } else if !candidates.is_empty() {
                // The one that waits may have it already.
                candidates.push(thread);
                candidates.extend_from_slice(&restless);
                candidates.sort_unstable();
                candidates.dedup();
            }
        }
    }
}

fn findings(
    standing: &Standing,
    named: &Named<'_>,
    stacks: &[Vec<LocationId>],
    wanted: &[Wanted],
    awaits: &[Awaits],
    waits: &[Option<StandingWait>],
) -> Findings {
    let ids: Vec<u32> = standing.threads().map(|thread| thread.id).collect();
    let mut findings = Findings::default();
    for (thread, (id, wanted)) in ids.iter().zip(wanted).enumerate() {
        if let (Wanted::Lock(_) | Wanted::OfC(_), Awaits::HolderOf { candidates, .. }) =
            (wanted, &awaits[thread])
        {
            let holder = match candidates.as_slice() {
                [one] => ids.get(*one).copied(),
                _ => None,
            };
            findings.holders.insert(*id, holder);
        }
    }
    let now_nanos = waits::now_nanos();
    let stuck = graph::stuck(awaits);
    let threads: Vec<StandingThread<'_>> = standing.threads().collect();
    let describe = |thread: usize| StuckThread {
        id: ids[thread],
        name: String::from_utf8_lossy(threads[thread].name).into_owned(),
        awaits: match (&awaits[thread], wanted[thread]) {
            (Awaits::EndOf(other), _) => Awaited::End {
                thread: ids[*other],
            },
            (
                Awaits::HolderOf {
                    address,
                    candidates,
                },
                Wanted::Lock(kind) | Wanted::OfC(kind),
            ) => Awaited::Lock {
                kind: kind.name(),
                address: *address,
                held_by: candidates.iter().map(|&other| ids[other]).collect(),
            },
            // Never: such threads are not stuck.
            _ => Awaited::End { thread: 0 },
        },
        waited: Duration::from_nanos(
            waits[thread].map_or(0, |wait| now_nanos.saturating_sub(wait.since_nanos)),
        ),
        stack: named
            .functions(&stacks[thread])
            .map(str::to_owned)
            .collect(),
    };
    let groups = graph::cycles(awaits, &stuck);
    let behind = graph::behind(awaits, &stuck, &groups);
    findings.found = groups
        .iter()
        .zip(behind)
        .map(|(group, behind)| Deadlock {
            threads: group.iter().map(|&thread| describe(thread)).collect(),
            behind: behind.iter().map(|&thread| ids[thread]).collect(),
        })
        .collect();
    findings
}

/// Whether a wait could be one for a lock, before its stack is looked at.
fn may_be_of_lock(wait: &Blocked, until_nanos: u64) -> bool {
    let is_lock = matches!(
        wait.operation,
        Operation::Futex | Operation::Lock | Operation::Rwlock
    );
    is_lock && !wait.timed && wait.address != 0 && wait.since_nanos <= until_nanos
}

fn wanted(named: &Named<'_>, thread: &StandingThread<'_>, stack: &[LocationId]) -> Wanted {
    // One whose stack was not walked has not waited long enough, or has a time limit.
    let Some(wait) = thread.wait.filter(|_| !stack.is_empty()) else {
        return Wanted::Other;
    };
    match wait.operation {
        Operation::Lock => Wanted::OfC(WaitKind::Mutex),
        Operation::Rwlock => Wanted::OfC(WaitKind::RwLock),
        Operation::Join => Wanted::End,
        Operation::Futex => match sleeps_on_lock(named.functions(stack)) {
            Some(kind) => Wanted::Lock(kind),
            None => Wanted::Other,
        },
        _ => Wanted::Other,
    }
}
