//! A future that wakes itself within its poll, by what it is polled with.

use super::*;

/// Wakes itself so often, keeps no waker, and is done.
fn yields(times: usize) -> impl Future<Output = ()> + Send {
    let mut left = times;
    poll_fn(move |context: &mut Context<'_>| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

#[test]
fn each_wake_within_a_poll_reaches_the_executor() {
    let _alone = alone();
    let mut task = Polled::new(Watched::new(yields(2)));
    for polls in 1..=2 {
        assert!(task.poll().is_pending());
        assert_eq!(task.wakes(), polls);
    }
    assert!(task.poll().is_ready());
    assert_eq!(task.wakes(), 2);
}

/// Nobody has a waker of it, and yet it will be polled.
#[test]
fn task_that_has_woken_itself_is_marked_so_and_not_leaked() {
    let _alone = alone();
    let mut task = Polled::new(Watched::root(yields(1)));
    assert!(task.poll().is_pending());
    let seen = only();
    assert!(matches!(
        seen.state,
        State::Woken {
            by_itself: true,
            since_nanos: 1..,
        }
    ));
    assert_eq!(seen.wakers, Wakers::Kept(0));
    assert_eq!(seen.leak, Leak::No);
}

/// What is lent to a part goes through all that it is part of: each of them has given its turn
/// away.
#[test]
fn wake_within_the_poll_of_a_part_reaches_the_executor_and_marks_all_that_it_is_part_of() {
    let _alone = alone();
    let mut task = Polled::new(Watched::root(Watched::new(yields(1))));
    assert!(task.poll().is_pending());
    assert_eq!(task.wakes(), 1);
    let look = look(None);
    let states: Vec<_> = look.tasks.iter().map(|seen| seen.state).collect();
    assert!(
        matches!(
            states[..],
            [
                State::Woken {
                    by_itself: true,
                    since_nanos: 1..,
                },
                State::Woken {
                    by_itself: true,
                    since_nanos: 1..,
                },
            ]
        ),
        "{states:?}"
    );
    // What captures the stack is the part's poll alone: the whole stands where that one waits.
    let how = |seen: &Seen| look.stack(seen.leaves()[0]).and_then(|stack| stack.how);
    let waits_in: Vec<_> = look.tasks.iter().map(how).collect();
    assert_eq!(waits_in, [Some(How::WakesItself), Some(How::Awaits)]);
}

/// Another thread that has what was lent is not the task.
#[test]
fn wake_within_the_poll_on_another_thread_is_none_by_itself() {
    let _alone = alone();
    let mut task = Polled::new(Watched::root(poll_fn(|context: &mut Context<'_>| {
        let lent = context.waker();
        let wake = || lent.wake_by_ref();
        std::thread::scope(|scope| scope.spawn(wake).join().unwrap());
        Poll::<()>::Pending
    })));
    assert!(task.poll().is_pending());
    assert_eq!(task.wakes(), 1);
    let seen = only();
    assert!(matches!(
        seen.state,
        State::Woken {
            by_itself: false,
            ..
        }
    ));
    assert!(seen.leaves().is_empty());
}
