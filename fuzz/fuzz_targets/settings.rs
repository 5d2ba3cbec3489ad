//! Any text is settings, and complaints of one line each: `EVERPROF`, which people write, and
//! the line by which `everprof run` tells its library.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use everprof::config::Config;
use libfuzzer_sys::fuzz_target;

// A library of its own, which nothing can be linked to: the file itself.
#[allow(dead_code)]
#[path = "../../crates/everprof-agent/src/settings.rs"]
mod settings;

fuzz_target!(|bytes: &[u8]| {
    let mut complaints = Vec::new();
    let config = Config::parse(OsStr::from_bytes(bytes), &mut |text| complaints.push(text));
    let given = bytes.split(|byte| *byte == b',').count();
    assert!(complaints.len() <= given, "{complaints:?}");
    for complaint in &complaints {
        assert!(!complaint.contains(char::is_control), "{complaint:?}");
    }
    assert!(config.depth.is_none_or(|depth| depth > 0));
    if let Some(settings) = settings::Settings::parse(bytes) {
        assert!(settings.depth > 0 && settings.memory_limit > 0);
    }
});
