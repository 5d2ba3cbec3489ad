//! The bytes of traces: what is written is read again, and what is broken is told and does
//! no harm.
#![allow(clippy::unwrap_used)]

mod traces;

use everprof_profile::trace::{Event, Frame, Reader, Step, Table, VERSION, What};
use proptest::prelude::*;
use traces::{HEAP, TYPE, of, of_each_kind, others_of, read};

#[test]
fn every_kind_of_event_comes_back() {
    let events = of_each_kind();
    for (run, round) in [(1, 1), (2, 3), (100, 100)] {
        let (read, ending) = read(&of(3, &events, run, round)).unwrap();
        let expected: Vec<_> = events.iter().map(|e| (*e, others_of(e))).collect();
        assert_eq!(read, expected);
        assert!(ending.is_whole(), "{ending}");
        assert_eq!(ending.totals.unwrap().events, events.len() as u64);
    }
}

#[test]
fn tables_come_back() {
    let bytes = of(2, &[], 1, 1);
    let mut reader = Reader::new(&bytes[..]).unwrap();
    assert_eq!(reader.next_event(), None);
    let tables = reader.tables();
    assert_eq!(tables.program(), &traces::program());
    assert_eq!(tables.modules(), traces::modules());
    assert_eq!(tables.name(Table::Heaps, HEAP), Some("script"));
    assert_eq!(tables.name(Table::Types, TYPE), Some("app::Node"));
    assert_eq!(tables.name(Table::Types, 2), None);
    assert_eq!(tables.thread(1).unwrap().name, "worker-1");
    assert_eq!(tables.stacks(), 4);
    for (number, stack) in std::iter::zip(1.., traces::stacks()) {
        let frames = tables.stack(number).map(|frame| frame.return_address);
        assert_eq!(frames.collect::<Vec<_>>(), stack);
    }
    let in_libc = tables.stack(2).next().unwrap();
    assert_eq!(in_libc.module, Some(1));
    let lost = Frame {
        return_address: 3,
        module: None,
    };
    assert_eq!(tables.stack(3).last(), Some(lost));
    let (time, program) = (256 + 100, tables.program());
    assert_eq!(program.nanos(time), 1_600);
    assert_eq!(program.time_at(1_600), time);
    assert_eq!(program.time_at(1_585), time);
}

/// A file of the format's first version, byte for byte as docs/trace-format.md shows it.
#[test]
fn bytes_are_those_of_the_page() {
    use everprof_profile::trace::encode;
    let mut out = Vec::new();
    encode::head(&mut out);
    assert_eq!(out, *b"everprof-trace\n\x01");
    let page = include_str!("../../../docs/trace-format.md");
    let shown = |title: &str| -> Vec<u8> {
        let (_, rest) = page.split_once(title).unwrap();
        let (_, rest) = rest.split_once("```hex\n").unwrap();
        let (block, _) = rest.split_once("```").unwrap();
        block
            .lines()
            .flat_map(|line| line.split("  ").next().unwrap().split_whitespace())
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    };
    let mut stacks = Vec::new();
    let (a, b) = ([0x1041, 0x1021, 0x1011], [0x1051, 0x1011]);
    encode::stacks(&mut stacks, 1, [&a[..], &b[..]]);
    assert_eq!(shown("Two stacks, as an example"), stacks, "{stacks:02x?}");
    let mut events = encode::Events::new(0, 300, 0x7f00_0000_0000);
    for (time, what) in [
        (
            302,
            What::Alloc {
                stack: 1,
                size_bytes: 64,
                address: 0x7f00_0000_0040,
            },
        ),
        (
            402,
            What::Realloc {
                old_address: 0x7f00_0000_0040,
                stack: 2,
                size_bytes: 200,
                address: 0x7f00_0000_0040,
                took: 0,
            },
        ),
        (
            402,
            What::Free {
                address: 0x7f00_0000_0040,
            },
        ),
    ] {
        let event = Event {
            time,
            thread: 0,
            what,
        };
        events.push(&event, &[]);
    }
    let mut block = Vec::new();
    encode::events(&mut block, &events);
    assert_eq!(shown("Three events, as an example"), block, "{block:02x?}");
}

#[test]
fn a_trace_that_is_cut_anywhere_is_read_up_to_the_cut() {
    let events = of_each_kind();
    let bytes = of(3, &events, 1, 4);
    let (whole, _) = read(&bytes).unwrap();
    let mut most = 0;
    for length in 0..bytes.len() {
        let cut = &bytes[..length];
        let Ok((read, ending)) = read(cut) else {
            // Not even the program is there.
            assert!(length < 100, "{length} bytes of {}", bytes.len());
            continue;
        };
        assert!(ending.is_cut_off(), "{ending}");
        assert!(ending.at_byte <= length as u64);
        // Runs of one event each: what is in whole blocks is there, in order.
        assert_eq!(read, whole[..read.len()]);
        assert!(read.len() >= most, "a longer part tells no less");
        most = read.len();
    }
    assert_eq!(most, events.len());
}

#[test]
fn no_flipped_bit_passes_for_the_truth() {
    let events = of_each_kind();
    let bytes = of(3, &events, 2, 4);
    let (whole, _) = read(&bytes).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut broken = bytes.clone();
            broken[at] ^= 1 << bit;
            let Ok((read, ending)) = read(&broken) else {
                continue;
            };
            assert!(!ending.is_whole(), "byte {at}, bit {bit}");
            for (event, _) in &read {
                assert!(whole.iter().any(|(known, _)| known == event));
            }
        }
    }
}

#[test]
fn what_is_no_trace_is_told_what_it_is() {
    for (bytes, words) in [
        (&b""[..], "nothing: expected a trace"),
        (b"\x1f\x8b\x08\x00", "it begins with `\\x1f\\x8b"),
        (b"everprof-trace\n", "cut off within its first 16 bytes"),
        (b"everprof-trace\n\x02", "version 2: expected 1"),
        (b"everprof-trace\n\x01", "cut off within its first block"),
        (
            b"everprof-trace\n\x01\x01\xff\xff\xff\xff\0\0\0\0",
            "a block of 4294967295 bytes",
        ),
    ] {
        let error = read(bytes).unwrap_err();
        assert!(error.is_malformed());
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(VERSION, 1);
}

/// Payloads with right checksums and wrong contents: what only a recorder's fault, or
/// somebody's malice, makes.
#[test]
fn lies_within_blocks_are_refused() {
    use everprof_profile::trace::{Kind, encode};
    let with = |kind, payload: &[u8]| {
        let mut out = traces::tables(1);
        encode::block(&mut out, kind, payload);
        read(&out).unwrap().1.to_string()
    };
    for (kind, payload, words) in [
        (
            Kind::Program,
            &[1, 1, 1, 1, 1, 0][..],
            "second block on the program",
        ),
        (Kind::Stacks, &[9, 0], "stacks from number 9: expected 4"),
        (Kind::Stacks, &[4, 1, 1, 0], "shares 1 frames with one of 0"),
        (
            Kind::Stacks,
            &[4, 1, 0, 0x81, 0x20],
            "expected at most 4096",
        ),
        (Kind::Stacks, &[4, 2, 0, 0], "ends within a field"),
        (Kind::Stacks, &[4, 0, 7], "1 bytes behind"),
        (Kind::Modules, &[1, 0xff], "ends within a field"),
        (Kind::Names, &[0, 1, 1, 9, b'a'], "ends within a field"),
        (Kind::Thread, &[3, 1, 0], "thread 3: expected at most 1"),
        (
            Kind::Events,
            &[1, 0, 0, 1, 1, 0],
            "events of thread 1: expected one of the 1",
        ),
        (Kind::Events, &[0, 0, 0, 1, 7], "an event of kind 7"),
        (
            Kind::Events,
            &[0, 0, 0, 1, 0, 4, 1, 0],
            "stack 4: expected one of the 4",
        ),
        (
            Kind::Events,
            &[0, 0, 0, 1, 1, 0, 1],
            "1 bytes behind the last event",
        ),
        (Kind::Events, &[0, 0, 0, 2, 1, 0], "ends 1 events early"),
        (Kind::Events, &[0, 0, 0, 1, 1], "ends within an event"),
        (Kind::Events, &[0, 0, 0, 1, 4, 1, 2, 0], "swept `2`"),
    ] {
        let said = with(kind, payload);
        assert!(said.contains(words), "{kind:?} {payload:?}: {said}");
    }
}

#[test]
fn blocks_of_later_recorders_are_passed_over() {
    let events = of_each_kind();
    let mut bytes = traces::tables(3);
    // Kind 200, 1 byte, with its checksum.
    let mut known = Vec::new();
    everprof_profile::trace::encode::block(&mut known, everprof_profile::trace::Kind::End, &[5]);
    let crc = {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&[200, 1, 0, 0, 0, 5]);
        crc.finalize()
    };
    bytes.extend_from_slice(&[200, 1, 0, 0, 0]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.push(5);
    traces::put_events(&mut bytes, &events, 4, 4);
    traces::put_end(&mut bytes, &events);
    let (read, ending) = read(&bytes).unwrap();
    assert!(ending.is_whole(), "{ending}");
    assert_eq!(read.len(), events.len());
}

fn any_what() -> impl Strategy<Value = What> {
    let address = prop_oneof![
        (0u64..1 << 20).prop_map(|n| 0x7f00_0000_0000 + n * 8),
        any::<u64>(),
    ];
    let size_bytes = prop_oneof![0u64..4096, any::<u64>()];
    let step = prop_oneof![
        Just(Step::NextCycle),
        Just(Step::Flush),
        Just(Step::PostSweep),
        (3u32..).prop_map(Step::Other),
    ];
    (
        0..7,
        address.clone(),
        address,
        size_bytes,
        0u32..4,
        1u32..9,
        step,
    )
        .prop_map(
            |(kind, address, old_address, size_bytes, stack, heap, step)| match kind {
                0 => What::Alloc {
                    stack,
                    size_bytes,
                    address,
                },
                1 => What::Free { address },
                2 => What::Realloc {
                    old_address,
                    stack,
                    size_bytes,
                    address,
                    took: match address == old_address {
                        true => 0,
                        false => heap.into(),
                    },
                },
                3 => What::ManagedAlloc {
                    heap,
                    type_id: heap / 2,
                    stack,
                    size_bytes,
                    address,
                },
                4 => What::ManagedFree {
                    heap,
                    is_swept: stack > 1,
                    address,
                },
                5 => What::Cycle { heap, step },
                _ => What::Lost { events: size_bytes },
            },
        )
}

proptest! {
    /// Whatever the runs and rounds: each thread's events come back in their order, and all
    /// of them in the order of time.
    #[test]
    fn any_trace_comes_back(
        steps in prop::collection::vec((0u32..4, prop_oneof![0u64..3, 0u64..5000], any_what()), 0..200),
        run in 1u64..20,
        round in 1usize..40,
    ) {
        let mut time = 0;
        let events: Vec<Event> = steps
            .into_iter()
            .map(|(thread, step, what)| {
                time += step;
                Event { time, thread, what }
            })
            .collect();
        let (read, ending) = read(&of(4, &events, run, round)).unwrap();
        prop_assert!(ending.is_whole(), "{}", ending);
        prop_assert!(read.is_sorted_by_key(|(event, _)| event.time));
        for thread in 0..4 {
            let expected: Vec<_> = events
                .iter()
                .filter(|event| event.thread == thread)
                .map(|event| (*event, others_of(event)))
                .collect();
            let of_thread: Vec<_> = read
                .iter()
                .filter(|(event, _)| event.thread == thread)
                .cloned()
                .collect();
            prop_assert_eq!(of_thread, expected);
        }
    }

    /// Any bytes behind the beginning, with right checksums: an ending, not a panic.
    #[test]
    fn any_payload_ends_somehow(kind in 1u8..9, payload in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut out = traces::tables(3);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&[kind]);
        crc.update(&(payload.len() as u32).to_le_bytes());
        crc.update(&payload);
        out.push(kind);
        out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&crc.finalize().to_le_bytes());
        out.extend_from_slice(&payload);
        let (_, ending) = read(&out).unwrap();
        prop_assert!(ending.is_damaged() || ending.is_cut_off() || kind == 8, "{}", ending);
    }
}
