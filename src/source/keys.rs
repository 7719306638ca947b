//! The keys that a query asks for.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::options::KeyFormat;

/// The record keys for which a filter can be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedKeys {
    raw: Arc<BTreeSet<Vec<u8>>>,
    format: KeyFormat,
}

impl WantedKeys {
    pub(crate) fn new(raw: BTreeSet<Vec<u8>>, format: KeyFormat) -> Self {
        WantedKeys {
            raw: Arc::new(raw),
            format,
        }
    }

    /// Whether the query may ask for a record with this key.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.raw.contains(key) || (self.format == KeyFormat::Json && has_many_forms(key))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    /// All wanted keys, as bytes. `None` for JSON, where one value can be written in several
    /// ways.
    pub(crate) fn all(&self) -> Option<&BTreeSet<Vec<u8>>> {
        (self.format != KeyFormat::Json).then_some(&self.raw)
    }

    pub(super) fn intersection(self, other: Self) -> Self {
        WantedKeys::new(
            self.raw.intersection(&other.raw).cloned().collect(),
            self.format,
        )
    }

    pub(super) fn union(mut self, mut other: Self) -> Self {
        Arc::make_mut(&mut self.raw).append(Arc::make_mut(&mut other.raw));
        self
    }
}

/// Whether a JSON value can also be written in another way: with escapes, white space, fractions
/// or exponents.
fn has_many_forms(key: &[u8]) -> bool {
    let is_integer = match key {
        [b'0'] => true,
        [b'-', b'1'..=b'9', rest @ ..] | [b'1'..=b'9', rest @ ..] => {
            rest.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    let is_plain_string = matches!(key, [b'"', text @ .., b'"'] if !text.contains(&b'\\'));
    !is_integer && !is_plain_string
}

/// The wanted keys that were found. Once all are found, reading can stop.
///
/// Each partition has a set of its own, unless a key is in one partition only. Then all
/// partitions share one set.
#[derive(Debug, Default)]
pub(crate) struct FoundKeys(Mutex<HashSet<Vec<u8>>>);

impl FoundKeys {
    pub(crate) fn add(&self, key: &[u8]) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert(key.to_vec());
    }

    pub(crate) fn contains_all(&self, wanted: &BTreeSet<Vec<u8>>) -> bool {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.len() >= wanted.len() && wanted.iter().all(|key| found.contains(key))
    }
}
