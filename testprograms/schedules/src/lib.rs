//! Watched futures under thousands of orders of threads, with shuttle as the scheduler.
//!
//! | module | has |
//! |---|---|
//! | [`executor`] | an executor of two threads, whose wakers tell of each clone, drop and wake |
//! | [`channel`] | a bounded channel |
//! | [`by_hand`] | programs on these |
//! | [`shuttles`] | programs on shuttle's own executor, with the primitives that run on it |
//!
//! Threads change only where something of shuttle's is called: in the channel, in the executor,
//! and in what everprof calls of the executor's waker, which is in the midst of its polls, wakes
//! and drops. Between two such calls everprof's own code runs as one step; what may come in
//! between there is what `loom_tasks` goes through.
//!
//! All threads of shuttle's are one of the system's, and so of everprof's: stacks and labels are
//! not looked at here, as a poll may end on another's place.

pub mod by_hand;
pub mod channel;
pub mod executor;
pub mod shuttles;

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use everprof::tasks::Leak;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::{Config, Runner};

/// A future for any thread.
pub type Boxed<T = ()> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A program, which makes its threads and tasks and ends when they are done.
pub type Program = fn(&Course);

/// Whether tasks are watched, and whether dumps are taken meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// As if there were no everprof.
    No,
    /// Watched, and nobody asks.
    Yes,
    /// Watched, and a dump is taken wherever one can be.
    Dumped,
}

/// Where threads may change besides what the program itself does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Points {
    /// When a waker wakes. Watched or not a program wakes as often, so that one can be held
    /// against the other, schedule by schedule.
    Wakes,
    /// Also when the executor's waker is cloned or dropped, which a watched task does otherwise.
    All,
}

/// Who chooses what runs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// Chance, at each point.
    Random,
    /// Priorities by chance, which change so many times (probabilistic concurrency testing).
    Priorities(usize),
}

/// What happens in one run of a program, in the order in which it does.
#[derive(Clone)]
pub struct Course {
    watch: Watch,
    points: Points,
    happened: Arc<Mutex<Vec<String>>>,
    /// Counts for nothing: whoever changes it may be interrupted.
    point: Arc<AtomicUsize>,
}

/// Runs `program` under so many schedules; what happened in each.
pub fn explore(
    program: Program,
    watch: Watch,
    points: Points,
    scheduler: Scheduler,
    count: usize,
) -> Vec<Vec<String>> {
    let all = Arc::new(Mutex::new(Vec::with_capacity(count)));
    let runs = all.clone();
    let run = move || {
        let course = Course {
            watch,
            points,
            happened: Arc::default(),
            point: Arc::new(AtomicUsize::new(0)),
        };
        program(&course);
        let happened = std::mem::take(&mut *locked(&course.happened));
        locked(&runs).push(happened);
    };
    let mut config = Config::new();
    // A dump in a build without optimisation takes more than shuttle's threads have.
    config.stack_size = STACK_BYTES;
    config.silence_warnings = true;
    match scheduler {
        Scheduler::Random => {
            Runner::new(RandomScheduler::new_from_seed(SEED, count), config).run(run)
        }
        Scheduler::Priorities(depth) => {
            Runner::new(PctScheduler::new_from_seed(SEED, depth, count), config).run(run)
        }
    };
    std::mem::take(&mut *locked(&all))
}

/// How many of them are different.
pub fn different(runs: &[Vec<String>]) -> usize {
    runs.iter().collect::<HashSet<_>>().len()
}

/// As good as any: with another one others are found.
const SEED: u64 = 0x7a5b_1dea;

const STACK_BYTES: usize = 1 << 20;

impl Course {
    /// Notes something that the program says.
    pub fn says(&self, what: impl ToString) {
        locked(&self.happened).push(what.to_string());
    }

    /// A future whose polls are noted, as an executor alone polls it.
    pub fn root(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Boxed {
        let noted = self.noted(name, future);
        match self.watch {
            Watch::No => Box::pin(noted),
            Watch::Yes | Watch::Dumped => Box::pin(everprof::task::root(noted)),
        }
    }

    /// The same for one that is part of another.
    pub fn part(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Boxed {
        let noted = self.noted(name, future);
        match self.watch {
            Watch::No => Box::pin(noted),
            Watch::Yes | Watch::Dumped => Box::pin(everprof::task::watch(noted)),
        }
    }

    /// A waker is about to wake.
    pub fn wakes(&self) {
        self.may_change();
    }

    /// A waker is cloned or dropped.
    pub fn touches(&self) {
        match self.points {
            Points::Wakes => self.may_dump(),
            Points::All => self.may_change(),
        }
    }

    fn may_change(&self) {
        self.may_dump();
        self.point.fetch_add(1, Ordering::SeqCst);
        self.may_dump();
    }

    /// Takes a dump, if dumps are taken. All programs come to their end, so no task is leaked.
    pub fn may_dump(&self) {
        // What a test that fails drops is no matter.
        if self.watch != Watch::Dumped || std::thread::panicking() {
            return;
        }
        for task in everprof::tasks::records() {
            assert_ne!(task.leak, Leak::Certain, "{task:#?}");
        }
    }

    fn noted<F>(&self, name: &'static str, future: F) -> Noted<F> {
        Noted {
            name,
            future: Box::pin(future),
            course: self.clone(),
        }
    }
}

/// A future whose polls, and end, are noted.
struct Noted<F> {
    name: &'static str,
    future: Pin<Box<F>>,
    course: Course,
}

impl<F: Future<Output = ()>> Future for Noted<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.course.may_dump();
        let polled = self.future.as_mut().poll(context);
        let end = if polled.is_ready() { " is done" } else { "" };
        self.course.says(format!("{}{end}", self.name));
        polled
    }
}

impl<F> Drop for Noted<F> {
    fn drop(&mut self) {
        self.course.says(format!("{} is dropped", self.name));
    }
}

/// Of the system's, not of shuttle's: nobody waits for it in a schedule.
fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names and programs, for a test of each.
#[macro_export]
macro_rules! programs {
    ($each:ident) => {
        $each! {
            by_hand: channel, select_in_a_loop, moved_between_tasks, join_of_parts,
                dropped_while_it_is_woken, woken_by_threads, yields;
            shuttles: semaphore, channels, unordered, aborted;
        }
    };
}
