//! Listener: an address that is listened on, where it may be.
//!
//! Context: cold. Invariant: nothing is opened that another machine can reach, unless
//! that was asked for; a Unix socket is made its user's own.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::stream::Stream;
use crate::error::{Error, Kind};
use crate::start::own_socket;

/// A socket that listens.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    pub(super) fn open(address: &str, exposed: bool) -> Result<Self, Error> {
        match address.strip_prefix("unix:") {
            Some(path) => Self::open_unix(address, Path::new(path)),
            None => Self::open_tcp(address, exposed),
        }
    }

    fn open_tcp(address: &str, exposed: bool) -> Result<Self, Error> {
        let expected = "expected HOST:PORT such as 127.0.0.1:6060, or unix:/path/to/socket";
        let invalid = || {
            Error::new(
                Kind::Invalid,
                format!("cannot listen on `{address}`: {expected}"),
            )
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
        if port.parse::<u16>().is_err() {
            return Err(invalid());
        }
        // As in Go, no host means every address.
        let whole = if host.is_empty() {
            format!("0.0.0.0:{port}")
        } else {
            address.to_owned()
        };
        let found: Vec<SocketAddr> = whole
            .to_socket_addrs()
            .map_err(|e| invalid().caused_by(e))?
            .collect();
        if let Some(open) = found
            .iter()
            .find(|found| !exposed && !is_loopback(found.ip()))
        {
            return Err(Error::new(
                Kind::Exposed,
                format!(
                    "will not listen on `{address}`: other machines could read this program's \
                     profiles at {open}; listen on 127.0.0.1:{port} or unix:/path/to/socket, or \
                     call everprof::serve_insecurely"
                ),
            ));
        }
        if found.is_empty() {
            return Err(invalid());
        }
        TcpListener::bind(&*found)
            .map(Self::Tcp)
            .map_err(|e| cannot_listen(address, e))
    }

    fn open_unix(address: &str, path: &Path) -> Result<Self, Error> {
        let listener = match own_socket::listen(path) {
            // A socket that nobody listens on was left by a program that was killed.
            Err(e) if e.kind() == ErrorKind::AddrInUse && is_left_behind(path) => {
                fs::remove_file(path).and_then(|()| own_socket::listen(path))
            }
            other => other,
        };
        let listener = listener.map_err(|e| cannot_listen(address, e))?;
        Ok(Self::Unix(listener, path.to_owned()))
    }

    pub(super) fn name(&self, asked: &str) -> String {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| asked.to_owned(), |bound| bound.to_string()),
            Self::Unix(..) => asked.to_owned(),
        }
    }

    /// The same socket under another descriptor, as something that can be shut
    /// down: std offers that for streams only, the kernel for both.
    pub(super) fn door(&self) -> io::Result<TcpStream> {
        let descriptor: OwnedFd = match self {
            Self::Tcp(listener) => listener.try_clone()?.into(),
            Self::Unix(listener, _) => listener.try_clone()?.into(),
        };
        Ok(descriptor.into())
    }

    pub(super) fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(listener, _) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn is_left_behind(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let answers = UnixStream::connect(path);
    is_socket && answers.is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
}

/// What went wrong with an address, and what to do about it.
pub(super) fn cannot_listen(address: &str, source: io::Error) -> Error {
    let (kind, remedy) = match source.kind() {
        ErrorKind::AddrInUse if address.starts_with("unix:") => (
            Kind::Busy,
            "another program listens there; choose another path",
        ),
        ErrorKind::AddrInUse => (
            Kind::Busy,
            "choose another port, or port 0 for any that is free",
        ),
        ErrorKind::AddrNotAvailable => (Kind::Invalid, "this machine has no such address"),
        ErrorKind::PermissionDenied => (
            Kind::Io,
            "choose a port above 1023, or a path that this program may write",
        ),
        ErrorKind::NotFound => (Kind::Invalid, "its directory must exist"),
        ErrorKind::InvalidInput => (
            Kind::Invalid,
            "expected HOST:PORT such as 127.0.0.1:6060, or unix:/path/to/socket of at most 107 bytes",
        ),
        _ => (
            Kind::Io,
            "expected HOST:PORT such as 127.0.0.1:6060, or unix:/path/to/socket",
        ),
    };
    Error::new(
        kind,
        format!("cannot listen on `{address}`: {source}; {remedy}"),
    )
    .caused_by(source)
}
