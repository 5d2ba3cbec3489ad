//! `everprof trace` on traces made by hand.
#![allow(clippy::unwrap_used)]

mod support;

use everprof_profile::pprof;
use everprof_profile::trace::encode::{self, Events};
use everprof_profile::trace::{Event, Module, Program, Step, Table, Thread, Totals, What};
use serde_json::Value;
use support::{Place, words};

#[track_caller]
fn same(actual: &str, expected: &str) {
    assert!(
        actual == expected.trim_start_matches('\n'),
        "the report is now:\n{actual}"
    );
}

/// A clock of nanoseconds, from 0.
fn head(module: &Module) -> Vec<u8> {
    let mut out = Vec::new();
    encode::head(&mut out);
    let program = Program {
        ticks_per_second: 1_000_000_000,
        start_unix_nanos: 1_795_441_205_000_000_000,
        pid: 4711,
        command_line: vec!["/bin/app".into(), "--fast".into()],
        ..Program::default()
    };
    encode::program(&mut out, &program);
    encode::names(&mut out, Table::Heaps, [(1, "script")]);
    encode::names(&mut out, Table::Types, [(1, "app::Node")]);
    encode::modules(&mut out, std::slice::from_ref(module));
    out
}

/// ```text
/// ms  main[4711]                       worker[4712]
/// 1   alloc 1000 at 0x10 (parse)
/// 2                                    alloc 24 at 0x20 (cache)
/// 3                                    free 0x20: temporary
/// 4   realloc 0x10 → 0x40, 4000 bytes (grow)    the peak
/// 5                                    alloc 64 at 0x20 (cache)
/// 6   free 0x40: temporary, too
/// 7   managed: alloc 32, next cycle, sweep
/// 10                                   lost 5
/// ```
fn events() -> Vec<Event> {
    let (parse, cache, grow) = (1, 2, 3);
    let at = |millis: u64, thread: u32, what: What| Event {
        time: millis * 1_000_000,
        thread,
        what,
    };
    let alloc = |stack, size_bytes, address| What::Alloc {
        stack,
        size_bytes,
        address,
    };
    vec![
        at(1, 0, alloc(parse, 1000, 0x10)),
        at(2, 1, alloc(cache, 24, 0x20)),
        at(3, 1, What::Free { address: 0x20 }),
        at(
            4,
            0,
            What::Realloc {
                old_address: 0x10,
                stack: grow,
                size_bytes: 4000,
                address: 0x40,
                took: 100,
            },
        ),
        at(5, 1, alloc(cache, 64, 0x20)),
        at(6, 0, What::Free { address: 0x40 }),
        at(
            7,
            0,
            What::ManagedAlloc {
                heap: 1,
                type_id: 1,
                stack: parse,
                size_bytes: 32,
                address: 0x1003,
            },
        ),
        at(
            8,
            0,
            What::Cycle {
                heap: 1,
                step: Step::NextCycle,
            },
        ),
        at(
            9,
            0,
            What::ManagedFree {
                heap: 1,
                is_swept: true,
                address: 0x1003,
            },
        ),
        at(10, 1, What::Lost { events: 5 }),
    ]
}

fn nowhere() -> Module {
    Module {
        start: 0x1000,
        limit: 0x9000,
        offset: 0x800,
        file: "/nowhere/app".into(),
        build_id: vec![0xc0, 0xff, 0xee],
    }
}

fn trace_of(module: &Module, stacks: [&[u64]; 3]) -> Vec<u8> {
    let mut out = head(module);
    encode::stacks(&mut out, 1, stacks);
    for (number, name) in [(0, "main"), (1, "worker")] {
        let tid = 4711 + number;
        let name = name.to_owned();
        encode::thread(&mut out, number, &Thread { tid, name });
    }
    let events = events();
    for thread in 0..2 {
        let mut run = Events::new(thread, 0, 0);
        for event in events.iter().filter(|event| event.thread == thread) {
            run.push(event, &[]);
        }
        encode::events(&mut out, &run);
    }
    let totals = Totals {
        events: events.len() as u64,
        lost: 5,
        time: 10_000_000,
    };
    encode::end(&mut out, &totals);
    out
}

/// parse < main, cache < serve < main, grow < parse < main, by offsets in the file.
fn trace() -> Vec<u8> {
    let stacks: [&[u64]; 3] = [
        &[0x1021, 0x1011],
        &[0x1041, 0x1031, 0x1011],
        &[0x1051, 0x1021, 0x1011],
    ];
    trace_of(&nowhere(), stacks)
}

fn place() -> Place {
    let place = Place::new();
    place.put("app.trace", &trace());
    place
}

/// Without names: the program is nowhere.
fn said(args: &[&str]) -> String {
    let mut all = vec!["trace", "app.trace", "--no-symbolize"];
    all.extend(args);
    place().stdout(&all)
}

fn json(args: &[&str]) -> Value {
    let mut all = vec!["--format", "json"];
    all.extend(args);
    serde_json::from_str(&said(&all)).unwrap()
}

#[test]
fn summary_has_a_dozen_figures() {
    same(
        &said(&[]),
        "
app.trace: 10 events over 9.00 ms from 1.00 ms on, 2 threads of `/bin/app --fast`, begun 2026-11-23 13:40:05 UTC
objects     bytes  what
      4  4.97 KiB  allocated
      2  3.93 KiB  temporary, 50.0% of the objects
      2  3.97 KiB  in use at the peak, after 5.00 ms
      1      64 B  in use at the end
      1   1,000 B  reallocated; 1 moved, copied at most
      1            allocated in managed heaps (--heap)
      1            steps of managed heaps' clocks
      5            events lost: there was no room for them
",
    );
    assert_eq!(said(&["--summary"]), said(&[]));
    let summary = json(&[]);
    assert_eq!(summary["view"], "summary");
    assert_eq!(summary["at_peak"]["bytes"], 4064);
    assert_eq!(summary["peak_nanos"], 5_000_000);
    assert_eq!(summary["recorded"]["lost"], 5);
    assert_eq!(summary["is_whole"], true);
    assert!(said(&["--format", "md"]).contains("| 1 | 64 B | in use at the end |"));
}

#[test]
fn peak_and_leaks_are_the_tables_of_top() {
    same(
        &said(&["--peak"]),
        "
app.trace: inuse_space 3.97 KiB, taken 2026-11-23 13:40:05 UTC
    flat  flat%       cum    cum%  name
3.91 KiB  98.4%  3.91 KiB   98.4%  app+0x850
    64 B   1.6%      64 B    1.6%  app+0x840
     0 B   0.0%  3.97 KiB  100.0%  app+0x810
     0 B   0.0%  3.91 KiB   98.4%  app+0x820
     0 B   0.0%      64 B    1.6%  app+0x830
",
    );
    same(
        &said(&["--leaks", "-n", "1"]),
        "
app.trace: inuse_space 64 B, over 9.00 ms, taken 2026-11-23 13:40:05 UTC
flat   flat%   cum    cum%  name
64 B  100.0%  64 B  100.0%  app+0x840
… 2 more functions with 0 B flat (-n 0 shows all)
",
    );
}

#[test]
fn sites_have_temporaries_lifetimes_and_reallocations() {
    same(
        &said(&["--temporaries"]),
        "
app.trace: 2 objects of 4 were freed before their thread allocated again
objects  of all     bytes  name
      1  100.0%  3.91 KiB  app+0x850
      1   50.0%      24 B  app+0x840
",
    );
    same(
        &said(&["--lifetimes"]),
        "
app.trace: how long objects lived; 1 are in use at the end
ended   half ≤    90% ≤    99% ≤  longest  in use  name
    1  1.00 ms  1.00 ms  1.00 ms  1.00 ms       1  app+0x840
    1  3.00 ms  3.00 ms  3.00 ms  3.00 ms       0  app+0x820
    1  2.00 ms  2.00 ms  2.00 ms  2.00 ms       0  app+0x850
",
    );
    same(
        &said(&["--reallocs"]),
        "
app.trace: 1 reallocations, 1 moved, 1,000 B copied at most
times  moved  copied ≤  in a row  name
    1      1   1,000 B         1  app+0x850
",
    );
    let lifetimes = json(&["--lifetimes"]);
    assert_eq!(lifetimes["rows"][1]["most_nanos"], 3_000_000);
    assert_eq!(lifetimes["rows"][1]["histogram"][0]["count"], 1);
    assert_eq!(json(&["--reallocs"])["rows"][0]["copied_bytes"], 1000);
    assert!(
        said(&["--temporaries", "--format", "md"]).contains("| 1 | 50.0% | 24 B | `app+0x840` |")
    );
}

#[test]
fn events_are_one_a_line_with_their_stacks() {
    same(
        &said(&["--events"]),
        "
0.001000000 main[4711] alloc 1000 bytes at 0x10
\tapp+0x820
\tapp+0x810
0.002000000 worker[4712] alloc 24 bytes at 0x20
\tapp+0x840
\tapp+0x830
\tapp+0x810
0.003000000 worker[4712] free 0x20
0.004000000 main[4711] realloc 4000 bytes at 0x40, from 0x10
\tapp+0x850
\tapp+0x820
\tapp+0x810
0.005000000 worker[4712] alloc 64 bytes at 0x20
\tapp+0x840
\tapp+0x830
\tapp+0x810
0.006000000 main[4711] free 0x40
0.007000000 main[4711] alloc 32 bytes at 0x1003 in script, app::Node
\tapp+0x820
\tapp+0x810
0.008000000 main[4711] next cycle in script
0.009000000 main[4711] sweep 0x1003 in script
0.010000000 worker[4712] lost 5 events
",
    );
    same(
        &said(&["--events", "--thread", "worker", "--size", "..64"]),
        "
0.002000000 worker[4712] alloc 24 bytes at 0x20
\tapp+0x840
\tapp+0x830
\tapp+0x810
0.003000000 worker[4712] free 0x20
0.010000000 worker[4712] lost 5 events
",
    );
    let lines = said(&["--events", "--format", "json", "-n", "2"]);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["event"], "alloc");
    assert_eq!(lines[1]["thread"]["name"], "worker");
    assert_eq!(lines[1]["stack"][0]["name"], "app+0x840");
}

#[test]
fn filters_choose_objects() {
    let allocated = |args: &[&str]| json(args)["allocated"]["objects"].clone();
    assert_eq!(allocated(&["--thread", "worker"]), 2);
    assert_eq!(allocated(&["--thread", "4711"]), 2);
    assert_eq!(allocated(&["--size", "1000.."]), 2);
    assert_eq!(allocated(&["--size", "24"]), 1);
    assert_eq!(allocated(&["--time", "2ms..5ms"]), 2);
    assert_eq!(allocated(&["--heap", "script"]), 1);
    // By the file of a mapping, as in profiles; names there are none.
    assert_eq!(allocated(&["--focus", "nowhere"]), 4);
    assert_eq!(allocated(&["--ignore", "nowhere"]), 0);
    // The peak is told from the trace's start, so that is the part.
    let summary = said(&["--time", "2ms..5ms"]);
    assert!(summary.contains(" from 2.00 ms on, 2 threads"), "{summary}");
    let part = json(&["--time", "2ms..5ms"]);
    assert_eq!(
        (&part["in_use"]["bytes"], &part["events"]),
        (&4000.into(), &3.into())
    );
}

#[test]
fn any_view_becomes_a_profile() {
    let place = place();
    for (view, types) in [
        (
            "--summary",
            "alloc_objects alloc_space inuse_objects inuse_space",
        ),
        ("--peak", "inuse_objects inuse_space"),
        ("--temporaries", "temporary_objects temporary_space"),
        ("--lifetimes", "ended_objects lifetime"),
        ("--reallocs", "reallocations moves copied_space"),
    ] {
        let args = [
            "trace",
            "app.trace",
            view,
            "--no-symbolize",
            "-o",
            "out.pb.gz",
        ];
        assert_eq!(place.stdout(&args), "");
        let bytes = std::fs::read(place.path().join("out.pb.gz")).unwrap();
        let profile = pprof::decode(&bytes, &pprof::Limits::default()).unwrap();
        let kinds: Vec<_> = profile.sample_types().map(|kind| kind.kind).collect();
        assert_eq!(kinds.join(" "), types);
        assert!(profile.samples().len() > 0, "{view}");
    }
    let top = place.stdout(&["top", "out.pb.gz", "--no-symbolize", "-n", "1"]);
    assert!(top.contains("copied_space 1,000 B"), "{top}");
}

#[test]
fn standard_input_is_read_once_or_twice() {
    let place = place();
    let expected = said(&["--events"]);
    let twice = place.fed(&["trace", "-", "--no-symbolize", "--events"], &trace());
    assert_eq!(String::from_utf8(twice.stdout).unwrap(), expected);
    let once = place.fed(&["trace", "-", "--no-symbolize"], &trace());
    assert!(once.status.success(), "{}", words(&once));
    assert!(String::from_utf8_lossy(&once.stdout).contains("allocated"));
    // Nothing is said in a pipe: no bar.
    assert_eq!(words(&once), "");
}

#[test]
fn a_trace_that_is_cut_is_read_up_to_the_cut() {
    let place = place();
    let whole = trace();
    place.put("cut.trace", &whole[..whole.len() - 20]);
    let output = place.run(&["trace", "cut.trace", "--no-symbolize", "--format", "json"]);
    assert!(output.status.success(), "{}", words(&output));
    let said = words(&output);
    assert!(
        said.contains("everprof: `cut.trace`: cut off at byte "),
        "{said}"
    );
    assert!(said.contains(": 6 events were read"), "{said}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["is_whole"], false);
    assert_eq!(summary["events"], 6);
}

#[test]
fn a_damaged_trace_is_an_error_and_what_could_be_read() {
    let place = place();
    let mut broken = trace();
    let at = broken.len() - 20;
    broken[at] ^= 1;
    place.put("broken.trace", &broken);
    let output = place.run(&["trace", "broken.trace", "--no-symbolize"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("6 events"));
    let said = words(&output);
    assert!(said.contains("damaged at byte "), "{said}");
    assert!(
        said.contains("a block with a wrong checksum): 6 events were read"),
        "{said}"
    );
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let place = place();
    for (args, expected) in [
        (&["trace", "none"][..], "cannot read `none`"),
        (&["trace", "."], "`.` is a directory: expected a trace"),
        (&["trace", "heap.pb.gz"], "try: everprof top heap.pb.gz"),
        (
            &["trace", "http://localhost:1/x"],
            "expected a file with a trace",
        ),
        (&["trace", "app.trace", "--focus", "("], "focus"),
        (
            &["trace", "app.trace", "--heap", "lua"],
            "--heap `lua`: expected one of script",
        ),
        (
            &["trace", "app.trace", "--thread", "wroker"],
            "--thread `wroker`: expected a thread's number, or one of main, worker",
        ),
        (
            &["trace", "app.trace", "--events", "--thread", "1"],
            "one of main, worker",
        ),
        (
            &["top", "app.trace"],
            "expected a profile\n  try: everprof trace app.trace --peak",
        ),
        (
            &["trace", "app.trace", "--binary", "none"],
            "--binary `none`",
        ),
        (
            &[
                "trace",
                "app.trace",
                "--events",
                "--format",
                "md",
                "--no-symbolize",
            ],
            "expected text or json",
        ),
    ] {
        let said = place.complaint(args);
        assert!(said.contains(expected), "{args:?}: {said}");
    }
    for (args, expected) in [
        (
            &["trace", "app.trace", "--size", "2..1"][..],
            "`2..1` is empty",
        ),
        (
            &["trace", "app.trace", "--time", "1"],
            "expected a range, as in 1s..2s",
        ),
        (
            &["trace", "app.trace", "--peak", "--events"],
            "cannot be used with",
        ),
    ] {
        let output = place.run(args);
        assert_eq!(output.status.code(), Some(2));
        assert!(words(&output).contains(expected), "{}", words(&output));
    }
}

/// A function of this test's own binary, which stands in the trace by its address.
#[inline(never)]
fn a_site_of_this_test(n: u64) -> u64 {
    std::hint::black_box(n) + 1
}

#[test]
fn addresses_get_their_names_from_the_program() {
    let address = a_site_of_this_test as fn(u64) -> u64 as usize as u64;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let module = maps
        .lines()
        .find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (start, limit) = words[0].split_once('-')?;
            let module = Module {
                start: hex(start),
                limit: hex(limit),
                offset: hex(words[2]),
                file: (*words.get(5)?).to_owned(),
                build_id: Vec::new(),
            };
            (module.start..module.limit)
                .contains(&address)
                .then_some(module)
        })
        .unwrap();
    let place = Place::new();
    let frame = [address + 2];
    place.put("own.trace", &trace_of(&module, [&frame, &frame, &frame]));
    let events = place.stdout(&["trace", "own.trace", "--events", "-n", "1"]);
    assert!(events.contains("a_site_of_this_test"), "{events}");
    assert!(events.contains("trace.rs:"), "{events}");
    let focused = [
        "trace",
        "own.trace",
        "--focus",
        "a_site_of",
        "--format",
        "json",
    ];
    let focused: Value = serde_json::from_str(&place.stdout(&focused)).unwrap();
    assert_eq!(focused["allocated"]["objects"], 4);
    let peak = place.stdout(&["trace", "own.trace", "--peak"]);
    assert!(peak.contains("a_site_of_this_test"), "{peak}");
}
