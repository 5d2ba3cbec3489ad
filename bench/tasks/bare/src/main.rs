//! Tokio as it is.

struct Bare;

impl work::Peer for Bare {}

fn main() {
    work::main::<Bare>();
}
