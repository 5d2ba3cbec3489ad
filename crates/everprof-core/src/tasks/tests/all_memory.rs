//! What all of memory is searched for: suspected leaks, and what hides them.
//!
//! Memory of the process is looked at. A sanitizer reserves more than that; under qemu's user
//! emulation such a look had not come to its end after two minutes.
#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(any(
        miri,
        everprof_emulated,
        everprof_sanitizer = "address",
        everprof_sanitizer = "thread"
    ))
))]

use super::*;
use crate::sys::PAGE_BYTES;

fn place<T>(value: T, page: std::ptr::NonNull<u8>, at: usize) -> &'static mut T {
    // SAFETY: within the page, aligned, and nobody else's.
    let place = unsafe { page.add(at) }.cast::<T>();
    // SAFETY: as above.
    unsafe { place.write(value) };
    // SAFETY: written just now; the test unmaps the page when it is through.
    unsafe { &mut *place.as_ptr() }
}

/// A polled task in `page`, which nobody has used before: alone it has its waker, where the
/// address with all bits turned says.
#[inline(never)]
fn lonely(page: std::ptr::NonNull<u8>) -> (Pin<&'static mut dyn Future<Output = ()>>, usize) {
    let kept: &Mutex<Option<Waker>> = place(Mutex::new(None), page, 2048);
    let hidden = !std::ptr::from_ref(kept).addr();
    let future = poll_fn(move |context: &mut Context<'_>| {
        *kept.lock().unwrap() = Some(context.waker().clone());
        Poll::<()>::Pending
    });
    let future: &mut dyn Future<Output = ()> = place(Watched::new(future), page, 0);
    // SAFETY: dropped where it stands.
    let mut task = unsafe { Pin::new_unchecked(future) };
    let poll = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll.is_pending());
    (task, hidden)
}

/// Writes the address there, and nowhere else for long.
///
/// # Safety
/// `at` is good for writing a word.
#[inline(never)]
unsafe fn put_turned(at: std::ptr::NonNull<usize>, hidden: usize) {
    // SAFETY: the caller's promise.
    unsafe { at.write_volatile(!hidden) };
}

/// Calls before may have left addresses on this thread's stack.
#[inline(never)]
fn overwrite_the_stack() {
    std::hint::black_box(&mut [0_u8; 64 << 10]);
}

const STACK_BYTES: usize = 2 << 20;
const MAPPED_BYTES: usize = STACK_BYTES + PAGE_BYTES;

/// Whether any task is, asked on a thread with its stack in `mapped`.
fn is_suspected(mapped: std::ptr::NonNull<u8>) -> bool {
    extern "C" fn suspects(_: *mut libc::c_void) -> *mut libc::c_void {
        let leaks = look(Some(0)).tasks;
        std::ptr::without_provenance_mut(leaks.iter().any(|t| t.leak == Leak::Suspected).into())
    }
    overwrite_the_stack();
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    // A number in glibc, a pointer in musl.
    let mut thread = std::mem::MaybeUninit::<libc::pthread_t>::uninit();
    let mut result = std::ptr::null_mut();
    // SAFETY: writes all of it.
    unsafe { libc::pthread_attr_init(attributes) };
    // SAFETY: memory that nobody else uses until the thread has ended.
    let stack =
        unsafe { libc::pthread_attr_setstack(attributes, mapped.as_ptr().cast(), STACK_BYTES) };
    // SAFETY: initialised above; the function does not unwind.
    let made = unsafe {
        libc::pthread_create(
            thread.as_mut_ptr(),
            attributes,
            suspects,
            std::ptr::null_mut(),
        )
    };
    assert_eq!((stack, made), (0, 0));
    // SAFETY: written, as the thread was made.
    let thread = unsafe { thread.assume_init() };
    // SAFETY: the thread made above.
    unsafe { libc::pthread_join(thread, &raw mut result) };
    result.addr() == 1
}

/// A task in `page`, which nobody has used before. It has the waker of its last poll there, and
/// that of its first is in `elsewhere`. And the addresses of both with all bits turned.
#[inline(never)]
fn with_an_older_waker(
    page: std::ptr::NonNull<u8>,
    elsewhere: std::ptr::NonNull<u8>,
) -> (Pin<&'static mut dyn Future<Output = ()>>, [usize; 2]) {
    // Each with words behind it that look like the waker and are none.
    let keeps = [elsewhere, page].map(|page| {
        let kept: &Mutex<Option<Waker>> = place(Mutex::new(None), page, 2048);
        (kept, place([0_usize; 2], page, 2048 + 128))
    });
    let hidden = keeps
        .each_ref()
        .map(|(kept, _)| !std::ptr::from_ref(*kept).expose_provenance());
    let [first, later] = keeps;
    let (mut first, mut later) = (Some(first), later);
    let future = poll_fn(move |context: &mut Context<'_>| {
        let waker = context.waker().clone();
        let mut first = first.take();
        let (kept, words) = first.as_mut().unwrap_or(&mut later);
        let table = std::ptr::from_ref(waker.vtable());
        **words = [waker.data().addr(), table.addr()];
        *kept.lock().unwrap() = Some(waker);
        Poll::<()>::Pending
    });
    let future: &mut dyn Future<Output = ()> = place(Watched::new(future), page, 0);
    // SAFETY: dropped where it stands.
    let mut task = unsafe { Pin::new_unchecked(future) };
    poll(task.as_mut());
    poll(task.as_mut());
    (task, hidden)
}

/// Drops the waker that is kept there.
#[inline(never)]
fn forget(hidden: usize) {
    let kept = std::ptr::with_exposed_provenance::<Mutex<Option<Waker>>>(!hidden);
    // SAFETY: there it was placed, and the test unmaps it when it is through.
    drop(unsafe { &*kept }.lock().unwrap().take());
}

#[inline(never)]
fn poll(task: Pin<&mut dyn Future<Output = ()>>) {
    let mut context = Context::from_waker(Waker::noop());
    assert!(task.poll(&mut context).is_pending());
}

/// Two pages, apart from all else.
fn pages_apart() -> [std::ptr::NonNull<u8>; 2] {
    let mapped = crate::sys::map_private(5 * PAGE_BYTES).unwrap();
    for edge in [0, 2, 4] {
        // SAFETY: within the mapping.
        let edge = unsafe { mapped.add(edge * PAGE_BYTES) };
        // SAFETY: nobody uses this part of it.
        let closed = unsafe { libc::mprotect(edge.as_ptr().cast(), PAGE_BYTES, libc::PROT_NONE) };
        assert_eq!(closed, 0);
    }
    // SAFETY: within the mapping.
    [1, 3].map(|page| unsafe { mapped.add(page * PAGE_BYTES) })
}

#[test]
fn waker_of_an_earlier_poll_that_somebody_keeps_is_one() {
    let _alone = alone();
    let mapped = crate::sys::map_private(MAPPED_BYTES).unwrap();
    // As in the other test.
    let others: Vec<_> = (0..128).map(|_| Watched::new(pending::<()>())).collect();
    let [page, elsewhere] = pages_apart();
    let (mut task, hidden) = with_an_older_waker(page, elsewhere);
    drop(others);
    let while_kept = is_suspected(mapped);
    // From now on words of them are nothing but words.
    hidden.into_iter().for_each(forget);
    poll(task.as_mut());
    let without = is_suspected(mapped);
    // SAFETY: not moved, but dropped where it stands.
    let task = unsafe { task.get_unchecked_mut() };
    // SAFETY: nobody uses it any more.
    unsafe { std::ptr::drop_in_place(task) };
    // SAFETY: the page before it is the mapping's first.
    let apart = unsafe { page.sub(PAGE_BYTES) };
    // SAFETY: mapped above, and no task is there any more.
    unsafe { crate::sys::unmap(apart, 5 * PAGE_BYTES) };
    // SAFETY: made above; no thread is there any more.
    unsafe { crate::sys::unmap(mapped, MAPPED_BYTES) };
    assert_eq!((while_kept, without), (false, true));
}

#[test]
fn memory_beside_the_stack_of_who_looks_is_looked_at() {
    let _alone = alone();
    // A stack, and in the same mapping what is the program's, as the kernel makes one of two.
    let mapped = crate::sys::map_private(MAPPED_BYTES).unwrap();
    let is_suspected = || is_suspected(mapped);
    // Its entry is a fresh one: old wakers of those that go round may stand about in memory.
    let others: Vec<_> = (0..64).map(|_| Watched::new(pending::<()>())).collect();
    // The task stands apart: what is on a stack is its thread's.
    let apart = crate::sys::map_private(3 * PAGE_BYTES).unwrap();
    for edge in [0, 2 * PAGE_BYTES] {
        // SAFETY: within the mapping.
        let edge = unsafe { apart.add(edge) };
        // SAFETY: nobody uses this part of it.
        let closed = unsafe { libc::mprotect(edge.as_ptr().cast(), PAGE_BYTES, libc::PROT_NONE) };
        assert_eq!(closed, 0);
    }
    // SAFETY: within the mapping.
    let (task, hidden) = lonely(unsafe { apart.add(PAGE_BYTES) });
    drop(others);
    let before = is_suspected();
    // Much memory that nobody has touched would be gone through for minutes.
    const RESERVED_BYTES: usize = 1 << 40;
    let reserved = crate::sys::map_private(RESERVED_BYTES).unwrap();
    let is_told = is_suspected();
    // SAFETY: made above, and nobody's.
    unsafe { crate::sys::unmap(reserved, RESERVED_BYTES) };
    assert!(!is_told);
    // SAFETY: behind the stack, where the mapping has a page more.
    let beside = unsafe { mapped.add(STACK_BYTES) };
    // SAFETY: as above.
    unsafe { put_turned(beside.cast(), hidden) };
    let after = is_suspected();
    // SAFETY: not moved, but dropped where it stands.
    let task = unsafe { task.get_unchecked_mut() };
    // SAFETY: nobody uses it any more.
    unsafe { std::ptr::drop_in_place(task) };
    // SAFETY: made above; no task is there any more.
    unsafe { crate::sys::unmap(apart, 3 * PAGE_BYTES) };
    // SAFETY: made above; no thread is there any more.
    unsafe { crate::sys::unmap(mapped, MAPPED_BYTES) };
    assert_eq!((before, after), (true, false));
}
