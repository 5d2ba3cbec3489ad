//! A managed heap's cycle beside Go's.

use std::fmt::Write as _;
use std::process::Command;

use super::{Bench, Result};

impl Bench {
    /// `next_cycle` and `flush` with 100,000 stacks.
    pub(super) fn managed(&self) -> Result<String> {
        let output = Command::new(env!("CARGO"))
            .args(["bench", "--quiet", "-p", "everprof", "--bench", "managed"])
            .current_dir(&self.root)
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let figure = |of: &str, behind: &str| {
            let line = text
                .lines()
                .find(|line| line.starts_with(of) && line.ends_with(behind));
            let words = line.and_then(|line| line.split("median ").nth(1));
            let word = words.and_then(|words| words.split_whitespace().next());
            word.ok_or_else(|| format!("the bench `managed` tells no {of}: {text}"))
        };
        let mut table = String::from(
            "100,000 stacks, all of which have allocated and freed in the cycle; medians.\n\n\
             | | next cycle, right behind the allocations | again, behind a flush | flush |\n\
             |---|---|---|---|\n",
        );
        writeln!(
            table,
            "| **`everprof::heap::Managed`** | {} | {} | {} |",
            figure("next_cycle", "allocations")?,
            figure("next_cycle", "flush")?,
            figure("flush", "")?
        )?;
        if let Some(go) = self.go_program()? {
            let text = go.with(&["managed"]).output()?;
            let (cycle, flush) = text
                .trim()
                .split_once(' ')
                .ok_or("Go's cycle: no figures")?;
            let flush_ms = flush.parse::<f64>()? / 1e6;
            writeln!(
                table,
                "| Go `mProf_NextCycle`, `mProf_Flush` | {cycle}ns | – | {flush_ms:.1}ms |"
            )?;
        }
        Ok(table)
    }
}
