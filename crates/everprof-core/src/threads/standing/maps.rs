//! /proc/self/maps: what kind of memory an address is in.
//!
//! Context: cold. Invariant: an address that is in no line is in no known memory.
//! Source: proc(5).

/// A mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) start: u64,
    pub(crate) limit: u64,
    /// It can be written, and so may hold guards.
    pub(crate) is_written: bool,
    /// Another process may have it, too.
    pub(crate) is_shared: bool,
    /// A program's or library's own, which code reaches without a pointer: of a file, or
    /// right behind one, where its zeroed part is.
    pub(crate) is_static: bool,
    /// The first thread's stack.
    pub(crate) is_first_stack: bool,
}

/// All mappings, in order.
#[derive(Debug, Default)]
pub(crate) struct Maps(Vec<Map>);

impl Maps {
    pub(crate) fn read() -> Option<Self> {
        std::fs::read("/proc/self/maps")
            .ok()
            .map(|text| Self::parse(&text))
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Map> + '_ {
        self.0.iter().copied()
    }

    fn parse(text: &[u8]) -> Self {
        let mut maps: Vec<Map> = Vec::new();
        let mut file_limit = 0;
        for line in text.split(|&byte| byte == b'\n') {
            let Some((mut map, is_of_file, name)) = parse_line(line) else {
                continue;
            };
            let is_behind = map.start == file_limit && name.is_empty();
            map.is_static = is_of_file || is_behind;
            map.is_first_stack = name == b"[stack]";
            if map.is_static {
                file_limit = map.limit;
            }
            maps.push(map);
        }
        Self(maps)
    }

    pub(crate) fn at(&self, address: u64) -> Option<Map> {
        let next = self.0.partition_point(|map| map.start <= address);
        let map = self.0.get(next.checked_sub(1)?)?;
        (address < map.limit).then_some(*map)
    }
}

/// `start-limit perms offset device inode name`: the mapping, whether it is of a file, its name.
fn parse_line(line: &[u8]) -> Option<(Map, bool, &[u8])> {
    let mut words = line.splitn(6, |&byte| byte == b' ');
    let mut ends = words.next()?.split(|&byte| byte == b'-');
    let mut end = || super::super::tasks::number(ends.next()?, 16);
    let (start, limit) = (end()?, end()?);
    let rights = words.next()?;
    let is_shared = rights.get(3) == Some(&b's');
    let is_of_file = words.nth(2)? != b"0";
    let name = words.next().unwrap_or(&[]).trim_ascii();
    let map = Map {
        start,
        limit,
        is_written: rights.get(1) == Some(&b'w'),
        is_shared,
        is_static: false,
        is_first_stack: false,
    };
    Some((map, is_of_file, name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TEXT: &[u8] = b"\
55d0a000-55d0b000 r--p 00000000 08:01 123                        /srv/app
55d0b000-55d0c000 rw-p 00001000 08:01 123                        /srv/app
55d0c000-55d0d000 rw-p 00000000 00:00 0
55d0e000-55d10000 rw-p 00000000 00:00 0                          [heap]
7f000000-7f100000 rw-s 00000000 00:01 9                          /dev/shm/a b (deleted)
7f200000-7f300000 rw-p 00000000 00:00 0
7ffc0000-7ffd0000 rw-p 00000000 00:00 0                          [stack]
";

    #[test]
    fn zeroed_parts_of_modules_are_told_from_other_memory() {
        let maps = Maps::parse(TEXT);
        let is_static = |address| maps.at(address).unwrap().is_static;
        assert!(is_static(0x55d0_b123) && is_static(0x55d0_cfff));
        assert!(!is_static(0x55d0_e000) && !is_static(0x7f20_0000));
        assert!(maps.at(0x55d0_d000).is_none() && maps.at(0).is_none());
        assert!(maps.at(0x7f00_0010).unwrap().is_shared);
        assert!(!maps.at(0x7f20_0010).unwrap().is_shared);
        assert!(maps.at(0x7ffc_0000).unwrap().is_first_stack);
    }

    #[test]
    fn memory_of_this_process_is_what_it_is() {
        static STATIC: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let maps = Maps::read().unwrap();
        let of_static = maps.at(STATIC.as_ptr() as u64).unwrap();
        assert!(of_static.is_static && !of_static.is_first_stack);
        let boxed = Box::new(0_u64);
        assert!(
            !maps
                .at(std::ptr::from_ref(&*boxed) as u64)
                .unwrap()
                .is_shared
        );
    }
}
