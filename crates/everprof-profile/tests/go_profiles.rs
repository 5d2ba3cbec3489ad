//! Profiles that Go 1.27's runtime/pprof wrote come through with their meaning.
//!
//! `testdata/go_heap.pb.gz`, `go_cpu.pb.gz` (labels `tenant` and `route`) and
//! `go_goroutine.pb.gz` are of one small program.

#![allow(clippy::unwrap_used)]

mod oracle;

use std::fs;
use std::io::Read;
use std::path::Path;

use everprof_profile::pprof::{self, Limits};
use everprof_profile::{Filter, Profile};
use flate2::read::GzDecoder;
use prost::Message;

fn read(name: &str) -> (Vec<u8>, Profile) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(name);
    let bytes = fs::read(path).unwrap();
    let mut plain = Vec::new();
    GzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
    (plain, pprof::decode(&bytes, &Limits::default()).unwrap())
}

fn meaning(plain: &[u8]) -> String {
    oracle::meaning(&oracle::Profile::decode(plain).unwrap())
}

#[test]
fn reading_and_writing_keeps_their_meaning() {
    for name in ["go_heap.pb.gz", "go_cpu.pb.gz", "go_goroutine.pb.gz"] {
        let (theirs, profile) = read(name);
        let mut ours = Vec::new();
        pprof::encode_plain(&profile, &mut ours).unwrap();
        assert_eq!(meaning(&ours), meaning(&theirs), "{name}");
        assert!(profile.samples().len() > 0);
    }
}

#[test]
fn labels_of_a_cpu_profile_can_be_asked_for() {
    let (_, profile) = read("go_cpu.pb.gz");
    let labelled = profile.filter(&Filter::new().label("tenant:blue").unwrap());
    assert!(labelled.totals()[1] > profile.totals()[1] / 2);
    let none = profile.filter(&Filter::new().label("tenant:red").unwrap());
    assert_eq!(none.samples().len(), 0);
}

#[test]
fn merge_and_delta_of_a_profile_with_itself_are_twice_and_nothing() {
    for name in ["go_heap.pb.gz", "go_cpu.pb.gz"] {
        let (_, profile) = read(name);
        let twice = Profile::merge(&[&profile, &profile]).unwrap();
        let doubled: Vec<i64> = profile.totals().iter().map(|total| total * 2).collect();
        assert_eq!(twice.totals(), doubled);
        assert_eq!(twice.mappings().len(), profile.mappings().len());
        assert_eq!(profile.delta(&profile).unwrap().samples().len(), 0);
        assert_eq!(twice.delta(&profile).unwrap().totals(), profile.totals());
    }
}
