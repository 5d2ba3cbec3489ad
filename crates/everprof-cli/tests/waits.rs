//! What the reports say of waits: delays with their bars, by default.
#![allow(clippy::unwrap_used)]

mod support;

use everprof_profile::errorbars::PERIOD_LABEL;
use everprof_profile::{Function, Label, Line, LocationId, Profile};
use serde_json::Value;
use support::{Place, encoded};

/// Long waits, measured all, and short ones, most of whose delay is extrapolated.
fn waits(with_periods: bool) -> Profile {
    let mut profile = Profile::new(&[("contentions", "count"), ("delay", "nanoseconds")]);
    profile.set_period_type("contentions", "count");
    profile.period = 1;
    let mut at = |address: u64, name: &str| -> LocationId {
        let function = profile.add_function(Function {
            name,
            file: "src/app.rs",
            ..Function::default()
        });
        let id = profile.add_location(address, None);
        let line = Line {
            function,
            line: 7,
            column: 0,
        };
        profile.set_lines(id, &[line]);
        id
    };
    let main = at(1, "app::main");
    let join = at(2, "app::join");
    let lock = at(3, "app::lock");
    for (leaf, period, values) in [
        (join, 1, [3, 1_500_000_000]),
        (lock, 1, [1, 2_000_000]),
        (lock, 1_000_000, [9_600, 200_000_000]),
    ] {
        let label = Label::number(PERIOD_LABEL, period, "nanoseconds");
        let labels: &[_] = if with_periods { &[label] } else { &[] };
        profile.push_sample(&[leaf, main], &values, labels);
    }
    profile
}

fn place() -> Place {
    let place = Place::new();
    place.put("block.pb.gz", &encoded(&waits(true)));
    place.put("go.pb.gz", &encoded(&waits(false)));
    place
}

#[test]
fn delays_are_shown_with_bars_where_they_were_sampled() {
    let top = place().stdout(&["top", "block.pb.gz"]);
    let expected = "\
block.pb.gz: delay 1.70 s ± 27.7 ms
  flat          ±  flat%     cum    cum%  name       at
1.50 s             88.1%  1.50 s   88.1%  app::join  src/app.rs:7
202 ms  ± 27.7 ms  11.9%  202 ms   11.9%  app::lock  src/app.rs:7
  0 ns              0.0%  1.70 s  100.0%  app::main  src/app.rs:7
";
    assert!(top == expected, "the report is now:\n{top}");
}

#[test]
fn contentions_can_be_had_too() {
    let top = place().stdout(&["top", "--sample-type", "contentions", "block.pb.gz"]);
    assert!(top.starts_with("block.pb.gz: contentions 9,604\n"), "{top}");
}

/// Go's profiles name no default: the last sample type is the delay, as its own tool takes it.
#[test]
fn profiles_of_go_show_delays_without_bars() {
    let place = place();
    let top = place.stdout(&["top", "go.pb.gz"]);
    assert!(top.starts_with("go.pb.gz: delay 1.70 s\n"), "{top}");
    let text = place.stdout(&["top", "--format", "json", "go.pb.gz"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["total"]["error"], Value::Null);
}

#[test]
fn every_report_reads_them() {
    let place = place();
    for args in [
        &["tree", "block.pb.gz"][..],
        &["peek", "lock", "block.pb.gz"],
        &["flame", "block.pb.gz", "-o", "block.svg"],
        &["diff", "block.pb.gz", "block.pb.gz"],
        &["merge", "block.pb.gz", "block.pb.gz", "-o", "two.pb.gz"],
        &["export", "--to", "folded", "block.pb.gz"],
    ] {
        let output = place.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
    }
    let two = place.stdout(&["top", "two.pb.gz"]);
    assert!(
        two.starts_with("two.pb.gz: delay 3.40 s ± 39.2 ms"),
        "{two}"
    );
}
