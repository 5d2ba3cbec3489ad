//! Tables of any bytes: reading them ends, in a row or in a fault.

#![allow(clippy::unwrap_used)]

use everprof_core::stack::cfi::{RegisterNumbers, Tables};
use proptest::prelude::*;

const ADDRESS: u64 = 0x40_0000;

fn read(bytes: &[u8], header: u64, lookup: u64) {
    let tables = Tables {
        segment: bytes,
        address: ADDRESS,
        header,
    };
    for numbers in [RegisterNumbers::X86_64, RegisterNumbers::AARCH64] {
        let _ = tables.row(lookup, numbers);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_bytes_end(
        bytes in prop::collection::vec(any::<u8>(), 0..512),
        header in ADDRESS - 8..ADDRESS + 520,
        lookup in any::<u64>(),
    ) {
        read(&bytes, header, lookup);
        read(&bytes, ADDRESS, ADDRESS + lookup % 1024);
    }

    /// Nearer to real ones: a good header, one entry that covers all, any programs.
    #[test]
    fn any_programs_end(
        augmentation in prop_oneof![Just(b"zR\0".to_vec()), Just(b"zPLRSB\0".to_vec()), prop::collection::vec(any::<u8>(), 1..6)],
        initial in prop::collection::vec(any::<u8>(), 0..40),
        program in prop::collection::vec(any::<u8>(), 0..200),
        lookup in 0..2000_u64,
    ) {
        let mut bytes = vec![1, 0x1b, 0x03, 0x3b];
        let word = |bytes: &mut Vec<u8>, value: u32| bytes.extend(value.to_le_bytes());
        word(&mut bytes, 0);
        word(&mut bytes, 1);
        word(&mut bytes, 0);
        let frame = bytes.len();
        word(&mut bytes, 0);
        let cie = bytes.len();
        word(&mut bytes, (4 + 1 + augmentation.len() + 5 + initial.len()) as u32);
        word(&mut bytes, 0);
        bytes.push(1);
        bytes.extend(&augmentation);
        bytes.extend([1, 0x78, 16, 1, 0x0b]);
        bytes.extend(&initial);
        let fde = bytes.len();
        bytes[frame..frame + 4].copy_from_slice(&(fde as u32).to_le_bytes());
        word(&mut bytes, (4 + 8 + 1 + program.len()) as u32);
        let back = (bytes.len() - cie) as u32;
        word(&mut bytes, back);
        word(&mut bytes, ADDRESS as u32);
        word(&mut bytes, 2000);
        bytes.push(0);
        bytes.extend(&program);
        read(&bytes, ADDRESS, ADDRESS + lookup);
    }
}
