//! Tasks that can never go on, and the same programs mended.
//!
//! The shapes are those of the blocking bugs in GoBench's `goker` corpus (Yuan et al., *GoBench: A
//! Benchmark Suite of Real-World Go Concurrency Bugs*, CGO 2021), told again as async Rust would
//! have them, and some that only async Rust has. Where a shape leaks in Go because nobody can
//! reach a channel's other end any more, Rust closes the channel and the task goes on: those
//! keep the other end, as a registry, a struct or a forgotten clone does.
//!
//! A shape is run twice. In both runs it waits for its gate halfway, where all that it has is
//! healthy or not yet decided; once the gate is open the mended one ends, and the other does not.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use tokio::sync::watch;
use tokio::task::{AbortHandle, yield_now};

use everprof::tasks::Leak;

use crate::watch::verdicts;

mod channels;
mod contexts;
mod locks;
mod mixed;
mod only_here;
mod waits;

/// A program that leaks, or would if it were not mended.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Its function.
    pub name: &'static str,
    /// The numbers of the bugs in the corpus that are of this shape.
    pub of: &'static str,
    /// Starts its tasks.
    pub start: fn(&Scope, Is),
}

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// As it was found.
    Leaky,
    /// As it was mended.
    Mended,
}

impl Is {
    /// Whether it leaks.
    pub fn leaky(self) -> bool {
        self == Self::Leaky
    }
}

/// All shapes.
pub fn all() -> Vec<Shape> {
    [
        locks::SHAPES,
        channels::SHAPES,
        mixed::SHAPES,
        waits::SHAPES,
        contexts::SHAPES,
        only_here::SHAPES,
    ]
    .concat()
}

/// Where the tasks of a shape live.
#[derive(Default)]
pub struct Scope {
    tasks: RefCell<Vec<AbortHandle>>,
    /// What the program keeps though nobody uses it.
    kept: RefCell<Vec<Box<dyn Any>>>,
    gate: watch::Sender<bool>,
}

impl Scope {
    /// Runs a task.
    pub fn task(&self, future: impl Future<Output = ()> + Send + 'static) {
        let handle = tokio::spawn(everprof::task::root(future));
        self.tasks.borrow_mut().push(handle.abort_handle());
    }

    /// Keeps a value as long as the program runs.
    pub fn keep(&self, value: impl Any) {
        self.kept.borrow_mut().push(Box::new(value));
    }

    /// What comes from outside, later: a request, a signal, an answer.
    pub fn gate(&self) -> Gate {
        Gate(self.gate.subscribe())
    }
}

/// Opened once by whoever runs the shape.
pub struct Gate(watch::Receiver<bool>);

impl Gate {
    /// Waits until it is open.
    pub async fn opened(mut self) {
        let opened = self.0.wait_for(|&is_open| is_open).await;
        assert!(opened.is_ok(), "a scope has its gate to the end");
    }
}

/// What is said of a shape's watched tasks while it runs.
pub struct Run {
    /// Halfway, at the gate.
    pub halfway: Vec<Leak>,
    /// When nothing happens any more.
    pub at_the_end: Vec<Leak>,
    /// How many tasks are left then.
    pub left: usize,
}

/// What its tasks are known by.
fn label(shape: &Shape, is: Is) -> String {
    format!("{} {is:?}", shape.name)
}

/// Runs a shape, and looks at its tasks twice.
pub fn run(shape: &Shape, is: Is) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime can be had");
    let scope = Rc::new(Scope::default());
    runtime.block_on(async {
        {
            let _labels = everprof::labels! { "leak" => label(shape, is) };
            (shape.start)(&scope, is);
        }
        settle().await;
        let look = || verdicts("leak", &label(shape, is));
        let halfway = look();
        scope.gate.send_replace(true);
        settle().await;
        let at_the_end = look();
        let tasks = scope.tasks.borrow();
        let left = tasks.iter().filter(|task| !task.is_finished()).count();
        Run {
            halfway,
            at_the_end,
            left,
        }
    })
}

/// Lets all tasks run until each of them waits: no shape takes more turns.
async fn settle() {
    for _ in 0..200 {
        yield_now().await;
    }
}

/// The shapes of a file, each with the bugs that it tells again.
macro_rules! shapes {
    ($($name:ident: $of:literal),* $(,)?) => {
        pub(super) const SHAPES: &[super::Shape] = &[$(super::Shape {
            name: stringify!($name),
            of: $of,
            start: $name,
        }),*];
    };
}
use shapes;
