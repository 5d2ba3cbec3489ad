//! CPU profiles as the program and `go tool pprof` see them.

#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![allow(clippy::unwrap_used)]
#![cfg_attr(everprof_sanitizer = "thread", allow(dead_code, unused_imports))]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use everprof::cpu::{profile, profile_at};
use everprof::labels;
use everprof_profile::{Profile, pprof};

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

/// There is one profile at a time in a process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends those who look at it, also where an assertion fails.
struct SetOnDrop<'s>(&'s AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` over and over on another thread while `then` runs here.
fn beside<T>(work: fn(), then: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                work();
            }
        });
        let result = then();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

#[inline(never)]
fn burn_visibly() {
    for n in 0..10_000_u64 {
        black_box(n.wrapping_mul(3));
    }
}

fn read(taken: &everprof::profile::Profile) -> Profile {
    let mut bytes = Vec::new();
    taken.write_to(&mut bytes).unwrap();
    pprof::decode(&bytes, &pprof::Limits::default()).unwrap()
}

/// Samples and nanoseconds of the stacks with a function of this name.
fn with(profile: &Profile, name: &str) -> (i64, i64) {
    profile
        .samples()
        .filter(|sample| {
            let mut lines = sample.stack().flat_map(|at| profile.location(at).lines);
            lines.any(|line| profile.function(line.function).name.contains(name))
        })
        .fold((0, 0), |sums, sample| {
            (sums.0 + sample.values()[0], sums.1 + sample.values()[1])
        })
}

/// All samples but those for time that was not seen, of which there is some where the machine is
/// busy (`core/cpu/weight.rs`).
fn seen(profile: &Profile) -> i64 {
    profile.totals()[0] - with(profile, "everprof::lost::cpu_unseen").0
}

// ThreadSanitizer hands the signal on within its own code, which cannot be walked.
#[cfg(not(everprof_sanitizer = "thread"))]
#[test]
fn busy_function_is_named_with_its_time() {
    let _alone = alone();
    let taken = beside(burn_visibly, || profile(Duration::from_secs(1)).unwrap());
    assert_eq!(taken.name(), "profile");
    let profile = read(&taken);
    let types: Vec<_> = profile
        .sample_types()
        .map(|of| (of.kind, of.unit))
        .collect();
    assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
    let of = profile.period_type().unwrap();
    assert_eq!((of.kind, of.unit), ("cpu", "nanoseconds"));
    assert_eq!(profile.period, 10_000_000);
    assert!(profile.duration_nanos >= 1_000_000_000);
    let (samples, nanos) = with(&profile, "burn_visibly");
    // However busy the machine is, some of it was this thread's.
    assert!(samples > 0);
    assert_eq!(nanos, samples * 10_000_000);
    assert!(samples * 10 > seen(&profile) * 9);
    assert_eq!(profile.drop_frames(), "");
}

#[test]
fn second_profile_at_the_same_time_is_refused_in_gos_words() {
    let _alone = alone();
    let first = everprof_core::global::start_cpu(100).unwrap();
    let error = profile(Duration::from_millis(1)).unwrap_err();
    assert!(error.is_busy());
    assert_eq!(error.to_string(), "cpu profiling already in use");
    drop(first);
    assert!(profile(Duration::ZERO).is_ok());
}

#[test]
fn frequencies_that_no_kernel_has_are_refused() {
    for hz in [0, 1001, u32::MAX] {
        let error = profile_at(hz, Duration::from_millis(1)).unwrap_err();
        assert!(error.is_invalid(), "{error}");
        assert!(error.to_string().contains(&hz.to_string()));
    }
}

#[inline(never)]
fn works_for_one() {
    burn_visibly();
    black_box(1);
}

#[inline(never)]
fn works_for_two() {
    burn_visibly();
    black_box(2);
}

#[inline(never)]
fn works_for_nobody() {
    burn_visibly();
    black_box(0);
}

/// As Go's TestLabelRace: labels are set and dropped all the while, on several threads and on
/// some that are born under them. A sample has the labels that were in force where its stack
/// says that the thread was: not those of a moment before or after, nor another thread's.
// ThreadSanitizer hands the signal on within its own code, which cannot be walked.
#[cfg(not(everprof_sanitizer = "thread"))]
#[test]
fn labels_that_change_while_a_profile_is_taken_are_those_of_the_work() {
    let _alone = alone();
    let stop = AtomicBool::new(false);
    let mut met = [0; 3];
    thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    {
                        let _one = labels! { "for" => "one" };
                        works_for_one();
                        {
                            let _two = labels! { "for" => "two" };
                            works_for_two();
                        }
                        works_for_one();
                        // Static programs define no `pthread_create` in C's place.
                        if cfg!(all(
                            feature = "interpose",
                            not(target_feature = "crt-static")
                        )) {
                            thread::spawn(works_for_one).join().unwrap();
                        }
                    }
                    works_for_nobody();
                }
            });
        }
        // Until each was met often enough, however busy the machine is.
        while met.iter().any(|&met| met < 20) {
            let profile = read(&profile_at(1000, Duration::from_secs(1)).unwrap());
            for (met, (work, expected)) in met.iter_mut().zip(EXPECTED) {
                *met += assert_labels(&profile, work, expected);
            }
        }
    });
}

const EXPECTED: [(&str, Option<&str>); 3] = [
    ("works_for_one", Some("one")),
    ("works_for_two", Some("two")),
    ("works_for_nobody", None),
];

/// How many samples there are of the function; all have the label.
fn assert_labels(profile: &Profile, work: &str, expected: Option<&str>) -> i64 {
    let mut samples = 0;
    for sample in profile.samples() {
        let mut lines = sample.stack().flat_map(|at| profile.location(at).lines);
        if lines.any(|line| profile.function(line.function).name.contains(work)) {
            assert_eq!(sample.string_label("for"), expected, "{work}");
            samples += sample.values()[0];
        }
    }
    samples
}

#[inline(never)]
fn allocate_visibly() {
    drop(black_box(vec![7_u8; 100]));
    drop(black_box(format!("{}-{}", 17, black_box("x"))));
}

/// Every allocation walks its stack, and the timer's walk comes over that. Nothing
/// breaks, and each profile is what it is without the other.
// ThreadSanitizer hands the signal on within its own code, which cannot be walked.
#[cfg(not(everprof_sanitizer = "thread"))]
#[test]
fn heap_at_period_one_and_cpu_at_1000_hz_go_together() {
    let _alone = alone();
    everprof::heap::set_period(1);
    let stop = AtomicBool::new(false);
    let cpu = thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    allocate_visibly();
                }
            });
        }
        let cpu = profile_at(1000, Duration::from_secs(3)).unwrap();
        stop.store(true, Ordering::Relaxed);
        cpu
    });
    let heap = everprof::profile::lookup("heap").unwrap();
    everprof::heap::set_period(512 << 10);
    let (cpu, heap) = (read(&cpu), read(&heap));
    let (samples, _) = with(&cpu, "allocate_visibly");
    // Walks that end at once, in code without tables, are the rest: musl's `malloc` is such code,
    // and took a twelfth on a busy machine.
    let least = if cfg!(target_env = "musl") { 50 } else { 95 };
    assert!(
        samples * 100 > seen(&cpu) * least,
        "{samples} of {}",
        seen(&cpu)
    );
    assert!(samples > 20);
    // The profiler's own work is seen, and not hidden.
    assert!(with(&cpu, "everprof_core::").0 > 0);
    let in_use: i64 = heap
        .samples()
        .filter(|sample| {
            let mut lines = sample.stack().flat_map(|at| heap.location(at).lines);
            lines.any(|line| {
                heap.function(line.function)
                    .name
                    .contains("allocate_visibly")
            })
        })
        .map(|sample| sample.values()[2])
        .sum();
    assert_eq!(in_use, 0, "all was freed");
}

#[test]
fn endpoint_takes_as_many_seconds_as_are_asked_for_and_says_so_in_its_name() {
    let _alone = alone();
    let response = beside(burn_visibly, || {
        everprof::handle(&everprof::Request::get("/debug/pprof/profile?seconds=1"))
    });
    assert_eq!(response.status, 200);
    assert_eq!(
        response.header("Content-Disposition"),
        Some("attachment; filename=\"profile\"")
    );
    let profile = pprof::decode(&response.body, &pprof::Limits::default()).unwrap();
    assert!((1_000_000_000..5_000_000_000).contains(&profile.duration_nanos));
    assert!(with(&profile, "burn_visibly").0 > 0);
    // Go's text for a profile that is being taken already.
    let first = everprof_core::global::start_cpu(100).unwrap();
    let response = everprof::handle(&everprof::Request::get("/debug/pprof/profile?seconds=1"));
    drop(first);
    assert_eq!(response.status, 500);
    assert_eq!(
        String::from_utf8_lossy(&response.body),
        "Could not enable CPU profiling: cpu profiling already in use\n"
    );
}

#[test]
fn threads_of_the_program_are_seen_and_everprofs_own_are_not() {
    let _alone = alone();
    let server = everprof::serve("127.0.0.1:0").unwrap();
    let profile = beside(burn_visibly, || {
        profile(Duration::from_millis(300)).unwrap()
    });
    drop(server);
    let profile = read(&profile);
    assert_eq!(with(&profile, "everprof::http").0, 0);
    assert_eq!(with(&profile, "cpu_unseen").0, 0);
}

#[cfg(all(feature = "interpose", not(target_feature = "crt-static")))]
fn nanos_of(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours to write.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A thread that has run: when, and for how long.
#[cfg(all(feature = "interpose", not(target_feature = "crt-static")))]
struct Ran {
    began_unix_nanos: u64,
    ended_unix_nanos: u64,
    cpu_nanos: u64,
}

/// Runs for three milliseconds, and on until a tick has come while it ran: on a busy machine
/// a thread begins to run at a tick, and may be done before the next.
#[cfg(all(feature = "interpose", not(target_feature = "crt-static")))]
#[inline(never)]
fn burn_briefly() -> Ran {
    let began_unix_nanos = nanos_of(libc::CLOCK_REALTIME);
    let ticks = || nanos_of(libc::CLOCK_MONOTONIC_COARSE);
    let cpu = || nanos_of(libc::CLOCK_THREAD_CPUTIME_ID);
    let (first_tick, began) = (ticks(), cpu());
    while cpu() < began + 3_000_000 || ticks() == first_tick {
        burn_visibly();
    }
    Ran {
        began_unix_nanos,
        ended_unix_nanos: nanos_of(libc::CLOCK_REALTIME),
        cpu_nanos: cpu() - began,
    }
}

/// Threads that end before anybody has looked for them: their creation is seen, and they
/// are in the profile from their first instruction on.
///
/// 100 of them and more: with a tick of 4 ms, 40 samples, give or take 5
/// (`core/cpu/weight.rs`). Less than 10 are a chance in 10^9, and what is too much is as far.
/// Threads may wait for a processor at any point, also while a profile begins.
// Static programs define no `pthread_create` in C's place.
#[cfg(all(feature = "interpose", not(target_feature = "crt-static")))]
#[test]
fn threads_of_three_milliseconds_are_seen() {
    let _alone = alone();
    let ran = Mutex::new(Vec::new());
    let end = AtomicBool::new(false);
    let (mut samples, mut profiles, mut within) = (0, 0, Vec::new());
    thread::scope(|scope| {
        let _ended = SetOnDrop(&end);
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                let one = thread::spawn(burn_briefly).join().unwrap();
                ran.lock().unwrap().push(one);
            }
        });
        while within.len() < 100 {
            let taken = read(&profile(Duration::from_secs(1)).unwrap());
            samples += with(&taken, "burn_briefly").0 as u64;
            profiles += 1;
            let began = taken.time_nanos as u64;
            let ended = began + taken.duration_nanos as u64;
            // Between two profiles there is none.
            within.extend(ran.lock().unwrap().drain(..).filter(|ran: &Ran| {
                ran.began_unix_nanos >= began && ran.ended_unix_nanos <= ended
            }));
        }
    });
    let mut resolution = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `resolution` is ours to write.
    unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut resolution) };
    let tick_nanos = resolution.tv_nsec as u64;
    // Each has a tick. Those at the ends of a profile, two in each, may have been seen, too.
    let least = within.len() as u64 * tick_nanos / 10_000_000;
    let cpu_nanos: u64 = within.iter().map(|ran| ran.cpu_nanos).sum();
    let most = least + cpu_nanos / 10_000_000 + 2 * profiles;
    println!("{samples} of {least} to {most} in {profiles} profiles");
    assert!(
        samples * 4 > least && samples < most * 3 / 2,
        "{samples} of {least} to {most}"
    );
}
