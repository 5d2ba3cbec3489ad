//! Every entry point of the allocation family, seen from C and C++.
//!
//! At period 1 every allocation is recorded with weight 1, so the figures are
//! exact, not near.
#![allow(clippy::unwrap_used)]

mod launch;

use launch::{Sums, compile, profile, room, run, success, sums};

fn kept(objects: i64, bytes: i64) -> Sums {
    Sums {
        alloc_objects: objects,
        alloc_space: bytes,
        inuse_objects: objects,
        inuse_space: bytes,
    }
}

fn freed(objects: i64, bytes: i64) -> Sums {
    Sums {
        alloc_objects: objects,
        alloc_space: bytes,
        ..Sums::default()
    }
}

#[test]
fn c_gets_its_alignments_sizes_and_errors_and_every_site_is_exact() {
    let room = room();
    let program = compile(&room, "family.c", &[]);
    let profiles = room.path().join("out");
    let output = run(&profiles, &["--heap", "1", "--quiet"])
        .arg(program)
        .output()
        .unwrap();
    let (out, _) = success(output);
    assert_eq!(out, "all holds\n");

    let heap = profile(&profiles, "heap");
    assert_eq!(sums(&heap, "by_malloc"), kept(10, 10_000));
    assert_eq!(sums(&heap, "by_calloc"), kept(1, 700));
    // Each realloc is the free of the old size and the allocation of the new.
    assert_eq!(
        sums(&heap, "by_realloc"),
        Sums {
            alloc_objects: 3,
            alloc_space: 5350,
            inuse_objects: 1,
            inuse_space: 300
        }
    );
    assert_eq!(sums(&heap, "by_reallocarray"), kept(1, 300));
    assert_eq!(sums(&heap, "by_posix_memalign"), kept(1, 777));
    assert_eq!(sums(&heap, "by_aligned_alloc"), kept(1, 640));
    assert_eq!(sums(&heap, "by_memalign"), kept(1, 900));
    assert_eq!(sums(&heap, "by_valloc"), kept(1, 123));
    assert_eq!(sums(&heap, "by_pvalloc"), kept(1, 124));
    assert_eq!(sums(&heap, "by_strdup"), kept(1, 20));
    assert_eq!(sums(&heap, "freed"), freed(100, 6400));
    assert_eq!(sums(&heap, "shrunk_to_nothing"), freed(1, 80));
    // Refused requests are not allocations, and leave the old object on the books until its free.
    assert_eq!(sums(&heap, "refused"), freed(1, 48));
    assert_eq!(sums(&heap, "impossible"), freed(1, 24));
    assert_eq!(sums(&heap, "after_the_impossible"), kept(1, 40));
    assert_eq!(sums(&heap, "errno_is_kept"), freed(3, 128));
}

#[test]
fn cpp_operators_and_statics_before_main_are_exact() {
    let room = room();
    let program = compile(&room, "operators.cc", &[]);
    let profiles = room.path().join("out");
    let output = run(&profiles, &["--heap", "1", "--quiet"])
        .arg(program)
        .output()
        .unwrap();
    let (out, _) = success(output);
    assert_eq!(out, "all holds\n");

    let heap = profile(&profiles, "heap");
    assert_eq!(sums(&heap, "by_new()"), kept(4, 1200));
    assert_eq!(sums(&heap, "by_array_new()"), kept(1, 12_345));
    assert_eq!(sums(&heap, "by_aligned_new()"), kept(1, 192));
    assert_eq!(sums(&heap, "by_delete()"), freed(52, 50 * 8 + 400 + 192));
    let early = sums(&heap, "before_main()");
    assert_eq!(early.inuse_objects, 2);
    assert_eq!(early.inuse_space, 32 + 5001);
}

#[test]
fn both_profiles_hold_the_same_samples_with_their_own_default() {
    let room = room();
    let program = compile(&room, "family.c", &[]);
    let profiles = room.path().join("out");
    success(
        run(&profiles, &["--heap", "1", "-q"])
            .arg(program)
            .output()
            .unwrap(),
    );
    let (heap, allocs) = (profile(&profiles, "heap"), profile(&profiles, "allocs"));
    assert_eq!(heap.default_sample_type(), "inuse_space");
    assert_eq!(allocs.default_sample_type(), "alloc_space");
    assert_eq!(heap.totals(), allocs.totals());
    assert_eq!(heap.period, 1);
}
