//! The endpoint inside the program, when `--http` asks for it.
//!
//! Context: cold. Invariant: the server's threads are everprof's own: left out of the
//! profiles, and with every signal blocked, so that no handler of the
//! program's runs on a thread that the program does not know.

use std::mem::forget;

use everprof_core::global;

use crate::start;

/// Starts the endpoint if this process was asked to serve.
pub(crate) fn begin() {
    let Some(run) = start::run().filter(|_| start::is_recording()) else {
        return;
    };
    let Some(address) = run.http.as_deref() else {
        return;
    };
    // What the C library allocates for the server's thread is not the program's.
    global::exclude_this_thread(true);
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
    global::exclude_this_thread(false);
}
