//! Any bytes are a request or an answer that refuses them, and any request has
//! an answer.
#![no_main]

use everprof::{Request, handle};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = Request::parse(bytes) else {
        return;
    };
    assert!(request.body.len() <= bytes.len());
    // It would wait as long as it is told to, which is no fault.
    if !request.target.contains("seconds") {
        let answer = handle(&request);
        assert!((200..600).contains(&answer.status));
    }
});
