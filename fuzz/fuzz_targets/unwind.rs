//! Any unwind tables give a row or a fault, in bounded time, for any address.
//!
//! The input: where the tables' header is and which address is looked up, four
//! bytes each, both from the segment's start; then the segment.
#![no_main]

use everprof_core::stack::cfi::{RegisterNumbers, Tables};
use libfuzzer_sys::fuzz_target;

/// Where the segment stands: large enough for offsets to go below it.
const ADDRESS: u64 = 0x40_0000;

fuzz_target!(|bytes: &[u8]| {
    let Some((header, rest)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let Some((lookup, segment)) = rest.split_first_chunk::<4>() else {
        return;
    };
    let header = ADDRESS.wrapping_add(i64::from(i32::from_le_bytes(*header)) as u64);
    let lookup = ADDRESS.wrapping_add(i64::from(i32::from_le_bytes(*lookup)) as u64);
    let tables = Tables {
        segment,
        address: ADDRESS,
        header,
    };
    for numbers in [RegisterNumbers::X86_64, RegisterNumbers::AARCH64] {
        let once = tables.row(lookup, numbers);
        let again = tables.row(lookup, numbers);
        assert_eq!(format!("{once:?}"), format!("{again:?}"));
    }
});
