//! Any bytes are a request or an answer that refuses them, and any request has
//! an answer.
#![no_main]

use everprof::{Request, Response, handle};
use libfuzzer_sys::fuzz_target;

fn is_an_answer(response: &Response) {
    assert!((200..600).contains(&response.status), "{}", response.status);
    for (name, value) in &response.headers {
        // A line break in a header would begin another, or the body.
        assert!(
            !name.contains(['\r', '\n']) && !value.contains(['\r', '\n']),
            "{name}: {value}"
        );
    }
}

fuzz_target!(|bytes: &[u8]| {
    let request = match Request::parse(bytes) {
        Ok(request) => request,
        Err(refusal) => return is_an_answer(&refusal),
    };
    assert!(request.body.len() <= bytes.len());
    // It would wait as long as it is told to, which is no fault; the key may be
    // escaped.
    if !request.target.contains("seconds") && !request.target.contains('%') {
        is_an_answer(&handle(&request));
    }
});
