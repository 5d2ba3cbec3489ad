//! What the library inside the profiled processes hands over: memory and words.
//!
//! A thread receives from the socket that the library is told of. Each
//! connection carries one message, described in the library's `announce`
//! module. Memory that arrives is kept open here, so it outlives its process;
//! once that has ended (its pid descriptor says so) the sink gets it.
//!
//! [`Inbox::close`] first takes in every message that was sent before it was
//! called: connections stand in the listener's queue in the order they were
//! made.

use std::collections::HashMap;
use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::output::note;

/// The memory of one process: its recorder's tables.
#[derive(Debug)]
pub(crate) struct Arena {
    /// The process, as numbered here.
    pub(crate) pid: u32,
    /// Its executable, as it named it itself.
    pub(crate) executable: PathBuf,
    /// The memory.
    pub(crate) memory: File,
    /// How often this process had replaced itself (`exec`) before.
    pub(crate) earlier_images: u32,
}

/// Where things go as they arrive.
pub(crate) trait Sink: Send + 'static {
    /// A process has ended, or the inbox is closed before it has.
    fn ended(&mut self, arena: Arena);
    /// Words for the user; `failed`: about something that could not be done.
    fn say(&mut self, text: &str, failed: bool) {
        let _ = failed;
        note(text);
    }
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Inbox<S> {
    name: String,
    thread: JoinHandle<S>,
    /// Closing it ends the thread.
    stop: OwnedFd,
}

impl<S: Sink> Inbox<S> {
    /// Starts to receive.
    pub(crate) fn open(sink: S) -> io::Result<Self> {
        // Peers are checked by their credentials, so the name need not be
        // secret, only unlike any other.
        let id = std::process::id();
        let mut attempt = 0_u32;
        let (name, listener) = loop {
            let name = format!("everprof-run-{id}-{attempt}");
            match UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?) {
                Ok(listener) => break (name, listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < 100 => {
                    attempt += 1
                }
                Err(error) => return Err(error),
            }
        };
        listener.set_nonblocking(true)?;
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let thread = thread::Builder::new()
            .name("everprof-inbox".to_owned())
            .spawn(move || {
                Receiver {
                    listener,
                    stopped,
                    sink,
                    known: HashMap::new(),
                }
                .run()
            })?;
        Ok(Self { name, thread, stop })
    }

    /// The socket's name in the abstract namespace.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Takes in what was sent up to now, and gives the sink back.
    pub(crate) fn close(self) -> Option<S> {
        drop(self.stop);
        self.thread.join().ok()
    }
}

/// Processes whose memory is held at once. Each takes two descriptors, and
/// the usual limit is 1,024 of them.
const MOST_PROCESSES: usize = 480;

/// Longest message: a kind and a path or text; the library sends at most 2,048 bytes.
const LONGEST: usize = 4096;

struct Receiver<S> {
    listener: UnixListener,
    stopped: OwnedFd,
    sink: S,
    known: HashMap<u32, Process>,
}

struct Process {
    arena: Arena,
    /// Readable once the process has ended; absent before Linux 5.3.
    end: Option<OwnedFd>,
}

impl<S: Sink> Receiver<S> {
    fn run(mut self) -> S {
        while !self.wait() {
            self.accept_all();
        }
        self.accept_all();
        for (_, process) in self.known.drain() {
            self.sink.ended(process.arena);
        }
        self.sink
    }

    /// Waits for a connection or an end. True: the inbox is to be closed.
    fn wait(&mut self) -> bool {
        let ends: Vec<(u32, BorrowedFd<'_>)> = self
            .known
            .iter()
            .filter_map(|(pid, process)| Some((*pid, process.end.as_ref()?.as_fd())))
            .collect();
        let mut fds = vec![
            PollFd::new(&self.stopped, PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        fds.extend(ends.iter().map(|(_, end)| PollFd::new(end, PollFlags::IN)));
        if poll(&mut fds, None).is_err() {
            return false;
        }
        let stop = !fds[0].revents().is_empty();
        let ended: Vec<u32> = ends
            .iter()
            .zip(&fds[2..])
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|((pid, _), _)| *pid)
            .collect();
        for pid in ended {
            if let Some(process) = self.known.remove(&pid) {
                self.sink.ended(process.arena);
            }
        }
        stop
    }

    fn accept_all(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            // A peer that breaks off or is not ours is no reason to stop.
            if let Err(error) = self.receive(&stream) {
                self.sink.say(
                    &format!("a process sent something unreadable: {error}"),
                    true,
                );
            }
        }
    }

    fn receive(&mut self, stream: &UnixStream) -> io::Result<()> {
        let peer = rustix::net::sockopt::socket_peercred(stream)?;
        if peer.uid != rustix::process::geteuid() {
            return Ok(());
        }
        // A process that was stopped between connecting and sending.
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let (message, mut fds) = receive_message(stream)?;
        match message.split_first() {
            Some((b'A', path)) if !fds.is_empty() => {
                use std::os::unix::ffi::OsStringExt;
                let executable = std::ffi::OsString::from_vec(path.to_vec()).into();
                let end = (fds.len() > 1).then(|| fds.swap_remove(1));
                let memory = File::from(fds.swap_remove(0));
                let pid = peer.pid.as_raw_nonzero().get().unsigned_abs();
                self.keep(
                    Arena {
                        pid,
                        executable,
                        memory,
                        earlier_images: 0,
                    },
                    end,
                );
            }
            Some((b'I', text)) => self.sink.say(&String::from_utf8_lossy(text), false),
            Some((b'E', text)) => self.sink.say(&String::from_utf8_lossy(text), true),
            // Nothing: the process died between connecting and sending.
            _ => {}
        }
        Ok(())
    }

    fn keep(&mut self, mut arena: Arena, end: Option<OwnedFd>) {
        if self.known.len() >= MOST_PROCESSES {
            self.sink.say(
                &format!(
                    "process {} is not profiled: {MOST_PROCESSES} are already running",
                    arena.pid
                ),
                true,
            );
            return;
        }
        // The same process again: it replaced itself, and its old memory is gone with all
        // that it held.
        if let Some(before) = self.known.remove(&arena.pid) {
            arena.earlier_images = before.arena.earlier_images + 1;
        }
        self.known.insert(arena.pid, Process { arena, end });
    }
}

/// Reads one message with its descriptors, to the end of the connection.
fn receive_message(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    // A socket with a timeout is interrupted even by signals that restart other calls.
    let received = rustix::io::retry_on_intr(|| {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    bytes.truncate(received.bytes);
    Ok((bytes, fds))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::io::IoSlice;

    #[derive(Default)]
    struct Kept {
        arenas: Vec<Arena>,
        words: Vec<(String, bool)>,
    }

    impl Sink for Kept {
        fn ended(&mut self, arena: Arena) {
            self.arenas.push(arena);
        }
        fn say(&mut self, text: &str, failed: bool) {
            self.words.push((text.to_owned(), failed));
        }
    }

    fn send(inbox: &Inbox<Kept>, message: &[u8], file: Option<&File>) {
        let address = SocketAddr::from_abstract_name(inbox.name()).unwrap();
        let stream = UnixStream::connect_addr(&address).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd<'_>> = file.iter().map(|file| file.as_fd()).collect();
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        }
        sendmsg(
            &stream,
            &[IoSlice::new(message)],
            &mut control,
            SendFlags::empty(),
        )
        .unwrap();
    }

    #[test]
    fn what_was_sent_before_closing_has_all_arrived() {
        let inbox = Inbox::open(Kept::default()).unwrap();
        for number in 0..50 {
            send(&inbox, format!("I{number}").as_bytes(), None);
        }
        send(&inbox, b"Ebusy", None);
        let kept = inbox.close().unwrap();
        assert_eq!(kept.words.len(), 51);
        assert_eq!(kept.words[50], ("busy".to_owned(), true));
    }

    #[test]
    fn the_last_image_of_a_process_is_the_one_that_is_kept() {
        let inbox = Inbox::open(Kept::default()).unwrap();
        let memory = tempfile::tempfile().unwrap();
        send(&inbox, b"A/bin/first", Some(&memory));
        send(&inbox, b"A/bin/second", Some(&memory));
        let kept = inbox.close().unwrap();
        assert_eq!(kept.arenas.len(), 1);
        assert_eq!(kept.arenas[0].executable, PathBuf::from("/bin/second"));
        assert_eq!(kept.arenas[0].earlier_images, 1);
        assert_eq!(kept.arenas[0].pid, std::process::id());
    }

    #[test]
    fn empty_and_unknown_messages_do_no_harm() {
        let inbox = Inbox::open(Kept::default()).unwrap();
        let address = SocketAddr::from_abstract_name(inbox.name()).unwrap();
        drop(UnixStream::connect_addr(&address).unwrap());
        send(&inbox, b"A/no/descriptor", None);
        send(&inbox, b"?", None);
        send(&inbox, b"Istill here", None);
        let kept = inbox.close().unwrap();
        assert!(kept.arenas.is_empty());
        assert_eq!(kept.words, [("still here".to_owned(), false)]);
    }
}
