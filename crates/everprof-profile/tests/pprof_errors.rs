//! What the decoder says about input that is no profile.

#![allow(clippy::unwrap_used)]

use std::io::Write;

use everprof_profile::pprof::{self, Limits};
use everprof_profile::{Error, Label, Profile};
use flate2::{Compression, write::GzEncoder};

fn zip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn error(bytes: &[u8]) -> Error {
    pprof::decode(bytes, &Limits::default()).unwrap_err()
}

/// Some 100 KB of a valid profile.
fn valid() -> Vec<u8> {
    let mut profile = Profile::new(&[("n", "count")]);
    for n in 0..10_000 {
        let at = profile.add_location(n, None);
        profile.push_sample(
            &[at],
            &[n as i64 * 7919],
            &[Label::number("bytes", n as i64, "")],
        );
    }
    let mut bytes = Vec::new();
    pprof::encode(&profile, &mut bytes).unwrap();
    bytes
}

#[track_caller]
fn says(error: &Error, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "`{message}` does not say `{part}`");
    }
}

#[test]
fn empty_input_is_called_empty() {
    says(&error(b""), &["empty", "expected a pprof profile"]);
    says(&error(&zip(b"")), &["empty"]);
}

#[test]
fn pages_and_texts_are_called_what_they_are() {
    says(
        &error(b"\n<!DOCTYPE html><html>"),
        &["HTML page", "/debug/pprof/heap"],
    );
    says(&error(&zip(b"<html><body>404")), &["HTML page"]);
    says(&error(b"{\"error\": 1}"), &["JSON"]);
    says(
        &error(b"404 page not found\n"),
        &["begins `404 page not found`", "check the URL"],
    );
    says(&error(b"\x7fELF\x02\x01\x01"), &["ELF program"]);
    says(
        &error(b"heap profile: 1: 2 [3: 4] @ heap/2\n"),
        &["text form", "without `debug=`"],
    );
    for error in [error(b"<html>"), error(b"hello")] {
        assert!(error.is_malformed());
    }
}

#[test]
fn cut_off_gzip_is_called_cut_off_wherever_it_is_cut() {
    let bytes = valid();
    for at in [
        2,
        9,
        10,
        11,
        100,
        bytes.len() / 2,
        bytes.len() - 9,
        bytes.len() - 1,
    ] {
        let error = error(&bytes[..at]);
        assert!(error.is_malformed());
        says(&error, &["ends in the middle", "fetch it again"]);
    }
}

#[test]
fn damaged_gzip_is_called_damaged() {
    let mut bytes = valid();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    let error = error(&bytes);
    assert!(error.is_malformed());
    says(&error, &["damaged"]);
}

#[test]
fn bombs_are_refused_by_ratio_and_by_size() {
    let bomb = zip(&vec![0; 17 << 20]);
    assert!(bomb.len() < 64 << 10);
    let by_ratio = error(&bomb);
    assert!(by_ratio.is_limit());
    says(&by_ratio, &["over 500 times", "not decompressed further"]);

    let mut limits = Limits::default();
    limits.max_bytes = 1 << 20;
    limits.max_ratio = u64::MAX;
    let by_size = pprof::decode(&bomb, &limits).unwrap_err();
    assert!(by_size.is_limit());
    says(&by_size, &["larger than 1048576 bytes", "raise the limit"]);
    let plain = pprof::decode(&vec![0; 2 << 20], &limits).unwrap_err();
    assert!(plain.is_limit());
}

#[test]
fn references_out_of_range_are_named() {
    // One sample type of string 9; a table of one string.
    says(
        &error(&[0x0a, 2, 0x08, 9, 0x32, 0]),
        &["refers to string 9", "has only 1"],
    );
    // A sample of location 5.
    let bytes = [0x0a, 0, 0x12, 5, 0x0a, 1, 5, 0x10, 1, 0x32, 0];
    says(&error(&bytes), &["sample 0", "location 5"]);
    // A sample of two values for one type.
    let bytes = [0x0a, 0, 0x12, 4, 0x10, 1, 0x10, 1, 0x32, 0];
    says(&error(&bytes), &["sample 0 has 2 values", "expected 1"]);
}

#[test]
fn two_gzip_members_are_one_profile() {
    let mut plain = Vec::new();
    pprof::encode_plain(&Profile::new(&[("n", "count")]), &mut plain).unwrap();
    let (a, b) = plain.split_at(plain.len() / 2);
    let both = [zip(a), zip(b)].concat();
    assert_eq!(
        pprof::decode(&both, &Limits::default())
            .unwrap()
            .sample_types()
            .len(),
        1
    );
}
