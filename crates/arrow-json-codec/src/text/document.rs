//! Texts that are JSON as a whole.

use super::scan::Scanner;
use super::value::{Kind, Value};
use crate::error::DecodeError;

/// Scans a payload that is one JSON value of any kind.
pub(crate) fn document(payload: &[u8], lenient: bool) -> Result<Value<'_>, DecodeError> {
    let mut scanner = Scanner::of_document(payload, lenient)?;
    let value = scanner.value()?;
    scanner.end()?;
    Ok(value)
}

/// Whether a payload is the JSON value null, with or without white space around it.
///
/// ```
/// assert!(arrow_json_codec::is_null(b" null "));
/// assert!(!arrow_json_codec::is_null(b"{}"));
/// ```
pub fn is_null(payload: &[u8]) -> bool {
    document(payload, false).is_ok_and(|value| value.kind() == Kind::Null)
}

/// Whether a text is a JSON number and nothing else.
pub(crate) fn is_number(text: &str) -> bool {
    let mut scanner = Scanner::within(text.as_bytes(), 0, 0, false);
    scanner.number().is_ok() && scanner.position() == text.len()
}

/// Whether a text is JSON, or what lenient readers take for it.
pub(crate) fn is_json(text: &str) -> bool {
    // The first character decides for most text.
    let may_be = |byte: &u8| byte.is_ascii_digit() || b"{[\"-tfnNI \t\r\n\xEF".contains(byte);
    text.as_bytes().first().is_some_and(may_be) && document(text.as_bytes(), true).is_ok()
}
