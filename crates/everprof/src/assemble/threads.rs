//! The profile of threads: what each of them does now.
//!
//! Context: cold. Invariant: every thread of the dump has one sample, with a stack or
//! with a frame and a state that say why there is none.
//!
//! A dump knows stacks. Of threads that wait in a call of ours it also knows what they wait for,
//! and since when. Of some, which did not stand still at the first look, it knows the system
//! call alone: the recorder of waits is then asked by the thread's number. A thread may go on
//! between the two. So a wait that does not fit the call is one of another time, and left out.

use std::collections::HashMap;
use std::time::Duration;

use everprof_core::lost::Lost;
use everprof_core::threads::{Dump, RecordedWait, Source, State, Thread, WhoAsks, collect};
use everprof_core::waits::Operation;
use everprof_core::{global, modules, own_threads};
use everprof_profile::report::units;
use everprof_profile::stacks::{CREATOR_LABEL, ID_LABEL, NAME_LABEL, STATE_LABEL};
use everprof_profile::wait_kind::WaitKind;
use everprof_profile::{Filter, Label, LocationId, Profile};

use super::as_value;
use super::deadlocks::Findings;
use super::labels::LabelSets;
use super::modules::Modules;
use super::named::Named;
use super::waits::known;
use crate::deadlock;
use crate::error::{Error, Kind};
use crate::profile::Ask;

/// How long threads are waited for that run and do not answer: a thread that got no
/// processor for so long is on a machine that has other troubles.
const PATIENCE: Duration = Duration::from_secs(1);

/// The threads of this process now. `kind` is what a sample is called.
///
/// Who asks is among them: from here on its stack has the addresses of locks that others hold.
pub(crate) fn threads(kind: &str, ask: &Ask<'_>) -> Result<Profile, Error> {
    WhoAsks::this_thread(|asker| threads_for(asker, kind, ask))
}

fn threads_for(asker: WhoAsks, kind: &str, ask: &Ask<'_>) -> Result<Profile, Error> {
    modules::refresh();
    let dump = collect(PATIENCE);
    if !dump.is_supported() {
        return Err(Error::new(
            Kind::Unsupported,
            format!(
                "no profile `{kind}`: this platform does not tell of threads (Linux needs /proc)"
            ),
        ));
    }
    let waits = waits(&dump);
    Ok(assemble(asker, kind, &dump, &waits, ask))
}

/// How many threads and watched futures there are.
pub(crate) fn goroutine_count() -> usize {
    thread_count() + everprof_core::tasks::counts().0
}

/// The threads and, where there are any, the tasks.
pub(crate) fn goroutine(ask: &Ask<'_>) -> Result<Profile, Error> {
    let threads = threads("goroutine", ask)?;
    if everprof_core::tasks::counts() == (0, 0) {
        return Ok(threads);
    }
    let tasks = super::tasks("goroutine", ask);
    let both = Profile::merge(&[&tasks, &threads])?;
    if let Some(kept) = ask.keep
        && let Some(kept) = &mut *kept.borrow_mut()
    {
        kept.threads = Some(threads);
    }
    Ok(both)
}

/// The signal that running threads are asked with, from the next dump on.
pub(crate) fn ask_threads_with(signal: i32) {
    everprof_core::threads::set_signal(signal);
}

/// How many there are. No dump, since that costs something a thread.
pub(crate) fn thread_count() -> usize {
    own_threads::others().len()
}

/// Who waits in a call of ours, by thread.
fn waits(dump: &Dump) -> HashMap<u32, RecordedWait> {
    let mut all = HashMap::with_capacity(dump.len());
    let mut blocked = None;
    for thread in dump.iter() {
        let wait = match (thread.source, thread.state) {
            (Source::Recorded(wait), _) => Some(wait),
            (_, State::InCall { .. }) => blocked
                .get_or_insert_with(|| global::waits().blocked())
                .get(thread.id)
                .map(RecordedWait::from),
            _ => None,
        };
        all.extend(wait.map(|wait| (thread.id, wait)));
    }
    all
}

fn assemble(
    asker: WhoAsks,
    kind: &str,
    dump: &Dump,
    waits: &HashMap<u32, RecordedWait>,
    ask: &Ask<'_>,
) -> Profile {
    // Before names are told, which may take longer than the waits have so far.
    let now_nanos = everprof_core::waits::now_nanos();
    let types = [(kind, "count")];
    let modules = Modules::of_this_process();
    let mut named = Named::new(&types, &modules, ask.names);
    let stacks: Vec<_> = dump.iter().map(|t| named.stack(t.stack)).collect();
    let creators: HashMap<u32, Vec<LocationId>> = dump
        .iter()
        .filter_map(|t| Some((t.id, named.stack(t.creator?))))
        .collect();
    named.finish();
    let mut kinds = Kinds::new(&named);
    let findings = findings(asker, &mut kinds, dump, &stacks, waits, now_nanos);
    let (mut profile, mut places) = named.begin(&types);
    profile.set_default_sample_type(kind);
    profile.set_period_type(kind, "count");
    profile.period = 1;
    profile.time_nanos = as_value(dump.unix_nanos());
    if !dump.is_complete() {
        profile.add_comment(
            "not whole: threads came and went all the while, so that some may be missing",
        );
    }
    for deadlock in &findings.found {
        profile.add_comment(&deadlock.sentence());
    }
    let sets = LabelSets::of_this_process();
    for (thread, stack) in dump.iter().zip(&stacks) {
        let wait = waits.get(&thread.id);
        let mut state = state(&mut kinds, &thread, stack, wait, now_nanos);
        if let Some(holder) = findings.holders.get(&thread.id) {
            match holder {
                Some(holder) => state.push_str(&format!(", held by thread {holder}")),
                None => state.push_str(", holder unknown"),
            }
        }
        let mut stack: Vec<_> = places.of_stack(&mut profile, thread.stack).collect();
        if stack.is_empty() {
            // The state says why.
            stack.push(places.of_return(&mut profile, Lost::NoStack.pc()));
        }
        let name = String::from_utf8_lossy(thread.name);
        let creator = creator(&named, &creators, thread.id);
        let mut labels = vec![
            Label::number(ID_LABEL, i64::from(thread.id), ""),
            Label::string(NAME_LABEL, &name),
            Label::string(STATE_LABEL, &state),
        ];
        if !creator.is_empty() {
            labels.push(Label::string(CREATOR_LABEL, &creator));
        }
        // One that waits has those it began with, which are known of any thread.
        let set = thread.labels.or(wait.map(|wait| wait.labels));
        let set = set.unwrap_or(everprof_core::labels::NONE);
        sets.add(set, &mut labels, &mut stack, &mut places, &mut profile);
        profile.push_sample(&stack, &[1], &labels);
    }
    profile.filter(&Filter::new())
}

/// Who is in a deadlock, and who holds what others wait for. After the dump: what that shows of
/// a deadlock is true still.
fn findings<'n>(
    asker: WhoAsks,
    kinds: &mut Kinds<'n>,
    dump: &Dump,
    stacks: &'n [Vec<LocationId>],
    waits: &HashMap<u32, RecordedWait>,
    now_nanos: u64,
) -> Findings {
    if may_be_deadlocked(kinds, dump, stacks, waits, now_nanos) {
        deadlock::find(deadlock::LEAST_WAIT, asker)
    } else {
        Findings::default()
    }
}

/// Whether anybody in the dump has waited for a lock, without which there is no deadlock. Asked
/// first, as to look for one takes longer than the rest of a dump.
///
/// In a frame of its own, which is gone when deadlocks are looked for. It has had the addresses of
/// the locks, and whoever has these on the stack may hold the locks.
#[inline(never)]
fn may_be_deadlocked<'n>(
    kinds: &mut Kinds<'n>,
    dump: &Dump,
    stacks: &'n [Vec<LocationId>],
    waits: &HashMap<u32, RecordedWait>,
    now_nanos: u64,
) -> bool {
    dump.iter().zip(stacks).any(|(thread, stack)| {
        waits.get(&thread.id).is_some_and(|wait| {
            let waited = Duration::from_nanos(now_nanos.saturating_sub(wait.since_nanos));
            waited >= deadlock::LEAST_WAIT && kinds.may_be_lock(stack, wait.operation)
        })
    })
}

/// Where a thread was created, as lines of text: the first function of the program, or
/// of a library that it uses, and where it stands; empty where that is not known.
fn creator(named: &Named<'_>, creators: &HashMap<u32, Vec<LocationId>>, thread: u32) -> String {
    let Some(stack) = creators.get(&thread) else {
        return String::new();
    };
    let mut frames = named.frames(stack).peekable();
    while frames
        .next_if(|frame| is_of_creation(frame.function))
        .is_some()
    {}
    match frames.next() {
        None => String::new(),
        Some(frame) if frame.file.is_empty() => frame.function.to_owned(),
        Some(frame) => format!("{}\n\t{}:{}", frame.function, frame.file, frame.line),
    }
}

/// Whether a function only passes the creation of a thread on: ours, the C library's,
/// std's.
fn is_of_creation(name: &str) -> bool {
    let path = name.trim_start_matches('<');
    ["everprof", "std::", "core::", "alloc::"]
        .iter()
        .any(|part| path.starts_with(part))
        || matches!(name, "pthread_create" | "")
}

/// What is waited for on the stacks met so far. Kept, since telling it takes the names of all
/// functions of a stack, and thousands of threads stand in few places.
struct Kinds<'n> {
    named: &'n Named<'n>,
    known: HashMap<(&'n [LocationId], WaitKind), WaitKind>,
    may_be_lock: HashMap<&'n [LocationId], bool>,
}

impl<'n> Kinds<'n> {
    fn new(named: &'n Named<'n>) -> Self {
        Self {
            named,
            known: HashMap::new(),
            may_be_lock: HashMap::new(),
        }
    }

    fn of(&mut self, stack: &'n [LocationId], known: WaitKind) -> WaitKind {
        let kind = || self.named.kind(stack, known);
        *self.known.entry((stack, known)).or_insert_with(kind)
    }

    /// Whether a thread with this stack, or an unknown one, may wait in this operation for a lock
    /// that is held. Rather too often: a look at all threads tells who does.
    fn may_be_lock(&mut self, stack: &'n [LocationId], operation: Operation) -> bool {
        match operation {
            Operation::Lock | Operation::Rwlock => return true,
            Operation::Futex if stack.is_empty() => return true,
            Operation::Futex => {}
            _ => return false,
        }
        let kind = self.of(stack, known(Some(operation)));
        let named = self.named;
        let is_slow_path = || named.functions(stack).any(|name| name.contains(SLOW_PATH));
        let may_be = || matches!(kind, WaitKind::Mutex | WaitKind::RwLock | WaitKind::Other);
        *self
            .may_be_lock
            .entry(stack)
            .or_insert_with(|| may_be() || is_slow_path())
    }
}

/// What the functions in which std's locks wait have in their names. Debug information of lines
/// alone has these names without the lock's type, and the kind is then told by what is around
/// them.
const SLOW_PATH: &str = "_contended";

/// `running`, `sleep`, `mutex 0x7f2a10, 3.2 s`, or why there is no stack.
fn state<'n>(
    kinds: &mut Kinds<'n>,
    thread: &Thread<'_>,
    stack: &'n [LocationId],
    wait: Option<&RecordedWait>,
    now_nanos: u64,
) -> String {
    let (what, wait) = match (thread.source, thread.state) {
        (Source::Missing(why), _) => return why.reason().to_owned(),
        // The one that asks is in a call of ours, which is nothing to tell.
        (Source::Itself, _) | (_, State::Running) => return "running".to_owned(),
        (Source::Recorded(wait), _) => (waiting_for(kinds, stack, wait.operation), Some(wait)),
        (_, State::InCall { number, .. }) => {
            let call = Call::of(number);
            let wait = wait.filter(|wait| call.is_of(wait.operation));
            (in_call(kinds, stack, call, number), wait.copied())
        }
        (_, State::InFault) => return "page fault".to_owned(),
        _ => return String::new(),
    };
    let Some(wait) = wait else {
        return what;
    };
    let since = now_nanos.saturating_sub(wait.since_nanos);
    let since = units::format(as_value(since), "nanoseconds");
    match wait.address.get() {
        0 => format!("{what}, {since}"),
        address => format!("{what} {address:#x}, {since}"),
    }
}

/// What a thread waits for that is in a recorded operation.
fn waiting_for<'n>(kinds: &mut Kinds<'n>, stack: &'n [LocationId], operation: Operation) -> String {
    match kinds.of(stack, known(Some(operation))) {
        WaitKind::Other => "futex".to_owned(),
        kind => said(kind).to_owned(),
    }
}

/// What a thread waits for that sleeps in a system call.
fn in_call<'n>(kinds: &mut Kinds<'n>, stack: &'n [LocationId], call: Call, number: u32) -> String {
    match (kinds.of(stack, call.known()), call) {
        (WaitKind::Other, Call::Futex) => "futex".to_owned(),
        (WaitKind::Other, Call::Unknown) => format!("system call {number}"),
        (kind, _) => said(kind).to_owned(),
    }
}

/// What a thread does that waits like this. One that runs a future to its end is said to be in
/// `block_on`, as every runtime calls that function. Not in a `task`: those have states of their
/// own.
fn said(kind: WaitKind) -> &'static str {
    match kind {
        WaitKind::Task => "block_on",
        kind => kind.name(),
    }
}

/// What a system call is to somebody who asks what a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Futex,
    Sleep,
    Io,
    Unknown,
}

impl Call {
    fn of(number: u32) -> Self {
        match libc::c_long::from(number) {
            libc::SYS_futex => Self::Futex,
            libc::SYS_nanosleep | libc::SYS_clock_nanosleep => Self::Sleep,
            libc::SYS_epoll_pwait
            | libc::SYS_epoll_pwait2
            | libc::SYS_ppoll
            | libc::SYS_pselect6
            | libc::SYS_read
            | libc::SYS_readv
            | libc::SYS_write
            | libc::SYS_writev
            | libc::SYS_accept
            | libc::SYS_accept4
            | libc::SYS_connect
            | libc::SYS_recvfrom
            | libc::SYS_recvmsg
            | libc::SYS_sendto
            | libc::SYS_sendmsg => Self::Io,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_epoll_wait | libc::SYS_poll | libc::SYS_select => Self::Io,
            _ => Self::Unknown,
        }
    }

    fn known(self) -> WaitKind {
        match self {
            Self::Sleep => WaitKind::Sleep,
            Self::Io => WaitKind::Io,
            Self::Futex | Self::Unknown => WaitKind::Other,
        }
    }

    /// Whether a wait in this operation is one in such a call.
    fn is_of(self, operation: Operation) -> bool {
        match operation {
            Operation::Sleep => self == Self::Sleep,
            Operation::Io => self == Self::Io,
            Operation::Futex
            | Operation::Lock
            | Operation::Rwlock
            | Operation::Condition
            | Operation::Join => self == Self::Futex,
            Operation::Yield => false,
        }
    }
}
#[cfg(all(
    test,
    target_os = "linux",
    feature = "interpose",
    not(target_feature = "crt-static"),
    // What the kernel tells of an emulated thread that sleeps are the emulator's registers.
    not(everprof_emulated)
))]
mod tests;
