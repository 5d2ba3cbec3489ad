//! Small profiles, a way to run the command line on them, and a server of one answer.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use everprof_profile::{Function, Label, Line, LocationId, Mapping, Profile, pprof};

/// ```text
/// main ┬ parse ┬ grow                       40 KiB
///      │       └ parse ─ grow               20 KiB
///      ├ serve ─ cache (inlined) ─ grow     30 KiB × growth
///      └ app+0x900                          10 KiB
/// ```
pub fn heap(growth: i64) -> Profile {
    let mut profile = Profile::new(&[
        ("alloc_objects", "count"),
        ("alloc_space", "bytes"),
        ("inuse_objects", "count"),
        ("inuse_space", "bytes"),
    ]);
    profile.set_period_type("space", "bytes");
    profile.period = 4096;
    profile.set_default_sample_type("inuse_space");
    profile.time_nanos = 1_795_441_205_000_000_000;
    let app = profile.add_mapping(Mapping {
        start: 0x1000,
        limit: 0x9000,
        offset: 0x800,
        file: "/nowhere/app",
        build_id: "c0ffee",
        ..Mapping::default()
    });
    let mut at = |address: u64, lines: &[(&str, i64)]| -> LocationId {
        let lines: Vec<Line> = lines
            .iter()
            .map(|&(name, line)| Line {
                function: profile.add_function(Function {
                    name,
                    system_name: name,
                    file: "src/app.rs",
                    start_line: 1,
                }),
                line,
                column: 0,
            })
            .collect();
        let id = profile.add_location(address, Some(app));
        profile.set_lines(id, &lines);
        id
    };
    let main = at(0x1010, &[("app::main", 10)]);
    let parse = at(0x1020, &[("app::parse", 20)]);
    let again = at(0x1028, &[("app::parse", 28)]);
    let serve = at(0x1030, &[("app::cache", 30), ("app::serve", 40)]);
    let grow = at(0x1040, &[("alloc::raw_vec::grow", 50)]);
    let nameless = at(0x1100, &[]);
    let mut push = |stack: &[LocationId], objects: i64, size: i64, tenant: &str| {
        let space = objects * size;
        profile.push_sample(
            stack,
            &[objects * 2, space * 2, objects, space],
            &[
                Label::number("bytes", size, "bytes"),
                Label::string("tenant", tenant),
            ],
        );
    };
    push(&[grow, parse, main], 40, 1024, "blue");
    push(&[grow, again, parse, main], 10, 2048, "blue");
    push(&[grow, serve, main], 15 * growth, 2048, "red");
    push(&[nameless, main], 1, 10_240, "red");
    profile
}

pub fn encoded(profile: &Profile) -> Vec<u8> {
    let mut bytes = Vec::new();
    pprof::encode(profile, &mut bytes).unwrap();
    bytes
}

/// A directory with `heap.pb.gz` and `later.pb.gz`, in which commands run.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        place.put("heap.pb.gz", &encoded(&heap(1)));
        place.put("later.pb.gz", &encoded(&heap(100)));
        place
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_everprof"));
        command
            .current_dir(self.path())
            .args(args)
            .env_remove("http_proxy")
            .env_remove("HTTP_PROXY")
            .env_remove("ALL_PROXY")
            .env_remove("all_proxy")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What a command that succeeds writes.
    #[track_caller]
    pub fn stdout(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", words(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command that fails complains of.
    #[track_caller]
    pub fn complaint(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{args:?}: {}",
            words(&output)
        );
        assert!(output.stdout.is_empty(), "{args:?} wrote something");
        words(&output)
    }

    /// Runs a command with something on its standard input.
    pub fn fed(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that refuses its input early closes the pipe.
        let _ = stdin.write_all(input);
        drop(stdin);
        child.wait_with_output().unwrap()
    }
}

pub fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server that gives every request the same answer, until the test ends. Returns its
/// address and where the request lines arrive.
pub fn server(answer: Vec<u8>) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                request.push(byte[0]);
            }
            let line = String::from_utf8_lossy(&request);
            let _ = send.send(line.lines().next().unwrap_or_default().to_owned());
            let _ = stream.write_all(&answer);
        }
    });
    (address, receive)
}

pub fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}
