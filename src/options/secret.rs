//! Decides which values may be shown.

use super::property::{self, HIDDEN};
use super::spec::{self, Kind};

/// Whether the value of an option may be shown.
///
/// True for the library's own options, and for properties that are known to hold no secret. False
/// for all else, so that a property unknown to this library stays hidden.
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

/// The value, or `***` where the value may be secret.
pub(super) fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    // Servers do not take user information, but a user may have typed some.
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

/// Whether a value is exactly one `${env:..}` or `${file:..}`.
fn is_reference(value: &str) -> bool {
    value
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|inner| {
            (inner.starts_with("env:") || inner.starts_with("file:"))
                && !inner.contains(['$', '{', '}'])
        })
}
