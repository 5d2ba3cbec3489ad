//! /proc/PID/maps: which files a process has mapped, and where.
//!
//! Context: cold.
//! Invariant: any bytes give a list, never a panic; lines that are none are left out.
//! Source: proc_pid_maps(5), and fs/proc/task_mmu.c for what it does not say: a newline in
//! a path is written as `\012`, nothing else is escaped; a deleted file's path gets
//! ` (deleted)` behind it.

use std::borrow::Cow;

/// An address range of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// First address.
    pub start: u64,
    /// First address after the range.
    pub limit: u64,
    /// What may be done there.
    pub permissions: Permissions,
    /// Where in the file the range starts, in bytes.
    pub offset: u64,
    /// Major and minor number of the file's device.
    pub device: (u32, u32),
    /// The file's inode; 0 if there is no file.
    pub inode: u64,
    /// The file's path or a name such as `[heap]`; empty if there is neither.
    pub path: Vec<u8>,
    /// The file has been deleted, or has that said of it in its name.
    pub is_deleted: bool,
}

/// What may be done in an address range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// `r`.
    pub read: bool,
    /// `w`.
    pub write: bool,
    /// `x`.
    pub execute: bool,
    /// `s`, where private ranges have `p`.
    pub shared: bool,
}

impl Map {
    /// The path as text, with replacement characters for what is no UTF-8.
    pub fn path_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.path)
    }

    /// Whether an address lies in the range.
    pub fn contains(&self, address: u64) -> bool {
        (self.start..self.limit).contains(&address)
    }
}

/// Reads the contents of a `maps` file, line by line, in its order: ascending addresses.
///
/// ```
/// let text = b"55d0-55f0 r-xp 00001000 fe:01 1835 /usr/bin/my app (deleted)\n";
/// let maps = everprof_profile::proc_maps::parse(text);
/// assert_eq!((maps[0].start, maps[0].offset), (0x55d0, 0x1000));
/// assert!(maps[0].permissions.execute && maps[0].is_deleted);
/// assert_eq!(maps[0].path, b"/usr/bin/my app");
/// ```
pub fn parse(contents: impl AsRef<[u8]>) -> Vec<Map> {
    contents
        .as_ref()
        .split(|&byte| byte == b'\n')
        .filter_map(parse_line)
        .collect()
}

fn parse_line(line: &[u8]) -> Option<Map> {
    let (range, rest) = word(line)?;
    let (permissions, rest) = word(rest)?;
    let (offset, rest) = word(rest)?;
    let (device, rest) = word(rest)?;
    let (inode, rest) = word(rest)?;
    let (start, limit) = split(range, b'-')?;
    let (major, minor) = split(device, b':')?;
    let (start, limit) = (hex(start)?, hex(limit)?);
    let &[read, write, execute, shared] = permissions else {
        return None;
    };
    let path = rest.trim_ascii_start();
    let (path, is_deleted) = match path.strip_suffix(b" (deleted)") {
        Some(path) => (path, true),
        None => (path, false),
    };
    (start < limit).then(|| Map {
        start,
        limit,
        permissions: Permissions {
            read: read == b'r',
            write: write == b'w',
            execute: execute == b'x',
            shared: shared == b's',
        },
        offset: hex(offset).unwrap_or(0),
        device: (number(major), number(minor)),
        inode: std::str::from_utf8(inode)
            .ok()
            .and_then(|inode| inode.parse().ok())
            .unwrap_or(0),
        path: unescape(path),
        is_deleted,
    })
}

/// The first word, and what follows it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let end = text
        .iter()
        .position(|&byte| byte == b' ')
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|&byte| byte == at)?;
    Some((&text[..place], &text[place + 1..]))
}

fn hex(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    // `from_str_radix` would take a sign.
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then_some(())?;
    u64::from_str_radix(digits, 16).ok()
}

fn number(digits: &[u8]) -> u32 {
    hex(digits)
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0)
}

fn unescape(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        match rest.strip_prefix(b"\\012") {
            Some(after) => {
                out.push(b'\n');
                rest = after;
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_lines_are_read() {
        let maps = parse(
            "\
55cfb9e40000-55cfb9e41000 r--p 00000000 fe:01 1835041                    /usr/bin/cat
55cfb9e41000-55cfb9e46000 r-xp 00001000 fe:01 1835041                    /usr/bin/cat
7f5e3c000000-7f5e3c021000 rw-p 00000000 00:00 0
7f5e40000000-7f5e40100000 rw-s 00000000 00:01 12                         /memfd:everprof (deleted)
7ffd8a9f8000-7ffd8aa19000 rw-p 00000000 00:00 0                          [stack]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
",
        );
        assert_eq!(maps.len(), 6);
        assert_eq!(maps[1].start, 0x55cf_b9e4_1000);
        assert_eq!(maps[1].offset, 0x1000);
        assert_eq!(maps[1].device, (0xfe, 1));
        assert_eq!(maps[1].inode, 1_835_041);
        assert_eq!(maps[1].path, b"/usr/bin/cat");
        let permissions = maps[1].permissions;
        assert!(permissions.read && permissions.execute);
        assert!(!permissions.write && !permissions.shared);
        assert!(maps[2].path.is_empty());
        assert!(maps[3].is_deleted && maps[3].permissions.shared);
        assert_eq!(maps[3].path, b"/memfd:everprof");
        assert_eq!(maps[4].path, b"[stack]");
        assert!(maps[5].contains(0xffff_ffff_ff60_0fff) && !maps[5].contains(0));
    }

    #[test]
    fn paths_keep_blanks_and_escaped_newlines_and_bytes() {
        let maps = parse(b"1-2 r--p 0 0:0 7      /a  b\\012c\\x \xff.so\n");
        assert_eq!(maps[0].path, b"/a  b\nc\\x \xff.so");
        assert_eq!(maps[0].path_lossy(), "/a  b\nc\\x \u{fffd}.so");
    }

    #[test]
    fn other_lines_are_left_out() {
        for line in [
            "",
            "hello",
            "1-2",
            "1-2 r--p 0 0:0",
            "2-1 r--p 0 0:0 0",
            "1-1 r--p 0 0:0 0",
            "+1-2 r--p 0 0:0 0",
            "1-10000000000000000 r--p 0 0:0 0",
            "1-2 r-- 0 0:0 0",
            "-2 r--p 0 0:0 0",
            "Rss:      4 kB",
        ] {
            assert_eq!(parse(line), [], "{line}");
        }
    }

    #[test]
    fn own_process_is_read_whole() {
        if let Ok(contents) = std::fs::read("/proc/self/maps") {
            let lines = contents.iter().filter(|&&byte| byte == b'\n').count();
            assert_eq!(parse(&contents).len(), lines);
        }
    }
}
