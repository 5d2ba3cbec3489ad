//! What a trace begins with: of which process it is, how it counts time, what is loaded.
//!
//! Context: cold, on the thread that starts the trace. Invariant: whoever has a trace's first
//! bytes has all of these, so that a file which was cut off behind them can be read.

use everprof_core::trace::Session;
use everprof_core::{global, lost, modules};
use everprof_profile::trace::{Module, PRELOADED, Program, Table, encode};

use super::unit::{rate_of, shift_of};
use crate::assemble::modules::Modules;

/// The first bytes of a trace, and what those behind them must agree with.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) bytes: Vec<u8>,
    pub(super) shift: u32,
    /// How many modules were told of.
    pub(super) modules: usize,
}

impl Head {
    /// Waits for the clock's rate, some 10 ms from the process's start on.
    pub(crate) fn new(session: &Session<'_>) -> Self {
        let ticks_per_second = rate_of(session);
        let shift = shift_of(ticks_per_second);
        let mut bytes = Vec::new();
        encode::head(&mut bytes);
        let program = Program {
            ticks_per_second,
            start_unix_nanos: session.start_unix_nanos(),
            start_ticks: session.start_ticks(),
            shift,
            pid: std::process::id(),
            command_line: std::env::args_os()
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
        };
        encode::program(&mut bytes, &program);
        let names = lost::ALL.map(|reason| (reason.pc() as u32, reason.name()));
        encode::names(&mut bytes, Table::Frames, names);
        modules::refresh();
        let modules = modules::count();
        tell_modules(&mut bytes);
        Self {
            bytes,
            shift,
            modules,
        }
    }
}

/// Tells of all modules that are loaded now.
pub(super) fn tell_modules(out: &mut Vec<u8>) {
    let own_text = global::store().own_text();
    let of_now = Modules::of_this_process().all;
    let told: Vec<_> = of_now
        .into_iter()
        .map(|module| Module {
            start: module.start,
            limit: module.limit,
            offset: module.file_offset,
            // Of a program that links everprof nothing is its own text.
            file: match (module.start..module.limit).contains(&own_text.start) {
                true => PRELOADED.to_owned(),
                false => module.file,
            },
            build_id: bytes_of(&module.build_id),
        })
        .collect();
    encode::modules(out, &told);
}

/// The bytes of hexadecimal digits.
fn bytes_of(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map_while(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_ids_come_back_from_their_digits() {
        assert_eq!(bytes_of("ab01ff"), [0xab, 1, 0xff]);
        assert_eq!(bytes_of(""), []);
    }
}
