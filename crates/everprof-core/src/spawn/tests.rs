//! Claims about threads created: counts, CPU time, labels, children of a fork.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::labels::Labels;

const RUN: Run = Run {
    routine: 1,
    argument: 2,
};

fn store() -> Box<Store> {
    Box::new(Store::new())
}

fn create<'s>(recorder: Recorder<'s>, local: &Local, site: u64) -> Created<'s> {
    let created = recorder.begin_with(local, RUN, |out| {
        out[..2].copy_from_slice(&[site, 99]);
        2
    });
    created.unwrap()
}

/// Whether the thread that `start` was made for is on record from now on.
fn begin(recorder: Recorder<'_>, local: &Local, start: *mut u8) -> bool {
    // SAFETY: each test gives a start of its recorder's once.
    let begun = unsafe { recorder.start(local, start) };
    assert_eq!(begun.run, RUN);
    begun.is_on_record
}

/// `[created, live, unseen ends]` by the leaf of the creator's stack.
fn counts(recorder: Recorder<'_>) -> Vec<(u64, [u64; 3])> {
    let snapshot = recorder.snapshot();
    let mut counts: Vec<_> = snapshot
        .iter()
        .map(|b| (b.stack[0], [b.created, b.live, b.unseen_ends]))
        .collect();
    counts.sort_unstable();
    counts
}

// By a thread's clock it is known to live, and Miri has none.
#[cfg(not(miri))]
#[test]
fn created_live_and_ended_are_counted_by_who_created() {
    let (store, creator) = (store(), Local::new());
    let recorder = Recorder::of(&store);
    let first = create(recorder, &creator, 100);
    let record = first.start();
    assert_eq!(counts(recorder), []);
    first.succeeded();
    assert_eq!(counts(recorder), [(100, [1, 1, 0])]);
    let thread = Local::new();
    assert!(begin(recorder, &thread, record));
    create(recorder, &creator, 100).succeeded();
    create(recorder, &creator, 200).succeeded();
    assert_eq!(counts(recorder), [(100, [2, 2, 0]), (200, [1, 1, 0])]);
    recorder.end(&thread);
    recorder.end(&thread);
    assert_eq!(counts(recorder), [(100, [2, 1, 0]), (200, [1, 1, 0])]);
}

#[test]
fn creation_that_failed_counts_nothing() {
    let (store, creator) = (store(), Local::new());
    let recorder = Recorder::of(&store);
    drop(create(recorder, &creator, 100));
    assert_eq!(counts(recorder), []);
}

#[test]
fn thread_that_ends_before_its_creator_counts_it_is_never_negative() {
    let (store, creator, thread) = (store(), Local::new(), Local::new());
    let recorder = Recorder::of(&store);
    let created = create(recorder, &creator, 100);
    assert!(begin(recorder, &thread, created.start()));
    recorder.end(&thread);
    assert!(counts(recorder).iter().all(|(_, counts)| counts[1] == 0));
    created.succeeded();
    assert_eq!(counts(recorder), [(100, [1, 0, 0])]);
}

#[test]
fn labels_are_inherited_and_those_of_everprofs_own_threads_are_in_no_profile() {
    let (store, creator, thread) = (store(), Local::new(), Local::new());
    let recorder = Recorder::of(&store);
    let labels = labels::extend(&store, Labels::NONE, &[("a", "1")]);
    creator.labels.set(labels);
    let created = create(recorder, &creator, 100);
    assert!(begin(recorder, &thread, created.start()));
    created.succeeded();
    assert_eq!(thread.labels.get(), labels);
    let snapshot = recorder.snapshot();
    let sets = labels::sets_of(&store).unwrap();
    let of = snapshot.iter().next().unwrap().labels;
    assert!(sets.pairs(of).unwrap().eq([("a", "1")]));

    assert!(!thread.excluded.get());
    creator.excluded.set(true);
    let created = create(recorder, &creator, 300);
    let own = Local::new();
    assert!(begin(recorder, &own, created.start()) && own.excluded.get());
    created.succeeded();
    assert_eq!(recorder.snapshot().iter().count(), 1);
}

/// A child of a fork that happens while a thread is being created: what the child does first,
/// and whether the thread that it then makes runs what it should.
#[cfg(all(target_os = "linux", not(miri)))]
mod forked {
    use super::*;
    use crate::fork::holds_in_child;

    const ROOM: usize = 1 << 20;

    /// The child takes note while a thread is created, and a handler in it creates another.
    fn threads_run_what_they_were_made_for(store: &Store) {
        let (recorder, creator) = (Recorder::of(store), Local::new());
        let labels = labels::extend(store, Labels::NONE, &[("a", "1")]);
        creator.labels.set(labels);
        let mut created = Some(create(recorder, &creator, 100));
        let start = created.as_ref().unwrap().start();
        assert!(holds_in_child(|| {
            let run = Run {
                routine: 7,
                argument: 8,
            };
            let of_handler = recorder.begin_with(&Local::new(), run, |out| {
                out[0] = 200;
                1
            });
            let (Some(of_handler), Some(created)) = (of_handler, created.take()) else {
                return false;
            };
            let (thread, other) = (Local::new(), Local::new());
            // SAFETY: of this recorder, and begun once in this process.
            let begun = unsafe { recorder.start(&thread, start) };
            // SAFETY: as above.
            let other = unsafe { recorder.start(&other, of_handler.start()) };
            created.succeeded();
            of_handler.succeeded();
            let pool = recorder.store.own_region().and_then(Pool::open);
            begun.run == RUN
                && thread.labels.get() == labels
                && !begun.is_on_record
                && other.run == run
                && other.is_on_record
                && pool.is_some_and(|pool| pool.starting() == 0)
                && created_by(recorder, 100) == 0
                && created_by(recorder, 200) == 1
        }));
        assert!(
            begin(recorder, &Local::new(), start),
            "nothing happened here"
        );
        created.unwrap().succeeded();
        assert_eq!(created_by(recorder, 100), 1);
    }

    /// How many threads were created at a site.
    fn created_by(recorder: Recorder<'_>, site: u64) -> u64 {
        let snapshot = recorder.snapshot();
        let of_site = snapshot.iter().filter(|b| b.stack.first() == Some(&site));
        of_site.map(|b| b.created).sum()
    }

    #[test]
    fn thread_finds_its_routine_where_the_child_keeps_the_records() {
        threads_run_what_they_were_made_for(&store());
    }

    #[test]
    fn thread_finds_its_routine_where_the_child_replaces_them() {
        let store = store();
        // SAFETY: a name; the result is checked.
        let fd = unsafe { libc::memfd_create(c"starts".as_ptr(), 0) };
        assert!(fd >= 0);
        // SAFETY: the file made above.
        assert_eq!(unsafe { libc::ftruncate(fd, ROOM as libc::off_t) }, 0);
        assert!(store.init_shared(fd, ROOM));
        threads_run_what_they_were_made_for(&store);
        // SAFETY: made above, and mapped by the store, which needs it no more.
        unsafe { libc::close(fd) };
    }

    #[test]
    fn creation_that_fails_in_the_child_gives_back_what_is_its_own() {
        let (store, creator) = (store(), Local::new());
        let recorder = Recorder::of(&store);
        let mut created = Some(create(recorder, &creator, 100));
        assert!(holds_in_child(|| {
            drop(created.take());
            let pool = recorder.store.own_region().and_then(Pool::open);
            pool.is_some_and(|pool| pool.starting() == 0)
        }));
    }
}

/// The threads here are real: their numbers and clocks are asked for.
#[cfg(all(target_os = "linux", not(miri)))]
mod real {
    use super::*;

    fn cpu_nanos(recorder: Recorder<'_>) -> u64 {
        recorder.snapshot().iter().map(|b| b.cpu_nanos).sum()
    }

    fn burn(nanos: u64) {
        let clock = || sys::thread_cpu_nanos(sys::thread_id()).unwrap();
        let until = clock() + nanos;
        while clock() < until {}
    }

    /// A thread that begins on this record, does `work`, and is gone without a word.
    fn ends_untold(recorder: Recorder<'_>, record: usize, work: impl FnOnce() + Send) {
        let tid = std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                assert!(begin(recorder, &Local::new(), record as *mut u8));
                work();
                sys::thread_id()
            });
            thread.join().unwrap()
        });
        // Joined, it may still be on the kernel's list for a moment.
        while sys::thread_cpu_nanos(tid).is_some() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn cpu_time_grows_while_a_thread_lives_and_is_whole_at_its_end() {
        let (store, creator) = (store(), Local::new());
        let recorder = Recorder::of(&store);
        let created = create(recorder, &creator, 100);
        let record = created.start() as usize;
        created.succeeded();
        let used = std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let local = Local::new();
                let tid = sys::thread_id();
                assert!(begin(recorder, &local, record as *mut u8));
                burn(3_000_000);
                let first = cpu_nanos(recorder);
                assert!(first >= 3_000_000);
                burn(2_000_000);
                assert!(cpu_nanos(recorder) >= first + 2_000_000);
                assert_eq!(recorder.creator_of(tid), Some(&[100, 99][..]));
                recorder.end(&local);
                assert_eq!(recorder.creator_of(tid), None);
                sys::thread_cpu_nanos(tid).unwrap()
            });
            thread.join().unwrap()
        });
        let counted = cpu_nanos(recorder);
        assert!((5_000_000..=used).contains(&counted), "{counted} of {used}");
        assert_eq!(cpu_nanos(recorder), counted);
    }

    #[test]
    fn labels_of_another_thread_are_those_it_has_now() {
        let (store, creator) = (store(), Local::new());
        let recorder = Recorder::of(&store);
        let set = |value: &str| labels::extend(&store, Labels::NONE, &[("a", value)]);
        let (one, two) = (set("1"), set("2"));
        creator.labels.set(one);
        let created = create(recorder, &creator, 100);
        let record = created.start() as usize;
        created.succeeded();
        let made = store.generation().made();
        std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let (go, next) = std::sync::mpsc::channel();
            scope.spawn(move || {
                let local = Local::new();
                assert!(begin(recorder, &local, record as *mut u8));
                tell.send(sys::thread_id()).unwrap();
                next.recv().unwrap();
                local.labels.set(two);
                tell.send(0).unwrap();
                next.recv().unwrap();
            });
            let tid = told.recv().unwrap();
            assert_eq!(recorder.labels_of(tid), Some(one.set_in(made)));
            go.send(()).unwrap();
            told.recv().unwrap();
            assert_eq!(recorder.labels_of(tid), Some(two.set_in(made)));
            go.send(()).unwrap();
        });
        assert_eq!(recorder.labels_of(u32::MAX), None);
        assert_eq!(recorder.labels_at(8), labels::NONE, "nothing is there");
    }

    #[test]
    fn end_that_nobody_told_is_found_by_a_snapshot() {
        let (store, creator) = (store(), Local::new());
        let recorder = Recorder::of(&store);
        let created = create(recorder, &creator, 100);
        let record = created.start() as usize;
        created.succeeded();
        ends_untold(recorder, record, || {
            assert_eq!(counts(recorder), [(100, [1, 1, 0])]);
        });
        assert_eq!(counts(recorder), [(100, [1, 0, 1])]);
        assert!(cpu_nanos(recorder) > 0, "what was seen of it stays");
    }

    #[test]
    fn ends_that_nobody_told_do_not_fill_the_arena() {
        let (store, creator) = (store(), Local::new());
        let recorder = Recorder::of(&store);
        let mut used = 0;
        for turn in 0..400 {
            let created = create(recorder, &creator, 100);
            let record = created.start() as usize;
            created.succeeded();
            ends_untold(recorder, record, || ());
            match turn {
                100 => used = store.memory_used(),
                _ if turn > 100 => assert_eq!(store.memory_used(), used),
                _ => {}
            }
        }
    }

    #[test]
    fn others_are_those_that_nobody_was_seen_to_create() {
        let (store, creator) = (store(), Local::new());
        let recorder = Recorder::of(&store);
        let others = |recorder: Recorder<'_>| recorder.snapshot().others;
        assert!(others(recorder).main_cpu_nanos.unwrap() > 0);
        let created = create(recorder, &creator, 100);
        let record = created.start() as usize;
        created.succeeded();
        let known = std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let (local, tid) = (Local::new(), sys::thread_id());
                let pool = recorder.store.own_region().and_then(Pool::open).unwrap();
                let before = pool.seen(tid);
                assert!(begin(recorder, &local, record as *mut u8));
                let during = pool.seen(tid);
                recorder.end(&local);
                (before, during, pool.seen(tid))
            });
            thread.join().unwrap()
        });
        assert_eq!(known.0, Seen::Unknown);
        assert!(known.1 != Seen::Unknown && known.1 == known.2);
    }
}
