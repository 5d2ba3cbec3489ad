//! A request out of bytes, bytes out of a response.
//!
//! Context: cold. Invariant: any bytes are a request, an answer that refuses
//! them, or silence; none makes this panic, and what is kept of them is bounded.
//! Source: HTTP/1.1 (RFC 9112); one request a connection.

use std::io::{self, ErrorKind, Read, Write};

use super::{Request, Response};

/// Bytes of the request line and headers. Go's own limit is 1 MiB; no tool that
/// reads profiles sends more than a few hundred bytes.
pub(super) const MOST_HEADER_BYTES: usize = 16 << 10;

/// Bytes of a body: the addresses that `symbol` is asked for, 18 each.
pub(crate) const MOST_BODY_BYTES: usize = 1 << 20;

/// Fields of a head. Browsers send some twenty; they lie on the stack.
const MOST_HEADERS: usize = 64;

/// A request, and what decides whether it is admitted.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) request: Request,
    /// The Host header, or the authority where the target is absolute.
    pub(super) host: Option<String>,
    pub(super) authorization: Option<String>,
}

/// Why there is no request.
#[derive(Debug)]
pub(super) enum Refused {
    /// The peer went away, or sent nothing: there is nobody to answer.
    Silently,
    With(Response),
}

fn refuse<T>(status: u16, why: &str) -> Result<T, Refused> {
    Err(Refused::With(Response::error(status, why)))
}

/// Reads one request. `stream` is expected to say `TimedOut` or `WouldBlock`
/// when the time of the whole request is over.
pub(super) fn read(stream: &mut (impl Read + Write)) -> Result<Incoming, Refused> {
    let mut bytes = Vec::with_capacity(1024);
    let body_at = read_header(stream, &mut bytes)?;
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(&bytes[..body_at]) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => {
            return refuse(400, "malformed request: incomplete header");
        }
        Err(e) => return refuse(400, &format!("malformed request: {e}")),
    }
    let header = Header::read(&parsed)?;
    let body = read_body(stream, &header, &bytes[body_at..])?;
    Ok(Incoming {
        request: Request {
            method: header.method,
            target: header.target,
            body,
        },
        host: header.host,
        authorization: header.authorization,
    })
}

/// A peer that has said all it will, and hears nothing.
pub(super) struct Replay<'a>(pub(super) &'a [u8]);

impl Read for Replay<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Write for Replay<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads up to the empty line; returns where the body begins in `bytes`.
fn read_header(stream: &mut impl Read, bytes: &mut Vec<u8>) -> Result<usize, Refused> {
    let mut chunk = [0; 2048];
    loop {
        let searched = bytes.len().saturating_sub(3);
        let read = match stream.read(&mut chunk) {
            Ok(0) if bytes.is_empty() => return Err(Refused::Silently),
            Ok(0) => return refuse(400, "malformed request: it ends within its header"),
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(gave_up(&e)),
        };
        bytes.extend_from_slice(&chunk[..read]);
        if let Some(end) = end_of_header(&bytes[searched..]) {
            if searched + end <= MOST_HEADER_BYTES {
                return Ok(searched + end);
            }
        } else if bytes.len() <= MOST_HEADER_BYTES {
            continue;
        }
        return refuse(
            431,
            &format!("request header is larger than {MOST_HEADER_BYTES} bytes"),
        );
    }
}

fn end_of_header(bytes: &[u8]) -> Option<usize> {
    let line_ends = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at);
    for at in line_ends {
        match bytes.get(at + 1..) {
            Some([b'\n', ..]) => return Some(at + 2),
            Some([b'\r', b'\n', ..]) => return Some(at + 3),
            _ => {}
        }
    }
    None
}

fn gave_up(error: &io::Error) -> Refused {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            Refused::With(Response::error(408, "the request did not arrive in time"))
        }
        _ => Refused::Silently,
    }
}

/// What the header says that matters here.
struct Header {
    method: String,
    target: String,
    host: Option<String>,
    authorization: Option<String>,
    length: usize,
    waits_for_continue: bool,
}

impl Header {
    fn read(parsed: &httparse::Request<'_, '_>) -> Result<Self, Refused> {
        let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
            return refuse(400, "malformed request: no request line");
        };
        let (authority, target) = split_target(target);
        let mut header = Self {
            method: method.to_owned(),
            target: target.to_owned(),
            host: None,
            authorization: None,
            length: 0,
            waits_for_continue: false,
        };
        let mut length = None;
        for field in parsed.headers.iter() {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            let text = || String::from_utf8_lossy(field.value).trim().to_owned();
            if is("host") {
                if header.host.replace(text()).is_some() {
                    return refuse(400, "malformed request: two Host headers");
                }
            } else if is("authorization") {
                header.authorization = Some(text());
            } else if is("expect") {
                header.waits_for_continue = text().eq_ignore_ascii_case("100-continue");
            } else if is("transfer-encoding") {
                return refuse(411, "a body must say its Content-Length");
            } else if is("content-length") {
                // Two that differ are how requests are smuggled past proxies.
                let value = text();
                if length
                    .replace(value.clone())
                    .is_some_and(|before| before != value)
                {
                    return refuse(400, "malformed request: two Content-Length headers");
                }
            }
        }
        if let Some(length) = length {
            let digits = length.bytes().all(|b| b.is_ascii_digit()) && !length.is_empty();
            header.length = match length.parse() {
                Ok(length) if digits => length,
                // Digits that are no number are more than there is memory.
                _ if digits => usize::MAX,
                _ => return refuse(400, "malformed request: Content-Length is no number"),
            };
        }
        if header.host.is_none() && parsed.version == Some(1) {
            return refuse(400, "malformed request: no Host header");
        }
        if let Some(authority) = authority {
            header.host = Some(authority.to_owned());
        }
        Ok(header)
    }
}

/// Splits `http://host/path` as proxies send it; of others all is the path.
fn split_target(target: &str) -> (Option<&str>, &str) {
    let scheme_end = target.find("://").filter(|_| !target.starts_with('/'));
    let Some(rest) = scheme_end.map(|at| &target[at + 3..]) else {
        return (None, target);
    };
    match rest.find(['/', '?']) {
        Some(at) => (Some(&rest[..at]), &rest[at..]),
        None => (Some(rest), "/"),
    }
}

fn read_body(
    stream: &mut (impl Read + Write),
    header: &Header,
    already: &[u8],
) -> Result<Vec<u8>, Refused> {
    if header.length > MOST_BODY_BYTES {
        return refuse(
            413,
            &format!("request body is larger than {MOST_BODY_BYTES} bytes"),
        );
    }
    let mut body = already[..already.len().min(header.length)].to_vec();
    if body.len() < header.length && header.waits_for_continue {
        let go_on = stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .and_then(|()| stream.flush());
        go_on.map_err(|_| Refused::Silently)?;
    }
    let mut chunk = [0; 8192];
    while body.len() < header.length {
        let most = chunk.len().min(header.length - body.len());
        match stream.read(&mut chunk[..most]) {
            Ok(0) => return refuse(400, "malformed request: it ends within its body"),
            Ok(read) => body.extend_from_slice(&chunk[..read]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(gave_up(&e)),
        }
    }
    Ok(body)
}

/// Writes a response; the connection ends with it.
pub(super) fn write(response: &Response, out: &mut impl Write) -> io::Result<()> {
    let mut head = format!(
        "HTTP/1.1 {} {}\r\n",
        response.status,
        reason(response.status)
    );
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!(
        "Content-Length: {}\r\nConnection: close\r\n\r\n",
        response.content_length
    ));
    out.write_all(head.as_bytes())?;
    out.write_all(&response.body)?;
    out.flush()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A peer that sends its bytes in pieces of `step`, then ends or stalls.
    struct Peer<'a> {
        bytes: &'a [u8],
        step: usize,
        stalls: bool,
        received: Vec<u8>,
    }

    impl Read for Peer<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.bytes.is_empty() && self.stalls {
                return Err(ErrorKind::WouldBlock.into());
            }
            let n = self.step.min(out.len()).min(self.bytes.len());
            out[..n].copy_from_slice(&self.bytes[..n]);
            self.bytes = &self.bytes[n..];
            Ok(n)
        }
    }

    impl Write for Peer<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.received.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn peer(bytes: &[u8], step: usize) -> Peer<'_> {
        Peer {
            bytes,
            step,
            stalls: false,
            received: Vec::new(),
        }
    }

    #[track_caller]
    fn status_of(bytes: &[u8]) -> u16 {
        match read(&mut peer(bytes, 4096)) {
            Err(Refused::With(response)) => response.status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_read_however_it_is_cut() {
        let bytes = b"POST /debug/pprof/symbol?x HTTP/1.1\r\nHost: localhost\r\n\
            Authorization: Bearer t\r\nContent-Length: 3\r\n\r\n0x1extra";
        for step in [1, 2, 3, 7, 1000] {
            let incoming = read(&mut peer(bytes, step)).unwrap();
            assert_eq!(incoming.request.method, "POST");
            assert_eq!(incoming.request.target, "/debug/pprof/symbol?x");
            assert_eq!(incoming.request.body, b"0x1");
            assert_eq!(incoming.host.as_deref(), Some("localhost"));
            assert_eq!(incoming.authorization.as_deref(), Some("Bearer t"));
        }
    }

    #[test]
    fn the_authority_of_an_absolute_target_is_its_host() {
        let bytes = b"GET http://evil.example/debug/pprof/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let incoming = read(&mut peer(bytes, 9)).unwrap();
        assert_eq!(incoming.host.as_deref(), Some("evil.example"));
        assert_eq!(incoming.request.target, "/debug/pprof/");
        assert_eq!(split_target("http://h"), (Some("h"), "/"));
        assert_eq!(split_target("/a://b"), (None, "/a://b"));
    }

    #[test]
    fn bad_requests_are_told_so() {
        assert_eq!(status_of(b"nonsense\r\n\r\n"), 400);
        assert_eq!(status_of(b"\x16\x03\x01\x02\x00\x01\x00\n\n"), 400);
        assert_eq!(status_of(b"GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(
            status_of(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
            400
        );
        assert_eq!(status_of(b"GET / HTTP/1.1\r\nHost: a"), 400);
        assert_eq!(
            status_of(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
            400
        );
        assert_eq!(
            status_of(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"),
            400
        );
        assert_eq!(
            status_of(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nshort"),
            400
        );
        let two = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(status_of(two), 400);
        let chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(status_of(chunked), 411);
    }

    #[test]
    fn nothing_grows_beyond_its_bound() {
        let mut long = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
        long.resize(MOST_HEADER_BYTES + 1, b'x');
        assert_eq!(status_of(&long), 431);
        long.extend_from_slice(b"\r\n\r\n");
        assert_eq!(status_of(&long), 431);
        let many = format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "a: b\r\n".repeat(MOST_HEADERS)
        );
        assert_eq!(status_of(many.as_bytes()), 400);
        for length in ["1048577", "99999999999999999999999"] {
            let post = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            assert_eq!(status_of(post.as_bytes()), 413);
        }
    }

    #[test]
    fn a_peer_that_stalls_is_told_and_one_that_says_nothing_is_not() {
        let mut stalled = peer(b"GET / HT", 3);
        stalled.stalls = true;
        assert!(matches!(read(&mut stalled), Err(Refused::With(r)) if r.status == 408));
        assert!(matches!(read(&mut peer(b"", 1)), Err(Refused::Silently)));
    }

    #[test]
    fn a_client_that_asks_first_is_told_to_go_on() {
        let bytes =
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok";
        let mut asking = peer(bytes, bytes.len() - 2);
        assert_eq!(read(&mut asking).unwrap().request.body, b"ok");
        assert_eq!(asking.received, b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    #[test]
    fn any_bytes_are_answered_without_a_panic() {
        let seed =
            b"POST http://a/debug?x=%41 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        for _ in 0..20_000 {
            let mut bytes = seed.to_vec();
            for _ in 0..4 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = (random >> 8) as usize % bytes.len();
                bytes[at] = random as u8;
            }
            let _ = read(&mut peer(&bytes, 11));
        }
    }

    #[test]
    fn a_response_says_its_length_and_that_the_connection_ends() {
        let mut out = Vec::new();
        write(&Response::error(404, "Unknown profile"), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP/1.1 404 Not Found\r\n"));
        assert!(text.contains("\r\nX-Go-Pprof: 1\r\n"));
        assert!(text.ends_with("Content-Length: 16\r\nConnection: close\r\n\r\nUnknown profile\n"));
    }
}
