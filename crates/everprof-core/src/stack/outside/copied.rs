//! The unwind tables of a module that could be unloaded, copied.
//!
//! Context: cold. Invariant: of the module itself nothing is read but through the kernel
//! (`copy`), so that it may go at any instant.
//!
//! Copied is the segment with the tables from `.eh_frame_hdr` on, behind which linkers
//! put `.eh_frame`. That is once a dump, and only if a thread sleeps in such a module.

use std::collections::HashMap;

use super::PAGE;
use crate::modules::loaded::{Headers, Object};
use crate::stack::cfi::Tables;
use crate::stack::platform;
use crate::stack::rules::Rule;
use crate::sys::copy;

/// One module's tables.
#[derive(Debug)]
pub(super) struct Copied {
    object: Object,
    tables: Vec<u8>,
    rules: HashMap<u64, Rule>,
}

/// More than the largest libraries have (LLVM's: 5 MiB).
const MOST_BYTES: u64 = 16 << 20;

impl Copied {
    pub(super) fn new(process: i32, object: &Object) -> Option<Self> {
        let header = object.unwind_header;
        if header < object.start || object.limit <= header {
            return None;
        }
        let end = segment_end(process, object.start, header)?;
        let mut left = end.checked_sub(header).filter(|&left| left <= MOST_BYTES)?;
        let mut tables = Vec::with_capacity(left as usize);
        let mut page = [0; (PAGE / 8) as usize];
        while left != 0 {
            let at = end - left;
            let words = (left.min(PAGE) as usize).div_ceil(8);
            let read = copy(process, at, page.get_mut(..words)?);
            let wanted = left.min(PAGE) as usize;
            if read < wanted {
                return None;
            }
            let bytes = page.iter().flat_map(|word| word.to_ne_bytes());
            tables.extend(bytes.take(wanted));
            left -= wanted as u64;
        }
        Some(Self {
            object: *object,
            tables,
            rules: HashMap::new(),
        })
    }

    pub(super) fn is_of(&self, object: &Object) -> bool {
        self.object == *object
    }

    pub(super) fn tables(&self) -> Tables<'_> {
        Tables {
            segment: &self.tables,
            address: self.object.unwind_header,
            header: self.object.unwind_header,
        }
    }

    pub(super) fn rule(&mut self, lookup: u64) -> Rule {
        if let Some(known) = self.rules.get(&lookup) {
            return *known;
        }
        let rule = Rule::new(self.tables().row(lookup, platform::NUMBERS));
        self.rules.insert(lookup, rule);
        rule
    }
}

/// Where the segment ends that `address` is in, by the program headers of the module
/// that begins at `start`.
fn segment_end(process: i32, start: u64, address: u64) -> Option<u64> {
    let mut page = [0; (PAGE / 8) as usize];
    if copy(process, start, &mut page) != PAGE as usize {
        return None;
    }
    let copied = page.as_ptr().addr() as u64;
    // SAFETY: the headers are those in `page`, which is aligned, a page long, and there.
    let unbiased = unsafe { Headers::at(copied, 0) }?;
    let bias = start.wrapping_sub(unbiased.extent()?.0);
    let within = address.wrapping_sub(bias);
    unbiased
        .segment_end(within)
        .map(|end| end.wrapping_add(bias))
}
