//! Flame graph: one SVG that needs nothing beside it.
//!
//! Context: cold.
//! Invariant: a frame is as wide as what stands on it; what is too narrow to be drawn, or
//! shrank, is counted in the picture's own words. Text of the profile reaches the page
//! escaped, and no script ever makes markup of it.
//! Source: Brendan Gregg's flame graphs, with the roots on top, so that a long page begins
//! where the program does.
//!
//! Without its script (in a document, a mail, an image viewer) the picture shows all there
//! is; with it, a click zooms, and the field on top searches.

use std::fmt::Write as _;
use std::io::Write;

use crate::Error;
use crate::report::tree::{Tree, tree};
use crate::report::units::{format, format_float, percent};
use crate::report::{Selection, is_standard};

/// Writes the flame graph of a selection, with `title` above it.
///
/// # Errors
///
/// Those of the writer.
pub fn write_svg(selection: &Selection, title: &str, mut out: impl Write) -> Result<(), Error> {
    let layout = Layout::of(selection);
    out.write_all(page(selection, &layout, title).as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Where each frame stands.
#[derive(Debug)]
struct Layout {
    tree: Tree,
    boxes: Vec<Placed>,
    rows: u32,
    /// What the whole width stands for.
    whole: u64,
    /// How many frames were too narrow.
    narrow: usize,
    /// How many branches shrank, and by how much: a picture has no negative widths.
    shrunk: (usize, i64),
}

/// One frame of the picture. Places are shares of the whole width.
#[derive(Debug)]
struct Placed {
    node: u32,
    depth: u32,
    left: f64,
    width: f64,
}

impl Layout {
    fn of(selection: &Selection) -> Layout {
        let tree = tree(selection);
        let mut layout = Layout {
            tree,
            boxes: Vec::new(),
            rows: 1,
            whole: 0,
            narrow: 0,
            shrunk: (0, 0),
        };
        let sizes = layout.sizes();
        layout.whole = sizes[0];
        let mut pending = vec![(0u32, 0u64)];
        while let Some((number, start)) = pending.pop() {
            let node = layout.tree.node(number);
            let share = |value: u64| value as f64 / layout.whole.max(1) as f64;
            layout.boxes.push(Placed {
                node: number,
                depth: node.depth,
                left: share(start),
                width: if number == 0 {
                    1.0
                } else {
                    share(sizes[number as usize])
                },
            });
            layout.rows = layout.rows.max(node.depth + 1);
            let mut at = start;
            for &child in &node.children {
                let size = sizes[child as usize];
                if share(size) * WIDTH >= LEAST_WIDTH {
                    pending.push((child, at));
                } else if size > 0 {
                    layout.narrow += 1;
                }
                at += size;
            }
        }
        layout
    }

    /// The width of each node: what stands on it and its branches, without those that
    /// shrank.
    fn sizes(&mut self) -> Vec<u64> {
        let order = self.tree.walk();
        let mut sizes = vec![0u64; order.len()];
        for &number in order.iter().rev() {
            let node = self.tree.node(number);
            let own = match u64::try_from(node.flat.value) {
                Ok(own) => own,
                Err(_) => {
                    self.shrunk.0 += 1;
                    self.shrunk.1 = self.shrunk.1.saturating_add(node.flat.value);
                    0
                }
            };
            sizes[number as usize] = node
                .children
                .iter()
                .fold(own, |sum, &child| sum.saturating_add(sizes[child as usize]));
        }
        sizes
    }
}

fn page(selection: &Selection, layout: &Layout, title: &str) -> String {
    let height = TOP + f64::from(layout.rows) * ROW + BOTTOM;
    let mut page = String::new();
    let _ = write!(
        page,
        r##"<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="12">
<style>
svg {{ background: #fff; max-width: 100%; }}
text {{ fill: #1c1c1c; }}
.title {{ font-size: 17px; font-weight: bold; }}
.note {{ fill: #666; }}
.frame {{ cursor: pointer; }}
.frame rect {{ stroke: #fff; stroke-width: 0.6; }}
.frame text {{ pointer-events: none; }}
.frame:hover rect {{ stroke: #000; }}
.frame.found rect {{ fill: #d63bd6; }}
.frame.parent {{ opacity: 0.5; }}
.button {{ cursor: pointer; fill: #06c; visibility: hidden; }}
</style>
<text class="title" x="{MARGIN}" y="24">{}</text>
<text class="note" x="{MARGIN}" y="42">{}</text>
<text class="button" id="reset" x="{MARGIN}" y="60">reset zoom</text>
<text class="button" id="search" x="{}" y="24" text-anchor="end">search</text>
<text class="note" id="detail" x="{MARGIN}" y="{}"> </text>
<g id="frames">
"##,
        escaped(title),
        escaped(&subtitle(selection, layout)),
        WIDTH - MARGIN,
        height - 8.0,
    );
    for frame in &layout.boxes {
        write_frame(&mut page, selection, layout, frame);
    }
    page.push_str("</g>\n<script><![CDATA[\n");
    page.push_str(SCRIPT);
    page.push_str("]]></script>\n</svg>\n");
    page
}

fn subtitle(selection: &Selection, layout: &Layout) -> String {
    let unit = &selection.unit;
    let mut words = format!(
        "{}: {}",
        selection.kind,
        format(selection.total.value, unit)
    );
    if selection.has_error_bars && selection.total.variance > 0.0 {
        let _ = write!(words, " ± {}", format_float(selection.total.error(), unit));
    }
    match &selection.period {
        (0, _) => {}
        (period, unit) => {
            let _ = write!(words, ", one sample in {}", format(*period, unit));
        }
    }
    if layout.narrow > 0 {
        let _ = write!(words, ", {} branches too narrow to draw", layout.narrow);
    }
    if layout.shrunk.0 > 0 {
        let (branches, by) = layout.shrunk;
        let _ = write!(
            words,
            ", without {branches} branches that shrank by {}",
            format(by.saturating_neg(), unit)
        );
    }
    if layout.whole == 0 {
        words.push_str(", nothing to draw");
    }
    words
}

fn write_frame(page: &mut String, selection: &Selection, layout: &Layout, frame: &Placed) {
    let node = layout.tree.node(frame.node);
    let (name, place) = match frame.node {
        0 => ("all", String::new()),
        _ => {
            let function = selection.function(node.function);
            let place = match (function.file.as_str(), function.start_line) {
                ("", _) => String::new(),
                (file, 0) => format!("\n{file}"),
                (file, line) => format!("\n{file}:{line}"),
            };
            (function.name.as_str(), place)
        }
    };
    let value = (frame.width * layout.whole as f64).round() as i64;
    let mut words = format!(
        "{name} ({}, {}",
        format(value, &selection.unit),
        percent(frame.width)
    );
    if selection.has_error_bars && node.cum.variance > 0.0 {
        let error = format_float(node.cum.error(), &selection.unit);
        let _ = write!(words, ", ± {error}");
    }
    let _ = write!(words, "){place}");
    let drawn = WIDTH - 2.0 * MARGIN;
    let (x, width) = (MARGIN + frame.left * drawn, frame.width * drawn);
    let y = TOP + f64::from(frame.depth) * ROW;
    let _ = writeln!(
        page,
        r#"<g class="frame"><title>{}</title><rect x="{x:.2}" y="{y}" width="{width:.2}" height="{}" rx="2" fill="{}"/><text x="{:.2}" y="{}">{}</text></g>"#,
        escaped(&words),
        ROW - 1.0,
        colour(name, frame.node == 0),
        x + 3.0,
        y + 12.5,
        escaped(&fitted(name, width)),
    );
}

/// As much of a name as fits: all of it, or its last parts, which say most of a Rust path,
/// or its beginning.
fn fitted(name: &str, width: f64) -> String {
    let room = ((width - 6.0) / CHARACTER).max(0.0) as usize;
    if room < 3 {
        return String::new();
    }
    let mut rest = name;
    loop {
        if rest.chars().count() <= room {
            return rest.to_owned();
        }
        match cut_first_part(rest) {
            Some(shorter) => rest = shorter,
            None => return rest.chars().take(room - 1).chain(['…']).collect(),
        }
    }
}

/// A path without its first part: `b::c` of `a::b::c`. Generic arguments are no path.
fn cut_first_part(path: &str) -> Option<&str> {
    let (head, tail) = path.split_once("::")?;
    (!head.contains(['<', '(', '{', ' '])).then_some(tail)
}

/// One hue a crate; what comes with the compiler is grey, so that a program's own stands
/// out; what has no name is paler still.
fn colour(name: &str, is_root: bool) -> String {
    if is_root {
        return "#d9d9d9".to_owned();
    }
    if is_standard(name) || name.starts_with('_') {
        return "#c9ced6".to_owned();
    }
    let path = name.trim_start_matches(['<', '&', '*', '[']);
    let path = path.strip_prefix("dyn ").unwrap_or(path);
    let end = path
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(path.len());
    let (krate, rest) = path.split_at(end);
    if rest.starts_with("+0x") || krate.starts_with("0x") {
        return "#ececec".to_owned();
    }
    // FNV-1a: any even spread will do, and it stays the same from picture to picture.
    let hash = |text: &str| {
        text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    let (hue, lightness) = (hash(krate) >> 32, hash(name) >> 32);
    format!("hsl({},72%,{}%)", hue % 360, 68 + lightness % 10)
}

/// Text as it may stand in XML. Characters that XML forbids become U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push_str("&#10;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Picture units across: what a laptop shows without scrolling.
const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 10.0;
/// Room for title, subtitle and buttons.
const TOP: f64 = 70.0;
/// Room for the line that shows the frame under the pointer.
const BOTTOM: f64 = 28.0;
const ROW: f64 = 17.0;
/// Advance of a monospaced character at 12 px: 0.6 em in the common fonts, with a reserve.
const CHARACTER: f64 = 7.3;
/// Narrower frames cannot be seen, and there are many.
const LEAST_WIDTH: f64 = 0.1;

/// Zoom and search. It reads names from the frames' titles and writes `textContent` only.
const SCRIPT: &str = include_str!("flame.js");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Profile;
    use crate::report::testdata;

    fn svg(profile: &Profile) -> String {
        let mut out = Vec::new();
        let selection = Selection::of(profile, None).unwrap();
        write_svg(&selection, "app <heap> & \"more\"", &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The texts of the page; panics if it is not well-formed.
    fn texts(svg: &str) -> Vec<String> {
        use quick_xml::events::Event;
        let mut reader = quick_xml::Reader::from_str(svg);
        reader.config_mut().check_end_names = true;
        let (mut texts, mut depth) = (vec![String::new()], 0);
        loop {
            match reader.read_event().unwrap() {
                Event::Start(start) => {
                    depth += 1;
                    for attribute in start.attributes() {
                        attribute.unwrap();
                    }
                    texts.push(String::new());
                }
                Event::End(_) => depth -= 1,
                Event::Text(text) => {
                    texts.last_mut().unwrap().push_str(&text);
                }
                Event::GeneralRef(reference) => {
                    let name = &*reference;
                    let character = match reference.resolve_char_ref().unwrap() {
                        Some(c) => c.to_string(),
                        None => quick_xml::escape::resolve_predefined_entity(name)
                            .unwrap()
                            .to_owned(),
                    };
                    texts.last_mut().unwrap().push_str(&character);
                }
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(depth, 0);
        texts
    }

    fn named(name: &str, value: i64) -> Profile {
        let mut profile = Profile::new(&[("inuse_space", "bytes")]);
        let at = profile.add_named(1, None, [(name, "", 0)]);
        profile.push_sample(&[at], &[value], &[]);
        profile
    }

    #[test]
    fn picture_is_well_formed_and_says_what_it_shows() {
        let texts = texts(&svg(&testdata::heap()));
        let has = |start: &str| texts.iter().any(|text| text.starts_with(start));
        assert!(has("app <heap> & \"more\""));
        assert!(has("inuse_space: 100 KiB ± "));
        assert!(has("app::serve (30.0 KiB, 30.0%, ± "));
        assert!(has("app+0x900 (10.0 KiB, 10.0%, ± "));
    }

    #[test]
    fn children_stand_within_their_parents_and_side_by_side() {
        let selection = Selection::of(&testdata::heap(), None).unwrap();
        let layout = Layout::of(&selection);
        let of = |number: u32| layout.boxes.iter().find(|frame| frame.node == number);
        for parent in &layout.boxes {
            let mut at = parent.left;
            for &child in &layout.tree.node(parent.node).children {
                let child = of(child).unwrap();
                assert!((child.left - at).abs() < 1e-9);
                at += child.width;
            }
            assert!(at <= parent.left + parent.width + 1e-9);
        }
    }

    #[test]
    fn hostile_names_stay_text() {
        let name = "</title><script>alert(1)</script>]]>\u{0}\u{1b}\u{ffff}&\"'";
        let svg = svg(&named(name, 5));
        let texts = texts(&svg);
        let shown = name.replace(['\0', '\u{1b}', '\u{ffff}'], "\u{fffd}");
        assert!(texts.iter().any(|text| text.starts_with(&shown)));
        assert_eq!(svg.matches("<script>").count(), 1);
    }

    #[test]
    fn what_is_not_drawn_is_counted() {
        let mut profile = named("grew", 1_000_000);
        let nothing_known = profile.add_location(2, None);
        profile.push_sample(&[nothing_known], &[-2048], &[]);
        let narrow = profile.add_location(3, None);
        profile.push_sample(&[narrow], &[1], &[]);
        let texts = texts(&svg(&profile));
        let subtitle = texts
            .iter()
            .find(|text| text.starts_with("inuse_space:"))
            .unwrap();
        assert!(
            subtitle.contains("1 branches too narrow to draw"),
            "{subtitle}"
        );
        assert!(
            subtitle.contains("without 1 branches that shrank by 2.00 KiB"),
            "{subtitle}"
        );
    }

    #[test]
    fn empty_profile_is_a_picture_too() {
        let texts = texts(&svg(&Profile::new(&[("inuse_space", "bytes")])));
        assert!(texts.iter().any(|text| text.contains("nothing to draw")));
    }

    #[test]
    fn names_lose_their_first_parts_before_their_last() {
        assert_eq!(fitted("app::cache::fill", 200.0), "app::cache::fill");
        assert_eq!(fitted("app::cache::fill", 90.0), "cache::fill");
        assert_eq!(fitted("app::cache::fill", 40.0), "fill");
        assert_eq!(fitted("app::cache::fill", 30.0), "fi…");
        assert_eq!(fitted("<a::B as c::D>::e", 60.0), "<a::B …");
        assert_eq!(fitted("app", 10.0), "");
    }

    #[test]
    fn compilers_own_frames_are_grey() {
        assert_eq!(colour("<alloc::vec::Vec<T>>::f", false), "#c9ced6");
        assert_eq!(colour("app+0x12", false), "#ececec");
        assert_ne!(colour("app::f", false), colour("other::f", false));
    }
}
