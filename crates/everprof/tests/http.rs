//! The endpoint over real sockets: what a client sees, and what it cannot do.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use everprof::{Options, Server, serve};
use everprof_profile::pprof;

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn read(stream: &mut impl Read) -> Option<Self> {
        let mut bytes = Vec::new();
        // A reset after the answer is no matter; without an answer there is none.
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Self {
            status,
            head,
            body: bytes[end + 4..].to_vec(),
        })
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

fn send(server: &Server, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(bytes).unwrap();
    Answer::read(&mut stream).unwrap()
}

fn get(server: &Server, path: &str) -> Answer {
    send(
        server,
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address()).as_bytes(),
    )
}

fn here() -> Server {
    serve("127.0.0.1:0").unwrap()
}

#[test]
fn a_profile_comes_with_the_headers_of_gos() {
    let answer = get(&here(), "/debug/pprof/heap");
    assert_eq!(answer.status, 200);
    for line in [
        "HTTP/1.1 200 OK",
        "Content-Type: application/octet-stream",
        "Content-Disposition: attachment; filename=\"heap\"",
        "X-Content-Type-Options: nosniff",
    ] {
        assert!(
            answer.head.lines().any(|l| l == line),
            "{line} in {}",
            answer.head
        );
    }
    let profile = pprof::decode(&answer.body, &pprof::Limits::default()).unwrap();
    assert_eq!(profile.default_sample_type(), "inuse_space");
    assert!(
        answer
            .head
            .contains(&format!("Content-Length: {}\r\n", answer.body.len()))
    );
}

#[test]
fn seconds_give_a_delta_with_its_own_file_name() {
    let answer = get(&here(), "/debug/pprof/allocs?seconds=1");
    assert!(
        answer.head.contains("filename=\"allocs-delta\""),
        "{}",
        answer.head
    );
    let profile = pprof::decode(&answer.body, &pprof::Limits::default()).unwrap();
    assert!(profile.duration_nanos >= 1_000_000_000);
}

#[test]
fn the_index_is_where_the_root_leads() {
    let server = here();
    let root = get(&server, "/");
    assert!(root.status == 301 && root.head.contains("Location: /debug/pprof/"));
    let index = get(&server, "/debug/pprof/");
    assert!(index.text().contains("Types of profiles available:"));
    assert!(index.text().contains("href='heap?debug=1'"));
}

#[test]
fn errors_show_in_gos_tool() {
    let answer = get(&here(), "/debug/pprof/nonsense");
    assert_eq!((answer.status, answer.text()), (404, "Unknown profile\n"));
    assert!(answer.head.contains("X-Go-Pprof: 1"));
}

#[test]
fn head_sends_the_headers_alone() {
    let server = here();
    let answer = send(
        &server,
        b"HEAD /debug/pprof/cmdline HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    let length = get(&server, "/debug/pprof/cmdline").body.len();
    assert!(answer.head.contains(&format!("Content-Length: {length}")));
}

#[test]
fn symbols_are_posted() {
    let pc = symbols_are_posted as *const () as usize;
    let body = format!("{pc:#x}+1");
    let head = format!("Host: localhost\r\nContent-Length: {}", body.len());
    let request = format!("POST /debug/pprof/symbol HTTP/1.1\r\n{head}\r\n\r\n{body}");
    let answer = send(&here(), request.as_bytes());
    assert!(answer.text().starts_with("num_symbols: 1\n"));
    assert!(
        answer.text().contains("symbols_are_posted"),
        "{}",
        answer.text()
    );
    let deleted = send(
        &here(),
        b"DELETE /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    assert!(deleted.status == 405 && deleted.head.contains("Allow: GET, HEAD, POST"));
}

#[test]
fn a_foreign_host_is_refused() {
    let server = here();
    let answer = send(
        &server,
        b"GET /debug/pprof/heap HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    );
    assert_eq!(answer.status, 421);
    let absolute = b"GET http://evil.example/debug/pprof/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(send(&server, absolute).status, 421);
    assert_eq!(
        send(&server, b"GET /debug/pprof/ HTTP/1.1\r\n\r\n").status,
        400
    );
    let allowed = Options::new()
        .allow_host("pod.example")
        .listen("127.0.0.1:0")
        .unwrap();
    let answer = send(
        &allowed,
        b"GET /debug/pprof/ HTTP/1.1\r\nHost: pod.example:80\r\n\r\n",
    );
    assert_eq!(answer.status, 200);
}

#[test]
fn a_token_is_asked_for_where_there_is_one() {
    let server = Options::new()
        .token("s3cret")
        .listen("127.0.0.1:0")
        .unwrap();
    let refused = get(&server, "/debug/pprof/");
    assert!(refused.status == 401 && refused.head.contains("WWW-Authenticate: Bearer"));
    let request =
        b"GET /debug/pprof/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n\r\n";
    assert_eq!(send(&server, request).status, 200);
}

#[test]
fn a_client_that_never_ends_its_request_is_let_go() {
    let time = Duration::from_millis(100);
    let server = Options::new()
        .request_time(time)
        .listen("127.0.0.1:0")
        .unwrap();
    for start in [
        "GET /debug",
        "POST /debug/pprof/symbol HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1",
    ] {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(start.as_bytes()).unwrap();
        // Its bytes keep coming; only the deadline of the whole ends it.
        let mut trickle = stream.try_clone().unwrap();
        let trickling = std::thread::spawn(move || {
            while trickle.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
                if start.starts_with("POST") {
                    break;
                }
            }
        });
        assert_eq!(Answer::read(&mut stream).unwrap().status, 408);
        stream.shutdown(Shutdown::Both).ok();
        trickling.join().unwrap();
    }
}

#[test]
fn what_is_too_large_is_refused_and_the_client_can_read_why() {
    let server = here();
    let large = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    assert_eq!(send(&server, large.as_bytes()).status, 431);
    let mut post =
        b"POST /debug/pprof/symbol HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n".to_vec();
    post.resize(post.len() + 100_000, b'+');
    assert_eq!(send(&server, &post).status, 413);
}

#[test]
fn nonsense_is_a_bad_request() {
    let server = here();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\n\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        assert_eq!(send(&server, bytes).status, 400);
    }
    assert_eq!(get(&server, "/debug/pprof/cmdline").status, 200);
}

#[test]
fn connections_beyond_the_bound_are_told_to_come_again() {
    let server = here();
    // They are accepted in their order, so these hold all places by then.
    let idle: Vec<_> = (0..16)
        .map(|_| TcpStream::connect(server.address()).unwrap())
        .collect();
    let mut one_more = TcpStream::connect(server.address()).unwrap();
    let answer = Answer::read(&mut one_more).unwrap();
    assert!(answer.status == 503 && answer.head.contains("Retry-After: 1"));
    drop(idle);
}

#[test]
fn a_dropped_server_breaks_captures_off() {
    let server = here();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream
        .write_all(b"GET /debug/pprof/heap?seconds=600 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    drop(server);
    // Whether or not it had been accepted by then, nobody waits ten minutes.
    assert!(Answer::read(&mut stream).is_none_or(|answer| answer.status == 503));
}

fn socket(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("everprof-{name}-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

#[test]
fn a_unix_socket_is_its_owners_and_goes_with_the_server() {
    let path = socket("own");
    let server = serve(&format!("unix:{}", path.display())).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let mut stream = UnixStream::connect(&path).unwrap();
    stream
        .write_all(b"GET /debug/pprof/cmdline HTTP/1.1\r\nHost: whatever\r\n\r\n")
        .unwrap();
    assert_eq!(Answer::read(&mut stream).unwrap().status, 200);
    drop(server);
    assert!(!path.exists());
}

#[test]
fn a_socket_left_behind_is_taken_over_and_one_in_use_is_not() {
    let path = socket("left");
    drop(UnixListener::bind(&path).unwrap());
    let address = format!("unix:{}", path.display());
    let first = serve(&address).unwrap();
    let error = serve(&address).unwrap_err();
    assert!(
        error.is_busy() && error.to_string().contains("another path"),
        "{error}"
    );
    drop(first);
    fs::write(&path, "a file, no socket").unwrap();
    assert!(serve(&address).unwrap_err().is_busy());
    assert_eq!(fs::read(&path).unwrap(), b"a file, no socket");
    fs::remove_file(&path).unwrap();
}
