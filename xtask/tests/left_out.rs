//! What the checkers do not see: tests that cannot run under one of them are left out by a
//! `cfg`, with the reason beside it, and docs/checkers.md counts them. This reads the sources
//! as each checker's compiler would, and holds the page to it.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use serde_json::Value;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Item, Lit, Meta, Token};

/// What a compiler knows that decides about a `cfg`.
struct World {
    name: &'static str,
    /// Names that hold, and pairs as `name=value`.
    facts: &'static [&'static str],
    /// Features of each package; none: all that it has.
    features: Option<&'static [&'static str]>,
    packages: &'static [&'static str],
    /// Only unit tests.
    only_lib: bool,
}

const ALL: &[&str] = &["everprof-core", "everprof-profile", "everprof"];
const CHECKED: &[&str] = &["everprof-core", "everprof"];

/// `cargo xtask test`, with all features.
const USUAL: World = World {
    name: "usual",
    facts: &["target_env=gnu", "target_arch=x86_64"],
    features: None,
    packages: ALL,
    only_lib: false,
};

/// The chores, in the order of the page's columns.
const CHECKERS: &[World] = &[
    World {
        name: "miri",
        facts: &["miri", "target_env=gnu", "target_arch=x86_64"],
        features: Some(&[]),
        packages: &["everprof-core"],
        only_lib: true,
    },
    World {
        name: "tsan",
        facts: &[
            "everprof_sanitizer=thread",
            "target_env=gnu",
            "target_arch=x86_64",
        ],
        features: Some(&["environment"]),
        packages: CHECKED,
        only_lib: false,
    },
    World {
        name: "asan",
        facts: &[
            "everprof_sanitizer=address",
            "target_env=gnu",
            "target_arch=x86_64",
        ],
        features: Some(&["environment"]),
        packages: CHECKED,
        only_lib: false,
    },
    World {
        name: "aarch64",
        facts: &[
            "everprof_emulated",
            "everprof_no_wipe",
            "target_env=gnu",
            "target_arch=aarch64",
        ],
        features: None,
        packages: ALL,
        only_lib: false,
    },
    World {
        name: "musl",
        facts: &[
            "target_env=musl",
            "target_arch=x86_64",
            "target_feature=crt-static",
        ],
        features: Some(&["environment", "interpose", "axum", "tokio"]),
        packages: ALL,
        only_lib: false,
    },
];

/// What holds in all of them.
const FACTS: &[&str] = &[
    "unix",
    "test",
    "debug_assertions",
    "panic=unwind",
    "target_os=linux",
    "target_family=unix",
    "target_pointer_width=64",
    "target_has_atomic=64",
    "target_endian=little",
];

const BEGIN: &str = "<!-- what each leaves out: written by xtask/tests/left_out.rs -->\n";
const END: &str = "<!-- end -->\n";

#[test]
fn page_counts_what_each_checker_leaves_out() {
    let table = table();
    let path = root().join("docs/checkers.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    if std::env::var_os("EVERPROF_WRITE").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert!(
            written == table,
            "the page says otherwise; run this with EVERPROF_WRITE=1. It is:\n{table}"
        );
    }
}

#[test]
fn cfgs_are_decided_as_a_compiler_does() {
    let world = &CHECKERS[1];
    let decides = |text: &str| {
        let item: Item = syn::parse_str(&format!("{text} struct S;")).unwrap();
        holds(
            attributes(&item),
            &Asked {
                world,
                features: BTreeSet::new(),
            },
        )
    };
    assert!(decides("#[cfg(all(target_os = \"linux\", not(miri)))]"));
    assert!(!decides("#[cfg(not(everprof_sanitizer = \"thread\"))]"));
    assert!(decides("#[cfg(not(everprof_sanitizer = \"address\"))]"));
    assert!(decides("#[cfg(any(miri, unix))]"));
}

/// The rows: file by file, how many of its tests each checker leaves out, and the sums.
fn table() -> String {
    let (packages, mut sources) = (packages(), Sources::default());
    let usual = tests(&USUAL, &packages, &mut sources);
    let seen = CHECKERS.iter();
    let seen: Vec<BTreeSet<Test>> = seen
        .map(|world| tests(world, &packages, &mut sources))
        .collect();
    let mut rows: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (column, (world, seen)) in CHECKERS.iter().zip(&seen).enumerate() {
        let wanted = usual.iter().filter(|test| is_of(test, world));
        for test in wanted.filter(|test| !seen.contains(*test)) {
            rows.entry(&test.file)
                .or_insert_with(|| vec![0; CHECKERS.len()])[column] += 1;
        }
    }
    let mut table = String::from("| |");
    for world in CHECKERS {
        write!(table, " {} |", world.name).unwrap();
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(CHECKERS.len()));
    table.push_str("\n| runs |");
    for seen in &seen {
        write!(table, " {} |", seen.len()).unwrap();
    }
    table.push_str("\n| leaves out |");
    for column in 0..CHECKERS.len() {
        let sum: usize = rows.values().map(|row| row[column]).sum();
        write!(table, " {sum} |").unwrap();
    }
    table.push('\n');
    for (file, row) in rows {
        write!(table, "| `{}` |", file.trim_start_matches("crates/")).unwrap();
        for count in row {
            let count = if count == 0 {
                String::new()
            } else {
                count.to_string()
            };
            write!(table, " {count} |").unwrap();
        }
        table.push('\n');
    }
    table
}

/// Whether the checker is given what the test stands in.
fn is_of(test: &Test, world: &World) -> bool {
    let in_package = |package: &&str| test.file.starts_with(&format!("crates/{package}/"));
    world.packages.iter().any(in_package) && (!world.only_lib || test.is_unit)
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    file: String,
    name: String,
    is_unit: bool,
}

/// A world, and the features that a package has in it.
struct Asked<'w> {
    world: &'w World,
    features: BTreeSet<String>,
}

/// The tests that are built in a world. Those that macros write (properties) are not seen.
fn tests(world: &World, packages: &[Value], sources: &mut Sources) -> BTreeSet<Test> {
    let mut found = BTreeSet::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        if !world.packages.contains(&name) {
            continue;
        }
        let has = package["features"].as_object().unwrap();
        let features = has
            .keys()
            .filter(|feature| *feature != "default")
            .filter(|feature| {
                world
                    .features
                    .is_none_or(|some| some.contains(&feature.as_str()))
            });
        let asked = Asked {
            world,
            features: features.cloned().collect(),
        };
        for target in package["targets"].as_array().unwrap() {
            let kind = target["kind"][0].as_str().unwrap();
            let wanted = target["required-features"].as_array();
            let is_built = wanted
                .into_iter()
                .flatten()
                .all(|feature| asked.features.contains(feature.as_str().unwrap()));
            let is_unit = kind == "lib";
            if !is_built || !(is_unit || kind == "test" && !world.only_lib) {
                continue;
            }
            let file = PathBuf::from(target["src_path"].as_str().unwrap());
            let folder = file.parent().unwrap().to_path_buf();
            let mut walk = Walk {
                asked: &asked,
                is_unit,
                sources,
                found: &mut found,
            };
            walk.file(&file, &folder, "");
        }
    }
    found
}

struct Walk<'a> {
    asked: &'a Asked<'a>,
    is_unit: bool,
    sources: &'a mut Sources,
    found: &'a mut BTreeSet<Test>,
}

/// Files, each read once.
type Sources = BTreeMap<PathBuf, Rc<syn::File>>;

impl Walk<'_> {
    /// A file whose modules are looked for in `folder`.
    fn file(&mut self, file: &Path, folder: &Path, prefix: &str) {
        let parsed = match self.sources.get(file) {
            Some(parsed) => Rc::clone(parsed),
            None => {
                let text = fs::read_to_string(file);
                let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                let parsed = syn::parse_file(&text);
                let parsed = parsed.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
                let parsed = Rc::new(parsed);
                self.sources.insert(file.to_path_buf(), Rc::clone(&parsed));
                parsed
            }
        };
        if holds(&parsed.attrs, self.asked) {
            self.items(&parsed.items, file, folder, prefix);
        }
    }

    fn items(&mut self, items: &[Item], file: &Path, folder: &Path, prefix: &str) {
        for item in items {
            if !holds(attributes(item), self.asked) {
                continue;
            }
            match item {
                Item::Fn(function) if function.attrs.iter().any(|a| a.path().is_ident("test")) => {
                    let file = file.strip_prefix(root()).unwrap().to_str().unwrap();
                    self.found.insert(Test {
                        file: file.to_owned(),
                        name: format!("{prefix}{}", function.sig.ident),
                        is_unit: self.is_unit,
                    });
                }
                Item::Mod(module) => {
                    let name = module.ident.to_string();
                    let inside = format!("{prefix}{name}::");
                    match &module.content {
                        Some((_, items)) => self.items(items, file, &folder.join(&name), &inside),
                        None => self.external(&module.attrs, file, folder, &name, &inside),
                    }
                }
                _ => {}
            }
        }
    }

    fn external(
        &mut self,
        attributes: &[Attribute],
        file: &Path,
        folder: &Path,
        name: &str,
        inside: &str,
    ) {
        if let Some(path) = path_of(attributes, self.asked) {
            let at = file.parent().unwrap().join(path);
            // Modules within stand beside it, as within a `mod.rs`.
            let folder = at.parent().unwrap().to_path_buf();
            return self.file(&at, &folder, inside);
        }
        let beside = folder.join(format!("{name}.rs"));
        let within = folder.join(name).join("mod.rs");
        let at = if beside.exists() { beside } else { within };
        self.file(&at, &folder.join(name), inside);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        _ => &[],
    }
}

/// What `#[path]` says, or a `cfg_attr` whose condition holds.
fn path_of(attributes: &[Attribute], asked: &Asked<'_>) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        if attribute.path().is_ident("path") {
            return text_of(&attribute.meta);
        }
        if !attribute.path().is_ident("cfg_attr") {
            return None;
        }
        let parts = list(&attribute.meta);
        let (condition, rest) = parts.split_first()?;
        let path = rest.iter().find(|meta| meta.path().is_ident("path"))?;
        decide(condition, asked).then(|| text_of(path)).flatten()
    })
}

fn holds(attributes: &[Attribute], asked: &Asked<'_>) -> bool {
    let conditions = attributes.iter().filter(|a| a.path().is_ident("cfg"));
    conditions
        .flat_map(|attribute| list(&attribute.meta))
        .all(|condition| decide(&condition, asked))
}

fn decide(condition: &Meta, asked: &Asked<'_>) -> bool {
    let name = condition.path().get_ident().unwrap().to_string();
    let parts = || list(condition);
    match (condition, name.as_str()) {
        (Meta::List(_), "all") => parts().iter().all(|part| decide(part, asked)),
        (Meta::List(_), "any") => parts().iter().any(|part| decide(part, asked)),
        (Meta::List(_), "not") => !parts().iter().any(|part| decide(part, asked)),
        (Meta::NameValue(_), "feature") => asked.features.contains(&text_of(condition).unwrap()),
        (Meta::NameValue(_), _) => {
            let pair = format!("{name}={}", text_of(condition).unwrap());
            FACTS.contains(&pair.as_str()) || asked.world.facts.contains(&pair.as_str())
        }
        _ => FACTS.contains(&name.as_str()) || asked.world.facts.contains(&name.as_str()),
    }
}

fn list(meta: &Meta) -> Vec<Meta> {
    let list = meta.require_list().unwrap();
    let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    parts.unwrap().into_iter().collect()
}

fn text_of(meta: &Meta) -> Option<String> {
    match &meta.require_name_value().ok()?.value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}
