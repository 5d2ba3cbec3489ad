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

/// Captures at one time that are not the same. Each holds a copy of the tables;
/// four are enough for `heap` and `allocs`, each whole and as a delta.
const MOST_CAPTURES: usize = 4;

/// Addresses that `symbol` looks up in one request: as many as the longest body
/// holds of `0x1+`. Real ones are longer.
const MOST_ADDRESSES: usize = super::wire::MOST_BODY_BYTES / 4;

/// Profiles that Go has and everprof has not: 501, not 404.
const ABSENT: &[&str] = &["trace"];

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
    leaked: bool,
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
        let idle = query.switch("idle")?;
        if idle.is_some() && !handle.has_idle() {
            return unsupported("idle");
        }
        let leaked = query.switch("leaked")?;
        if leaked.is_some() && !handle.has_leaks() {
            return unsupported("leaked");
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
            leaked: leaked.unwrap_or(false),
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
            leaked,
            labels,
        } = self;
        format!(
            "{} {span:?} {debug} {names:?} {age:?} {idle} {leaked} {labels:?}",
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
                leaked: self.leaked,
                each: self.handle.has_paragraphs(self.debug),
                keep: None,
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
mod tests;
