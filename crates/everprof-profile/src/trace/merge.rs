//! Merge: the events of all threads in the order of their time.
//!
//! Context: cold.
//! Invariant: events of one thread stay in their order; an event is given when no thread
//! can have an earlier one, as far as the recorder's promise ([`Merge::round`]) holds, or is
//! broken by less than a round.
//!
//! A trace holds runs of events, each of one thread. They wait, undecoded, until a round
//! says that nothing earlier will follow; up to that time the thread whose next event is
//! the earliest goes on until another's is earlier. So a single thread costs one comparison
//! an event, and memory is that of two rounds.
//!
//! Two, because a round is believed only when the next one has come: a thread may have
//! looked at the clock and be held up before its event is in its buffer, while the writer
//! makes the round. What is later still is given at once, with its own time: who follows
//! objects must take an event from the past (see `late`).

use std::collections::VecDeque;

use super::cursor::Cursor;
use super::event::{Event, Other};
use super::fault::Fault;
use super::queue::Queue;

/// Runs of events that wait for their round.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    streams: Vec<Stream>,
    /// Threads that have events, by the time of their next one. While one is `current`, it
    /// is the first, by the time that its turn began with.
    queue: Queue,
    current: Option<u32>,
    /// `current` may go on up to this time and with it.
    until: u64,
    /// Events before this time may be given.
    round: u64,
    /// The last round's.
    promised: u64,
    /// All that waits may be given, until nothing does.
    is_released: bool,
    /// Bytes of payloads that wait.
    bytes: usize,
    /// Payloads that are read, for the next ones: their memory.
    spare: Vec<Vec<u8>>,
}

/// What waits of one thread, none of it behind its last event but perhaps the first run.
#[derive(Debug, Default)]
struct Stream {
    /// Apart, so that a turn of the thread finds it at once.
    first: Option<Cursor>,
    more: VecDeque<Cursor>,
}

/// Where in the file a fault is, and which.
pub(crate) type Misplaced = (u64, Fault);

impl Merge {
    /// Memory for a payload.
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub(crate) fn recycle(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < MOST_SPARE {
            self.spare.push(buffer);
        }
    }

    /// Adds a run of events behind those of its thread.
    pub(crate) fn push(&mut self, cursor: Cursor) {
        let Some(time) = cursor.next_time() else {
            self.recycle(cursor.into_payload());
            return;
        };
        let thread = cursor.thread();
        let place = thread as usize;
        if self.streams.len() <= place {
            self.streams.resize_with(place + 1, Stream::default);
        }
        // It may have to come before what the current one has next.
        self.put_back();
        let stream = &mut self.streams[place];
        self.bytes += cursor.len();
        if stream.first.is_some() {
            stream.more.push_back(cursor);
        } else {
            stream.first = Some(cursor);
            self.queue.push(time, thread);
        }
    }

    /// Says that all events before this time have been pushed.
    pub(crate) fn round(&mut self, time: u64) {
        self.round = self.promised;
        self.promised = self.promised.max(time);
        self.put_back();
    }

    /// Whether so much waits that it must be given without a promise.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes > MOST_WAITING_BYTES
    }

    /// Lets all that waits now be given: there is no promise to wait for.
    pub(crate) fn release(&mut self) {
        self.is_released = true;
        self.put_back();
    }

    /// The earliest event that may be given, if there is one, as [`Cursor::next`] does.
    #[inline]
    pub(crate) fn next(
        &mut self,
        stacks: u32,
        others: &mut Vec<Other>,
        event: &mut Event,
    ) -> Option<Result<(), Misplaced>> {
        loop {
            if let Some(current) = self.current
                && let Some(cursor) = self.streams[current as usize].first.as_mut()
            {
                match cursor.next_time() {
                    Some(time) if time <= self.until => {
                        let done = cursor.next(stacks, others, event);
                        return Some(done.map_err(|fault| (cursor.offset, fault)));
                    }
                    Some(time) => {
                        self.current = None;
                        self.queue.change_first(Some(time));
                    }
                    None => {
                        self.end_run(current);
                        continue;
                    }
                }
            } else {
                self.put_back();
            }
            self.choose()?;
        }
    }

    /// Takes away a run of which nothing is left.
    fn end_run(&mut self, thread: u32) {
        let stream = &mut self.streams[thread as usize];
        if let Some(cursor) = std::mem::replace(&mut stream.first, stream.more.pop_front()) {
            self.bytes -= cursor.len();
            self.recycle(cursor.into_payload());
        }
    }

    /// Ends the turn of the current thread, which waits again if it has more.
    #[inline]
    fn put_back(&mut self) {
        let Some(current) = self.current.take() else {
            return;
        };
        loop {
            let first = self.streams[current as usize].first.as_ref();
            match first.map(Cursor::next_time) {
                Some(None) => self.end_run(current),
                Some(time) => return self.queue.change_first(time),
                None => return self.queue.change_first(None),
            }
        }
    }

    /// Gives the thread its turn whose event is the earliest, if it may be given.
    #[inline]
    fn choose(&mut self) -> Option<()> {
        let Some((time, thread)) = self.queue.first() else {
            self.is_released = false;
            return None;
        };
        // Inclusive; nothing is before time 0.
        let promised = match self.is_released {
            true => u64::MAX,
            false => self.round.checked_sub(1)?,
        };
        if time > promised {
            return None;
        }
        self.current = Some(thread);
        let next = self.queue.second_time();
        self.until = next.map_or(promised, |next| next.min(promised));
        Some(())
    }
}

/// Ten million events: a recorder that writes no rounds is read in some order, and not
/// into all of the memory.
const MOST_WAITING_BYTES: usize = 64 << 20;

/// A round has some runs of each thread; more memory would only be kept.
const MOST_SPARE: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::trace::What;
    use crate::trace::encode::Events;

    /// A run of frees at these times.
    fn run(thread: u32, times: &[u64]) -> Cursor {
        let mut events = Events::new(thread, times[0], 0);
        for &time in times {
            let what = What::Free { address: time };
            events.push(&Event { time, thread, what }, &[]);
        }
        Cursor::new(events.payload(), 0).unwrap()
    }

    fn given(merge: &mut Merge) -> Vec<(u64, u32)> {
        let (mut others, mut event) = (Vec::new(), Event::NONE);
        std::iter::from_fn(|| {
            merge.next(1, &mut others, &mut event)?.unwrap();
            Some((event.time, event.thread))
        })
        .collect()
    }

    #[test]
    fn threads_come_by_turns_in_the_order_of_time() {
        let mut merge = Merge::default();
        merge.push(run(0, &[1, 4, 5]));
        merge.push(run(1, &[2, 3, 9]));
        merge.push(run(0, &[6, 7]));
        assert_eq!(given(&mut merge), []);
        merge.round(100);
        merge.round(100);
        let times: Vec<_> = given(&mut merge).iter().map(|event| event.0).collect();
        assert_eq!(times, [1, 2, 3, 4, 5, 6, 7, 9]);
        assert_eq!(merge.bytes, 0);
    }

    #[test]
    fn nothing_is_given_before_its_round() {
        let mut merge = Merge::default();
        merge.push(run(0, &[1, 5, 10]));
        merge.round(5);
        assert_eq!(given(&mut merge), []);
        merge.push(run(1, &[3, 7]));
        merge.round(10);
        assert_eq!(given(&mut merge), [(1, 0), (3, 1)]);
        merge.round(20);
        assert_eq!(given(&mut merge), [(5, 0), (7, 1)]);
        merge.release();
        assert_eq!(given(&mut merge), [(10, 0)]);
    }

    #[test]
    fn what_comes_late_comes_at_once() {
        let mut merge = Merge::default();
        merge.push(run(0, &[8]));
        merge.round(10);
        merge.round(20);
        assert_eq!(given(&mut merge), [(8, 0)]);
        merge.push(run(1, &[2, 12]));
        assert_eq!(given(&mut merge), [(2, 1)]);
    }

    #[test]
    fn a_release_is_over_when_nothing_waits() {
        let mut merge = Merge::default();
        merge.push(run(0, &[u64::MAX]));
        merge.release();
        assert_eq!(given(&mut merge), [(u64::MAX, 0)]);
        merge.push(run(0, &[3]));
        assert_eq!(given(&mut merge), []);
    }
}
