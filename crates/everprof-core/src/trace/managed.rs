//! Events of managed heaps.
//!
//! Context: sampled. Invariant: as [`super`]. Heaps are known by numbers that whoever makes
//! them gives out.

use super::tracer::{Tracer, ticks};
use super::words::{Event, GcStep, TypeAt};
use crate::local;
use crate::stack::{self, Registers};

/// An object of a managed heap.
#[derive(Clone, Copy, Debug)]
pub struct ManagedObject<'a> {
    /// The heap's number.
    pub heap: u32,
    /// The object's.
    pub address: u64,
    /// Bytes.
    pub size_bytes: u64,
    /// The name of its type, if it has one.
    pub type_name: Option<&'a str>,
}

impl Tracer {
    /// An object came into being.
    #[cold]
    pub fn managed_allocated(&self, object: &ManagedObject<'_>, registers: &Registers) {
        let Some(memory) = self.memory().filter(|_| self.is_on()) else {
            return;
        };
        let type_at = object.type_name.map_or(0, |name| memory.types.number(name));
        local::with(|local| {
            let stack = crate::scratch::captured(
                |out| stack::capture(registers, &local.stack, out, &(0..0)).depth,
                |stack| memory.stacks.at(stack),
            );
            let event = Event::ManagedAlloc {
                heap: object.heap,
                address: object.address,
                size_bytes: object.size_bytes,
                stack,
                type_at: TypeAt(type_at),
            };
            self.write(local, ticks(), &event);
        });
    }

    /// An object goes.
    #[cold]
    pub fn managed_freed(&self, heap: u32, address: u64, swept: bool) {
        self.write_if_on(&Event::ManagedFree {
            heap,
            address,
            swept,
        });
    }

    /// A heap's collector has come to a step. May be called while all other threads are
    /// stopped, wherever that was.
    #[cold]
    pub fn collected(&self, heap: u32, step: GcStep) {
        self.write_if_on(&Event::Gc { heap, step });
    }

    fn write_if_on(&self, event: &Event) {
        if self.is_on() {
            local::with(|local| self.write(local, ticks(), event));
        }
    }
}
