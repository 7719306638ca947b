//! Files of client properties (`kafka.properties.file`).
//!
//! They are read as Java reads them: comments start with `#` or `!`, a backslash
//! at the end of a line continues it, and a backslash elsewhere is an escape, so
//! that one in a password is written `\\`.

use std::str::Chars;
use std::sync::Arc;

use super::client::{ClientOptions, Property, check_servers};
use super::java;
use super::layers::Options;
use super::origin::{CODE, Origin};
use super::property::{self, SERVERS};
use crate::error::{Error, Result};

/// A property in a file.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) value: String,
}

impl Options {
    /// Client properties in librdkafka's or in Java's spelling, such as those of a
    /// command line, as options `kafka.client.<property>`. Those that mean something
    /// to Java only are left out.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for what cannot be said in librdkafka's terms.
    ///
    /// ```
    /// # fn main() -> datafusion_kafka::error::Result<()> {
    /// use datafusion_kafka::Options;
    ///
    /// let java = [("fetch.max.wait.ms", "100"), ("max.poll.records", "10")];
    /// let options = Options::from_properties(java)?;
    /// assert_eq!(options, Options::new().set("kafka.client.fetch.wait.max.ms", "100"));
    /// # Ok(()) }
    /// ```
    pub fn from_properties<'a>(
        properties: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Options> {
        let lines = properties.into_iter().enumerate();
        let lines = lines.map(|(index, (name, value))| Line {
            number: index + 1,
            name: name.to_owned(),
            value: value.to_owned(),
        });
        let lines = java::translate(lines.collect()).map_err(|refused| Error::InvalidOption {
            key: refused.line.name,
            reason: refused.reason,
        })?;
        let options = lines.into_iter();
        Ok(options
            .map(|line| (format!("kafka.client.{}", line.name), line.value))
            .collect())
    }
}

/// The properties in the file at `path`, which the option `key` names as `given`.
///
/// # Errors
/// What makes librdkafka run commands or load code, where a statement names the file:
/// SQL can also write one.
pub(super) fn read(key: &str, given: &str, path: &str, origin: Origin) -> Result<ClientOptions> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::ReadFile {
        key: key.to_owned(),
        path: given.into(),
        source: Arc::new(source),
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let place = |line: &Line| format!("{given}:{} {}", line.number, line.name);
    let lines = split(text).map_err(|number| Error::InvalidOption {
        key: format!("{given}:{number}"),
        reason: "malformed \\u escape".to_owned(),
    })?;
    let lines = java::translate(lines).map_err(|refused| Error::InvalidOption {
        key: place(&refused.line),
        reason: refused.reason,
    })?;
    let mut client = ClientOptions::default();
    for line in lines {
        // The file may be shared with programs that choose these for themselves.
        if property::owned(&line.name, &line.value).is_some() {
            continue;
        }
        let name = property::canonical(&line.name);
        let property = Property {
            key: place(&line),
            safe: property::is_safe(name),
            value: line.value,
            origin: Origin::Program,
        };
        if origin != Origin::Program && property::runs_code(name) {
            return Err(property.invalid(CODE));
        }
        if name == SERVERS {
            check_servers(&property)?;
        }
        if !property.check(name)? {
            return Err(unknown(given, line.number, &line.name));
        }
        client.put(property::side(name), name, property);
    }
    Ok(client.with_servers_of_file())
}

fn unknown(given: &str, number: usize, name: &str) -> Error {
    // A line without a name may be part of a secret that was split.
    let is_name = name.contains('.')
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
    let place = format!("{given}:{number}");
    Error::UnknownOption {
        key: if is_name {
            format!("{place} {name}")
        } else {
            place
        },
        hint: "; the line sets no property of librdkafka or of Kafka's Java client".to_owned(),
    }
}

/// The `key=value` lines of a file; the error is the number of a malformed one.
pub(super) fn split(text: &str) -> Result<Vec<Line>, usize> {
    let mut lines = Vec::new();
    let mut physical = text.lines().enumerate();
    while let Some((index, line)) = physical.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while continues(&logical) {
            logical.pop();
            match physical.next() {
                Some((_, next)) => logical.push_str(next.trim_start()),
                None => break,
            }
        }
        let number = index + 1;
        let (name, value) = split_line(&logical);
        lines.push(Line {
            number,
            name: unescape(name).ok_or(number)?,
            value: unescape(value.trim_end()).ok_or(number)?,
        });
    }
    Ok(lines)
}

/// Whether a line ends with a backslash that is not itself escaped.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

/// Splits at the first `=`, `:` or space that is not escaped.
fn split_line(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == '=' || c == ':' || c.is_whitespace() {
            let (name, rest) = line.split_at(at);
            let rest = rest.trim_start();
            let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            return (name, rest.trim_start());
        }
    }
    (line, "")
}

/// The text without its escapes, as Java reads them.
fn unescape(text: &str) -> Option<String> {
    // UTF-16, since a character may be written as two `\u` escapes.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = if c != '\\' {
            c
        } else {
            match chars.next() {
                None => break,
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    units.push(hex_unit(&mut chars)?);
                    continue;
                }
                Some(other) => other,
            }
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).ok()
}

fn hex_unit(chars: &mut Chars<'_>) -> Option<u16> {
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit * 16 + chars.next()?.to_digit(16)?;
    }
    u16::try_from(unit).ok()
}
