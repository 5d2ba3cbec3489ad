//! A bounded channel of numbers, as channels are: who waits leaves a waker, and takes it back
//! when it is dropped.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use shuttle::sync::{Mutex, MutexGuard};

/// Both ends of it.
#[derive(Clone)]
pub struct Channel(Arc<Mutex<State>>);

struct State {
    values: VecDeque<u64>,
    capacity: usize,
    is_closed: bool,
    senders: Waiters,
    receivers: Waiters,
    /// Numbers of those who wait.
    last: u64,
}

/// Wakers, by who waits.
#[derive(Default)]
struct Waiters(Vec<(u64, Waker)>);

impl Waiters {
    /// Keeps the waker that is there if it does as well.
    fn keep(&mut self, whose: u64, waker: &Waker) {
        match self.0.iter_mut().find(|(other, _)| *other == whose) {
            Some((_, kept)) if kept.will_wake(waker) => {}
            Some((_, kept)) => *kept = waker.clone(),
            None => self.0.push((whose, waker.clone())),
        }
    }

    fn forget(&mut self, whose: u64) -> Option<Waker> {
        let at = self.0.iter().position(|(other, _)| *other == whose)?;
        Some(self.0.remove(at).1)
    }
}

impl Channel {
    /// Has room for so many.
    pub fn with_room_for(capacity: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            values: VecDeque::new(),
            capacity,
            is_closed: false,
            senders: Waiters::default(),
            receivers: Waiters::default(),
            last: 0,
        })))
    }

    /// Waits for room.
    pub async fn send(&self, value: u64) {
        let sends = |state: &mut State| {
            let has_room = state.values.len() < state.capacity;
            has_room.then(|| state.values.push_back(value))
        };
        Turn::new(
            self,
            sends,
            |state| &mut state.senders,
            |state| &mut state.receivers,
        )
        .await;
    }

    /// Waits for a value; none, once it is closed and empty.
    pub async fn receive(&self) -> Option<u64> {
        let receives = |state: &mut State| match state.values.pop_front() {
            Some(value) => Some(Some(value)),
            None => state.is_closed.then_some(None),
        };
        Turn::new(
            self,
            receives,
            |state| &mut state.receivers,
            |state| &mut state.senders,
        )
        .await
    }

    /// No value will come.
    pub fn close(&self) {
        let mut state = self.locked();
        state.is_closed = true;
        let wakers = std::mem::take(&mut state.receivers.0);
        // Beneath the lock, as some do; others wake behind it.
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no task panics")
    }
}

/// What one side waits for.
struct Turn<'c, A> {
    channel: &'c Channel,
    attempt: A,
    own: fn(&mut State) -> &mut Waiters,
    other: fn(&mut State) -> &mut Waiters,
    number: Option<u64>,
}

impl<'c, A> Turn<'c, A> {
    fn new(
        channel: &'c Channel,
        attempt: A,
        own: fn(&mut State) -> &mut Waiters,
        other: fn(&mut State) -> &mut Waiters,
    ) -> Self {
        Self {
            channel,
            attempt,
            own,
            other,
            number: None,
        }
    }
}

impl<T, A: FnMut(&mut State) -> Option<T> + Unpin> Future for Turn<'_, A> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        let mut state = this.channel.locked();
        if let Some(result) = (this.attempt)(&mut state) {
            let own = this.number.take();
            let own = own.and_then(|own| (this.own)(&mut state).forget(own));
            let wakers = std::mem::take(&mut (this.other)(&mut state).0);
            drop(state);
            drop(own);
            wakers.into_iter().for_each(|(_, waker)| waker.wake());
            return Poll::Ready(result);
        }
        let number = *this.number.get_or_insert_with(|| {
            state.last += 1;
            state.last
        });
        (this.own)(&mut state).keep(number, context.waker());
        Poll::Pending
    }
}

impl<A> Drop for Turn<'_, A> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = (self.own)(&mut self.channel.locked()).forget(number);
            drop(waker);
        }
    }
}
