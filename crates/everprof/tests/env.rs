//! `EVERPROF` from outside: this binary starts itself, as a program that does
//! one thing, with a variable to heed.
//!
//! No test harness: it would allocate before the program's `main`.

#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};

use everprof_profile::trace::{Reader, What};

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

#[inline(never)]
fn first_of_main() -> Vec<u8> {
    black_box(vec![1; 12_345])
}

fn main() {
    let first = first_of_main();
    match std::env::var("EVERPROF_TEST_ROLE").as_deref() {
        Ok("profile") => print_text("heap"),
        Ok("period") => println!("{}", everprof::heap::period()),
        Ok("waits") => {
            everprof::block::set_period(5);
            everprof::mutex::set_period(6);
            everprof::mutex::set_fraction(7);
            let (block, mutex) = (everprof::block::period(), everprof::mutex::period());
            println!("{block} {mutex} {}", everprof::mutex::fraction());
        }
        Ok("override") => {
            everprof::heap::set_period(77);
            println!("{}", everprof::heap::period());
        }
        Ok("serve") => println!("{}", everprof::serve("127.0.0.1:0").unwrap().address()),
        Ok("wait") => {
            let server = everprof::serve("127.0.0.1:0").unwrap();
            println!("{}", server.address());
            // Until the other end is closed.
            let _ = std::io::stdin().read(&mut [0]);
        }
        Ok("return") => {}
        Ok("exit") => std::process::exit(0),
        #[cfg(feature = "interpose")]
        // SAFETY: it ends the process; nothing here is missed.
        Ok("_exit") => unsafe { libc::_exit(0) },
        Ok(role) => panic!("no role {role}"),
        Err(_) => {
            drop(first);
            return run_tests();
        }
    }
    drop(first);
}

fn print_text(name: &str) {
    let profile = everprof::profile::lookup(name).unwrap();
    profile.write_text(&mut std::io::stdout(), 1).unwrap();
}

/// This binary again. The kernel cannot execute that of another machine: where
/// an emulator runs the tests, the variable says by which command.
fn program(role: &str, told: &str) -> Command {
    let own = std::env::current_exe().unwrap();
    let mut command = match std::env::var("EVERPROF_TEST_RUNNER") {
        Ok(runner) => {
            let mut words = runner.split(' ');
            let mut command = Command::new(words.next().unwrap());
            command.args(words).arg(own);
            command
        }
        Err(_) => Command::new(own),
    };
    command
        .env("EVERPROF_TEST_ROLE", role)
        .env("EVERPROF", told);
    command
}

fn run(role: &str, told: &str) -> (String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = program(role, told).output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{role} {told}: {status} {stderr}");
    (String::from_utf8(stdout).unwrap(), stderr)
}

fn run_tests() {
    let tests: &[(&str, fn())] = &[
        (
            "the_first_allocation_of_main_is_exact_at_heap_1",
            the_first_allocation_of_main_is_exact_at_heap_1,
        ),
        ("heap_0_records_nothing", heap_0_records_nothing),
        ("it_overrides_the_code", it_overrides_the_code),
        (
            "a_signal_has_every_profile_written",
            a_signal_has_every_profile_written,
        ),
        (
            "what_cannot_be_read_is_one_line_and_the_program_goes_on",
            what_cannot_be_read_is_one_line_and_the_program_goes_on,
        ),
        (
            "http_stands_in_for_the_address_in_the_code",
            http_stands_in_for_the_address_in_the_code,
        ),
        ("http_off_serves_nothing", http_off_serves_nothing),
        (
            "a_busy_port_is_one_line_and_the_program_goes_on",
            a_busy_port_is_one_line_and_the_program_goes_on,
        ),
        (
            "a_token_from_outside_is_asked_for",
            a_token_from_outside_is_asked_for,
        ),
        (
            "a_trace_is_whole_however_the_program_leaves",
            a_trace_is_whole_however_the_program_leaves,
        ),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
}

fn the_first_allocation_of_main_is_exact_at_heap_1() {
    let (text, complaints) = run("profile", "heap=1");
    assert_eq!(complaints, "");
    let site = text
        .split("\n\n")
        .flat_map(|block| block.split("\n1: "))
        .find(|s| s.contains("first_of_main"));
    assert!(
        site.is_some_and(|site| site.contains("12345 [1: 12345]")),
        "{text}"
    );
}

fn heap_0_records_nothing() {
    for told in ["heap=0", "heap=off"] {
        let (text, _) = run("profile", told);
        assert!(!text.contains("first_of_main"), "{text}");
    }
}

fn it_overrides_the_code() {
    assert_eq!(run("period", "heap=64KiB").0, "65536\n");
    assert_eq!(run("override", "heap=64KiB").0, "65536\n");
    assert_eq!(run("override", "").0, "77\n");
    assert_eq!(run("period", "").0, "524288\n");
    assert_eq!(run("waits", "").0, "5 6 7\n");
    let told = "block=10us,mutex=off,mutex_fraction=100";
    assert_eq!(run("waits", told).0, "10000 0 100\n");
}

fn what_cannot_be_read_is_one_line_and_the_program_goes_on() {
    let (period, complaints) = run("period", "heap=0x,blackbox=/x,haep=1,memory_limit=1GiB");
    assert_eq!(period, "524288\n");
    let lines: Vec<_> = complaints.lines().collect();
    assert_eq!(lines.len(), 3, "{complaints}");
    assert!(lines[0].contains("`heap=0x`: expected a size"));
    assert!(lines[1].contains("this version of everprof has no `blackbox`"));
    assert!(lines[2].contains("`haep=1`: no such setting"));
}

/// Sends a signal by its name: to do so oneself would be unsafe code.
fn send(signal: &str, waiting: &Waiting) {
    let kill = format!("kill -{signal} {}", waiting.0.id());
    let sent = Command::new("sh").args(["-c", &kill]).status();
    assert!(sent.unwrap().success());
}

fn a_signal_has_every_profile_written() {
    let room = std::env::temp_dir().join(format!("everprof-dump-{}", std::process::id()));
    let mut waiting = Waiting::start(&format!("dump=SIGUSR2:{}", room.display()));
    for number in 1..3 {
        send("USR2", &waiting);
        let place = room.join(format!("{}.{number}", waiting.0.id()));
        // It appears when it is whole.
        while !place.exists() {
            assert_eq!(waiting.0.try_wait().unwrap(), None);
            std::thread::yield_now();
        }
        for file in ["heap.pb.gz", "allocs.pb.gz", "block.pb.gz", "threads.pb.gz"] {
            assert!(place.join(file).is_file(), "{file}");
        }
        let text = std::fs::read_to_string(place.join("threads.txt")).unwrap();
        assert!(
            text.starts_with("thread ") && text.contains("env::main"),
            "{text}"
        );
    }
    drop(waiting);
    std::fs::remove_dir_all(room).unwrap();
}

/// A program that waits, and where it serves.
struct Waiting(Child, String);

impl Waiting {
    fn start(told: &str) -> Self {
        let mut command = program("wait", told);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        Self(child, address.trim().to_owned())
    }

    fn ask(&mut self, header: &str) -> String {
        let mut stream = TcpStream::connect(&self.1).unwrap();
        let head = format!("GET /debug/pprof/ HTTP/1.1\r\nHost: localhost\r\n{header}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

fn http_stands_in_for_the_address_in_the_code() {
    let mut waiting = Waiting::start("http=127.0.0.2:0");
    assert!(waiting.1.starts_with("127.0.0.2:"), "{}", waiting.1);
    assert!(waiting.ask("").contains("Types of profiles available:"));
}

fn http_off_serves_nothing() {
    assert_eq!(run("serve", "http=off").0, "off\n");
}

fn a_busy_port_is_one_line_and_the_program_goes_on() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let (period, complaints) = run("period", &format!("http={address},heap=9"));
    assert_eq!(period, "9\n");
    assert!(
        complaints.contains(&address.to_string()) && complaints.contains("choose another port")
    );
    assert_eq!(complaints.lines().count(), 1, "{complaints}");
}

fn a_token_from_outside_is_asked_for() {
    let mut waiting = Waiting::start("http=127.0.0.1:0,token=s3cret");
    assert!(waiting.ask("").starts_with("HTTP/1.1 401 "));
    assert!(
        waiting
            .ask("Authorization: Bearer s3cret\r\n")
            .starts_with("HTTP/1.1 200 ")
    );
}

fn a_trace_is_whole_however_the_program_leaves() {
    let file = std::env::temp_dir().join(format!("everprof-left-{}", std::process::id()));
    let mut ways = vec!["return", "exit"];
    // A static program has the C library's own.
    if cfg!(feature = "interpose") && !cfg!(target_feature = "crt-static") {
        ways.push("_exit");
    }
    for way in ways {
        assert_eq!(run(way, &format!("trace={}", file.display())).1, "");
        let mut reader = Reader::new(std::fs::File::open(&file).unwrap()).unwrap();
        let mut first_of_main = 0;
        while let Some(event) = reader.next_event() {
            let what = event.what;
            first_of_main += u32::from(matches!(
                what,
                What::Alloc {
                    size_bytes: 12_345,
                    ..
                }
            ));
        }
        let ending = reader.ending();
        assert!(ending.to_string().starts_with("whole"), "{way}: {ending}");
        assert_eq!(first_of_main, 1, "{way}");
    }
    std::fs::remove_file(file).unwrap();
}
