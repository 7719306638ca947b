//! Tests that the guide's table of options is the list in the code.

use std::fmt::Write as _;
use std::path::Path;

use super::super::all;

const PAGE: &str = "docs/src/options.md";
const START: &str = "<!-- options: written by `UPDATE_GUIDE=1 cargo test --lib guide` -->\n";
const END: &str = "<!-- end of options -->";

#[test]
fn the_guide_lists_every_option_as_the_code_has_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(START).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    let expected = option_table();
    if table == expected {
        return;
    }
    if std::env::var_os("UPDATE_GUIDE").is_some() {
        std::fs::write(&path, format!("{before}{START}{expected}{END}{after}")).unwrap();
        return;
    }
    panic!("{PAGE} has another table of options; run UPDATE_GUIDE=1 cargo test --lib guide");
}

fn option_table() -> String {
    let mut table = "\n| option | value | default | |\n|---|---|---|---|\n".to_owned();
    for option in all() {
        writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            option.name,
            escaped(option.value),
            escaped(option.default),
            escaped(option.doc),
        )
        .unwrap();
    }
    table.push('\n');
    table
}

/// Escaped as the text of a table cell, so that nothing is taken for a tag.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "\\<")
}
