//! The layers of the library: code uses only the layers below it, and no two files use each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex::Regex;

/// The folders and files of the library, from the top layer down. Each uses only those after it.
const FLOORS: &[&str] = &[
    "session",
    "continuous",
    "planning",
    "functions",
    "dml",
    "catalog",
    "table",
    "sink",
    "source",
    "client",
    "embedded",
    "definition",
    "extensions",
    "options",
    "error",
    "sql_type",
    "json",
];

/// The sources of the workspace's crates. No two files of a crate use each other.
const CRATES: &[&str] = &[
    "src",
    "cli/src",
    "crates/arrow-json-codec/src",
    "crates/rdkafka-extra/src",
    "crates/test-broker/src",
];

/// The source text of each module, by path below `crate::`.
type Modules = BTreeMap<String, String>;

/// The modules that each module names.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn read(folder: &Path, path: &str, modules: &mut Modules) {
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let below = match (path, stem.as_str()) {
            (path, "mod") => path.to_owned(),
            ("", stem) => stem.to_owned(),
            (path, stem) => format!("{path}::{stem}"),
        };
        if stem == "tests" {
            continue;
        }
        if file.is_dir() {
            read(&file, &below, modules);
        } else if file.extension().is_some_and(|extension| extension == "rs") {
            modules.insert(below, fs::read_to_string(&file).unwrap());
        }
    }
}

fn modules(source: &str) -> Modules {
    let mut modules = Modules::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    read(&folder, "", &mut modules);
    // These files name every module in order to declare or export it.
    modules.retain(|name, _| !matches!(name.as_str(), "lib" | "main"));
    assert!(modules.len() > 5, "{}", folder.display());
    modules
}

fn imports(modules: &Modules) -> Imports {
    let comment = Regex::new(r"//[^\n]*").unwrap();
    let tests = Regex::new(r"(?m)^#\[cfg\(test\)\]\n(?:#\[[^\n]*\n)*mod \w+ \{").unwrap();
    let used = Regex::new(r"\buse\s+((?:crate|super|self)\b[^;]*);").unwrap();
    let named = Regex::new(r"\b((?:crate|super)(?:::\w+)+)").unwrap();
    let mut imports = Imports::new();
    for (module, text) in modules {
        // Tests come last in a file, and may use everything.
        let text = tests.split(text).next().unwrap();
        let text = comment.replace_all(text, "");
        let mut paths = Vec::new();
        for tree in used.captures_iter(&text) {
            expand("", &tree[1], &mut paths);
        }
        let rest = used.replace_all(&text, "");
        paths.extend(named.captures_iter(&rest).map(|path| path[1].to_owned()));
        let found = paths
            .iter()
            .filter_map(|path| resolve(module, path, modules));
        let found = found.filter(|found| found != module).collect();
        imports.insert(module.clone(), found);
    }
    imports
}

/// The paths of a `use` with braces.
fn expand(before: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        paths.push(format!("{before}{}", tree.trim()));
        return;
    };
    let before = format!("{before}{}", head.trim());
    let rest = rest.trim_end().strip_suffix('}').unwrap();
    let (mut depth, mut start) = (0, 0);
    for (at, byte) in rest.bytes().chain([b',']).enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                let part = &rest[start..at];
                if !part.trim().is_empty() {
                    expand(&before, part, paths);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// The module that a path in this module refers to.
fn resolve(module: &str, path: &str, modules: &Modules) -> Option<String> {
    let mut place: Vec<&str> = module.split("::").collect();
    let mut parts = path.split("::").map(str::trim).peekable();
    match parts.next()? {
        "crate" => place.clear(),
        "super" => drop(place.pop()),
        _ => {}
    }
    while parts.next_if_eq(&"super").is_some() {
        place.pop();
    }
    place.extend(parts);
    (1..=place.len())
        .rev()
        .map(|length| place[..length].join("::"))
        .find(|name| modules.contains_key(name))
}

/// A cycle of modules, each of which names the next, starting and ending with the same module.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    fn walk<'a>(
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
        imports: &'a Imports,
    ) -> bool {
        let last = *path.last().unwrap();
        for next in imports.get(last).into_iter().flatten() {
            if let Some(first) = path.iter().position(|module| module == next) {
                path.drain(..first);
                path.push(next);
                return true;
            }
            if !done.contains(next.as_str()) {
                path.push(next);
                if walk(path, done, imports) {
                    return true;
                }
            }
        }
        done.insert(last);
        path.pop();
        false
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|module| {
        let mut path = vec![module.as_str()];
        let found = !done.contains(module.as_str()) && walk(&mut path, &mut done, imports);
        found.then(|| path.into_iter().map(str::to_owned).collect())
    })
}

/// The modules that name a module above them.
fn upward(imports: &Imports, floors: &[&str]) -> Vec<String> {
    let floor = |module: &str| {
        let room = module.split("::").next().unwrap();
        let floor = floors.iter().position(|name| *name == room);
        floor.unwrap_or_else(|| panic!("`{room}` has no floor: name it in FLOORS"))
    };
    let mut found = Vec::new();
    for (module, names) in imports {
        let above = names.iter().filter(|name| floor(name) < floor(module));
        found.extend(above.map(|name| format!("{module} names {name}, which is above it")));
    }
    found
}

#[test]
fn no_two_files_name_each_other() {
    for source in CRATES {
        let circle = circle(&imports(&modules(source)));
        assert_eq!(circle, None, "{source}: a circle");
    }
}

#[test]
fn no_folder_names_one_above_it() {
    let upward = upward(&imports(&modules("src")), FLOORS);
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

#[test]
fn a_circle_and_a_way_up_are_found() {
    let modules = |texts: &[(&str, &str)]| -> Modules {
        let texts = texts.iter();
        texts
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    };
    let found = imports(&modules(&[
        ("high", "use crate::low::{part::{Thing, other}, Low};"),
        ("low", "use self::part::Thing; // use crate::high;"),
        ("low::part", "fn f() { super::super::high::g() }"),
    ]));
    let names = |module: &str| found[module].iter().cloned().collect::<Vec<_>>();
    assert_eq!(names("high"), ["low", "low::part"]);
    assert_eq!(names("low"), ["low::part"]);
    assert_eq!(names("low::part"), ["high"]);
    assert_eq!(
        circle(&found).unwrap(),
        ["high", "low", "low::part", "high"]
    );
    assert_eq!(
        upward(&found, &["high", "low"]),
        ["low::part names high, which is above it"]
    );
    let straight = imports(&modules(&[("high", "use crate::low::Low;"), ("low", "")]));
    assert_eq!(circle(&straight), None);
    assert!(upward(&straight, &["high", "low"]).is_empty());
}
