//! An executor of two threads, as small as one can be.
//!
//! A waker puts its task into the queue unless it is there already. It is made by hand, so that
//! each clone, drop and wake of it is a point at which threads may change.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Condvar, Mutex, MutexGuard};
use shuttle::thread;

use crate::{Boxed, Course};

/// Its tasks.
pub struct Executor {
    course: Course,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Wakers that somebody has. Not of shuttle's: to count them is no point.
    wakers: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    ready: VecDeque<Arc<Task>>,
    /// Tasks that are not done.
    left: usize,
}

struct Task {
    executor: Arc<Executor>,
    future: Mutex<Option<Boxed>>,
    is_queued: AtomicBool,
}

/// Threads that poll.
const THREADS: usize = 2;

impl Executor {
    /// With no task.
    pub fn new(course: &Course) -> Arc<Self> {
        Arc::new(Self {
            course: course.clone(),
            queue: Mutex::default(),
            changed: Condvar::new(),
            wakers: AtomicUsize::new(0),
        })
    }

    /// Gives it a task.
    pub fn spawn(self: &Arc<Self>, future: Boxed) {
        self.locked().left += 1;
        Task::queue(&Arc::new(Task {
            executor: self.clone(),
            future: Mutex::new(Some(future)),
            is_queued: AtomicBool::new(false),
        }));
    }

    /// Polls until all tasks are done. A wake-up that is lost leaves the threads waiting for
    /// ever, which shuttle knows.
    pub fn run(self: &Arc<Self>) {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let executor = self.clone();
                thread::spawn(move || executor.work())
            })
            .collect();
        for thread in threads {
            assert!(thread.join().is_ok(), "no task panics");
        }
    }

    /// Wakers of its tasks that somebody has.
    pub fn wakers(&self) -> usize {
        self.wakers.load(Ordering::SeqCst)
    }

    fn work(&self) {
        while let Some(task) = self.next() {
            task.is_queued.store(false, Ordering::SeqCst);
            let mut place = task.future.lock().expect("no task panics");
            let Some(future) = place.as_mut() else {
                continue;
            };
            let waker = waker(&task);
            if future
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
            {
                *place = None;
                drop(place);
                self.locked().left -= 1;
                self.changed.notify_all();
            }
        }
    }

    fn next(&self) -> Option<Arc<Task>> {
        let mut queue = self.locked();
        loop {
            if let Some(task) = queue.ready.pop_front() {
                return Some(task);
            }
            if queue.left == 0 {
                return None;
            }
            queue = self.changed.wait(queue).expect("no task panics");
        }
    }

    fn locked(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no task panics")
    }
}

impl Task {
    fn queue(this: &Arc<Self>) {
        if this.is_queued.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut queue = this.executor.locked();
        // Behind the end nobody polls.
        if queue.left > 0 {
            queue.ready.push_back(this.clone());
        }
        drop(queue);
        this.executor.changed.notify_one();
    }
}

static TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// Its `data` is a reference of the task's `Arc`.
fn waker(task: &Arc<Task>) -> Waker {
    task.executor.wakers.fetch_add(1, Ordering::SeqCst);
    let data = Arc::into_raw(task.clone()).cast();
    // SAFETY: the functions of the table keep the contract of `RawWaker`.
    unsafe { Waker::new(data, &TABLE) }
}

/// The task, whose reference stays the waker's.
///
/// # Safety
/// `data` is that of a waker made by [`waker`], which is there while this is used.
unsafe fn task(data: *const ()) -> ManuallyDrop<Arc<Task>> {
    // SAFETY: the caller's promise.
    ManuallyDrop::new(unsafe { Arc::from_raw(data.cast()) })
}

/// # Safety
/// As of all functions of the table: `RawWakerVTable`'s contract.
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the caller's promise.
    let task = unsafe { task(data) };
    task.executor.course.touches();
    let other = waker(&task);
    let other = ManuallyDrop::new(other);
    RawWaker::new(other.data(), &TABLE)
}

/// # Safety
/// As above.
unsafe fn wake(data: *const ()) {
    // SAFETY: the caller's promise.
    unsafe { wake_by_ref(data) };
    // SAFETY: as above.
    unsafe { drop_waker(data) };
}

/// # Safety
/// As above.
unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the caller's promise.
    let task = unsafe { task(data) };
    task.executor.course.wakes();
    Task::queue(&task);
}

/// # Safety
/// As above.
unsafe fn drop_waker(data: *const ()) {
    // SAFETY: the caller's promise.
    let task = unsafe { task(data) };
    task.executor.course.touches();
    task.executor.wakers.fetch_sub(1, Ordering::SeqCst);
    drop(ManuallyDrop::into_inner(task));
}
