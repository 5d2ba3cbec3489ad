//! Any bytes are a profile or an error. What was read can be written, and what
//! was written reads as the same: after one pass nothing changes any more.
#![no_main]

use everprof_profile::pprof::{self, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut limits = Limits::default();
    // Small enough that a bomb which got through would be seen as memory.
    limits.max_bytes = 16 << 20;
    let Ok(profile) = pprof::decode(bytes, &limits) else {
        return;
    };
    let mut once = Vec::new();
    pprof::encode_plain(&profile, &mut once).expect("a Vec takes all that is written");
    let again = pprof::decode(&once, &Limits::default()).expect("we can read what we write");
    assert_eq!(profile.totals(), again.totals());
    let mut twice = Vec::new();
    pprof::encode_plain(&again, &mut twice).expect("a Vec takes all that is written");
    assert!(once == twice, "writing changed what was read");
});
