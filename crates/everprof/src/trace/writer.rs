//! The thread that writes a trace.
//!
//! ```text
//! starter ── session, sink ─→ thread: look at the buffers, write, sleep … ─→ outcome
//!    └──── stop, or the process's exit ────────────────────↑
//! ```
//!
//! Context: cold. Invariant: the thread ends by itself when it is told to, or when it cannot
//! write; then nothing is recorded any more. Nobody waits for it without end but
//! [`Writing::stop`], which the program calls.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};
use std::{io, process};

use everprof_core::global;
use everprof_core::trace::StartError;

use super::output::Output;
use super::{Format, Options, Summary, at_exit};
use crate::assemble::Blocks;
use crate::error::{Error, Kind};
use crate::start::{self, LeftOut};

/// A trace as whoever started it sees it.
#[derive(Debug)]
pub(super) struct Writing {
    told: Arc<Told>,
    /// None when it has been waited for.
    thread: Option<JoinHandle<()>>,
    /// A fork's child has a copy of this, and no thread.
    process: u32,
}

/// What the two sides tell one another.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// To the thread: come to an end. Release, so that what was done before is written.
    stop: AtomicBool,
    /// From the thread: nothing more is written.
    over: AtomicBool,
    outcome: Mutex<Option<Result<Summary, Error>>>,
}

/// The thread's end, also where the program's sink panics.
struct Over(Arc<Told>);

/// How long the thread sleeps when there was much to write, or little: a thread that does
/// nothing but allocate fills the buffers' 48 MiB in some 200 ms.
const BUSY: Duration = Duration::from_millis(1);
const IDLE: Duration = Duration::from_millis(10);
/// What is much: a chunk of a buffer.
const BUSY_EVENTS: u64 = 400;
/// How often it looks which threads have ended.
const LOOK_AROUND: Duration = Duration::from_millis(200);

impl Writing {
    /// Begins to record and to write to what `open` gives.
    pub(super) fn begin(
        options: &Options,
        marks: bool,
        format: Format,
        name: String,
        open: impl FnOnce() -> Result<Box<dyn Write + Send>, Error>,
    ) -> Result<Self, Error> {
        let _left_out = LeftOut::new();
        let (memory_bytes, gc_stacks) = (options.memory_limit, options.gc_stacks);
        let session = global::start_trace(memory_bytes, marks).map_err(|why| match why {
            StartError::Busy => Error::new(
                Kind::Busy,
                format!("cannot trace to `{name}`: a trace is being taken; stop that one first"),
            ),
            StartError::NoMemory => Error::new(
                Kind::Io,
                format!("cannot trace to `{name}`: no {memory_bytes} bytes of memory"),
            ),
        })?;
        // Only now: the file of a trace that is being taken must not be cut.
        let sink = Output::new(format, open()?);
        let told = Arc::new(Told::default());
        let tells = Arc::clone(&told);
        let began = Instant::now();
        let thread = start::spawn("everprof-trace", move || {
            let over = Over(tells);
            let outcome = write(Blocks::new(session, gc_stacks), sink, &over.0, began);
            if let Err(error) = &outcome {
                start::complain(format!(
                    "everprof: the trace ends here, it cannot be written to `{name}`: {error}"
                ));
            }
            let place = &over.0.outcome;
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        })
        .map_err(|error| Error::io("cannot start the thread that writes the trace", error))?;
        at_exit::end_in_time(&told, thread.thread());
        Ok(Self {
            told,
            thread: Some(thread),
            process: process::id(),
        })
    }

    /// Ends the trace, and waits until it is written.
    pub(super) fn stop(&mut self) -> Result<Summary, Error> {
        let Some(thread) = self.thread.take() else {
            return Ok(Summary::default());
        };
        if self.process != process::id() {
            // It is the parent's.
            std::mem::forget(thread);
            return Err(Error::new(
                Kind::Unsupported,
                "the trace is that of the process which forked this one; start another",
            ));
        }
        let _left_out = LeftOut::new();
        self.told.ask(thread.thread());
        let _ = thread.join();
        let mut outcome = self
            .told
            .outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        outcome.take().unwrap_or_else(|| {
            Err(Error::new(
                Kind::Io,
                "the thread that wrote the trace is gone",
            ))
        })
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // What went wrong was said on stderr.
        let _ = self.stop();
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `is_over`.
        self.0.over.store(true, Ordering::Release);
    }
}

impl Told {
    /// Asks the thread to come to an end.
    pub(super) fn ask(&self, thread: &Thread) {
        // Release: pairs with the Acquire in `write`.
        self.stop.store(true, Ordering::Release);
        thread.unpark();
    }

    /// Whether it has.
    pub(super) fn is_over(&self) -> bool {
        // Acquire: pairs with the Release at its end.
        self.over.load(Ordering::Acquire)
    }
}

/// All that the thread does.
fn write(
    mut blocks: Blocks,
    mut sink: Output,
    told: &Told,
    began: Instant,
) -> Result<Summary, Error> {
    let mut bytes = 0;
    let mut put = |piece: &[u8]| -> io::Result<()> {
        sink.write_all(piece)?;
        bytes += piece.len() as u64;
        Ok(())
    };
    let outcome = follow(&mut blocks, &mut put, told);
    // Before whoever waits is told: nothing of a trace that cannot be written is recorded.
    let _ = blocks.end();
    let outcome = outcome.and_then(|()| sink.finish());
    let (events, lost) = blocks.totals();
    match outcome {
        Ok(()) => Ok(Summary {
            events,
            lost,
            bytes,
            elapsed: began.elapsed(),
        }),
        Err(error) => Err(Error::io(
            "the trace could not be written to its end",
            error,
        )),
    }
}

fn follow(
    blocks: &mut Blocks,
    put: &mut impl FnMut(&[u8]) -> io::Result<()>,
    told: &Told,
) -> io::Result<()> {
    let mut looked = Instant::now();
    loop {
        if !blocks.is_on() {
            // Without the end of a whole one.
            blocks.drain(put)?;
            return Err(io::Error::other(
                "no memory for the marks of objects, so that later events are not in it",
            ));
        }
        // Acquire: pairs with the Release in `ask`.
        if told.stop.load(Ordering::Acquire) && blocks.end() {
            return blocks.finish(put);
        }
        let drained = blocks.drain(put)?;
        // At once, where threads found no room: others may have left theirs.
        if drained.lost_without_buffer || looked.elapsed() >= LOOK_AROUND {
            blocks.look_around();
            looked = Instant::now();
        }
        std::thread::park_timeout(if drained.events >= BUSY_EVENTS {
            BUSY
        } else {
            IDLE
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_that_panics_is_over_for_those_who_wait() {
        let told = Arc::new(Told::default());
        let tells = Arc::clone(&told);
        let thread = std::thread::spawn(move || {
            let _over = Over(tells);
            panic!("as the test wants it");
        });
        assert!(thread.join().is_err() && told.is_over());
    }
}
