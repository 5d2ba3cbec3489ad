//! Many tasks that wait, in ten places, and a dump of them all.

use tokio::sync::oneshot::{Receiver, channel};
use tokio::task::yield_now;

use crate::Peer;
use crate::figures::{Begun, resident_kib};

/// Prints bytes a task, seconds of the first dump and of the next, tasks and bytes in it.
pub fn run<P: Peer>(count: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async move {
        let mut senders = Vec::with_capacity(count);
        let before = resident_kib();
        for index in 0..count {
            let (sender, receiver) = channel();
            senders.push(sender);
            tokio::spawn(P::task(waits::<P>(index % 10, receiver)));
        }
        // The runtime polls each before it comes back here often enough.
        for _ in 0..count / 8 {
            yield_now().await;
        }
        let bytes = (resident_kib() - before) * 1024.0 / count as f64;
        print!("{bytes}");
        for _ in 0..2 {
            let begun = Begun::now();
            let Some((tasks, size)) = P::dump().await else {
                break;
            };
            print!(" {} {tasks} {size}", begun.seconds().0);
        }
        println!();
        // Nobody waits for so many tasks to be dropped.
        std::process::exit(0);
    });
}

async fn waits<P: Peer>(place: usize, receiver: Receiver<()>) {
    match place {
        0 => P::call("place 0", at_place::<P, 0>(receiver)).await,
        1 => P::call("place 1", at_place::<P, 1>(receiver)).await,
        2 => P::call("place 2", at_place::<P, 2>(receiver)).await,
        3 => P::call("place 3", at_place::<P, 3>(receiver)).await,
        4 => P::call("place 4", at_place::<P, 4>(receiver)).await,
        5 => P::call("place 5", at_place::<P, 5>(receiver)).await,
        6 => P::call("place 6", at_place::<P, 6>(receiver)).await,
        7 => P::call("place 7", at_place::<P, 7>(receiver)).await,
        8 => P::call("place 8", at_place::<P, 8>(receiver)).await,
        _ => P::call("place 9", at_place::<P, 9>(receiver)).await,
    }
}

async fn at_place<P: Peer, const PLACE: usize>(receiver: Receiver<()>) {
    P::call("inner", inner::<PLACE>(receiver)).await;
}

async fn inner<const PLACE: usize>(receiver: Receiver<()>) {
    let told = receiver.await;
    std::hint::black_box((PLACE, told.is_ok()));
}
