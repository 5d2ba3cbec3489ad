//! `/debug/pprof/symbol`: names of program counters.
//!
//! Context: cold. Invariant: any text is a list of addresses.
//! Source: the protocol of gperftools and of Go's net/http/pprof. Addresses are
//! joined by `+`, in the query or the body; the answer has a line for each that has
//! a name. `num_symbols` tells only whether there are any.

use std::fmt::Write;

/// The addresses of a list, at most `most`; what is no number is left out.
pub(super) fn addresses(list: &str, most: usize) -> Vec<u64> {
    list.split('+')
        .filter_map(|word| number(word.trim()))
        .filter(|pc| *pc != 0)
        .take(most)
        .collect()
}

/// The answer: `name_of` gives names in the order of `addresses`.
pub(super) fn answer(addresses: &[u64], names: &[Option<String>]) -> String {
    let mut out = String::from("num_symbols: 1\n");
    for (address, name) in addresses.iter().zip(names) {
        if let Some(name) = name {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{address:#x} {name}");
        }
    }
    out
}

/// A number in the notation of Go's source: the prefix tells its base.
fn number(word: &str) -> Option<u64> {
    let (digits, base) = match word.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&word[2..], 16),
        [b'0', b'b' | b'B', ..] => (&word[2..], 2),
        [b'0', b'o' | b'O', ..] => (&word[2..], 8),
        [b'0', _, ..] => (&word[1..], 8),
        _ => (word, 10),
    };
    // A sign would pass `from_str_radix`.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, base).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_base_and_rubbish_is_left_out() {
        assert_eq!(addresses("0x10+0b11+0o17+017+9", 10), [16, 3, 15, 15, 9]);
        assert_eq!(addresses("", 10), []);
        assert_eq!(
            addresses("0x+0+x+-1+0x-1+0xfffffffffffffffff+ä+0ä+7\n", 10),
            [7]
        );
        assert_eq!(addresses("1+2+3", 2), [1, 2]);
    }

    #[test]
    fn an_address_without_a_name_has_no_line() {
        let names = [Some("main".to_owned()), None];
        assert_eq!(answer(&[0x10, 0x20], &names), "num_symbols: 1\n0x10 main\n");
    }
}
