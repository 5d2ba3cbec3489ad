//! Module list: a copy in the arena of what the process has loaded, for readers
//! in another process, who need it to name addresses.
//!
//! Context: sampled (`copy_new`); cold (`for_each`). Nobody waits.
//! Invariant: a copy is whole before it is linked, and never changes.

use crate::arena::{NewRecord, Offset, Region, Root, records};
use crate::modules::{self, ModuleInfo};
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Calls `visit` with every module that was copied, in that order.
pub(crate) fn for_each(region: Region<'_>, mut visit: impl FnMut(&ModuleInfo<'_>)) {
    let Some(list) = region
        .root(Root::Modules)
        .and_then(|at| region.get::<ModuleList>(at))
    else {
        return;
    };
    // Acquire: pairs with the Release in `append`; the copy is whole.
    let mut at = list.first.load(Ordering::Acquire);
    // Copies do not overlap: together they are no larger than the arena,
    // unless a damaged list has loops.
    let mut bytes_left = region.capacity_bytes();
    loop {
        let Some(copy) = Offset::from_raw(at).and_then(|at| ModuleCopy::open(region, at)) else {
            return;
        };
        let Some(left) = bytes_left.checked_sub(copy.size_bytes()) else {
            return;
        };
        bytes_left = left;
        visit(&copy.info());
        // Acquire: as above.
        at = copy.record.next.load(Ordering::Acquire);
    }
}

#[repr(C)]
#[derive(Debug)]
struct ModuleList {
    /// The oldest copy. Written once; read from other processes.
    first: AtomicU32,
    /// The newest. Written and read by the holder of `busy`.
    last: AtomicU32,
    /// 1 while a thread appends.
    busy: AtomicU32,
    spare: AtomicU32,
}

/// A module; its path and build id follow in memory.
#[repr(C)]
#[derive(Debug)]
struct ModuleRecord {
    /// The next newer copy. Written once, by the thread that links it; the other
    /// fields before this copy is linked.
    next: AtomicU32,
    path_len: AtomicU32,
    build_id_len: AtomicU32,
    spare: AtomicU32,
    start: AtomicU64,
    limit: AtomicU64,
    file_offset: AtomicU64,
    bias: AtomicU64,
}

impl NewRecord for ModuleList {
    fn new_record() -> Self {
        Self {
            first: AtomicU32::new(0),
            last: AtomicU32::new(0),
            busy: AtomicU32::new(0),
            spare: AtomicU32::new(0),
        }
    }
}

impl NewRecord for ModuleRecord {
    fn new_record() -> Self {
        let (next, path_len) = (AtomicU32::new(0), AtomicU32::new(0));
        let (build_id_len, spare) = (AtomicU32::new(0), AtomicU32::new(0));
        let (start, limit) = (AtomicU64::new(0), AtomicU64::new(0));
        let (file_offset, bias) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            next,
            path_len,
            build_id_len,
            spare,
            start,
            limit,
            file_offset,
            bias,
        }
    }
}
records!(ModuleList, ModuleRecord);

struct ModuleCopy<'a> {
    record: &'a ModuleRecord,
    path: &'a [u8],
    build_id: &'a [u8],
}

impl<'a> ModuleCopy<'a> {
    fn open(region: Region<'a>, at: Offset) -> Option<Self> {
        let record = region.get::<ModuleRecord>(at)?;
        // Relaxed, here and in `info`: written before the copy was linked.
        let path_len = record.path_len.load(Ordering::Relaxed) as usize;
        let build_id_len = record.build_id_len.load(Ordering::Relaxed) as usize;
        let bytes = region.array::<u8>(
            at.plus_bytes(size_of::<ModuleRecord>())?,
            path_len.checked_add(build_id_len)?,
        )?;
        let (path, build_id) = bytes.split_at_checked(path_len)?;
        Some(Self {
            record,
            path,
            build_id,
        })
    }

    fn size_bytes(&self) -> usize {
        size_of::<ModuleRecord>() + self.path.len() + self.build_id.len()
    }

    fn info(&self) -> ModuleInfo<'a> {
        // Relaxed: as in `open`.
        ModuleInfo {
            start: self.record.start.load(Ordering::Relaxed),
            limit: self.record.limit.load(Ordering::Relaxed),
            file_offset: self.record.file_offset.load(Ordering::Relaxed),
            bias: self.record.bias.load(Ordering::Relaxed),
            build_id: self.build_id,
            path: self.path,
            loaded: true,
        }
    }
}

/// Copies the modules that became known since `copied` of them were.
///
/// A reader in another process needs them to name addresses. Who comes while
/// another thread copies leaves it to that one, or to the next sample.
pub(crate) fn copy_new(region: Region<'_>, copied: &AtomicUsize) {
    // Relaxed: figures; the copies are published by their links.
    let known = modules::count();
    if known == copied.load(Ordering::Relaxed) {
        return;
    }
    let Some(list) = list_of(region) else { return };
    // Acquire: pairs with the Release below; `last` is seen.
    if list
        .busy
        .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        return;
    }
    // Relaxed: written by whoever holds `busy`, which is now this thread.
    let already = copied.load(Ordering::Relaxed);
    let mut index = 0;
    modules::for_each(|module| {
        if index >= already {
            append(region, list, module);
        }
        index += 1;
    });
    copied.store(index, Ordering::Relaxed);
    // Release: pairs with the Acquire above.
    list.busy.store(0, Ordering::Release);
}

fn list_of(region: Region<'_>) -> Option<&ModuleList> {
    let at = match region.root(Root::Modules) {
        Some(at) => at,
        None => region.set_root(Root::Modules, region.alloc::<ModuleList>(0)?)?,
    };
    region.get(at)
}

/// One that does not fit is left out: its addresses have no name then.
fn append(region: Region<'_>, list: &ModuleList, module: &ModuleInfo<'_>) -> Option<()> {
    let (path, build_id) = (module.path, module.build_id);
    let at = region.alloc::<ModuleRecord>(path.len() + build_id.len())?;
    let record = region.get::<ModuleRecord>(at)?;
    // Relaxed, all: published by the link below.
    record
        .path_len
        .store(u32::try_from(path.len()).ok()?, Ordering::Relaxed);
    record
        .build_id_len
        .store(u32::try_from(build_id.len()).ok()?, Ordering::Relaxed);
    record.start.store(module.start, Ordering::Relaxed);
    record.limit.store(module.limit, Ordering::Relaxed);
    record
        .file_offset
        .store(module.file_offset, Ordering::Relaxed);
    record.bias.store(module.bias, Ordering::Relaxed);
    let tail = region.pointer(at.plus_bytes(size_of::<ModuleRecord>())?);
    // SAFETY: `alloc` gave this thread alone that many bytes behind the record.
    unsafe { std::ptr::copy_nonoverlapping(path.as_ptr(), tail, path.len()) };
    // SAFETY: behind the path, within the same bytes.
    let tail = unsafe { tail.add(path.len()) };
    // SAFETY: as above.
    unsafe { std::ptr::copy_nonoverlapping(build_id.as_ptr(), tail, build_id.len()) };
    // Relaxed, here and below: only the holder of `busy` looks at `last`.
    let link = match Offset::from_raw(list.last.load(Ordering::Relaxed)) {
        Some(last) => &region.get::<ModuleRecord>(last)?.next,
        None => &list.first,
    };
    // Release: publishes the copy. Pairs with the Acquire in `for_each`.
    link.store(at.raw(), Ordering::Release);
    list.last.store(at.raw(), Ordering::Relaxed);
    Some(())
}
