//! Labels on the samples of the heap: set, nested, kept, carried and asked for.
//!
//! Every test makes objects of a size of its own, in one function: that tells its samples.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use everprof::label::Labels;
use everprof::profile::lookup;
use everprof::{Request, WithLabels, handle, labels};
use everprof_profile::{LabelValue, Profile, Sample, pprof};

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

fn decoded(bytes: &[u8]) -> Profile {
    pprof::decode(bytes, &pprof::Limits::default()).unwrap()
}

fn heap() -> Profile {
    let mut bytes = Vec::new();
    lookup("heap").unwrap().write_to(&mut bytes).unwrap();
    decoded(&bytes)
}

/// Whether `object` made what the sample stands for, and not std or the harness.
fn is_ours(profile: &Profile, sample: &Sample<'_>) -> bool {
    let mut lines = sample
        .stack()
        .flat_map(|location| profile.location(location).lines);
    lines.any(|line| profile.function(line.function).name == "labels::object")
}

/// `[alloc_objects, inuse_objects]` of the objects of `size` bytes, by their labels as
/// `key=value`, sorted and joined by commas.
fn by_labels(profile: &Profile, size: usize) -> BTreeMap<String, [i64; 2]> {
    let mut sums = BTreeMap::<String, [i64; 2]>::new();
    for sample in profile.samples() {
        if sample.number_label("bytes") != Some(size as i64) || !is_ours(profile, &sample) {
            continue;
        }
        let mut pairs: Vec<String> = sample
            .labels()
            .filter_map(|label| match label.value {
                LabelValue::String(value) => Some(format!("{}={value}", label.key)),
                LabelValue::Number { .. } => None,
            })
            .collect();
        pairs.sort();
        let sum = sums.entry(pairs.join(",")).or_default();
        sum[0] += sample.values()[0];
        sum[1] += sample.values()[2];
    }
    sums
}

/// Every allocation of this test is recorded, from the first.
fn record_all() {
    everprof::heap::set_period(1);
}

#[inline(never)]
fn object(size: usize) -> Vec<u8> {
    black_box(vec![1; size])
}

#[track_caller]
fn assert_labels(profile: &Profile, size: usize, expected: &[(&str, [i64; 2])]) {
    let expected: BTreeMap<String, [i64; 2]> = expected
        .iter()
        .map(|(pairs, counts)| ((*pairs).to_owned(), *counts))
        .collect();
    assert_eq!(by_labels(profile, size), expected);
}

#[test]
fn object_keeps_its_labels_until_it_is_freed_under_whichever_labels() {
    const SIZE: usize = 808;
    record_all();
    let object = {
        let _labels = labels! { "tenant" => 7, "route" => "/search" };
        object(SIZE)
    };
    let pairs = "route=/search,tenant=7";
    assert_labels(&heap(), SIZE, &[(pairs, [1, 1])]);
    thread::spawn(move || {
        let _labels = labels! { "tenant" => 8 };
        drop(object);
    })
    .join()
    .unwrap();
    assert_labels(&heap(), SIZE, &[(pairs, [1, 0])]);
}

#[test]
fn inner_labels_are_added_win_and_are_taken_off_again() {
    const SIZE: usize = 816;
    record_all();
    let mut kept = vec![object(SIZE)];
    {
        let _outer = labels! { "a" => 1, "b" => 'x' };
        kept.push(object(SIZE));
        {
            let _inner = labels! { "b" => "y", "c" => true };
            kept.push(object(SIZE));
            let _off = labels! { "a" => "" };
            kept.push(object(SIZE));
        }
        kept.push(object(SIZE));
    }
    kept.push(object(SIZE));
    let expected = [
        ("", [2, 2]),
        ("a=1,b=x", [2, 2]),
        ("a=1,b=y,c=true", [1, 1]),
        ("b=y,c=true", [1, 1]),
    ];
    assert_labels(&heap(), SIZE, &expected);
}

#[test]
fn labels_can_be_set_in_a_destructor_of_thread_local_storage() {
    const SIZE: usize = 824;
    struct Last(Option<Vec<u8>>);
    impl Drop for Last {
        fn drop(&mut self) {
            assert!(self.0.is_some());
            let _labels = labels! { "when" => "exit" };
            drop(object(SIZE));
        }
    }
    thread_local!(static LAST: RefCell<Option<Last>> = const { RefCell::new(None) });
    record_all();
    thread::spawn(|| LAST.with(|last| last.replace(Some(Last(Some(object(SIZE)))))))
        .join()
        .unwrap();
    assert_labels(&heap(), SIZE, &[("", [1, 0]), ("when=exit", [1, 0])]);
}

/// Pending at each poll but the last.
async fn polls(count: u32) {
    let mut left = count;
    std::future::poll_fn(|_| {
        left -= 1;
        if left == 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

#[test]
fn future_has_its_labels_at_each_poll_on_each_thread_and_others_have_theirs() {
    const SIZE: usize = 832;
    record_all();
    let work = async {
        let first = object(SIZE);
        polls(2).await;
        let second = object(SIZE);
        polls(2).await;
        (first, second, object(SIZE))
    };
    let outer = labels! { "tenant" => "t" };
    let task = Box::pin(work.with_labels(labels! { "route" => "/r" }));
    let before = Labels::current();
    drop(outer);
    assert_ne!(
        Labels::current(),
        before,
        "the guard's labels were the task's"
    );
    let mut task = task;
    let mut context = Context::from_waker(Waker::noop());
    assert!(task.as_mut().poll(&mut context).is_pending());
    let here = object(SIZE);
    // The second and third polls are another thread's.
    let (done, there) = thread::spawn(move || {
        let _own = labels! { "thread" => "other" };
        let mut context = Context::from_waker(Waker::noop());
        assert!(task.as_mut().poll(&mut context).is_pending());
        let there = object(SIZE);
        match task.as_mut().poll(&mut context) {
            Poll::Ready(done) => (done, there),
            Poll::Pending => panic!("three polls are enough"),
        }
    })
    .join()
    .unwrap();
    let expected = [
        ("", [1, 1]),
        ("route=/r,tenant=t", [3, 3]),
        ("thread=other", [1, 1]),
    ];
    assert_labels(&heap(), SIZE, &expected);
    drop((here, there, done));
}

#[test]
fn poll_that_panics_leaves_no_labels_behind() {
    let before = Labels::current();
    let task = async { panic!("as it should") };
    let mut task = pin!(task.with_labels(labels! { "a" => 1 }));
    let mut context = Context::from_waker(Waker::noop());
    let poll = std::panic::AssertUnwindSafe(|| {
        let _: Poll<()> = task.as_mut().poll(&mut context);
    });
    assert!(std::panic::catch_unwind(poll).is_err());
    assert_eq!(Labels::current(), before);
}

#[test]
fn labels_are_handed_on_by_hand() {
    const SIZE: usize = 840;
    record_all();
    let _labels = labels! { "job" => 3_u8 };
    let here = Labels::current();
    thread::spawn(move || {
        let _none = Labels::NONE.enter();
        let _labels = here.enter();
        drop(object(SIZE));
    })
    .join()
    .unwrap();
    assert_labels(&heap(), SIZE, &[("job=3", [1, 0])]);
}

#[test]
fn endpoint_keeps_what_carries_a_label() {
    const SIZE: usize = 848;
    record_all();
    let kept = ["x", "y"].map(|tenant| {
        let _labels = labels! { "tenant" => tenant };
        object(SIZE)
    });
    let ask = |path: &str| {
        let answer = handle(&Request::get(path));
        by_labels(&decoded(&answer.body), SIZE)
    };
    let x = ("tenant=x".to_owned(), [1, 1]);
    let y = ("tenant=y".to_owned(), [1, 1]);
    assert_eq!(ask("/debug/pprof/heap?label=tenant:x"), [x.clone()].into());
    assert_eq!(ask("/debug/pprof/heap"), [x, y].into());
    drop(kept);
}

/// Until the thread sleeps: a wait for somebody has begun.
#[cfg(all(target_os = "linux", feature = "interpose"))]
fn await_asleep(tid: u32) {
    let is_asleep = || {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat")).unwrap();
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('S'))
    };
    while !is_asleep() {
        thread::yield_now();
    }
}

#[cfg(all(target_os = "linux", feature = "interpose"))]
#[test]
fn waits_have_the_labels_of_who_waits() {
    everprof::block::set_period(1);
    let (tell, told) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let waiter = thread::spawn(move || {
        let _labels = labels! { "tenant" => "waits" };
        // SAFETY: no preconditions.
        tell.send(unsafe { libc::gettid() }.cast_unsigned())
            .unwrap();
        ended.recv().unwrap();
    });
    await_asleep(told.recv().unwrap());
    end.send(()).unwrap();
    waiter.join().unwrap();
    let mut bytes = Vec::new();
    lookup("block").unwrap().write_to(&mut bytes).unwrap();
    let block = decoded(&bytes);
    let mut samples = block.samples();
    assert!(
        samples.any(|sample| sample.string_label("tenant") == Some("waits")
            && sample.string_label("wait") == Some("channel"))
    );
}

/// Go's TestGoroutineProfileLabelRace has more of this: here a thread runs, one sleeps.
#[cfg(all(target_os = "linux", feature = "interpose"))]
#[test]
fn dump_of_threads_has_the_labels_of_each() {
    let (tell, told) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let stop = AtomicBool::new(false);
    let threads = thread::scope(|scope| {
        let runs = tell.clone();
        scope.spawn(move || {
            let _labels = labels! { "tenant" => "sleeps" };
            tell.send(()).unwrap();
            ended.recv().unwrap();
        });
        let stop = &stop;
        scope.spawn(move || {
            let _labels = labels! { "tenant" => "runs" };
            runs.send(()).unwrap();
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        told.recv().unwrap();
        told.recv().unwrap();
        let threads = lookup("threads").unwrap();
        stop.store(true, Ordering::Relaxed);
        end.send(()).unwrap();
        threads
    });
    let mut bytes = Vec::new();
    threads.write_to(&mut bytes).unwrap();
    let threads = decoded(&bytes);
    for tenant in ["sleeps", "runs"] {
        let of = |sample: &Sample<'_>| sample.string_label("tenant") == Some(tenant);
        assert_eq!(threads.samples().filter(of).count(), 1, "{tenant}");
    }
}

/// Go's TestLabelRace, restated: threads change their labels, one within another, while
/// profiles are taken. Every object has the labels of its own thread and turn: both
/// of them, or none.
#[test]
fn profiles_taken_while_labels_change_mix_none_up() {
    const SIZE: usize = 856;
    const THREADS: usize = 4;
    const TURNS: usize = 300;
    record_all();
    let done = AtomicBool::new(false);
    let profiles = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    for turn in 0..TURNS {
                        let _outer = labels! { "thread" => thread };
                        let _inner = labels! { "check" => format!("{thread}-{}", turn % 10), "turn" => turn % 10 };
                        drop(object(SIZE));
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut profiles = vec![heap()];
            while !done.load(Ordering::Relaxed) {
                profiles.push(heap());
            }
            profiles
        });
        for thread in threads {
            thread.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    let expected: BTreeMap<String, [i64; 2]> = (0..THREADS)
        .flat_map(|thread| (0..10).map(move |turn| (thread, turn)))
        .map(|(thread, turn)| {
            let pairs = format!("check={thread}-{turn},thread={thread},turn={turn}");
            (pairs, [(TURNS / 10) as i64, 0])
        })
        .collect();
    assert_eq!(by_labels(&heap(), SIZE), expected);
    for profile in profiles {
        assert!(
            by_labels(&profile, SIZE)
                .keys()
                .all(|pairs| expected.contains_key(pairs))
        );
    }
}
