//! The executors that tasks run on, as one shape.

use std::future::Future;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_channel::{Receiver, Sender};
use futures::future::{Either, select};
use tokio::runtime::{Builder, Runtime};

use crate::{Boxed, BoxedLocal};

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Tokio's, with two workers.
    MultiThread,
    /// Tokio's of one thread.
    CurrentThread,
    /// Smol's. Tokio's sockets and clock have a runtime beside it.
    Smol,
}

/// An executor that runs on threads of its own until it is dropped, and drops its tasks then.
pub struct Running {
    kind: Kind,
    /// Before the runtime, which waits as it is dropped for threads that wait for these tasks.
    smol: Arc<async_executor::Executor<'static>>,
    runtime: Arc<Runtime>,
    threads: Vec<JoinHandle<()>>,
    /// Closed when all are to end.
    stop: (Sender<()>, Receiver<()>),
}

impl Running {
    /// Starts one.
    pub fn start(kind: Kind) -> Self {
        let mut running = Self {
            kind,
            runtime: Arc::new(runtime(kind)),
            smol: Arc::default(),
            threads: Vec::new(),
            stop: async_channel::bounded(1),
        };
        // It runs only while somebody blocks on it.
        if kind != Kind::MultiThread {
            running.block_on(|| Box::pin(std::future::pending()));
        }
        running
    }

    /// Runs a task on it.
    pub fn spawn(&self, future: Boxed) {
        match self.kind {
            Kind::MultiThread | Kind::CurrentThread => drop(self.runtime.spawn(future)),
            Kind::Smol => self.smol.spawn(future).detach(),
        }
    }

    /// Runs a future of one thread on a thread of its own, which blocks on it.
    pub fn block_on(&mut self, make: impl FnOnce() -> BoxedLocal + Send + 'static) {
        let (kind, runtime, smol) = (self.kind, self.runtime.clone(), self.smol.clone());
        let stop = self.stop.1.clone();
        self.threads.push(std::thread::spawn(move || {
            let _entered = runtime.enter();
            let until = until(stop, make());
            match kind {
                Kind::MultiThread | Kind::CurrentThread => runtime.block_on(until),
                Kind::Smol => smol::block_on(smol.run(until)),
            }
        }));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.0.close();
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok(), "no task panics");
        }
    }
}

fn runtime(kind: Kind) -> Runtime {
    let mut builder = match kind {
        Kind::CurrentThread => Builder::new_current_thread(),
        Kind::MultiThread | Kind::Smol => Builder::new_multi_thread(),
    };
    let built = builder.worker_threads(2).enable_all().build();
    built.expect("threads and sockets can be had")
}

async fn until(stop: Receiver<()>, future: impl Future<Output = ()> + Unpin) {
    let stopped = Box::pin(async move { stop.recv().await.is_ok() });
    if let Either::Left(((), stopped)) = select(future, stopped).await {
        stopped.await;
    }
}
