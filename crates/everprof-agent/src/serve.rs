//! What runs inside the program besides: the endpoint, when `--http` asks for it, the
//! writing of dumps, when `EVERPROF` does, and that of a trace, when `--trace` does.
//!
//! Context: cold. Invariant: these threads are everprof's own: left out of the
//! profiles, and with every signal blocked, so that no handler of the
//! program's runs on a thread that the program does not know.

use std::fs::File;
use std::io;
use std::mem::forget;
use std::os::unix::process::parent_id;
use std::path::Path;

use everprof::trace;
use everprof_core::global;

use crate::last;
use crate::start::{self, Run};

/// Starts what this process was asked for.
pub(crate) fn begin() {
    let Some(run) = start::run().filter(|_| start::is_recording()) else {
        return;
    };
    if run.http.is_none() && run.dump.is_none() && run.trace.is_none() {
        return;
    }
    last::has_own_threads();
    // What the C library allocates for these threads is not the program's.
    global::exclude_this_thread(true);
    if let Some(address) = &run.http {
        serve(run, address);
    }
    if let Some(dump) = &run.dump
        && let Err(error) = everprof::dump_at_signal(dump)
    {
        run.socket.complain(&format!(
            "no dump at signal {}: {error}; the program runs on without",
            dump.signal
        ));
    }
    if let Some(path) = &run.trace {
        trace(run, path);
    }
    global::exclude_this_thread(false);
}

/// Writes a trace for as long as the process lives.
fn trace(run: &Run, path: &Path) {
    let begun = trace_file(run, path)
        .map_err(|error| error.to_string())
        .and_then(|file| {
            let begun = trace::Options::new().start_unmarked(file, path);
            begun.map_err(|error| error.to_string())
        });
    match begun {
        // Dropping it would end it.
        Ok(trace) => forget(trace),
        Err(error) => run.socket.complain(&format!(
            "--trace {}: {error}; the program runs on without",
            path.display()
        )),
    }
}

/// `path` is the program's own; a process that it starts has a file beside it.
///
/// The program is what the command line started, and what that replaces itself by: its number
/// and its parent stay. What an earlier image wrote is cut, as its profile is.
fn trace_file(run: &Run, path: &Path) -> io::Result<File> {
    // A pipe or a device takes what comes, and has nothing beside it.
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        return File::options().write(true).open(path);
    }
    // Without `children` no other process has the library awake.
    if !run.children || parent_id() == run.runner {
        File::create(path)
    } else {
        File::create(trace::beside(path))
    }
}

fn serve(run: &Run, address: &str) {
    match everprof::serve(address) {
        Ok(server) => {
            let at = server.address();
            let scheme = if at.starts_with("unix:") {
                ""
            } else {
                "http://"
            };
            run.socket
                .inform(&format!("serving {scheme}{at}/debug/pprof/"));
            // Dropping it would stop the server; it ends with the process.
            forget(server);
        }
        Err(error) => {
            run.socket.complain(&format!(
                "--http {address}: {error}; the program runs on without"
            ));
        }
    }
}
