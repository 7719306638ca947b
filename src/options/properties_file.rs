//! Reads files of client properties (`kafka.properties.file`).
//!
//! The files may be written for librdkafka or for Kafka's Java client.

use std::sync::Arc;

use super::client::{ClientOptions, Property, check_servers};
use super::java;
use super::layers::Options;
use super::origin::{CODE, Origin};
use super::property::{self, SERVERS};
use super::property_lines::{Line, split};
use crate::error::{Error, Result};

impl Options {
    /// Client properties in librdkafka's or Java's spelling, such as those of a command line, as
    /// options `kafka.client.<property>`. Properties that only mean something to Java are left
    /// out.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a property that has no equivalent in librdkafka.
    ///
    /// ```
    /// # fn main() -> datafusion_kafka::error::Result<()> {
    /// use datafusion_kafka::Options;
    ///
    /// let java = [("fetch.max.wait.ms", "100"), ("max.poll.records", "10")];
    /// let options = Options::from_properties(java)?;
    /// assert_eq!(options, Options::new().with_option("kafka.client.fetch.wait.max.ms", "100"));
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
/// A property would make librdkafka run commands or load code, and a statement names the file.
/// SQL could also have written the file.
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
        // The file may be shared with programs that need these properties themselves.
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
    // A line without a name may be part of a secret that spans lines.
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
