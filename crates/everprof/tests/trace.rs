//! A trace holds every event, and nothing else: exact sequences of known programs.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;
use std::io::{self, Write};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use everprof::heap::Managed;
use everprof::trace::{Format, Options, Sink, Summary, start};
use everprof_profile::trace::{Event, Reader, Table, What};

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

/// One trace at a time, as there is only one a process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Read {
    events: Vec<Event>,
    tids: Vec<u32>,
    stacks: Vec<Vec<u64>>,
    summary: Summary,
}

impl Read {
    /// What this thread did.
    fn of(&self, tid: u32) -> Vec<What> {
        let is_its = |event: &&Event| self.tids[event.thread as usize] == tid;
        let events = self.events.iter().filter(is_its);
        events.map(|event| event.what).collect()
    }
}

fn tid() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() }.cast_unsigned()
}

/// Traces `work`, which must clean up after itself whatever is not to be an event.
fn traced<T>(work: impl FnOnce() -> T) -> (Read, T) {
    let bytes = Shared::default();
    let sink = Sink::writer(bytes.clone());
    let trace = start(sink).unwrap();
    let done = work();
    let summary = trace.stop().unwrap();
    let bytes = bytes.0.lock().unwrap().clone();
    let mut reader = Reader::new(&*bytes).unwrap();
    let mut events = Vec::new();
    while let Some(event) = reader.next_event() {
        events.push(event);
    }
    let ending = reader.ending();
    assert!(ending.to_string().starts_with("whole"), "{ending}");
    let totals = ending.totals.unwrap();
    assert_eq!((totals.events, totals.lost), (summary.events, summary.lost));
    assert_eq!(summary.bytes, bytes.len() as u64);
    let tables = reader.tables();
    let read = Read {
        events,
        tids: tables.threads().iter().map(|thread| thread.tid).collect(),
        stacks: (0..tables.stacks())
            .map(|number| {
                tables
                    .stack(number)
                    .map(|frame| frame.return_address)
                    .collect()
            })
            .collect(),
        summary,
    };
    (read, done)
}

/// The steps of an event without its stack and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    Alloc(usize, usize),
    Free(usize),
    Realloc(usize, usize, usize),
}

fn did(what: What) -> Did {
    match what {
        What::Alloc {
            size_bytes,
            address,
            ..
        } => Did::Alloc(address as usize, size_bytes as usize),
        What::Free { address } => Did::Free(address as usize),
        What::Realloc {
            old_address,
            size_bytes,
            address,
            ..
        } => Did::Realloc(old_address as usize, address as usize, size_bytes as usize),
        other => panic!("{other:?}"),
    }
}

/// A list that does not grow while it is written to.
fn list() -> Vec<Did> {
    Vec::with_capacity(100_000)
}

/// Every kind of event for each of many layouts; what was done.
fn every_kind(done: &mut Vec<Did>) {
    for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
        for size in [1, 7, 8, 24, 100, 4096, 200_000] {
            let layout = Layout::from_size_align(size, align).unwrap();
            for zeroed in [false, true] {
                let object = if zeroed {
                    // SAFETY: the size is not 0.
                    unsafe { ALLOC.alloc_zeroed(layout) }
                } else {
                    // SAFETY: the size is not 0.
                    unsafe { ALLOC.alloc(layout) }
                };
                assert_eq!(object.addr() % align, 0);
                done.push(Did::Alloc(object.addr(), size));
                // SAFETY: the object has `size` bytes.
                let bytes = unsafe { std::slice::from_raw_parts_mut(object, size) };
                if zeroed {
                    assert!(bytes.iter().all(|byte| *byte == 0));
                }
                bytes
                    .iter_mut()
                    .zip(0..)
                    .for_each(|(byte, n)| *byte = n as u8);
                let (mut object, mut layout) = (object, layout);
                for new_size in [size + 1, size * 3, size.div_ceil(2)] {
                    let old = object;
                    // SAFETY: it came from here with this layout; the new size is not 0.
                    object = unsafe { ALLOC.realloc(object, layout, new_size) };
                    assert_eq!(object.addr() % align, 0);
                    done.push(Did::Realloc(old.addr(), object.addr(), new_size));
                    let kept = layout.size().min(new_size).min(size);
                    layout = Layout::from_size_align(new_size, align).unwrap();
                    // SAFETY: so many bytes were written, and kept.
                    let bytes = unsafe { std::slice::from_raw_parts(object, kept) };
                    let is_kept = |(byte, n): (&u8, usize)| *byte == n as u8;
                    assert!(bytes.iter().zip(0..).all(is_kept));
                }
                done.push(Did::Free(object.addr()));
                // SAFETY: it came from here with this layout.
                unsafe { ALLOC.dealloc(object, layout) };
            }
        }
    }
}

#[test]
fn every_kind_of_event_of_every_layout_is_there_in_its_order() {
    let _alone = alone();
    let mut done = list();
    let (read, ()) = traced(|| every_kind(&mut done));
    let seen: Vec<_> = read.of(tid()).into_iter().map(did).collect();
    assert_eq!(seen.len(), done.len());
    assert_eq!(seen, done);
    assert_eq!(read.summary.lost, 0);
}

#[test]
fn sampling_besides_changes_nothing_and_is_not_changed() {
    let _alone = alone();
    for period in [1, 512] {
        everprof::heap::set_period(period);
        let mut done = list();
        let (read, in_use) = thread::spawn(move || {
            // So that the thread's first samples are behind it.
            drop(black_box(vec![1_u8; 64 << 10]));
            let (read, in_use) = traced(|| {
                let before = in_use_bytes();
                every_kind(&mut done);
                let kept = black_box(vec![1_u8; 3 << 20]);
                let with = in_use_bytes();
                drop(kept);
                (before, with, in_use_bytes())
            });
            let seen: Vec<_> = read.of(tid()).into_iter().map(did).collect();
            let from = seen.windows(done.len()).position(|seen| seen == done);
            assert!(from.is_some(), "period {period}");
            (read, in_use)
        })
        .join()
        .unwrap();
        everprof::heap::set_period(512 << 10);
        drop(read);
        let (before, with, after) = in_use;
        if period == 1 {
            assert_eq!(with - before, 3 << 20);
            assert_eq!(after, before);
        }
    }
}

/// Bytes in use of objects of 3 MiB, by the heap profile: nobody else here has any.
fn in_use_bytes() -> i64 {
    let mut bytes = 0;
    everprof::heap::for_each(|record| {
        if record.size_class_bytes == 3 << 20 {
            bytes += record.allocated.bytes.cast_signed() - record.freed.bytes.cast_signed();
        }
    });
    bytes
}

#[test]
fn free_on_another_thread_is_that_threads_event() {
    let _alone = alone();
    let (read, (object, freer)) = traced(|| {
        let (give, take) = channel::<Box<[u64; 77]>>();
        let freer = thread::spawn(move || {
            drop(take.recv().unwrap());
            tid()
        });
        let object = black_box(Box::new([1_u64; 77]));
        let address = (&raw const *object).addr();
        give.send(object).unwrap();
        (address, freer.join().unwrap())
    });
    let mine = read.of(tid()).into_iter().map(did);
    let alloc = Did::Alloc(object, 77 * 8);
    assert_eq!(mine.filter(|did| *did == alloc).count(), 1);
    let others: Vec<_> = read.of(freer).into_iter().map(did).collect();
    assert!(others.contains(&Did::Free(object)));
}

#[test]
fn threads_that_begin_during_a_trace_are_traced_from_their_first_allocation() {
    let _alone = alone();
    let (read, threads) = traced(|| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                thread::spawn(|| {
                    let mut done = list();
                    every_kind(&mut done);
                    (tid(), done)
                })
            })
            .collect();
        let threads = threads.into_iter();
        threads
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    for (tid, done) in threads {
        let seen: Vec<_> = read.of(tid).into_iter().map(did).collect();
        assert!(seen.windows(done.len()).any(|seen| seen == done));
    }
}

#[inline(never)]
fn a_site_of_its_own() -> Box<[u8; 4321]> {
    black_box(Box::new([7; 4321]))
}

#[test]
fn stack_is_that_of_who_allocated() {
    let _alone = alone();
    let (read, ()) = traced(|| drop(a_site_of_its_own()));
    let stack = read.of(tid()).into_iter().find_map(|what| match what {
        What::Alloc {
            stack,
            size_bytes: 4321,
            ..
        } => Some(stack),
        _ => None,
    });
    let stack = &read.stacks[stack.unwrap() as usize];
    let start = a_site_of_its_own as *const () as u64;
    let is_in_it = |pc: &u64| (start..start + 400).contains(pc);
    assert!(stack.iter().any(is_in_it), "{start:#x}: {stack:#x?}");
}

#[test]
fn objects_outlive_their_trace_and_the_next() {
    let _alone = alone();
    let layouts = [(8, 8), (24, 1), (100, 16), (64, 64), (5000, 4096)]
        .map(|(size, align)| Layout::from_size_align(size, align).unwrap());
    let (_, objects) = traced(|| {
        // SAFETY: no size is 0.
        layouts.map(|layout| unsafe { ALLOC.alloc_zeroed(layout) })
    });
    let between = layouts.map(|layout| {
        // SAFETY: the size is not 0.
        unsafe { ALLOC.alloc_zeroed(layout) }
    });
    // Grown when there is no trace.
    // SAFETY: it came from here with this layout.
    let grown = unsafe { ALLOC.realloc(objects[1], layouts[1], 4000) };
    let (read, ()) = traced(|| {
        for (object, layout) in objects.into_iter().zip(layouts).skip(2).chain([
            (between[0], layouts[0]),
            (grown, Layout::from_size_align(4000, 1).unwrap()),
        ]) {
            // SAFETY: each came from here with this layout, and goes once.
            unsafe { ALLOC.dealloc(object, layout) };
        }
    });
    // Those of the trace before are known to go; what was made between is not.
    let seen: Vec<_> = read.of(tid()).into_iter().map(did).collect();
    let expected = objects
        .iter()
        .skip(2)
        .map(|object| Did::Free(object.addr()));
    assert_eq!(seen, expected.collect::<Vec<_>>());
    for (object, layout) in between.into_iter().zip(layouts).skip(1) {
        // SAFETY: as above.
        unsafe { ALLOC.dealloc(object, layout) };
    }
    // SAFETY: as above.
    unsafe { ALLOC.dealloc(objects[0], layouts[0]) };
}

/// An allocator that puts each block where the last one ended, as its alignment allows, and
/// notes what it is given back that it never gave.
struct Packing(RefCell<Packed>);

struct Packed {
    base: *mut u8,
    next: *mut u8,
    blocks: HashMap<usize, Layout>,
    faults: Vec<String>,
}

impl Packed {
    fn layout() -> Layout {
        Layout::from_size_align(1 << 20, 4096).unwrap()
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        // SAFETY: made by `new`; whoever has a block of it has no allocator any more.
        unsafe { System.dealloc(self.base, Self::layout()) };
    }
}

impl Packing {
    fn new() -> Self {
        // SAFETY: the size is not 0.
        let base = unsafe { System.alloc(Packed::layout()) };
        Self(RefCell::new(Packed {
            base,
            next: base,
            blocks: HashMap::with_capacity(10_000),
            faults: Vec::new(),
        }))
    }

    #[track_caller]
    fn assert_sound(&self) {
        let packed = self.0.borrow();
        assert_eq!(packed.faults, Vec::<String>::new());
        assert!(packed.blocks.is_empty());
    }
}

// SAFETY: blocks do not overlap, and are as large and aligned as asked for.
unsafe impl GlobalAlloc for Packing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut packed = self.0.borrow_mut();
        let up = packed.next.align_offset(layout.align());
        let block = packed.next.wrapping_add(up);
        packed.next = block.wrapping_add(layout.size());
        packed.blocks.insert(block.addr(), layout);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let mut packed = self.0.borrow_mut();
        let asked = packed.blocks.remove(&block.addr());
        if asked != Some(layout) {
            let fault = format!("{block:?} of {asked:?}, given back as {layout:?}");
            packed.faults.push(fault);
        }
    }
}

#[test]
fn objects_that_share_16_bytes_are_told_apart_traced_or_not() {
    let _alone = alone();
    let alloc = everprof::Alloc::new(Packing::new());
    let layouts: Vec<_> = (1..=9)
        .flat_map(|size| [1, 2, 4, 8, 16].map(|align| (size, align)))
        .map(|(size, align)| Layout::from_size_align(size, align).unwrap())
        .collect();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 33) as usize % below
    };
    let mut objects = Vec::with_capacity(10_000);
    let mut make = |count: usize| {
        let mut made = Vec::with_capacity(count);
        for _ in 0..count {
            let layout = layouts[next(layouts.len())];
            // Every second by who is not traced.
            let object = if made.len() % 2 == 0 {
                // SAFETY: the size is not 0.
                unsafe { alloc.alloc(layout) }
            } else {
                // SAFETY: as above.
                unsafe { alloc.inner().alloc(layout) }
            };
            assert_eq!(object.addr() % layout.align(), 0);
            made.push((object, layout));
        }
        made
    };
    let (read, made) = traced(|| make(4000));
    objects.extend(made);
    let seen = read.of(tid()).into_iter().map(did);
    let ours: Vec<_> = objects.iter().map(|(object, _)| object.addr()).collect();
    let is_ours = |did: &Did| matches!(did, Did::Alloc(address, _) if ours.contains(address));
    assert_eq!(seen.filter(is_ours).count(), 2000);
    while !objects.is_empty() {
        let (object, layout) = objects.swap_remove(next(objects.len()));
        // SAFETY: it came from here with this layout.
        unsafe { alloc.dealloc(object, layout) };
    }
    alloc.inner().assert_sound();
}

/// As where memory is limited: the list is what there is then.
#[test]
fn trace_that_has_no_room_for_marks_ends_and_says_so() {
    let _alone = alone();
    let alloc = everprof::Alloc::new(Packing::new());
    let bytes = Shared::default();
    let trace = start(Sink::writer(bytes.clone())).unwrap();
    let layout = Layout::from_size_align(1, 1).unwrap();
    let mut objects = Vec::with_capacity(10_000);
    while everprof_core::global::is_tracing() {
        assert!(objects.len() < 8000);
        // SAFETY: the size is not 0.
        objects.push(unsafe { alloc.alloc(layout) });
    }
    let error = trace.stop().unwrap_err();
    assert!(
        error.is_io() && error.to_string().contains("marks"),
        "{error}"
    );
    let bytes = bytes.0.lock().unwrap().clone();
    let mut reader = Reader::new(&*bytes).unwrap();
    while reader.next_event().is_some() {}
    assert_eq!(reader.ending().totals, None, "it is not whole");
    let refused = start(Sink::writer(io::sink())).unwrap_err();
    assert!(refused.is_io(), "{refused}");
    for object in objects {
        // SAFETY: it came from here with this layout.
        unsafe { alloc.dealloc(object, layout) };
    }
    alloc.inner().assert_sound();
    traced(|| ());
}

/// Panics when something is written to it.
struct Panicking;

impl Write for Panicking {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        panic!("as the test wants it");
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn sink_that_panics_ends_the_trace_and_not_the_program() {
    let _alone = alone();
    let trace = start(Sink::writer(Panicking)).unwrap();
    let error = trace.stop().unwrap_err();
    assert!(error.is_io(), "{error}");
    traced(|| ());
}

#[test]
fn one_trace_at_a_time() {
    let _alone = alone();
    let first = start(Sink::writer(io::sink())).unwrap();
    let second = start(Sink::writer(io::sink())).unwrap_err();
    assert!(second.is_busy(), "{second}");
    first.stop().unwrap();
    let third = start(Sink::writer(io::sink())).unwrap();
    third.stop().unwrap();
}

#[test]
fn full_disk_ends_the_trace_and_not_the_program() {
    let _alone = alone();
    let trace = start("/dev/full").unwrap();
    // Until the writer has found out: then nothing is recorded any more.
    while everprof_core::global::is_tracing() {
        drop(black_box(vec![1_u8; 100]));
    }
    let mut done = list();
    every_kind(&mut done);
    let error = trace.stop().unwrap_err();
    assert!(error.is_io(), "{error}");
    let (read, ()) = traced(|| drop(a_site_of_its_own()));
    assert_eq!(read.of(tid()).len(), 2);
}

#[test]
fn file_that_cannot_be_made_is_an_error_that_names_it() {
    let _alone = alone();
    let error = start("/nowhere/at/all.trace").unwrap_err();
    assert!(error.is_io() && error.to_string().contains("`/nowhere/at/all.trace`"));
    traced(|| ());
}

/// Collects the events of a managed heap.
#[test]
fn managed_heap_is_traced_with_its_types_and_collections() {
    let _alone = alone();
    let heap = Managed::new("traced").unwrap();
    // Not sampled: a trace sees it all the same.
    heap.set_period(0);
    let bytes = Shared::default();
    let trace = Options::new()
        .gc_stacks(true)
        .start(Sink::writer(bytes.clone()))
        .unwrap();
    heap.record_alloc(0x1000, 24, Some("Cons"));
    heap.record_alloc(0x1040, 32, None);
    heap.record_free(0x1040);
    heap.next_cycle();
    heap.flush();
    heap.record_sweep_free(0x1000);
    heap.post_sweep();
    trace.stop().unwrap();
    let bytes = bytes.0.lock().unwrap().clone();
    let mut reader = Reader::new(&*bytes).unwrap();
    let (mut seen, mut others) = (Vec::new(), 0);
    while let Some(event) = reader.next_event() {
        let tables = reader.tables();
        let of_heap = |heap| tables.name(Table::Heaps, heap).unwrap().to_owned();
        let text = match event.what {
            What::ManagedAlloc {
                heap,
                type_id,
                size_bytes,
                address,
                stack,
            } => {
                assert!(tables.stack(stack).count() > 3);
                let of = tables.name(Table::Types, type_id).unwrap_or("?");
                format!("{} alloc {address:#x} {size_bytes} {of}", of_heap(heap))
            }
            What::ManagedFree {
                heap,
                is_swept,
                address,
            } => format!("{} free {address:#x} {is_swept}", of_heap(heap)),
            What::Cycle { heap, step } => {
                others = others.max(reader.others().len());
                format!("{} {step:?}", of_heap(heap))
            }
            _ => continue,
        };
        seen.push(text);
    }
    assert_eq!(
        seen,
        [
            "traced alloc 0x1000 24 Cons",
            "traced alloc 0x1040 32 ?",
            "traced free 0x1040 false",
            "traced NextCycle",
            "traced Flush",
            "traced free 0x1000 true",
            "traced PostSweep",
        ]
    );
    // At least the thread that waits for this one to end.
    assert!(others >= 1);
}

#[test]
fn text_names_the_function_that_allocated() {
    let _alone = alone();
    let text = Shared::default();
    let trace = Options::new()
        .format(Format::Text)
        .start(Sink::writer(text.clone()))
        .unwrap();
    drop(a_site_of_its_own());
    trace.stop().unwrap();
    let text = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
    let mut lines = text.lines();
    assert!(
        lines.any(|line| line.contains("] alloc 4321 bytes at 0x")),
        "{text}"
    );
    assert!(
        lines.any(|line| line.contains("a_site_of_its_own")),
        "{text}"
    );
    assert!(lines.any(|line| line.contains("] free 0x")), "{text}");
}

/// Whether a thread of this process sleeps, as the kernel says.
#[cfg(feature = "interpose")]
fn sleeps(tid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat")).unwrap();
    let (_, behind_name) = stat.rsplit_once(") ").unwrap();
    behind_name.starts_with('S')
}

#[cfg(feature = "interpose")]
#[test]
fn thread_that_sleeps_when_a_trace_begins_is_traced_from_when_it_wakes() {
    let _alone = alone();
    let ((say, hear), (give, take)) = (channel(), channel::<()>());
    let sleeper = thread::spawn(move || {
        // So that its next sample is far off.
        everprof::heap::set_period(0);
        drop(black_box(vec![1_u8; 1 << 20]));
        let mut done = list();
        say.send(tid()).unwrap();
        take.recv().unwrap();
        every_kind(&mut done);
        (tid(), done)
    });
    let tid = hear.recv().unwrap();
    while !sleeps(tid) {
        thread::yield_now();
    }
    let (read, (tid, done)) = traced(|| {
        give.send(()).unwrap();
        sleeper.join().unwrap()
    });
    everprof::heap::set_period(512 << 10);
    let seen: Vec<_> = read.of(tid).into_iter().map(did).collect();
    assert!(seen.windows(done.len()).any(|seen| seen == done));
}

#[test]
fn file_that_is_traced_to_is_not_cut_by_another() {
    let _alone = alone();
    let path = std::env::temp_dir().join(format!("everprof-test-{}.trace", std::process::id()));
    let held = std::fs::File::create(&path).unwrap();
    held.lock().unwrap();
    std::fs::write(&path, "somebody's").unwrap();
    let error = start(&path).unwrap_err();
    assert!(error.is_busy(), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"somebody's");
    drop(held);
    start(&path).unwrap().stop().unwrap();
    assert!(
        std::fs::read(&path)
            .unwrap()
            .starts_with(b"everprof-trace\n")
    );
    std::fs::remove_file(&path).unwrap();
}
