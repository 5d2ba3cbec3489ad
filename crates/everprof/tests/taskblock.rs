//! What tasks waited: the profile `taskblock` and its records.

#![allow(clippy::unwrap_used)]

mod by_hand;

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use by_hand::{Kept, Task};
use everprof::Watch;
use everprof::taskblock::{self, ContentionRecord};

/// The period is all of the process's: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

/// All waits so far.
fn sums() -> (u64, u64) {
    let add = |sums: (u64, u64), record: &ContentionRecord<'_>| {
        (sums.0 + record.contentions, sums.1 + record.delay_nanos)
    };
    taskblock::records().iter().fold((0, 0), add)
}

/// What `body` adds to them, where every wait is recorded.
fn added(body: impl FnOnce()) -> (u64, u64) {
    let before = taskblock::period();
    taskblock::set_period(1);
    let earlier = sums();
    body();
    taskblock::set_period(before);
    let later = sums();
    (later.0 - earlier.0, later.1 - earlier.1)
}

/// Not to measure, but so that there is something to be seen.
const A_WHILE: Duration = Duration::from_millis(3);

#[inline(never)]
async fn awaits_the_post(kept: Kept) {
    kept.wait().await;
}

fn wait_once() {
    let kept = Kept::new();
    let mut task = Task::new(awaits_the_post(kept.clone()).watched());
    assert!(task.poll().is_pending());
    std::thread::sleep(A_WHILE);
    kept.wake();
    assert!(task.poll().is_ready());
}

#[test]
fn wait_is_counted_when_it_is_over_with_the_time_to_its_wake() {
    let _alone = alone();
    let (contentions, nanos) = added(wait_once);
    assert_eq!(contentions, 1);
    assert!(u128::from(nanos) >= A_WHILE.as_nanos());
}

#[test]
fn wait_that_nobody_ended_is_none() {
    let _alone = alone();
    let kept = Kept::new();
    let sum = added(|| {
        let mut task = Task::new(awaits_the_post(kept.clone()).watched());
        assert!(task.poll().is_pending());
        assert!(task.poll().is_pending(), "as part of another is polled");
        drop(task);
    });
    assert_eq!(sum, (0, 0));
}

#[test]
fn period_of_nothing_records_nothing() {
    let _alone = alone();
    let before = taskblock::period();
    taskblock::set_period(0);
    let earlier = sums();
    wait_once();
    assert_eq!(sums(), earlier);
    taskblock::set_period(before);
}

#[test]
fn sums_are_divided_among_the_leaves_of_one_wait() {
    let _alone = alone();
    async fn first(kept: Kept) {
        kept.wait().await;
    }
    async fn second(kept: Kept) {
        kept.wait().await;
    }
    let (one, other) = (Kept::new(), Kept::new());
    let held = (one.clone(), other.clone());
    let (contentions, nanos) = added(|| {
        let mut task = Task::new(
            async move {
                let mut first = Box::pin(first(held.0));
                let mut second = Box::pin(second(held.1));
                std::future::poll_fn(|context| {
                    let one = std::future::Future::poll(first.as_mut(), context);
                    let other = std::future::Future::poll(second.as_mut(), context);
                    if one.is_ready() { one } else { other }
                })
                .await;
            }
            .watched(),
        );
        assert!(task.poll().is_pending());
        std::thread::sleep(A_WHILE);
        other.wake();
        assert!(task.poll().is_ready());
    });
    // Half a contention each, which both records round up.
    assert_eq!(contentions, 2);
    assert!(u128::from(nanos) >= A_WHILE.as_nanos());
    drop(one);
}

#[test]
fn profile_has_the_await_stack_and_four_figures() {
    let _alone = alone();
    added(wait_once);
    let profile = everprof::profile::lookup("taskblock").unwrap();
    let mut text = Vec::new();
    profile.write_text(&mut text, 1).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("awaits_the_post"), "{text}");
    assert!(!text.contains("Waker"), "not of its clone: {text}");
    assert!(
        !text.contains("by_hand::Task"),
        "not of the executor: {text}"
    );
}

#[test]
fn nobody_is_charged_with_an_idle_period_of_one() {
    let _alone = alone();
    assert_eq!(added(|| ()), (0, 0));
}
