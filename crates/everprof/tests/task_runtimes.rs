//! `task::spawn` remembers the runtimes that it spawns on, to count their tasks, and keeps none
//! alive for that.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use tokio::runtime::{Builder, Runtime};

/// A runtime, and what is gone when all of it is.
fn runtime() -> (Runtime, Weak<()>) {
    let held = Arc::new(());
    let weak = Arc::downgrade(&held);
    let mut builder = Builder::new_current_thread();
    builder.on_thread_park(move || drop(Arc::clone(&held)));
    (builder.build().unwrap(), weak)
}

/// One at a time, as the other looks, too.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn runtimes_that_have_ended_are_let_go() {
    let _alone = ALONE.lock().unwrap();
    let ended: Vec<_> = (0..20)
        .map(|_| {
            let (runtime, weak) = runtime();
            runtime.block_on(async { everprof::task::spawn(async {}).await.unwrap() });
            weak
        })
        .collect();
    let there = || ended.iter().filter(|weak| weak.upgrade().is_some()).count();
    assert!(there() <= 1, "{} of 20, when only the last may be", there());

    let (runtime, weak) = runtime();
    runtime.block_on(async {
        everprof::task::spawn(async {}).await.unwrap();
        assert_eq!(everprof::tasks::counts().tokio_alive, Some(0));
        // It was let go, and is counted again.
        let (say, hear) = tokio::sync::oneshot::channel::<()>();
        let waits = everprof::task::spawn(hear);
        assert_eq!(everprof::tasks::counts().tokio_alive, Some(1));
        drop(say);
        waits.await.unwrap().unwrap_err();
    });
    drop(runtime);
    assert_eq!(everprof::tasks::counts().tokio_alive, Some(0));
    assert!(weak.upgrade().is_none());
    assert_eq!(there(), 0);
}

/// The runtimes are counted all the time while this process forks. Whoever counts holds their
/// lock for most of that time: were a child to wait for it, it would not in all of 40
/// with odds of less than 2^-40.
#[test]
fn child_spawns_though_another_thread_looked_when_it_was_forked() {
    let _alone = ALONE.lock().unwrap();
    let runtimes: Vec<_> = (0..50).map(|_| runtime().0).collect();
    for runtime in &runtimes {
        let _entered = runtime.enter();
        drop(everprof::task::spawn(std::future::pending::<()>()));
    }
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                assert!(everprof::tasks::counts().tokio_alive >= Some(50));
            }
        });
        let failed = (0..40).find(|_| !ends_well(spawns_alone));
        end.store(true, Ordering::Relaxed);
        assert_eq!(failed, None, "a child failed or waited for ever");
    });
}

/// In a child: a runtime and a task of its own, and no others.
fn spawns_alone() -> bool {
    let (runtime, _) = runtime();
    runtime.block_on(async {
        let none_yet = everprof::tasks::counts().tokio_alive.is_none();
        let waits = everprof::task::spawn(std::future::pending::<()>());
        let counted = everprof::tasks::counts().tokio_alive;
        waits.abort();
        none_yet && counted == Some(1)
    })
}

/// Whether `child` holds in a fork's child, which a signal ends if it waits for ever.
fn ends_well(child: fn() -> bool) -> bool {
    // SAFETY: the child allocates, which glibc allows, and ends below.
    let process = unsafe { libc::fork() };
    assert!(process >= 0);
    if process == 0 {
        // SAFETY: has this process alone be ended.
        unsafe { libc::alarm(60) };
        let status = i32::from(!child());
        // SAFETY: ends the child without anybody's destructors.
        unsafe { libc::_exit(status) };
    }
    let mut status = -1;
    // SAFETY: waits for the child made above.
    let ended = unsafe { libc::waitpid(process, &raw mut status, 0) };
    ended == process && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}
