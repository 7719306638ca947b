//! Options as they were given.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::secret;

/// Options as they were given in one place: an `OPTIONS` clause, the settings of
/// a pattern, or a session.
///
/// Nothing is checked here; [`TableOptions::parse`](super::TableOptions::parse)
/// does that for all places together. Keys are kept in lower case, as
/// DataFusion gives them. [`Debug`](fmt::Debug) hides what may be secret.
///
/// ```
/// use datafusion_kafka::options::Options;
///
/// let options = Options::new()
///     .set("kafka.mode", "append")
///     .set("kafka.client.sasl.password", "hunter2");
/// assert_eq!(
///     format!("{options:?}"),
///     r#"{"kafka.client.sasl.password": "***", "kafka.mode": "append"}"#
/// );
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// No options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an option; a value that it had before is replaced.
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.insert(key.into(), value.into());
        self
    }

    /// The options of an `OPTIONS` clause, as DataFusion hands them over.
    pub fn from_map(options: &HashMap<String, String>) -> Self {
        options
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys and values, secrets included, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Keys and values as they may be shown, in the order of the keys: values
    /// that may be secret as `***`.
    pub fn redacted(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter()
            .map(|(key, value)| (key, secret::shown(key, value)))
    }

    pub(super) fn insert(&mut self, key: String, value: String) {
        self.0.insert(key.to_ascii_lowercase(), value);
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

impl FromIterator<(String, String)> for Options {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(iter: I) -> Self {
        let mut options = Options::new();
        options.extend(iter);
        options
    }
}

impl Extend<(String, String)> for Options {
    fn extend<I: IntoIterator<Item = (String, String)>>(&mut self, iter: I) {
        for (key, value) in iter {
            self.insert(key, value);
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.redacted()).finish()
    }
}
