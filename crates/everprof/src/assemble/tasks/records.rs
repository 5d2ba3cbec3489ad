//! The records of tasks, for programs that ask in code.
//!
//! Context: cold. Invariant: a record for each task that is seen, all of one look.

use everprof_core::tasks::{self, Look, Seen, Stack, State, Wakers};
use everprof_core::{global, labels, modules};

use super::{Names, between, look_at_all, set_of, since, waited};
use crate::tasks::{Leak, TaskRecord, TaskState};

/// The records of all tasks. Given the stack pointer of whoever asks, they also say whether
/// nobody but the tasks themselves can reach their wakers.
pub(crate) fn task_records(asker: Option<u64>) -> Vec<TaskRecord> {
    modules::refresh();
    let look = look_at_all(asker);
    let sets = labels::sets_of(global::store());
    let addresses = |stack: Stack| stack.addresses.to_vec();
    let mut names = Names::default();
    let record = |task: &Seen| {
        let stacks: Vec<Stack> = stacks(&look, task);
        let set = set_of(task, stacks.first());
        let pairs = sets.as_ref().and_then(|sets| sets.pairs(set));
        TaskRecord {
            id: task.id,
            parent: (task.parent != 0).then_some(task.parent),
            made_by: (task.maker != 0).then_some(task.maker),
            name: names.of(task.kind).to_owned(),
            state: state(task),
            since: since(task, look.now_nanos),
            waited: waited(task, look.now_nanos),
            age: between(task.created_nanos, look.now_nanos),
            labels: pairs
                .into_iter()
                .flatten()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            more_stacks: task.leaf_count.saturating_sub(task.leaves().len() as u32),
            stacks: stacks.into_iter().map(addresses).collect(),
            created_by: look.stack(task.made_by).map(addresses).unwrap_or_default(),
            wakers: match task.wakers {
                Wakers::Kept(count) => Some(count),
                Wakers::Unknown => None,
            },
            leak: match task.leak {
                tasks::Leak::No => Leak::No,
                tasks::Leak::Suspected => Leak::Suspected,
                tasks::Leak::Unwakeable => Leak::Unwakeable,
                tasks::Leak::Certain => Leak::Certain,
            },
        }
    };
    look.tasks.iter().map(record).collect()
}

fn stacks(look: &Look, task: &Seen) -> Vec<Stack> {
    let leaves = task.leaves().iter();
    leaves.filter_map(|bucket| look.stack(*bucket)).collect()
}

fn state(task: &Seen) -> TaskState {
    match task.state {
        State::NotPolledYet => TaskState::NotPolledYet,
        State::Running { tid } => TaskState::Running { thread: tid },
        State::Waiting => TaskState::Waiting,
        State::Woken {
            by_itself: true, ..
        } => TaskState::Yielding,
        State::Woken { .. } => TaskState::Woken,
    }
}
