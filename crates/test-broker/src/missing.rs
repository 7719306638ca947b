//! What a machine lacks: said by a test that is left out, a failure in CI.

use std::env;
use std::io::{self, Write as _};

/// Writes a line to standard error, also from a test that passes: libtest captures what `eprintln!`
/// prints, but not this.
pub fn say(line: &str) {
    // In one write: tests speak at the same time.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

pub(crate) fn in_ci() -> bool {
    env::var("CI").is_ok_and(|ci| ci == "true")
}
