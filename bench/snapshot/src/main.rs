//! Time and memory of one heap profile of N stacks of depth 32.
//!
//! `snapshot N` prints, for each of five profiles taken one after the other,
//! milliseconds of CPU time of the snapshot with its assembly, the same of the
//! encoding, KiB of peak resident memory above what the process had before,
//! and bytes of the result. One thread does it all. Give the recorder room: `EVERPROF=memory_limit=512MiB`.

use std::fs;
use std::io::{self, Write};

use workloads::cpu_seconds;
use workloads::depth::descend;

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

/// `main` and what is beneath it are the rest of the 32.
const DEPTH: usize = 24;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stacks: u64 = std::env::args()
        .nth(1)
        .map_or(Ok(100_000), |text| text.parse())?;
    let mut objects: Vec<Box<[u64; 8]>> = Vec::with_capacity(stacks as usize);
    everprof::heap::set_period(1);
    for path in 0..stacks {
        descend(DEPTH, path, &mut || objects.push(Box::new([path; 8])));
    }
    everprof::heap::set_period(512 << 10);

    for _ in 0..5 {
        // Sets the peak back to what is resident now: proc(5).
        fs::write("/proc/self/clear_refs", "5")?;
        let before = status_kib("VmRSS:");
        let start = cpu_seconds();
        let profile = everprof::profile::lookup("heap").ok_or("no heap profile")?;
        let assembled = cpu_seconds();
        let mut bytes = Counter(0);
        profile.write_to(&mut bytes)?;
        let encoded = cpu_seconds();
        drop(profile);
        let above = status_kib("VmHWM:").saturating_sub(before);
        println!(
            "{:.1} {:.1} {above} {}",
            (assembled - start) * 1e3,
            (encoded - assembled) * 1e3,
            bytes.0
        );
    }
    drop(objects);
    Ok(())
}

struct Counter(usize);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn status_kib(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}
