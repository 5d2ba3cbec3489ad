//! Claims about the allocator, over an inner one that puts blocks where the
//! tests want them and a recorder that samples what they want.

#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use super::*;

/// An allocator that puts its blocks where the test wants them modulo 16,
/// fills them with rubbish, and notes every breach of the protocol.
/// (A panic cannot leave the cold functions, so faults are collected.)
#[derive(Default)]
struct Fussy(RefCell<FussyState>);

#[derive(Default)]
struct FussyState {
    residue: usize,
    refuse: bool,
    reallocs: usize,
    blocks: HashMap<usize, (Layout, *mut u8, Layout)>,
    faults: Vec<String>,
}

impl Fussy {
    fn place(&self, layout: Layout) -> *mut u8 {
        let mut state = self.0.borrow_mut();
        if state.refuse {
            return std::ptr::null_mut();
        }
        // Residues count alignments where those are over 8: even and odd multiples.
        let residue = match layout.align() {
            align @ ..=8 => state.residue & !(align - 1),
            align => state.residue % 2 * align,
        };
        let room = layout.align().max(16);
        let outer = Layout::from_size_align(layout.size() + room, 2 * room).unwrap();
        // SAFETY: `outer` is not empty.
        let start = unsafe { System.alloc(outer) };
        // SAFETY: `room` bytes of `outer` are spare, and no residue is more.
        let base = unsafe { start.add(residue) };
        // SAFETY: within `outer`.
        unsafe { base.write_bytes(0xA5, layout.size()) };
        state.blocks.insert(base.addr(), (layout, start, outer));
        base
    }

    fn release(&self, base: *mut u8, layout: Layout) {
        let mut state = self.0.borrow_mut();
        match state.blocks.remove(&base.addr()) {
            Some((asked, start, outer)) => {
                if asked != layout {
                    state
                        .faults
                        .push(format!("asked for {asked:?}, given back {layout:?}"));
                }
                // SAFETY: `start` came from `System.alloc(outer)`.
                unsafe { System.dealloc(start, outer) };
            }
            None => state.faults.push(format!("{base:?} is no block")),
        }
    }

    #[track_caller]
    fn assert_sound(&self) {
        assert_eq!(self.0.borrow().faults, Vec::<String>::new());
    }
}

// SAFETY: blocks come from System with room to spare.
unsafe impl GlobalAlloc for Fussy {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.place(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let base = self.place(layout);
        if !base.is_null() {
            // SAFETY: the block is that long.
            unsafe { base.write_bytes(0, layout.size()) };
        }
        base
    }

    unsafe fn dealloc(&self, base: *mut u8, layout: Layout) {
        self.release(base, layout);
    }

    unsafe fn realloc(&self, base: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        self.0.borrow_mut().reallocs += 1;
        let fresh = self.place(Layout::from_size_align(new_size, layout.align()).unwrap());
        if !fresh.is_null() {
            // SAFETY: both blocks are that long.
            unsafe { fresh.copy_from_nonoverlapping(base, layout.size().min(new_size)) };
            self.release(base, layout);
        }
        fresh
    }
}

#[derive(Default)]
struct ScriptState {
    due: bool,
    grant: bool,
    ticks: Vec<usize>,
    live: HashMap<usize, (usize, bool)>,
    freed: usize,
}

thread_local! {
    static SCRIPT: RefCell<ScriptState> = RefCell::default();
}

/// Samples when the test says so.
struct Script;

struct Held(usize, (usize, bool));

impl Script {
    fn with<T>(f: impl FnOnce(&mut ScriptState) -> T) -> T {
        SCRIPT.with_borrow_mut(f)
    }

    /// From now on every allocation is sampled, or none.
    fn sampling(on: bool) {
        Self::with(|s| (s.due, s.grant) = (on, on));
    }
}

impl Recorder for Script {
    type Ticket = usize;
    type Taken = Held;

    fn tick(size: usize) -> bool {
        Self::with(|s| {
            s.ticks.push(size);
            s.due
        })
    }
    fn sample(size: usize) -> Option<usize> {
        Self::with(|s| s.grant.then_some(size))
    }
    fn commit(size: usize, address: usize, shifted: bool) {
        let before = Self::with(|s| s.live.insert(address, (size, shifted)));
        assert!(before.is_none(), "two sampled objects at one address");
    }
    fn commit_moved(size: usize, _from: usize, taken: Option<Held>, address: usize, shifted: bool) {
        taken.into_iter().for_each(Self::free);
        Self::commit(size, address, shifted);
    }
    fn may_be_sampled(address: usize) -> bool {
        Self::with(|s| s.live.contains_key(&address))
    }
    fn take(address: usize) -> Option<Held> {
        Self::with(|s| s.live.remove(&address)).map(|found| Held(address, found))
    }
    fn shifted(taken: &Held) -> bool {
        taken.1.1
    }
    fn free(_: Held) {
        Self::with(|s| s.freed += 1);
    }
    fn restore(taken: Held) {
        Self::with(|s| s.live.insert(taken.0, taken.1));
    }
}

fn fussy(residue: usize) -> Alloc<Fussy> {
    Script::with(|s| *s = ScriptState::default());
    let inner = Fussy::default();
    inner.0.borrow_mut().residue = residue;
    Alloc::new(inner)
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// The bytes of an object that the test has just got or holds.
fn bytes_of<'a>(object: *mut u8, size: usize) -> &'a mut [u8] {
    // SAFETY: the tests pass live objects of `size` bytes that the inner
    // allocator has written, and keep one such slice at a time.
    unsafe { std::slice::from_raw_parts_mut(object, size) }
}

fn fill(object: *mut u8, size: usize, seed: u8) {
    for (i, byte) in bytes_of(object, size).iter_mut().enumerate() {
        *byte = seed.wrapping_add(i as u8);
    }
}

#[track_caller]
fn assert_filled(object: *mut u8, size: usize, seed: u8) {
    for (i, byte) in bytes_of(object, size).iter().enumerate() {
        assert_eq!(*byte, seed.wrapping_add(i as u8), "byte {i}");
    }
}

#[test]
fn sampled_objects_are_aligned_marked_and_given_back_as_asked() {
    for residue in 0..16 {
        for align in [1, 2, 4, 8, 16, 32, 4096] {
            for size in [1, 7, 8, 16, 100, 5000] {
                let alloc = fussy(residue);
                Script::sampling(true);
                let layout = layout(size, align);
                // SAFETY: not empty.
                let object = unsafe { alloc.allocate::<Script>(layout, false) };
                assert_eq!(object.addr() % align, 0);
                assert!(may_be_marked(object, align));
                assert_eq!(Script::with(|s| s.live[&object.addr()].0), size);
                fill(object, size, 1);
                // SAFETY: came from there with that layout.
                unsafe { alloc.free::<Script>(object, layout) };
                assert_eq!(Script::with(|s| (s.live.len(), s.freed)), (0, 1));
                assert!(alloc.inner.0.borrow().blocks.is_empty());
                alloc.inner.assert_sound();
            }
        }
    }
}

#[test]
fn unsampled_objects_skip_the_filter_where_their_mark_is_clear() {
    let marked = |address, align| may_be_marked(std::ptr::without_provenance_mut(address), align);
    for align in [1, 2, 4, 8] {
        assert!(!marked(0x1000, align));
        assert!(marked(0x1008, align));
    }
    for align in [16, 32, 4096] {
        assert!(!marked(align * 2, align));
        assert!(marked(align * 3, align));
    }
}

#[test]
fn unsampled_objects_of_any_layout_are_asked_for_as_they_are() {
    for align in [1, 2, 8, 16, 32, 4096] {
        for size in [1, 7, 8, 16, 17, 100] {
            for zeroed in [false, true] {
                let alloc = fussy(0);
                let layout = layout(size, align);
                // SAFETY: not empty.
                let object = unsafe { alloc.allocate::<Script>(layout, zeroed) };
                let byte = if zeroed { 0 } else { 0xA5 };
                assert!(bytes_of(object, size).iter().all(|b| *b == byte));
                assert_eq!(alloc.inner.0.borrow().blocks[&object.addr()].0, layout);
                // SAFETY: came from there with that layout.
                unsafe { alloc.free::<Script>(object, layout) };
                alloc.inner.assert_sound();
            }
        }
    }
}

#[test]
fn marks_tell_every_alignment() {
    for align in (0..usize::BITS).map(|bit| 1 << bit) {
        assert_eq!(align_of_marks(marks(align)), align);
        assert_ne!(marks(align) & mark(align), 0);
    }
}

#[test]
fn unsampled_objects_at_marked_addresses_are_freed_as_they_came() {
    for residue in 0..16 {
        for align in [1, 4, 8, 16, 64] {
            let alloc = fussy(residue);
            let layout = layout(24, align);
            // SAFETY: not empty.
            let object = unsafe { alloc.allocate::<Script>(layout, false) };
            // SAFETY: came from there with that layout.
            unsafe { alloc.free::<Script>(object, layout) };
            alloc.inner.assert_sound();
            assert_eq!(Script::with(|s| s.freed), 0);
        }
    }
}

#[test]
fn zeroed_stays_zeroed_when_sampled() {
    for residue in [0, 8] {
        let alloc = fussy(residue);
        Script::sampling(true);
        // SAFETY: not empty.
        let object = unsafe { alloc.allocate::<Script>(layout(100, 8), true) };
        assert!(bytes_of(object, 100).iter().all(|b| *b == 0));
        // SAFETY: came from there with that layout.
        unsafe { alloc.free::<Script>(object, layout(100, 8)) };
        alloc.inner.assert_sound();
    }
}

#[test]
fn realloc_keeps_bytes_layouts_and_accounts_in_all_four_cases() {
    for (from, to) in [(0, 0), (0, 8), (8, 0), (8, 8), (4, 12), (12, 4)] {
        for align in [1, 2, 4, 8, 16, 64] {
            for (old, new) in [(10, 300), (300, 10), (64, 64), (1, 9), (9, 1)] {
                for (was, is) in [(false, false), (false, true), (true, false), (true, true)] {
                    let alloc = fussy(from);
                    Script::sampling(was);
                    // SAFETY: not empty.
                    let object = unsafe { alloc.allocate::<Script>(layout(old, align), false) };
                    fill(object, old, 7);
                    alloc.inner.0.borrow_mut().residue = to;
                    Script::sampling(is);
                    // SAFETY: came from there with that layout; `new` is not 0.
                    let object =
                        unsafe { alloc.reallocate::<Script>(object, layout(old, align), new) };
                    assert_eq!(object.addr() % align, 0);
                    assert_filled(object, old.min(new), 7);
                    Script::with(|s| {
                        assert_eq!(s.ticks, [old, new], "counted with the full size");
                        assert_eq!(s.freed, usize::from(was));
                        assert_eq!(s.live.len(), usize::from(is));
                    });
                    fill(object, new, 9);
                    // SAFETY: came from there with that layout.
                    unsafe { alloc.free::<Script>(object, layout(new, align)) };
                    alloc.inner.assert_sound();
                    assert!(alloc.inner.0.borrow().blocks.is_empty());
                }
            }
        }
    }
}

#[test]
fn growth_is_the_inner_allocators_own_realloc() {
    for (was, is) in [(false, false), (false, true), (true, true)] {
        let alloc = fussy(0);
        Script::sampling(was);
        // SAFETY: not empty.
        let object = unsafe { alloc.allocate::<Script>(layout(1 << 20, 8), false) };
        Script::sampling(is);
        // SAFETY: came from there with that layout.
        let object = unsafe { alloc.reallocate::<Script>(object, layout(1 << 20, 8), 2 << 20) };
        assert_eq!(alloc.inner.0.borrow().reallocs, 1);
        // SAFETY: came from there with that layout.
        unsafe { alloc.free::<Script>(object, layout(2 << 20, 8)) };
        alloc.inner.assert_sound();
    }
}

#[test]
fn a_refusal_is_handed_on_and_nothing_is_recorded() {
    let alloc = fussy(0);
    alloc.inner.0.borrow_mut().refuse = true;
    Script::sampling(true);
    for align in [8, 16] {
        // SAFETY: not empty.
        assert!(unsafe { alloc.allocate::<Script>(layout(100, align), false) }.is_null());
    }
    assert!(Script::with(|s| s.live.is_empty()));
}

#[test]
fn a_refused_realloc_leaves_object_and_account_as_they_were() {
    for align in [8, 32] {
        for (was, is) in [(false, true), (true, false), (true, true)] {
            let alloc = fussy(0);
            Script::sampling(was);
            // SAFETY: not empty.
            let object = unsafe { alloc.allocate::<Script>(layout(100, align), false) };
            fill(object, 100, 3);
            Script::sampling(is);
            alloc.inner.0.borrow_mut().refuse = true;
            // SAFETY: came from there with that layout.
            let new = unsafe { alloc.reallocate::<Script>(object, layout(100, align), 500) };
            assert!(new.is_null());
            assert_filled(object, 100, 3);
            Script::with(|s| assert_eq!((s.live.len(), s.freed), (usize::from(was), 0)));
            // SAFETY: still the object of that layout.
            unsafe { alloc.free::<Script>(object, layout(100, align)) };
            alloc.inner.assert_sound();
        }
    }
}

#[test]
fn a_size_that_leaves_no_room_for_the_mark_is_not_sampled() {
    assert_eq!(sampled_layout(isize::MAX as usize - 7, 8), None);
    assert_eq!(sampled_layout(isize::MAX as usize, 1), None);
    assert!(sampled_layout(isize::MAX as usize - 32, 16).is_some());
    let alloc = fussy(0);
    Script::sampling(true);
    alloc.inner.0.borrow_mut().refuse = true;
    // SAFETY: not empty.
    let object = unsafe { alloc.allocate::<Script>(layout(isize::MAX as usize - 7, 8), false) };
    assert!(object.is_null());
}

#[test]
fn a_sample_that_is_due_but_not_granted_is_an_ordinary_allocation() {
    let alloc = fussy(8);
    Script::with(|s| (s.due, s.grant) = (true, false));
    // SAFETY: not empty.
    let object = unsafe { alloc.allocate::<Script>(layout(100, 8), false) };
    // SAFETY: came from there with that layout.
    let object = unsafe { alloc.reallocate::<Script>(object, layout(100, 8), 50) };
    // SAFETY: came from there with that layout.
    unsafe { alloc.free::<Script>(object, layout(50, 8)) };
    alloc.inner.assert_sound();
}

#[test]
fn any_order_of_operations_keeps_every_byte() {
    let alloc = fussy(0);
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 33) as usize % below
    };
    let mut objects: Vec<(*mut u8, Layout, u8)> = Vec::new();
    for step in 0..20_000 {
        let seed = step as u8;
        alloc.inner.0.borrow_mut().residue = next(16);
        Script::sampling(next(2) == 0);
        alloc.inner.0.borrow_mut().refuse = next(10) == 0;
        match next(3) {
            0 if objects.len() < 100 => {
                let layout = layout(1 + next(300), 1 << next(8));
                // SAFETY: not empty.
                let object = unsafe { alloc.allocate::<Script>(layout, next(2) == 0) };
                if !object.is_null() {
                    fill(object, layout.size(), seed);
                    objects.push((object, layout, seed));
                }
            }
            1 if !objects.is_empty() => {
                let i = next(objects.len());
                let (object, old, seed) = objects[i];
                let size = 1 + next(300);
                // SAFETY: came from there with that layout.
                let new = unsafe { alloc.reallocate::<Script>(object, old, size) };
                if !new.is_null() {
                    assert_filled(new, old.size().min(size), seed);
                    fill(new, size, seed);
                    objects[i] = (new, layout(size, old.align()), seed);
                }
            }
            2 if !objects.is_empty() => {
                let (object, layout, seed) = objects.swap_remove(next(objects.len()));
                assert_filled(object, layout.size(), seed);
                // SAFETY: came from there with that layout.
                unsafe { alloc.free::<Script>(object, layout) };
            }
            _ => {}
        }
    }
    for (object, layout, seed) in objects {
        assert_filled(object, layout.size(), seed);
        // SAFETY: came from there with that layout.
        unsafe { alloc.free::<Script>(object, layout) };
    }
    alloc.inner.assert_sound();
    assert!(alloc.inner.0.borrow().blocks.is_empty());
    assert!(Script::with(|s| s.live.is_empty()));
}

#[test]
fn what_a_panic_may_throw_stands_where_the_inner_allocator_put_it() {
    const SIZES: [usize; 3] = [7 * size_of::<usize>(), EXCEPTION_BYTES, EXCEPTION_BYTES + 1];
    /// Allocates while its thread panics.
    struct Unwound<'t>(&'t Alloc<Fussy>, &'t Cell<[bool; 3]>);
    impl Drop for Unwound<'_> {
        fn drop(&mut self) {
            self.1.set(SIZES.map(|size| is_sampled(self.0, size)));
        }
    }
    fn is_sampled(alloc: &Alloc<Fussy>, size: usize) -> bool {
        let layout = layout(size, 8);
        // SAFETY: not empty.
        let object = unsafe { alloc.allocate::<Script>(layout, false) };
        let is_sampled = Script::with(|s| s.live.contains_key(&object.addr()));
        // SAFETY: came from there with that layout.
        unsafe { alloc.free::<Script>(object, layout) };
        is_sampled
    }
    let alloc = fussy(0);
    Script::sampling(true);
    assert_eq!(SIZES.map(|size| is_sampled(&alloc, size)), [true; 3]);
    let seen = Cell::new([true; 3]);
    let unwinding = std::panic::AssertUnwindSafe(|| {
        let _unwound = Unwound(&alloc, &seen);
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(std::panic::catch_unwind(unwinding).is_err());
    assert_eq!(seen.get(), [false, false, true]);
    alloc.inner.assert_sound();
}
