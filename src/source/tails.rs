//! What stands behind the last record of partitions that are read without end.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where reading has come to the end of partitions.
///
/// The marks of transactions, aborted and compacted records have offsets too, but
/// are never rows: who has all rows up to the last record has come to the end.
#[derive(Debug, Default)]
pub(crate) struct Tails(Mutex<BTreeMap<i32, Tail>>);

/// The offsets at the end of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    /// Where reading began.
    pub(super) start: i64,
    /// Behind the last record; `start` where there was none.
    pub(super) records: i64,
    /// The end, as it was when that was looked at.
    pub(super) end: i64,
}

impl Tails {
    /// The end of a partition was met.
    pub(super) fn met(&self, partition: i32, tail: Tail) {
        self.all().insert(partition, tail);
    }

    /// How far a partition is read where all its records up to `position` are;
    /// `None` where none is.
    pub(crate) fn behind(&self, partition: i32, position: Option<i64>) -> Option<i64> {
        let tail = self.all().get(&partition).copied();
        match (tail, position) {
            (Some(tail), None) if tail.records == tail.start => Some(tail.end),
            (Some(tail), Some(position)) if tail.records <= position => {
                Some(position.max(tail.end))
            }
            (_, position) => position,
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<i32, Tail>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
