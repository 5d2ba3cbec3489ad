//! `task::spawn` remembers the runtimes that it spawns on, to count their tasks, and keeps none
//! alive for that.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Weak};

use tokio::runtime::{Builder, Runtime};

/// A runtime, and what is gone when all of it is.
fn runtime() -> (Runtime, Weak<()>) {
    let held = Arc::new(());
    let weak = Arc::downgrade(&held);
    let mut builder = Builder::new_current_thread();
    builder.on_thread_park(move || drop(Arc::clone(&held)));
    (builder.build().unwrap(), weak)
}

/// One test, as others would look, too.
#[test]
fn runtimes_that_have_ended_are_let_go() {
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
