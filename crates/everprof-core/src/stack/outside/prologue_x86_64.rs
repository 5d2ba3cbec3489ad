//! What a function's first instructions tell of its frame, x86_64.
//!
//! Context: cold. Twin of `prologue_aarch64.rs`.
//!
//! Compilers that keep a frame pointer begin with `push rbp; mov rbp, rsp`, push the
//! registers that they will change, and make room for the rest. In the middle of a call
//! the stack pointer is where that left it, unless the function moves it again
//! (`alloca`, a realigned stack, arguments on the stack): then what is computed here is
//! wrong, and is found out, because no return address stands there.
//!
//! Source: Intel SDM volume 2 for the encodings.

/// Words of code to look at: 12 for the pushes, 7 for the room, 4 for `endbr64`.
pub(super) const WORDS: usize = 4;

/// Bytes from the stack pointer in the middle of a call to the frame pointer, by the
/// first `known` bytes of the function.
pub(super) fn frame_bytes(code: &[u64; WORDS], known: usize) -> Option<u64> {
    let mut bytes = [0; WORDS * 8];
    for (to, word) in bytes.chunks_exact_mut(8).zip(code) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    let mut code = bytes.get(..known).unwrap_or(&bytes);
    if let [0xf3, 0x0f, 0x1e, 0xfa, rest @ ..] = code {
        code = rest;
    }
    let [0x55, 0x48, 0x89, 0xe5, rest @ ..] = code else {
        return None;
    };
    code = rest;
    let mut frame_bytes = 0;
    loop {
        code = match code {
            // push r8 … r15
            [0x41, 0x50..=0x57, rest @ ..] => rest,
            // push rax … rdi
            [0x50..=0x57, rest @ ..] => rest,
            // sub rsp, 8 bits
            [0x48, 0x83, 0xec, size, ..] => return Some(frame_bytes + u64::from(*size)),
            // sub rsp, 32 bits
            [0x48, 0x81, 0xec, a, b, c, d, ..] => {
                return Some(frame_bytes + u64::from(u32::from_le_bytes([*a, *b, *c, *d])));
            }
            [] => return None,
            _ => return Some(frame_bytes),
        };
        frame_bytes += 8;
    }
}

/// Whether the eight bytes before an address end in a call.
pub(super) fn ends_in_call(before: u64) -> bool {
    let bytes = before.to_le_bytes();
    // call rel32
    if bytes[3] == 0xe8 {
        return true;
    }
    // call r/m64: FF /2, then what the ModRM byte asks for.
    (1..7).any(|at| {
        let [0xff, modrm, rest @ ..] = &bytes[at..] else {
            return false;
        };
        let (mode, register, base) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
        let displacement = match (mode, base) {
            (1, _) => 1,
            (2, _) | (0, 5) => 4,
            _ => 0,
        };
        let index = usize::from(mode != 3 && base == 4);
        register == 2 && rest.len() == index + displacement
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn frame(code: &[u8]) -> Option<u64> {
        let mut bytes = [0x90; WORDS * 8];
        bytes[..code.len()].copy_from_slice(code);
        let words = [0, 1, 2, 3]
            .map(|word| u64::from_le_bytes(bytes[word * 8..word * 8 + 8].try_into().unwrap()));
        frame_bytes(&words, bytes.len())
    }

    const BEGIN: [u8; 4] = [0x55, 0x48, 0x89, 0xe5];

    #[test]
    fn pushes_and_room_are_added_up() {
        assert_eq!(frame(&BEGIN), Some(0));
        // push r15; push r14; push rbx; sub rsp, 0x28
        let small = [
            &BEGIN[..],
            &[0x41, 0x57, 0x41, 0x56, 0x53, 0x48, 0x83, 0xec, 0x28],
        ]
        .concat();
        assert_eq!(frame(&small), Some(24 + 0x28));
        // push rbx; sub rsp, 0x198
        let large = [&BEGIN[..], &[0x53, 0x48, 0x81, 0xec, 0x98, 1, 0, 0]].concat();
        assert_eq!(frame(&large), Some(8 + 0x198));
        let marked = [&[0xf3, 0x0f, 0x1e, 0xfa], &small[..]].concat();
        assert_eq!(frame(&marked), Some(24 + 0x28));
    }

    #[test]
    fn a_function_without_frame_pointer_tells_nothing() {
        assert_eq!(frame(&[0x53, 0x48, 0x83, 0xec, 0x10]), None);
        assert_eq!(frame(&[]), None);
    }

    #[test]
    fn calls_of_every_form_are_known() {
        let before = |tail: &[u8]| {
            let mut bytes = [0x90; 8];
            bytes[8 - tail.len()..].copy_from_slice(tail);
            ends_in_call(u64::from_le_bytes(bytes))
        };
        for call in [
            &[0xe8, 1, 2, 3, 4][..],
            &[0xff, 0x15, 1, 2, 3, 4],
            &[0xff, 0xd0],
            &[0x41, 0xff, 0xd7],
            &[0xff, 0x50, 0x18],
            &[0xff, 0x10],
            &[0xff, 0x14, 0xc8],
            &[0xff, 0x54, 0x24, 8],
            &[0xff, 0x90, 0, 1, 0, 0],
            &[0xff, 0x94, 0x24, 0, 1, 0, 0],
        ] {
            assert!(before(call), "{call:x?}");
        }
        for other in [
            &[0xe9, 1, 2, 3, 4][..],
            &[0xff, 0xe0],
            &[0xff, 0x25, 1, 2, 3, 4],
            &[0xff, 0x50, 0x18, 0x90],
            &[],
        ] {
            assert!(!before(other), "{other:x?}");
        }
    }
}
