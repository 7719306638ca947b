//! The progress of unbounded reading, which includes records that are not rows.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The read position of each partition.
///
/// Transaction markers and aborted, compacted or skipped records have offsets but never become
/// rows. The read position can therefore be ahead of the offset after the last row. The read
/// position alone does not say which rows were written. This type holds both positions: a writer
/// that has written the last row that was sent may advance to the read position.
#[derive(Debug, Default)]
pub(crate) struct Passed(Mutex<BTreeMap<i32, Reach>>);

/// The positions of one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// The offset at which reading began.
    pub(super) start: i64,
    /// The offset after the last row that was sent; `start` where no row was sent.
    pub(super) rows: i64,
    /// The next offset to read. No record from `rows` up to here is a row.
    pub(super) read: i64,
}

impl Passed {
    /// Records that a partition was read to `reach`, and that all its rows were sent.
    pub(super) fn note(&self, partition: i32, reach: Reach) {
        self.all().insert(partition, reach);
    }

    /// Moves the written positions forward to the read positions, where no row is in between.
    pub(crate) fn advance(&self, written: &mut BTreeMap<i32, i64>) {
        for (partition, reach) in self.all().iter() {
            let position = written.get(partition).copied().unwrap_or(reach.start);
            if position >= reach.rows {
                written.insert(*partition, position.max(reach.read));
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<i32, Reach>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advanced(reach: Reach, written: Option<i64>) -> Option<i64> {
        let passed = Passed::default();
        passed.note(0, reach);
        let mut positions: BTreeMap<i32, i64> =
            written.map(|offset| (0, offset)).into_iter().collect();
        passed.advance(&mut positions);
        positions.get(&0).copied()
    }

    #[test]
    fn what_is_no_row_is_passed_once_all_rows_before_it_are_written() {
        let reach = Reach {
            start: 10,
            rows: 15,
            read: 20,
        };
        assert_eq!(advanced(reach, None), None);
        assert_eq!(advanced(reach, Some(14)), Some(14));
        assert_eq!(advanced(reach, Some(15)), Some(20));
        // A later row was written in the meantime.
        assert_eq!(advanced(reach, Some(22)), Some(22));
    }

    #[test]
    fn without_rows_the_position_is_where_reading_has_come() {
        let reach = Reach {
            start: 10,
            rows: 10,
            read: 12,
        };
        assert_eq!(advanced(reach, None), Some(12));
        assert_eq!(advanced(reach, Some(10)), Some(12));
    }
}
