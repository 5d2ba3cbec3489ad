//! Model of the hand-over of a thread's buffer to its reader.
#![cfg(everprof_loom)]
#![allow(clippy::unwrap_used)]

use everprof_core::arena::Arena;
use everprof_core::trace::Event;
use everprof_core::trace::buffers::{Buffers, Own};
use loom::sync::Arc;
use loom::thread;

/// Under loom a chunk holds three frees.
const CHUNK_BYTES: usize = 8 * 8;
const EVENTS: u64 = 5;

fn free(number: u64) -> Event {
    Event::Free {
        address: number * 16,
    }
}

/// What is read is whole, in its order, and nothing twice, wherever the reader looks.
#[test]
fn reader_sees_each_event_once_and_whole() {
    loom::model(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        Buffers::create(arena.region(), 2 * CHUNK_BYTES).unwrap();
        let other = Arc::clone(&arena);
        let thread = thread::spawn(move || {
            let buffers = Buffers::open(other.region()).unwrap();
            let own = Own::new();
            assert!(buffers.join(&own, 7));
            for number in 0..EVENTS {
                buffers.append(&own, number, &free(number));
            }
        });
        let buffers = Buffers::open(arena.region()).unwrap();
        let mut next = 0;
        let mut read = || {
            for writer in buffers.writers() {
                buffers.read(writer, |ticks, event| {
                    assert_eq!((ticks, event), (next, free(next)));
                    next += 1;
                });
            }
        };
        read();
        thread.join().unwrap();
        read();
        assert_eq!(next, EVENTS);
    });
}

/// A chunk that the reader has freed is empty for the one who claims it.
#[test]
fn freed_chunk_begins_empty_for_another_thread() {
    loom::model(|| {
        let arena = Arc::new(Arena::anonymous(0).unwrap());
        let buffers = Buffers::create(arena.region(), 2 * CHUNK_BYTES).unwrap();
        let own = Own::new();
        assert!(buffers.join(&own, 1));
        // Into the second chunk, so that the first can be freed.
        for number in 0..4 {
            buffers.append(&own, number, &free(number));
        }
        let other = Arc::clone(&arena);
        let thread = thread::spawn(move || {
            let buffers = Buffers::open(other.region()).unwrap();
            let own = Own::new();
            if buffers.join(&own, 2) {
                buffers.append(&own, 100, &free(100));
                return true;
            }
            false
        });
        let first = buffers.writers().find(|writer| writer.tid == 1).unwrap();
        assert_eq!(buffers.read(first, |_, _| ()), 4);
        let has_joined = thread.join().unwrap();
        let second = buffers.writers().find(|writer| writer.tid == 2);
        assert_eq!(second.is_some(), has_joined);
        if let Some(second) = second {
            let mut read = Vec::new();
            buffers.read(second, |ticks, event| read.push((ticks, event)));
            assert_eq!(read, [(100, free(100))]);
        }
    });
}
