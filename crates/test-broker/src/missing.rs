//! Missing parts of a test's environment: a test is skipped with a note, and fails in CI.

use std::env;
use std::io::{self, Write as _};

/// Writes a line to standard error, even from a test that passes. libtest captures the output of
/// `eprintln!`, but not this output.
pub fn say(line: &str) {
    // A single write, because several tests may write at the same time.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

pub(crate) fn in_ci() -> bool {
    env::var("CI").is_ok_and(|ci| ci == "true")
}
