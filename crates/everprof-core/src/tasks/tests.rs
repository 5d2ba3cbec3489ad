//! The room as a whole, with an executor that polls by hand. Runs under Miri too, where stacks
//! are lost and everything else is as it is.

#![allow(clippy::unwrap_used)]

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

use super::*;
use crate::sync::Ordering;

mod all_memory;
mod reentered;
mod yields;

/// The global store and the thread's numbers are shared: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Polled<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    woken: Arc<Woken>,
}

impl<T> Polled<T> {
    fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            future: Box::pin(future),
            woken: Arc::default(),
        }
    }

    fn poll(&mut self) -> Poll<T> {
        let waker = Waker::from(Arc::clone(&self.woken));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn wakes(&self) -> usize {
        self.woken.0.load(Ordering::Relaxed)
    }
}

/// A leaf that is done when it was polled so often, and keeps its waker where a test finds it.
fn leaf(polls: usize) -> (Arc<Mutex<Option<Waker>>>, impl Future<Output = ()> + Send) {
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let mut left = polls;
    let future = poll_fn(move |context: &mut Context<'_>| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        *keep.lock().unwrap() = Some(context.waker().clone());
        Poll::Pending
    });
    (kept, future)
}

fn only() -> Seen {
    let look = look(None);
    assert_eq!(look.tasks.len(), 1, "{:#?}", look.tasks);
    look.tasks[0]
}

#[test]
fn wakers_outlive_the_task_and_its_entry_is_used_again_when_the_last_is_gone() {
    let _alone = alone();
    let (kept, future) = leaf(1);
    let mut task = Polled::new(Watched::new(future));
    assert!(task.poll().is_pending());
    let waker = kept.lock().unwrap().take().unwrap();
    let entry = std::ptr::from_ref(only().entry);
    let woken = Arc::clone(&task.woken);
    drop(task);
    assert!(look(None).tasks.is_empty());
    let other = Watched::new(pending::<()>());
    assert_ne!(std::ptr::from_ref(only().entry), entry, "somebody keeps it");
    waker.wake_by_ref();
    let copy = waker.clone();
    copy.wake();
    waker.wake();
    assert_eq!(woken.0.load(Ordering::Relaxed), 3);
    assert_eq!(
        Arc::strong_count(&woken),
        1,
        "the executor's waker is gone too"
    );
    drop(other);
    let again: Vec<_> = (0..2).map(|_| Watched::new(pending::<()>())).collect();
    let entries: Vec<_> = look(None)
        .tasks
        .iter()
        .map(|t| std::ptr::from_ref(t.entry))
        .collect();
    assert!(entries.contains(&entry));
    drop(again);
}

#[test]
fn each_wake_reaches_the_executor_and_the_first_marks_the_task() {
    let _alone = alone();
    let (kept, future) = leaf(2);
    let mut task = Polled::new(Watched::new(future));
    for polls in 1..=2 {
        assert!(task.poll().is_pending());
        assert_eq!(only().state, State::Waiting);
        kept.lock().unwrap().take().unwrap().wake();
        assert_eq!(task.wakes(), polls);
        assert!(matches!(
            only().state,
            State::Woken {
                by_itself: false,
                ..
            }
        ));
    }
    assert!(task.poll().is_ready());
    assert!(look(None).tasks.is_empty());
}

#[test]
fn waker_goes_to_another_thread_and_is_counted_there() {
    let _alone = alone();
    let (kept, future) = leaf(1);
    let mut task = Polled::new(Watched::root(future));
    assert!(task.poll().is_pending());
    let waker = kept.lock().unwrap().take().unwrap();
    let thread = std::thread::spawn(move || {
        let copy = waker.clone();
        drop(waker);
        copy
    });
    let copy = thread.join().unwrap();
    assert_eq!(only().wakers, Wakers::Kept(1));
    drop(copy);
    assert_eq!(only().leak, Leak::Certain);
}

#[test]
fn two_wakes_at_once_leave_a_doubt_until_a_poll_that_nobody_asked_for() {
    let _alone = alone();
    let wakers = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&wakers);
    let mut polls = 0;
    let mut task = Polled::new(Watched::root(poll_fn(move |context: &mut Context<'_>| {
        polls += 1;
        if polls == 1 {
            let waker = context.waker();
            keep.lock().unwrap().extend([waker.clone(), waker.clone()]);
        }
        Poll::<()>::Pending
    })));
    assert!(task.poll().is_pending());
    for waker in wakers.lock().unwrap().drain(..) {
        waker.wake();
    }
    assert!(task.poll().is_pending());
    assert_eq!(
        only().leak,
        Leak::No,
        "the second may have come too late for this poll"
    );
    assert!(task.poll().is_pending());
    assert_eq!(only().leak, Leak::Certain);
}

#[test]
fn task_polled_while_tasks_were_off_is_never_leaked_for_certain() {
    let _alone = alone();
    let mut task = Polled::new(Watched::root(pending::<()>()));
    let settings = crate::global::store();
    settings.set(crate::settings::Name::Tasks, 0);
    assert!(task.poll().is_pending());
    settings.set(crate::settings::Name::Tasks, 1);
    assert!(task.poll().is_pending());
    assert_eq!(only().wakers, Wakers::Unknown);
    assert_eq!(only().leak, Leak::No);
}

#[test]
fn polls_within_polls_put_back_what_was_polled() {
    let _alone = alone();
    let (kept, inner) = leaf(1);
    let mut inner = Box::pin(Watched::new(inner));
    let mut task = Polled::new(Watched::new(poll_fn(move |context: &mut Context<'_>| {
        let id = capture::this_thread().tasks.polled.get().id();
        let poll = inner.as_mut().poll(context);
        assert_eq!(capture::this_thread().tasks.polled.get().id(), id);
        poll
    })));
    assert!(task.poll().is_pending());
    let look = look(None);
    let ids: Vec<_> = look
        .tasks
        .iter()
        .map(|task| (task.id, task.parent))
        .collect();
    let [(part, parent), (whole, 0)] = ids[..] else {
        panic!("{ids:?}")
    };
    assert!(part < whole && parent == whole);
    kept.lock().unwrap().take().unwrap().wake();
    assert_eq!(task.wakes(), 1);
    assert!(task.poll().is_ready());
    assert_eq!(capture::this_thread().tasks.polled.get().id(), 0);
}

#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn childs_tasks_are_those_that_it_polls_and_its_wakes_reach_its_executor() {
    let _alone = alone();
    let (kept, future) = leaf(2);
    let mut task = Polled::new(Watched::new(future));
    let other = Watched::new(pending::<()>());
    assert!(task.poll().is_pending());
    // SAFETY: the child runs what follows on its only thread, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let is_clean = counts().0 == 0;
        kept.lock().unwrap().take().unwrap().wake();
        let is_polled = task.poll().is_pending() && counts().0 == 1;
        let is_seen = matches!(
            look(None).tasks[..],
            [Seen {
                state: State::Waiting,
                ..
            }]
        );
        let passed = is_clean && task.wakes() == 1 && is_polled && is_seen;
        // SAFETY: ends the child without running anybody's destructors.
        unsafe { libc::_exit(i32::from(passed)) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(libc::WEXITSTATUS(status), 1);
    assert_eq!(counts().0, 2);
    drop(other);
}

/// Waits that were counted.
fn waits() -> u64 {
    let times = block();
    times.iter().map(|bucket| bucket.times.waits.samples).sum()
}

#[test]
fn poll_that_ends_when_all_was_made_anew_counts_nothing_in_the_buckets_of_before() {
    let _alone = alone();
    let store = crate::global::store();
    let period = store.settings().get(crate::settings::Name::TaskblockPeriod);
    store.set(crate::settings::Name::TaskblockPeriod, 1);
    let kept = Arc::new(Mutex::new(None::<Waker>));
    let keep = Arc::clone(&kept);
    let mut polls = 0;
    let mut task = Polled::new(Watched::new(poll_fn(move |context: &mut Context<'_>| {
        polls += 1;
        if polls == 3 {
            // As if a fork's child went on here, with an arena of its own.
            let entry = capture::this_thread().tasks.polled.get().task.unwrap();
            entry.generation.fetch_add(1 << 32, Ordering::Relaxed);
        }
        *keep.lock().unwrap() = Some(context.waker().clone());
        Poll::<()>::Pending
    })));
    let mut wait_and_poll = || {
        assert!(task.poll().is_pending());
        // A wait takes time, on any clock.
        std::thread::sleep(std::time::Duration::from_millis(1));
        kept.lock().unwrap().take().unwrap().wake();
    };
    wait_and_poll();
    let before = waits();
    wait_and_poll();
    let counted = waits();
    wait_and_poll();
    assert_eq!(waits(), counted);
    assert!(counted > before);
    store.set(crate::settings::Name::TaskblockPeriod, period);
}

/// Keeps its waker in each of its polls, as `keep` does that.
fn keeps(
    keep: impl Fn(&Waker) -> Waker + Send + 'static,
) -> (Arc<Mutex<Vec<Waker>>>, impl Future<Output = ()> + Send) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeps = Arc::clone(&kept);
    let future = poll_fn(move |context: &mut Context<'_>| {
        keeps.lock().unwrap().push(keep(context.waker()));
        Poll::Pending
    });
    (kept, future)
}

#[test]
fn waker_that_is_cloned_on_another_thread_within_the_poll_is_one_like_the_others() {
    let _alone = alone();
    let (kept, future) = keeps(|waker| {
        let clone = || waker.clone();
        std::thread::scope(|scope| scope.spawn(clone).join().unwrap())
    });
    let mut task = Polled::new(Watched::root(future));
    for _ in 0..2 {
        assert!(task.poll().is_pending());
    }
    assert_eq!(only().wakers, Wakers::Kept(2));
    let wakers = std::mem::take(&mut *kept.lock().unwrap());
    for (wakes, waker) in (1..).zip(wakers) {
        waker.wake();
        assert_eq!(task.wakes(), wakes);
        assert!(matches!(only().state, State::Woken { .. }));
    }
    assert_eq!(only().wakers, Wakers::Kept(0));
    assert_eq!(Arc::strong_count(&task.woken), 1);
}

#[test]
fn cell_that_is_lent_outlives_the_task_and_keeps_its_entry() {
    let _alone = alone();
    let (kept, future) = keeps(|waker| {
        let clone = || waker.clone();
        std::thread::scope(|scope| scope.spawn(clone).join().unwrap())
    });
    let mut task = Polled::new(Watched::new(future));
    assert!(task.poll().is_pending());
    let entry = std::ptr::from_ref(only().entry);
    let wakers = std::mem::take(&mut *kept.lock().unwrap());
    let woken = Arc::clone(&task.woken);
    drop(task);
    let watch = || -> Vec<_> {
        let tasks: Vec<_> = (0..3).map(|_| Watched::new(pending::<()>())).collect();
        let entries = look(None).tasks;
        assert_eq!(entries.len(), tasks.len());
        entries
            .iter()
            .map(|t| std::ptr::from_ref(t.entry))
            .collect()
    };
    assert!(!watch().contains(&entry), "somebody keeps it");
    wakers.into_iter().for_each(Waker::wake);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(watch().contains(&entry));
}

#[test]
fn waker_of_each_poll_wakes_the_executor_that_polled_then() {
    let _alone = alone();
    let (kept, future) = keeps(Waker::clone);
    let mut task = Polled::new(Watched::root(future));
    let executors: [Arc<Woken>; 3] = Default::default();
    for executor in &executors {
        task.woken = Arc::clone(executor);
        // Twice: what is lent to a poll is its own.
        for _ in 0..2 {
            assert!(task.poll().is_pending());
        }
    }
    task.woken = Arc::default();
    assert_eq!(only().wakers, Wakers::Kept(6));
    let wakers = std::mem::take(&mut *kept.lock().unwrap());
    for (number, waker) in wakers.into_iter().enumerate() {
        waker.wake();
        let wakes = executors.each_ref().map(|of| of.0.load(Ordering::Relaxed));
        assert_eq!(wakes[number / 2], 1 + number % 2);
        assert_eq!(wakes.iter().sum::<usize>(), number + 1);
    }
    assert_eq!(only().wakers, Wakers::Kept(0));
    let left = executors.each_ref().map(Arc::strong_count);
    assert_eq!(left, [1; 3], "no executor's waker is kept");
}

#[test]
fn stacks_of_a_poll_that_goes_on_for_ever_are_counted_as_far_as_there_is_room() {
    let _alone = alone();
    let most = !capture::WOKE_ITSELF;
    let (_kept, future) = keeps(move |waker| {
        let entry = capture::this_thread().tasks.polled.get().task.unwrap();
        // As if so many had been captured in it.
        entry.leaf_count.store(most - 1, Ordering::Relaxed);
        drop([waker.clone(), waker.clone()]);
        waker.clone()
    });
    let mut task = Polled::new(Watched::new(future));
    assert!(task.poll().is_pending());
    let seen = only();
    assert_eq!(seen.leaf_count, most);
    assert!(!seen.word.has(entry::SELF_WOKEN));
}

#[test]
fn wakers_of_the_last_poll_are_told_from_older_ones_by_their_words() {
    let _alone = alone();
    let (kept, future) = keeps(Waker::clone);
    let mut task = Polled::new(Watched::new(future));
    for _ in 0..3 {
        assert!(task.poll().is_pending());
        let seen = only();
        let words = waker::words_of(seen.entry, seen.word);
        let kept = kept.lock().unwrap();
        let (last, older) = kept.split_last().unwrap();
        let words_in = |of: &Waker| (of.data().addr(), std::ptr::from_ref(of.vtable()).addr());
        assert_eq!(words_in(last), words);
        assert!(older.iter().all(|older| words_in(older) != words));
    }
    kept.lock().unwrap().clear();
    assert_eq!(only().wakers, Wakers::Kept(0));
}

#[test]
fn poll_in_which_nothing_is_kept_leaves_the_executors_waker_alone() {
    let _alone = alone();
    let seen = Arc::new(AtomicUsize::new(0));
    let woken = Arc::<Woken>::default();
    let (count, of) = (Arc::clone(&seen), Arc::downgrade(&woken));
    let mut task = Polled::new(Watched::new(poll_fn(move |_: &mut Context<'_>| {
        count.store(of.strong_count(), Ordering::Relaxed);
        Poll::<()>::Pending
    })));
    task.woken = woken;
    assert!(task.poll().is_pending());
    // The test's own, and the one that it polls with.
    assert_eq!(seen.load(Ordering::Relaxed), 2);
}

#[test]
fn parts_in_parts_wake_the_outermost_ones_executor_from_each_leaf() {
    let _alone = alone();
    let (kept, leaf) = keeps(Waker::clone);
    let (kept_too, leaf_too) = keeps(Waker::clone);
    let both = async move {
        let mut leaves = (Box::pin(leaf), Box::pin(leaf_too));
        poll_fn(move |context| {
            let is_ready = leaves.0.as_mut().poll(context).is_ready();
            match leaves.1.as_mut().poll(context).is_ready() && is_ready {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    };
    let part = Watched::new(both);
    let mut task = Polled::new(Watched::root(async { Watched::new(part).await }));
    for _ in 0..3 {
        assert!(task.poll().is_pending());
    }
    let mut wakers = std::mem::take(&mut *kept.lock().unwrap());
    wakers.append(&mut kept_too.lock().unwrap());
    assert_eq!(wakers.len(), 6);
    for (wakes, waker) in (1..).zip(wakers) {
        waker.wake();
        assert_eq!(task.wakes(), wakes);
    }
    let look = look(None);
    assert_eq!(look.tasks.len(), 3);
    for seen in &look.tasks {
        assert_eq!(seen.wakers, Wakers::Kept(0));
        assert!(matches!(seen.state, State::Woken { .. }));
    }
    assert_eq!(Arc::strong_count(&task.woken), 1);
}

/// A future that waits in one of two places that differ in nothing but where they are, and
/// keeps its waker.
#[cfg(all(target_os = "linux", not(miri)))]
fn in_turns() -> impl Future<Output = ()> + Send {
    #[inline(never)]
    async fn once() {
        let (_, mut leaf) = leaf(1);
        let mut leaf = std::pin::pin!(&mut leaf);
        leaf.as_mut().await;
    }
    #[inline(never)]
    async fn both() {
        loop {
            once().await;
            once().await;
        }
    }
    both()
}

/// What walks lead to at first is found without them later, whoever of the kind waits there.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri)
))]
#[test]
fn places_that_are_met_again_are_told_apart_without_a_walk() {
    let _alone = alone();
    // Where the C library tells of no address without a lock, as musl: cold code does.
    crate::modules::refresh();
    let mut task = Polled::new(Watched::new(in_turns()));
    let mut leaf = || {
        assert!(task.poll().is_pending());
        let look = look(None);
        let [bucket] = look.tasks[0].leaves() else {
            panic!("{look:?}");
        };
        let bucket = *bucket;
        (bucket, look.stack(bucket).unwrap().addresses)
    };
    let walked: Vec<_> = (0..2).map(|_| leaf()).collect();
    assert_ne!(walked[0], walked[1]);
    for _ in 0..20 {
        let again: Vec<_> = (0..2).map(|_| leaf()).collect();
        assert_eq!(again, walked);
    }
    let paths = walked.iter().filter(|(bucket, _)| {
        let region = crate::global::store().own_region().unwrap();
        let at = crate::arena::Offset::from_raw(*bucket).unwrap();
        let bucket = region.get::<crate::table::Bucket>(at).unwrap();
        bucket.aside().load(Ordering::Relaxed) > 2
    });
    assert_eq!(paths.count(), 2, "both have a path by now");
}

#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn one_place_under_other_labels_is_another_bucket_however_it_is_found() {
    let _alone = alone();
    let store = crate::global::store();
    let labelled = |value| {
        let labels = crate::labels::Labels::NONE;
        let labels = crate::labels::extend(store, labels, &[("place", value)]);
        let before = crate::labels::enter(labels);
        let task = Polled::new(Watched::new(in_turns()));
        crate::labels::enter(before);
        (task, labels.set_in(store.generation().made()))
    };
    let mut tasks = [labelled("here"), labelled("there")];
    for _ in 0..10 {
        for (task, _) in &mut tasks {
            assert!(task.poll().is_pending());
        }
        let look = look(None);
        let sets = look
            .tasks
            .iter()
            .map(|seen| look.stack(seen.leaves()[0]).unwrap().labels);
        assert!(sets.eq(tasks.iter().map(|(_, set)| *set)));
    }
}

#[test]
fn entries_beyond_the_cap_are_counted_and_the_rest_go_round() {
    static ENTRIES: Entries = Entries::new();
    let entries = &ENTRIES;
    let limit = 3 * size_of::<entry::Entry>();
    let taken: Vec<_> = (0..3).map(|_| entries.take(limit).unwrap()).collect();
    assert!(entries.take(limit).is_none());
    entries.give_back(taken[1]);
    assert!(std::ptr::eq(entries.take(limit).unwrap(), taken[1]));
    assert!(entries.take(limit).is_none());
}

#[test]
fn threads_that_take_and_give_back_never_share_an_entry() {
    static ENTRIES: Entries = Entries::new();
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    let limit = 4 * size_of::<entry::Entry>();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..rounds {
                    if let Some(entry) = ENTRIES.take(limit) {
                        let before = entry.tid.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(before, 0, "somebody else's");
                        entry.tid.store(0, Ordering::Relaxed);
                        ENTRIES.give_back(entry);
                    }
                }
            });
        }
    });
}
