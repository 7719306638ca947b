//! Programs that run until they end.

use std::process::{Command, Output, Stdio};

/// Runs a program that is needed to start a broker. An error contains the program's output.
pub(crate) fn run(command: &mut Command, name: &str) -> Result<Output, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{name} is needed to start one: {e}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!(
        "{name} failed: {}",
        String::from_utf8_lossy(&said).trim()
    ))
}
