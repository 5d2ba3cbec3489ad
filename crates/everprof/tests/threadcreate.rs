//! Who created threads, exactly: Go's TestThreadCreate as it should have been.
//!
//! Each site creates threads in a function of its own name; what the profile says of
//! stacks with that name is what that site did, to the thread.
#![cfg(all(target_os = "linux", not(target_feature = "crt-static")))]
#![allow(clippy::unwrap_used)]

use std::ffi::{c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};

use everprof::profile::lookup;
use everprof::{labels, threadcreate};
use everprof_profile::{Profile, pprof};

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

fn taken(name: &str) -> Profile {
    let mut bytes = Vec::new();
    lookup(name).unwrap().write_to(&mut bytes).unwrap();
    pprof::decode(&bytes, &pprof::Limits::default()).unwrap()
}

/// `[created, live, cpu]` of all stacks that have `site`.
fn of_site(site: &str) -> [i64; 3] {
    let profile = taken("threadcreate");
    let mut sums = [0; 3];
    for sample in profile.samples() {
        let mut lines = sample
            .stack()
            .flat_map(|location| profile.location(location).lines);
        if lines.any(|line| profile.function(line.function).name == site) {
            let values = sums.iter_mut().zip(sample.values());
            values.for_each(|(sum, value)| *sum += value);
        }
    }
    sums
}

/// Created and live.
fn threads_of(site: &str) -> [i64; 2] {
    let [created, live, _] = of_site(site);
    [created, live]
}

/// Until the kernel has no such thread: joined, it may be there for a moment.
fn await_gone(tid: u32) {
    let task = format!("/proc/self/task/{tid}");
    while std::fs::exists(&task).unwrap() {
        thread::yield_now();
    }
}

fn tid() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() }.cast_unsigned()
}

#[inline(never)]
fn first_site(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::spawn(work)
}

#[inline(never)]
fn second_site(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::spawn(work)
}

#[inline(never)]
fn nested_site(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::spawn(work)
}

#[test]
fn two_sites_and_what_their_threads_create_have_their_exact_counts() {
    let (here, leave) = (Arc::new(Barrier::new(13)), Arc::new(Barrier::new(13)));
    let meet = || {
        let (here, leave) = (Arc::clone(&here), Arc::clone(&leave));
        move || {
            here.wait();
            leave.wait();
        }
    };
    let mut threads: Vec<_> = (0..5).map(|_| first_site(meet())).collect();
    threads.extend((0..3).map(|_| second_site(meet())));
    // Two that create two each.
    threads.extend((0..2).map(|_| {
        let inner = [meet(), meet()];
        first_site(move || {
            for inner in inner.map(nested_site) {
                inner.join().unwrap();
            }
        })
    }));
    here.wait();
    assert_eq!(threads_of("threadcreate::first_site"), [7, 7]);
    assert_eq!(threads_of("threadcreate::second_site"), [3, 3]);
    assert_eq!(threads_of("threadcreate::nested_site"), [4, 4]);
    leave.wait();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(threads_of("threadcreate::first_site"), [7, 0]);
    assert_eq!(threads_of("threadcreate::second_site"), [3, 0]);
    assert_eq!(threads_of("threadcreate::nested_site"), [4, 0]);
}

type Routine = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

// With routines that may be unwound, which the libc crate's are not.
unsafe extern "C-unwind" {
    fn pthread_create(
        thread: *mut libc::pthread_t,
        attributes: *const libc::pthread_attr_t,
        routine: Routine,
        argument: *mut c_void,
    ) -> c_int;
    fn pthread_exit(value: *mut c_void) -> !;
    fn pthread_cancel(thread: libc::pthread_t) -> c_int;
    fn thrd_create(
        thread: *mut libc::pthread_t,
        routine: extern "C-unwind" fn(*mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
    fn thrd_join(thread: libc::pthread_t, result: *mut c_int) -> c_int;
    fn pause() -> c_int;
}

#[inline(never)]
fn create(
    attributes: *const libc::pthread_attr_t,
    routine: Routine,
    argument: *mut c_void,
) -> Result<libc::pthread_t, c_int> {
    let mut thread = 0;
    // SAFETY: attributes are null or initialised; the routines take any argument.
    match unsafe { pthread_create(&raw mut thread, attributes, routine, argument) } {
        0 => Ok(thread),
        error => Err(error),
    }
}

fn join(thread: libc::pthread_t) -> *mut c_void {
    let mut value = null_mut();
    // SAFETY: a thread that nobody else joins.
    assert_eq!(unsafe { libc::pthread_join(thread, &raw mut value) }, 0);
    value
}

extern "C-unwind" fn plus_one(argument: *mut c_void) -> *mut c_void {
    argument.wrapping_byte_add(1)
}

#[inline(never)]
fn failing_site(attributes: *const libc::pthread_attr_t) -> Result<libc::pthread_t, c_int> {
    create(attributes, plus_one, null_mut())
}

#[test]
fn creation_that_fails_is_the_c_librarys_failure_and_counts_nothing() {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: room for attributes.
    assert_eq!(unsafe { libc::pthread_attr_init(attributes) }, 0);
    // More than there are addresses.
    // SAFETY: initialised above.
    let set = unsafe { libc::pthread_attr_setstacksize(attributes, 1 << 60) };
    assert_eq!(set, 0);
    for _ in 0..100 {
        assert_eq!(failing_site(attributes), Err(libc::EAGAIN));
    }
    assert_eq!(threads_of("threadcreate::failing_site"), [0, 0]);
    let thread = failing_site(null()).unwrap();
    assert_eq!(join(thread).addr(), 1);
    assert_eq!(threads_of("threadcreate::failing_site"), [1, 0]);
}

extern "C-unwind" fn exits(argument: *mut c_void) -> *mut c_void {
    // SAFETY: no frame above the C library's has anything to destroy.
    unsafe { pthread_exit(argument) }
}

/// The number of the thread that waits to be cancelled.
static WAITS: AtomicU32 = AtomicU32::new(0);

extern "C-unwind" fn waits(_argument: *mut c_void) -> *mut c_void {
    WAITS.store(tid(), Ordering::Release);
    loop {
        // SAFETY: waits for a signal or to be cancelled.
        unsafe { pause() };
    }
}

#[inline(never)]
fn exit_site() -> libc::pthread_t {
    create(null(), exits, 41 as *mut c_void).unwrap()
}

#[inline(never)]
fn cancel_site() -> libc::pthread_t {
    create(null(), waits, null_mut()).unwrap()
}

#[test]
fn threads_that_exit_and_are_cancelled_have_ended_with_their_values() {
    assert_eq!(join(exit_site()).addr(), 41);
    assert_eq!(threads_of("threadcreate::exit_site"), [1, 0]);
    let thread = cancel_site();
    while WAITS.load(Ordering::Acquire) == 0 {
        thread::yield_now();
    }
    assert_eq!(threads_of("threadcreate::cancel_site"), [1, 1]);
    // SAFETY: it lives, and is joined below.
    assert_eq!(unsafe { pthread_cancel(thread) }, 0);
    assert_eq!(join(thread).addr(), usize::MAX, "PTHREAD_CANCELED");
    assert_eq!(threads_of("threadcreate::cancel_site"), [1, 0]);
    let unseen = |record: &threadcreate::ThreadRecord<'_>| record.unseen_ends > 0;
    assert!(!threadcreate::records().iter().any(unseen));
}

extern "C-unwind" fn twice(argument: *mut c_void) -> c_int {
    2 * argument.addr() as c_int
}

#[inline(never)]
fn c11_site() -> c_int {
    let (mut thread, mut result) = (0, 0);
    // SAFETY: the routine takes any argument.
    let created = unsafe { thrd_create(&raw mut thread, twice, 21 as *mut c_void) };
    assert_eq!(created, 0);
    // SAFETY: a thread that nobody else joins.
    assert_eq!(unsafe { thrd_join(thread, &raw mut result) }, 0);
    result
}

#[test]
fn c11s_threads_are_threads() {
    assert_eq!(c11_site(), 42);
    assert_eq!(threads_of("threadcreate::c11_site"), [1, 0]);
}

#[inline(never)]
fn detached_site(work: impl FnOnce() + Send + 'static) {
    drop(thread::spawn(work));
}

#[test]
fn ten_thousand_threads_joined_and_detached_are_ten_thousand() {
    const BATCH: u32 = 50;
    static ENDING: AtomicU32 = AtomicU32::new(0);
    for _ in 0..10_000 / BATCH / 2 {
        let batch: Vec<_> = (0..BATCH).map(|_| many_site(|| ())).collect();
        batch.into_iter().for_each(|thread| thread.join().unwrap());
        for _ in 0..BATCH {
            detached_site(|| ENDING.store(tid(), Ordering::Release));
        }
    }
    assert_eq!(threads_of("threadcreate::many_site"), [5000, 0]);
    // The last of the detached have yet to end.
    while threads_of("threadcreate::detached_site")[1] != 0 {
        thread::yield_now();
    }
    assert_eq!(threads_of("threadcreate::detached_site"), [5000, 0]);
}

#[inline(never)]
fn many_site(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::spawn(work)
}

fn cpu_nanos() -> i64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

#[inline(never)]
fn burning_site(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::spawn(work)
}

#[test]
fn cpu_time_is_that_of_the_threads_a_site_created() {
    const EACH: i64 = 5_000_000;
    let burn = || while cpu_nanos() < EACH {};
    let ended: Vec<_> = (0..3).map(|_| burning_site(burn)).collect();
    ended.into_iter().for_each(|thread| thread.join().unwrap());
    let [_, _, first] = of_site("threadcreate::burning_site");
    assert!(first >= 3 * EACH, "{first}");
    let (burned, leave) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let lives = burning_site({
        let (burned, leave) = (Arc::clone(&burned), Arc::clone(&leave));
        move || {
            burn();
            burned.wait();
            leave.wait();
        }
    });
    burned.wait();
    let [_, live, second] = of_site("threadcreate::burning_site");
    assert_eq!(live, 1);
    assert!(second >= first + EACH, "{second}");
    leave.wait();
    lives.join().unwrap();
    assert!(of_site("threadcreate::burning_site")[2] >= second);
}

#[inline(never)]
fn labelled_site(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::spawn(work)
}

#[inline(never)]
fn object_of_the_thread() {
    drop(std::hint::black_box(vec![1_u8; 1_000_003]));
}

#[test]
fn threads_start_with_the_labels_of_their_creator_and_so_do_theirs() {
    everprof::heap::set_period(1);
    let thread = {
        let _labels = labels! { "job" => 17 };
        labelled_site(|| {
            let _more = labels! { "part" => "a" };
            thread::spawn(object_of_the_thread).join().unwrap();
        })
    };
    thread.join().unwrap();
    everprof::heap::set_period(0);
    let has = |profile: &Profile, value: usize, key: &str, label: &str| {
        let mut samples = profile.samples();
        samples.any(|sample| sample.values()[value] > 0 && sample.string_label(key) == Some(label))
    };
    let heap = taken("heap");
    assert!(has(&heap, 0, "job", "17") && has(&heap, 0, "part", "a"));
    let whole = heap.samples().any(|sample| {
        let mut lines = sample
            .stack()
            .flat_map(|location| heap.location(location).lines);
        lines.any(|line| {
            heap.function(line.function)
                .name
                .contains("object_of_the_thread")
        }) && (sample.string_label("job"), sample.string_label("part")) == (Some("17"), Some("a"))
    });
    assert!(whole);
    assert!(has(&taken("threadcreate"), 0, "job", "17"));
}

#[test]
fn no_frame_of_ours_is_beneath_a_thread() {
    let trace = thread::spawn(|| std::backtrace::Backtrace::force_capture().to_string());
    let trace = trace.join().unwrap();
    assert!(trace.contains("no_frame_of_ours"), "{trace}");
    assert!(!trace.contains("everprof_core"), "{trace}");
}

#[test]
fn everprofs_own_threads_are_in_no_row_and_raw_clones_in_that_of_unknown_ones() {
    let unknown = || threads_of("everprof::spawn::unknown")[1];
    // Another test's thread that gets no processor as it begins is unknown until it does.
    let comes_to = |count| (0..1000).any(|_| unknown() == count);
    let server = everprof::serve("127.0.0.1:0").unwrap();
    assert!(comes_to(0));
    drop(server);

    static STOP: AtomicBool = AtomicBool::new(false);
    static RUNS: AtomicU32 = AtomicU32::new(0);
    // No thread-local storage of its own: it touches none, and nothing of std's that does.
    extern "C" fn spin(_argument: *mut c_void) -> c_int {
        RUNS.store(1, Ordering::Release);
        while !STOP.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        0
    }
    let mut stack = vec![0_u128; 4096];
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM;
    let top = stack.as_mut_ptr_range().end;
    // SAFETY: the stack outlives the thread, which is waited for below; a thread of
    // this process as by the flags.
    let tid = unsafe { libc::clone(spin, top.cast(), flags, null_mut()) };
    assert!(tid > 0);
    while RUNS.load(Ordering::Acquire) == 0 {
        thread::yield_now();
    }
    assert!(comes_to(1));
    assert_eq!(threads_of("everprof::spawn::main"), [1, 1]);
    STOP.store(true, Ordering::Release);
    await_gone(tid.cast_unsigned());
    assert!(comes_to(0));
    drop(stack);
}

#[inline(never)]
fn site_before_a_fork(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::spawn(work)
}

#[test]
fn a_forks_child_counts_its_own_threads_from_none() {
    let leave = Arc::new(Barrier::new(2));
    let other = Arc::clone(&leave);
    let thread = site_before_a_fork(move || {
        other.wait();
    });
    assert_eq!(threads_of("threadcreate::site_before_a_fork"), [1, 1]);
    // SAFETY: the child allocates, which glibc's fork allows for, and ends below.
    let process = unsafe { libc::fork() };
    if process == 0 {
        // SAFETY: no preconditions.
        unsafe { libc::alarm(20) };
        let holds = std::panic::catch_unwind(|| {
            // By records: nobody may hold the lock of a file or of stderr here.
            let sums = || {
                let records = threadcreate::records();
                let seen = records.iter().filter(|record| record.stack.len() > 1);
                seen.fold((0, 0), |(created, live), record| {
                    (created + record.created, live + record.live)
                })
            };
            let before = sums();
            site_before_a_fork(|| ()).join().unwrap();
            (before, sums()) == ((0, 0), (1, 0))
        });
        // SAFETY: ends the child without running anybody's destructors.
        unsafe { libc::_exit(i32::from(!matches!(holds, Ok(true)))) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(process, &raw mut status, 0) };
    assert_eq!(status, 0);
    leave.wait();
    thread.join().unwrap();
    assert_eq!(threads_of("threadcreate::site_before_a_fork"), [1, 0]);
}

/// A signal handler that forks in the midst of `pthread_create`, and comes back in the child.
mod forked_within {
    use std::sync::atomic::{AtomicI32, AtomicPtr};

    use super::*;

    /// What the thread under way is to count in, and another one of the child's handler.
    static OWN: AtomicU32 = AtomicU32::new(0);
    static OTHERS: AtomicU32 = AtomicU32::new(0);
    /// What `fork` returned in the handler.
    static FORKED: AtomicI32 = AtomicI32::new(-1);
    static STACK: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
    const STACK_BYTES: usize = 1 << 20;

    extern "C" fn counts(counter: *mut c_void) -> *mut c_void {
        // SAFETY: one of the two above.
        unsafe { &*counter.cast::<AtomicU32>() }.fetch_add(1, Ordering::SeqCst);
        null_mut()
    }

    /// Creates a thread that counts, and waits for its end.
    fn count_in(counter: &'static AtomicU32, attributes: *const libc::pthread_attr_t) -> bool {
        let mut thread = 0;
        let at = std::ptr::from_ref(counter).cast_mut().cast();
        // SAFETY: as `counts` wants.
        let created = unsafe { libc::pthread_create(&raw mut thread, attributes, counts, at) };
        // SAFETY: the thread made above, if one was.
        created == 0 && unsafe { libc::pthread_join(thread, null_mut()) } == 0
    }

    extern "C" fn forks(_signal: c_int) {
        let stack = STACK.load(Ordering::SeqCst);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the mapping that was made for the thread.
        unsafe { libc::mprotect(stack, STACK_BYTES, access) };
        // SAFETY: this process has one thread.
        FORKED.store(unsafe { libc::fork() }, Ordering::SeqCst);
        if FORKED.load(Ordering::SeqCst) == 0 {
            // The child makes its parent's records its own, and takes the first.
            count_in(&OTHERS, null());
        }
    }

    /// With one thread. What the C library first writes to the new thread's stack is a fault.
    fn each_thread_runs_what_it_was_made_for() -> bool {
        let one = count_in(&OTHERS, null());
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: fresh memory.
        let stack = unsafe { libc::mmap(null_mut(), STACK_BYTES, libc::PROT_NONE, flags, -1, 0) };
        STACK.store(stack, Ordering::SeqCst);
        let mut attributes = std::mem::MaybeUninit::uninit();
        // SAFETY: makes them.
        unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) };
        // SAFETY: made above; the stack is the mapping above.
        unsafe { libc::pthread_attr_setstack(attributes.as_mut_ptr(), stack, STACK_BYTES) };
        let handler: extern "C" fn(c_int) = forks;
        // SAFETY: the handler does what one may in a process of one thread.
        unsafe { libc::signal(libc::SIGSEGV, handler as libc::sighandler_t) };
        let created = count_in(&OWN, attributes.as_ptr());
        let forked = FORKED.load(Ordering::SeqCst);
        let counted = (OWN.load(Ordering::SeqCst), OTHERS.load(Ordering::SeqCst));
        let child_is_well = forked == 0 || ends_well(forked);
        one && created && child_is_well && counted == (1, if forked == 0 { 2 } else { 1 })
    }

    fn ends_well(process: i32) -> bool {
        let mut status = -1;
        // SAFETY: waits for a child of this process.
        let ended = unsafe { libc::waitpid(process, &raw mut status, 0) };
        ended == process && status == 0
    }

    // musl writes to the new stack where no signal comes.
    #[cfg(target_env = "gnu")]
    #[test]
    fn thread_runs_its_routine_in_the_child_too() {
        // SAFETY: the child allocates, which glibc's fork allows for, and ends below.
        let process = unsafe { libc::fork() };
        if process == 0 {
            // SAFETY: no preconditions.
            unsafe { libc::alarm(60) };
            let holds = each_thread_runs_what_it_was_made_for();
            // SAFETY: ends the child without running anybody's destructors.
            unsafe { libc::_exit(i32::from(!holds)) };
        }
        assert!(ends_well(process));
    }
}
