//! What the reports say of a small profile, word for word.
#![allow(clippy::unwrap_used)]

mod support;
use everprof_profile::{Function, Line, Profile};
use serde_json::Value;
use support::{Place, encoded, heap, words};

#[track_caller]
fn same(actual: &str, expected: &str) {
    assert!(
        actual == expected.trim_start_matches('\n'),
        "the report is now:\n{actual}"
    );
}

fn json(place: &Place, args: &[&str]) -> Value {
    serde_json::from_str(&place.stdout(args)).unwrap()
}

/// All keys of a value, by path, lists by their first element: what programs rely on.
fn keys(value: &Value, path: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                keys(value, &format!("{path}.{key}"), into);
            }
        }
        Value::Array(values) if path.ends_with(".stack") || values.is_empty() => {
            into.push(format!("{path}[]"));
        }
        Value::Array(values) => keys(&values[0], &format!("{path}[]"), into),
        _ => into.push(path.to_owned()),
    }
}

#[track_caller]
fn has_keys(value: &Value, expected: &str) {
    let mut found = Vec::new();
    keys(value, "", &mut found);
    let expected: Vec<&str> = expected.split_whitespace().collect();
    assert_eq!(found, expected);
}

#[test]
fn top_shows_functions_with_their_bars() {
    same(
        &Place::new().stdout(&["top", "heap.pb.gz"]),
        "
heap.pb.gz: inuse_space 100 KiB ± 34.2 KiB, one sample in 4.00 KiB, taken 2026-11-23 13:40:05 UTC
    flat           ±  flat%       cum    cum%  name                  at
90.0 KiB  ± 33.7 KiB  90.0%  90.0 KiB   90.0%  alloc::raw_vec::grow  src/app.rs:50
10.0 KiB  ± 5.86 KiB  10.0%  10.0 KiB   10.0%  app+0x900
     0 B               0.0%   100 KiB  100.0%  app::main             src/app.rs:10
     0 B               0.0%  60.0 KiB   60.0%  app::parse            src/app.rs:20
     0 B               0.0%  30.0 KiB   30.0%  app::cache            src/app.rs:30
     0 B               0.0%  30.0 KiB   30.0%  app::serve            src/app.rs:40
",
    );
}

/// A location where the profiler's own function, inlined, came to light with the lines.
fn with_our_own(kind: (&str, &str)) -> Profile {
    let mut profile = Profile::new(&[kind]);
    let mut line = |name, file| Line {
        function: profile.add_function(Function {
            name,
            file,
            ..Function::default()
        }),
        line: 7,
        column: 0,
    };
    let lines = [
        line("alloc", "/w/everprof-0.1.0/src/alloc.rs"),
        line("app::fill", "src/app.rs"),
    ];
    let at = profile.add_location(1, None);
    profile.set_lines(at, &lines);
    profile.push_sample(&[at], &[100], &[]);
    profile
}

#[test]
fn our_own_frames_are_left_out_of_all_but_cpu_time() {
    let place = Place::new();
    for (kind, is_shown) in [
        (("inuse_space", "bytes"), false),
        (("contentions", "count"), false),
        (("threads", "count"), false),
        (("cpu", "nanoseconds"), true),
    ] {
        place.put("own.pb.gz", &encoded(&with_our_own(kind)));
        let top = place.stdout(&["top", "own.pb.gz"]);
        assert!(top.contains("app::fill"), "{top}");
        assert_eq!(top.contains("/everprof-0.1.0/"), is_shown, "{top}");
    }
}

#[test]
fn top_by_cum_says_what_it_leaves_out() {
    same(
        &Place::new().stdout(&["top", "--cum", "-n", "2", "heap.pb.gz"]),
        "
heap.pb.gz: inuse_space 100 KiB ± 34.2 KiB, one sample in 4.00 KiB, taken 2026-11-23 13:40:05 UTC
     cum           ±    cum%      flat  flat%  name                  at
 100 KiB  ± 34.2 KiB  100.0%       0 B   0.0%  app::main             src/app.rs:10
90.0 KiB  ± 33.7 KiB   90.0%  90.0 KiB  90.0%  alloc::raw_vec::grow  src/app.rs:50
… 4 more functions with 10.0 KiB flat (-n 0 shows all)
",
    );
}

#[test]
fn top_as_markdown() {
    same(
        &Place::new().stdout(&["top", "--format", "md", "-n", "2", "heap.pb.gz"]),
        "
heap.pb.gz: inuse_space 100 KiB ± 34.2 KiB, one sample in 4.00 KiB, taken 2026-11-23 13:40:05 UTC

| flat | ± | flat% | cum | cum% | name | at |
| ---: | ---: | ---: | ---: | ---: | --- | --- |
| 90.0 KiB | ± 33.7 KiB | 90.0% | 90.0 KiB | 90.0% | `alloc::raw_vec::grow` | `src/app.rs:50` |
| 10.0 KiB | ± 5.86 KiB | 10.0% | 10.0 KiB | 10.0% | `app+0x900` |  |

… 4 more functions with 0 B flat (-n 0 shows all)
",
    );
}

#[test]
fn top_as_json_has_raw_figures_under_stable_keys() {
    let top = json(
        &Place::new(),
        &["top", "--format", "json", "-n", "1", "heap.pb.gz"],
    );
    has_keys(
        &top,
        ".duration_nanos .input .left_out.flat .left_out.functions .period.unit .period.value
         .report .rows[].cum.error .rows[].cum.value .rows[].cum_share .rows[].file
         .rows[].flat.error .rows[].flat.value .rows[].flat_share .rows[].line .rows[].name
         .sample_type .time_nanos .total.error .total.value .unit",
    );
    assert_eq!(top["total"]["value"], 100 << 10);
    assert_eq!(top["rows"][0]["flat"]["value"], 90 << 10);
    assert_eq!(top["left_out"]["flat"], 10 << 10);
}

#[test]
fn tree_draws_forks_and_leaves_chains_straight() {
    same(
        &Place::new().stdout(&["tree", "heap.pb.gz"]),
        "
heap.pb.gz: inuse_space 100 KiB ± 34.2 KiB, one sample in 4.00 KiB, taken 2026-11-23 13:40:05 UTC
     cum           ±    cum%      flat  name
 100 KiB  ± 34.2 KiB  100.0%            app::main
60.0 KiB  ± 27.9 KiB   60.0%            ├─ app::parse
40.0 KiB  ± 23.3 KiB   40.0%  40.0 KiB  │  ├─ alloc::raw_vec::grow
20.0 KiB  ± 15.4 KiB   20.0%            │  └─ app::parse
20.0 KiB  ± 15.4 KiB   20.0%  20.0 KiB  │     alloc::raw_vec::grow
30.0 KiB  ± 18.8 KiB   30.0%            ├─ app::serve
30.0 KiB  ± 18.8 KiB   30.0%            │  app::cache
30.0 KiB  ± 18.8 KiB   30.0%  30.0 KiB  │  alloc::raw_vec::grow
10.0 KiB  ± 5.86 KiB   10.0%  10.0 KiB  └─ app+0x900
",
    );
}

#[test]
fn tree_shows_where_it_was_cut() {
    same(
        &Place::new().stdout(&["tree", "heap.pb.gz", "--min-percent", "25"]),
        "
heap.pb.gz: inuse_space 100 KiB ± 34.2 KiB, one sample in 4.00 KiB, taken 2026-11-23 13:40:05 UTC
     cum           ±    cum%      flat  name
 100 KiB  ± 34.2 KiB  100.0%            app::main
60.0 KiB  ± 27.9 KiB   60.0%            ├─ app::parse
40.0 KiB  ± 23.3 KiB   40.0%  40.0 KiB  │  ├─ alloc::raw_vec::grow
20.0 KiB               20.0%            │  └─ … 1 more
30.0 KiB  ± 18.8 KiB   30.0%            ├─ app::serve
30.0 KiB  ± 18.8 KiB   30.0%            │  app::cache
30.0 KiB  ± 18.8 KiB   30.0%  30.0 KiB  │  alloc::raw_vec::grow
10.0 KiB               10.0%            └─ … 1 more
",
    );
}

#[test]
fn tree_as_json_is_a_flat_list_of_parents_before_children() {
    let place = Place::new();
    let tree = json(&place, &["tree", "heap.pb.gz", "--format", "json"]);
    has_keys(
        &tree,
        ".duration_nanos .input .nodes[].cum.error .nodes[].cum.value .nodes[].cum_share
         .nodes[].depth .nodes[].file .nodes[].flat.error .nodes[].flat.value
         .nodes[].left_out.branches .nodes[].left_out.cum .nodes[].name .nodes[].parent
         .period.unit .period.value .report .sample_type .time_nanos .total.error .total.value
         .unit",
    );
    let nodes = tree["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 10);
    for (n, node) in nodes.iter().enumerate().skip(1) {
        assert!(node["parent"].as_u64().unwrap() < n as u64);
    }
    let cut = json(
        &place,
        &["tree", "heap.pb.gz", "--format", "json", "--max-depth", "1"],
    );
    assert_eq!(cut["nodes"][1]["left_out"]["branches"], 3);
}

#[test]
fn peek_shows_callers_and_callees() {
    same(
        &Place::new().stdout(&["peek", "parse", "heap.pb.gz"]),
        "
heap.pb.gz: inuse_space 100 KiB ± 34.2 KiB, one sample in 4.00 KiB, taken 2026-11-23 13:40:05 UTC

app::parse
  flat 0 B, cum 60.0 KiB ± 27.9 KiB (60.0%)
             cum           ±   of it  name
caller  60.0 KiB  ± 27.9 KiB  100.0%  app::main
caller  20.0 KiB  ± 15.4 KiB   33.3%  app::parse
callee  60.0 KiB  ± 27.9 KiB  100.0%  alloc::raw_vec::grow
callee  20.0 KiB  ± 15.4 KiB   33.3%  app::parse
",
    );
}

#[test]
fn peek_as_json_and_markdown() {
    let place = Place::new();
    let peek = json(&place, &["peek", "parse", "heap.pb.gz", "--format", "json"]);
    has_keys(
        &peek,
        ".duration_nanos .functions[].callees[].cum.error .functions[].callees[].cum.value
         .functions[].callees[].name .functions[].callers[].cum.error
         .functions[].callers[].cum.value .functions[].callers[].name .functions[].cum.error
         .functions[].cum.value .functions[].file .functions[].flat.error
         .functions[].flat.value .functions[].line .functions[].name .input
         .left_out.functions .period.unit .period.value .report .sample_type .time_nanos
         .total.error .total.value .unit",
    );
    let markdown = place.stdout(&["peek", "parse", "heap.pb.gz", "--format", "md"]);
    assert!(markdown.contains("\n### `app::parse`\n"));
    assert!(markdown.contains("| caller | 60.0 KiB | ± 27.9 KiB | 100.0% | `app::main` |"));
}

#[test]
fn diff_tells_growth_from_noise() {
    same(
        &Place::new().stdout(&["diff", "heap.pb.gz", "later.pb.gz", "--by", "stack"]),
        "
before  heap.pb.gz: inuse_space 100 KiB ± 34.2 KiB, one sample in 4.00 KiB, taken 2026-11-23 13:40:05 UTC
after   later.pb.gz: inuse_space 3.00 MiB ± 191 KiB, one sample in 4.00 KiB, taken 2026-11-23 13:40:05 UTC
growth  +2.90 MiB ± 194 KiB  significant
   growth          ±    before     after  verdict      name
+2.90 MiB  ± 189 KiB  30.0 KiB  2.93 MiB  significant  alloc::raw_vec::grow < app::cache < app::serve < app::main
",
    );
    let place = Place::new();
    place.put("again.pb.gz", &support::encoded(&support::heap(2)));
    let little = place.stdout(&["diff", "heap.pb.gz", "again.pb.gz"]);
    assert!(
        little.contains("growth  +30.0 KiB ± 51.9 KiB  noise\n"),
        "{little}"
    );
    assert!(
        little.contains("  noise    alloc::raw_vec::grow\n"),
        "{little}"
    );
    let none = place.stdout(&["diff", "heap.pb.gz", "again.pb.gz", "--significant"]);
    assert!(
        none.contains("… 1 more that changed, +30.0 KiB together\n"),
        "{none}"
    );
    let same = place.stdout(&["diff", "heap.pb.gz", "heap.pb.gz"]);
    assert!(same.contains("growth  0 B ± 48.3 KiB  same\n"), "{same}");
}

#[test]
fn diff_as_json() {
    let diff = json(
        &Place::new(),
        &["diff", "heap.pb.gz", "later.pb.gz", "--format", "json"],
    );
    has_keys(
        &diff,
        ".after .before .compared .left_out.growth .left_out.sites .report
         .rows[].after.error .rows[].after.value .rows[].before.error .rows[].before.value
         .rows[].growth.error .rows[].growth.value .rows[].significant .rows[].stack[]
         .sample_type .total.after.error .total.after.value .total.before.error
         .total.before.value .total.growth.error .total.growth.value .total.significant .unit",
    );
    assert_eq!(diff["rows"][0]["significant"], true);
    assert_eq!(diff["rows"][0]["stack"][0], "alloc::raw_vec::grow");
}

#[test]
fn filters_and_sample_types_choose() {
    let place = Place::new();
    let total = |args: &[&str]| {
        let mut all = vec!["top", "--format", "json", "heap.pb.gz"];
        all.extend(args);
        let top = json(&place, &all);
        (
            top["total"]["value"].as_i64().unwrap(),
            top["unit"].as_str().unwrap().to_owned(),
        )
    };
    let space = |value: i64| (value << 10, "bytes".to_owned());
    assert_eq!(total(&["--focus", "app::serve"]), space(30));
    assert_eq!(total(&["--ignore", "raw_vec"]), space(10));
    assert_eq!(total(&["--label", "tenant:blue"]), space(60));
    assert_eq!(total(&["--sample-type", "alloc_space"]), space(200));
    assert_eq!(
        total(&["--sample-type", "inuse_objects"]),
        (66, "count".to_owned())
    );
    let output = place.run(&["top", "heap.pb.gz", "--focus", "nobody"]);
    assert!(output.status.success());
    assert!(support::words(&output).contains("no sample matches the filters"));
}

#[test]
fn own_charges_the_standard_library_to_its_callers() {
    same(
        &Place::new().stdout(&["top", "heap.pb.gz", "--own", "-n", "3"]),
        "
heap.pb.gz: inuse_space 100 KiB ± 34.2 KiB, one sample in 4.00 KiB, taken 2026-11-23 13:40:05 UTC
    flat           ±  flat%       cum   cum%  name        at
60.0 KiB  ± 27.9 KiB  60.0%  60.0 KiB  60.0%  app::parse  src/app.rs:20
30.0 KiB  ± 18.8 KiB  30.0%  30.0 KiB  30.0%  app::cache  src/app.rs:30
10.0 KiB  ± 5.86 KiB  10.0%  10.0 KiB  10.0%  app+0x900
… 2 more functions with 0 B flat (-n 0 shows all)
",
    );
}

/// A profile of addresses in this very command, as if it had been recorded from a stripped
/// copy elsewhere.
#[test]
fn binary_names_what_was_recorded_without_names() {
    use object::{Object, ObjectSegment, ObjectSymbol};
    let path = env!("CARGO_BIN_EXE_everprof");
    let bytes = std::fs::read(path).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let main = file.symbols().find(|symbol| symbol.name() == Ok("main"));
    let main = main.unwrap().address();
    let offset = file
        .segments()
        .find_map(|segment| {
            let into = main.checked_sub(segment.address())?;
            (into < segment.size()).then(|| segment.file_range().0 + into)
        })
        .unwrap();

    let place = Place::new();
    let mut profile = everprof_profile::Profile::new(&[("inuse_space", "bytes")]);
    let mapping = profile.add_mapping(everprof_profile::Mapping {
        start: 0x10000,
        limit: 0x10000 + bytes.len() as u64,
        file: "/nowhere/everprof",
        ..Default::default()
    });
    let at = profile.add_location(0x10000 + offset, Some(mapping));
    profile.push_sample(&[at], &[64], &[]);
    place.put("raw.pb.gz", &support::encoded(&profile));

    let nameless = place.stdout(&["top", "raw.pb.gz"]);
    assert!(
        nameless.contains(&format!("  everprof+{offset:#x}\n")),
        "{nameless}"
    );
    let named = place.stdout(&["top", "raw.pb.gz", "--binary", path]);
    assert!(named.contains("  main"), "{named}");
    let other = place.run(&["top", "heap.pb.gz", "--binary", path]);
    assert!(support::words(&other).contains("has no mapping of its build id or name"));
}

#[test]
fn flame_is_written_to_a_file_or_a_pipe() {
    let place = Place::new();
    let piped = place.stdout(&["flame", "heap.pb.gz", "--title", "my heap"]);
    assert!(piped.starts_with("<?xml") && piped.ends_with("</svg>\n"));
    assert!(piped.contains(">my heap</text>"));
    assert!(
        place
            .stdout(&["flame", "heap.pb.gz", "-o", "a.svg"])
            .is_empty()
    );
    let written = std::fs::read_to_string(place.path().join("a.svg")).unwrap();
    assert_eq!(written, piped.replace("my heap", "heap.pb.gz"));
}

#[test]
fn what_a_profile_says_of_itself_is_told_beside_the_report() {
    let place = Place::new();
    let mut profile = heap(1);
    profile.add_comment("not whole: a thread was stopped");
    profile.add_comment("symbols: `/app` has no symbol");
    place.put("torn.pb.gz", &encoded(&profile));
    for command in ["top", "tree", "flame"] {
        let output = place.run(&[command, "torn.pb.gz"]);
        let said = words(&output);
        assert!(
            said.contains("everprof: `torn.pb.gz`: not whole: a thread was stopped\n"),
            "{said}"
        );
        assert!(!said.contains("symbols: "), "{said}");
    }
}

#[test]
fn empty_report_says_that_nothing_is_there_and_where_there_is_more() {
    let place = Place::new();
    let mut profile = Profile::new(&[("alloc_space", "bytes"), ("inuse_space", "bytes")]);
    place.put("empty.pb.gz", &encoded(&profile));
    assert_eq!(
        words(&place.run(&["top", "empty.pb.gz"])),
        "everprof: `empty.pb.gz` has no inuse_space\n"
    );
    let at = profile.add_location(1, None);
    profile.push_sample(&[at], &[7, 0], &[]);
    place.put("freed.pb.gz", &encoded(&profile));
    assert_eq!(
        words(&place.run(&["top", "freed.pb.gz"])),
        "everprof: `freed.pb.gz` has no inuse_space; it has alloc_space: --sample-type alloc_space\n"
    );
}

#[test]
fn merged_profiles_add_up() {
    let place = Place::new();
    place.stdout(&["merge", "heap.pb.gz", "heap.pb.gz", "-o", "both.pb.gz"]);
    let both = json(&place, &["top", "both.pb.gz", "--format", "json"]);
    assert_eq!(both["total"]["value"], 200 << 10);
}

#[test]
fn exports_are_what_their_readers_read() {
    let place = Place::new();
    same(
        &place.stdout(&["export", "--to", "folded", "heap.pb.gz"]),
        "
app::main;app+0x900 10240
app::main;app::parse;alloc::raw_vec::grow 40960
app::main;app::parse;app::parse;alloc::raw_vec::grow 20480
app::main;app::serve;app::cache;alloc::raw_vec::grow 30720
",
    );
    let speedscope = json(&place, &["export", "--to", "speedscope", "heap.pb.gz"]);
    assert_eq!(speedscope["profiles"][3]["endValue"], 100 << 10);
    assert_eq!(speedscope["activeProfileIndex"], 3);
    place.stdout(&["export", "--to", "pprof", "heap.pb.gz", "-o", "again.pb.gz"]);
    assert_eq!(
        place.stdout(&["top", "again.pb.gz"]),
        place
            .stdout(&["top", "heap.pb.gz"])
            .replace("heap.pb", "again.pb")
    );
}
