//! The modules that addresses are looked up in, as values.
//!
//! Context: cold. Invariant: they stand in the order in which they were loaded;
//! the program itself is the first.

use everprof_core::modules::{self, ModuleInfo};

/// The modules that addresses are looked up in.
#[derive(Debug, Default)]
pub(super) struct Modules {
    pub(super) all: Vec<Module>,
}

#[derive(Debug)]
pub(super) struct Module {
    pub(super) start: u64,
    pub(super) limit: u64,
    pub(super) file_offset: u64,
    pub(super) build_id: String,
    pub(super) file: String,
    loaded: bool,
}

impl Modules {
    /// Those of this process, as they were when last
    /// [refreshed](everprof_core::modules::refresh).
    pub(super) fn of_this_process() -> Self {
        let mut all = Self::default();
        modules::for_each(|module| all.add(module));
        all
    }

    pub(super) fn add(&mut self, module: &ModuleInfo<'_>) {
        self.all.push(Module {
            start: module.start,
            limit: module.limit,
            file_offset: module.file_offset,
            build_id: hex(module.build_id),
            file: file_of(module.path),
            loaded: module.loaded,
        });
    }

    /// Which module an address lies in. Where one was unloaded and another
    /// loaded to its place, the one that is there now; else the latest that was.
    pub(super) fn find(&self, address: u64) -> Option<usize> {
        let holds = |module: &Module| (module.start..module.limit).contains(&address);
        let now = self
            .all
            .iter()
            .position(|module| module.loaded && holds(module));
        now.or_else(|| self.all.iter().rposition(holds))
    }
}

/// The page of code that the kernel maps is no file; readers know it as this.
fn file_of(path: &[u8]) -> String {
    let is_kernels = path.starts_with(b"linux-vdso") || path.starts_with(b"linux-gate");
    if is_kernels {
        "[vdso]".to_owned()
    } else {
        String::from_utf8_lossy(path).into_owned()
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            // Writing to a String cannot fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::assemble) fn module(
        start: u64,
        limit: u64,
        path: &[u8],
        loaded: bool,
    ) -> ModuleInfo<'_> {
        ModuleInfo {
            start,
            limit,
            file_offset: 0x10,
            bias: 0,
            build_id: &[0xAB, 0x01],
            path,
            loaded,
        }
    }

    pub(in crate::assemble) fn modules(of: &[ModuleInfo<'_>]) -> Modules {
        let mut modules = Modules::default();
        of.iter().for_each(|module| modules.add(module));
        modules
    }

    #[test]
    fn an_address_belongs_to_what_is_loaded_there_else_to_what_was_last() {
        let modules = modules(&[
            module(0x1000, 0x2000, b"first", false),
            module(0x1000, 0x1800, b"now", true),
            module(0x1000, 0x2000, b"second", false),
        ]);
        let file = |address| {
            modules
                .find(address)
                .map(|at| modules.all[at].file.as_str())
        };
        assert_eq!(file(0x1000), Some("now"));
        assert_eq!(file(0x17ff), Some("now"));
        assert_eq!(file(0x1800), Some("second"));
        assert_eq!(file(0x2000), None);
    }
}
