//! Demangling: names for people from names for the linker.
//!
//! Context: cold.
//! Source: rustc-demangle for Rust's two manglings, cpp_demangle for C++'s.

use std::borrow::Cow;

use cpp_demangle::{DemangleOptions, Symbol};

/// The name for people of a linker's name: Rust's in both manglings, without the hash of
/// the crate; C++'s; any other name as it is.
///
/// ```
/// use everprof_profile::symbolize::demangle;
///
/// assert_eq!(demangle("_ZN3app5cache4fill17h0123456789abcdefE"), "app::cache::fill");
/// assert_eq!(demangle("_RNvNtCs1234_3app5cache4fill"), "app::cache::fill");
/// assert_eq!(demangle("_ZNSt6vectorIiE4pushEv"), "std::vector<int>::push()");
/// assert_eq!(demangle("malloc"), "malloc");
/// ```
pub fn demangle(symbol: &str) -> Cow<'_, str> {
    // The linker's and compiler's own marks: `f@plt`, `f@@GLIBC_2.34`.
    let symbol = match symbol.split_once('@') {
        Some((name, _)) if !name.is_empty() => name,
        _ => symbol,
    };
    if let Ok(name) = rustc_demangle::try_demangle(symbol) {
        return Cow::Owned(format!("{name:#}"));
    }
    if symbol.starts_with("_Z") && symbol.len() <= MAX_CPP_BYTES {
        let options = DemangleOptions::new().no_return_type();
        let name = Symbol::new(symbol)
            .ok()
            .and_then(|name| name.demangle_with_options(&options).ok());
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            return Cow::Owned(name);
        }
    }
    Cow::Borrowed(symbol)
}

/// C++ names grow by back references as they are demangled; a name for people is shorter.
const MAX_CPP_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_names_lose_their_hashes() {
        for (symbol, name) in [
            ("_ZN3app4main17h05af221e174051e9E", "app::main"),
            (
                "_ZN68_$LT$app..T$u20$as$u20$core..ops..function..FnOnce$LT$$RF$u8$GT$$GT$9call_once17h0123456789abcdefE",
                "<app::T as core::ops::function::FnOnce<&u8>>::call_once",
            ),
            (
                "_RNvCsfLfy6EI15iL_7___rustc12___rust_alloc",
                "__rustc::__rust_alloc",
            ),
            (
                "_RINvNvMs2_NtCslNYArtu3iFV_5alloc7raw_vecINtB8_11RawVecInnerpE7reserve21do_reserve_and_handleNtNtBa_5alloc6GlobalEBa_",
                "<alloc::raw_vec::RawVecInner<_>>::reserve::do_reserve_and_handle::<alloc::alloc::Global>",
            ),
            ("_RNvCs1234_3app4main.llvm.9D1C9369", "app::main"),
        ] {
            assert_eq!(demangle(symbol), name);
        }
    }

    #[test]
    fn other_names_stay() {
        for symbol in [
            "main",
            "_start",
            "_Z",
            "_R",
            "",
            "@",
            "__libc_start_main",
            "é",
        ] {
            assert_eq!(demangle(symbol), symbol);
        }
        assert_eq!(demangle("memcpy@@GLIBC_2.14"), "memcpy");
        assert_eq!(demangle("_Znwm"), "operator new(unsigned long)");
    }
}
