//! Profile values: what every reader of profiles needs, and no recorder.
#![forbid(unsafe_code)]
