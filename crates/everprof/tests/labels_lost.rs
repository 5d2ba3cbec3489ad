//! More label sets than there is room for: what comes then is counted, under a name.
//!
//! A program of its own, since it fills what all tests of a process share.

#![allow(clippy::unwrap_used)]

use std::hint::black_box;

use everprof::labels;
use everprof::profile::lookup;
use everprof_profile::{Profile, pprof};

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

#[inline(never)]
fn object() -> Vec<u8> {
    black_box(vec![1; 5000])
}

/// In-use objects that `object` made: with a label, and under the frame of lost ones.
fn in_use(profile: &Profile) -> (i64, i64) {
    let mut sums = (0, 0);
    for sample in profile.samples() {
        let names: Vec<&str> = sample
            .stack()
            .flat_map(|location| profile.location(location).lines)
            .map(|line| profile.function(line.function).name)
            .collect();
        if !names.contains(&"labels_lost::object") {
            continue;
        }
        let is_lost = names.last() == Some(&"everprof::lost::labels");
        let label = sample.string_label("request");
        assert_eq!(label.is_none(), is_lost);
        *if is_lost { &mut sums.1 } else { &mut sums.0 } += sample.values()[2];
    }
    sums
}

#[test]
fn labels_beyond_the_cap_are_counted_under_a_frame_that_says_so() {
    everprof::heap::set_period(1);
    let mut kept = Vec::with_capacity(6000);
    for request in 0..5000 {
        let _labels = labels! { "request" => request };
        kept.push(object());
    }
    {
        let _outer = labels! { "request" => 0 };
        kept.push(object());
        let _beyond = labels! { "more" => "x" };
        kept.push(object());
        let _on_top = labels! { "request" => 0 };
        kept.push(object());
    }
    everprof::heap::set_period(0);
    let mut bytes = Vec::new();
    lookup("heap").unwrap().write_to(&mut bytes).unwrap();
    let profile = pprof::decode(&bytes, &pprof::Limits::default()).unwrap();
    assert_eq!(in_use(&profile), (4096 + 1, 5000 - 4096 + 2));
    drop(kept);
}
