//! From a request to a response. No socket, no static: all of it is a function
//! of its arguments and of the registry it was made with.
//!
//! Context: cold. Invariant: every request has an answer.
//! Source: paths, parameters, the order of checks, status codes, headers and error
//! texts are those of Go's net/http/pprof. As there, `profile` takes `seconds` that it
//! cannot read for 30 and ignores `debug`; all others, but for those that a program
//! adds in Go, answer `seconds` with a difference.

use std::cell::Cell;
use std::time::Duration;

use everprof_profile::{Profile, pprof};

use super::capture::Captures;
use super::query::{Query, decode};
use super::{Request, Response, index, symbol};
use crate::assemble;
use crate::profile::{Ask, Handle, Names, Time};

/// Where everything is.
pub(super) const ROOT: &str = "/debug/pprof/";

/// Captures at one time that are not the same. A capture holds a copy of the
/// tables; four are one each of `heap` and `allocs`, whole and as delta.
const MOST_CAPTURES: usize = 4;

/// Addresses that `symbol` looks up in one request: a body of the greatest
/// length holds no more.
const MOST_ADDRESSES: usize = super::wire::MOST_BODY_BYTES / 4;

/// Profiles of Go, or of this crate's plan, that it does not have.
const ABSENT: &[&str] = &["taskblock", "tasks", "trace"];

/// How long a request may wait for what is yet to happen.
pub(crate) struct Patience<'a> {
    /// The longest `seconds=` that is accepted.
    pub(crate) longest: Duration,
    /// Waits; false where the wait was broken off.
    pub(crate) wait: &'a dyn Fn(Duration) -> bool,
}

impl Patience<'_> {
    pub(super) fn unlimited() -> Patience<'static> {
        Patience {
            longest: Duration::MAX,
            wait: &|time| {
                std::thread::sleep(time);
                true
            },
        }
    }
}

/// Answers requests about the profiles of one registry.
pub(super) struct Endpoint {
    /// Asked at each request: a program may add profiles.
    handles: fn() -> Vec<Handle>,
    captures: Captures,
}

impl Endpoint {
    pub(super) fn new(handles: fn() -> Vec<Handle>) -> Self {
        Self {
            handles,
            captures: Captures::new(MOST_CAPTURES),
        }
    }

    pub(super) fn handle(&self, request: &Request, patience: &Patience<'_>) -> Response {
        let is_head = request.method == "HEAD";
        let response = self.answer(request, is_head, patience);
        if is_head {
            response.without_body()
        } else {
            response
        }
    }

    fn answer(&self, request: &Request, is_head: bool, patience: &Patience<'_>) -> Response {
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        let path = decode(path, false);
        if path == "/" || path == ROOT.trim_end_matches('/') {
            return Response::text(301, "").with("Location", ROOT);
        }
        let Some(name) = path.strip_prefix(ROOT) else {
            return Response::text(404, "404 page not found\n");
        };
        let is_post = request.method == "POST" && name == "symbol";
        if !is_head && request.method != "GET" && !is_post {
            let allowed = if name == "symbol" {
                "GET, HEAD, POST"
            } else {
                "GET, HEAD"
            };
            return Response::error(405, &format!("method not allowed - must be {allowed}"))
                .with("Allow", allowed);
        }
        match name {
            "" => self.index(),
            "cmdline" => Response::text(200, cmdline()),
            "symbol" => symbols(if is_post {
                &request.body
            } else {
                query.as_bytes()
            }),
            name => self.profile(name, query, patience),
        }
    }

    fn index(&self) -> Response {
        let handles = (self.handles)();
        let lines = handles.iter().map(|handle| index::Line {
            name: handle.name(),
            description: handle.description(),
            count: handle.count(),
        });
        let cmdline = index::Line {
            name: "cmdline",
            description: "The command line of this program, its arguments separated by NUL bytes",
            count: 0,
        };
        let page = index::page(lines.chain([cmdline]).collect());
        Response::new(200, "text/html; charset=utf-8", page)
    }

    fn profile(&self, name: &str, query: &str, patience: &Patience<'_>) -> Response {
        let handles = (self.handles)();
        let Some(handle) = handles.iter().find(|handle| handle.name() == name) else {
            if !ABSENT.contains(&name) {
                return Response::error(404, "Unknown profile");
            }
            let names: Vec<_> = handles.iter().map(|handle| handle.name()).collect();
            return Response::error(
                501,
                &format!(
                    "Unknown profile: this version of everprof has no {name:?}, it has {}",
                    names.join(", ")
                ),
            );
        };
        let plan = match Plan::new(handle, &Query::parse(query), patience) {
            Ok(plan) => plan,
            Err(message) => return Response::error(400, &message),
        };
        let shared = self
            .captures
            .share(&plan.key(), || plan.carry_out(patience));
        shared.unwrap_or_else(|| {
            Response::error(
                429,
                "too many captures under way - try again when one has ended",
            )
            .with("Retry-After", "1")
        })
    }
}

/// A capture that can be carried out: every parameter was understood.
struct Plan {
    handle: Handle,
    span: Span,
    debug: i64,
    names: Names,
    age: Option<Duration>,
    idle: bool,
    labels: Vec<(String, String)>,
}

/// What time the answer covers.
#[derive(Clone, Copy, Debug)]
enum Span {
    /// What the profile shows by itself.
    Whole,
    /// What changes in this time.
    Delta(Duration),
    /// What is recorded in this time.
    Window(Duration),
}

impl Plan {
    /// The error is the text that the client is to read.
    fn new(handle: &Handle, query: &Query, patience: &Patience<'_>) -> Result<Self, String> {
        let span = Span::asked(handle, query, patience)?;
        let debug = match span {
            Span::Window(_) => 0,
            Span::Whole | Span::Delta(_) => query.number("debug"),
        };
        let unsupported = |name: &str| {
            Err(format!(
                "{name:?} parameter is not supported for this profile type"
            ))
        };
        let age = query.age()?;
        if age.is_some() && !handle.has_age() {
            return unsupported("age");
        }
        if age.is_some() && matches!(span, Span::Delta(_)) {
            return Err("seconds and age params are incompatible".to_owned());
        }
        let idle = query.idle()?;
        if idle.is_some() && !handle.has_idle() {
            return unsupported("idle");
        }
        let names = query.names()?.unwrap_or(if handle.has_paragraphs(debug) {
            Names::Full
        } else {
            Names::Table
        });
        Ok(Self {
            handle: handle.clone(),
            span,
            debug,
            names,
            age,
            idle: idle.unwrap_or(false),
            labels: query.labels()?,
        })
    }

    /// Equal where the answers are to be equal.
    fn key(&self) -> String {
        let Self {
            handle,
            span,
            debug,
            names,
            age,
            idle,
            labels,
        } = self;
        format!(
            "{} {span:?} {debug} {names:?} {age:?} {idle} {labels:?}",
            handle.name()
        )
    }

    fn carry_out(&self, patience: &Patience<'_>) -> Response {
        self.try_to(patience)
            .unwrap_or_else(|(status, message)| Response::error(status, &message))
    }

    fn try_to(&self, patience: &Patience<'_>) -> Result<Response, (u16, String)> {
        let broken_off = Cell::new(false);
        let wait = |time| {
            let waited = (patience.wait)(time);
            broken_off.set(!waited);
            waited
        };
        let shutting_down = || (503, "the server is shutting down".to_owned());
        let take = |window| {
            let taken = self.handle.take(&Ask {
                older_than: self.age,
                idle: self.idle,
                names: self.names,
                window,
                wait: &wait,
            });
            match taken {
                _ if broken_off.get() => Err(shutting_down()),
                Ok(profile) => Ok(profile),
                Err(e) if e.is_unsupported() => Err((501, e.to_string())),
                // Go's words for the one profile of this kind that it has.
                Err(e) if window.is_some() => {
                    Err((500, format!("Could not enable CPU profiling: {e}")))
                }
                Err(e) => Err((500, format!("failed to collect profile: {e}"))),
            }
        };
        let profile = match self.span {
            Span::Whole => take(None)?,
            Span::Window(time) => take(Some(time))?,
            Span::Delta(time) => {
                let earlier = take(None)?;
                if !wait(time) {
                    return Err(shutting_down());
                }
                take(None)?
                    .delta(&earlier)
                    .map_err(|e| (500, format!("failed to compute delta: {e}")))?
            }
        };
        let profile = assemble::finish(profile, self.names, &self.labels);
        self.respond(&profile)
            .map_err(|e| (500, format!("failed to write profile: {e}")))
    }

    fn respond(&self, profile: &Profile) -> Result<Response, crate::Error> {
        let mut body = Vec::new();
        if self.debug != 0 {
            self.handle.write_text(profile, self.debug, &mut body)?;
            return Ok(Response::text(200, body));
        }
        pprof::encode(profile, &mut body)?;
        let suffix = match self.span {
            Span::Delta(_) => "-delta",
            Span::Whole | Span::Window(_) => "",
        };
        // A managed heap's is `heap/…`.
        let name = self.handle.name().replace('/', "-");
        let disposition = format!("attachment; filename=\"{name}{suffix}\"");
        Ok(Response::new(200, "application/octet-stream", body)
            .with("Content-Disposition", disposition))
    }
}

impl Span {
    fn asked(handle: &Handle, query: &Query, patience: &Patience<'_>) -> Result<Self, String> {
        let seconds = query.get("seconds").filter(|seconds| !seconds.is_empty());
        let read = |text: &str| match text.parse::<i64>().map(u64::try_from) {
            Ok(Ok(seconds)) if seconds > 0 => Some(Duration::from_secs(seconds)),
            _ => None,
        };
        let span = match (handle.time(), seconds) {
            (Time::Window(default), seconds) => {
                Self::Window(seconds.and_then(read).unwrap_or(default))
            }
            (_, None) => Self::Whole,
            (_, Some(seconds)) => Self::Delta(
                read(seconds)
                    .ok_or("invalid value for \"seconds\" - must be a positive integer")?,
            ),
        };
        match span {
            Self::Delta(time) | Self::Window(time) if time > patience.longest => {
                Err("profile duration exceeds server's WriteTimeout".to_owned())
            }
            Self::Delta(_) if query.number("debug") != 0 => {
                Err("seconds and debug params are incompatible".to_owned())
            }
            span => Ok(span),
        }
    }
}

fn cmdline() -> Vec<u8> {
    use std::os::unix::ffi::OsStringExt;
    let arguments: Vec<Vec<u8>> = std::env::args_os().map(OsStringExt::into_vec).collect();
    arguments.join(&0)
}

fn symbols(list: &[u8]) -> Response {
    let addresses = symbol::addresses(&String::from_utf8_lossy(list), MOST_ADDRESSES);
    let names = assemble::names_of(&addresses);
    Response::text(200, symbol::answer(&addresses, &names))
}

#[cfg(test)]
mod tests {
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
        Endpoint::new(all).handle(
            &Request::get(target),
            &Patience {
                longest: Duration::from_secs(60),
                wait: &|_| true,
            },
        )
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
        let waited = Cell::new(Duration::ZERO);
        let wait = |time| {
            waited.set(time);
            true
        };
        let patience = Patience {
            longest: Duration::from_secs(60),
            wait: &wait,
        };
        let response = Endpoint::new(heap_only)
            .handle(&Request::get("/debug/pprof/heap?seconds=30"), &patience);
        assert_eq!(waited.get(), Duration::from_secs(30));
        let disposition = response.header("Content-Disposition");
        assert_eq!(disposition, Some("attachment; filename=\"heap-delta\""));
        let delta = decode(&response.body, &Limits::default()).unwrap();
        let grown = delta.totals()[0];
        // Other tests take profiles meanwhile; each makes the difference greater.
        assert!((1..10).contains(&grown), "{grown}");
    }

    #[test]
    fn a_wait_that_is_broken_off_is_an_error() {
        let patience = Patience {
            longest: Duration::MAX,
            wait: &|_| false,
        };
        let request = Request::get("/debug/pprof/heap?seconds=1");
        assert_eq!(
            Endpoint::new(heap_only).handle(&request, &patience).status,
            503
        );
    }

    #[test]
    fn a_profile_over_time_takes_what_it_cannot_read_for_30_seconds() {
        let waited = Cell::new(Duration::ZERO);
        let wait = |time| {
            waited.set(time);
            true
        };
        let patience = Patience {
            longest: Duration::from_secs(60),
            wait: &wait,
        };
        let endpoint = Endpoint::new(all);
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
            let request = Request::get(format!("/debug/pprof/profile{query}"));
            let response = endpoint.handle(&request, &patience);
            assert_eq!(waited.get(), Duration::from_secs(seconds), "{query}");
            assert_eq!(
                response.header("Content-Disposition"),
                Some("attachment; filename=\"profile\""),
                "{query}"
            );
            let profile = decode(&response.body, &Limits::default()).unwrap();
            assert_eq!(profile.duration_nanos, waited.get().as_nanos() as i64);
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
        let patience = Patience {
            longest: Duration::MAX,
            wait: &|_| false,
        };
        let request = Request::get("/debug/pprof/profile?seconds=1");
        assert_eq!(Endpoint::new(all).handle(&request, &patience).status, 503);
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
            ("tasks", 501, "it has heap, threads, profile"),
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
}
