//! The socket in front of the endpoint.
//!
//! It is a door into a process, so everything about it is bounded: who may
//! connect, how many at a time, how much they may send, how long they may take.
//!
//! Context: cold; one thread that accepts, and a [`crew`](super::crew) that answers. They block
//! every signal, so that no handler of the program runs on them and a program
//! that waits for signals by `sigwait` still gets them.
//! Invariant: the thread that accepts ends when the server is dropped.

use std::fs;
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::crew::{Crew, Place};
use super::guard::{Hosts, Token};
use super::listener::{Listener, cannot_listen};
use super::route::Patience;
use super::stream::{Stream, Timed, drain};
use super::{Response, endpoint, unauthorized, wire};
use crate::config::{self, Http, VARIABLE};
use crate::error::Error;
use crate::{dump, start};

/// Time a client has to send its request.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Time a client has to take the answer in.
const RESPONSE_TIME: Duration = Duration::from_secs(60);

/// The longest `seconds=`: a capture holds a connection and a place among the
/// captures all that time.
const LONGEST_CAPTURE: Duration = Duration::from_secs(600);

/// Serves the profiles under `/debug/pprof/` on an address of this machine,
/// until the [`Server`] is dropped.
///
/// `address` is `127.0.0.1:6060`, `[::1]:6060`, `localhost:6060`, or
/// `unix:/path/to/socket`; port 0 takes a free one, [`Server::address`] tells
/// which. A socket is made its user's own: mode 0600, less the umask, on Linux from its first
/// moment. `EVERPROF=http=…` stands in for it, and `http=off` serves nothing.
///
/// # Overhead
///
/// One thread that sleeps until somebody connects, and up to two that sleep from then on.
///
/// ```
/// let server = everprof::serve("127.0.0.1:0")?;
/// println!("go tool pprof http://{}/debug/pprof/heap", server.address());
/// # Ok::<(), everprof::Error>(())
/// ```
///
/// # Errors
///
/// Where the address cannot be read, is in use ([`Error::is_busy`]), or can be
/// reached from other machines ([`Error::is_exposed`]).
pub fn serve(address: &str) -> Result<Server, Error> {
    Options::new().listen(address)
}

/// As [`serve`], on an address that other machines may reach.
///
/// Whoever can connect learns the program's command line, its code's layout and
/// what it does; let a firewall or [`Options::token`] decide who that is.
///
/// # Errors
///
/// Where the address cannot be read or is in use.
pub fn serve_insecurely(address: &str) -> Result<Server, Error> {
    Options::new().insecurely().listen(address)
}

/// How to serve, beyond [`serve`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    token: Option<Token>,
    hosts: Hosts,
    request_time: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// Loopback addresses and Unix sockets only, no token.
    pub fn new() -> Self {
        Self {
            token: None,
            hosts: Hosts::default(),
            request_time: REQUEST_TIME,
        }
    }

    /// Answers only requests with the header `Authorization: Bearer <token>`.
    /// `EVERPROF=token=…` stands in for it.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token::new(token));
        self
    }

    /// Answers also requests that name this host. By default only loopback
    /// names and the bound address are answered: a web page could otherwise
    /// read the profiles by letting its own name point here.
    pub fn allow_host(mut self, name: impl Into<String>) -> Self {
        self.hosts.named.push(name.into());
        self
    }

    /// Also addresses that other machines may reach; see [`serve_insecurely`].
    pub fn insecurely(mut self) -> Self {
        self.hosts.any_address = true;
        self
    }

    /// Time a client has to send its request; 10 seconds at first.
    pub fn request_time(mut self, time: Duration) -> Self {
        self.request_time = time;
        self
    }

    /// Serves until the [`Server`] is dropped.
    ///
    /// # Errors
    ///
    /// As [`serve`].
    pub fn listen(self, address: &str) -> Result<Server, Error> {
        // Without the feature `environment` nothing has, before `main`.
        dump::heed();
        let elsewhere = match (&config::told().http, told_server()) {
            (Some(Http::Off), _) => Some("off"),
            (_, Some(server)) => Some(server.address()),
            (_, None) => None,
        };
        if let Some(address) = elsewhere {
            return Ok(Server {
                address: address.to_owned(),
                _running: None,
            });
        }
        self.listen_here(address)
    }

    fn listen_here(mut self, address: &str) -> Result<Server, Error> {
        if let Some(token) = &config::told().token {
            self.token = Some(Token::new(token));
        }
        let listener = Listener::open(address, self.hosts.any_address)?;
        let named = listener.name(address);
        if let Listener::Tcp(listener) = &listener {
            self.hosts.bound = listener.local_addr().ok().map(|bound| bound.ip());
        }
        let door = listener.door().map_err(|e| cannot_listen(address, e))?;
        let crew = Arc::new(Crew::default());
        let pid = std::process::id();
        let socket = match &listener {
            Listener::Unix(_, path) => Some(path.clone()),
            Listener::Tcp(_) => None,
        };
        let accepting = Accepting {
            listener,
            options: Arc::new(self),
            crew: Arc::clone(&crew),
        };
        let thread = start::spawn("everprof-http", move || accepting.run())
            .map_err(|e| Error::io("cannot start the thread of the endpoint", e))?;
        let running = Running {
            crew,
            door,
            socket,
            thread: Some(thread),
            pid,
        };
        Ok(Server {
            address: named,
            _running: Some(running),
        })
    }
}

/// The server that `EVERPROF=http=…` asks for, started when this is first called;
/// it runs until the process ends. None where it asks for none, or cannot have
/// it: that is told once on stderr, and the code decides.
pub(crate) fn told_server() -> Option<&'static Server> {
    static TOLD_SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = TOLD_SERVER.get_or_init(|| {
        let Some(Http::On(address)) = &config::told().http else {
            return None;
        };
        let told = |e| start::complain(format!("{VARIABLE}: `http`: {e}; going on without"));
        Options::new().listen_here(address).map_err(told).ok()
    });
    server.as_ref()
}

/// A running endpoint. Dropped, it stops.
#[derive(Debug)]
#[must_use = "the endpoint stops when this is dropped: keep it in a variable"]
pub struct Server {
    address: String,
    /// Held for its drop; none where another server stands in for this one.
    _running: Option<Running>,
}

impl Server {
    /// Where it listens: `127.0.0.1:6060`, or `unix:/path`; `off` where
    /// `EVERPROF=http=off` forbade it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

#[derive(Debug)]
struct Running {
    crew: Arc<Crew>,
    /// The listening socket once more, to end its `accept` by.
    door: TcpStream,
    socket: Option<PathBuf>,
    thread: Option<JoinHandle<()>>,
    pid: u32,
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a fork the child has the guard, but neither the thread nor the
        // right to close the parent's socket.
        if self.pid != std::process::id() {
            std::mem::forget(self.thread.take());
            return;
        }
        self.crew.dismiss();
        // On Linux this makes `accept` return. Where it does not, the thread stays
        // until one more client connects.
        let ended = self.door.shutdown(Shutdown::Both).is_ok();
        if let Some(path) = &self.socket {
            // Already gone: then there is nothing to clean up.
            let _ = fs::remove_file(path);
        }
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            // It does not panic; had it, the server would be as dead.
            let _ = thread.join();
        }
    }
}

/// The thread that accepts.
struct Accepting {
    listener: Listener,
    options: Arc<Options>,
    crew: Arc<Crew>,
}

impl Accepting {
    fn run(self) {
        while !self.crew.is_dismissed() {
            match self.listener.accept() {
                Ok(stream) if !self.crew.is_dismissed() => self.admit(stream),
                Ok(_) => {}
                // Out of descriptors or memory: give others the time to free some.
                Err(_) => {
                    self.crew.wait(Duration::from_millis(100));
                }
            }
        }
    }

    fn admit(&self, mut stream: Stream) {
        let Some(place) = self.crew.enter() else {
            let busy =
                Response::error(503, "too many connections - try again").with("Retry-After", "1");
            // Fits any socket's buffer; a client that will not even take that is let go.
            let _ = stream.set_write_timeout(Duration::from_millis(100));
            let _ = wire::write(&busy, &mut stream);
            return;
        };
        let options = Arc::clone(&self.options);
        // Without a thread the connection is closed: the client tries again.
        let _ = self.crew.call(move || serve_one(stream, &options, &place));
    }
}

/// One connection, one request.
fn serve_one(stream: Stream, options: &Options, place: &Place) {
    let mut input = Timed {
        stream,
        deadline: Instant::now() + options.request_time,
    };
    let (response, is_drained) = match wire::read(&mut input) {
        Ok(incoming) => (answer(&incoming, &input.stream, options, place), true),
        Err(wire::Refused::With(response)) => (response, false),
        Err(wire::Refused::Silently) => return,
    };
    let mut output = Timed {
        deadline: Instant::now() + RESPONSE_TIME,
        ..input
    };
    // A client that went away wants no answer.
    if wire::write(&response, &mut output).is_ok() && !is_drained {
        drain(output);
    }
}

fn answer(
    incoming: &wire::Incoming,
    stream: &Stream,
    options: &Options,
    place: &Place,
) -> Response {
    // Names cannot be rebound to a Unix socket, so there any Host will do.
    if let (Stream::Tcp(_), Some(host)) = (stream, &incoming.host)
        && !options.hosts.include(host)
    {
        return Response::error(
            421,
            "this Host is not ours - ask by a loopback address, or name it to everprof by \
             Options::allow_host",
        );
    }
    if let Some(token) = &options.token
        && !token.is_shown_by(incoming.authorization.as_deref())
    {
        return unauthorized();
    }
    let wait = |time| place.wait(time);
    endpoint().handle(
        &incoming.request,
        &Patience {
            longest: LONGEST_CAPTURE,
            wait: &wait,
        },
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn addresses_open_to_others_are_refused_by_name() {
        for address in ["0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0"] {
            let error = serve(address).unwrap_err();
            assert!(error.is_exposed(), "{address}: {error}");
            assert!(error.to_string().contains("serve_insecurely"));
        }
    }

    #[test]
    fn what_is_no_address_is_told_so() {
        for address in [
            "",
            "6060",
            "localhost",
            "localhost:http",
            "127.0.0.1:70000",
            "unix:",
        ] {
            let error = serve(address).unwrap_err();
            assert!(error.is_invalid(), "{address}: {error}");
            assert!(error.to_string().contains("HOST:PORT"));
        }
        assert!(serve("unix:/no/such/directory/x").unwrap_err().is_invalid());
    }

    #[test]
    fn a_busy_port_is_named_with_a_remedy() {
        let first = serve("127.0.0.1:0").unwrap();
        let error = serve(first.address()).unwrap_err();
        assert!(error.is_busy());
        assert!(error.to_string().contains(first.address()));
        assert!(error.to_string().contains("choose another port"));
    }

    #[test]
    fn a_dropped_server_frees_its_port() {
        let first = serve("127.0.0.1:0").unwrap();
        let address = first.address().to_owned();
        drop(first);
        assert!(TcpStream::connect(&address).is_err());
        drop(serve(&address).unwrap());
    }
}
