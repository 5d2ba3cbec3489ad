//! `cargo xtask soak [--minutes N]`: all profiles at once on a service under load, then each
//! alone under the same load, and whether they say the same.
//!
//! `testprograms/soak` is the service. It knows the truth of most figures and ends with an error
//! where something that holds exactly does not. What chance decides is compared here: a figure
//! may be so many standard deviations off, and besides by what no number of samples mends.
//! Those are estimated from how the windows of the run differ.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::report::{Outcome, Report, checked};
use crate::workspace;

/// Each is taken alone as well.
const ALONE: [&str; 8] = [
    "heap",
    "block",
    "mutex",
    "threadcreate",
    "threads",
    "profile",
    "managed",
    "custom",
];

/// By chance one figure in some 15,000 is further off than this, if windows tell its
/// deviation well; there are two dozen in a run.
const SIGMAS: f64 = 4.0;

/// What is compared with clocks around the calls is off by what the call does before and after
/// it waits, and by what is under way at a window's ends.
const SLACK: f64 = 0.02;

/// The same of what holders are charged with. Where processors are short, who is woken often finds
/// the lock taken by another and waits again: of the service's waiting a fifth comes after such a
/// race. The service counts from the moment when it was lost, the profile from that when the
/// loser has run and sleeps again.
const MUTEX_SLACK: f64 = 0.04;

fn slack(name: &str) -> f64 {
    match name {
        "mutex.seen/true" => MUTEX_SLACK,
        _ => SLACK,
    }
}

/// Growth of the resident memory, in MiB, from the second quarter of a run to the last: what
/// allocators and caches of symbols move by. The recorders' own memory is bounded by 64 MiB
/// however long they run, and in use after the first quarter but for stacks that are new.
///
/// The C library is given one arena. Of several it keeps each as large as it ever was, and threads
/// that are born and die change about among them: with sixteen the service grows for a long time
/// by what is in use nowhere, towards sixteen times what one answer takes.
const MOST_GROWTH_MIB: u64 = 32;

/// Runs it.
pub fn run(report: &mut Report, words: &[String]) -> Outcome {
    let minutes = match words {
        [] => 10.0,
        [flag, number] if flag == "--minutes" => number
            .parse::<f64>()
            .map_err(|_| format!("--minutes {number}: expected a number"))?,
        _ => return Err("soak: expected nothing or --minutes N".into()),
    };
    let target = workspace::target_for("soak");
    report.section("the service");
    checked(workspace::cargo_alone("build", "soak", &target).arg("--release"))?;
    let program = target.join("release/soak");
    let soak = |seconds: f64, which: &str| {
        let mut soak = Command::new(&program);
        soak.args([&format!("{seconds:.0}"), which]);
        soak.env("MALLOC_ARENA_MAX", "1");
        figures(&mut soak, Duration::from_secs_f64(seconds * 2.0 + 60.0))
    };

    report.section(&format!("all profiles at once, {minutes} min"));
    let all = soak(minutes * 60.0, "all")?;
    // As long as all take together, at most.
    let each_seconds = (minutes * 60.0 / ALONE.len() as f64).max(10.0);
    let mut alone = BTreeMap::new();
    for which in ALONE {
        report.section(&format!("{which} alone, {each_seconds:.0} s"));
        alone.extend(soak(each_seconds, which)?.figures);
    }

    report.section("what all say, and what each says alone");
    println!("| figure | true | all at once | alone | from the truth, σ | from each other, σ |");
    println!("|---|---|---|---|---|---|");
    for (name, figure) in &all.figures {
        let Some(other) = alone.get(name) else {
            report.fail(name, "not told by the profile alone");
            continue;
        };
        let from_truth = figure.truth.map(|truth| figure.seen - truth);
        let apart = figure.seen - other.seen;
        let apart_sigma = figure.sigma.hypot(other.sigma);
        println!(
            "| `{name}` | {} | {:.4} ± {:.4} | {:.4} ± {:.4} | {} | {:+.1} |",
            figure
                .truth
                .map_or("–".to_owned(), |truth| format!("{truth:.4}")),
            figure.seen,
            figure.sigma,
            other.seen,
            other.sigma,
            from_truth.map_or("–".to_owned(), |off| format!(
                "{:+.1}",
                off / figure.sigma
            )),
            apart / apart_sigma,
        );
        if let Some(off) = from_truth.filter(|off| off.abs() > SIGMAS * figure.sigma + slack(name))
        {
            report.fail(name, &format!("{off:+.4} from the truth"));
        }
        // Where the truth is known it may differ between the runs: there each is held to its own.
        let is_comparable = figure.truth.is_none() || name.ends_with("seen/true");
        if is_comparable && apart.abs() > SIGMAS * apart_sigma + 2.0 * slack(name) {
            report.fail(name, &format!("{apart:+.4} from the profile alone"));
        }
        if let Some(truth) = other.truth {
            let off = other.seen - truth;
            if off.abs() > SIGMAS * other.sigma + slack(name) {
                report.fail(name, &format!("alone, {off:+.4} from the truth"));
            }
        }
    }
    let [first, second, third, last] = all.rss_mib;
    println!("\nResident MiB by quarter: {first}, {second}, {third}, {last}.");
    for (claim, looks) in &all.held {
        println!("Held, {looks} times looked at: {claim}.");
    }
    if last > second + MOST_GROWTH_MIB {
        report.fail("resident memory", &format!("{second} MiB, then {last}"));
    }
    Ok(())
}

/// What one run has said.
#[derive(Default)]
struct Said {
    figures: BTreeMap<String, Figure>,
    held: Vec<(String, String)>,
    rss_mib: [u64; 4],
}

struct Figure {
    /// `None`: the service does not know it.
    truth: Option<f64>,
    seen: f64,
    sigma: f64,
}

/// Runs the service, which hangs if it takes longer than `patience`.
fn figures(soak: &mut Command, patience: Duration) -> Outcome<Said> {
    println!("$ {soak:?}");
    let failed = |error: std::io::Error| format!("soak: {error}");
    let output = std::env::temp_dir().join(format!("soak-{}.txt", std::process::id()));
    let file = std::fs::File::create(&output).map_err(failed)?;
    let mut child = soak.stdout(file).spawn().map_err(failed)?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if begun.elapsed() > patience {
            child.kill().map_err(failed)?;
            child.wait().map_err(failed)?;
            return Err(format!("it hangs: not done after {patience:?}"));
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    let text = std::fs::read_to_string(&output).map_err(failed)?;
    std::fs::remove_file(&output).map_err(failed)?;
    if !status.success() {
        return Err(format!("soak ended with {status}, having said:\n{text}"));
    }
    said(&text)
}

/// Reads the lines of one run.
fn said(text: &str) -> Outcome<Said> {
    let mut said = Said::default();
    for line in text.lines() {
        let wrong = |_| format!("`{line}`: expected numbers");
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["figure", name, truth, seen, sigma] => {
                let truth = match truth {
                    "-" => None,
                    known => Some(known.parse().map_err(wrong)?),
                };
                let figure = Figure {
                    truth,
                    seen: seen.parse().map_err(wrong)?,
                    sigma: sigma.parse().map_err(wrong)?,
                };
                said.figures.insert(name.to_owned(), figure);
            }
            ["held", name, looks] => said.held.push((name.to_owned(), looks.to_owned())),
            ["rss", ref quarters @ ..] if quarters.len() == 4 => {
                for (quarter, mib) in said.rss_mib.iter_mut().zip(quarters) {
                    *quarter = mib
                        .parse()
                        .map_err(|_| format!("`{line}`: expected numbers"))?;
                }
            }
            _ => return Err(format!("soak: `{line}`: expected figure, held or rss")),
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_of_a_run_are_read() {
        let text = "figure a.share 0.5 0.51 0.01\nfigure b - 2 0\nheld c 7\nrss 1 2 3 4\n";
        let said = said(text).unwrap();
        let a = &said.figures["a.share"];
        assert_eq!((a.truth, a.seen, a.sigma), (Some(0.5), 0.51, 0.01));
        assert_eq!(said.figures["b"].truth, None);
        assert_eq!(said.held, [("c".to_owned(), "7".to_owned())]);
        assert_eq!(said.rss_mib, [1, 2, 3, 4]);
    }

    #[test]
    fn lines_that_mean_nothing_are_errors() {
        for text in [
            "figure a",
            "figure a b c d",
            "rss 1 2 3",
            "rss a b c d",
            "x",
        ] {
            assert!(said(text).is_err(), "{text}");
        }
    }
}
