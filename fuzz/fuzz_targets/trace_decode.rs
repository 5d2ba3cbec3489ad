//! Any bytes are a trace, a part of one, or an error. What was read is followed to its end
//! and becomes profiles and text.
//!
//! Checksums would keep a fuzzer out: the input is a row of blocks without them, each a byte of
//! kind, two of length, and its payload; this makes a trace of it.
#![no_main]

use std::io::Write as _;

use everprof_profile::trace::encode;
use everprof_profile::trace::text::Converter;
use everprof_profile::trace::{Kind, Objects, Program, Reader, Table, View, Wanted};
use libfuzzer_sys::fuzz_target;

const KINDS: [Kind; 8] = [
    Kind::Program,
    Kind::Modules,
    Kind::Stacks,
    Kind::Names,
    Kind::Thread,
    Kind::Events,
    Kind::Round,
    Kind::End,
];

fn sealed(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::head(&mut out);
    let program = Program {
        ticks_per_second: 1_000_000_000,
        ..Program::default()
    };
    encode::program(&mut out, &program);
    while let [kind, low, high, rest @ ..] = bytes {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (payload, rest) = rest.split_at(length);
        encode::block(&mut out, KINDS[usize::from(*kind) % KINDS.len()], payload);
        bytes = rest;
    }
    out
}

fn follow(bytes: &[u8]) {
    let Ok(mut reader) = Reader::new(bytes) else {
        return;
    };
    let wanted = Wanted {
        lifetimes: true,
        ..Wanted::default()
    };
    let of_heap = Wanted {
        heap: Some(1),
        ..Wanted::default()
    };
    let mut objects = [wanted, of_heap].map(|wanted| Objects::new(wanted, reader.tables()));
    let mut events = 0;
    while let Some(event) = reader.next_event() {
        events += 1;
        for objects in &mut objects {
            objects.take(&event, reader.tables());
        }
    }
    assert_eq!(reader.ending().events, events);
    // An event takes two bytes at least.
    assert!(events <= bytes.len() as u64);
    let _ = reader.tables().names(Table::Types).count();
    for objects in objects {
        let findings = objects.finish(reader.tables());
        assert!(findings.temporary.objects <= findings.allocated.objects);
        let in_use: u64 = findings.sites.iter().map(|site| site.in_use.objects).sum();
        assert_eq!(in_use, findings.in_use.objects);
        for view in [View::Heap, View::Peak, View::Lifetimes, View::Reallocations] {
            let _ = findings.profile(reader.tables(), view);
        }
    }
    let mut text = Converter::new(std::io::sink(), |_| {});
    let _ = text.write_all(bytes).and_then(|()| text.finish().map(drop));
}

fuzz_target!(|bytes: &[u8]| {
    follow(bytes);
    follow(&sealed(bytes));
});
