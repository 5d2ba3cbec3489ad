//! Runs commands, echoes them, and adds up what the tests in them said.
//!
//! A chore goes on after a step has failed, so that one run shows everything
//! that is wrong; [`Report::close`] then turns any failure into the exit code.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

/// What a chore or a step returns; the error is one sentence for a person.
pub type Outcome<T = ()> = Result<T, String>;

/// The sum of a chore's steps.
#[derive(Debug, Default)]
pub struct Report {
    passed: u64,
    failed: u64,
    failures: Vec<String>,
    tested: bool,
}

impl Report {
    /// Begins a part of the output that a reader can find again.
    pub fn section(&self, title: &str) {
        println!("\n━━ {title}");
    }

    /// Notes that `step` failed, and goes on.
    pub fn fail(&mut self, step: &str, error: &str) {
        eprintln!("✗ {step}: {error}");
        self.failures.push(format!("{step}: {error}"));
    }

    /// Runs a command whose exit status is its result.
    pub fn step(&mut self, title: &str, command: &mut Command) {
        self.section(title);
        if let Err(error) = checked(command) {
            self.fail(title, &error);
        }
    }

    /// Runs a `cargo test`, echoing it and counting its results.
    pub fn test(&mut self, title: &str, command: &mut Command) {
        self.section(title);
        self.tested = true;
        match self.count(command) {
            Ok((status, failed)) if !status => {
                // A binary that crashed, or did not build, counts no failure itself.
                self.failed += u64::from(failed == 0);
                self.fail(title, &format!("{} did not pass", shown(command)));
            }
            Ok(_) => {}
            Err(error) => {
                self.failed += 1;
                self.fail(title, &error);
            }
        }
    }

    fn count(&mut self, command: &mut Command) -> Outcome<(bool, u64)> {
        println!("$ {}", shown(command));
        let child = command.stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| not_started(command, &error))?;
        let output = child
            .stdout
            .take()
            .ok_or("the test's output was not piped")?;
        let mut failed_here = 0;
        for line in BufReader::new(output).split(b'\n') {
            let line = line.map_err(|error| format!("reading the test's output: {error}"))?;
            let mut stdout = std::io::stdout().lock();
            let echoed = stdout
                .write_all(&line)
                .and_then(|()| stdout.write_all(b"\n"));
            echoed.map_err(|error| format!("writing the test's output: {error}"))?;
            if let Some((passed, failed)) = test_result(&String::from_utf8_lossy(&line)) {
                self.passed += passed;
                self.failed += failed;
                failed_here += failed;
            }
        }
        let status = child
            .wait()
            .map_err(|error| format!("waiting for the test: {error}"))?;
        Ok((status.success(), failed_here))
    }

    /// Prints the sum and returns the exit code. A test chore that ran no test
    /// has failed.
    pub fn close(mut self) -> ExitCode {
        if self.tested && self.passed == 0 {
            self.fail("tests", "no test passed, so nothing was tested");
        }
        for failure in &self.failures {
            eprintln!("failed: {failure}");
        }
        if self.tested {
            println!("\n{} passed, {} failed", self.passed, self.failed);
        }
        ExitCode::from(u8::from(!self.failures.is_empty() || self.failed > 0))
    }
}

/// Runs a command to its end, its output shown.
pub fn checked(command: &mut Command) -> Outcome {
    println!("$ {}", shown(command));
    let status = command
        .status()
        .map_err(|error| not_started(command, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{} ended with {status}", shown(command)))
    }
}

/// Runs a command to its end and returns what it wrote to standard output.
pub fn output(command: &mut Command) -> Outcome<String> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| not_started(command, &error))?;
    if !output.status.success() {
        return Err(format!("{} ended with {}", shown(command), output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{}: {error}", shown(command)))
}

fn not_started(command: &Command, error: &std::io::Error) -> String {
    format!("{} could not be started: {error}", shown(command))
}

/// The command as a person would type it, with the variables set for it.
fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    for (key, value) in command.get_envs() {
        // Where this machine keeps its files says nothing about the step.
        if let (Some(value), false) = (value, key == "EVERPROF_GO" || key == "CARGO_TARGET_DIR") {
            words.push(format!(
                "{}={:?}",
                key.to_string_lossy(),
                value.to_string_lossy()
            ));
        }
    }
    let program = std::path::Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    words.push(program.to_string_lossy().into_owned());
    words.extend(
        command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

/// Passed and failed of libtest's closing line.
fn test_result(line: &str) -> Option<(u64, u64)> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut numbers = counts.split("; ").filter_map(|count| count.split_once(' '));
    let passed = numbers
        .next()
        .filter(|(_, what)| *what == "passed")?
        .0
        .parse()
        .ok()?;
    let failed = numbers
        .next()
        .filter(|(_, what)| *what == "failed")?
        .0
        .parse()
        .ok()?;
    Some((passed, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_line_of_a_test_binary_is_counted() {
        let line = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s";
        assert_eq!(test_result(line), Some((12, 0)));
        let line = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s";
        assert_eq!(test_result(line), Some((3, 2)));
    }

    #[test]
    fn other_lines_are_not_counted() {
        for line in [
            "test a ... ok",
            "",
            "running 3 tests",
            " test result: ok. 1 passed; 0 failed",
        ] {
            assert_eq!(test_result(line), None, "{line}");
        }
    }

    #[test]
    fn chore_whose_tests_ran_nothing_fails() {
        let report = Report {
            tested: true,
            ..Report::default()
        };
        assert_eq!(
            format!("{:?}", report.close()),
            format!("{:?}", ExitCode::from(1))
        );
    }

    #[test]
    fn test_command_that_prints_no_result_counts_as_failed() {
        let mut report = Report::default();
        report.test("false", &mut Command::new("false"));
        assert_eq!((report.passed, report.failed), (0, 1));
    }

    #[test]
    fn command_is_shown_with_its_variables_but_not_its_folder() {
        let mut command = Command::new("/usr/bin/cargo");
        command
            .arg("test")
            .env("RUSTFLAGS", "--cfg x")
            .env("CARGO_TARGET_DIR", "/elsewhere");
        assert_eq!(shown(&command), "RUSTFLAGS=\"--cfg x\" cargo test");
    }
}
