//! Tokio's tasks, and its macros that wait for several.

use std::future::pending;

use tokio::sync::Notify;
use tokio::task::{self, JoinSet, LocalSet};

use super::{Case, Here, Start};

macro_rules! case {
    ($how:ident $name:ident $stacks:literal) => {
        Case {
            name: stringify!($name),
            start: Start::$how(|here| Box::pin($name(here))),
            stacks: $stacks,
        }
    };
}

pub(super) const CASES: &[Case] = &[
    case!(Shared waits_in_tokio_join_handle 1),
    case!(Shared waits_in_tokio_join_set 1),
    case!(Shared waits_in_tokio_join_set_all 1),
    case!(Shared waits_in_tokio_spawn_blocking 1),
    case!(Shared waits_in_tokio_unconstrained 1),
    case!(Shared waits_in_tokio_task_local 1),
    case!(Shared waits_in_tokio_join 2),
    case!(Shared waits_in_tokio_try_join 2),
    case!(Shared waits_in_tokio_select 3),
    case!(Shared waits_in_tokio_yield_now 1),
    case!(Shared waits_in_tokio_budget 1),
    case!(Local waits_in_tokio_local_set 1),
    case!(Local waits_in_tokio_run_until 1),
    case!(Local waits_in_tokio_spawn_local 1),
];

tokio::task_local!(static NUMBER: u32);

async fn waits_in_tokio_join_handle(here: Here) {
    assert!(here.waits(tokio::spawn(pending::<()>())).await.is_ok());
}

async fn waits_in_tokio_join_set(here: Here) {
    let mut set = JoinSet::new();
    set.spawn(pending::<()>());
    here.waits(set.join_next()).await;
}

async fn waits_in_tokio_join_set_all(here: Here) {
    let mut set = JoinSet::new();
    set.spawn(pending::<()>());
    here.waits(set.join_all()).await;
}

/// The thread ends with the task, which has its channel's other end.
async fn waits_in_tokio_spawn_blocking(here: Here) {
    let (_kept, told) = std::sync::mpsc::channel::<()>();
    let blocking = task::spawn_blocking(move || told.recv().is_ok());
    assert!(here.waits(blocking).await.is_ok());
}

async fn waits_in_tokio_unconstrained(here: Here) {
    let notify = Notify::new();
    here.waits(task::unconstrained(notify.notified())).await;
}

async fn waits_in_tokio_task_local(here: Here) {
    let notify = Notify::new();
    here.waits(NUMBER.scope(1, notify.notified())).await;
}

async fn waits_in_tokio_join(here: Here) {
    let (one, other) = (Notify::new(), Notify::new());
    here.waits(async { tokio::join!(one.notified(), other.notified()) })
        .await;
}

async fn waits_in_tokio_try_join(here: Here) {
    let (_sender, one) = tokio::sync::oneshot::channel::<()>();
    let (_other_sender, other) = tokio::sync::oneshot::channel::<()>();
    assert!(
        here.waits(async { tokio::try_join!(one, other) })
            .await
            .is_ok()
    );
}

async fn waits_in_tokio_select(here: Here) {
    let [one, other, third] = [const { Notify::const_new() }; 3];
    here.waits(async {
        tokio::select! {
            () = one.notified() => {}
            () = other.notified() => {}
            () = third.notified() => {}
        }
    })
    .await;
}

/// Never at rest: it is seen because each poll that ends in vain is.
async fn waits_in_tokio_yield_now(here: Here) {
    here.waits(task::yield_now()).await;
    loop {
        task::yield_now().await;
    }
}

/// Never at rest either: tokio makes it yield though there is always something to receive.
async fn waits_in_tokio_budget(here: Here) {
    here.waits(async {
        loop {
            task::coop::consume_budget().await;
        }
    })
    .await
}

async fn waits_in_tokio_local_set(here: Here) {
    let set = LocalSet::new();
    set.spawn_local(pending::<()>());
    here.waits(set).await;
}

async fn waits_in_tokio_run_until(here: Here) {
    let (set, notify) = (LocalSet::new(), Notify::new());
    here.waits(set.run_until(notify.notified())).await;
}

async fn waits_in_tokio_spawn_local(here: Here) {
    let set = LocalSet::new();
    let handle = set.spawn_local(pending::<()>());
    assert!(here.waits(set.run_until(handle)).await.is_ok());
}
