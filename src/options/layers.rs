//! Holds options as they were given, before they are parsed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::origin::Origin;
use super::secret;

/// The options from one source: an `OPTIONS` clause, the settings of a pattern, or a session.
///
/// Nothing is checked until [`validate`](Self::validate) is called, or until a table, a session or
/// a pattern combines the options with options of other sources. Keys are kept in lower case, as
/// DataFusion passes them. [`Debug`](fmt::Debug) hides values that may be secret.
///
/// ```
/// use datafusion_kafka::options::Options;
///
/// let options = Options::new()
///     .with_option("kafka.mode", "append")
///     .with_option("kafka.client.sasl.password", "hunter2");
/// assert_eq!(
///     format!("{options:?}"),
///     r#"{"kafka.client.sasl.password": "***", "kafka.mode": "append"}"#
/// );
/// ```
#[derive(Clone, Default)]
pub struct Options(BTreeMap<String, Given>);

#[derive(Clone)]
struct Given {
    value: String,
    origin: Origin,
}

impl Options {
    /// No options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an option, and replaces an earlier value of the same option.
    pub fn with_option(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.set_by(Origin::Program, key, value)
    }

    /// The options of an `OPTIONS` clause, as DataFusion passes them.
    ///
    /// They count as options of a statement, which may do less than options that a program sets.
    /// See [SQL from others](super#sql-from-others).
    pub fn from_map(options: &HashMap<String, String>) -> Self {
        Self::from_clause(options, Origin::Statement)
    }

    /// The options of a clause, with this origin.
    pub(crate) fn from_clause(options: &HashMap<String, String>, origin: Origin) -> Self {
        let mut clause = Options::new();
        for (key, value) in options {
            clause.insert(key, value, origin);
        }
        clause
    }

    /// Sets an option with this origin.
    pub(crate) fn set_by(
        mut self,
        origin: Origin,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        self.insert(key, value, origin);
        self
    }

    /// Adds the options of another source. Each keeps its origin.
    pub(crate) fn merge(&mut self, other: Options) {
        self.0.extend(other.0);
    }

    /// Whether no option is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys and values in the order of the keys, secrets included.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.given().map(|(key, value, _)| (key, value))
    }

    /// Keys, values and their origin, in the order of the keys.
    pub(super) fn given(&self) -> impl Iterator<Item = (&str, &str, Origin)> {
        self.0
            .iter()
            .map(|(key, given)| (key.as_str(), given.value.as_str(), given.origin))
    }

    /// Keys and values in the order of the keys, safe to show: values that may be secret are
    /// `***`.
    pub fn redacted(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter()
            .map(|(key, value)| (key, secret::shown(key, value)))
    }

    fn insert(&mut self, key: impl Into<String>, value: impl Into<String>, origin: Origin) {
        let key = key.into().to_ascii_lowercase();
        let value = value.into();
        self.0.insert(key, Given { value, origin });
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|given| given.value.as_str())
    }
}

/// Options are equal where their keys and values are equal, whatever their origin.
impl PartialEq for Options {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Options {}

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
            self.insert(key, value, Origin::Program);
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.redacted()).finish()
    }
}
