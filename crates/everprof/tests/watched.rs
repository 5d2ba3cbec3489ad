//! `#[everprof::watched]` on functions of all shapes, and what it changes: nothing.

#![allow(clippy::unwrap_used)]
#![deny(warnings)]

mod by_hand;

use std::fmt::{Debug, Display};
use std::future::Future;
use std::task::Poll;

use by_hand::{Kept, Task};

#[everprof::watched]
async fn plain() {}

/// Documented.
#[everprof::watched]
#[must_use]
#[inline]
pub(crate) async fn with_attributes(n: u32) -> u32 {
    n + 1
}

#[everprof::watched]
async fn generic<'a, T, const N: usize>(items: &'a [T; N], extra: &impl Display) -> &'a T
where
    T: Debug,
{
    let _ = extra.to_string();
    &items[N - 1]
}

#[everprof::watched]
async fn fails(n: &str) -> Result<u32, std::num::ParseIntError> {
    let n: u32 = n.parse()?;
    if n > 7 {
        return Ok(7);
    }
    Ok(n)
}

#[everprof::watched]
async fn hidden() -> impl Display {
    "hidden"
}

#[everprof::watched]
async unsafe fn raw(n: usize) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { *std::ptr::with_exposed_provenance(n) }
}

#[everprof::watched]
async fn awaits(kept: Kept) -> u32 {
    kept.wait().await;
    with_attributes(1).await
}

struct Counter(u32);

trait Count {
    fn count(&mut self) -> impl Future<Output = u32> + Send;
}

impl Counter {
    #[everprof::watched]
    async fn by_ref(&self) -> u32 {
        self.0
    }

    #[everprof::watched]
    async fn by_mut(&mut self, by: u32) -> &mut u32 {
        self.0 += by;
        &mut self.0
    }

    #[everprof::watched]
    async fn by_value(mut self) -> Self {
        self.0 *= 2;
        self
    }
}

impl Count for Counter {
    #[everprof::watched]
    async fn count(&mut self) -> u32 {
        self.0 += 1;
        self.0
    }
}

fn now<T>(future: impl Future<Output = T> + Send + 'static) -> T {
    match Task::new(future).poll() {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits for nothing"),
    }
}

#[test]
fn functions_of_all_shapes_give_what_they_gave() {
    now(async {
        plain().await;
        assert_eq!(with_attributes(1).await, 2);
        assert_eq!(*generic(&[1, 2, 3], &"x").await, 3);
        assert_eq!(fails("9").await, Ok(7));
        assert!(fails("x").await.is_err());
        assert_eq!(hidden().await.to_string(), "hidden");
        let mut counter = Counter(1);
        assert_eq!(counter.by_ref().await, 1);
        *counter.by_mut(2).await += 1;
        assert_eq!(counter.count().await, 5);
        assert_eq!(counter.by_value().await.0, 10);
    });
}

#[test]
fn unsafe_function_stays_unsafe() {
    now(async {
        let n = Box::new(3_u32);
        let at = std::ptr::from_ref(&*n).expose_provenance();
        // SAFETY: `n` is there.
        assert_eq!(unsafe { raw(at) }.await, 3);
    });
}

#[test]
fn future_is_as_send_as_it_was() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    now(is_send(fails("1"))).unwrap();
}

#[test]
fn call_is_a_record_with_the_functions_name() {
    let kept = Kept::new();
    let mut task = Task::new(awaits(kept.clone()));
    assert!(task.poll().is_pending());
    let all = everprof::tasks::records();
    let record = all.iter().find(|record| record.name == "watched::awaits");
    assert_eq!(record.unwrap().stacks.len(), 1, "{all:?}");
    kept.wake();
    assert_eq!(task.poll(), Poll::Ready(2));
}
