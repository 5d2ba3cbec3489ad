//! A small garbage-collected heap with a profile of its own: mark and sweep, swept bit by
//! bit while the mutator goes on. `cargo run -p everprof --example managed_heap` prints
//! what a naive count and the profile show in the midst of a sweep.

use std::collections::BTreeMap;

use everprof::heap::Managed;

/// Bytes of a cell, as its profile is to count them.
const CELL_BYTES: usize = 32;

/// A heap of cells that point to one another; the roots are what the program holds.
struct Cells {
    cells: BTreeMap<usize, Cell>,
    next_address: usize,
    roots: Vec<usize>,
    /// Garbage of the last mark that has not been swept.
    to_sweep: Vec<usize>,
    profile: Managed,
}

struct Cell {
    next: Option<usize>,
    marked: bool,
}

impl Cells {
    fn new() -> Result<Self, everprof::Error> {
        let profile = Managed::new("cells")?;
        profile.set_period(1);
        Ok(Self {
            cells: BTreeMap::new(),
            next_address: CELL_BYTES,
            roots: Vec::new(),
            to_sweep: Vec::new(),
            profile,
        })
    }

    fn alloc(&mut self, next: Option<usize>) -> usize {
        let address = self.next_address;
        self.next_address += CELL_BYTES;
        let marked = false;
        self.cells.insert(address, Cell { next, marked });
        self.profile.record_alloc(address, CELL_BYTES, Some("Cell"));
        address
    }

    /// Finds the garbage; frees none of it yet.
    fn mark(&mut self) {
        self.sweep(usize::MAX);
        for root in &self.roots {
            let mut at = Some(*root);
            while let Some(cell) = at.and_then(|at| self.cells.get_mut(&at)) {
                if cell.marked {
                    break;
                }
                cell.marked = true;
                at = cell.next;
            }
        }
        self.profile.next_cycle();
        let garbage = |(address, cell): (&usize, &mut Cell)| {
            let is_garbage = !cell.marked;
            cell.marked = false;
            is_garbage.then_some(*address)
        };
        self.to_sweep = self.cells.iter_mut().filter_map(garbage).collect();
        self.profile.flush();
    }

    /// Frees some of the garbage, and says so when there is none left.
    fn sweep(&mut self, most: usize) {
        if self.to_sweep.is_empty() {
            return;
        }
        let left = self.to_sweep.len().saturating_sub(most);
        for address in self.to_sweep.drain(left..) {
            self.cells.remove(&address);
            self.profile.record_sweep_free(address);
        }
        if self.to_sweep.is_empty() {
            self.profile.post_sweep();
        }
    }

    fn shown(&self) -> u64 {
        let records = self.profile.records();
        records.iter().map(|record| record.in_use_objects()).sum()
    }
}

fn main() -> Result<(), everprof::Error> {
    let mut heap = Cells::new()?;
    println!("{:>28} {:>10} {:>10}", "", "naive", "profile");
    for round in 0..4 {
        // A chain of 1,000 cells is kept from each round, ten more are let go of.
        for chain in 0..11 {
            let head = (0..1000).fold(None, |next, _| Some(heap.alloc(next)));
            if chain == 0 {
                heap.roots.extend(head);
            }
        }
        heap.mark();
        let marked = heap.cells.len() - heap.to_sweep.len();
        heap.sweep(4000);
        // The program goes on before the sweep is over.
        for _ in 0..500 {
            heap.alloc(None);
        }
        println!(
            "round {round}, {marked:>5} in use: sweeping {:>7} {:>10}",
            heap.cells.len(),
            heap.shown()
        );
        heap.sweep(usize::MAX);
        println!(
            "{:>28} {:>10} {:>10}",
            "swept",
            heap.cells.len(),
            heap.shown()
        );
    }
    Ok(())
}
