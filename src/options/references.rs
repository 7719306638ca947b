//! Resolves `${env:NAME}` and `${file:/path}` in the values of options.

use std::path::PathBuf;
use std::sync::Arc;

use super::origin::{ALLOW, Origin};
use crate::error::{Error, Result};

/// The value, with `${env:NAME}` and `${file:/path}` replaced by their targets. An origin that
/// may not use references gets an error.
pub(super) fn resolve(key: &str, value: &str, origin: Origin) -> Result<String> {
    let invalid = |reason: String| Error::InvalidOption {
        key: key.to_owned(),
        reason,
    };
    let mut resolved = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, reference)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            resolved.push_str(before);
            resolved.push_str("${");
            rest = reference;
            continue;
        }
        resolved.push_str(before);
        let Some((reference, after)) = reference.split_once('}') else {
            return Err(invalid(
                "`${` is not closed by `}`; write `$${` for the characters themselves".to_owned(),
            ));
        };
        match reference.split_once(':') {
            Some(("env" | "file", _)) if !origin.may_refer() => {
                return Err(invalid(format!(
                    "statements may not refer to files and environment variables here; {ALLOW}"
                )));
            }
            Some(("env", name)) => match std::env::var(name) {
                Ok(text) => resolved.push_str(&text),
                Err(std::env::VarError::NotPresent) => {
                    return Err(invalid(format!("environment variable `{name}` is not set")));
                }
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(invalid(format!(
                        "environment variable `{name}` is not UTF-8"
                    )));
                }
            },
            Some(("file", path)) => {
                let text = std::fs::read_to_string(path).map_err(|source| Error::ReadFile {
                    key: key.to_owned(),
                    path: PathBuf::from(path),
                    source: Arc::new(source),
                })?;
                let text = text.strip_suffix('\n').unwrap_or(&text);
                resolved.push_str(text.strip_suffix('\r').unwrap_or(text));
            }
            _ => {
                return Err(invalid(
                    "expected `${env:NAME}` or `${file:/path}`; write `$${` for the characters \
                     `${` themselves"
                        .to_owned(),
                ));
            }
        }
        rest = after;
    }
    resolved.push_str(rest);
    Ok(resolved)
}
