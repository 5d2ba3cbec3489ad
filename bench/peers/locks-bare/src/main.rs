//! The lock workloads, with nothing else.

fn main() {
    locks::main();
}
