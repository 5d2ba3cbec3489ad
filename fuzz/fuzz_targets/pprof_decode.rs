//! Any bytes are a profile or an error. What was read can be written, and what
//! was written reads as the same; after two passes nothing changes any more.
#![no_main]

use everprof_profile::Profile;
use everprof_profile::pprof::{self, Limits};
use libfuzzer_sys::fuzz_target;

fn written(profile: &Profile) -> Vec<u8> {
    let mut bytes = Vec::new();
    pprof::encode_plain(profile, &mut bytes).expect("a Vec takes all that is written");
    bytes
}

fn read(bytes: &[u8]) -> Profile {
    pprof::decode(bytes, &Limits::default()).expect("we can read what we write")
}

fuzz_target!(|bytes: &[u8]| {
    let mut limits = Limits::default();
    // Small enough that a bomb which got through would be seen as memory.
    limits.max_bytes = 16 << 20;
    let Ok(profile) = pprof::decode(bytes, &limits) else {
        return;
    };
    let again = read(&written(&profile));
    assert_eq!(profile.totals(), again.totals());
    assert_eq!(profile.samples().len(), again.samples().len());
    // The first pass may leave out strings that a damaged profile mentions twice.
    let settled = written(&again);
    assert!(
        written(&read(&settled)) == settled,
        "writing changed what was read"
    );
});
