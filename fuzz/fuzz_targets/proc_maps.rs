//! Any bytes are a list of maps, in which each range is one, and no line is
//! read as two.
#![no_main]

use everprof_profile::proc_maps;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let maps = proc_maps::parse(bytes);
    assert!(maps.len() <= bytes.split(|byte| *byte == b'\n').count());
    for map in &maps {
        assert!(map.start < map.limit);
        assert!(map.contains(map.start) && !map.contains(map.limit));
        assert!(map.path.len() <= bytes.len());
        assert!(map.path_lossy().len() <= 3 * map.path.len());
    }
});
