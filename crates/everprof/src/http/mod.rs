//! The endpoint: `/debug/pprof/`, as Go's programs have it.
//!
//! Context: cold; ordinary Rust on threads of its own, which are left out of
//! the profiles.
//! Invariant: any bytes are answered or refused; none makes this panic.
//!
//! ```text
//! listener ─→ server ─→ crew      a connection, and the thread that answers it
//!               │ wire            bytes become a Request
//!               │ guard           may this client ask?
//!               │ route           which profile, and what of it? (query, index, symbol)
//!               │   capture       one answer for all who ask the same meanwhile
//!               │     profile.rs  the profile of that name; `assemble` makes it
//!               └ wire            the Response becomes bytes
//! ```
//!
//! Only `server`, with `listener` and `stream`, knows sockets, and only `crew` threads:
//! everything else is a function of its arguments.
//!
//! Source: the paths, parameters, status codes, headers and error texts are
//! those of Go's net/http/pprof.

mod capture;
mod crew;
mod guard;
mod index;
mod listener;
mod query;
mod route;
mod server;
mod stream;
mod symbol;
mod wire;

use std::borrow::Cow;
use std::sync::OnceLock;

#[cfg(feature = "environment")]
pub(crate) use server::told_server;
pub use server::{Options, Server, serve, serve_insecurely};
#[cfg(feature = "axum")]
pub(crate) use wire::MOST_BODY_BYTES;

use crate::start;
use route::Endpoint;

/// What is asked of the endpoint, whatever brought it here.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Request {
    /// `GET`, `HEAD` or `POST`; another is answered with 405.
    pub method: String,
    /// Path and query as sent, such as `/debug/pprof/heap?debug=1`.
    pub target: String,
    /// The body of a `POST`.
    pub body: Vec<u8>,
}

impl Request {
    /// `method` is that of HTTP; `target` the path with its query.
    pub fn new(method: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            target: target.into(),
            body: Vec::new(),
        }
    }

    /// A `GET` of `target`.
    pub fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    /// Reads a request as it stands on the wire, head and body, within the bounds
    /// of the server.
    ///
    /// # Errors
    ///
    /// The answer that whoever sent these bytes is to have.
    pub fn parse(bytes: &[u8]) -> Result<Self, Response> {
        match wire::read(&mut wire::Replay(bytes)) {
            Ok(incoming) => Ok(incoming.request),
            Err(wire::Refused::With(response)) => Err(response),
            Err(wire::Refused::Silently) => Err(Response::error(400, "malformed request: empty")),
        }
    }

    /// With this body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// Status code of HTTP.
    pub status: u16,
    /// Header fields, without `Content-Length`.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body; empty in the answer to a `HEAD`.
    pub body: Vec<u8>,
    /// Length of the body, also where it was left out.
    pub content_length: usize,
}

/// Answers a request to `/debug/pprof/…`.
///
/// For programs that serve HTTP already and want the profiles among their own
/// pages: who may ask is then theirs to decide. It blocks while it works (and
/// for N seconds where `seconds=N` is asked), so call it where blocking is
/// allowed.
///
/// ```
/// use everprof::{Request, handle};
///
/// let answer = handle(&Request::get("/debug/pprof/cmdline"));
/// assert_eq!(answer.status, 200);
/// ```
pub fn handle(request: &Request) -> Response {
    let _left_out = start::LeftOut::new();
    endpoint().handle(request, &route::Patience::unlimited())
}

/// What a request is answered that does not show the token of `EVERPROF`, where
/// there is one.
#[cfg(feature = "axum")]
pub(crate) fn told_token_refuses(authorization: Option<&str>) -> Option<Response> {
    let token = guard::Token::new(crate::config::told().token.as_ref()?);
    (!token.is_shown_by(authorization)).then(unauthorized)
}

fn unauthorized() -> Response {
    Response::error(401, "expected the header Authorization: Bearer <token>")
        .with("WWW-Authenticate", "Bearer")
}

/// The process's own endpoint. One, so that all doors to it share captures.
fn endpoint() -> &'static Endpoint {
    static ENDPOINT: OnceLock<Endpoint> = OnceLock::new();
    ENDPOINT.get_or_init(|| Endpoint::new(crate::profile::handles))
}

impl Response {
    pub(crate) fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            status,
            headers: vec![
                ("Content-Type", Cow::Borrowed(content_type)),
                ("X-Content-Type-Options", Cow::Borrowed("nosniff")),
            ],
            content_length: body.len(),
            body,
        }
    }

    pub(crate) fn text(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// An error that Go's pprof tool shows to its user: it does so only where
    /// the header `X-Go-Pprof` is set.
    pub(crate) fn error(status: u16, message: &str) -> Self {
        Self::text(status, format!("{message}\n")).with("X-Go-Pprof", "1")
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn without_body(mut self) -> Self {
        self.body = Vec::new();
        self
    }

    /// The value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_ref())
    }
}
