//! Whatever a task waits in, its await stack has the function that does.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use everprof::{Request, handle, labels};
use everprof_profile::pprof::{Limits, decode};
use everprof_profile::{LocationId, Profile};
use tasks::executors::{Kind, Running};
use tasks::leaves::{BUDGET, Case, Here, NEVER_AT_REST, Start, all};

/// Everything waits long before, or never does. Minutes, for machines that are slow: those that
/// are never at rest are seen when a look happens to find them so.
const NEVER: Duration = Duration::from_secs(600);

/// The frame between where a task waits and who has made it.
const MADE_BY: &str = "everprof::spawn::task";

#[test]
fn every_wait_is_seen_on_tokio_with_many_threads() {
    every_wait_is_seen(Kind::MultiThread);
}

#[test]
fn every_wait_is_seen_on_tokio_with_one_thread() {
    every_wait_is_seen(Kind::CurrentThread);
}

#[test]
fn every_wait_is_seen_on_smol() {
    every_wait_is_seen(Kind::Smol);
}

fn every_wait_is_seen(kind: Kind) {
    let executor = format!("{kind:?}");
    let mut cases = all();
    cases.retain(|case| kind != Kind::Smol || case.name != BUDGET);
    let here = Here::default();
    let mut running = Running::start(kind);
    for case in &cases {
        let _labels = labels! { "case" => case.name, "executor" => executor.as_str() };
        match case.start {
            Start::Shared(make) => {
                running.spawn(Box::pin(everprof::task::root(make(here.clone()))))
            }
            Start::Local(make) => {
                let (here, executor, name) = (here.clone(), executor.clone(), case.name);
                running.block_on(move || {
                    let _labels = labels! { "case" => name, "executor" => executor.as_str() };
                    Box::pin(everprof::task::watch(make(here)))
                });
            }
        }
    }
    // Names alone are had soon; inlined functions and lines, once all are known to wait.
    let by_name = seen(&executor, &cases, &here, "names");
    assert_eq!(here.arrived(), cases.len());
    cases.retain(|case| !NEVER_AT_REST.contains(&case.name));
    let with_lines = seen(&executor, &cases, &here, "full");
    for case in cases {
        let of = |seen: &Seen| seen.of(&case).join(", ");
        println!("{}: {} ({})", case.name, of(&with_lines), of(&by_name));
    }
}

/// What is seen, once all is. One that is being polled is looked at anew, and there are some
/// that always are.
fn seen(executor: &str, cases: &[Case], here: &Here, names: &str) -> Seen {
    let begun = Instant::now();
    let mut seen = Seen::default();
    loop {
        seen.look(executor, names);
        let missing: Vec<&Case> = cases.iter().filter(|case| !seen.has(case)).collect();
        if here.arrived() >= cases.len() && missing.is_empty() {
            return seen;
        }
        if begun.elapsed() > NEVER {
            panic!(
                "{} of {} wait, {} are not seen: {:#?}\n{}",
                here.arrived(),
                cases.len(),
                missing.len(),
                missing
                    .iter()
                    .map(|case| (case.name, seen.of(case)))
                    .collect::<Vec<_>>(),
                tasks::watch::dump_as_text(),
            );
        }
        std::thread::yield_now();
    }
}

/// The await stacks of each case that have its function: addresses, and the leaf's name.
#[derive(Default)]
struct Seen(BTreeMap<String, BTreeMap<Vec<u64>, String>>);

impl Seen {
    /// Takes a dump, and keeps of it the await stacks that have their case's function.
    fn look(&mut self, executor: &str, names: &str) {
        let query = format!("/debug/pprof/tasks?symbolize={names}&label=executor:{executor}");
        let response = handle(&Request::get(query));
        assert_eq!(response.status, 200);
        let profile = decode(&response.body, &Limits::default()).unwrap();
        for sample in profile.samples() {
            let Some(case) = sample.string_label("case") else {
                continue;
            };
            let (mut stack, mut addresses) = (Vec::new(), Vec::new());
            for location in sample.stack() {
                stack.extend(frames(&profile, location));
                addresses.push(profile.location(location).address);
            }
            let end = stack.iter().position(|(name, _)| name == MADE_BY);
            stack.truncate(end.unwrap_or(stack.len()));
            let has_lines = HAS_LINES && names == "full";
            let is_own = |(name, has_line): &(String, bool)| {
                let mut parts = name.split("::");
                parts.any(|part| part == case) && (*has_line || !has_lines)
            };
            if stack.iter().any(is_own) {
                let leaf = stack.swap_remove(0).0;
                self.0
                    .entry(case.to_owned())
                    .or_default()
                    .insert(addresses, leaf);
            }
        }
    }

    fn of(&self, case: &Case) -> Vec<&str> {
        let stacks = self.0.get(case.name).into_iter().flatten();
        stacks.map(|(_, leaf)| leaf.as_str()).collect()
    }

    /// In all of its places. What keeps no waker waits in none.
    fn has(&self, case: &Case) -> bool {
        self.of(case).len() >= case.stacks
    }
}

/// Whether this is built so that lines can be told.
const HAS_LINES: bool = option_env!("TASKS_WITHOUT_LINES").is_none();

/// Functions at a location, inner ones first, and whether they have a line in a file.
fn frames(profile: &Profile, location: LocationId) -> Vec<(String, bool)> {
    let lines = profile.location(location).lines;
    lines
        .iter()
        .map(|line| {
            let function = profile.function(line.function);
            let has_line = line.line > 0 && function.file.ends_with(".rs");
            (function.name.to_owned(), has_line)
        })
        .collect()
}
