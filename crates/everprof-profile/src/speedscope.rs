//! speedscope: the profile in the own format of the viewer speedscope.app.
//!
//! Context: cold.
//! Invariant: every frame keeps its place, inlined ones too; each sample type becomes one
//! of the file's profiles, and they share their frames.
//! Source: <https://www.speedscope.app/file-format-schema.json>. Its importer of pprof takes
//! one line a location, so that functions inlined by the compiler would vanish.

use std::io::{BufWriter, Write};

use crate::report::Selection;
use crate::{Error, Profile};

/// Writes all sample types of a profile, with `name` as its title.
///
/// The viewer knows no negative weights: stacks that shrank, in a delta, are left out, and
/// how many is said in the name of the sample type.
///
/// # Errors
///
/// Those of the writer, and those of [`Selection::of`].
pub fn write(profile: &Profile, name: &str, out: impl Write) -> Result<(), Error> {
    let kinds: Vec<String> = profile
        .sample_types()
        .map(|known| known.kind.to_owned())
        .collect();
    let mut out = BufWriter::new(out);
    write!(
        out,
        r#"{{"$schema":"https://www.speedscope.app/file-format-schema.json","exporter":"everprof@{}","name":{},"activeProfileIndex":{},"#,
        env!("CARGO_PKG_VERSION"),
        quoted(name),
        profile.default_sample_type_index().unwrap_or(0),
    )?;
    let mut frames = Frames::default();
    write!(out, r#""profiles":["#)?;
    for (n, kind) in kinds.iter().enumerate() {
        if n > 0 {
            write!(out, ",")?;
        }
        let selection = Selection::of(profile, Some(kind))?;
        write_sample_type(&selection, &mut frames, &mut out)?;
    }
    write!(out, r#"],"shared":{{"frames":[{}]}}}}"#, frames.json)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Frames of the whole file, as JSON. Selections number functions on their own.
#[derive(Default)]
struct Frames {
    known: std::collections::HashMap<String, usize>,
    json: String,
}

impl Frames {
    fn number(&mut self, selection: &Selection, function: u32) -> usize {
        let function = selection.function(function);
        if let Some(&number) = self.known.get(&function.name) {
            return number;
        }
        let number = self.known.len();
        if number > 0 {
            self.json.push(',');
        }
        self.json.push_str(r#"{"name":"#);
        self.json.push_str(&quoted(&function.name));
        if !function.file.is_empty() {
            self.json.push_str(r#","file":"#);
            self.json.push_str(&quoted(&function.file));
        }
        if function.start_line > 0 {
            self.json
                .push_str(&format!(r#","line":{}"#, function.start_line));
        }
        self.json.push('}');
        self.known.insert(function.name.clone(), number);
        number
    }
}

fn write_sample_type(
    selection: &Selection,
    frames: &mut Frames,
    out: &mut impl Write,
) -> Result<(), Error> {
    let (mut samples, mut weights) = (String::new(), String::new());
    let (mut total, mut shrunk) = (0u64, 0usize);
    for (stack, estimate) in selection.stacks() {
        let Ok(weight) = u64::try_from(estimate.value) else {
            shrunk += 1;
            continue;
        };
        if weight == 0 {
            continue;
        }
        if !weights.is_empty() {
            samples.push(',');
            weights.push(',');
        }
        let numbers: Vec<String> = stack
            .iter()
            .map(|frame| frames.number(selection, frame.function).to_string())
            .collect();
        samples.push_str(&format!("[{}]", numbers.join(",")));
        weights.push_str(&weight.to_string());
        total = total.saturating_add(weight);
    }
    let name = match shrunk {
        0 => selection.kind.clone(),
        shrunk => format!("{} (without {shrunk} stacks that shrank)", selection.kind),
    };
    let unit = match selection.unit.as_str() {
        known @ ("bytes" | "nanoseconds" | "microseconds" | "milliseconds" | "seconds") => known,
        _ => "none",
    };
    write!(
        out,
        r#"{{"type":"sampled","name":{},"unit":"{unit}","startValue":0,"endValue":{total},"samples":[{samples}],"weights":[{weights}]}}"#,
        quoted(&name),
    )?;
    Ok(())
}

/// Text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            // Beyond what JSON asks for: these two end a line in JavaScript, and DEL and
            // its successors do odd things to a terminal.
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::testdata;

    fn text(profile: &Profile) -> String {
        let mut out = Vec::new();
        write(profile, "a \"heap\"\n", &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn inlined_frames_survive() {
        let json = text(&testdata::heap());
        // main, parse, grow, serve, cache in the order of their first stack.
        assert!(json.contains(r#""samples":[[0,1,2],[0,1,1,2],[0,3,4,2],[0,5]]"#));
        assert!(json.contains(
            r#"{"name":"app::serve","file":"src/app.rs","line":1},{"name":"app::cache""#
        ));
        assert!(json.contains(r#""unit":"bytes","startValue":0,"endValue":102400"#));
        assert!(json.contains(r#""name":"a \"heap\"\u000a""#));
        assert!(json.contains(r#""activeProfileIndex":1"#));
    }

    #[test]
    fn what_shrank_is_left_out_and_counted() {
        let mut profile = testdata::heap();
        let leaf = profile.locations().next().unwrap().0;
        profile.push_sample(&[leaf], &[-5, -50], &[]);
        let json = text(&profile);
        assert!(json.contains(r#""name":"inuse_space (without 1 stacks that shrank)""#));
        assert!(json.contains(r#""endValue":102400"#));
    }

    #[test]
    fn strings_cannot_break_out() {
        assert_eq!(
            quoted("a\"\\\n\u{1b}[m\u{2028}é"),
            "\"a\\\"\\\\\\u000a\\u001b[m\\u2028é\""
        );
    }
}
