//! Claims about answers: status, headers and texts as Go's, whatever is asked.

#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

use everprof_profile::pprof::{Limits, decode};
use everprof_profile::{Label, stacks};

use super::*;
use crate::profile::{LongText, Source};
use crate::{Error, error::Kind};

static TAKEN: AtomicI64 = AtomicI64::new(0);
static IDLE_ASKED: AtomicI64 = AtomicI64::new(0);

/// Each next one shows one object more.
fn growing(ask: &Ask<'_>) -> Result<Profile, Error> {
    IDLE_ASKED.fetch_add(ask.idle.into(), Ordering::Relaxed);
    let mut profile = Profile::new(&[("inuse_objects", "count")]);
    let location = profile.add_location(0x1000, None);
    let objects = 10 + TAKEN.fetch_add(1, Ordering::Relaxed);
    profile.push_sample(&[location], &[objects], &[]);
    Ok(profile)
}

fn broken(_: &Ask<'_>) -> Result<Profile, Error> {
    Err(Error::new(Kind::Unsupported, "no such kernel"))
}

static HEAP: Source = Source {
    name: "heap",
    description: "objects & more",
    time: Time::Cumulative,
    has_age: true,
    has_idle: true,
    has_leaks: false,
    long_text: LongText::None,
    count: || 42,
    take: growing,
};
static THREADS: Source = Source {
    name: "threads",
    description: "",
    time: Time::Instant,
    has_age: false,
    has_idle: false,
    has_leaks: false,
    long_text: LongText::Threads,
    count: || 0,
    take: broken,
};
/// One that records for a time, and is busy when asked for 7 seconds.
static CPU: Source = Source {
    name: "profile",
    description: "",
    time: Time::Window(Duration::from_secs(30)),
    has_age: false,
    has_idle: false,
    has_leaks: false,
    long_text: LongText::None,
    count: || 0,
    take: |ask| match ask.window {
        Some(time) if time.as_secs() != 7 => {
            (ask.wait)(time);
            let mut profile = Profile::new(&[("samples", "count")]);
            profile.duration_nanos = time.as_nanos() as i64;
            Ok(profile)
        }
        _ => Err(Error::new(Kind::Busy, "cpu profiling already in use")),
    },
};
/// Two threads.
static GOROUTINE: Source = Source {
    name: "goroutine",
    description: "",
    time: Time::Instant,
    has_age: false,
    has_idle: false,
    has_leaks: false,
    long_text: LongText::Threads,
    count: || 2,
    take: |_| {
        let mut profile = Profile::new(&[("goroutine", "count")]);
        let location = profile.add_location(0x1000, None);
        for id in 7..9 {
            let labels = [
                Label::number(stacks::ID_LABEL, id, ""),
                Label::string(stacks::STATE_LABEL, "sleep"),
            ];
            profile.push_sample(&[location], &[1], &labels);
        }
        Ok(profile)
    },
};

fn all() -> Vec<Handle> {
    [&HEAP, &THREADS, &CPU, &GOROUTINE].map(Handle::own).into()
}

fn heap_only() -> Vec<Handle> {
    vec![Handle::own(&HEAP)]
}

fn get(target: &str) -> Response {
    get_waiting(all, target).0
}

/// The answer, and how long it was waited for, of 60 seconds at most.
fn get_waiting(handles: fn() -> Vec<Handle>, target: &str) -> (Response, Duration) {
    let waited = Cell::new(Duration::ZERO);
    let patience = Patience {
        longest: Duration::from_secs(60),
        wait: &|time| {
            waited.set(time);
            true
        },
    };
    let response = Endpoint::new(handles).handle(&Request::get(target), &patience);
    (response, waited.get())
}

/// The answer where the server stops meanwhile.
fn get_of_a_stopping_server(handles: fn() -> Vec<Handle>, target: &str) -> Response {
    let patience = Patience {
        longest: Duration::MAX,
        wait: &|_| false,
    };
    Endpoint::new(handles).handle(&Request::get(target), &patience)
}

fn body(response: &Response) -> &str {
    std::str::from_utf8(&response.body).unwrap()
}

#[test]
fn a_profile_is_a_gzipped_attachment_that_no_browser_sniffs() {
    let response = get("/debug/pprof/heap");
    assert_eq!(response.status, 200);
    assert_eq!(
        response.header("content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(
        response.header("Content-Disposition"),
        Some("attachment; filename=\"heap\"")
    );
    assert_eq!(response.header("X-Content-Type-Options"), Some("nosniff"));
    assert_eq!(response.content_length, response.body.len());
    assert_eq!(
        decode(&response.body, &Limits::default())
            .unwrap()
            .samples()
            .len(),
        1
    );
    let same = get("/debug/pprof/heap?gc=1&debug=no&seconds=&symbolize=none");
    assert_eq!(
        same.header("Content-Disposition"),
        Some("attachment; filename=\"heap\"")
    );
}

#[test]
fn debug_is_text_without_a_file_name() {
    for debug in ["1", "2", "-1"] {
        let response = get(&format!("/debug/pprof/heap?debug={debug}"));
        assert_eq!(response.status, 200);
        assert_eq!(
            response.header("Content-Type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(response.header("Content-Disposition"), None);
    }
}

#[test]
fn seconds_waits_that_long_and_gives_the_difference() {
    let (response, waited) = get_waiting(heap_only, "/debug/pprof/heap?seconds=30");
    assert_eq!(waited, Duration::from_secs(30));
    let disposition = response.header("Content-Disposition");
    assert_eq!(disposition, Some("attachment; filename=\"heap-delta\""));
    let delta = decode(&response.body, &Limits::default()).unwrap();
    let grown = delta.totals()[0];
    // Other tests take profiles meanwhile; each makes the difference greater.
    assert!((1..10).contains(&grown), "{grown}");
}

#[test]
fn a_wait_that_is_broken_off_is_an_error() {
    let response = get_of_a_stopping_server(heap_only, "/debug/pprof/heap?seconds=1");
    assert_eq!(response.status, 503);
}

#[test]
fn a_profile_over_time_takes_what_it_cannot_read_for_30_seconds() {
    for (query, seconds) in [
        ("", 30),
        ("?seconds=", 30),
        ("?seconds=x", 30),
        ("?seconds=-1", 30),
        ("?seconds=0", 30),
        ("?seconds=1.5", 30),
        ("?seconds=5", 5),
        ("?seconds=6&debug=1", 6),
    ] {
        let (response, waited) = get_waiting(all, &format!("/debug/pprof/profile{query}"));
        assert_eq!(waited, Duration::from_secs(seconds), "{query}");
        assert_eq!(
            response.header("Content-Disposition"),
            Some("attachment; filename=\"profile\""),
            "{query}"
        );
        let profile = decode(&response.body, &Limits::default()).unwrap();
        assert_eq!(profile.duration_nanos, waited.as_nanos() as i64);
    }
}

#[test]
fn a_second_profile_over_time_is_refused_in_gos_words() {
    let response = get("/debug/pprof/profile?seconds=7");
    assert_eq!(
        (response.status, body(&response)),
        (
            500,
            "Could not enable CPU profiling: cpu profiling already in use\n"
        )
    );
    assert_eq!(response.header("X-Go-Pprof"), Some("1"));
}

#[test]
fn a_profile_over_time_ends_with_the_server() {
    let response = get_of_a_stopping_server(all, "/debug/pprof/profile?seconds=1");
    assert_eq!(response.status, 503);
}

#[test]
fn threads_are_paragraphs_with_debug_2_and_groups_with_debug_1() {
    let long = get("/debug/pprof/goroutine?debug=2");
    assert_eq!(
        body(&long),
        "thread 7 [sleep]:\n0x1000\n\nthread 8 [sleep]:\n0x1000\n"
    );
    let short = get("/debug/pprof/goroutine?debug=1");
    assert!(
        body(&short).starts_with("goroutine profile: total 2\n2 @ 0x1001\n"),
        "{}",
        body(&short)
    );
    assert_eq!(short.header("Content-Disposition"), None);
}

#[test]
fn threads_have_a_delta_as_gos_goroutines_have() {
    let response = get("/debug/pprof/goroutine?seconds=1");
    assert_eq!(
        response.header("Content-Disposition"),
        Some("attachment; filename=\"goroutine-delta\"")
    );
    let delta = decode(&response.body, &Limits::default()).unwrap();
    assert_eq!(delta.samples().len(), 0);
}

#[test]
fn idle_reaches_the_profile_that_knows_it() {
    assert_eq!(get("/debug/pprof/heap?idle=1").status, 200);
    assert_eq!(IDLE_ASKED.load(Ordering::Relaxed), 1);
}

#[test]
fn errors_are_worded_as_gos() {
    for (target, status, text) in [
        (
            "heap?seconds=x",
            400,
            "invalid value for \"seconds\" - must be a positive integer\n",
        ),
        (
            "heap?seconds=0",
            400,
            "invalid value for \"seconds\" - must be a positive integer\n",
        ),
        (
            "heap?seconds=-1",
            400,
            "invalid value for \"seconds\" - must be a positive integer\n",
        ),
        (
            "heap?seconds=61",
            400,
            "profile duration exceeds server's WriteTimeout\n",
        ),
        (
            "heap?seconds=1&debug=1",
            400,
            "seconds and debug params are incompatible\n",
        ),
        (
            "profile?seconds=61",
            400,
            "profile duration exceeds server's WriteTimeout\n",
        ),
        ("<script>scripty<script>", 404, "Unknown profile\n"),
        ("%3Cscript%3E", 404, "Unknown profile\n"),
    ] {
        let response = get(&format!("/debug/pprof/{target}"));
        assert_eq!(
            (response.status, body(&response)),
            (status, text),
            "{target}"
        );
        assert_eq!(response.header("X-Go-Pprof"), Some("1"));
        assert_eq!(
            response.header("Content-Type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(response.header("X-Content-Type-Options"), Some("nosniff"));
    }
}

#[test]
fn our_own_errors_name_the_parameter() {
    for (target, status, part) in [
        ("heap?symbolize=all", 400, "none, names or full"),
        ("heap?age=young", 400, "\"age\""),
        ("heap?age=1s&seconds=1", 400, "seconds and age"),
        ("threads?age=1s", 400, "\"age\" parameter is not supported"),
        ("threads?idle=1", 400, "\"idle\" parameter is not supported"),
        ("heap?idle=yes", 400, "0 or 1"),
        ("heap?label=x", 400, "key:value"),
        ("trace", 501, "it has heap, threads, profile"),
        (
            "threads?leaked=1",
            400,
            "\"leaked\" parameter is not supported",
        ),
        ("trace?seconds=1", 501, "no \"trace\""),
        ("threads", 501, "no such kernel"),
    ] {
        let response = get(&format!("/debug/pprof/{target}"));
        assert_eq!(response.status, status, "{target}");
        assert!(body(&response).contains(part), "{}", body(&response));
        assert_eq!(response.header("X-Go-Pprof"), Some("1"));
    }
}

#[test]
fn the_index_counts_describes_and_links() {
    let response = get("/debug/pprof/");
    assert_eq!(
        response.header("Content-Type"),
        Some("text/html; charset=utf-8")
    );
    for part in [
        "Types of profiles available:",
        "42",
        "'heap?debug=1'",
        "objects &amp; more",
        "cmdline",
    ] {
        assert!(body(&response).contains(part), "{part}");
    }
}

#[test]
fn other_paths_lead_there_or_are_not_found() {
    for path in ["/", "/debug/pprof", "/?x"] {
        let response = get(path);
        assert_eq!(
            (response.status, response.header("Location")),
            (301, Some(ROOT)),
            "{path}"
        );
    }
    for path in [
        "/metrics",
        "",
        "debug/pprof/",
        "//debug/pprof/",
        "/debug/pprofx",
    ] {
        assert_eq!(get(path).status, 404, "{path}");
    }
}

#[test]
fn head_has_headers_and_no_body_and_other_methods_are_refused() {
    let endpoint = Endpoint::new(heap_only);
    let ask = |method: &str, path: &str| {
        endpoint.handle(&Request::new(method, path), &Patience::unlimited())
    };
    let head = ask("HEAD", "/debug/pprof/heap");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.content_length > 0);
    assert_eq!(ask("POST", "/debug/pprof/heap").status, 405);
    assert_eq!(
        ask("POST", "/debug/pprof/heap").header("Allow"),
        Some("GET, HEAD")
    );
    assert_eq!(
        ask("DELETE", "/debug/pprof/symbol").header("Allow"),
        Some("GET, HEAD, POST")
    );
    assert_eq!(ask("get", "/debug/pprof/").status, 405);
}

#[test]
fn symbol_names_addresses_of_query_and_body() {
    let pc = symbol_names_addresses_of_query_and_body as *const () as usize;
    let asked = format!("{pc:#x}+0x1");
    let by_query = get(&format!("/debug/pprof/symbol?{asked}"));
    let post = Request::new("POST", "/debug/pprof/symbol").with_body(asked);
    let by_body = Endpoint::new(Vec::new).handle(&post, &Patience::unlimited());
    assert_eq!(by_query, by_body);
    let mut lines = body(&by_query).lines();
    assert_eq!(lines.next(), Some("num_symbols: 1"));
    let line = lines.next().unwrap();
    assert!(line.starts_with(&format!("{pc:#x} ")), "{line}");
    assert!(
        line.contains("symbol_names_addresses_of_query_and_body"),
        "{line}"
    );
    assert_eq!(lines.next(), None);
}

#[test]
fn cmdline_separates_arguments_by_nul() {
    let response = get("/debug/pprof/cmdline");
    let first = response.body.split(|byte| *byte == 0).next().unwrap();
    assert_eq!(
        first,
        std::env::args_os().next().unwrap().as_encoded_bytes()
    );
    assert_eq!(
        response.header("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
}
