//! Model of the gate: what is inside is not given back while somebody uses it.
#![cfg(everprof_loom)]

use everprof_core::gate::Gate;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// What a gate guards. The owner writes it before opening and after nobody is inside;
/// loom fails the model if a visitor reads it at the same time.
struct Guarded {
    gate: Gate,
    memory: UnsafeCell<u32>,
}

// SAFETY: what the gate is for; loom checks each access.
unsafe impl Sync for Guarded {}

#[test]
fn memory_is_given_back_only_after_the_last_visitor_left() {
    loom::model(|| {
        let guarded = Arc::new(Guarded {
            gate: Gate::new(),
            memory: UnsafeCell::new(0),
        });
        let visitors: Vec<_> = (0..2)
            .map(|_| {
                let guarded = Arc::clone(&guarded);
                thread::spawn(move || {
                    if let Some(_inside) = guarded.gate.enter() {
                        // SAFETY: inside; loom checks that nobody writes meanwhile.
                        let seen = guarded.memory.with(|memory| unsafe { *memory });
                        assert_eq!(seen, 1, "made before the gate opened");
                    }
                })
            })
            .collect();
        // SAFETY: the gate is closed: nobody reads.
        guarded.memory.with_mut(|memory| unsafe { *memory = 1 });
        guarded.gate.open();
        guarded.gate.close();
        while !guarded.gate.is_empty() {
            thread::yield_now();
        }
        // SAFETY: closed, and nobody is inside.
        guarded.memory.with_mut(|memory| unsafe { *memory = 2 });
        for visitor in visitors {
            visitor.join().expect("no panic");
        }
    });
}
