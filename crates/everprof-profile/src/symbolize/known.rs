//! Known: what files have said of addresses before, so that they need not be read again.
//!
//! Context: cold.
//! Invariant: what is given for an address is what its file gave for it. A file is known by its
//! build id; one without, by its path, its length and the time of its last change. What is kept
//! never counts for more than the bytes that it was made for.
//! Source: dumps of threads meet the same few hundred places each time. Reading the debug
//! information of a small program for them took 37 of the 40 ms of a dump of 100 threads.
//!
//! That a file says nothing of an address is kept too: most C libraries come without the
//! names of their inner functions, and each thread has some on its stack. What went wrong is
//! not: the file may be there the next time.
//!
//! When there is no room, whatever the naming under way has not asked for goes first; if
//! there is none still, what is new is not kept.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::binaries::Binaries;
use crate::{Function, Line, LocationId, Mapping, MappingId, Profile};

/// Names and lines that were found before. Profiles of one process, named through one of these,
/// cost the reading of a file only for addresses that none of them had.
#[derive(Debug)]
pub struct Known {
    most_bytes: usize,
    bytes: usize,
    program: Option<&'static str>,
    /// Namings so far; what is asked for bears the number of the last that did.
    naming: u64,
    files: Vec<KnownFile>,
    /// Each once: many places are in one file, many lines in one function.
    texts: BTreeSet<Arc<str>>,
}

/// How much is known of a place: its name alone, or all frames with their lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    Name,
    Full,
}

#[derive(Debug)]
struct KnownFile {
    file: FileId,
    depth: Depth,
    /// By offset in the file.
    places: HashMap<u64, Place>,
}

/// What nothing is known of, to be asked of the file.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) locations: Vec<LocationId>,
    /// Which file that is, as it was before it is opened: if another comes in its place
    /// meanwhile, that one is not known by what this one says. `None`: nothing is to be kept.
    file: Option<FileId>,
}

#[derive(Debug, PartialEq, Eq)]
enum FileId {
    BuildId(String),
    Unchanged {
        path: String,
        len: u64,
        modified: SystemTime,
    },
}

#[derive(Debug)]
struct Place {
    /// Innermost first; none if the file says nothing of it.
    lines: Box<[KnownLine]>,
    naming: u64,
}

#[derive(Debug)]
struct KnownLine {
    name: Arc<str>,
    system_name: Arc<str>,
    file: Arc<str>,
    start_line: i64,
    line: i64,
    column: i64,
}

impl Known {
    /// Keeps at most about so many bytes.
    pub const fn new(most_bytes: usize) -> Known {
        Known {
            most_bytes,
            bytes: 0,
            program: None,
            naming: 0,
            files: Vec::new(),
            texts: BTreeSet::new(),
        }
    }

    /// Reads the program from `path`, such as `/proc/self/exe`, where its own path leads to
    /// another file by now or to none: a new version may be installed while the old one runs.
    /// Nothing else is taken for it: the build ids must be the same.
    #[must_use]
    pub const fn with_program(mut self, path: &'static str) -> Known {
        self.program = Some(path);
        self
    }

    /// Which files to read.
    pub(super) fn binaries(&self) -> Binaries {
        Binaries::of_program(self.program)
    }

    /// How many bytes are kept, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A naming begins.
    pub(super) fn begin(&mut self) {
        self.naming += 1;
    }

    /// Gives these locations of a mapping the lines that are known. What is left is what nothing
    /// is known of.
    pub(super) fn fill(
        &mut self,
        depth: Depth,
        profile: &mut Profile,
        id: MappingId,
        wanted: &[LocationId],
    ) -> Left {
        let naming = self.naming;
        let file = match self.most_bytes {
            0 => None,
            _ => FileId::of(&profile.mapping(id)),
        };
        let known = file.as_ref().and_then(|file| self.position(depth, file));
        let Some(known) = known.and_then(|n| self.files.get_mut(n)) else {
            let locations = wanted.to_vec();
            return Left { locations, file };
        };
        let mut left = Vec::new();
        let mut lines = Vec::new();
        for &at in wanted {
            let offset = offset_of(profile, id, at);
            let place = offset.and_then(|offset| known.places.get_mut(&offset));
            let Some(place) = place else {
                left.push(at);
                continue;
            };
            place.naming = naming;
            lines.clear();
            lines.extend(place.lines.iter().map(|line| Line {
                function: profile.add_function(Function {
                    name: &line.name,
                    system_name: &line.system_name,
                    file: &line.file,
                    start_line: line.start_line,
                }),
                line: line.line,
                column: line.column,
            }));
            // A name that it has already is more than nothing.
            if !lines.is_empty() {
                profile.set_lines(at, &lines);
            }
        }
        Left {
            locations: left,
            file,
        }
    }

    /// Keeps what the mapping's file has just said of what was left.
    pub(super) fn learn(&mut self, depth: Depth, profile: &Profile, id: MappingId, left: Left) {
        let Some(file) = left.file else {
            return;
        };
        // Not with room for all that was left, which may be more than is kept.
        let mut places = HashMap::new();
        for at in left.locations {
            let Some(offset) = offset_of(profile, id, at) else {
                continue;
            };
            let lines = profile.location(at).lines;
            if !self.has_room(place_bytes(lines.len()) + text_bytes(profile, lines)) {
                break;
            }
            let lines = lines.iter().map(|line| self.line(profile, line)).collect();
            let naming = self.naming;
            let place = Place { lines, naming };
            self.bytes += place_bytes(place.lines.len());
            places.insert(offset, place);
        }
        match self.position(depth, &file) {
            // What was known is replaced by what is the same.
            Some(n) => {
                for (offset, place) in places {
                    let before = self.files[n].places.insert(offset, place);
                    self.bytes -= before.map_or(0, |before| place_bytes(before.lines.len()));
                }
            }
            None if places.is_empty() => {}
            None => self.files.push(KnownFile {
                file,
                depth,
                places,
            }),
        }
    }

    fn position(&self, depth: Depth, file: &FileId) -> Option<usize> {
        let is_it = |known: &KnownFile| known.depth == depth && known.file == *file;
        self.files.iter().position(is_it)
    }

    /// Whether there is room for so much more, if need be where something else was.
    fn has_room(&mut self, more: usize) -> bool {
        if self.bytes + more > self.most_bytes {
            self.forget_others();
        }
        self.bytes + more <= self.most_bytes
    }

    /// Forgets what the naming under way has not asked for.
    fn forget_others(&mut self) {
        let naming = self.naming;
        for known in &mut self.files {
            known.places.retain(|_, place| {
                let stays = place.naming == naming;
                self.bytes -= if stays {
                    0
                } else {
                    place_bytes(place.lines.len())
                };
                stays
            });
        }
        self.files.retain(|known| !known.places.is_empty());
        self.texts.retain(|text| {
            let stays = Arc::strong_count(text) > 1;
            self.bytes -= if stays { 0 } else { TEXT_BYTES + text.len() };
            stays
        });
    }

    fn line(&mut self, profile: &Profile, line: &Line) -> KnownLine {
        let function = profile.function(line.function);
        KnownLine {
            name: self.text(function.name),
            system_name: self.text(function.system_name),
            file: self.text(function.file),
            start_line: function.start_line,
            line: line.line,
            column: line.column,
        }
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(text);
        self.bytes += TEXT_BYTES + text.len();
        self.texts.insert(Arc::clone(&new));
        new
    }
}

impl FileId {
    /// `None`: of no file, or it cannot be told from another.
    fn of(mapping: &Mapping<'_>) -> Option<FileId> {
        if !mapping.file.starts_with('/') {
            return None;
        }
        if !mapping.build_id.is_empty() {
            return Some(FileId::BuildId(mapping.build_id.to_owned()));
        }
        let about = Path::new(mapping.file).metadata().ok()?;
        Some(FileId::Unchanged {
            path: mapping.file.to_owned(),
            len: about.len(),
            modified: about.modified().ok()?,
        })
    }
}

fn offset_of(profile: &Profile, id: MappingId, at: LocationId) -> Option<u64> {
    let mapping = profile.mapping(id);
    let into = profile.location(at).address.checked_sub(mapping.start)?;
    into.checked_add(mapping.offset)
}

/// What a place with so many lines takes: in its map, which is half empty after it has grown,
/// and behind that.
fn place_bytes(lines: usize) -> usize {
    2 * size_of::<(u64, Place)>() + lines * size_of::<KnownLine>()
}

/// The most that the texts of these lines can take.
fn text_bytes(profile: &Profile, lines: &[Line]) -> usize {
    let of = |line: &Line| {
        let function = profile.function(line.function);
        let texts = [function.name, function.system_name, function.file];
        texts
            .map(|text| TEXT_BYTES + text.len())
            .iter()
            .sum::<usize>()
    };
    lines.iter().map(of).sum()
}

/// Of a text beside its bytes: two counts, and what points to it in a tree that is two thirds
/// full.
const TEXT_BYTES: usize = 2 * size_of::<usize>() + 3 * size_of::<Arc<str>>() / 2;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    /// A profile of so many places in one file, which all have a name.
    fn named(file: &str, build_id: &str, count: u64) -> (Profile, MappingId, Vec<LocationId>) {
        let mut profile = Profile::new(&[("heap", "count")]);
        let id = profile.add_mapping(Mapping {
            start: 0x1000,
            limit: 0x1000 + count,
            file,
            build_id,
            ..Mapping::default()
        });
        let function = profile.add_function(Function {
            name: "name",
            ..Function::default()
        });
        let line = Line {
            function,
            line: 0,
            column: 0,
        };
        let add = |at| {
            let location = profile.add_location(0x1000 + at, Some(id));
            profile.set_lines(location, &[line]);
            location
        };
        let places = (0..count).map(add).collect();
        (profile, id, places)
    }

    fn room(known: &Known) -> usize {
        let rooms = known.files.iter().map(|file| file.places.capacity());
        rooms.sum()
    }

    #[test]
    fn more_places_than_are_kept_take_no_room_either() {
        let most_bytes = 10_000;
        let mut known = Known::new(most_bytes);
        let (mut profile, id, places) = named("/program", "ab", 10_000);
        known.begin();
        let left = known.fill(Depth::Name, &mut profile, id, &places);
        known.learn(Depth::Name, &profile, id, left);
        let left = known.fill(Depth::Name, &mut profile, id, &places);
        let kept = places.len() - left.locations.len();
        assert!(kept > 50 && known.bytes() <= most_bytes);
        assert!(room(&known) <= 2 * kept, "{} for {kept}", room(&known));
    }

    #[test]
    fn file_for_which_there_is_no_room_is_not_on_the_list() {
        let mut known = Known::new(1);
        let (mut profile, id, places) = named("/program", "ab", 10);
        known.begin();
        let left = known.fill(Depth::Name, &mut profile, id, &places);
        known.learn(Depth::Name, &profile, id, left);
        assert!(known.files.is_empty());
    }

    #[test]
    fn file_that_comes_in_anothers_place_is_not_known_by_what_that_one_said() {
        let name = format!("everprof-known-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, "one").unwrap();
        let mut known = Known::new(10_000);
        let (mut profile, id, places) = named(path.to_str().unwrap(), "", 1);
        known.begin();
        let left = known.fill(Depth::Name, &mut profile, id, &places);
        // It was opened, and read, as it was.
        fs::write(&path, "another").unwrap();
        known.learn(Depth::Name, &profile, id, left);
        let left = known.fill(Depth::Name, &mut profile, id, &places);
        fs::remove_file(&path).unwrap();
        assert_eq!(left.locations, places);
    }
}
