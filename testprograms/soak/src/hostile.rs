//! What else happens in a process: signals that end calls, and forks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread::{self, Scope};
use std::time::Duration;

use testprograms::{fork, signals};

use crate::is_over;

static FORKS: AtomicU64 = AtomicU64::new(0);

pub fn start<'scope>(scope: &'scope Scope<'scope, '_>) {
    signals::install_handler();
    scope.spawn(|| signals::signal_everybody(Duration::from_millis(10), is_over));
    scope.spawn(|| {
        while !is_over() {
            fork_a_child();
            thread::sleep(Duration::from_millis(50));
        }
    });
}

/// How much of it there was: none would prove nothing.
pub fn print() {
    let (signals, forks) = (signals::count(), FORKS.load(Ordering::Relaxed));
    assert!(
        signals > 100 && forks > 10,
        "{signals} signals, {forks} forks"
    );
    println!("held signals_are_the_programs {signals}");
    println!("held forked_children_work {forks}");
}

/// A child that allocates, has labels and waits for its own.
fn fork_a_child() {
    fork::assert_in_child(|| {
        let _labels = everprof::labels! { "tenant" => "child" };
        let kept: Vec<Vec<u8>> = (0..100).map(|size| vec![1; size * 100]).collect();
        let (lock, never) = (Mutex::new(()), Condvar::new());
        let held = lock.lock().expect("no panic");
        let waited = never.wait_timeout(held, Duration::from_millis(2)).is_ok();
        waited && kept.iter().all(|bytes| bytes.iter().all(|&byte| byte == 1))
    });
    FORKS.fetch_add(1, Ordering::Relaxed);
}
