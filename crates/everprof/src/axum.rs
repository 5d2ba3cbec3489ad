//! The endpoint as a router of axum, for programs that serve by it already.
//!
//! Context: cold. Invariant: a capture blocks, so each runs where tokio allows that.

use ::axum::Router;
use ::axum::body::{Body, Bytes, to_bytes};
use ::axum::extract::Request as Asked;
use ::axum::http::{HeaderValue, StatusCode};
use ::axum::response::Response as Answer;
use ::axum::routing::any;

use crate::http::{MOST_BODY_BYTES, Request, Response, handle, told_token_refuses};

/// A router with everything under `/debug/pprof/`.
///
/// Who may ask is for the program to decide, as for its other routes. It must
/// not be nested under another path: the tools that read it look for this one.
///
/// ```
/// let app: axum::Router = axum::Router::new().merge(everprof::axum::router());
/// # let _ = app;
/// ```
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/debug/pprof", any(answer))
        .route("/debug/pprof/", any(answer))
        .route("/debug/pprof/{*name}", any(answer))
}

async fn answer(asked: Asked) -> Answer {
    let (parts, body) = asked.into_parts();
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
        .to_owned();
    let Ok(body) = to_bytes(body, MOST_BODY_BYTES).await else {
        return into_answer(Response::error(
            413,
            &format!("request body is larger than {MOST_BODY_BYTES} bytes"),
        ));
    };
    // The program admits whom it likes, but a token that was told holds here too.
    let shown = parts
        .headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    if let Some(refusal) = told_token_refuses(shown) {
        return into_answer(refusal);
    }
    let request = Request::new(parts.method.as_str(), target).with_body(Vec::from(body));
    let response = tokio::task::spawn_blocking(move || handle(&request)).await;
    into_answer(response.unwrap_or_else(|_| Response::error(500, "failed to collect profile")))
}

fn into_answer(response: Response) -> Answer {
    let is_left_out = response.body.is_empty() && response.content_length > 0;
    let mut answer = Answer::new(Body::from(Bytes::from(response.body)));
    if is_left_out {
        answer
            .headers_mut()
            .insert("content-length", response.content_length.into());
    }
    // Both come from this crate's tables; what they cannot hold is not there.
    if let Ok(status) = StatusCode::from_u16(response.status) {
        *answer.status_mut() = status;
    }
    for (name, value) in response.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}
