//! This test binary once more, as a process of its own.

use std::env;
use std::process::Command;

/// The one test of this name. The kernel cannot execute a binary of another machine: where an
/// emulator runs the tests, `EVERPROF_TEST_RUNNER` says by which command.
pub fn this_binary(test: &str) -> Command {
    let own = env::current_exe().unwrap();
    let mut command = match env::var("EVERPROF_TEST_RUNNER") {
        Ok(runner) => {
            let mut words = runner.split(' ');
            let mut command = Command::new(words.next().unwrap());
            command.args(words).arg(own);
            command
        }
        Err(_) => Command::new(own),
    };
    command.args(["--exact", test]);
    command
}
