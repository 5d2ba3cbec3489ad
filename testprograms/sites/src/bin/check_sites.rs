//! Whether a block profile of `sites` has every call site by its name, with what it waits for.
//!
//! ```text
//! check_sites FILE release|fat
//! ```

use std::collections::BTreeSet;
use std::process::exit;

use everprof_profile::pprof;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [path, build] = &words[..] else {
        panic!("usage: check_sites FILE release|fat");
    };
    let bytes = std::fs::read(path).expect("a file");
    let profile = pprof::decode(&bytes, &pprof::Limits::default()).expect("a profile");
    let mut wrong = 0;
    for &(site, in_release, in_fat) in SITES {
        let kind = if build == "fat" { in_fat } else { in_release };
        let mut kinds = BTreeSet::new();
        for sample in profile.samples() {
            let mut lines = sample.stack().flat_map(|at| profile.location(at).lines);
            if lines.any(|line| profile.function(line.function).name.ends_with(site)) {
                kinds.extend(sample.string_label("wait"));
            }
        }
        if !kinds.contains(kind) {
            println!("{site}: expected {kind}, found {kinds:?}");
            wrong += 1;
        }
    }
    if wrong > 0 {
        exit(1);
    }
    println!("ok");
}

/// A function, what it waits for as the names of a release build tell, and as those tell that fat
/// LTO leaves. Where a wait is inlined into the program, nothing says what it was for.
const SITES: &[(&str, &str, &str)] = &[
    ("waits_in_std_mutex", "mutex", "mutex"),
    ("waits_in_std_rwlock_read", "rwlock", "rwlock"),
    ("waits_in_std_rwlock_write", "rwlock", "rwlock"),
    ("waits_in_std_condvar", "condvar", "other"),
    ("waits_in_std_once", "once", "once"),
    ("waits_in_std_once_lock", "once", "once"),
    ("waits_in_std_lazy_lock", "once", "once"),
    ("waits_in_std_park", "park", "park"),
    ("waits_in_std_mpsc", "channel", "channel"),
    ("waits_in_std_sync_sender", "channel", "channel"),
    ("waits_in_std_barrier", "barrier", "barrier"),
    ("waits_in_std_scope", "join", "other"),
    ("waits_in_std_join", "join", "join"),
    ("waits_in_parking_lot_mutex", "mutex", "mutex"),
    ("waits_in_parking_lot_rwlock_read", "rwlock", "rwlock"),
    ("waits_in_parking_lot_rwlock_write", "rwlock", "rwlock"),
    ("waits_in_parking_lot_condvar", "condvar", "other"),
    ("waits_in_parking_lot_once", "once", "once"),
    ("waits_in_crossbeam_recv", "channel", "channel"),
    ("waits_in_crossbeam_send", "channel", "channel"),
    ("waits_in_crossbeam_wait_group", "join", "other"),
    ("waits_in_crossbeam_parker", "condvar", "other"),
    ("waits_in_flume", "channel", "park"),
    ("waits_in_kanal", "park", "park"),
    ("waits_in_once_cell", "once", "once"),
    ("waits_in_rayon_install", "join", "join"),
    ("waits_in_rayon_join", "join", "join"),
    ("waits_in_rayon_scope", "join", "join"),
    ("waits_in_rayon_worker", "join", "join"),
    ("waits_in_tokio_block_on", "task", "other"),
    ("waits_in_tokio_blocking_lock", "task", "other"),
    ("waits_in_tokio_blocking_recv", "task", "other"),
];
