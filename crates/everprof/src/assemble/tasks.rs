//! The profile of tasks: what each of them awaits now.
//!
//! Context: cold. Invariant: every task is counted once, at the first of its stacks.
//!
//! A sample's stack is the await stack, then a frame `everprof::spawn::task`, then the stack
//! that made the task.
//!
//! **Groups.** Unless each task is asked for, tasks that are alike are one sample: they wait at
//! the same places, were made at the same place, do the same and bear the same labels.
//!
//! **Several places.** A task may wait in several places at once. Its first stack is the sample
//! that counts it; the others are samples that count 0. What joins them is a label: the number
//! of the task, or in a group of several the number of its first task.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::mpsc::channel;
use std::time::Duration;

use everprof_core::labels::LOST;
use everprof_core::lost::{Lost, TASK_MADE};
use everprof_core::modules;
use everprof_core::tasks::{self, Kind, Look, Seen, Stack, State};
use everprof_profile::report::units;
use everprof_profile::stacks::{
    TASK_GROUP_LABEL, TASK_ID_LABEL, TASK_LABEL, TASK_LEAK_LABEL, TASK_MAKER_LABEL,
    TASK_PARENT_LABEL, TASK_STATE_LABEL,
};
use everprof_profile::{Filter, Label, LocationId, Profile, StackId, is_own_frame};

use super::as_value;
use super::labels::LabelSets;
use super::modules::Modules;
use super::named::Named;
use super::places::Places;
use crate::profile::Ask;
use crate::start;
use crate::task;
use alike::{Group, Recent, are_alike, stand_alike};
pub(crate) use records::task_records;

mod alike;
mod records;

/// The watched tasks of this process now. `kind` is what a sample is called.
pub(crate) fn tasks(kind: &str, ask: &Ask<'_>) -> Profile {
    modules::refresh();
    let here = 0_u8;
    let asker = ask.leaked.then(|| std::ptr::from_ref(&here).addr() as u64);
    let mut look = look_at_all(asker);
    let lost = look.lost;
    let watched = look.tasks.len();
    if let Some(age) = ask.older_than {
        let has_waited = |task: &Seen| waited(task, look.now_nanos) >= age;
        // With `leaked`, one that has waited so long is among those that are asked for.
        look.tasks
            .retain(|task| has_waited(task) || (ask.leaked && may_be_leaked(task)));
    } else if ask.leaked {
        look.tasks.retain(may_be_leaked);
    }
    let mut profile = assemble(kind, &look, ask);
    let comment = seen_of_all(watched, lost);
    profile.add_comment(&comment);
    if let Some(kept) = ask.keep {
        kept.replace(Some(KeptTasks {
            look,
            comment,
            threads: None,
        }));
    }
    profile
}

/// The tasks of a profile that does not tell each by itself, for whoever does later.
#[derive(Debug)]
pub(crate) struct KeptTasks {
    look: Look,
    comment: String,
    /// Those beside them in the profile `goroutine`.
    pub(super) threads: Option<Profile>,
}

impl KeptTasks {
    /// A sample each, with lines.
    pub(crate) fn each(&self, kind: &str) -> Result<Profile, everprof_profile::Error> {
        let ask = Ask {
            each: true,
            names: crate::profile::Names::Full,
            ..Ask::default()
        };
        let mut tasks = assemble(kind, &self.look, &ask);
        tasks.add_comment(&self.comment);
        match &self.threads {
            Some(threads) => Profile::merge(&[&tasks, threads]),
            None => Ok(tasks),
        }
    }
}

/// How many are watched, of how many, as far as that is known.
fn seen_of_all(watched: usize, lost: usize) -> String {
    let mut words = match task::tokio_alive() {
        Some(alive) => format!("{watched} watched tasks and futures; tokio has {alive} tasks"),
        None => format!("{watched} watched tasks and futures; of others nothing is known"),
    };
    if lost > 0 {
        let _ = write!(words, "; {lost} more are not seen, for want of memory");
    }
    words
}

/// Looks at all tasks. Given the stack pointer of whoever asks, it looks on a thread of
/// everprof's own: the asker's stack may hold the waker that alone can wake one of them.
fn look_at_all(asker: Option<u64>) -> Look {
    let own = asker.map(|asker| {
        let (tell, told) = channel();
        let thread = start::spawn("everprof-tasks", move || {
            _ = tell.send(tasks::look(Some(asker)))
        })
        .ok()?;
        let look = told.recv().ok();
        _ = thread.join();
        look
    });
    own.flatten().unwrap_or_else(|| tasks::look(None))
}

fn may_be_leaked(task: &Seen) -> bool {
    task.leak != tasks::Leak::No
}

/// The labels where it waits, else those that it was made with.
fn set_of(task: &Seen, stack: Option<&Stack>) -> u32 {
    match stack {
        Some(stack) if stack.labels != 0 => stack.labels,
        _ => task.labels,
    }
}

fn since(task: &Seen, now_nanos: u64) -> Duration {
    match task.state {
        State::Woken { since_nanos, .. } if since_nanos != 0 => between(since_nanos, now_nanos),
        _ => between(task.since_nanos, now_nanos),
    }
}

fn waited(task: &Seen, now_nanos: u64) -> Duration {
    match task.state {
        State::Waiting | State::Woken { .. } => between(task.since_nanos, now_nanos),
        State::NotPolledYet | State::Running { .. } => Duration::ZERO,
    }
}

fn between(then_nanos: u64, now_nanos: u64) -> Duration {
    Duration::from_nanos(now_nanos.saturating_sub(then_nanos))
}

/// The clone of a waker stands beneath the leaf where nothing is inlined.
pub(super) const WAKER_FRAMES: &str = r"<core::task::wake::Waker as core::clone::Clone>::clone";

fn assemble(kind: &str, look: &Look, ask: &Ask<'_>) -> Profile {
    let types = [(kind, "count"), ("waited", "nanoseconds")];
    let types = if kind == "tasks" {
        &types[..]
    } else {
        &types[..1]
    };
    let modules = Modules::of_this_process();
    let mut named = Named::new(types, &modules, ask.names);
    let mut stacks: HashMap<u32, Vec<LocationId>> = HashMap::new();
    let mut recent = Recent::default();
    for task in &look.tasks {
        if recent
            .of(task)
            .replace((task, 0))
            .is_some_and(|(like, _)| stand_alike(like, task))
        {
            continue;
        }
        for bucket in task.leaves().iter().chain([&task.made_by]) {
            if !stacks.contains_key(bucket)
                && let Some(stack) = look.stack(*bucket)
            {
                stacks.insert(*bucket, named.stack(stack.addresses));
            }
        }
    }
    named.finish();
    let (mut profile, places) = named.begin(types);
    profile.set_default_sample_type(kind);
    profile.set_period_type(kind, "count");
    if kind == "tasks" {
        profile.set_drop_frames(WAKER_FRAMES);
    }
    profile.period = 1;
    profile.time_nanos = as_value(super::now_unix_nanos());
    let mut groups: Vec<(Group<'_>, usize, i64, u64)> = Vec::new();
    let mut numbers: HashMap<Group<'_>, usize> = HashMap::new();
    let mut yields: HashMap<u32, bool> = HashMap::new();
    let mut recent = Recent::default();
    for (at, task) in look.tasks.iter().enumerate() {
        if let Some((like, known)) = *recent.of(task)
            && !ask.each
            && are_alike(like, task)
            && let Some((.., count, waited_nanos)) = groups.get_mut(known)
        {
            *count += 1;
            *waited_nanos += waited(task, look.now_nanos).as_nanos() as u64;
            continue;
        }
        let first = task.leaves().first().copied();
        let yields = first.is_some_and(|first| {
            *yields.entry(first).or_insert_with(|| {
                let stack = stacks.get(&first).map_or(&[][..], |stack| stack);
                named.functions(stack).any(is_yield)
            })
        });
        let group = Group {
            leaves: task.leaves(),
            made_by: task.made_by,
            set: set_of(task, first.and_then(|first| look.stack(first)).as_ref()),
            kind: task.kind,
            state: state_word(task, yields),
            leak: leak_word(task),
            id: if ask.each { task.id } else { 0 },
        };
        let next = groups.len();
        // One that is told by itself is like no other.
        let known = match ask.each {
            true => next,
            false => *numbers.entry(group).or_insert(next),
        };
        if known == next {
            groups.push((group, at, 0, 0));
        }
        *recent.of(task) = Some((task, known));
        let (_, _, count, waited_nanos) = &mut groups[known];
        *count += 1;
        *waited_nanos += waited(task, look.now_nanos).as_nanos() as u64;
    }
    let mut assembly = Assembly {
        look,
        named: &named,
        stacks: &stacks,
        sets: LabelSets::of_this_process(),
        profile,
        places,
        names: Names::default(),
        known: HashMap::new(),
    };
    for (group, at, count, waited_nanos) in &groups {
        if let Some(task) = look.tasks.get(*at) {
            assembly.push(group, task, *count, *waited_nanos);
        }
    }
    if look.lost > 0 {
        let profile = &mut assembly.profile;
        let lost = assembly.places.of_return(profile, Lost::TaskUnseen.pc());
        let values = [as_value(look.lost as u64), 0];
        profile.push_sample(&[lost], &values[..types.len()], &[]);
    }
    assembly.profile.filter(&Filter::new())
}

/// The profile under way.
struct Assembly<'a> {
    look: &'a Look,
    named: &'a Named<'a>,
    stacks: &'a HashMap<u32, Vec<LocationId>>,
    sets: LabelSets<'a>,
    profile: Profile,
    places: Places<'a>,
    names: Names,
    /// Stacks by what they are of: a leaf, a maker, and whether labels are lost.
    known: HashMap<(u32, u32, bool), StackId>,
}

impl Assembly<'_> {
    fn push(&mut self, group: &Group<'_>, task: &Seen, count: i64, waited_nanos: u64) {
        let parts = group.leaves.len().max(1);
        let is_told_apart = group.id != 0 || (parts > 1 && count == 1);
        let text = if is_told_apart {
            state_text(task, group.state, self.look.now_nanos)
        } else {
            group.state.to_owned()
        };
        for part in 0..parts {
            let leaf = group.leaves.get(part).copied().unwrap_or(0);
            let stack = self.stack(leaf, group.made_by, group.set == LOST);
            let mut labels = vec![
                Label::string(TASK_LABEL, self.names.of(task.kind)),
                Label::string(TASK_STATE_LABEL, &text),
            ];
            if parts > 1 && !is_told_apart {
                labels.push(Label::number(TASK_GROUP_LABEL, as_value(task.id), ""));
            }
            if is_told_apart {
                labels.push(Label::number(TASK_ID_LABEL, as_value(task.id), ""));
                if task.parent != 0 {
                    labels.push(Label::number(TASK_PARENT_LABEL, as_value(task.parent), ""));
                }
                if task.maker != 0 {
                    labels.push(Label::number(TASK_MAKER_LABEL, as_value(task.maker), ""));
                }
            }
            if !group.leak.is_empty() {
                labels.push(Label::string(TASK_LEAK_LABEL, group.leak));
            }
            if group.set != LOST {
                // Nothing comes to the stack of a set that is there.
                let (places, profile) = (&mut self.places, &mut self.profile);
                self.sets
                    .add(group.set, &mut labels, &mut Vec::new(), places, profile);
            }
            let values = match part {
                0 => [count, as_value(waited_nanos)],
                _ => [0, 0],
            };
            let types = self.profile.sample_types().len();
            let labels = self.profile.add_label_set(&labels);
            self.profile.push_sample_of(stack, &values[..types], labels);
        }
    }

    /// The stack of tasks that wait at `leaf`, made at `made_by`; made once, however many tasks
    /// each are told by themselves.
    fn stack(&mut self, leaf: u32, made_by: u32, has_lost_labels: bool) -> StackId {
        let key = (leaf, made_by, has_lost_labels);
        if let Some(stack) = self.known.get(&key) {
            return *stack;
        }
        let (places, profile) = (&mut self.places, &mut self.profile);
        let mut stack: Vec<LocationId> = self
            .look
            .stack(leaf)
            .map(|stack| places.of_stack(profile, stack.addresses).collect())
            .unwrap_or_default();
        stack.push(places.of_return(profile, TASK_MADE));
        if let Some(made) = self.look.stack(made_by) {
            let skipped = self.stacks.get(&made_by).map_or(0, |stack| {
                let is_ours = |id: &&LocationId| {
                    let mut functions = self.named.functions(std::slice::from_ref(*id)).peekable();
                    functions.peek().is_some() && functions.all(is_own_frame)
                };
                stack.iter().take_while(is_ours).count()
            });
            let addresses = made.addresses.get(skipped..).unwrap_or(&[]);
            stack.extend(places.of_stack(profile, addresses));
        }
        if has_lost_labels {
            stack.push(places.of_return(profile, Lost::Labels.pc()));
        }
        let stack = self.profile.add_stack(stack);
        self.known.insert(key, stack);
        stack
    }
}

/// What a task does, without times.
fn state_word(task: &Seen, yields: bool) -> &'static str {
    match task.state {
        State::NotPolledYet => "not polled yet",
        State::Running { .. } => "running",
        State::Waiting if yields => "yielding",
        State::Waiting => "waiting",
        State::Woken { by_itself, .. } if by_itself || yields => "yielding",
        State::Woken { .. } => "woken, not yet polled",
    }
}

fn state_text(task: &Seen, word: &str, now_nanos: u64) -> String {
    if let State::Running { tid } = task.state {
        return format!("running on thread {tid}");
    }
    let nanos = since(task, now_nanos).as_nanos() as u64;
    let since = units::format(as_value(nanos), "nanoseconds");
    let leaves = task.leaf_count;
    match leaves.saturating_sub(task.leaves().len() as u32) {
        0 => format!("{word} {since}"),
        more => format!("{word} {since}, in {more} more places"),
    }
}

fn leak_word(task: &Seen) -> &'static str {
    match task.leak {
        tasks::Leak::No => "",
        tasks::Leak::Suspected => "suspected: only the task itself can reach its wakers",
        tasks::Leak::Unwakeable => "unwakeable: no waker of it exists",
        tasks::Leak::Certain => "certain: no waker of it exists, it never runs again",
    }
}

/// Whether a task that waits beneath this function lets others have their turn: its own
/// yield, or tokio's, when it has used up what it may do in one poll.
fn is_yield(function: &str) -> bool {
    function.contains("yield_now")
        || function.contains("task::coop::") && function.contains("defer")
}

/// Names of tasks, as paths of their functions.
#[derive(Default)]
struct Names(HashMap<*const Kind, String>);

impl Names {
    fn of(&mut self, kind: &'static Kind) -> &str {
        self.0
            .entry(kind)
            .or_insert_with(|| (kind.name)().replace("::{{closure}}", ""))
    }
}
