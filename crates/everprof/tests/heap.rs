//! With period 1 the heap profile is exact: Go's TestMemoryProfiler, restated.
//!
//! Each site allocates in a function of its own name; what the profile says of
//! stacks with that name is what that site did, to the byte.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Mutex;
use std::thread;

use everprof::heap::{IncludeFreed, records, set_period};
use everprof::profile::lookup;
use everprof_profile::{Profile, pprof};

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

/// `[alloc_objects, alloc_space, inuse_objects, inuse_space]` of all samples
/// whose stack has the function `site`. By the end of its name: generic functions
/// that are given it, as those that start a thread with it, name it too.
fn of_site(profile: &Profile, site: &str) -> [i64; 4] {
    let (site, mut sums) = (format!("::{site}"), [0; 4]);
    for sample in profile.samples() {
        let is_there = sample.stack().any(|location| {
            let lines = profile.location(location).lines;
            lines
                .iter()
                .any(|line| profile.function(line.function).name.ends_with(&site))
        });
        if is_there {
            for (sum, value) in sums.iter_mut().zip(sample.values()) {
                *sum += value;
            }
        }
    }
    sums
}

fn heap() -> Profile {
    let mut bytes = Vec::new();
    lookup("heap").unwrap().write_to(&mut bytes).unwrap();
    pprof::decode(&bytes, &pprof::Limits::default()).unwrap()
}

/// Does `work` with every allocation recorded, on a thread of its own; what goes
/// on besides is left out, to be quick.
fn exactly<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _lock = ONE_AT_A_TIME.lock().unwrap();
    set_period(1);
    let done = thread::spawn(work).join().unwrap();
    set_period(0);
    done
}

#[inline(never)]
fn transient_1_mib() {
    for _ in 0..3 {
        drop(black_box(vec![1_u8; 1 << 20]));
    }
}

#[inline(never)]
fn persistent_2_mib() -> Vec<u8> {
    black_box(vec![1_u8; 2 << 20])
}

// One object a box is the point.
#[allow(clippy::vec_box)]
#[inline(never)]
fn many_small() -> Vec<Box<[u64; 3]>> {
    let mut boxes = Vec::with_capacity(1000);
    boxes.extend((0..1000).map(|i| black_box(Box::new([i; 3]))));
    boxes
}

#[inline(never)]
fn aligned_to_64() -> Box<Aligned> {
    black_box(Box::new(Aligned([7; 64])))
}

#[repr(align(64))]
struct Aligned(#[allow(dead_code)] [u8; 64]);

#[inline(never)]
fn zeroed() -> Vec<u64> {
    black_box(vec![0; 1000])
}

#[inline(never)]
fn grown() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(100);
    bytes.push(black_box(1));
    bytes.reserve_exact(999);
    bytes.shrink_to_fit();
    bytes
}

#[inline(never)]
fn freed_elsewhere() -> Box<[u8; 500]> {
    black_box(Box::new([1; 500]))
}

#[test]
fn every_site_has_its_exact_objects_and_bytes() {
    let kept = exactly(|| {
        transient_1_mib();
        (
            persistent_2_mib(),
            many_small(),
            aligned_to_64(),
            zeroed(),
            grown(),
        )
    });
    let profile = heap();
    let expected: BTreeMap<&str, [i64; 4]> = BTreeMap::from([
        ("transient_1_mib", [3, 3 << 20, 0, 0]),
        ("persistent_2_mib", [1, 2 << 20, 1, 2 << 20]),
        ("many_small", [1001, 32_000, 1001, 32_000]),
        ("aligned_to_64", [1, 64, 1, 64]),
        ("zeroed", [1, 8000, 1, 8000]),
        // 100, then 1,000 (a realloc is a free and an allocation), then 1.
        ("grown", [3, 1101, 1, 1]),
    ]);
    for (site, values) in expected {
        assert_eq!(of_site(&profile, site), values, "{site}");
    }
    drop(kept);
    let profile = heap();
    assert_eq!(of_site(&profile, "many_small"), [1001, 32_000, 0, 0]);
    assert_eq!(of_site(&profile, "persistent_2_mib")[2..], [0, 0]);
    assert_eq!(of_site(&profile, "aligned_to_64")[2..], [0, 0]);
    assert_eq!(of_site(&profile, "grown")[2..], [0, 0]);
}

#[test]
fn an_object_freed_on_another_thread_is_off_its_allocators_site() {
    let object = exactly(freed_elsewhere);
    assert_eq!(of_site(&heap(), "freed_elsewhere"), [1, 500, 1, 500]);
    thread::spawn(move || drop(object)).join().unwrap();
    assert_eq!(of_site(&heap(), "freed_elsewhere"), [1, 500, 0, 0]);
}

#[inline(never)]
fn for_the_delta() -> Vec<u8> {
    black_box(vec![1; 12_345])
}

#[test]
fn a_delta_holds_what_came_between_and_only_that() {
    let first = exactly(for_the_delta);
    let before = lookup("allocs").unwrap();
    let second = exactly(for_the_delta);
    drop(first);
    let delta = lookup("allocs").unwrap().delta(&before).unwrap();
    let mut bytes = Vec::new();
    delta.write_to(&mut bytes).unwrap();
    let delta = pprof::decode(&bytes, &pprof::Limits::default()).unwrap();
    assert_eq!(of_site(&delta, "for_the_delta"), [1, 12_345, 0, 0]);
    assert!(delta.duration_nanos > 0);
    assert_eq!(delta.default_sample_type(), "alloc_space");
    drop(second);
}

#[inline(never)]
fn for_the_records() -> Vec<u8> {
    black_box(vec![1; 54_321])
}

#[test]
fn records_tell_samples_and_estimates_and_leave_out_what_is_freed() {
    let kept = exactly(for_the_records);
    let class = |record: &everprof::heap::HeapRecord<'_>| {
        record.allocated.sampled_bytes == 54_321 && record.size_class_bytes >= 54_321
    };
    let in_use = records(IncludeFreed::No);
    let record = in_use.iter().find(|record| class(record)).unwrap();
    assert_eq!(
        (record.in_use_objects(), record.in_use_bytes()),
        (1, 54_321)
    );
    assert_eq!(record.allocated.sampled_objects, 1);
    assert_eq!(record.freed.objects, 0);
    assert!(record.stack.len() > 3);
    assert!(record.size_class_bytes < 54_321 * 9 / 8);
    drop(kept);
    assert!(!records(IncludeFreed::No).iter().any(class));
    assert!(records(IncludeFreed::Yes).iter().any(class));
}

#[inline(never)]
fn named_in_text() -> Vec<u8> {
    black_box(vec![1; 777])
}

#[test]
fn text_shows_the_names_of_functions() {
    let kept = exactly(named_in_text);
    let mut text = Vec::new();
    lookup("heap").unwrap().write_text(&mut text, 1).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("heap profile: "), "{text}");
    assert!(text.contains("named_in_text"));
    drop(kept);
}

#[test]
fn no_stack_shows_everprofs_own_frames() {
    let kept = exactly(persistent_frames);
    let profile = heap();
    for sample in profile.samples() {
        let frames = sample
            .stack()
            .flat_map(|location| profile.location(location).lines);
        for name in frames.map(|line| profile.function(line.function).name) {
            // The decoder is everprof's too, but here it is this test that calls it.
            let is_ours = name.contains("everprof::alloc::") || name.contains("everprof_core");
            assert!(!is_ours && !name.contains("__rust_alloc"), "{name}");
        }
    }
    assert!(profile.drop_frames().contains("raw_vec"));
    drop(kept);
}

#[inline(never)]
fn persistent_frames() -> Box<u64> {
    black_box(Box::new(1))
}
