//! A million operations, or eleven, with dumps all the time: no wake-up and no value is lost.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tasks::flood::{Crowd, all};
use tasks::watch::{Dumps, Watch, dump_as_text};

/// Operations of each flood a task; 28 floods of at least 4 tasks make a million. Ten times as
/// many where they take a tenth of the time, so that as many dumps come between them.
const COUNT: u64 = if cfg!(debug_assertions) {
    10_000
} else {
    100_000
};
/// A wake-up that does not come is known by nothing else. Hours, for machines that are slow.
const NEVER: Duration = Duration::from_secs(3_600);

/// All at once, so that they disturb one another.
#[test]
fn no_value_and_no_wake_up_is_lost_while_dumps_are_taken() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dumps = Dumps::all_the_time();
    let mut under_way: Vec<_> = all()
        .into_iter()
        .map(|(name, flood)| (name, runtime.spawn(flood(Crowd::new(Watch::Yes), COUNT))))
        .collect();
    runtime.block_on(async {
        for (name, flood) in &mut under_way {
            let Ok(sums) = tokio::time::timeout(NEVER, flood).await else {
                panic!("{name} waits for ever:\n{}", dump_as_text());
            };
            let sums = sums.unwrap();
            assert_eq!(sums.is, sums.must_be, "{name}");
        }
    });
    let taken = dumps.end();
    assert!(taken > 0, "no dump was taken meanwhile");
    println!("{taken} dumps were taken");
}
