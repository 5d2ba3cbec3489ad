//! A real heap with a collector: several mutators, mark and sweep, swept bit by bit
//! while they go on. What the profile shows is the heap at a mark termination, object
//! for object, at every step of the sweep.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use everprof::heap::{IncludeFreed, Managed};
use everprof::profile;
use everprof_profile::pprof::{Limits, decode};

/// By type and size, how many objects. Two of each type, so that sizes of one type are
/// told apart, too.
type Census = BTreeMap<(&'static str, usize), u64>;

const TYPES: [(&str, usize); 5] = [
    ("Cons", 24),
    ("Cons", 48),
    ("String", 40),
    ("String", 200),
    ("Closure", 64),
];

struct Object {
    kind: usize,
    references: Vec<usize>,
}

/// A heap whose mutators hold the world's lock for reading while they work; the collector
/// stops the world by taking it for writing.
struct World {
    objects: Mutex<BTreeMap<usize, Object>>,
    next_address: AtomicUsize,
    /// Mutators wait for the collector here, so that no heap grows with the machine's
    /// mood: what a test looks at is as large on a slow one.
    limit: AtomicUsize,
    /// By mutator.
    roots: Vec<Mutex<Vec<usize>>>,
    running: RwLock<()>,
    profile: Managed,
}

impl World {
    fn new(name: &str, mutators: usize) -> Self {
        let profile = Managed::new(name).unwrap();
        profile.set_period(1);
        Self {
            objects: Mutex::default(),
            next_address: AtomicUsize::new(64),
            limit: AtomicUsize::new(0),
            roots: (0..mutators).map(|_| Mutex::default()).collect(),
            running: RwLock::new(()),
            profile,
        }
    }

    fn alloc(&self, kind: usize, references: Vec<usize>) -> usize {
        let address = self.next_address.fetch_add(64, Ordering::Relaxed);
        let (type_name, size) = TYPES[kind];
        self.objects
            .lock()
            .unwrap()
            .insert(address, Object { kind, references });
        self.profile.record_alloc(address, size, Some(type_name));
        address
    }

    /// One step of a mutator: allocates, links, and lets go of some.
    fn mutate(&self, mutator: usize, random: &mut u64) {
        let _running = self.running.read().unwrap();
        let mut roots = self.roots[mutator].lock().unwrap();
        let mut next = |most: usize| {
            *random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (*random >> 33) as usize % most
        };
        let references = match roots.len() {
            0 => vec![],
            len => vec![roots[next(len)]],
        };
        roots.push(self.alloc(next(TYPES.len()), references));
        if roots.len() > 20 {
            let at = next(roots.len());
            roots.swap_remove(at);
        }
        // Freed by the program itself, as it knows that nobody else refers to it.
        if next(8) == 0 {
            let address = self.alloc(next(TYPES.len()), vec![]);
            self.objects.lock().unwrap().remove(&address);
            self.profile.record_free(address);
        }
    }

    /// Stops the world, marks, and gives what is in use and what is garbage.
    fn mark(&self) -> (Census, Vec<usize>) {
        let _stopped = self.running.write().unwrap();
        let objects = self.objects.lock().unwrap();
        let mut to_visit: Vec<usize> = Vec::new();
        for roots in &self.roots {
            to_visit.extend(&*roots.lock().unwrap());
        }
        let mut marked = BTreeSet::new();
        while let Some(address) = to_visit.pop() {
            if marked.insert(address) {
                to_visit.extend(&objects[&address].references);
            }
        }
        assert!(self.profile.next_cycle());
        let garbage = objects.keys().filter(|address| !marked.contains(address));
        (
            census(marked.iter().map(|address| &objects[address])),
            garbage.copied().collect(),
        )
    }

    fn sweep(&self, garbage: &[usize]) {
        for address in garbage {
            self.objects.lock().unwrap().remove(address).unwrap();
            self.profile.record_sweep_free(*address);
        }
    }

    /// What a count of each event as it happens shows.
    fn naive(&self) -> Census {
        census(self.objects.lock().unwrap().values())
    }

    fn shown(&self) -> Census {
        let mut shown = Census::new();
        self.profile.for_each(|record| {
            let name = record.type_name.as_deref().unwrap();
            let size = record.size_class_bytes as usize;
            let kind = TYPES.iter().find(|kind| **kind == (name, size)).unwrap();
            let objects = record.in_use_objects();
            assert_eq!(record.in_use_bytes(), objects * size as u64);
            if objects > 0 {
                *shown.entry(*kind).or_default() += objects;
            }
        });
        shown
    }
}

fn census<'o>(objects: impl Iterator<Item = &'o Object>) -> Census {
    objects.fold(Census::new(), |mut census, object| {
        *census.entry(TYPES[object.kind]).or_default() += 1;
        census
    })
}

/// The mutators run all the time, but for marking; the profile is looked at again and
/// again while the sweep goes on.
#[test]
fn profile_is_the_heap_at_a_mark_termination_at_every_step_of_the_sweep() {
    const MUTATORS: usize = 3;
    let world = Arc::new(World::new("collected", MUTATORS));
    let over = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..MUTATORS)
        .map(|mutator| {
            let (world, over) = (Arc::clone(&world), Arc::clone(&over));
            std::thread::spawn(move || {
                let mut random = mutator as u64 + 1;
                while !over.load(Ordering::Relaxed) {
                    let next = world.next_address.load(Ordering::Relaxed);
                    if next < world.limit.load(Ordering::Relaxed) {
                        world.mutate(mutator, &mut random);
                    }
                    std::thread::yield_now();
                }
            })
        })
        .collect();
    let mut skewed = 0;
    let mut last: Option<Census> = None;
    for _ in 0..20 {
        let allocated = world.next_address.load(Ordering::Relaxed);
        // A third before marking, the rest during the sweep, or as it comes.
        world.limit.store(allocated + 64 * 600, Ordering::Relaxed);
        while world.next_address.load(Ordering::Relaxed) < allocated + 64 * 200 {
            std::thread::yield_now();
        }
        let (in_use, garbage) = world.mark();
        world.profile.flush();
        for part in garbage.chunks(40) {
            world.sweep(part);
            if let Some(last) = &last {
                assert_eq!(world.shown(), *last, "in the midst of the sweep");
                skewed += u64::from(world.naive() != *last);
            }
        }
        world.profile.post_sweep();
        assert_eq!(world.shown(), in_use, "when the sweep is over");
        last = Some(in_use);
    }
    over.store(true, Ordering::Relaxed);
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert!(
        skewed > 0,
        "a naive count shows garbage and what came later"
    );
}

#[test]
fn it_is_a_profile_like_others_until_it_is_dropped() {
    let world = World::new("served", 1);
    let mut random = 1;
    (0..50).for_each(|_| world.mutate(0, &mut random));
    let profile = profile::lookup("heap/served").unwrap();
    assert_eq!(profile.name(), "heap/served");
    let mut text = Vec::new();
    profile.write_text(&mut text, 1).unwrap();
    let text = String::from_utf8(text).unwrap();
    // As Go writes a heap's profile; the frame is the caller of `record_alloc`.
    assert!(text.starts_with("heap profile:"), "{text}");
    assert!(text.contains("World"), "{text}");
    assert!(!text.contains("everprof::heap"), "{text}");
    let response = everprof::handle(&everprof::Request::get("/debug/pprof/heap/served"));
    assert_eq!(response.status, 200);
    let disposition = response.header("Content-Disposition");
    assert_eq!(disposition, Some("attachment; filename=\"heap-served\""));
    let index = everprof::handle(&everprof::Request::get("/debug/pprof/"));
    assert!(String::from_utf8_lossy(&index.body).contains("heap/served"));
    assert!(
        profile::all()
            .iter()
            .any(|profile| profile.name() == "heap/served")
    );

    drop(world);
    assert!(profile::lookup("heap/served").is_none());
    let gone = everprof::handle(&everprof::Request::get("/debug/pprof/heap/served"));
    assert_eq!(gone.status, 404);
}

#[test]
fn names_are_one_heaps_and_parts_of_addresses() {
    let first = Managed::new("once").unwrap();
    let second = Managed::new("once").unwrap_err();
    assert!(second.is_busy() && second.to_string().contains("`heap/once`"));
    assert!(Managed::new("a b").unwrap_err().is_invalid());
    drop(first);
    assert!(Managed::new("once").is_ok(), "the first is gone");
    assert!(
        Managed::new("heap").is_ok(),
        "behind `heap/` it means nothing else"
    );
}

#[test]
fn a_managed_heap_is_apart_from_the_global_one() {
    let heap = Managed::new("apart").unwrap();
    heap.set_period(1);
    heap.record_alloc(1 << 20, 1 << 30, None);
    let in_use: u64 = everprof::heap::records(IncludeFreed::No)
        .iter()
        .map(|record| record.in_use_bytes())
        .sum();
    assert!(in_use < 1 << 30);
    assert_eq!(heap.records()[0].in_use_bytes(), 1 << 30);
    assert_eq!(heap.records()[0].type_name, None);
}

#[test]
fn objects_keep_the_labels_in_force_and_their_types() {
    let heap = Managed::new("labelled").unwrap();
    heap.set_period(1);
    {
        let _labels = everprof::labels! { "tenant" => "one" };
        heap.record_alloc(64, 24, Some("Cons"));
    }
    heap.record_alloc(128, 24, None);
    let mut bytes = Vec::new();
    heap.profile().write_to(&mut bytes).unwrap();
    let profile = decode(&bytes, &Limits::default()).unwrap();
    let mut samples: Vec<_> = profile
        .samples()
        .map(|sample| {
            let label = |key| sample.string_label(key).map(str::to_owned);
            (label("tenant"), label("type"), sample.values()[2])
        })
        .collect();
    samples.sort();
    let labelled = (Some("one".to_owned()), Some("Cons".to_owned()), 1);
    assert_eq!(samples, [(None, None, 1), labelled]);
}
