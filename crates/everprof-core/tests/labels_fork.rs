//! Labels in a fork's child: those of a private arena stay, those of a file are lost.
//!
//! Children run on the forking thread alone and end with `_exit`.
#![cfg(all(target_os = "linux", not(miri), not(everprof_loom)))]
#![allow(clippy::unwrap_used)]

mod child;

use child::holds_in_child;
use everprof_core::heap::Recorder;
use everprof_core::labels::{self, LOST, Labels};
use everprof_core::local::Local;
use everprof_core::store::Store;

const LEN: usize = 1 << 20;

fn shared() -> Box<Store> {
    let store = Box::new(Store::new());
    // SAFETY: a plain system call with a C string.
    let fd = unsafe { libc::memfd_create(c"labels_fork".as_ptr(), libc::MFD_CLOEXEC) };
    // SAFETY: a plain system call on a descriptor.
    assert_eq!(unsafe { libc::ftruncate(fd, LEN as libc::off_t) }, 0);
    assert!(store.init_shared(fd, LEN));
    store
}

fn set(store: &Store, outer: Labels, pairs: &[(&str, &str)]) -> Labels {
    labels::extend(store, outer, pairs)
}

/// The label sets of all that a sample under `labels` adds to the heap, as text.
fn sampled(store: &Store, labels: Labels) -> Vec<String> {
    let (recorder, local) = (Recorder::of(store), Local::new());
    recorder.set_period(1);
    local.set_labels(labels);
    local.countdown.set(-8);
    let ticket = recorder.sample_with(&local, 8, 1000, |out| {
        out[0] = 77;
        1
    });
    ticket.unwrap().commit(4096, 8);
    let snapshot = recorder.snapshot();
    let sets = labels::sets_of(store).unwrap();
    snapshot
        .iter()
        .map(|bucket| match sets.pairs(bucket.labels) {
            Some(pairs) => pairs.map(|(k, v)| format!("{k}={v} ")).collect(),
            None if bucket.labels == LOST => "lost".to_owned(),
            None => "none".to_owned(),
        })
        .collect()
}

#[test]
fn labels_in_a_private_arena_stay_in_a_child() {
    let store = Box::new(Store::new());
    let labels = set(&store, Labels::NONE, &[("a", "1")]);
    assert!(holds_in_child(|| {
        let more = set(&store, labels, &[("b", "2")]);
        sampled(&store, more) == ["a=1 b=2 "]
    }));
    assert_eq!(sampled(&store, labels), ["a=1 "]);
}

#[test]
fn labels_in_a_file_are_lost_in_a_child_until_others_are_set() {
    let store = shared();
    let labels = set(&store, Labels::NONE, &[("a", "1")]);
    assert!(holds_in_child(|| sampled(&store, labels) == ["lost"]));
    assert!(holds_in_child(|| {
        let more = set(&store, labels, &[("b", "2")]);
        sampled(&store, more) == ["lost"]
    }));
    assert!(holds_in_child(|| {
        // The same number as the parent's, of another making.
        let own = set(&store, Labels::NONE, &[("b", "2")]);
        sampled(&store, own) == ["b=2 "] && labels != own
    }));
    assert!(holds_in_child(|| sampled(&store, Labels::NONE) == ["none"]));
    assert_eq!(sampled(&store, labels), ["a=1 "]);
}
