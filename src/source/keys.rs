//! The keys that a query asks for by name.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::options::KeyFormat;

/// Record keys that a filter can be true for.
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

    /// Whether a record with this key may be asked for.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.raw.contains(key) || (self.format == KeyFormat::Json && has_many_forms(key))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    /// All that are asked for, byte by byte; `None` where a value can be
    /// written in several ways.
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

/// Whether a JSON text is not the only one of its value: escapes, white space,
/// fractions and exponents.
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

/// Which of the wanted keys were met: none of them is looked for any further.
///
/// Of one partition, or of all where a key lives in one partition only.
#[derive(Debug, Default)]
pub(crate) struct MetKeys(Mutex<HashSet<Vec<u8>>>);

impl MetKeys {
    pub(crate) fn add(&self, key: &[u8]) {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.insert(key.to_vec());
    }

    pub(crate) fn contains_all(&self, wanted: &BTreeSet<Vec<u8>>) -> bool {
        let met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.len() >= wanted.len() && wanted.iter().all(|key| met.contains(key))
    }
}
