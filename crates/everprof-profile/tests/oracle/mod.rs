//! profile.proto as prost reads and writes it: a second opinion on our codec.

#![allow(dead_code)] // Each test binary uses its part.

/// `message Profile`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Profile {
    #[prost(message, repeated, tag = "1")]
    pub sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    pub location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    pub function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    pub string_table: Vec<String>,
    #[prost(int64, tag = "7")]
    pub drop_frames: i64,
    #[prost(int64, tag = "8")]
    pub keep_frames: i64,
    #[prost(int64, tag = "9")]
    pub time_nanos: i64,
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    pub period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    pub period: i64,
    #[prost(int64, repeated, tag = "13")]
    pub comment: Vec<i64>,
    #[prost(int64, tag = "14")]
    pub default_sample_type: i64,
    #[prost(int64, tag = "15")]
    pub doc_url: i64,
}

/// `message ValueType`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ValueType {
    #[prost(int64, tag = "1")]
    pub r#type: i64,
    #[prost(int64, tag = "2")]
    pub unit: i64,
}

/// `message Sample`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    pub value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    pub label: Vec<Label>,
}

/// `message Sample`, written one number at a time, as proto2 writers do.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UnpackedSample {
    #[prost(uint64, repeated, packed = "false", tag = "1")]
    pub location_id: Vec<u64>,
    #[prost(int64, repeated, packed = "false", tag = "2")]
    pub value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    pub label: Vec<Label>,
}

/// `message Profile`, of which only the unpacked samples are known.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UnpackedSamples {
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<UnpackedSample>,
}

/// `message Label`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Label {
    #[prost(int64, tag = "1")]
    pub key: i64,
    #[prost(int64, tag = "2")]
    pub str: i64,
    #[prost(int64, tag = "3")]
    pub num: i64,
    #[prost(int64, tag = "4")]
    pub num_unit: i64,
}

/// `message Mapping`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Mapping {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(uint64, tag = "2")]
    pub memory_start: u64,
    #[prost(uint64, tag = "3")]
    pub memory_limit: u64,
    #[prost(uint64, tag = "4")]
    pub file_offset: u64,
    #[prost(int64, tag = "5")]
    pub filename: i64,
    #[prost(int64, tag = "6")]
    pub build_id: i64,
    #[prost(bool, tag = "7")]
    pub has_functions: bool,
    #[prost(bool, tag = "8")]
    pub has_filenames: bool,
    #[prost(bool, tag = "9")]
    pub has_line_numbers: bool,
    #[prost(bool, tag = "10")]
    pub has_inline_frames: bool,
}

/// `message Location`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Location {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(uint64, tag = "2")]
    pub mapping_id: u64,
    #[prost(uint64, tag = "3")]
    pub address: u64,
    #[prost(message, repeated, tag = "4")]
    pub line: Vec<Line>,
    #[prost(bool, tag = "5")]
    pub is_folded: bool,
}

/// `message Line`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Line {
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
    #[prost(int64, tag = "2")]
    pub line: i64,
    #[prost(int64, tag = "3")]
    pub column: i64,
}

/// `message Function`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Function {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(int64, tag = "2")]
    pub name: i64,
    #[prost(int64, tag = "3")]
    pub system_name: i64,
    #[prost(int64, tag = "4")]
    pub filename: i64,
    #[prost(int64, tag = "5")]
    pub start_line: i64,
}

/// What a profile says, one statement a line, with every reference followed. Equal texts
/// mean the same profile, whatever its ids and the order of its strings.
pub fn meaning(profile: &Profile) -> String {
    use std::fmt::Write;
    let text = |n: i64| &profile.string_table[n as usize];
    let kind = |t: &ValueType| format!("{:?}/{:?}", text(t.r#type), text(t.unit));
    let function = |id: u64| {
        let found = profile.function.iter().find(|function| function.id == id);
        found.map_or_else(
            || "\"\" \"\" \"\" 0".to_owned(),
            |f| {
                let (name, system) = (text(f.name), text(f.system_name));
                format!(
                    "{name:?} {system:?} {:?} {}",
                    text(f.filename),
                    f.start_line
                )
            },
        )
    };
    let mapping = |m: &Mapping| {
        format!(
            "{:x}-{:x}+{:x} {:?} {:?} {}{}{}{}",
            m.memory_start,
            m.memory_limit,
            m.file_offset,
            text(m.filename),
            text(m.build_id),
            u8::from(m.has_functions),
            u8::from(m.has_filenames),
            u8::from(m.has_line_numbers),
            u8::from(m.has_inline_frames),
        )
    };
    let location = |l: &Location| {
        let place = profile
            .mapping
            .iter()
            .find(|mapping| mapping.id == l.mapping_id);
        let mut out = format!(
            "{:x} in {} ",
            l.address,
            place.map_or("-".to_owned(), mapping)
        );
        for line in &l.line {
            write!(
                out,
                "[{}:{}:{}]",
                function(line.function_id),
                line.line,
                line.column
            )
            .expect("strings take all");
        }
        out + if l.is_folded { " folded" } else { "" }
    };
    let mut out = vec![
        format!(
            "types {:?}",
            profile.sample_type.iter().map(kind).collect::<Vec<_>>()
        ),
        format!("default {:?}", text(profile.default_sample_type)),
        format!(
            "period {:?} {}",
            profile.period_type.as_ref().map(kind),
            profile.period
        ),
        format!("time {} {}", profile.time_nanos, profile.duration_nanos),
        format!(
            "frames {:?} {:?}",
            text(profile.drop_frames),
            text(profile.keep_frames)
        ),
        format!("doc {:?}", text(profile.doc_url)),
        format!(
            "comments {:?}",
            profile.comment.iter().map(|&n| text(n)).collect::<Vec<_>>()
        ),
    ];
    out.extend(
        profile
            .mapping
            .iter()
            .map(|m| format!("mapping {}", mapping(m))),
    );
    out.extend(
        profile
            .location
            .iter()
            .map(|l| format!("location {}", location(l))),
    );
    for sample in &profile.sample {
        let stack = sample.location_id.iter().map(|&id| {
            let found = profile.location.iter().find(|location| location.id == id);
            location(found.expect("a sample's locations exist"))
        });
        let mut labels: Vec<_> = sample
            .label
            .iter()
            .map(|l| match text(l.str).as_str() {
                "" => (text(l.key), format!("{} {:?}", l.num, text(l.num_unit))),
                string => (text(l.key), format!("{string:?}")),
            })
            .collect();
        labels.sort_by_key(|(key, _)| *key);
        let stack: Vec<_> = stack.collect();
        out.push(format!("sample {:?} {labels:?} {stack:?}", sample.value));
    }
    out.join("\n")
}
