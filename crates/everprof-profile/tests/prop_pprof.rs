//! The codec against prost: what any writer says comes through unchanged, and no bytes
//! make the decoder panic.

#![allow(clippy::unwrap_used)]

mod oracle;

use everprof_profile::pprof::{self, Limits};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;

/// A profile as other people's programs may write it: sparse ids in any order, locations
/// without address or mapping, several lines, equal strings twice.
fn any_profile() -> impl Strategy<Value = oracle::Profile> {
    let strings = vec("[a-zA-Z0-9_:<> /.é]{0,12}", 1..12);
    (strings, 1..4usize, any::<[i64; 3]>(), any::<u64>()).prop_flat_map(
        |(mut strings, types, numbers, salt)| {
            strings.insert(0, String::new());
            let text = 0..strings.len() as i64;
            let kind = (text.clone(), text.clone())
                .prop_map(|(kind, unit)| oracle::ValueType { r#type: kind, unit });
            let heads = (
                vec(kind.clone(), types),
                proptest::option::of(kind),
                vec(text.clone(), 0..4),
                vec(text.clone(), 4),
            );
            let mappings = vec(any_mapping(text.clone()), 0..4);
            let functions = vec(any_function(text.clone()), 0..6);
            let locations = vec(any_location(), 0..8);
            let samples = vec(any_sample(text, types), 0..10);
            (heads, mappings, functions, locations, samples).prop_map(
                move |(heads, mappings, functions, locations, samples)| {
                    let (sample_type, period_type, comment, texts) = heads;
                    let profile = oracle::Profile {
                        sample_type,
                        sample: samples,
                        mapping: mappings,
                        location: locations,
                        function: functions,
                        string_table: strings.clone(),
                        drop_frames: texts[0],
                        keep_frames: texts[1],
                        time_nanos: numbers[0],
                        duration_nanos: numbers[1],
                        period_type,
                        period: numbers[2],
                        comment,
                        default_sample_type: texts[2],
                        doc_url: texts[3],
                    };
                    give_ids(profile, salt)
                },
            )
        },
    )
}

fn any_mapping(text: std::ops::Range<i64>) -> impl Strategy<Value = oracle::Mapping> {
    (any::<[u64; 3]>(), text.clone(), text, any::<[bool; 4]>()).prop_map(|(places, a, b, has)| {
        oracle::Mapping {
            id: 0,
            memory_start: places[0],
            memory_limit: places[1],
            file_offset: places[2],
            filename: a,
            build_id: b,
            has_functions: has[0],
            has_filenames: has[1],
            has_line_numbers: has[2],
            has_inline_frames: has[3],
        }
    })
}

fn any_function(text: std::ops::Range<i64>) -> impl Strategy<Value = oracle::Function> {
    (text.clone(), text.clone(), text, any::<i64>()).prop_map(|(a, b, c, start_line)| {
        oracle::Function {
            id: 0,
            name: a,
            system_name: b,
            filename: c,
            start_line,
        }
    })
}

/// Its references are drawn as numbers, which `give_ids` turns into ids.
fn any_location() -> impl Strategy<Value = oracle::Location> {
    let line = any::<(u64, i64, i64)>().prop_map(|(function_id, line, column)| oracle::Line {
        function_id,
        line,
        column,
    });
    (any::<u64>(), any::<u64>(), vec(line, 0..4), any::<bool>()).prop_map(
        |(mapping_id, address, line, is_folded)| oracle::Location {
            id: 0,
            mapping_id,
            address,
            line,
            is_folded,
        },
    )
}

fn any_sample(text: std::ops::Range<i64>, types: usize) -> impl Strategy<Value = oracle::Sample> {
    let label =
        (text.clone(), text.clone(), any::<i64>(), text).prop_map(|(key, str, num, unit)| {
            let (num, num_unit) = if str == 0 { (num, unit) } else { (0, 0) };
            oracle::Label {
                key,
                str,
                num,
                num_unit,
            }
        });
    (
        vec(any::<u64>(), 0..6),
        vec(any::<i64>(), types),
        vec(label, 0..4),
    )
        .prop_map(|(location_id, value, label)| oracle::Sample {
            location_id,
            value,
            label,
        })
}

/// Gives all parts ids, which count from 1 or are scattered, and turns the numbers that
/// stand for references into these ids (or, for what may be missing, into 0).
fn give_ids(mut profile: oracle::Profile, salt: u64) -> oracle::Profile {
    let id = |n: usize| match salt % 2 {
        0 => n as u64 + 1,
        _ => (n as u64 + 1).wrapping_mul(salt | 1).max(1),
    };
    let pick = |number: u64, len: usize| match number.checked_rem(len as u64 + 1) {
        Some(n) if n < len as u64 => id(n as usize),
        _ => 0,
    };
    let (mappings, functions) = (profile.mapping.len(), profile.function.len());
    for (n, mapping) in profile.mapping.iter_mut().enumerate() {
        mapping.id = id(n);
    }
    for (n, function) in profile.function.iter_mut().enumerate() {
        function.id = id(n);
    }
    for (n, location) in profile.location.iter_mut().enumerate() {
        location.id = id(n);
        location.mapping_id = pick(location.mapping_id, mappings);
        for line in &mut location.line {
            line.function_id = pick(line.function_id, functions);
        }
    }
    let locations = profile.location.len();
    for sample in &mut profile.sample {
        sample
            .location_id
            .iter_mut()
            .for_each(|id| *id = pick(*id, locations));
        sample.location_id.retain(|&id| id != 0);
        // A label that says nothing in an empty string is not kept.
        sample
            .label
            .retain(|label| label.str == 0 || !profile.string_table[label.str as usize].is_empty());
    }
    profile
}

fn ours(bytes: &[u8]) -> oracle::Profile {
    let decoded = pprof::decode(bytes, &Limits::default()).unwrap();
    let mut plain = Vec::new();
    pprof::encode_plain(&decoded, &mut plain).unwrap();
    let mut zipped = Vec::new();
    pprof::encode(&decoded, &mut zipped).unwrap();
    let again = pprof::decode(&zipped, &Limits::default()).unwrap();
    let mut plain_again = Vec::new();
    pprof::encode_plain(&again, &mut plain_again).unwrap();
    assert_eq!(plain, plain_again, "encoding is a fixed point");
    oracle::Profile::decode(&plain[..]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_profile_keeps_its_meaning(profile in any_profile()) {
        let back = ours(&profile.encode_to_vec());
        prop_assert_eq!(oracle::meaning(&back), oracle::meaning(&profile));
        for (n, location) in back.location.iter().enumerate() {
            prop_assert_eq!(location.id, n as u64 + 1);
        }
    }

    #[test]
    fn unpacked_numbers_mean_the_same(profile in any_profile()) {
        let mut head = profile.clone();
        let samples = std::mem::take(&mut head.sample).into_iter().map(|sample| {
            oracle::UnpackedSample {
                location_id: sample.location_id,
                value: sample.value,
                label: sample.label,
            }
        });
        let unpacked = oracle::UnpackedSamples { sample: samples.collect() };
        // Samples first: fields come in any order.
        let mut bytes = unpacked.encode_to_vec();
        bytes.extend(head.encode_to_vec());
        prop_assert_eq!(oracle::meaning(&ours(&bytes)), oracle::meaning(&profile));
    }

    #[test]
    fn of_a_field_that_stands_twice_the_last_counts(
        profile in any_profile(),
        first in any::<[u8; 4]>(),
    ) {
        let text = |n: u8| i64::from(n) % profile.string_table.len() as i64;
        let before = oracle::Profile {
            doc_url: text(first[0]),
            default_sample_type: text(first[1]),
            period_type: Some(oracle::ValueType { r#type: text(first[2]), unit: text(first[3]) }),
            ..oracle::Profile::default()
        };
        let mut last = profile.clone();
        // 0 is not written, and a part of a message that is not written stays.
        last.doc_url = 1;
        last.default_sample_type = 1;
        last.period_type = Some(oracle::ValueType { r#type: 1, unit: 1 });
        let mut bytes = before.encode_to_vec();
        bytes.extend(last.encode_to_vec());
        prop_assert_eq!(oracle::meaning(&ours(&bytes)), oracle::meaning(&last));
    }

    #[test]
    fn damaged_profiles_do_not_panic(
        profile in any_profile(),
        cut in any::<Index>(),
        flips in vec((any::<Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = profile.encode_to_vec();
        for (at, with) in flips {
            *at.get_mut(&mut bytes) ^= with;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Ok(decoded) = pprof::decode(&bytes, &Limits::default()) {
            pprof::encode_plain(&decoded, std::io::sink()).unwrap();
        }
    }

    #[test]
    fn noise_does_not_panic(bytes in vec(any::<u8>(), 0..256)) {
        let _ = pprof::decode(&bytes, &Limits::default());
    }
}
