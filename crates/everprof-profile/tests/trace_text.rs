//! The text of a trace, word for word.
#![allow(clippy::unwrap_used)]

mod traces;

use std::io::Write;

use everprof_profile::trace::encode;
use everprof_profile::trace::text::Converter;
use everprof_profile::trace::{Table, Thread};
use everprof_profile::{Function, Line, LocationId, Profile};
use traces::{of, of_each_kind};

/// Gives every address of the program a name.
fn name(stacks: &mut Profile) {
    let unnamed: Vec<LocationId> = stacks
        .locations()
        .filter(|(_, location)| location.lines.is_empty() && location.address < 0x10_0000)
        .map(|(id, _)| id)
        .collect();
    for id in unnamed {
        let address = stacks.location(id).address;
        let function = stacks.add_function(Function {
            name: &format!("app::at_{address:x}"),
            file: "src/app.rs",
            ..Function::default()
        });
        let line = Line {
            function,
            line: (address & 0xff) as i64,
            column: 0,
        };
        stacks.set_lines(id, &[line]);
    }
}

fn text(pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let mut converter = Converter::new(Vec::new(), name);
    for piece in pieces {
        converter.write_all(piece.as_ref()).unwrap();
    }
    String::from_utf8(converter.finish().unwrap()).unwrap()
}

#[test]
fn every_kind_of_event_has_its_line() {
    let said = text([of(3, &of_each_kind(), 2, 3)]);
    let expected = "\
0.000011904 main[4711] alloc 64 bytes at 0x7f0000000040
\tapp::at_1040 src/app.rs:64
\tapp::at_1020 src/app.rs:32
\tapp::at_1010 src/app.rs:16
0.000012016 worker-1[4712] alloc 5000000000 bytes at 0x7f0000000080
\tlibc.so+0x40
\tapp::at_1030 src/app.rs:48
\tapp::at_1010 src/app.rs:16
0.000012352 worker-2[4713] realloc 128 bytes at 0x7f1100000040, from 0x7f0000000040
\tapp::at_1040 src/app.rs:64
\tapp::at_1020 src/app.rs:32
\teverprof::lost::truncated
0.000012912 main[4711] free 0x7f0000000080
0.000013696 worker-1[4712] alloc 24 bytes at 0x7f0000000043 in script, app::Node
\tapp::at_1040 src/app.rs:64
\tapp::at_1020 src/app.rs:32
\tapp::at_1010 src/app.rs:16
0.000014704 worker-2[4713] next cycle in heap 2
\tmain[4711]
\tapp::at_1040 src/app.rs:64
\tapp::at_1020 src/app.rs:32
\tapp::at_1010 src/app.rs:16
\tworker-1[4712]
\tlibc.so+0x40
\tapp::at_1030 src/app.rs:48
\tapp::at_1010 src/app.rs:16
0.000015936 main[4711] step 77 in script
\tmain[4711]
\tapp::at_1040 src/app.rs:64
\tapp::at_1020 src/app.rs:32
\tapp::at_1010 src/app.rs:16
0.000017392 worker-1[4712] sweep 0x7f0000000043 in script
0.000019072 worker-2[4713] lost 300 events
0.000020976 main[4711] free 0x7f1100000040
";
    assert!(said == expected, "the text is now:\n{said}");
}

#[test]
fn pieces_do_not_matter() {
    let bytes = of(3, &of_each_kind(), 2, 3);
    let whole = text([&bytes]);
    for length in [1, 2, 7, 100] {
        assert_eq!(text(bytes.chunks(length)), whole, "pieces of {length}");
    }
}

#[test]
fn what_waits_at_a_cut_is_written() {
    let bytes = of(3, &of_each_kind(), 2, 100);
    let cut = &bytes[..bytes.len() - 15];
    assert_eq!(text([cut]).matches("alloc 64 bytes").count(), 1);
}

#[test]
fn names_cannot_steer_the_terminal() {
    let mut bytes = traces::tables(0);
    let evil = "\u{1b}[2J\n";
    let thread = Thread {
        tid: 1,
        name: evil.into(),
    };
    encode::thread(&mut bytes, 0, &thread);
    encode::names(&mut bytes, Table::Heaps, [(1, evil), (2, evil)]);
    let mut events = of_each_kind();
    for event in &mut events {
        event.thread = 0;
    }
    traces::put_events(&mut bytes, &events, 100, 100);
    let said = text([bytes]);
    assert!(said.contains("\\u{1b}[2J\\u{a}[1] alloc"), "{said}");
    assert!(!said.contains('\u{1b}'));
}

#[test]
fn damage_is_an_error_of_the_writer() {
    let mut bytes = of(3, &of_each_kind(), 2, 3);
    let at = bytes.len() - 3;
    bytes[at] ^= 1;
    let mut converter = Converter::new(Vec::new(), name);
    let error = converter.write_all(&bytes).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("checksum"), "{error}");
}
