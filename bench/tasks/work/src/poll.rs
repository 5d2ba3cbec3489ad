//! One task that is polled again and again: another wakes it, and lets it run.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::yield_now;

use crate::Peer;
use crate::figures::Begun;

pub fn run<P: Peer>(count: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let notify = Arc::new(Notify::new());
    runtime.expect("a runtime").block_on(async move {
        let waits = tokio::spawn(P::task(outer::<P>(notify.clone())));
        yield_now().await;
        let begun = Begun::now();
        for _ in 0..count {
            notify.notify_one();
            yield_now().await;
        }
        begun.print();
        waits.abort();
    });
}

async fn outer<P: Peer>(notify: Arc<Notify>) {
    P::call("second", second::<P>(&notify)).await;
}

async fn second<P: Peer>(notify: &Notify) {
    P::call("third", third::<P>(notify)).await;
}

async fn third<P: Peer>(notify: &Notify) {
    P::call("fourth", fourth::<P>(notify)).await;
}

async fn fourth<P: Peer>(notify: &Notify) {
    P::call("inner", inner(notify)).await;
}

async fn inner(notify: &Notify) {
    loop {
        notify.notified().await;
    }
}
