//! The router beside a program's own routes.

#![allow(clippy::unwrap_used)]

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response};
use axum::routing::get;
use tower::ServiceExt;

fn app() -> Router {
    Router::new()
        .route("/", get(|| async { "the program's own" }))
        .merge(everprof::axum::router())
}

fn ask(method: Method, path: &str, body: &'static str) -> Response<Body> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::from(body))
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(app().oneshot(request)).unwrap()
}

fn text(response: Response<Body>) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let bytes = runtime
        .block_on(to_bytes(response.into_body(), 1 << 20))
        .unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn profiles_stand_beside_the_programs_own_routes() {
    assert_eq!(text(ask(Method::GET, "/", "")), "the program's own");
    let index = ask(Method::GET, "/debug/pprof/", "");
    assert_eq!(index.headers()["content-type"], "text/html; charset=utf-8");
    assert!(text(index).contains("Types of profiles available:"));
    let heap = ask(Method::GET, "/debug/pprof/heap?symbolize=none", "");
    assert_eq!(
        heap.headers()["content-disposition"],
        "attachment; filename=\"heap\""
    );
    assert_eq!(heap.headers()["x-content-type-options"], "nosniff");
}

#[test]
fn errors_and_other_methods_are_those_of_the_endpoint() {
    let unknown = ask(Method::GET, "/debug/pprof/nonsense", "");
    assert_eq!(
        (unknown.status().as_u16(), &unknown.headers()["x-go-pprof"]),
        (404, &"1".parse().unwrap())
    );
    assert_eq!(
        ask(Method::PUT, "/debug/pprof/heap", "").status().as_u16(),
        405
    );
    assert_eq!(ask(Method::GET, "/debug/pprof", "").status().as_u16(), 301);
    let symbols = ask(Method::POST, "/debug/pprof/symbol", "0x1");
    assert_eq!(text(symbols), "num_symbols: 1\n");
}

#[test]
fn head_tells_the_length_alone() {
    let head = ask(Method::HEAD, "/debug/pprof/cmdline", "");
    let length = head.headers()["content-length"]
        .to_str()
        .unwrap()
        .parse::<usize>()
        .unwrap();
    assert_eq!(
        length,
        text(ask(Method::GET, "/debug/pprof/cmdline", "")).len()
    );
    assert_eq!(text(head), "");
}
