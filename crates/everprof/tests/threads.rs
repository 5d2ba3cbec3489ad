//! What each thread is doing, as a program sees it: values, text and endpoint.

#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use everprof::{Request, handle, labels, profile, stacks, threads};
use everprof_profile::pprof::{Limits, decode};

/// Threads that wait in [`waits_here`] until they are let go.
struct Waiting {
    threads: Vec<(Sender<()>, JoinHandle<()>)>,
}

/// After which what was not seen will not be.
const LOOKS: u32 = 5_000;

impl Waiting {
    fn start(name: &str, count: usize) -> Self {
        let start = |_| {
            let (go, told) = channel();
            let thread = std::thread::Builder::new().name(name.to_owned());
            (go, thread.spawn(move || waits_here(&told)).unwrap())
        };
        let waiting = Self {
            threads: (0..count).map(start).collect(),
        };
        // They may not wait yet: seen anew until they do.
        let waits = |thread: &threads::ThreadRecord| {
            thread.name == name && thread.state.starts_with("channel")
        };
        // Some milliseconds each: a machine that takes longer for so few does nothing else, either.
        for _ in 0..LOOKS {
            let records = threads::records().unwrap();
            if records.iter().filter(|thread| waits(thread)).count() >= count {
                return waiting;
            }
            std::thread::yield_now();
        }
        panic!("{count} named {name} were never seen to wait");
    }

    fn end(self) {
        for (go, thread) in self.threads {
            drop(go);
            thread.join().unwrap();
        }
    }
}

/// Ends those who look at it, also where an assertion fails.
struct SetOnDrop<'s>(&'s AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[inline(never)]
fn waits_here(told: &std::sync::mpsc::Receiver<()>) {
    assert!(told.recv().is_err());
    std::hint::black_box(());
}

#[inline(never)]
fn who_asks(all: bool) -> String {
    let mut text = String::new();
    stacks::write(all, &mut text).unwrap();
    std::hint::black_box(text)
}

fn get(target: &str) -> String {
    let response = handle(&Request::get(format!("/debug/pprof/{target}")));
    assert_eq!(response.status, 200, "{target}");
    String::from_utf8(response.body).unwrap()
}

#[test]
fn the_thread_that_asks_comes_first_and_begins_where_it_asks() {
    let alone = who_asks(false);
    let mut lines = alone.lines();
    let title = lines.next().unwrap();
    assert!(
        title.starts_with("thread ") && title.ends_with("[running]:"),
        "{alone}"
    );
    assert!(
        lines.next().unwrap().ends_with("threads::who_asks"),
        "{alone}"
    );
    let place = lines.next().unwrap();
    assert!(
        place.starts_with('\t') && place.contains("tests/threads.rs:"),
        "{alone}"
    );
    assert!(!alone.contains("\n\n"), "{alone}");
    assert_eq!(who_asks(true).lines().next(), Some(title));
}

#[test]
fn a_small_buffer_gets_whole_lines() {
    let mut buffer = [0; 300];
    let written = stacks::write_into(true, &mut buffer).unwrap();
    let text = std::str::from_utf8(&buffer[..written]).unwrap();
    assert!(
        text.starts_with("thread ") && text.ends_with('\n'),
        "{text}"
    );
}

#[test]
fn a_paragraph_tells_who_waits_for_what_and_where() {
    let waiting = Waiting::start("paragraph", 1);
    let text = get("goroutine?debug=2");
    let paragraph = text
        .split("\n\n")
        .find(|text| text.contains("\"paragraph\""))
        .unwrap();
    // What for and since when is known where its call was seen.
    let title = if cfg!(feature = "interpose") {
        "\"paragraph\" [channel 0x"
    } else {
        "\"paragraph\" [channel]"
    };
    assert!(paragraph.contains(title), "{paragraph}");
    assert!(paragraph.contains("threads::waits_here\n\t"), "{paragraph}");
    waiting.end();
}

/// Whoever reads it has never heard of a task there: it is a thread that was told to block.
#[test]
fn thread_that_runs_a_future_to_its_end_says_so() {
    #[inline(never)]
    fn blocks_here(told: tokio::sync::oneshot::Receiver<()>) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        runtime.block_on(told).unwrap();
        std::hint::black_box(());
    }
    let (go, told) = tokio::sync::oneshot::channel();
    let blocks = std::thread::Builder::new().name("blocks".to_owned());
    let blocks = blocks.spawn(move || blocks_here(told)).unwrap();
    let is_told = (0..LOOKS).any(|_| {
        std::thread::yield_now();
        let records = threads::records().unwrap();
        let found = records.iter().find(|thread| thread.name == "blocks");
        found.is_some_and(|thread| thread.state.starts_with("block_on"))
    });
    let text = who_asks(true);
    go.send(()).unwrap();
    blocks.join().unwrap();
    assert!(is_told && text.contains("\"blocks\" [block_on"), "{text}");
}

#[test]
fn equal_stacks_are_one_line_of_debug_1() {
    let waiting = Waiting::start("equal", 5);
    for name in ["threads", "goroutine"] {
        let text = get(&format!("{name}?debug=1"));
        assert!(
            text.starts_with(&format!("{name} profile: total ")),
            "{text}"
        );
        let group = text
            .split("\n\n")
            .find(|group| group.contains("waits_here"))
            .unwrap();
        let line = group.lines().find(|line| line.contains(" @ ")).unwrap();
        let count: usize = line.split(' ').next().unwrap().parse().unwrap();
        // Other tests may have threads there, too.
        assert!(count >= 5, "{group}");
    }
    waiting.end();
}

#[test]
fn a_profile_has_one_sample_a_thread_and_its_text_has_lines() {
    let waiting = Waiting::start("profiled", 2);
    let threads = profile::lookup("threads").unwrap();
    let mut bytes = Vec::new();
    threads.write_to(&mut bytes).unwrap();
    let decoded = decode(&bytes, &Limits::default()).unwrap();
    let named = decoded
        .samples()
        .filter(|sample| sample.string_label("thread") == Some("profiled"));
    assert_eq!(named.count(), 2);
    assert_eq!(decoded.default_sample_type(), "threads");
    let mut text = Vec::new();
    threads.write_text(&mut text, 2).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("\"profiled\"") && text.contains("tests/threads.rs:"));
    waiting.end();
}

#[test]
fn a_delta_shows_who_came() {
    let before = profile::lookup("threads").unwrap();
    let waiting = Waiting::start("came", 3);
    let after = profile::lookup("threads").unwrap();
    let mut bytes = Vec::new();
    after.delta(&before).unwrap().write_to(&mut bytes).unwrap();
    let delta = decode(&bytes, &Limits::default()).unwrap();
    let came = delta
        .samples()
        .filter(|sample| sample.string_label("thread") == Some("came"));
    assert_eq!(came.map(|sample| sample.values()[0]).sum::<i64>(), 3);
    waiting.end();
}

/// As Go's TestGoroutineProfileConcurrency: requests that overlap, threads that are born
/// and die meanwhile; who was there all the time is in each answer once.
#[test]
fn overlapping_requests_each_show_all_who_stay() {
    let waiting = Waiting::start("stays", 6);
    let ids = |records: &[threads::ThreadRecord], name: &str| -> BTreeSet<u32> {
        let named = records.iter().filter(|thread| thread.name == name);
        named.map(|thread| thread.id).collect()
    };
    let stay = ids(&threads::records().unwrap(), "stays");
    assert_eq!(stay.len(), 6);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::spawn(|| std::hint::black_box(vec![0_u8; 4096]))
                        .join()
                        .unwrap();
                }
            });
        }
        let ask = || {
            for _ in 0..10 {
                let records = threads::records().unwrap();
                let all: BTreeSet<u32> = records.iter().map(|thread| thread.id).collect();
                assert_eq!(all.len(), records.len(), "one is there twice");
                assert_eq!(ids(&records, "stays"), stay);
            }
        };
        let asked: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        let ends: Vec<_> = asked.into_iter().map(|asked| asked.join()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(ends.iter().all(Result::is_ok));
    });
    waiting.end();
}

/// As Go's TestGoroutineCounts: so many of each kind, the most frequent first, and the
/// total is their sum.
#[test]
fn groups_of_equal_stacks_have_their_counts_in_order() {
    let waiting = [Waiting::start("nine", 9), Waiting::start("one", 1)];
    let text = get("threads?debug=1");
    let counts: Vec<usize> = text
        .lines()
        .filter_map(|line| line.split_once(" @ ")?.0.parse().ok())
        .collect();
    assert!(counts.is_sorted_by(|a, b| a >= b), "{text}");
    let total = format!("threads profile: total {}\n", counts.iter().sum::<usize>());
    assert!(text.starts_with(&total), "{text}");
    for waiting in waiting {
        waiting.end();
    }
}

/// As Go's TestStackAllOutput: what is written is whole, and nothing but paragraphs.
#[test]
fn the_text_of_all_threads_is_one_paragraph_each() {
    let waiting = Waiting::start("written", 3);
    let text = who_asks(true);
    assert!(text.ends_with('\n'));
    let paragraphs: Vec<&str> = text.trim_end().split("\n\n").collect();
    for paragraph in &paragraphs {
        let mut lines = paragraph.lines();
        let title = lines.next().unwrap();
        assert!(title.starts_with("thread "), "{paragraph}");
        assert!(title.ends_with("]:") || title.ends_with(':'), "{paragraph}");
        assert!(lines.next().is_some(), "{paragraph}");
    }
    let written = |text: &&&str| text.contains("\"written\"");
    assert_eq!(paragraphs.iter().filter(written).count(), 3);
    waiting.end();
}

/// As Go's TestProfilerStackDepth: a stack deeper than what is kept says so at its end.
#[test]
fn a_deep_stack_is_cut_where_it_says_so() {
    #[inline(never)]
    fn down(depth: usize, told: &std::sync::mpsc::Receiver<()>) -> usize {
        if depth == 0 {
            waits_here(told);
            return 0;
        }
        std::hint::black_box(down(depth - 1, told)) + 1
    }
    let (go, told) = channel();
    let thread = std::thread::Builder::new().name("deep".to_owned());
    let thread = thread.spawn(move || down(300, &told)).unwrap();
    let deep = loop {
        let records = threads::records().unwrap();
        let found = records.into_iter().find(|thread| thread.name == "deep");
        match found {
            Some(found) if found.state.starts_with("channel") => break found,
            _ => std::thread::yield_now(),
        }
    };
    let last = deep.stack.last().copied().unwrap();
    assert!(deep.stack.len() > 100 && last < 64, "{deep:x?}");
    let text = get("threads?debug=2");
    let paragraph = text.split("\n\n").find(|text| text.contains("\"deep\""));
    assert!(paragraph.unwrap().contains("everprof::lost::"), "{text}");
    drop(go);
    assert_eq!(thread.join().unwrap(), 300);
}

/// As Go's TestGoroutineProfileLabelRace: threads that set and drop labels all the while
/// are never shown with another's. They run, and so tell their labels themselves.
#[test]
fn labels_that_change_meanwhile_are_each_threads_own() {
    let stop = AtomicBool::new(false);
    let names = ["race-0", "race-1", "race-2", "race-3"];
    std::thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        for name in names {
            let stop = &stop;
            let thread = std::thread::Builder::new().name(name.to_owned());
            let work = move || {
                while !stop.load(Ordering::Relaxed) {
                    let _owner = labels! { "owner" => name };
                    std::thread::yield_now();
                }
            };
            thread.spawn_scoped(scope, work).unwrap();
        }
        let mut labelled = 0;
        for _ in 0..30 {
            for thread in threads::records().unwrap() {
                for (key, value) in &thread.labels {
                    if key == "owner" {
                        assert_eq!(*value, thread.name);
                        labelled += 1;
                    }
                }
            }
        }
        assert!(labelled > 0, "none met with a label in thirty dumps");
    });
}

/// The same of threads that are born and die under labels: each has its creator's from its
/// first moment on, never those of the one whose record it was given.
// Static programs define no `pthread_create` in C's place.
#[cfg(all(feature = "interpose", not(target_feature = "crt-static")))]
#[test]
fn labels_of_threads_that_are_born_and_die_are_their_creators() {
    let stop = AtomicBool::new(false);
    let names = ["heir-0", "heir-1", "heir-2"];
    std::thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        for name in names {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let _creator = labels! { "creator" => name };
                    let thread = std::thread::Builder::new().name(name.to_owned());
                    let brief = std::time::Duration::from_micros(300);
                    let heir = thread.spawn(move || std::thread::sleep(brief)).unwrap();
                    heir.join().unwrap();
                }
            });
        }
        let mut met = 0;
        // Nine in ten dumps meet one, and of two hundred some do on any machine.
        for _ in 0..200 {
            for thread in threads::records().unwrap() {
                if !names.contains(&thread.name.as_str()) {
                    continue;
                }
                let creator = thread.labels.iter().find(|(key, _)| key == "creator");
                if let Some((_, creator)) = creator {
                    assert_eq!(*creator, thread.name);
                    met += 1;
                }
            }
        }
        assert!(met > 0, "none met with a label");
    });
}

#[cfg(feature = "interpose")]
#[inline(never)]
fn works_for_one(turns: u32) {
    (0..turns).for_each(|turn| _ = std::hint::black_box(turn));
    std::thread::sleep(std::time::Duration::from_micros(50));
    std::hint::black_box(1);
}

#[cfg(feature = "interpose")]
#[inline(never)]
fn works_for_other(turns: u32) {
    (0..turns).for_each(|turn| _ = std::hint::black_box(turn));
    std::thread::sleep(std::time::Duration::from_micros(50));
    std::hint::black_box(2);
}

/// A stack and its labels are of one moment: a thread that is met in a function has the labels
/// that are in force there, be it busy or asleep, and whatever it does by the time that it
/// is told of.
#[cfg(feature = "interpose")]
#[test]
fn labels_are_those_that_are_in_force_where_the_stack_is() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        for turns in [0, 1_000_000] {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    {
                        let _labels = labels! { "for" => "one" };
                        works_for_one(turns);
                    }
                    let _labels = labels! { "for" => "other" };
                    works_for_other(turns);
                }
            });
        }
        let mut met = [0; 2];
        while met.iter().any(|&met| met < 20) {
            let mut bytes = Vec::new();
            let threads = profile::lookup("threads").unwrap();
            threads.write_to(&mut bytes).unwrap();
            let threads = decode(&bytes, &Limits::default()).unwrap();
            for sample in threads.samples() {
                let mut lines = sample.stack().flat_map(|at| threads.location(at).lines);
                let works = ["works_for_one", "works_for_other"];
                let which = lines.find_map(|line| {
                    let name = threads.function(line.function).name;
                    works.iter().position(|work| name.ends_with(work))
                });
                if let Some(which) = which {
                    let expected = ["one", "other"][which];
                    assert_eq!(sample.string_label("for"), Some(expected));
                    met[which] += 1;
                }
            }
        }
    });
}
