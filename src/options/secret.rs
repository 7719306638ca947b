//! Values that must not be seen.

use std::path::PathBuf;
use std::sync::Arc;

use super::origin::{ALLOW, Origin};
use super::property;
use super::spec::{self, Kind};
use crate::error::{Error, Result};

/// What stands in place of a value that may be secret.
pub(super) const HIDDEN: &str = "***";

/// Whether the value of an option may be shown.
///
/// True for the library's own options and for properties known to hold no
/// secret; false for everything else, so that a property this library has never
/// heard of stays hidden.
///
/// ```
/// use datafusion_kafka::options::is_safe;
///
/// assert!(is_safe("kafka.mode"));
/// assert!(is_safe("kafka.client.security.protocol"));
/// assert!(!is_safe("kafka.client.sasl.password"));
/// assert!(!is_safe("some.other.key"));
/// ```
pub fn is_safe(key: &str) -> bool {
    match spec::find(key) {
        None => false,
        Some((option, rest)) => match option.kind {
            Kind::Property(_) => property::is_safe(rest),
            _ => true,
        },
    }
}

/// The value as it may be shown.
pub(super) fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    // Servers with user information, which nothing here takes, but a person
    // may have typed.
    let login = value.contains('@') && names_servers(key);
    if (is_safe(key) && !login) || is_reference(value) {
        value
    } else {
        HIDDEN
    }
}

pub(super) fn names_servers(key: &str) -> bool {
    spec::find(key).is_some_and(|(option, rest)| match option.kind {
        Kind::Servers => true,
        Kind::Property(_) => property::canonical(rest) == property::SERVERS,
        _ => false,
    })
}

/// Whether a value is nothing but one `${env:..}` or `${file:..}`.
fn is_reference(value: &str) -> bool {
    value
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|inner| {
            (inner.starts_with("env:") || inner.starts_with("file:"))
                && !inner.contains(['$', '{', '}'])
        })
}

/// The value with `${env:NAME}` and `${file:/path}` replaced by what they stand for,
/// where who gave it may refer to them.
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
