//! Checks that a statement changes every key at most once.

use datafusion::error::Result as DataFusionResult;
use datafusion::execution::memory_pool::MemoryReservation;

use crate::error::{Error, Result, no_room};
use crate::sink::encode_row::EncodedRecord;
use crate::source::deduplicate::SeenKeys;

/// The keys that the rows of a statement change.
#[derive(Default)]
pub(crate) struct ChangedKeys {
    written: SeenKeys,
    deleted: SeenKeys,
    /// Partition and key of the tombstones. One key may be in two partitions, each of which
    /// then gets a tombstone.
    deleted_places: SeenKeys,
}

impl ChangedKeys {
    /// Adds the key of a row. `row` is the row of the statement's query or source that the
    /// record was made from.
    ///
    /// # Errors
    /// [`Error::DuplicateKey`] if another row changes the same key.
    pub(crate) fn add(
        &mut self,
        topic: &str,
        row: Option<u64>,
        record: &EncodedRecord,
    ) -> Result<()> {
        let key = record.key.as_slice();
        let is_new = if record.tombstone && record.partition.is_some() {
            let partition = record.partition.unwrap_or_default().to_be_bytes();
            let place = [&partition, key].concat();
            self.deleted.insert(key);
            !self.written.contains(key) && self.deleted_places.insert(&place)
        } else {
            self.written.insert(key) && !self.deleted.contains(key)
        };
        if is_new {
            return Ok(());
        }
        Err(Error::DuplicateKey {
            topic: topic.to_owned(),
            row,
        })
    }

    fn allocated_bytes(&self) -> usize {
        let sets = [&self.written, &self.deleted, &self.deleted_places];
        sets.into_iter().map(SeenKeys::allocated_bytes).sum()
    }
}

/// Records that are sent only after the keys of all rows have been checked.
///
/// Only writes without a transaction need this. A transaction that meets a duplicate key is
/// aborted; without one, the records before the duplicate would already be in the topic.
pub(crate) struct PendingRecords {
    topic: String,
    records: Vec<(u64, EncodedRecord)>,
    bytes: usize,
    memory: MemoryReservation,
}

impl PendingRecords {
    pub(crate) fn new(topic: &str, memory: MemoryReservation) -> Self {
        PendingRecords {
            topic: topic.to_owned(),
            records: Vec::new(),
            bytes: 0,
            memory,
        }
    }

    pub(crate) fn push(&mut self, row: u64, record: EncodedRecord) {
        self.bytes += record.allocated_bytes();
        self.records.push((row, record));
    }

    /// Reserves the memory that the records and the keys use now.
    ///
    /// # Errors
    /// The memory pool has no room.
    pub(crate) fn reserve(&self, keys: &ChangedKeys) -> DataFusionResult<()> {
        self.reserve_with(keys.allocated_bytes())
    }

    /// Reserves the memory that the records use now, plus `bytes`.
    pub(crate) fn reserve_with(&self, bytes: usize) -> DataFusionResult<()> {
        let list = self.records.capacity() * size_of::<(u64, EncodedRecord)>();
        self.memory
            .try_resize(self.bytes + list + bytes)
            .map_err(|error| {
                log::debug!("topic `{}`: {error}", self.topic);
                let place = format_args!("topic `{}`", self.topic);
                match self.records.len() {
                    0 => no_room(place, "the keys that the statement changes"),
                    records => no_room(
                        place,
                        format_args!(
                            "{records} records, which wait until the keys of all rows are checked \
                             (`kafka.delivery` = `exactly_once` keeps only the keys)"
                        ),
                    ),
                }
            })
    }

    pub(crate) fn take(&mut self) -> Vec<(u64, EncodedRecord)> {
        self.bytes = 0;
        std::mem::take(&mut self.records)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};

    use super::*;

    #[test]
    fn records_and_keys_that_have_no_room_are_errors_that_say_what_to_raise() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1_000));
        let memory = MemoryConsumer::new("test").register(&pool);
        let mut pending = PendingRecords::new("t", memory);
        let record = EncodedRecord {
            key: vec![b'k'; 5_000],
            ..EncodedRecord::default()
        };
        let mut keys = ChangedKeys::default();
        keys.add("t", None, &record).unwrap();
        let raise = "raise its limit (`datafusion.runtime.memory_limit`, `--memory-limit`";
        let error = pending.reserve(&keys).unwrap_err().to_string();
        let expected = "topic `t`: the memory pool has no room for the keys that the statement";
        assert!(error.contains(expected) && error.contains(raise), "{error}");
        pending.push(0, record);
        let error = pending.reserve(&ChangedKeys::default()).unwrap_err();
        let error = error.to_string();
        let expected = "1 records, which wait until the keys of all rows are checked \
                        (`kafka.delivery` = `exactly_once` keeps only the keys)";
        assert!(error.contains(expected) && error.contains(raise), "{error}");
    }
}
