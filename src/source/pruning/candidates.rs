//! [`Candidates`]: the records of a partition for which a filter may be true.

use chrono::{DateTime, SecondsFormat};

use crate::options::Mode;
use crate::source::keys::WantedKeys;

/// The records of one partition for which a filter may be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidates {
    pub(crate) offsets: Interval,
    /// Milliseconds since 1970.
    pub(crate) timestamps: Interval,
    /// `None` is every key.
    pub(crate) keys: Option<WantedKeys>,
}

/// From `min` to `max`, both included; empty where `min` > `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) min: i64,
    pub(crate) max: i64,
}

impl Interval {
    pub(crate) const ALL: Interval = Interval {
        min: i64::MIN,
        max: i64::MAX,
    };
    pub(super) const NONE: Interval = Interval { min: 1, max: 0 };

    pub(super) fn is_empty(self) -> bool {
        self.min > self.max
    }
}

impl Candidates {
    pub(crate) const ALL: Candidates = Candidates {
        offsets: Interval::ALL,
        timestamps: Interval::ALL,
        keys: None,
    };

    /// No record: the filter is never true.
    pub(crate) const NONE: Candidates = Candidates {
        offsets: Interval::NONE,
        timestamps: Interval::NONE,
        keys: None,
    };

    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty() || self.timestamps.is_empty()
    }

    /// Describes the pruning in words, for EXPLAIN.
    pub(crate) fn describe(&self, mode: Mode) -> Vec<String> {
        if self.is_empty() {
            return vec!["nothing".to_owned()];
        }
        let mut words = Vec::new();
        let Interval { min, max } = self.offsets;
        if min > 0 {
            words.push(format!("_offset >= {min}"));
        }
        // In upsert mode a newer record hides the older one, whatever its offset.
        if max < i64::MAX && mode == Mode::Append {
            words.push(format!("_offset <= {max}"));
        }
        if self.timestamps.min > 0 {
            let time = DateTime::from_timestamp_millis(self.timestamps.min);
            let millis = || self.timestamps.min.to_string();
            let time = time.map_or_else(millis, |time| {
                time.to_rfc3339_opts(SecondsFormat::Millis, true)
            });
            words.push(format!("_timestamp >= {time}"));
        }
        if let Some(keys) = &self.keys {
            let plural = if keys.len() == 1 { "" } else { "s" };
            words.push(format!("_key in {} value{plural}", keys.len()));
        }
        words
    }

    pub(super) fn and(self, other: Candidates) -> Candidates {
        let both = |one: Interval, other: Interval| Interval {
            min: one.min.max(other.min),
            max: one.max.min(other.max),
        };
        let joined = Candidates {
            offsets: both(self.offsets, other.offsets),
            timestamps: both(self.timestamps, other.timestamps),
            keys: match (self.keys, other.keys) {
                (Some(one), Some(other)) => Some(one.intersection(other)),
                (one, other) => one.or(other),
            },
        };
        let no_key = joined.keys.as_ref().is_some_and(WantedKeys::is_empty);
        if no_key || joined.is_empty() {
            return Candidates::NONE;
        }
        joined
    }

    pub(crate) fn or(self, other: Candidates) -> Candidates {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        let hull = |one: Interval, other: Interval| Interval {
            min: one.min.min(other.min),
            max: one.max.max(other.max),
        };
        Candidates {
            offsets: hull(self.offsets, other.offsets),
            timestamps: hull(self.timestamps, other.timestamps),
            keys: match (self.keys, other.keys) {
                (Some(one), Some(other)) => Some(one.union(other)),
                _ => None,
            },
        }
    }
}
