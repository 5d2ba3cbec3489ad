//! Tasks that alone can reach their wakers. Alone in its process: old words in memory that is
//! nobody's any more hide what is found here. They did in none of 90 runs.
// A sanitizer keeps such memory on purpose; under qemu's user emulation none is found either.
#![cfg(all(
    target_os = "linux",
    not(everprof_emulated),
    not(everprof_sanitizer = "address"),
    not(everprof_sanitizer = "thread")
))]
#![allow(clippy::unwrap_used)]

mod by_hand;

use by_hand::{Kept, Task};
use everprof::Watch;
use everprof::tasks::Leak;

/// Both ends of a channel: whoever has it may wake who waits.
struct Channel {
    kept: Kept,
}

#[test]
fn task_that_alone_can_reach_its_waker_is_suspected_and_one_that_others_can_is_not() {
    async fn waits_for_itself() {
        let channel = Box::new(Channel { kept: Kept::new() });
        channel.kept.wait().await;
    }
    async fn waits_for_others(kept: Kept) {
        kept.wait().await;
    }
    let kept = Kept::new();
    let mut lonely = Task::new(waits_for_itself().watched());
    let mut healthy = Task::new(waits_for_others(kept.clone()).watched());
    assert!(lonely.poll().is_pending() && healthy.poll().is_pending());
    overwrite_the_stack();
    let leaks: Vec<Leak> = everprof::tasks::leaked().iter().map(|r| r.leak).collect();
    assert_eq!(leaks, [Leak::Suspected]);
    kept.wake();
    assert!(healthy.poll().is_ready());
}

/// What calls before have left on this thread's stack may still point to what they had.
#[inline(never)]
fn overwrite_the_stack() {
    std::hint::black_box(&mut [0_u8; 64 << 10]);
}
