#![allow(clippy::unwrap_used)]
use super::*;
use crate::arena::Arena;

fn arena() -> Arena {
    Arena::anonymous(1 << 20).unwrap()
}

fn free(address: u64) -> Event {
    Event::Free { address }
}

fn read_all(buffers: &Buffers<'_>) -> Vec<(u64, Event)> {
    let mut all = Vec::new();
    for writer in buffers.writers() {
        buffers.read(writer, |ticks, event| all.push((ticks, event)));
    }
    all
}

fn chunks_free(buffers: &Buffers<'_>) -> u32 {
    let free = buffers.root.free.iter();
    free.map(|bits| bits.load(Ordering::Relaxed).count_ones())
        .sum()
}

#[test]
fn what_is_written_is_read_once_and_in_order_over_many_chunks() {
    let arena = arena();
    let chunk_bytes = CHUNK_WORDS * 8;
    let buffers = Buffers::create(arena.region(), 4 * chunk_bytes).unwrap();
    let own = Own::new();
    assert!(buffers.join(&own, 7));
    let (mut written, mut read) = (0, 0);
    while written < 4 * CHUNK_WORDS as u64 {
        for _ in 0..CHUNK_WORDS / 4 {
            buffers.append(&own, written, &free(written * 16));
            written += 1;
        }
        for (ticks, event) in read_all(&buffers) {
            assert_eq!((ticks, event), (read, free(read * 16)));
            read += 1;
        }
    }
    assert_eq!(read, written);
    assert_eq!(chunks_free(&buffers), 3, "the thread has one");
    let writer = buffers.writers().next().unwrap();
    assert_eq!((writer.slot, writer.tid, buffers.lost(writer)), (0, 7, 0));
}

#[test]
fn what_has_no_room_is_told_of_in_its_place() {
    let arena = arena();
    let buffers = Buffers::create(arena.region(), 1).unwrap();
    let own = Own::new();
    assert!(buffers.join(&own, 1));
    let most = (CHUNK_WORDS - HEAD_WORDS) as u64 / 2;
    for number in 0..most + 5 {
        buffers.append(&own, number, &free(number));
    }
    let writer = buffers.writers().next().unwrap();
    assert_eq!(buffers.lost(writer), 5);
    assert_eq!(read_all(&buffers).len() as u64, most);
    // The only chunk is full, read or not: there is room when its thread is through with it.
    buffers.append(&own, 100, &free(100));
    assert_eq!(buffers.lost(writer), 6);
    assert!(read_all(&buffers).is_empty());
}

#[test]
fn lost_events_are_counted_before_the_next_that_finds_room() {
    let arena = arena();
    let buffers = Buffers::create(arena.region(), 2 * CHUNK_WORDS * 8).unwrap();
    let (own, other) = (Own::new(), Own::new());
    assert!(buffers.join(&own, 1) && buffers.join(&other, 2));
    let most = (CHUNK_WORDS - HEAD_WORDS) as u64 / 2;
    for number in 0..most + 3 {
        buffers.append(&own, number, &free(number));
    }
    let gone = buffers.writers().nth(1).unwrap();
    buffers.give_back(gone);
    buffers.append(&own, 1000, &free(1));
    let read = read_all(&buffers);
    assert_eq!(
        read.get(most as usize..).unwrap(),
        [(1000, Event::Lost { events: 3 }), (1000, free(1))]
    );
}

#[test]
fn no_more_threads_join_than_there_are_chunks_and_those_gone_make_room() {
    let arena = arena();
    let buffers = Buffers::create(arena.region(), 2 * CHUNK_WORDS * 8).unwrap();
    let owns = [Own::new(), Own::new(), Own::new()];
    assert!(buffers.join(&owns[0], 1) && buffers.join(&owns[1], 2));
    assert!(!buffers.join(&owns[2], 3) && !buffers.has_joined(&owns[2]));
    let first = buffers.writers().next().unwrap();
    buffers.append(&owns[0], 1, &free(1));
    assert_eq!(buffers.read(first, |_, _| ()), 1);
    buffers.give_back(first);
    assert!(buffers.join(&owns[2], 3));
    buffers.append(&owns[2], 2, &free(2));
    let now = buffers.writers().next().unwrap();
    assert_eq!((now.slot, now.tid), (0, 3));
    assert_ne!(now.taken, first.taken);
    assert_eq!(read_all(&buffers), [(2, free(2))]);
}

#[test]
fn reset_takes_everything_from_everybody() {
    let arena = arena();
    let buffers = Buffers::create(arena.region(), 3 * CHUNK_WORDS * 8).unwrap();
    let own = Own::new();
    assert!(buffers.join(&own, 1));
    buffers.append(&own, 1, &free(1));
    buffers.reset();
    own.forget();
    assert_eq!(buffers.writers().count(), 0);
    assert_eq!(chunks_free(&buffers), 3);
    assert!(buffers.join(&own, 1));
    assert!(read_all(&buffers).is_empty());
}

#[test]
fn buffers_are_found_again_in_their_arena() {
    let arena = arena();
    let made = Buffers::create(arena.region(), 3 * CHUNK_WORDS * 8).unwrap();
    let own = Own::new();
    assert!(made.join(&own, 1));
    made.append(&own, 4, &free(9));
    let found = Buffers::open(arena.region()).unwrap();
    assert_eq!(read_all(&found), [(4, free(9))]);
}

#[test]
fn reading_ends_however_fast_its_thread_writes() {
    let arena = arena();
    let chunks = 3;
    let buffers = Buffers::create(arena.region(), chunks * CHUNK_WORDS * 8).unwrap();
    let own = Own::new();
    assert!(buffers.join(&own, 1));
    for number in 0..CHUNK_WORDS as u64 / 2 {
        buffers.append(&own, number, &free(number));
    }
    let writer = buffers.writers().next().unwrap();
    let most = (chunks as u64 + 1) * CHUNK_WORDS as u64 / 2;
    let mut events = 0;
    buffers.read(writer, |_, _| {
        events += 1;
        // A test that fails comes to its end as well.
        if events <= most {
            buffers.append(&own, events, &free(events));
            buffers.append(&own, events, &free(events));
        }
    });
    assert!(events <= most, "{events}");
}

/// A handler leaves by longjmp when the next chunk is linked and nobody knows that yet.
#[test]
fn thread_left_in_the_midst_of_writing_writes_to_nobody_elses_chunk() {
    let arena = arena();
    let buffers = Buffers::create(arena.region(), 4 * CHUNK_WORDS * 8).unwrap();
    let state = crate::trace::ThreadState::new();
    assert!(buffers.join(&state.own, 1) && state.begin_writing());
    assert!(buffers.append(&state.own, 1, &free(1)));
    let mut left = Place::of(&state.own);
    assert!(buffers.go_on(&mut left));
    // The reader goes on, and the chunk that the thread knows of is another's.
    let gone = buffers.writers().next().unwrap();
    assert_eq!(buffers.read(gone, |_, _| ()), 1);
    let other = Own::new();
    assert!(buffers.join(&other, 2));
    assert!(buffers.append(&other, 2, &free(2)));
    let mut refused = 0;
    while !state.begin_writing() {
        refused += 1;
    }
    assert_eq!(refused, state.refused_meanwhile());
    assert!(buffers.has_joined(&state.own) || buffers.join(&state.own, 1));
    assert!(buffers.append(&state.own, 3, &free(3)));
    assert!(buffers.append(&other, 4, &free(4)));
    let mut read = read_all(&buffers);
    read.sort_by_key(|(ticks, _)| *ticks);
    assert_eq!(read, [(2, free(2)), (3, free(3)), (4, free(4))]);
}

/// A handler that records more than any is thought to: the writer below is at work still.
#[test]
fn writer_that_was_taken_for_left_goes_on_in_its_own_chunk() {
    let arena = arena();
    let buffers = Buffers::create(arena.region(), 4 * CHUNK_WORDS * 8).unwrap();
    let own = Own::new();
    assert!(buffers.join(&own, 1));
    let mut place = Place::of(&own);
    own.forget();
    assert!(buffers.join(&own, 1) && buffers.append(&own, 2, &free(2)));
    assert!(buffers.put(&mut place, words::pack(1, &free(1)).as_slice()));
    place.keep(&own);
    assert!(buffers.append(&own, 3, &free(3)));
    assert_eq!(
        read_all(&buffers),
        [(1, free(1)), (3, free(3)), (2, free(2))]
    );
}

#[test]
fn what_an_earlier_trace_lost_is_not_the_next_ones() {
    let arena = arena();
    let buffers = Buffers::create(arena.region(), CHUNK_WORDS * 8).unwrap();
    let own = Own::new();
    buffers.begin_trace(1);
    assert!(buffers.join(&own, 1));
    assert!(buffers.count_lost(&own, 5));
    let writer = buffers.writers().next().unwrap();
    assert_eq!(buffers.lost(writer), 5);
    buffers.begin_trace(2);
    assert_eq!(buffers.lost(writer), 0);
    buffers.append(&own, 1, &free(1));
    assert!(buffers.count_lost(&own, 2));
    assert_eq!(buffers.lost(writer), 2);
    buffers.append(&own, 2, &free(2));
    let told = (2, Event::Lost { events: 2 });
    assert_eq!(read_all(&buffers), [(1, free(1)), told, (2, free(2))]);
}
