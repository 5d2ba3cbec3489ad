//! A profile means the same after it was written, gzip'd, and read.
#![no_main]

use arbitrary::Arbitrary;
use everprof_profile::pprof::{self, Limits};
use everprof_profile::{Function, Label, Line, Mapping, Profile};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Plan {
    period: i64,
    time_nanos: i64,
    comment: String,
    mappings: Vec<(u64, u64, u64, String, String)>,
    functions: Vec<(String, String, String, i64)>,
    locations: Vec<(u64, u8, bool, Vec<(u8, i64, i64)>)>,
    samples: Vec<(Vec<u8>, i64, i64, Vec<(String, Result<String, i64>)>)>,
}

/// Everything that a reader of the profile can see of its samples.
fn seen(profile: &Profile) -> Vec<String> {
    let sample = |sample: everprof_profile::Sample<'_>| {
        let stack: Vec<String> = sample
            .stack()
            .map(|id| {
                let location = profile.location(id);
                let mapping = location
                    .mapping
                    .map(|id| format!("{:?}", profile.mapping(id)));
                let lines = location.lines.iter();
                let lines: Vec<String> = lines
                    .map(|line| {
                        format!(
                            "{:?}:{}:{}",
                            profile.function(line.function),
                            line.line,
                            line.column
                        )
                    })
                    .collect();
                format!(
                    "{:x} {} {mapping:?} {lines:?}",
                    location.address, location.is_folded
                )
            })
            .collect();
        let labels: Vec<String> = sample.labels().map(|label| format!("{label:?}")).collect();
        format!("{stack:?} {:?} {labels:?}", sample.values())
    };
    profile.samples().map(sample).collect()
}

fn build(plan: &Plan) -> Profile {
    let mut profile = Profile::new(&[("alloc_objects", "count"), ("alloc_space", "bytes")]);
    profile.set_default_sample_type("alloc_space");
    profile.set_period_type("space", "bytes");
    profile.period = plan.period;
    profile.time_nanos = plan.time_nanos;
    profile.add_comment(&plan.comment);
    let mut mappings = Vec::new();
    for (start, limit, offset, file, build_id) in &plan.mappings {
        mappings.push(profile.add_mapping(Mapping {
            start: *start,
            limit: *limit,
            offset: *offset,
            file,
            build_id,
            ..Mapping::default()
        }));
    }
    let mut functions = Vec::new();
    for (name, system_name, file, start_line) in &plan.functions {
        functions.push(profile.add_function(Function {
            name,
            system_name,
            file,
            start_line: *start_line,
        }));
    }
    let mut locations = Vec::new();
    for (address, mapping, is_folded, lines) in &plan.locations {
        let mapping = mappings.get(usize::from(*mapping)).copied();
        let id = profile.push_location(*address, mapping);
        let line = |(function, line, column): &(u8, i64, i64)| {
            let function = *functions.get(usize::from(*function))?;
            Some(Line {
                function,
                line: *line,
                column: *column,
            })
        };
        let lines: Vec<Line> = lines.iter().filter_map(line).collect();
        profile.set_lines(id, &lines);
        profile.set_folded(id, *is_folded);
        locations.push(id);
    }
    for (stack, objects, bytes, labels) in &plan.samples {
        let stack = stack
            .iter()
            .filter_map(|index| locations.get(usize::from(*index)));
        let stack: Vec<_> = stack.copied().collect();
        let label = |(key, value): &'_ (String, Result<String, i64>)| (key.clone(), value.clone());
        let labels: Vec<_> = labels.iter().map(label).collect();
        let labels: Vec<Label<'_>> = labels
            .iter()
            .map(|(key, value)| match value {
                Ok(text) => Label::string(key, text),
                Err(number) => Label::number(key, *number, "bytes"),
            })
            .collect();
        profile.push_sample(&stack, &[*objects, *bytes], &labels);
    }
    profile
}

fuzz_target!(|plan: Plan| {
    let profile = build(&plan);
    let mut written = Vec::new();
    pprof::encode(&profile, &mut written).expect("a Vec takes all that is written");
    let mut limits = Limits::default();
    limits.max_ratio = u64::MAX;
    let read = pprof::decode(&written, &limits).expect("we can read what we write");
    assert_eq!(seen(&profile), seen(&read));
    assert_eq!(profile.totals(), read.totals());
    assert_eq!(
        (profile.period, profile.time_nanos),
        (read.period, read.time_nanos)
    );
});
