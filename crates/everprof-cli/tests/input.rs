//! What may be given to the reports, and what they say when it is no profile.
#![allow(clippy::unwrap_used)]

mod support;
use std::io::Read;
use std::process::Stdio;

use support::{Place, answer, encoded, heap, server, words};

#[test]
fn profiles_come_from_standard_input() {
    let place = Place::new();
    let output = place.fed(&["top", "-"], &encoded(&heap(1)));
    assert!(output.status.success(), "{}", words(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("standard input: inuse_space 100 KiB"),
        "{text}"
    );
}

#[test]
fn profiles_come_from_a_server_and_a_bare_address_means_its_heap() {
    let place = Place::new();
    let (address, requests) = server(answer("200 OK", &encoded(&heap(1))));
    for given in [address.clone(), format!("{address}/debug/pprof/")] {
        let text = place.stdout(&["top", &given]);
        assert!(text.contains("inuse_space 100 KiB"), "{text}");
        assert_eq!(requests.recv().unwrap(), "GET /debug/pprof/heap HTTP/1.1");
    }
    let delta = format!("{address}/debug/pprof/allocs?seconds=1");
    place.stdout(&["top", &delta]);
    assert_eq!(
        requests.recv().unwrap(),
        "GET /debug/pprof/allocs?seconds=1 HTTP/1.1"
    );
}

#[test]
fn refusals_of_a_server_are_passed_on() {
    let place = Place::new();
    let (address, _requests) = server(answer("404 Not Found", b"Unknown profile\n"));
    assert_eq!(
        place.complaint(&["top", &format!("{address}/debug/pprof/hep")]),
        format!(
            "everprof: `{address}/debug/pprof/hep` answers 404 (Unknown profile): expected a \
             profile\n  try: curl {address}/debug/pprof/\n"
        )
    );
    let (address, _requests) = server(answer("401 Unauthorized", b""));
    let complaint = place.complaint(&["top", &address]);
    assert!(
        complaint.contains("Authorization: Bearer TOKEN"),
        "{complaint}"
    );
}

#[test]
fn text_and_pages_from_a_server_are_no_profiles() {
    let place = Place::new();
    let text = b"heap profile: 1: 16 [2: 32] @ heap/2\n1: 16 [2: 32] @ 0x1234\n";
    let (address, _requests) = server(answer("200 OK", text));
    let complaint = place.complaint(&["top", &format!("{address}/debug/pprof/heap?debug=1")]);
    assert!(
        complaint.contains(&format!("try: everprof top '{address}/debug/pprof/heap'")),
        "{complaint}"
    );
    let (address, _requests) = server(answer("200 OK", b"<!DOCTYPE html><html>hello</html>"));
    let complaint = place.complaint(&["top", &format!("{address}/index")]);
    assert!(complaint.contains("HTML"), "{complaint}");
    assert!(complaint.contains("try: curl -i"), "{complaint}");
}

#[test]
fn answers_that_break_off_are_errors() {
    let place = Place::new();
    let whole = answer("200 OK", &encoded(&heap(1)));
    for kept in [0, 10, whole.len() - 20] {
        let (address, _requests) = server(whole[..kept].to_vec());
        let complaint = place.complaint(&["top", &address]);
        assert!(
            complaint.contains(&format!("cannot read `{address}")),
            "{complaint}"
        );
    }
}

#[test]
fn nobody_at_the_address() {
    let place = Place::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let complaint = place.complaint(&["top", &address]);
    assert!(complaint.contains("refused"), "{complaint}");
    assert!(
        complaint.contains("does the program serve there?"),
        "{complaint}"
    );
}

#[test]
fn encrypted_addresses_are_left_to_curl() {
    let place = Place::new();
    assert_eq!(
        place.complaint(&["top", "https://h:6060"]),
        "everprof: `https://h:6060/debug/pprof/heap`: expected an address that begins with \
         http://\n  try: curl -sf 'https://h:6060/debug/pprof/heap' | everprof top -\n"
    );
    assert_eq!(
        place.complaint(&["top", "http://"]),
        "everprof: `http://`: expected a host behind http://\n  try: everprof top \
         http://localhost:6060\n"
    );
    let complaint = place.complaint(&["top", "ftp://h/x"]);
    assert!(complaint.contains("begins with http://"), "{complaint}");
}

#[test]
fn files_that_are_no_profiles() {
    let place = Place::new();
    let whole = encoded(&heap(1));
    place.put("empty", b"");
    place.put("cut.pb.gz", &whole[..whole.len() / 2]);
    place.put("page", b"<html><body>login</body></html>");
    place.put("words", b"hello, this is no profile\n");
    place.put("noise", &[0xff; 64]);
    for (file, said) in [
        ("empty", "`empty` is empty"),
        ("cut.pb.gz", "`cut.pb.gz`: "),
        (
            "cut.pb.gz",
            "try: curl -sfo cut.pb.gz http://localhost:6060/debug/pprof/heap",
        ),
        ("page", "HTML"),
        ("words", "`words`: "),
        ("noise", "`noise`: "),
        ("missing", "cannot read `missing`: No such file"),
        ("missing", "try: everprof run -o out -- PROGRAM"),
        ("localhost:6060", "try: everprof top http://localhost:6060"),
        (
            "unix:/run/no-such.sock",
            "try: curl -s --unix-socket '/run/no-such.sock' http://localhost/debug/pprof/heap | \
             everprof top -",
        ),
        (".", "`.` is a directory"),
        (".", "try: everprof top ./heap.pb.gz"),
    ] {
        for command in ["top", "tree", "flame", "merge"] {
            let complaint = place.complaint(&[command, file]);
            assert!(complaint.contains(said), "{command} {file}: {complaint}");
            assert!(complaint.starts_with("everprof: "), "{complaint}");
        }
    }
}

#[test]
fn bombs_are_refused() {
    let place = Place::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(&mut std::io::repeat(0).take(3 << 20), &mut gzip).unwrap();
    place.put("bomb.gz", &gzip.finish().unwrap());
    place.put("plain", &vec![0; 3 << 20]);
    for file in ["bomb.gz", "plain"] {
        let complaint = place.complaint(&["top", file, "--max-mib", "2"]);
        assert!(
            complaint.contains("more than 2 MiB when decompressed"),
            "{complaint}"
        );
        assert!(complaint.contains("try: --max-mib 1024"), "{complaint}");
    }
}

#[test]
fn hostile_names_do_not_reach_the_terminal() {
    let place = Place::new();
    let mut profile = everprof_profile::Profile::new(&[("n", "count")]);
    let function = profile.add_function(everprof_profile::Function {
        name: "\u{1b}]0;owned\u{7}\u{1b}[2J",
        file: "\u{1b}[31m.rs",
        ..Default::default()
    });
    let at = profile.add_location(1, None);
    profile.set_lines(
        at,
        &[everprof_profile::Line {
            function,
            line: 1,
            column: 0,
        }],
    );
    profile.push_sample(&[at], &[1], &[]);
    place.put("bad.pb.gz", &encoded(&profile));
    for args in [
        &["top", "bad.pb.gz"][..],
        &["top", "bad.pb.gz", "--format", "md"],
        &["top", "bad.pb.gz", "--format", "json"],
        &["tree", "bad.pb.gz"],
        &["tree", "bad.pb.gz", "--format", "md"],
        &["peek", ".", "bad.pb.gz"],
        &["peek", ".", "bad.pb.gz", "--format", "md"],
        &["diff", "bad.pb.gz", "bad.pb.gz"],
        &["flame", "bad.pb.gz"],
        &["export", "--to", "folded", "bad.pb.gz"],
        &["export", "--to", "speedscope", "bad.pb.gz"],
    ] {
        let text = place.stdout(args);
        assert!(!text.contains(['\u{1b}', '\u{7}']), "{args:?}: {text:?}");
    }
}

#[test]
fn options_that_cannot_be_read_say_what_was_expected() {
    let place = Place::new();
    for (args, said) in [
        (
            &["top", "heap.pb.gz", "--focus", "("][..],
            "focus `(`: expected a regular expression",
        ),
        (
            &["top", "heap.pb.gz", "--label", "blue"],
            "label `blue`: expected KEY:VALUE",
        ),
        (
            &["top", "heap.pb.gz", "--sample-type", "cpu"],
            "`heap.pb.gz`: sample type `cpu`: expected one of alloc_objects, alloc_space, \
             inuse_objects, inuse_space",
        ),
        (
            &["peek", "(", "heap.pb.gz"],
            "`(`: expected a regular expression",
        ),
        (
            &["peek", "nobody", "heap.pb.gz"],
            "no function matches `nobody`",
        ),
        (
            &["peek", "heap.pb.gz", "nobody"],
            "cannot read `nobody`: No such file or directory (os error 2)\n  try: everprof peek \
             'nobody' heap.pb.gz",
        ),
        (
            &["top", "heap.pb.gz", "--binary", "missing"],
            "--binary `missing`: expected the ELF file",
        ),
        (
            &["top", "heap.pb.gz", "--binary", "heap.pb.gz"],
            "--binary `heap.pb.gz`: expected the ELF",
        ),
        (&["diff", "-", "-"], "standard input holds one profile"),
        (&["merge", "-", "-"], "standard input holds one profile"),
        (
            &["flame", "heap.pb.gz", "-o", "no/such/dir.svg"],
            "cannot write `no/such/dir.svg`",
        ),
        (
            &[
                "export",
                "--to",
                "pprof",
                "--sample-type",
                "inuse_space",
                "heap.pb.gz",
            ],
            "expected --to folded",
        ),
    ] {
        let complaint = place.complaint(args);
        assert!(complaint.contains(said), "{args:?}: {complaint}");
    }
}

#[test]
fn profiles_of_two_kinds_do_not_meet() {
    let place = Place::new();
    let profile = everprof_profile::Profile::new(&[("delay", "nanoseconds")]);
    place.put("block.pb.gz", &encoded(&profile));
    let complaint = place.complaint(&["diff", "heap.pb.gz", "block.pb.gz"]);
    assert!(complaint.contains("`inuse_space` in bytes"), "{complaint}");
    assert!(complaint.contains("`delay` in nanoseconds"), "{complaint}");
    place.complaint(&["merge", "heap.pb.gz", "block.pb.gz", "-o", "x"]);
    assert!(!place.path().join("x").exists());
}

#[test]
fn reader_that_goes_away_is_no_error() {
    let place = Place::new();
    for args in [
        &["top", "heap.pb.gz"][..],
        &["flame", "heap.pb.gz"],
        &["export", "--to", "folded", "heap.pb.gz"],
        &["export", "--to", "speedscope", "heap.pb.gz"],
        &["merge", "heap.pb.gz"],
    ] {
        let mut child = place
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", words(&output));
        assert!(
            !words(&output).contains("pipe"),
            "{args:?}: {}",
            words(&output)
        );
    }
}

#[test]
fn shares_are_percentages() {
    let place = Place::new();
    for share in ["-5", "101", "nan", "half"] {
        let output = place.run(&["tree", "heap.pb.gz", "--min-percent", share]);
        assert_eq!(output.status.code(), Some(2), "{share}");
        let said = words(&output);
        assert!(said.contains("expected a number from 0 to 100"), "{said}");
    }
    place.stdout(&["tree", "heap.pb.gz", "--min-percent", "100"]);
}

#[test]
fn no_arguments_show_examples() {
    let output = Place::new().run(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&output).contains("everprof flame out/heap.pb.gz -o heap.svg"));
}
