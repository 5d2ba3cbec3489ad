//! One heap profile with everything in it, the same each time it is built.

#![allow(dead_code)] // Each test binary uses its part.

use everprof_profile::{
    ALLOCATOR_FRAMES, Function, Label, Line, LocationId, Mapping, MappingId, Profile,
};

/// A function inlined into another, allocator frames at the leaf, a library without names,
/// labels of both sorts, an object size label, what was lost, and a freed stack.
pub fn heap() -> Profile {
    let mut profile = Profile::new(&[
        ("alloc_objects", "count"),
        ("alloc_space", "bytes"),
        ("inuse_objects", "count"),
        ("inuse_space", "bytes"),
    ]);
    profile.set_default_sample_type("inuse_space");
    profile.set_period_type("space", "bytes");
    profile.period = 524_288;
    profile.time_nanos = 1_700_000_000_000_000_000;
    profile.duration_nanos = 30_000_000_000;
    profile.set_drop_frames(ALLOCATOR_FRAMES);
    profile.set_doc_url("https://docs.rs/everprof");
    profile.add_comment("a heap profile for tests");
    let program = profile.add_mapping(Mapping {
        start: 0x5555_5555_4000,
        limit: 0x5555_5555_a000,
        offset: 0x4000,
        file: "/usr/local/bin/shop",
        build_id: "0f1e2d3c4b5a69788796a5b4c3d2e1f000112233",
        has_functions: true,
        has_filenames: true,
        has_line_numbers: true,
        has_inline_frames: true,
    });
    let library = profile.add_mapping(Mapping {
        start: 0x7fff_f7c0_0000,
        limit: 0x7fff_f7d8_0000,
        offset: 0x2_6000,
        file: "/usr/lib/libc.so.6",
        build_id: "c0ffee",
        ..Mapping::default()
    });
    let mut at = |address, names: &[(&str, i64)]| location(&mut profile, program, address, names);
    let shim = at(0x5555_5555_4010, &[("__rustc::__rust_alloc", 0)]);
    let grow = at(
        0x5555_5555_4120,
        &[("alloc::raw_vec::RawVec<T,A>::grow_one", 340)],
    );
    let push = at(
        0x5555_5555_4260,
        &[
            ("alloc::vec::Vec<T,A>::push", 2600),
            ("shop::cart::add", 31),
        ],
    );
    let boxed = at(
        0x5555_5555_4300,
        &[
            ("alloc::alloc::exchange_malloc", 368),
            ("shop::index::load", 12),
        ],
    );
    let serve = at(0x5555_5555_5004, &[("shop::serve", 88)]);
    let main = at(0x5555_5555_500c, &[("shop::main", 9)]);
    let start = profile.add_location(0x7fff_f7c2_9d8f, Some(library));
    let lost = profile.add_function(Function {
        name: "everprof::lost::truncated",
        ..Function::default()
    });
    let cut = profile.push_location(0, None);
    profile.set_lines(
        cut,
        &[Line {
            function: lost,
            line: 0,
            column: 0,
        }],
    );

    let blue = Label::string("tenant", "blue");
    let bytes = |size| Label::number("bytes", size, "bytes");
    let cart = [shim, grow, push, serve, main, start];
    profile.push_sample(&cart, &[4_096, 131_072, 1_024, 32_768], &[bytes(32), blue]);
    profile.push_sample(&cart, &[2_048, 131_072, 0, 0], &[bytes(64), blue]);
    profile.push_sample(&cart, &[512, 16_384, 512, 16_384], &[bytes(32)]);
    profile.push_sample(
        &[shim, boxed, main, start],
        &[1, 1_048_576, 1, 1_048_576],
        &[bytes(1_048_576)],
    );
    profile.push_sample(&[start], &[10, 240, 3, 72], &[bytes(24)]);
    profile.push_sample(&[serve, cut], &[7, 56, 7, 56], &[bytes(8)]);
    profile
}

/// A location with these frames, innermost first, each of a function with a line.
pub fn location(
    profile: &mut Profile,
    mapping: MappingId,
    address: u64,
    frames: &[(&str, i64)],
) -> LocationId {
    let id = profile.add_location(address, Some(mapping));
    let lines: Vec<_> = frames
        .iter()
        .map(|&(name, line)| {
            let file = format!("src/{}.rs", name.rsplit("::").nth(1).unwrap_or("lib"));
            let function = profile.add_function(Function {
                name,
                system_name: name,
                file: &file,
                start_line: line - line % 10,
            });
            Line {
                function,
                line,
                column: 5,
            }
        })
        .collect();
    profile.set_lines(id, &lines);
    id
}
