//! Hostile programs that everprof must survive, each its own binary.
//!
//! Every program ends with status 0 and the line `ok` when it saw what it
//! expected. With the feature `linked` everprof's allocator is in all of them;
//! without, they know nothing of everprof.

use std::alloc::{Layout, alloc, dealloc};

pub mod fork;
pub mod signals;

#[cfg(feature = "linked")]
#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

/// A generator good enough to mix sizes and orders, the same on every run.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that yields the same numbers for the same `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number, xorshift64*.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit as u64) as usize
    }
}

/// A block that knows its layout and a pattern it was filled with, so that a
/// neighbour's overrun, a moved byte or a wrong free shows.
#[derive(Debug)]
pub struct Block {
    start: *mut u8,
    layout: Layout,
    pattern: u8,
}

// SAFETY: a Block owns its memory alone; any thread may free it.
unsafe impl Send for Block {}

impl Block {
    /// Allocates and fills a block; `None` where the allocator refuses.
    #[must_use]
    pub fn new(layout: Layout, pattern: u8) -> Option<Self> {
        assert!(layout.size() > 0, "a block has at least one byte");
        // SAFETY: the size is not zero, asserted above.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            return None;
        }
        assert_eq!(
            start as usize % layout.align(),
            0,
            "misaligned for {layout:?}"
        );
        // SAFETY: `start` is the begin of `layout.size()` writable bytes.
        unsafe { start.write_bytes(pattern, layout.size()) };
        Some(Self {
            start,
            layout,
            pattern,
        })
    }

    /// Changes the block's size, keeping its contents.
    pub fn resize(&mut self, size: usize) {
        self.check();
        // SAFETY: `start` came from `alloc` or `realloc` with this layout.
        let start = unsafe { std::alloc::realloc(self.start, self.layout, size) };
        assert!(!start.is_null(), "realloc to {size} refused");
        let kept = self.layout.size().min(size);
        self.start = start;
        self.layout = Layout::from_size_align(size, self.layout.align()).expect("a valid size");
        assert_eq!(
            start as usize % self.layout.align(),
            0,
            "misaligned after realloc"
        );
        assert_pattern(self.bytes(kept), self.pattern);
        // SAFETY: `start` is the begin of `size` writable bytes.
        unsafe { start.write_bytes(self.pattern, size) };
    }

    /// Asserts that the block's bytes are those it was filled with.
    pub fn check(&self) {
        assert_pattern(self.bytes(self.layout.size()), self.pattern);
    }

    fn bytes(&self, count: usize) -> &[u8] {
        // SAFETY: callers ask for no more than `new` and `resize` have written.
        unsafe { std::slice::from_raw_parts(self.start, count) }
    }
}

fn assert_pattern(bytes: &[u8], pattern: u8) {
    if let Some(index) = bytes.iter().position(|&byte| byte != pattern) {
        panic!("byte {index} of {} is not {pattern:#x}", bytes.len());
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        }
        // SAFETY: `start` came from the allocator with this layout.
        unsafe { dealloc(self.start, self.layout) };
    }
}

/// A random layout: mostly small, sometimes large, sometimes over-aligned.
pub fn layout(random: &mut Random) -> Layout {
    let size = match random.below(16) {
        0 => 1 + random.below(200_000),
        1..=3 => 1 + random.below(9000),
        _ => 1 + random.below(200),
    };
    let align = match random.below(8) {
        0 => 1 << random.below(13),
        1 => 16,
        _ => 1 << random.below(4),
    };
    Layout::from_size_align(size, align).expect("sizes and alignments are small")
}

/// Allocates, resizes and frees `rounds` times among up to `live` blocks.
pub fn churn(seed: u64, rounds: usize, live: usize) {
    let mut random = Random::new(seed);
    let mut blocks: Vec<Block> = Vec::with_capacity(live);
    for _ in 0..rounds {
        if blocks.len() < live && random.below(3) != 0 {
            let pattern = random.number() as u8;
            blocks.extend(Block::new(layout(&mut random), pattern));
        } else if !blocks.is_empty() {
            let index = random.below(blocks.len());
            if random.below(2) == 0 {
                let size = layout(&mut random).size();
                blocks[index].resize(size);
            } else {
                blocks.swap_remove(index);
            }
        }
    }
}

/// The line that says the program came to its end.
pub fn ok() {
    println!("ok");
}
