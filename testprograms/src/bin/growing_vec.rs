//! A Vec that doubles to 1 GiB while every step is sampled: growth goes through
//! the inner allocator's realloc (mremap), so it never stands twice in memory.

fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmPeak:"))
        .expect("VmPeak");
    let kib = line
        .split_whitespace()
        .nth(1)
        .and_then(|field| field.parse::<usize>().ok());
    kib.expect("a number of KiB") << 10
}

fn main() {
    let mut bytes: Vec<u8> = Vec::with_capacity(1 << 20);
    bytes.push(7);
    let before = peak_bytes();
    while bytes.capacity() < 1 << 30 {
        let twice = bytes.capacity() * 2;
        bytes.reserve_exact(twice - bytes.len());
    }
    assert_eq!(bytes[0], 7);
    let grown = peak_bytes().saturating_sub(before);
    assert!(
        grown < (1 << 30) + (300 << 20),
        "growing to 1 GiB took {grown} bytes of address space"
    );
    testprograms::ok();
}
