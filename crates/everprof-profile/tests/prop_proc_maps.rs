//! /proc/PID/maps of any contents.

use everprof_profile::proc_maps;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        proc_maps::parse(bytes);
    }

    #[test]
    fn no_almost_maps_panic(text in "([0-9a-f]{0,18}[- :]{0,2}){0,4}[rwxps-]{0,5}[ 0-9a-f:]{0,30}.{0,20}\n?") {
        proc_maps::parse(text);
    }

    #[test]
    fn what_the_kernel_writes_comes_back(
        (start, size) in (0..u64::MAX >> 1, 1..u64::MAX >> 1),
        offset in any::<u64>(),
        (major, minor) in any::<(u8, u8)>(),
        inode in any::<u64>(),
        name in "[^\\\\]{0,20}",
    ) {
        let path = format!("/{}", name.trim_end_matches(" (deleted)"));
        let written = path.replace('\n', "\\012");
        let line = format!(
            "{start:x}-{:x} r-xp {offset:08x} {major:02x}:{minor:02x} {inode}   {written}\n",
            start + size,
        );
        let maps = proc_maps::parse(line);
        prop_assert_eq!(maps.len(), 1);
        prop_assert_eq!((maps[0].start, maps[0].limit, maps[0].offset), (start, start + size, offset));
        prop_assert_eq!(maps[0].device, (u32::from(major), u32::from(minor)));
        prop_assert_eq!(maps[0].inode, inode);
        prop_assert_eq!(&maps[0].path, path.as_bytes());
    }
}
