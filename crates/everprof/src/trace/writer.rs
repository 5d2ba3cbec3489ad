//! The thread that writes a trace.
//!
//! ```text
//! starter ── session, head, sink ─→ thread: look at the buffers, write, sleep … ─→ outcome
//!    └──── stop, or the process's end ────────────────────────↑
//! ```
//!
//! Context: cold. Invariant: the thread ends by itself when it is told to, or when it cannot
//! write; then nothing is recorded any more. Nobody waits for it without end but
//! [`Writing::stop`], which the program calls. A file has its head when [`Writing::begin`]
//! returns, so that it can be read whatever becomes of the program.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, process};

use everprof_core::global;
use everprof_core::trace::{Asker, StartError};

use super::output::Output;
use super::{Format, Opened, Options, Summary, at_exit};
use crate::assemble::{Blocks, Head};
use crate::error::{Error, Kind};
use crate::start::{self, LeftOut};

/// A trace as whoever started it sees it.
#[derive(Debug)]
pub(super) struct Writing {
    asker: Asker<'static>,
    outcome: Arc<Mutex<Option<Result<Summary, Error>>>>,
    /// None when it has been waited for.
    thread: Option<JoinHandle<()>>,
    /// A fork's child has a copy of this, and no thread.
    process: u32,
}

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
        open: impl FnOnce() -> Result<Opened, Error>,
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
        let began = Instant::now();
        let asker = session.asker();
        let head = Head::new(&session);
        // Only now: the file of a trace that is being taken must not be cut, and none be
        // there without its head.
        let opened = open()?;
        let takes_at_once = opened.takes_at_once;
        let mut writer = Writer {
            sink: Output::new(format, opened.sink),
            bytes: 0,
        };
        if takes_at_once {
            let put = writer.put(&head.bytes).and_then(|()| writer.sink.pause());
            put.map_err(|error| {
                Error::new(Kind::Io, format!("cannot trace to `{name}`: {error}")).caused_by(error)
            })?;
        }
        let outcome = Arc::new(Mutex::new(None));
        let tells = Arc::clone(&outcome);
        let thread = start::spawn("everprof-trace", move || {
            session.is_written_here();
            let mut blocks = Blocks::new(session, &head, gc_stacks);
            let head = (!takes_at_once).then_some(&*head.bytes);
            let outcome = writer.write(&mut blocks, head, began);
            if let Err(error) = &outcome {
                start::complain(format!(
                    "everprof: the trace ends here, it cannot be written to `{name}`: {error}"
                ));
            }
            *tells.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            // With `blocks` the session ends, also where the program's sink panics: whoever
            // waits for the end of the trace goes on.
        })
        .map_err(|error| Error::io("cannot start the thread that writes the trace", error))?;
        at_exit::end_in_time();
        Ok(Self {
            asker,
            outcome,
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
        self.asker.ask();
        let _ = thread.join();
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
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

/// What the thread writes to.
struct Writer {
    sink: Output,
    bytes: u64,
}

impl Writer {
    fn put(&mut self, piece: &[u8]) -> io::Result<()> {
        self.sink.write_all(piece)?;
        self.bytes += piece.len() as u64;
        Ok(())
    }

    /// All that the thread does. `head`: what is still to be written before all else.
    fn write(
        mut self,
        blocks: &mut Blocks,
        head: Option<&[u8]>,
        began: Instant,
    ) -> Result<Summary, Error> {
        let outcome = head.map_or(Ok(()), |head| self.put(head));
        let outcome = outcome.and_then(|()| self.follow(blocks));
        // Before whoever waits is told: nothing of a trace that cannot be written is recorded.
        let _ = blocks.end();
        let bytes = self.bytes;
        let outcome = outcome.and_then(|()| self.sink.finish());
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

    fn follow(&mut self, blocks: &mut Blocks) -> io::Result<()> {
        let mut looked = Instant::now();
        loop {
            if !blocks.is_on() {
                // Without the end of a whole one.
                blocks.drain(&mut |piece| self.put(piece))?;
                return Err(io::Error::other(
                    "no memory for the marks of objects, so that later events are not in it",
                ));
            }
            if blocks.is_asked_to_end() && blocks.end() {
                return blocks.finish(&mut |piece| self.put(piece));
            }
            let drained = blocks.drain(&mut |piece| self.put(piece))?;
            self.sink.pause()?;
            // At once, where threads found no room: others may have left theirs.
            if drained.lost_without_buffer || looked.elapsed() >= LOOK_AROUND {
                blocks.look_around();
                looked = Instant::now();
            }
            blocks.sleep(if drained.events >= BUSY_EVENTS {
                BUSY
            } else {
                IDLE
            });
        }
    }
}
