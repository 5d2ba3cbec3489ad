//! What is found of tasks that can never go on: the table of docs/tasks-leaks.md.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use everprof::tasks::Leak;
use tasks::leaks::{Is, all, run};

/// With it set, the table is written, and not compared.
const WRITE: &str = "TASKS_WRITE";

/// How it is written, most certain first. Of a task that leaked and is none of these, only
/// how long it has waited tells anything.
const FOUND: [(Leak, &str); 4] = [
    (Leak::Certain, "certain"),
    (Leak::Unwakeable, "unwakeable"),
    (Leak::Suspected, "suspected"),
    (Leak::No, "by time"),
];

#[test]
fn what_is_found_is_what_the_page_says_and_no_healthy_task_is_certain() {
    let mut table =
        String::from("| shape | in the corpus | found | mended, halfway |\n|---|---|---|---|\n");
    let (mut found_as, mut alarms_as) = ([0; 4], [0; 4]);
    for shape in all() {
        let (leaky, mended) = (run(&shape, Is::Leaky), run(&shape, Is::Mended));
        assert!(leaky.left > 0, "{} does not leak", shape.name);
        assert_eq!(mended.left, 0, "{} is not mended", shape.name);
        assert!(
            mended.at_the_end.is_empty(),
            "{}: something is left",
            shape.name
        );
        let (found, alarm) = (worst(&leaky.at_the_end), worst(&mended.halfway));
        assert_ne!(alarm, Some(0), "{}: a healthy task is certain", shape.name);
        let suspects = mended.halfway.contains(&Leak::Suspected);
        assert!(!suspects, "{}: a healthy task is suspected", shape.name);
        let found_words = found.map_or("not found", |at| FOUND[at].1);
        let alarm_words = match alarm {
            Some(at) if FOUND[at].0 != Leak::No => FOUND[at].1,
            _ => "–",
        };
        found.into_iter().for_each(|at| found_as[at] += 1);
        alarm.into_iter().for_each(|at| alarms_as[at] += 1);
        let name = shape.name.replace('_', " ");
        let of = if shape.of.is_empty() { "–" } else { shape.of };
        writeln!(table, "| {name} | {of} | {found_words} | {alarm_words} |").unwrap();
    }
    let [certain, unwakeable, suspected, by_time] = found_as;
    writeln!(
        table,
        "\nOf {} shapes {certain} are certain, {unwakeable} unwakeable, {suspected} suspected, and \
         {by_time} are known only by how long they have waited. Of as many mended ones, while they \
         wait, {} are certain, {} unwakeable and {} suspected.",
        all().len(),
        alarms_as[0],
        alarms_as[1],
        alarms_as[2],
    )
    .unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tasks-leaks.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (open, close) = ("<!-- leaks -->\n", "<!-- end leaks -->");
    let (before, rest) = page.split_once(open).unwrap();
    let (is, after) = rest.split_once(close).unwrap();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, format!("{before}{open}{table}{close}{after}")).unwrap();
    } else {
        let [is, found] = [is, &table].map(without_suspicion);
        assert_eq!(
            is, found,
            "run again with {WRITE}=1 if this is how it is to be"
        );
    }
}

/// The rows as they are if nothing is suspected: words that mean nothing any more may hide in one
/// run what is suspected in another. What they sum up to is left out.
fn without_suspicion(table: &str) -> String {
    let rows = table.lines().filter(|line| line.starts_with('|'));
    let plain = rows.map(|row| row.replace("| suspected |", "| by time |"));
    plain.collect::<Vec<_>>().join("\n")
}

/// The most certain of some verdicts, as its place in [`FOUND`].
fn worst(of: &[Leak]) -> Option<usize> {
    FOUND.iter().position(|(leak, _)| of.contains(leak))
}
