//! Traces made by hand: events in the order of time, put into blocks and rounds as a
//! recorder does.
#![allow(dead_code, clippy::unwrap_used)]

use everprof_profile::trace::encode::{self, Events};
use everprof_profile::trace::{
    Ending, Event, Module, Other, Program, Reader, Step, Table, Thread, Totals, What,
};

/// Numbers of the heaps and types that [`tables`] names.
pub const HEAP: u32 = 1;
pub const TYPE: u32 = 1;

pub fn program() -> Program {
    Program {
        ticks_per_second: 1_000_000_000,
        start_unix_nanos: 1_795_441_205_000_000_000,
        start_ticks: 4_096,
        shift: 4,
        pid: 4711,
        command_line: vec!["/bin/app".into(), "--fast".into()],
    }
}

pub fn modules() -> Vec<Module> {
    vec![
        Module {
            start: 0x1000,
            limit: 0x9000,
            offset: 0x800,
            file: "/nowhere/app".into(),
            build_id: vec![0xc0, 0xff, 0xee],
        },
        Module {
            start: 0x10_0000,
            limit: 0x20_0000,
            offset: 0,
            file: "/nowhere/libc.so".into(),
            build_id: vec![],
        },
    ]
}

/// Stacks 1, 2, 3, leaf first.
pub fn stacks() -> Vec<Vec<u64>> {
    vec![
        vec![0x1041, 0x1021, 0x1011],
        vec![0x10_0041, 0x1031, 0x1011],
        vec![0x1041, 0x1021, 3],
    ]
}

/// The beginning of a trace with that many threads.
pub fn tables(threads: u32) -> Vec<u8> {
    let mut out = Vec::new();
    encode::head(&mut out);
    encode::program(&mut out, &program());
    encode::names(&mut out, Table::Frames, [(3, "everprof::lost::truncated")]);
    encode::names(&mut out, Table::Heaps, [(HEAP, "script")]);
    encode::names(&mut out, Table::Types, [(TYPE, "app::Node")]);
    encode::modules(&mut out, &modules());
    let stacks = stacks();
    encode::stacks(&mut out, 1, stacks.iter().map(Vec::as_slice));
    for number in 0..threads {
        let name = match number {
            0 => "main".to_owned(),
            number => format!("worker-{number}"),
        };
        let tid = 4711 + number;
        encode::thread(&mut out, number, &Thread { tid, name });
    }
    out
}

/// Appends events, which are in the order of time: `run` of each thread to a block, a round
/// after every `round` events.
pub fn put_events(out: &mut Vec<u8>, events: &[Event], run: u64, round: usize) {
    put_events_with(out, events, run, round, None);
}

/// As [`put_events`], with one thread's events always behind the round that should have had
/// them.
pub fn put_events_with(
    out: &mut Vec<u8>,
    events: &[Event],
    run: u64,
    round: usize,
    late: Option<u32>,
) {
    let threads = events.iter().map(|event| event.thread + 1).max();
    let mut runs: Vec<Option<Events>> = vec![None; threads.unwrap_or(0) as usize];
    for (n, event) in events.iter().enumerate() {
        let place = &mut runs[event.thread as usize];
        let events = place.get_or_insert_with(|| Events::new(event.thread, event.time, 0));
        events.push(event, &others_of(event));
        if events.len() >= run && late != Some(event.thread) {
            encode::events(out, events);
            events.clear();
        }
        if (n + 1) % round == 0 {
            let held = late.and_then(|thread| runs.get_mut(thread as usize)?.take());
            flush(out, &mut runs);
            encode::round(out, event.time);
            if let Some(held) = held {
                encode::events(out, &held);
            }
        }
    }
    flush(out, &mut runs);
}

fn flush(out: &mut Vec<u8>, runs: &mut [Option<Events>]) {
    for run in runs.iter_mut().flatten().filter(|run| !run.is_empty()) {
        encode::events(out, run);
        run.clear();
    }
}

/// What the others did in these traces: a function of the event.
pub fn others_of(event: &Event) -> Vec<Other> {
    match event.what {
        What::Cycle { heap, .. } => (0..heap % 3)
            .map(|n| Other {
                thread: n,
                stack: 1 + n,
            })
            .collect(),
        _ => Vec::new(),
    }
}

pub fn put_end(out: &mut Vec<u8>, events: &[Event]) {
    let totals = Totals {
        events: events.len() as u64,
        lost: 0,
        time: events.last().map_or(0, |event| event.time),
    };
    encode::end(out, &totals);
}

/// A whole trace of these events.
pub fn of(threads: u32, events: &[Event], run: u64, round: usize) -> Vec<u8> {
    let mut out = tables(threads);
    put_events(&mut out, events, run, round);
    put_end(&mut out, events);
    out
}

/// One event of each kind, of three threads.
pub fn of_each_kind() -> Vec<Event> {
    let what = [
        What::Alloc {
            stack: 1,
            size_bytes: 64,
            address: 0x7f00_0000_0040,
        },
        What::Alloc {
            stack: 2,
            size_bytes: 5_000_000_000,
            address: 0x7f00_0000_0080,
        },
        What::Realloc {
            old_address: 0x7f00_0000_0040,
            stack: 3,
            size_bytes: 128,
            address: 0x7f11_0000_0040,
            took: 3,
        },
        What::Free {
            address: 0x7f00_0000_0080,
        },
        What::ManagedAlloc {
            heap: HEAP,
            type_id: TYPE,
            stack: 1,
            size_bytes: 24,
            address: 0x7f00_0000_0043,
        },
        What::Cycle {
            heap: 2,
            step: Step::NextCycle,
        },
        What::Cycle {
            heap: HEAP,
            step: Step::Other(77),
        },
        What::ManagedFree {
            heap: HEAP,
            is_swept: true,
            address: 0x7f00_0000_0043,
        },
        What::Lost { events: 300 },
        What::Free {
            address: 0x7f11_0000_0040,
        },
    ];
    std::iter::zip(0.., what)
        .map(|(n, what)| Event {
            time: 1_000 + u64::from(n * n) * 7,
            thread: n % 3,
            what,
        })
        .collect()
}

/// Events, and what others did.
pub type Told = Vec<(Event, Vec<Other>)>;

/// All that a trace tells, and how it ended.
pub fn read(bytes: &[u8]) -> Result<(Told, Ending), everprof_profile::Error> {
    let mut reader = Reader::new(bytes)?;
    let mut events = Vec::new();
    while let Some(event) = reader.next_event() {
        let others = match event.what {
            What::Cycle { .. } => reader.others().to_vec(),
            _ => Vec::new(),
        };
        events.push((event, others));
    }
    Ok((events, reader.ending()))
}
