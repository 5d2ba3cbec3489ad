//! What runs inside the program besides: the endpoint, when `--http` asks for it, and the
//! writing of dumps, when `EVERPROF` does.
//!
//! Context: cold. Invariant: these threads are everprof's own: left out of the
//! profiles, and with every signal blocked, so that no handler of the
//! program's runs on a thread that the program does not know.

use std::mem::forget;

use everprof_core::global;

use crate::start::{self, Run};

/// Starts what this process was asked for.
pub(crate) fn begin() {
    let Some(run) = start::run().filter(|_| start::is_recording()) else {
        return;
    };
    if run.http.is_none() && run.dump.is_none() {
        return;
    }
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
    global::exclude_this_thread(false);
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
