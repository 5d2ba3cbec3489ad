//! What the profiles of waits say, beside what clocks around the locks say.
//!
//! ```text
//! truth contenders std|parking_lot                      five lines: true and charged milliseconds
//! truth share std|parking_lot THREADS MICROS SECONDS    one line: true and seen nanoseconds
//! ```
//!
//! Every wait is recorded: what is compared is what the profiler can know, and not the
//! luck of sampling.

mod contenders;
mod lock;
mod share;

use std::time::Duration;

use everprof_profile::{Profile, pprof};

use lock::Lock;

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

fn main() {
    everprof::block::set_period(1);
    everprof::mutex::set_period(1);
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [what, "std", ref rest @ ..] => run::<std::sync::Mutex<()>>(what, rest),
        [what, "parking_lot", ref rest @ ..] => run::<parking_lot::Mutex<()>>(what, rest),
        _ => panic!("usage: truth contenders|share std|parking_lot [THREADS MICROS SECONDS]"),
    }
}

fn run<L: Lock>(what: &str, rest: &[&str]) {
    let numbers: Vec<u32> = rest.iter().flat_map(|word| word.parse()).collect();
    match (what, &numbers[..]) {
        ("contenders", []) => contenders::print::<L>(),
        ("share", &[threads, micros, seconds]) => share::print::<L>(
            threads,
            Duration::from_micros(micros.into()),
            Duration::from_secs(seconds.into()),
        ),
        _ => panic!("truth: expected contenders, or share THREADS MICROS SECONDS"),
    }
}

/// The profile of this name, as others would read it.
fn taken(name: &str) -> Profile {
    let mut bytes = Vec::new();
    everprof::profile::lookup(name)
        .expect("a profile of everprof's")
        .write_to(&mut bytes)
        .expect("memory can be written to");
    pprof::decode(&bytes, &pprof::Limits::default()).expect("what everprof wrote")
}
