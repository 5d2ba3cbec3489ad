//! A million operations over channels and locks, and a sum that tells whether one was lost.
//!
//! A lost value makes the sum wrong; a lost wake-up makes it never come.

use std::future::Future;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::Boxed;
use crate::watch::Watch;

mod channels;
mod locks;
mod sets;

/// Spawns the tasks of a flood.
pub struct Crowd {
    watch: Watch,
    tasks: JoinSet<u64>,
}

/// How many tasks there are on each side.
const SIDE: u64 = 4;

impl Crowd {
    /// With nobody in it.
    pub fn new(watch: Watch) -> Self {
        let tasks = JoinSet::new();
        Self { watch, tasks }
    }

    /// Spawns a task that has a share of the sum.
    fn task(&mut self, share: impl Future<Output = u64> + Send + 'static) {
        let (tell, told) = std::sync::mpsc::channel();
        let watched = self.watch.over(async move {
            // Nobody hears it only if nobody wants to know.
            let _ = tell.send(share.await);
        });
        self.tasks.spawn(async move {
            watched.await;
            told.recv().unwrap_or(0)
        });
    }

    /// [`SIDE`] tasks of a kind.
    fn side<T: Clone, F>(&mut self, of: &T, make: impl Fn(T, u64) -> F)
    where
        F: Future<Output = u64> + Send + 'static,
    {
        for index in 0..SIDE {
            self.task(make(of.clone(), index));
        }
    }

    /// The sum of the shares, once all are there.
    async fn sum(mut self) -> u64 {
        let mut sum = 0;
        while let Some(share) = self.tasks.join_next().await {
            sum += share.expect("no task panics");
        }
        sum
    }
}

/// What one flood comes to, and what it must.
pub struct Sums {
    /// As it was.
    pub is: u64,
    /// As it has to be.
    pub must_be: u64,
}

/// A flood by its name: what makes it of a crowd and a number of operations.
pub type Flood = (&'static str, fn(Crowd, u64) -> Boxed<Sums>);

/// All of them.
pub fn all() -> Vec<Flood> {
    [channels::FLOODS, locks::FLOODS, sets::FLOODS].concat()
}

/// A flood of this file.
macro_rules! floods {
    ($($name:ident),* $(,)?) => {
        pub(super) const FLOODS: &[super::Flood] =
            &[$((stringify!($name), |crowd, count| Box::pin($name(crowd, count)))),*];
    };
}
use floods;

/// What the values 1 to `count` from each of a side come to.
fn all_values(count: u64) -> u64 {
    SIDE * (count * (count + 1) / 2)
}

/// Something that all tasks of a flood have.
fn common<T>(value: T) -> Arc<T> {
    Arc::new(value)
}
