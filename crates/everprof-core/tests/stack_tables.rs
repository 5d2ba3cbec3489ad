//! Every row of every loaded module's tables, compared with a full DWARF reader's.

// The linkage table of static programs is covered twice.
#![cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![allow(clippy::unwrap_used)]

use everprof_core::modules;
use everprof_core::stack::cfi::{Cfa, Fault, RegisterNumbers, Row, Saved, Tables};
use gimli::{BaseAddresses, EhFrame, EhFrameHdr, NativeEndian, UnwindContext, UnwindSection};
use object::{Object, ObjectSection, ObjectSegment};

const NUMBERS: RegisterNumbers = if cfg!(target_arch = "x86_64") {
    RegisterNumbers::X86_64
} else {
    RegisterNumbers::AARCH64
};

#[test]
fn rows_are_those_of_a_full_reader() {
    modules::refresh();
    let mut paths = Vec::new();
    modules::for_each(|module| paths.push(String::from_utf8(module.path.to_vec()).unwrap()));
    let mut tally = Tally::default();
    for path in paths {
        // The kernel's own module has no file.
        if let Ok(bytes) = std::fs::read(&path) {
            compare(&path, &bytes, &mut tally);
        }
    }
    println!("{tally:?}");
    assert!(tally.rows > 5_000);
    // What compilers write for functions is followed nearly always; the rest is
    // the linkage table and hand-written assembly.
    assert!(tally.unsupported * 100 < tally.rows, "{tally:?}");
}

type Reader<'a> = gimli::EndianSlice<'a, NativeEndian>;

fn cie_of<'a>(
    frames: &EhFrame<Reader<'a>>,
    bases: &BaseAddresses,
    offset: gimli::EhFrameOffset,
) -> gimli::Result<gimli::CommonInformationEntry<Reader<'a>>> {
    frames.cie_from_offset(bases, offset)
}

#[derive(Debug, Default)]
struct Tally {
    rows: usize,
    unsupported: usize,
}

fn compare(path: &str, bytes: &[u8], tally: &mut Tally) {
    let file = object::File::parse(bytes).unwrap();
    let address = |name| file.section_by_name(name).map(|section| section.address());
    let (Some(header), Some(frames)) = (address(".eh_frame_hdr"), address(".eh_frame")) else {
        return;
    };
    let segment = file
        .segments()
        .find(|segment| (segment.address()..segment.address() + segment.size()).contains(&header))
        .unwrap();
    let tables = Tables {
        segment: segment.data().unwrap(),
        address: segment.address(),
        header,
    };

    let bases = BaseAddresses::default()
        .set_eh_frame_hdr(header)
        .set_eh_frame(frames)
        .set_text(address(".text").unwrap());
    let section = |name| {
        file.section_by_name(name)
            .unwrap()
            .uncompressed_data()
            .unwrap()
    };
    let (header_data, frames_data) = (section(".eh_frame_hdr"), section(".eh_frame"));
    EhFrameHdr::new(&header_data, NativeEndian)
        .parse(&bases, 8)
        .unwrap();
    let frames = EhFrame::new(&frames_data, NativeEndian);
    // Where two entries cover an address (a linker's own for its linkage table, and
    // one for a stub within), readers may differ in which they take.
    let mut starts = Vec::new();
    let mut entries = frames.entries(&bases);
    while let Some(entry) = entries.next().unwrap() {
        if let gimli::CieOrFde::Fde(partial) = entry {
            starts.push(partial.parse(cie_of).unwrap().initial_address());
        }
    }
    starts.sort_unstable();
    let mut context = UnwindContext::new();
    let mut entries = frames.entries(&bases);
    while let Some(entry) = entries.next().unwrap() {
        let gimli::CieOrFde::Fde(partial) = entry else {
            continue;
        };
        let entry = partial.parse(cie_of).unwrap();
        // Linkers keep entries of functions that they left out, at address 0.
        if entry.initial_address() == 0 || entry.len() == 0 {
            continue;
        }
        let next = starts.partition_point(|&start| start <= entry.initial_address());
        if starts
            .get(next)
            .is_some_and(|&start| start < entry.end_address())
        {
            continue;
        }
        let mut rows = entry.rows(&frames, &bases, &mut context).unwrap();
        while let Some(truth) = rows.next_row().unwrap() {
            for at in [truth.start_address(), truth.end_address() - 1] {
                let found = tables.row(at, NUMBERS);
                let expected = expected(truth, entry.is_signal_trampoline());
                tally.rows += 1;
                tally.unsupported += usize::from(agrees(path, at, found, expected));
            }
        }
    }
}

/// True if the row is one that is not followed.
#[track_caller]
fn agrees(path: &str, at: u64, found: Result<Row, Fault>, expected: Expected) -> bool {
    let found = found.unwrap_or_else(|fault| panic!("{path} {at:#x}: {fault:?}, not {expected:?}"));
    assert_eq!(found.signal, expected.signal, "{path} {at:#x}");
    let unsupported = [
        found.cfa == Cfa::Unsupported,
        found.fp == Saved::Unsupported,
        found.ra == Saved::Unsupported,
    ];
    let same = [
        found.cfa == expected.cfa,
        found.fp == expected.fp,
        // An undefined return address is the stack's end, whatever else.
        found.ra == expected.ra,
    ];
    for (same, unsupported) in same.into_iter().zip(unsupported) {
        assert!(
            same || unsupported,
            "{path} {at:#x}: {found:?}, not {expected:?}"
        );
    }
    unsupported.contains(&true)
}

#[derive(Debug)]
struct Expected {
    cfa: Cfa,
    fp: Saved,
    ra: Saved,
    signal: bool,
}

fn expected(row: &gimli::UnwindTableRow<usize>, signal: bool) -> Expected {
    let cfa = match row.cfa() {
        gimli::CfaRule::RegisterAndOffset { register, offset } => {
            let offset = i32::try_from(*offset).unwrap();
            match u64::from(register.0) {
                number if number == NUMBERS.sp => Cfa::Sp(offset),
                number if number == NUMBERS.fp => Cfa::Fp(offset),
                _ => Cfa::Unsupported,
            }
        }
        gimli::CfaRule::Expression(_) => Cfa::Unsupported,
    };
    let saved = |number: u64| match row.register(gimli::Register(number as u16)) {
        None | Some(gimli::RegisterRule::SameValue) => Saved::Same,
        Some(gimli::RegisterRule::Undefined) => Saved::Undefined,
        Some(gimli::RegisterRule::Offset(offset)) => Saved::AtCfa(i32::try_from(offset).unwrap()),
        Some(_) => Saved::Unsupported,
    };
    // Expressions that are followed are compared by the walks of realigned
    // functions, not here.
    Expected {
        cfa,
        fp: saved(NUMBERS.fp),
        ra: saved(NUMBERS.ra),
        signal,
    }
}
