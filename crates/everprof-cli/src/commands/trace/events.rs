//! `--events`: one event after another.
//!
//! With filters only what becomes of the objects that they keep is shown.

use std::collections::HashSet;
use std::io::{self, Write};

use everprof_profile::trace::stacks::Shown;
use everprof_profile::trace::text::write_event;
use everprof_profile::trace::{Ending, Event, Other, Step, Table, Tables, Wanted, What};
use serde_json::{Value, json};

use super::{TraceArgs, heap, no_such_heap, source};
use crate::error::Error;
use crate::output::Format;

/// Writes them to standard output, as text or one JSON object a line.
pub fn write(
    reader: &mut source::Trace,
    wanted: &Wanted,
    shown: &Shown,
    args: &TraceArgs,
) -> Result<Ending, Error> {
    let failed = |source| Error::new("cannot write to standard output").because(source);
    if args.format == Format::Md {
        return Err(Error::new(
            "--format md: expected text or json for --events",
        ));
    }
    let limit = match args.limit {
        None | Some(0) => usize::MAX,
        Some(limit) => limit,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut kept = Kept {
        wanted,
        only_heap: None,
        addresses: HashSet::new(),
        keeps_all: wanted.is_everything() && args.heap.is_none(),
    };
    let mut written = 0;
    while let Some(event) = reader.next_event() {
        let tables = reader.tables();
        if let (Some(name), None) = (&args.heap, kept.only_heap) {
            let number = heap(tables, name);
            kept.only_heap = Some(number.ok_or_else(|| no_such_heap(args, tables, name))?);
        }
        if !kept.takes(&event, tables) {
            continue;
        }
        let others: &[Other] = match event.what {
            What::Cycle { .. } => reader.others(),
            _ => &[],
        };
        match args.format {
            Format::Json => writeln!(out, "{}", to_json(&event, others, tables, shown)),
            _ => write_event(&event, others, tables, shown, &mut out),
        }
        .map_err(failed)?;
        written += 1;
        if written == limit {
            break;
        }
    }
    out.flush().map_err(failed)?;
    Ok(reader.ending())
}

/// Which events are of objects that are wanted.
struct Kept<'a> {
    wanted: &'a Wanted,
    only_heap: Option<u32>,
    /// Wanted objects in use: heap (0 for the program's own) and address.
    addresses: HashSet<(u32, u64)>,
    keeps_all: bool,
}

impl Kept<'_> {
    fn takes(&mut self, event: &Event, tables: &Tables) -> bool {
        if self.keeps_all {
            return true;
        }
        let nanos = tables.program().nanos(event.time);
        let is_in_time = self.wanted.nanos.contains(&nanos);
        is_in_time & self.takes_object(event, tables)
    }

    fn takes_object(&mut self, event: &Event, tables: &Tables) -> bool {
        let takes = |stack, size_bytes| self.wanted.takes(tables, event.thread, stack, size_bytes);
        match event.what {
            What::Alloc {
                stack,
                size_bytes,
                address,
            } => {
                let takes = self.only_heap.is_none() && takes(stack, size_bytes);
                self.note(0, address, takes)
            }
            What::Free { address } => self.addresses.remove(&(0, address)),
            What::Realloc {
                old_address,
                stack,
                size_bytes,
                address,
                ..
            } => {
                let takes = self.only_heap.is_none() && takes(stack, size_bytes);
                let was_wanted = self.addresses.remove(&(0, old_address));
                self.note(0, address, takes) | was_wanted
            }
            What::ManagedAlloc {
                heap,
                stack,
                size_bytes,
                address,
                ..
            } => {
                let takes = self.only_heap == Some(heap) && takes(stack, size_bytes);
                self.note(heap, address, takes)
            }
            What::ManagedFree { heap, address, .. } => self.addresses.remove(&(heap, address)),
            What::Cycle { heap, .. } => self.only_heap == Some(heap),
            // What is missing may have been wanted.
            What::Lost { .. } => true,
            _ => false,
        }
    }

    fn note(&mut self, heap: u32, address: u64, is_wanted: bool) -> bool {
        if is_wanted {
            self.addresses.insert((heap, address));
        } else {
            self.addresses.remove(&(heap, address));
        }
        is_wanted
    }
}

fn to_json(event: &Event, others: &[Other], tables: &Tables, shown: &Shown) -> Value {
    let thread = |number: u32| {
        let thread = tables.thread(number);
        json!({
            "tid": thread.map(|thread| thread.tid),
            "name": thread.map(|thread| thread.name.as_str()),
        })
    };
    let frames = |stack: u32| -> Value {
        let frame = |frame: &everprof_profile::trace::stacks::ShownFrame| json!({ "name": frame.name, "file": frame.file, "line": frame.line });
        shown.frames(stack).map(frame).collect()
    };
    let name = |table, number| tables.name(table, number);
    let mut out = match event.what {
        What::Alloc {
            stack,
            size_bytes,
            address,
        } => json!({
            "event": "alloc",
            "address": address,
            "size_bytes": size_bytes,
            "stack": frames(stack),
        }),
        What::Free { address } => json!({ "event": "free", "address": address }),
        What::Realloc {
            old_address,
            stack,
            size_bytes,
            address,
            ..
        } => json!({
            "event": "realloc",
            "old_address": old_address,
            "address": address,
            "size_bytes": size_bytes,
            "stack": frames(stack),
        }),
        What::ManagedAlloc {
            heap,
            type_id,
            stack,
            size_bytes,
            address,
        } => json!({
            "event": "alloc",
            "heap": name(Table::Heaps, heap),
            "type": name(Table::Types, type_id),
            "address": address,
            "size_bytes": size_bytes,
            "stack": frames(stack),
        }),
        What::ManagedFree {
            heap,
            is_swept,
            address,
        } => json!({
            "event": if is_swept { "sweep" } else { "free" },
            "heap": name(Table::Heaps, heap),
            "address": address,
        }),
        What::Cycle { heap, step } => json!({
            "event": match step {
                Step::NextCycle => "next_cycle",
                Step::Flush => "flush",
                Step::PostSweep => "post_sweep",
                _ => "cycle",
            },
            "heap": name(Table::Heaps, heap),
            "others": others
                .iter()
                .map(|other| json!({
                    "thread": thread(other.thread),
                    "stack": frames(other.stack),
                }))
                .collect::<Vec<_>>(),
        }),
        What::Lost { events } => json!({ "event": "lost", "events": events }),
        _ => json!({ "event": "unknown" }),
    };
    out["nanos"] = tables.program().nanos(event.time).into();
    out["thread"] = thread(event.thread);
    out
}
