//! What a profile is asked with and answers with: ids, and views that borrow from it.
//!
//! Context: cold.
//! Invariant: an id is the part's number in the encoded profile, 1..n; it means
//! something only to the profile that gave it out (and its clones).

use std::iter::FusedIterator;
use std::num::NonZeroU32;

use crate::pool::Pool;
use crate::wire::{self, Reader, Value};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroU32);

        impl $name {
            /// The number in the encoded profile, from 1.
            pub fn get(self) -> u32 {
                self.0.get()
            }

            /// The place in a table of all of them, from 0.
            pub fn index(self) -> usize {
                self.0.get() as usize - 1
            }

            pub(crate) fn from_index(index: usize) -> $name {
                u32::try_from(index + 1)
                    .ok()
                    .and_then(NonZeroU32::new)
                    .map($name)
                    .expect("a profile has fewer than 2^32 parts of a kind")
            }
        }
    )*};
}

ids! {
    /// Names a mapping of one profile.
    MappingId;
    /// Names a location of one profile.
    LocationId;
    /// Names a function of one profile.
    FunctionId;
    /// Names a stack of one profile. Equal stacks have equal ids.
    StackId;
    /// Names a set of labels of one profile. Equal sets have equal ids.
    LabelSetId;
}

/// A kind of value and its unit, such as `inuse_space` in `bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ValueType<'a> {
    /// What is measured.
    pub kind: &'a str,
    /// In which unit.
    pub unit: &'a str,
}

/// An address range of the recorded process that shows a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mapping<'a> {
    /// First address.
    pub start: u64,
    /// First address after the range.
    pub limit: u64,
    /// Where in the file the range starts, in bytes.
    pub offset: u64,
    /// Path of the file, or a name in brackets such as `[vdso]`; empty if there is none.
    pub file: &'a str,
    /// The file's build id in lower-case hexadecimal; empty if not known.
    pub build_id: &'a str,
    /// Every location of the mapping has its function names.
    pub has_functions: bool,
    /// Every location of the mapping has its file names.
    pub has_filenames: bool,
    /// Every location of the mapping has its line numbers.
    pub has_line_numbers: bool,
    /// Every location of the mapping has its inlined functions.
    pub has_inline_frames: bool,
}

/// A function, as named by a symbol table or by debug information.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Function<'a> {
    /// Name for people.
    pub name: &'a str,
    /// Name for the linker, mangled.
    pub system_name: &'a str,
    /// Source file; empty if not known.
    pub file: &'a str,
    /// Line of the file on which the function starts; 0 if not known.
    pub start_line: i64,
}

/// One frame at a location: a function, and where in its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// The function.
    pub function: FunctionId,
    /// Line of the function's file; 0 if not known.
    pub line: i64,
    /// Column of the line; 0 if not known.
    pub column: i64,
}

/// An address within a mapping, and the frames that stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// The address in the recorded process; 0 if not known.
    pub address: u64,
    /// The mapping that the address lies in.
    pub mapping: Option<MappingId>,
    /// Frames, innermost first: the last one called those before it, which were inlined.
    /// Empty when the address has not been named.
    pub lines: &'a [Line],
    /// Several functions of equal code share this address, so the name may be another's.
    pub is_folded: bool,
}

/// A label of a sample: a key with a string or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Label<'a> {
    /// The key.
    pub key: &'a str,
    /// The value.
    pub value: LabelValue<'a>,
}

impl<'a> Label<'a> {
    /// A label with a string. An empty string is the same as no label.
    pub fn string(key: &'a str, value: &'a str) -> Label<'a> {
        Label {
            key,
            value: LabelValue::String(value),
        }
    }

    /// A label with a number and its unit, which may be empty.
    pub fn number(key: &'a str, value: i64, unit: &'a str) -> Label<'a> {
        Label {
            key,
            value: LabelValue::Number { value, unit },
        }
    }
}

/// What a label says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LabelValue<'a> {
    /// Text.
    String(&'a str),
    /// A number.
    Number {
        /// The number.
        value: i64,
        /// Its unit; when empty, readers take `bytes` for the keys `bytes`, `request`
        /// and `alignment`, and the key itself for others.
        unit: &'a str,
    },
}

/// One stack with its values and labels.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    pub(super) stacks: &'a Pool,
    pub(super) label_sets: &'a Pool,
    pub(super) strings: &'a Pool,
    pub(super) stack: StackId,
    pub(super) labels: LabelSetId,
    pub(super) values: &'a [i64],
}

impl<'a> Sample<'a> {
    /// One value for each sample type of the profile.
    pub fn values(&self) -> &'a [i64] {
        self.values
    }

    /// The locations, leaf first.
    pub fn stack(&self) -> Stack<'a> {
        Stack::new(self.stacks.get(self.stack.get() - 1))
    }

    /// The stack's id, by which samples of one stack can be found together.
    pub fn stack_id(&self) -> StackId {
        self.stack
    }

    /// The labels, in the order of their keys.
    pub fn labels(&self) -> Labels<'a> {
        Labels {
            bytes: Reader::new(self.label_sets.get(self.labels.get() - 1)),
            strings: self.strings,
        }
    }

    /// The id of the set of labels, by which samples of equal labels can be found together.
    pub fn label_set_id(&self) -> LabelSetId {
        self.labels
    }

    /// The number under a key, such as `bytes` of a heap profile's samples.
    pub fn number_label(&self, key: &str) -> Option<i64> {
        self.labels().find_map(|label| match label.value {
            LabelValue::Number { value, .. } if label.key == key => Some(value),
            _ => None,
        })
    }

    /// The string under a key.
    pub fn string_label(&self, key: &str) -> Option<&'a str> {
        self.labels().find_map(|label| match label.value {
            LabelValue::String(value) if label.key == key => Some(value),
            _ => None,
        })
    }
}

/// The locations of a stack, leaf first.
#[derive(Clone, Debug)]
pub struct Stack<'a> {
    ids: Reader<'a>,
}

impl<'a> Stack<'a> {
    /// `packed` is what `Profile` keeps of a stack: the ids as packed varints.
    pub(crate) fn new(packed: &'a [u8]) -> Stack<'a> {
        Stack {
            ids: Reader::new(packed),
        }
    }

    /// How many locations are left.
    pub fn depth(&self) -> usize {
        self.clone().count()
    }
}

impl Iterator for Stack<'_> {
    type Item = LocationId;

    fn next(&mut self) -> Option<LocationId> {
        let id = self.ids.varint().ok()?;
        Some(LocationId::from_index(id as usize - 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // An id takes 1 to 5 bytes.
        let bytes = self.ids.remaining();
        (bytes.div_ceil(5), Some(bytes))
    }
}

impl FusedIterator for Stack<'_> {}

/// The labels of a sample, in the order of their keys.
#[derive(Clone, Debug)]
pub struct Labels<'a> {
    bytes: Reader<'a>,
    strings: &'a Pool,
}

impl<'a> Iterator for Labels<'a> {
    type Item = Label<'a>;

    fn next(&mut self) -> Option<Label<'a>> {
        let Ok((_, Value::Bytes(message))) = self.bytes.field() else {
            return None;
        };
        let [mut key, mut string, mut number, mut unit] = [0; 4];
        let mut fields = Reader::new(message);
        while let Ok((field, Value::Int(value))) = fields.field() {
            match field {
                LABEL_KEY => key = value,
                LABEL_STRING => string = value,
                LABEL_NUMBER => number = value,
                _ => unit = value,
            }
        }
        let text = |number: u64| text(self.strings, number as u32);
        Some(Label {
            key: text(key),
            value: match string {
                0 => LabelValue::Number {
                    value: number as i64,
                    unit: text(unit),
                },
                string => LabelValue::String(text(string)),
            },
        })
    }
}

impl FusedIterator for Labels<'_> {}

/// Appends a label as it stands in the encoded sample. Its strings go through `intern`.
pub(super) fn put_label(out: &mut Vec<u8>, label: &Label<'_>, mut intern: impl FnMut(&str) -> u32) {
    let mut message = Vec::with_capacity(24);
    wire::put_uint(&mut message, LABEL_KEY, intern(label.key).into());
    match label.value {
        LabelValue::String(value) => {
            wire::put_uint(&mut message, LABEL_STRING, intern(value).into());
        }
        LabelValue::Number { value, unit } => {
            wire::put_uint(&mut message, LABEL_NUMBER, value as u64);
            wire::put_uint(&mut message, LABEL_UNIT, intern(unit).into());
        }
    }
    wire::put_bytes(out, SAMPLE_LABEL, &message);
}

/// String `number` of a pool that only strings were put into.
pub(super) fn text(strings: &Pool, number: u32) -> &str {
    std::str::from_utf8(strings.get(number)).expect("only `str`s are put into the pool of strings")
}

const SAMPLE_LABEL: u64 = 3;
const LABEL_KEY: u64 = 1;
const LABEL_STRING: u64 = 2;
const LABEL_NUMBER: u64 = 3;
const LABEL_UNIT: u64 = 4;
