//! How far partitions are read that have no end, rows or not.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How far each partition is read.
///
/// Marks of transactions and aborted, compacted and skipped records have offsets too,
/// but are never rows. So the offset behind the last row is not how far was read, and
/// how far was read is not yet how far rows were written. This holds both: a writer that
/// has come to the last row that was given out has come as far as was read.
#[derive(Debug, Default)]
pub(crate) struct Passed(Mutex<BTreeMap<i32, Reach>>);

/// How far a partition is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// Where reading began.
    pub(super) start: i64,
    /// Behind the last row that was given out; `start` where there was none.
    pub(super) rows: i64,
    /// The next offset to be read: nothing from `rows` on is a row.
    pub(super) read: i64,
}

impl Passed {
    /// A partition was read so far, and all its rows were given out.
    pub(super) fn note(&self, partition: i32, reach: Reach) {
        self.all().insert(partition, reach);
    }

    /// Moves the positions to which rows were written on to where reading has come,
    /// where no row lies between.
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
        // A later row that was written meanwhile.
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
