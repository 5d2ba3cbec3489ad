//! Text: profiles as Go prints them with `debug=1`, for people and for old tools.
//!
//! Context: cold.
//! Invariant: `go tool pprof` reads the text and finds the values of the profile, but for
//! what the layout has no place for (labels, other sample types).
//! Source: what Go's runtime/pprof prints and google/pprof's legacy parsers accept.
//!
//! ```text
//! heap profile: 2: 96 [5: 240] @ heap/2      in use: bytes [allocated: bytes]
//! 2: 96 [5: 240] @ 0x55d0c1 0x55d0f3         return addresses, leaf first
//! #   0x55d0c0    app::cache::fill    src/cache.rs:31
//!
//! --- mutex:                                 "contention" where it is of waiters
//! cycles/second=1000000000
//! sampling period=1                          of mutexes only
//! 52484596 12 @ 0x55d0c1 0x55d0f3            delay, contentions
//!
//! threads profile: total 3
//! 3 @ 0x55d0c1 0x55d0f3
//! # labels: {"tenant":"blue"}
//! ```
//!
//! In the last two layouts, samples of one stack and equal strings as labels are one: how
//! sure a delay is and which thread it was has no place there.
//!
//! Our values are estimates of the whole already. The header's `heap/2` keeps readers
//! from scaling them again: they halve the number, for reasons older than Go, and take a
//! period of 1 as "everything was recorded".

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{BufWriter, Write};

use crate::one_line::{clean, quoted};
use crate::stacks::is_of_thread;
use crate::{Error, LabelValue, Profile, Sample, StackId};

/// Writes a profile as Go does with `debug=1`.
///
/// `name` is the profile's, as `heap`, `mutex` or `threads`. Profiles with the heap's four
/// sample types are written in the layout of heap profiles, those of contentions and
/// delays in that of contention profiles, others as counts of their first sample type.
///
/// # Errors
///
/// Those of the writer.
pub fn write_debug1(profile: &Profile, name: &str, out: impl Write) -> Result<(), Error> {
    let mut out = BufWriter::with_capacity(64 << 10, out);
    let kinds = |wanted: &[&str]| {
        wanted
            .iter()
            .map(|kind| profile.sample_type_index(kind))
            .collect::<Option<Vec<_>>>()
    };
    let heap = kinds(&[
        "inuse_objects",
        "inuse_space",
        "alloc_objects",
        "alloc_space",
    ]);
    let contention = kinds(&["delay", "contentions"]);
    match (heap.as_deref(), contention.as_deref()) {
        (Some(&[inuse_objects, inuse_space, alloc_objects, alloc_space]), _) => {
            let inuse = [inuse_objects, inuse_space];
            write_heap(profile, inuse, [alloc_objects, alloc_space], &mut out)?;
        }
        (None, Some(&[delay, contentions])) => {
            write_contentions(profile, name, delay, contentions, &mut out)?;
        }
        _ => write_counts(profile, name, &mut out)?,
    }
    write_trailer(profile, &mut out)?;
    out.flush()?;
    Ok(())
}

fn write_heap(
    profile: &Profile,
    inuse: [usize; 2],
    alloc: [usize; 2],
    out: &mut impl Write,
) -> Result<(), Error> {
    // Readers refuse bytes of no object, which rounding makes of less than half an object.
    let pair = |sample: &Sample<'_>, [objects, bytes]: [usize; 2]| {
        let (objects, bytes) = (sample.values()[objects], sample.values()[bytes]);
        (
            if objects == 0 {
                bytes.signum()
            } else {
                objects
            },
            bytes,
        )
    };
    let row = |sample: &Sample<'_>| {
        let (objects, bytes) = pair(sample, alloc);
        // The layout has no sign here; only the delta of two different runs has one.
        (pair(sample, inuse), (objects.max(0), bytes.max(0)))
    };
    let mut samples: Vec<_> = profile.samples().collect();
    samples.sort_by_key(|sample| {
        let ((_, inuse), (_, alloc)) = row(sample);
        Reverse((inuse, alloc))
    });
    let mut total = ((0i64, 0i64), (0i64, 0i64));
    for sample in &samples {
        let (inuse, alloc) = row(sample);
        total.0 = (
            total.0.0.saturating_add(inuse.0),
            total.0.1.saturating_add(inuse.1),
        );
        total.1 = (
            total.1.0.saturating_add(alloc.0),
            total.1.1.saturating_add(alloc.1),
        );
    }
    // Where allocated equals in-use, readers take the two for one and show two sample types
    // instead of four. They use the header for nothing else, so Go adds a byte, and so we do.
    let same = u8::from(total.0.1 == total.1.1);
    let ((inuse_objects, inuse_bytes), (alloc_objects, alloc_bytes)) = total;
    writeln!(
        out,
        "heap profile: {inuse_objects}: {inuse_bytes} [{alloc_objects}: {}] @ heap/2",
        alloc_bytes.saturating_add(same.into()),
    )?;
    for sample in &samples {
        let ((inuse_objects, inuse_bytes), (alloc_objects, alloc_bytes)) = row(sample);
        write!(
            out,
            "{inuse_objects}: {inuse_bytes} [{alloc_objects}: {alloc_bytes}] @"
        )?;
        write_stack(profile, sample, out)?;
    }
    Ok(())
}

fn write_contentions(
    profile: &Profile,
    name: &str,
    delay: usize,
    contentions: usize,
    out: &mut impl Write,
) -> Result<(), Error> {
    let title = if name == "mutex" {
        "mutex"
    } else {
        "contention"
    };
    // One cycle is one nanosecond, and each contention stands for itself.
    writeln!(out, "--- {title}:\ncycles/second=1000000000")?;
    if title == "mutex" {
        writeln!(out, "sampling period=1")?;
    }
    for (sample, [delay, contentions]) in joined(profile, [delay, contentions]) {
        write!(out, "{delay} {contentions} @")?;
        write_stack(profile, &sample, out)?;
    }
    Ok(())
}

fn write_counts(profile: &Profile, name: &str, out: &mut impl Write) -> Result<(), Error> {
    let samples = match profile.sample_types().len() {
        0 => Vec::new(),
        _ => joined(profile, [0]),
    };
    let total = samples
        .iter()
        .fold(0i64, |sum, (_, [count])| sum.saturating_add(*count));
    // Readers take one word.
    let word = name.split_whitespace().next().unwrap_or("count");
    writeln!(out, "{} profile: total {total}", clean(word))?;
    for (sample, [count]) in samples {
        write!(out, "{count} @")?;
        write_stack(profile, &sample, out)?;
    }
    Ok(())
}

/// These values of the samples, largest first value first. Those that would be printed
/// alike but for the values are one: the first of them, with their sums.
fn joined<const N: usize>(profile: &Profile, values: [usize; N]) -> Vec<(Sample<'_>, [i64; N])> {
    type Key<'a> = (StackId, Vec<(&'a str, &'a str)>);
    let mut numbers: HashMap<Key<'_>, usize> = HashMap::new();
    let mut joined: Vec<(Sample<'_>, [i64; N])> = Vec::new();
    for sample in profile.samples() {
        let number = *numbers
            .entry((sample.stack_id(), printed_labels(&sample)))
            .or_insert_with(|| {
                joined.push((sample, [0; N]));
                joined.len() - 1
            });
        for (sum, &value) in joined[number].1.iter_mut().zip(&values) {
            *sum = sum.saturating_add(sample.values()[value]);
        }
    }
    // The layouts have no signs; only the delta of two different runs has negative values.
    for (_, sums) in &mut joined {
        *sums = sums.map(|sum| sum.max(0));
    }
    joined.sort_by_key(|&(_, sums)| Reverse(sums));
    joined
}

/// The labels that the layout has a place for.
fn printed_labels<'a>(sample: &Sample<'a>) -> Vec<(&'a str, &'a str)> {
    let strings = sample.labels().filter_map(|label| match label.value {
        LabelValue::String(value) if !is_of_thread(label.key) => Some((label.key, value)),
        _ => None,
    });
    strings.collect()
}

/// The rest of a sample's line, its frames, and its string labels.
fn write_stack(profile: &Profile, sample: &Sample<'_>, out: &mut impl Write) -> Result<(), Error> {
    let mut is_empty = true;
    for at in sample.stack() {
        // The layout is of return addresses: readers subtract 1.
        write!(
            out,
            " {:#x}",
            profile.location(at).address.saturating_add(1)
        )?;
        is_empty = false;
    }
    if is_empty {
        // Readers of counts want an address, even where there is none.
        write!(out, " 0x1")?;
    }
    writeln!(out)?;
    let labels: Vec<_> = printed_labels(sample)
        .into_iter()
        .map(|(key, value)| format!("{}:{}", quoted(key), quoted(value)))
        .collect();
    if !labels.is_empty() {
        writeln!(out, "# labels: {{{}}}", labels.join(", "))?;
    }
    for at in sample.stack() {
        let location = profile.location(at);
        if location.lines.is_empty() {
            let file = location.mapping.map_or("", |id| profile.mapping(id).file);
            match file {
                "" => writeln!(out, "#\t{:#x}", location.address)?,
                file => writeln!(out, "#\t{:#x}\t{}", location.address, clean(file))?,
            }
        }
        for line in location.lines {
            let function = profile.function(line.function);
            write!(out, "#\t{:#x}\t{}", location.address, clean(function.name))?;
            match function.file {
                "" => writeln!(out)?,
                file => writeln!(out, "\t{}:{}", clean(file), line.line)?,
            }
        }
    }
    writeln!(out)?;
    Ok(())
}

/// Remarks, and the mappings for readers that name addresses themselves.
fn write_trailer(profile: &Profile, out: &mut impl Write) -> Result<(), Error> {
    if let Some(kind) = profile.period_type() {
        writeln!(out, "# period = {} {}", profile.period, clean(kind.unit))?;
    }
    for comment in profile.comments() {
        writeln!(out, "# {}", clean(comment))?;
    }
    if profile.mappings().len() > 0 {
        writeln!(out, "\n--- Memory map: ---")?;
    }
    for (_, mapping) in profile.mappings() {
        // Words, as readers split at blanks.
        let word = |text: &str| clean(text).replace(' ', "\u{fffd}");
        let file = if mapping.file.is_empty() {
            "[anon]"
        } else {
            mapping.file
        };
        write!(
            out,
            "{:x}-{:x} {}",
            mapping.start,
            mapping.limit,
            word(file)
        )?;
        writeln!(out, " (@{:x}) {}", mapping.offset, word(mapping.build_id))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Label, LocationId, Mapping};

    fn text(profile: &Profile, name: &str) -> String {
        let mut out = Vec::new();
        write_debug1(profile, name, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn heap() -> Profile {
        Profile::new(&[
            ("alloc_objects", "count"),
            ("alloc_space", "bytes"),
            ("inuse_objects", "count"),
            ("inuse_space", "bytes"),
        ])
    }

    fn stack(profile: &mut Profile) -> [LocationId; 2] {
        let mapping = profile.add_mapping(Mapping {
            start: 0x1000,
            limit: 0x9000,
            offset: 0x200,
            file: "/bin/my app",
            build_id: "ab12",
            ..Mapping::default()
        });
        let frames = [("app::fill", "a.rs", 31), ("app::serve", "a.rs", 7)];
        let leaf = profile.add_named(0x1233, Some(mapping), frames);
        [leaf, profile.add_location(0x2fff, Some(mapping))]
    }

    #[test]
    fn heap_is_in_gos_layout() {
        let mut profile = heap();
        profile.set_period_type("space", "bytes");
        profile.period = 524_288;
        profile.add_comment("two\nlines");
        let stack = stack(&mut profile);
        profile.push_sample(&stack[1..], &[9, 90, 0, 4], &[]);
        let labels = [
            Label::number("bytes", 16, "bytes"),
            Label::string("tenant", "blue"),
        ];
        profile.push_sample(&stack, &[5, 80, 2, 32], &labels);
        let expected = "\
heap profile: 3: 36 [14: 170] @ heap/2
2: 32 [5: 80] @ 0x1234 0x3000
# labels: {\"tenant\":\"blue\"}
#\t0x1233\tapp::fill\ta.rs:31
#\t0x1233\tapp::serve\ta.rs:7
#\t0x2fff\t/bin/my app

1: 4 [9: 90] @ 0x3000
#\t0x2fff\t/bin/my app

# period = 524288 bytes
# two\u{fffd}lines

--- Memory map: ---
1000-9000 /bin/my\u{fffd}app (@200) ab12
";
        assert_eq!(text(&profile, "heap"), expected);
    }

    #[test]
    fn heap_where_all_is_in_use_stays_a_heap_of_four_types() {
        let mut profile = heap();
        let stack = stack(&mut profile);
        profile.push_sample(&stack, &[1, 8, 1, 8], &[]);
        assert!(
            text(&profile, "heap").starts_with("heap profile: 1: 8 [1: 9] @ heap/2\n1: 8 [1: 8] @")
        );
    }

    #[test]
    fn contentions_count_nanoseconds_as_cycles() {
        let mut profile = Profile::new(&[("contentions", "count"), ("delay", "nanoseconds")]);
        let stack = stack(&mut profile);
        profile.push_sample(&stack[1..], &[3, 1_000], &[]);
        profile.push_sample(&stack, &[4, 5_000], &[]);
        let text = text(&profile, "block");
        assert!(
            text.starts_with("--- contention:\ncycles/second=1000000000\n5000 4 @ 0x1234 0x3000\n")
        );
        assert!(text.contains("\n1000 3 @ 0x3000\n"));
    }

    #[test]
    fn measured_and_extrapolated_waits_are_one_line_and_those_of_other_labels_are_not() {
        let mut profile = Profile::new(&[("contentions", "count"), ("delay", "nanoseconds")]);
        let stack = stack(&mut profile);
        for (period, wait) in [(1, "mutex"), (8, "mutex"), (1, "join")] {
            let labels = [
                Label::number("period", period, "nanoseconds"),
                Label::string("wait", wait),
            ];
            profile.push_sample(&stack[1..], &[3, 1_000], &labels);
        }
        let text = text(&profile, "mutex");
        let expected = "\
--- mutex:
cycles/second=1000000000
sampling period=1
2000 6 @ 0x3000
# labels: {\"wait\":\"mutex\"}
#\t0x2fff\t/bin/my app

1000 3 @ 0x3000
# labels: {\"wait\":\"join\"}
#\t0x2fff\t/bin/my app

";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn threads_at_one_place_are_one_line_whoever_they_are() {
        let text = text(&crate::stacks::tests::threads(), "threads");
        let lines: Vec<_> = text.lines().filter(|line| line.contains('@')).collect();
        assert_eq!(
            lines,
            ["2 @ 0x1234 0x2001", "1 @ 0x1", "1000-9000 /srv/app (@200) "]
        );
        assert!(text.contains("# labels: {\"tenant\":\"blue\"}\n"));
        assert!(!text.contains("thread_"), "{text}");
    }

    #[test]
    fn labels_are_quoted_as_go_quotes_them() {
        assert_eq!(
            quoted("a\"b\\\n\r\t\u{7}\u{1b}\u{85}ä日"),
            r#""a\"b\\\n\r\t\a\x1b\u0085ä日""#
        );
    }

    #[test]
    fn others_are_counts_and_an_empty_stack_has_an_address() {
        let mut profile = Profile::new(&[("threads", "count")]);
        profile.push_sample(&[], &[2], &[]);
        assert_eq!(
            text(&profile, "threads"),
            "threads profile: total 2\n2 @ 0x1\n\n"
        );
    }
}
