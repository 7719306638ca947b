//! The README's table of options is the one in the code.

use std::fmt::Write as _;
use std::path::Path;

use super::super::options;

const START: &str = "<!-- options: written by `UPDATE_README=1 cargo test --lib readme` -->\n";
const END: &str = "<!-- end of options -->";

#[test]
fn readme_lists_every_option_as_the_code_has_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(START).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    let expected = option_table();
    if table == expected {
        return;
    }
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, format!("{before}{START}{expected}{END}{after}")).unwrap();
        return;
    }
    panic!("README.md has another table of options; run UPDATE_README=1 cargo test --lib readme");
}

fn option_table() -> String {
    let mut table = "\n| option | value | default | |\n|---|---|---|---|\n".to_owned();
    for option in options() {
        writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            option.name,
            option.value.replace('|', "\\|"),
            option.default.replace('|', "\\|"),
            option.doc.replace('|', "\\|"),
        )
        .unwrap();
    }
    table.push('\n');
    table
}
