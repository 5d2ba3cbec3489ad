//! `trace write FILE EVENTS` makes a trace as a busy service would: four threads, 10,000
//! stacks, about 100,000 objects in use from 16 B to 64 KiB, log-uniform. Of a hundred
//! events two are reallocations; of ten frees one is another thread's.
//!
//! `trace read FILE` follows its objects and prints one line: seconds by the clock, of CPU,
//! and the peak of resident memory in KiB; and on the next how many events there were.

use std::fs::File;
use std::io::{BufWriter, Write};

use everprof_profile::trace::encode::{self, Events};
use everprof_profile::trace::{Event, Module, Objects, Program, Reader, Thread, Totals, Wanted, What};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["write", file, events] => write(file, events.parse()?),
        ["read", file] => read(file),
        _ => Err("usage: trace write FILE EVENTS | trace read FILE".into()),
    }
}

fn read(file: &str) -> Outcome {
    let mut events = 0;
    workloads::timed(|| {
        let file = File::open(file).expect("the file is there");
        let mut reader = Reader::new(file).expect("it is a trace");
        let mut objects = Objects::new(Wanted::default(), reader.tables());
        while let Some(event) = reader.next_event() {
            objects.take(&event, reader.tables());
        }
        assert!(reader.ending().is_whole(), "{}", reader.ending());
        let findings = objects.finish(reader.tables());
        assert!(findings.at_peak.bytes > 0);
        events = reader.ending().events;
    });
    println!("{events}");
    Ok(())
}

const THREADS: usize = 4;
const STACKS: u32 = 10_000;
const IN_USE: usize = 100_000;
/// As many as fit the 64 KiB of a recorder's buffer.
const RUN: u64 = 10_000;
/// Some tenths of a second of a busy program.
const ROUND: u64 = 100_000;

/// An object in use.
#[derive(Clone, Copy)]
struct Object {
    address: u64,
    thread: usize,
}

fn write(file: &str, count: u64) -> Outcome {
    let mut out = BufWriter::new(File::create(file)?);
    let mut bytes = Vec::new();
    encode::head(&mut bytes);
    let program = Program {
        ticks_per_second: 2_400_000_000,
        shift: 6,
        command_line: vec!["service".into()],
        ..Program::default()
    };
    encode::program(&mut bytes, &program);
    let module = Module {
        start: 0x1000,
        limit: 0x100_0000,
        file: "/nowhere/service".into(),
        ..Module::default()
    };
    encode::modules(&mut bytes, &[module]);
    let stacks: Vec<Vec<u64>> = (0..u64::from(STACKS)).map(stack).collect();
    encode::stacks(&mut bytes, 1, stacks.iter().map(Vec::as_slice));
    let mut runs: Vec<Events> = Vec::new();
    for number in 0..THREADS as u32 {
        let name = format!("worker-{number}");
        encode::thread(&mut bytes, number, &Thread { tid: number + 1, name });
        runs.push(Events::new(number, 0, 0x7f00_0000_0000));
    }
    let mut random = Random(88_172_645_463_325_252);
    let mut heap = Heap::default();
    let mut in_use: Vec<Object> = Vec::with_capacity(IN_USE);
    let mut time = 0;
    for n in 0..count {
        time += random.below(4);
        let thread = random.below(THREADS as u64) as usize;
        let kind = random.below(100);
        let (thread, what) = if kind < 2 && !in_use.is_empty() {
            let place = random.below(in_use.len() as u64) as usize;
            let old = in_use[place];
            let size_bytes = random.size();
            heap.free(old.address);
            let address = heap.alloc(size_bytes);
            in_use[place] = Object { address, thread };
            let took = 3;
            let what = What::Realloc {
                old_address: old.address,
                stack: random.stack(),
                size_bytes,
                address,
                took,
            };
            (thread, what)
        } else if in_use.len() < IN_USE && (in_use.len() < IN_USE / 2 || kind < 51) {
            let size_bytes = random.size();
            let address = heap.alloc(size_bytes);
            in_use.push(Object { address, thread });
            let what = What::Alloc {
                stack: random.stack(),
                size_bytes,
                address,
            };
            (thread, what)
        } else {
            let place = random.below(in_use.len() as u64) as usize;
            let old = in_use.swap_remove(place);
            heap.free(old.address);
            let thread = if random.below(10) == 0 { thread } else { old.thread };
            let address = old.address;
            (thread, What::Free { address })
        };
        let event = Event {
            time,
            thread: thread as u32,
            what,
        };
        runs[thread].push(&event, &[]);
        let is_round = (n + 1) % ROUND == 0;
        for run in &mut runs {
            if run.len() >= RUN || (is_round && !run.is_empty()) {
                encode::events(&mut bytes, run);
                run.clear();
            }
        }
        if is_round {
            encode::round(&mut bytes, time);
        }
        if bytes.len() > 1 << 20 {
            out.write_all(&bytes)?;
            bytes.clear();
        }
    }
    for run in runs.iter().filter(|run| !run.is_empty()) {
        encode::events(&mut bytes, run);
    }
    let totals = Totals {
        events: count,
        lost: 0,
        time,
    };
    encode::end(&mut bytes, &totals);
    out.write_all(&bytes)?;
    Ok(out.flush()?)
}

/// Twenty frames; the outer ones are shared by many.
fn stack(number: u64) -> Vec<u64> {
    let frame = |depth: u64| 0x1000 + (depth << 16) + ((number >> (depth / 2)) & 0xfff) * 16 + 1;
    (0..20).map(frame).collect()
}

/// Where objects are: an address that was freed is soon given out again, as an allocator's
/// are.
#[derive(Default)]
struct Heap {
    free: Vec<u64>,
    next: u64,
}

impl Heap {
    fn alloc(&mut self, size_bytes: u64) -> u64 {
        self.free.pop().unwrap_or_else(|| {
            self.next += (size_bytes + 31) & !15;
            0x7f00_0000_0000 + self.next
        })
    }

    fn free(&mut self, address: u64) {
        self.free.push(address);
    }
}

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 20) % limit
    }

    fn size(&mut self) -> u64 {
        let part = self.below(4096) as f64 / 4096.0;
        (16.0 * 4096f64.powf(part)) as u64
    }

    /// A few sites allocate most.
    fn stack(&mut self) -> u32 {
        let part = self.below(1 << 20) as f64 / f64::from(1 << 20);
        1 + (part * part * f64::from(STACKS)) as u32
    }
}
