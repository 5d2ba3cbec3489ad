//! Programs to run and compare, and the ratios of what they say.

use std::process::{Command, Stdio};
use std::time::Instant;

use super::Result;

/// A program to run: what is given to [`Command`], so that it can run many times.
#[derive(Clone)]
pub(super) struct Program {
    pub words: Vec<String>,
    pub environment: Vec<(&'static str, String)>,
}

/// What a workload says of itself.
pub(super) struct Figures {
    pub wall_seconds: f64,
    pub cpu_seconds: f64,
    pub peak_kib: f64,
}

/// Median, least and greatest of some ratios.
pub(super) struct Spread(pub [f64; 3]);

/// What pairs of runs say of one ratio: the median of all, the middle half, and the least of
/// one side ÷ the least of the other.
///
/// What else runs on a machine only ever adds time, so that the least of many runs are those
/// that it disturbed least; and one run that it disturbed much is none of the middle half.
/// Medians of seven pairs, by the clock, lay between 0.92 and 1.09 for a program and itself.
pub(super) struct Ratio {
    pub median: f64,
    pub middle_half: [f64; 2],
    pub of_least: f64,
}

impl Program {
    pub fn new(words: &[&str]) -> Self {
        Self {
            words: words.iter().map(|&word| word.to_owned()).collect(),
            environment: Vec::new(),
        }
    }

    pub fn with(&self, arguments: &[&str]) -> Self {
        let mut program = self.clone();
        program
            .words
            .extend(arguments.iter().map(|&word| word.to_owned()));
        program
    }

    /// As an argument of another program.
    pub fn under(&self, words: &[&str]) -> Self {
        self.under_all(
            &words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>(),
        )
    }

    /// The same.
    pub fn under_all(&self, words: &[String]) -> Self {
        let mut program = self.clone();
        program.words.splice(0..0, words.iter().cloned());
        program
    }

    pub fn env(mut self, key: &'static str, value: &str) -> Self {
        self.environment.push((key, value.to_owned()));
        self
    }

    fn command(&self) -> Result<Command> {
        let (first, rest) = self.words.split_first().ok_or("no program")?;
        let mut command = Command::new(first);
        command
            .args(rest)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null());
        Ok(command)
    }

    pub fn output(&self) -> Result<String> {
        let output = self
            .command()?
            .output()
            .map_err(|error| format!("{}: {error}", self.words[0]))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() && !said.contains(NOT_UNDERSTOOD) {
            return Ok(text);
        }
        Err(format!("{}: {}\n{said}", self.words.join(" "), output.status).into())
    }

    /// The line of three numbers among whatever else is printed.
    pub fn figures(&self) -> Result<Figures> {
        let text = self.output()?;
        for line in text.lines() {
            let numbers: Vec<f64> = line
                .split(' ')
                .map_while(|word| word.parse().ok())
                .collect();
            if let [wall_seconds, cpu_seconds, peak_kib] = numbers[..] {
                return Ok(Figures {
                    wall_seconds,
                    cpu_seconds,
                    peak_kib,
                });
            }
        }
        Err(format!("{}: printed no figures:\n{text}", self.words.join(" ")).into())
    }

    pub fn seconds(&self) -> Result<f64> {
        let mut command = self.command()?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let status = command.status()?;
        let seconds = start.elapsed().as_secs_f64();
        if status.success() {
            Ok(seconds)
        } else {
            Err(format!("{}: {status}", self.words.join(" ")).into())
        }
    }

    pub fn instructions(&self) -> Result<f64> {
        let valgrind = self.under(&[
            "valgrind",
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
        ]);
        let output = valgrind
            .command()?
            .output()
            .map_err(|error| format!("valgrind: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let collected = said
            .lines()
            .find_map(|line| line.split_once("Collected : "));
        let count = collected.and_then(|(_, count)| count.trim().parse().ok());
        let count = count.filter(|_| !said.contains(NOT_UNDERSTOOD));
        count.ok_or_else(|| {
            format!(
                "{}: callgrind counted nothing:\n{said}",
                self.words.join(" ")
            )
            .into()
        })
    }
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (Some(&least), Some(&greatest)) = (values.first(), values.last()) else {
            return Self([f64::NAN; 3]);
        };
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self([median, least, greatest])
    }
}

impl Ratio {
    /// Of what both sides of each pair took.
    pub fn of(pairs: &[(f64, f64)]) -> Self {
        let mut ratios: Vec<f64> = pairs.iter().map(|(on, off)| on / off).collect();
        ratios.sort_by(f64::total_cmp);
        let Spread([median, ..]) = Spread::of(ratios.clone());
        let quarter = ratios.len() / 4;
        let at = |index: usize| ratios.get(index).copied().unwrap_or(f64::NAN);
        let least = |side: fn(&(f64, f64)) -> f64| pairs.iter().map(side).fold(f64::NAN, f64::min);
        Self {
            median,
            middle_half: [at(quarter), at(ratios.len().saturating_sub(1 + quarter))],
            of_least: least(|pair| pair.0) / least(|pair| pair.1),
        }
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            median,
            middle_half: [from, to],
            of_least,
        } = self;
        let digits = if *median < 10.0 { 2 } else { 0 };
        write!(
            out,
            "{of_least:.digits$}; {median:.digits$} [{from:.digits$}..{to:.digits$}]"
        )
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self([median, least, greatest]) = self;
        let digits = if *median < 10.0 { 2 } else { 0 };
        write!(
            out,
            "{median:.digits$} [{least:.digits$}..{greatest:.digits$}]"
        )
    }
}

/// What everprof says of a setting that it cannot read. A row that is measured so is of another
/// setting than its name tells.
const NOT_UNDERSTOOD: &str = "; going on without";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn spread_is_the_median_between_the_extremes() {
        assert_eq!(
            Spread::of(vec![3.0, 1.0, 2.0]).to_string(),
            "2.00 [1.00..3.00]"
        );
        assert_eq!(Spread::of(vec![4.0, 1.0]).0, [2.5, 1.0, 4.0]);
        assert_eq!(Spread::of(vec![70.4, 99.6]).to_string(), "85 [70..100]");
    }

    #[test]
    fn ratio_has_the_middle_half_and_is_of_the_least_of_each_side() {
        let pairs = [(1.1, 1.0), (9.0, 1.0), (1.4, 1.0), (1.2, 1.0), (1.3, 4.0)];
        let ratio = Ratio::of(&pairs);
        assert_eq!((ratio.median, ratio.of_least), (1.2, 1.1));
        assert_eq!(ratio.middle_half, [1.1, 1.4]);
        assert_eq!(ratio.to_string(), "1.10; 1.20 [1.10..1.40]");
    }

    #[test]
    fn figures_are_found_among_other_output() {
        let program = Program::new(&["printf", "saved to /dev/null\n0.5 0.4 2048\nbye\n"]);
        let figures = program.figures().unwrap();
        assert_eq!((figures.wall_seconds, figures.peak_kib), (0.5, 2048.0));
        assert!(Program::new(&["echo", "no figures"]).figures().is_err());
    }

    #[test]
    fn program_that_fails_is_an_error_that_names_it() {
        let error = Program::new(&["false"]).output().unwrap_err().to_string();
        assert!(error.starts_with("false: "), "{error}");
        assert!(Program::new(&["no-such-program"]).output().is_err());
    }

    #[test]
    fn setting_that_is_not_understood_is_an_error() {
        let script = "echo 'EVERPROF: `heap=x`: expected a size; going on without' >&2; echo 1 2 3";
        assert!(Program::new(&["sh", "-c", script]).figures().is_err());
    }

    #[test]
    fn program_under_another_is_its_argument_and_keeps_its_variables() {
        let under = Program::new(&["b", "c"]).env("K", "V").under(&["a", "--"]);
        assert_eq!(under.words, ["a", "--", "b", "c"]);
        assert_eq!(under.environment, [("K", "V".to_owned())]);
    }
}
