//! Recordings that lie: whatever a file holds, reading it ends and does not fault.
#![cfg(all(target_os = "linux", not(miri), not(everprof_loom)))]
#![allow(clippy::unwrap_used)]

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use everprof_core::heap::Recorder;
use everprof_core::labels::{self, Labels};
use everprof_core::local::Local;
use everprof_core::recording::Recording;
use everprof_core::spawn;
use everprof_core::stack::Registers;
use everprof_core::store::Store;
use everprof_core::waits::{self, Begun, Ended, Operation, Wait};

const RUN: spawn::Run = spawn::Run {
    routine: 1,
    argument: 2,
};

const LEN: usize = 256 * 1024;

/// A file that is removed when it is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        let name = format!("everprof-hostile-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A true recording of some objects.
fn record(path: &Path) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .unwrap();
    file.set_len(LEN as u64).unwrap();
    // Once: a refresh beside another thread's leaves it to that one, and is no wait.
    static KNOWN: Once = Once::new();
    KNOWN.call_once(everprof_core::modules::refresh);
    let (store, local) = (Box::new(Store::new()), Local::new());
    let recorder = Recorder::of(&store);
    recorder.set_period(1);
    assert!(store.init_shared(file.as_raw_fd(), LEN));
    for n in 0..50u64 {
        let number = n.to_string();
        let pairs = [("tenant", "t"), ("number", number.as_str())];
        local.set_labels(labels::extend(&store, Labels::NONE, &pairs));
        local.countdown.set(-8);
        let ticket = recorder.sample_with(&local, 8, 1000, |out| {
            out[..2].copy_from_slice(&[100 + n, 99]);
            2
        });
        ticket.unwrap().commit(16 * (n as usize + 1), 0);
        let spawn = spawn::Recorder::of(&store);
        let created = spawn.begin_with(&local, RUN, |out| {
            out[..2].copy_from_slice(&[100 + n, 99]);
            2
        });
        created.unwrap().succeeded();
    }
    waits(&store);
}

/// A wait and the wake that ended it, ten times, each of a stack of its own.
fn waits(store: &Store) {
    let recorder = waits::Recorder::of(store);
    recorder.set_block_period(1);
    recorder.set_mutex_period(1);
    let (waiter, waker) = (Local::new(), Local::new());
    for n in 0..10u64 {
        let stack = |out: &mut [u64]| {
            out[..2].copy_from_slice(&[100 + n, 99]);
            2
        };
        let wait = Wait {
            operation: Operation::Futex,
            address: 0x40,
            timed: false,
        };
        let registers = Registers {
            pc: 100,
            sp: 1000,
            fp: 0,
            lr: 0,
        };
        let mut begun = Begun::NOTHING;
        let clock = || 1_000_000 * n;
        recorder.begin_with(&waiter, &wait, &registers, &mut begun, clock, stack);
        let charged = recorder.before_wake_with(&waker, 0x40, || 1_000_000 * n + 800);
        recorder.after_wake_with(&waker, &charged.unwrap(), 1, stack);
        let end = 1_000_000 * n + 900;
        recorder.end_with(&waiter, &wait, &begun, Ended::Woken, end, stack);
    }
}

/// Reads all there is; how many buckets with two labels, and modules.
fn read(path: &Path) -> (usize, usize) {
    let Ok(recording) = Recording::open(path) else {
        return (0, 0);
    };
    let sets = recording.label_sets();
    if let Some(snapshot) = recording.spawn() {
        let threads = snapshot
            .iter()
            .filter(|bucket| bucket.live <= bucket.created);
        assert!(threads.count() <= LEN);
    }
    let block = recording
        .block()
        .map_or(0, |snapshot| snapshot.iter().count());
    let mutex = recording.mutex().map_or(0, |snapshot| {
        let sites = snapshot.iter().map(|bucket| bucket.site.len().min(1));
        sites.sum()
    });
    assert!(block <= LEN && mutex <= LEN);
    let mut modules = 0;
    recording.for_each_module(|module| modules += usize::from(module.path.len() < LEN));
    let buckets = recording.heap().map_or(0, |snapshot| {
        snapshot
            .iter()
            .filter(|bucket| bucket.in_use().samples <= bucket.alloc.samples)
            .filter(|bucket| {
                let pairs = sets.and_then(|sets| sets.pairs(bucket.labels));
                pairs.is_some_and(|pairs| pairs.count() == 2)
            })
            .map(|bucket| bucket.stack.len().min(1))
            .sum()
    });
    (buckets, modules)
}

#[test]
fn true_recording_is_read_whole() {
    let file = Temporary::new("true");
    record(&file.0);
    let (buckets, modules) = read(&file.0);
    assert_eq!(buckets, 50);
    let recording = Recording::open(&file.0).unwrap();
    let threads = recording.spawn().unwrap();
    let created = threads.iter().map(|bucket| (bucket.created, bucket.live));
    assert!(created.eq([(1, 1); 50]));
    let (block, mutex) = (recording.block().unwrap(), recording.mutex().unwrap());
    assert_eq!(block.period_nanos, 1);
    assert!(
        block
            .iter()
            .map(|bucket| bucket.waits.delay_nanos)
            .eq([900; 10])
    );
    assert!(
        mutex
            .iter()
            .map(|bucket| bucket.waits.delay_nanos)
            .eq([800; 10])
    );
    assert!(mutex.iter().all(|bucket| bucket.site.last() == Some(&99)));
    assert!(modules > 0);
}

#[test]
fn file_cut_short_while_it_is_read_is_as_it_was_when_opened() {
    let file = Temporary::new("cut");
    record(&file.0);
    let recording = Recording::open(&file.0).unwrap();
    let writer = File::options().write(true).open(&file.0).unwrap();
    writer.set_len(0).unwrap();
    assert_eq!(recording.heap().unwrap().iter().count(), 50);
    assert!(Recording::open(&file.0).is_err());
}

/// Each word of the part in use is replaced by numbers that offsets, counts and
/// lengths do not like.
#[test]
fn any_word_may_be_anything() {
    let file = Temporary::new("words");
    record(&file.0);
    let good = fs::read(&file.0).unwrap();
    let used = u64::from_le_bytes(good[8..16].try_into().unwrap()) as usize;
    let before = cpu_time();
    // Not every word of the in-use store's 48 KiB: it is not read.
    let words =
        (0..used / 4).filter(|word| word % 61 == 0 || *word < 400 || *word > used / 4 - 600);
    for (n, word) in words.enumerate() {
        let mut bad = good.clone();
        let values = [u32::MAX, 19, 0x8000_0000, (word as u32) / 2, 1 << 20];
        for (step, lie) in [values[n % 5], values[(n + 2) % 5]].iter().enumerate() {
            let at = (word + step) * 4;
            if at + 4 <= bad.len() {
                bad[at..at + 4].copy_from_slice(&lie.to_le_bytes());
            }
        }
        fs::write(&file.0, &bad).unwrap();
        read(&file.0);
    }
    // Nothing is gone through without end, or anew for each of many. Of this thread's own time, so
    // that a busy machine is no fault.
    let took = cpu_time() - before;
    let slow = Duration::from_secs(if cfg!(everprof_sanitizer = "thread") {
        300
    } else {
        60
    });
    assert!(took < slow, "{took:?}");
}

/// What this thread has run.
fn cpu_time() -> Duration {
    let mut time = std::mem::MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: writes all of it, as the clock exists.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr()) };
    assert_eq!(failed, 0);
    // SAFETY: written above.
    let time = unsafe { time.assume_init() };
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}
