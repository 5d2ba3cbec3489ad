//! `cargo xtask test`: everything that stable Rust can test, on a new machine.
//!
//! Package by package, never `--workspace`: a workspace build unifies
//! features, so that the choices named here would not be the ones tested.

use crate::report::{Outcome, Report};
use crate::{tools, workspace};

/// Installs what the tests need, then runs them.
pub fn run(report: &mut Report, _: &[String]) -> Outcome {
    report.section("what the tests need");
    let go = tools::go()?;
    println!("go tool pprof: {}", go.display());
    // A compiler for C is there, or this chore could not have been linked.
    if let Err(error) = tools::need("c++", "g++") {
        report.fail("C++ compiler for the test of `operator new`", &error);
    }
    for package in workspace::packages()? {
        for choice in package.test_choices() {
            let mut cargo = workspace::cargo();
            cargo
                .args(["test", "--no-fail-fast", "-p", &package.name])
                .args(&choice);
            cargo.env("EVERPROF_GO", &go);
            report.test(
                &format!("test {} {}", package.name, choice.join(" ")),
                &mut cargo,
            );
        }
    }
    Ok(())
}
