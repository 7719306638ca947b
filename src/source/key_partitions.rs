//! The partition of every key of a topic, to detect keys that are in two partitions.
//!
//! The keys are compared while they are read. Where they have no room in memory, all of them go to
//! disk instead, divided by hash, and are compared after the last record was read.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use datafusion::error::Result as DataFusionResult;
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};
use foldhash::fast::RandomState;
use rdkafka_extra::{Record, VisitHeader};

use crate::error::{Error, no_room};
use crate::source::fetch::Chunk;
use crate::source::rows::RecordParts;
use crate::source::spill::{Disk, Spill};

/// The partition of every key of a topic.
pub(crate) struct KeyPartitions {
    places: Mutex<Places>,
    /// How many groups of partitions are still to be read.
    reading: AtomicUsize,
}

struct Places {
    topic: String,
    known: HashMap<Vec<u8>, Place, RandomState>,
    hasher: RandomState,
    /// How many upper bits the hashes of all keys have in common.
    equal_bits: u32,
    memory: MemoryReservation,
    /// The most bytes of memory, so that the rest of the query has room.
    limit: usize,
    disk: Option<Disk>,
    spill: Option<Spill>,
}

/// The position of the latest record of a key in a partition.
#[derive(Debug, Clone, Copy)]
struct Place {
    partition: i32,
    offset: i64,
}

/// The part of the memory pool that the keys may take if there is a disk.
const POOL_PART: usize = 4;
/// The least memory for which the buffers of a spill are made.
const LEAST_MEMORY: usize = 512 * 1024;

impl KeyPartitions {
    /// Compares the keys of `groups` groups of partitions.
    pub(crate) fn new(
        topic: &str,
        groups: usize,
        memory: MemoryReservation,
        pool: &dyn MemoryPool,
        disk: Option<Disk>,
    ) -> Self {
        let limit = match pool.memory_limit() {
            MemoryLimit::Finite(bytes) if disk.is_some() => bytes / POOL_PART,
            _ => usize::MAX,
        };
        KeyPartitions {
            places: Mutex::new(Places {
                topic: topic.to_owned(),
                known: HashMap::default(),
                hasher: RandomState::default(),
                equal_bits: 0,
                memory,
                limit,
                disk,
                spill: None,
            }),
            reading: AtomicUsize::new(groups),
        }
    }

    /// Records the position of the latest record of a key in a partition.
    ///
    /// # Errors
    /// [`Error::KeyInTwoPartitions`]
    pub(crate) fn check(&self, key: &[u8], partition: i32, offset: i64) -> DataFusionResult<()> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.add(key, Place { partition, offset })
    }

    /// Notes that a group was read. After the last group, the keys on disk are compared.
    ///
    /// # Errors
    /// [`Error::KeyInTwoPartitions`]
    ///
    /// # Cancellation
    /// The comparison stops soon after `is_wanted` became false.
    pub(crate) fn group_ended(&self, is_wanted: impl Fn() -> bool) -> DataFusionResult<()> {
        if self.reading.fetch_sub(1, Ordering::AcqRel) != 1 {
            return Ok(());
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.compare_spilled(is_wanted)
    }
}

impl Places {
    fn add(&mut self, key: &[u8], place: Place) -> DataFusionResult<()> {
        if self.spill.is_none() {
            if let Some(known) = self.known.get(key) {
                return match known.partition == place.partition {
                    true => Ok(()),
                    false => Err(self.error(*known, place).into()),
                };
            }
            // Counts a map entry twice, since a growing map also holds its old table.
            let bytes = key.len() + 2 * size_of::<(Vec<u8>, Place)>();
            let fits = self.memory.size() + bytes <= self.limit;
            if fits && self.memory.try_grow(bytes).is_ok() {
                self.known.insert(key.to_vec(), place);
                return Ok(());
            }
            self.start_spill()?;
        }
        match &mut self.spill {
            Some(spill) => spill.append(&Placed::new(key, place), hash(&self.hasher, key)),
            None => Ok(()),
        }
    }

    /// Moves all keys to disk, which makes room for the buffers.
    fn start_spill(&mut self) -> DataFusionResult<()> {
        let keys = self.known.len();
        let held = self.memory.size().max(LEAST_MEMORY);
        self.memory.try_resize(0)?;
        let parts = RecordParts {
            payload: true,
            timestamp: false,
            headers: false,
        };
        let spill = match &self.disk {
            Some(disk) if self.equal_bits < u32::BITS => {
                disk.start(parts, self.equal_bits, held, &self.memory)?
            }
            _ => None,
        };
        let Some(mut spill) = spill else {
            return Err(no_room(
                format_args!("topic `{}`", self.topic),
                format_args!("more than the {keys} keys that `kafka.check_keys` has compared"),
            ));
        };
        for (key, place) in std::mem::take(&mut self.known) {
            spill.append(&Placed::new(&key, place), hash(&self.hasher, &key))?;
        }
        self.spill = Some(spill);
        Ok(())
    }

    fn compare_spilled(&mut self, is_wanted: impl Fn() -> bool) -> DataFusionResult<()> {
        let Some(spill) = self.spill.take() else {
            return Ok(());
        };
        let mut parts = spill.finish()?;
        while let Some(mut part) = parts.pop() {
            self.known = HashMap::default();
            self.memory.try_resize(0)?;
            self.equal_bits = part.equal_bits();
            let block_memory = self.memory.new_empty();
            loop {
                let bytes = part.next_bytes();
                block_memory.try_resize(bytes).map_err(|_| {
                    let topic = &self.topic;
                    no_room(
                        format_args!("topic `{topic}`"),
                        format_args!("{bytes} bytes of keys that `kafka.check_keys` compares"),
                    )
                })?;
                let Some(block) = part.next()? else {
                    break;
                };
                if !is_wanted() {
                    return Ok(());
                }
                for record in (0..block.len()).filter_map(|index| block.get(index)) {
                    if let (Some(key), Some(place)) = (record.key(), place(&record)) {
                        self.add(key, place)?;
                    }
                }
            }
            if let Some(rest) = self.spill.take() {
                parts.append(&mut rest.finish()?);
            }
        }
        self.known = HashMap::default();
        self.memory.try_resize(0)
    }

    fn error(&self, other: Place, place: Place) -> Error {
        Error::KeyInTwoPartitions {
            topic: self.topic.clone(),
            partition: place.partition,
            offset: place.offset,
            other_partition: other.partition,
            other_offset: other.offset,
        }
    }
}

fn hash(hasher: &RandomState, key: &[u8]) -> u32 {
    (hasher.hash_one(key) >> 32) as u32
}

/// A key and its place, as a record for the disk. The payload is the partition.
struct Placed<'a> {
    key: &'a [u8],
    offset: i64,
    partition: [u8; 4],
}

impl<'a> Placed<'a> {
    fn new(key: &'a [u8], place: Place) -> Self {
        Placed {
            key,
            offset: place.offset,
            partition: place.partition.to_be_bytes(),
        }
    }
}

fn place(record: &impl Record) -> Option<Place> {
    let partition = record.payload()?.try_into().ok()?;
    Some(Place {
        partition: i32::from_be_bytes(partition),
        offset: record.offset(),
    })
}

impl Record for Placed<'_> {
    fn offset(&self) -> i64 {
        self.offset
    }

    fn key(&self) -> Option<&[u8]> {
        Some(self.key)
    }

    fn payload(&self) -> Option<&[u8]> {
        Some(&self.partition)
    }

    fn timestamp(&self) -> Option<i64> {
        None
    }

    fn visit_headers(&self, _: VisitHeader<'_>) {}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use datafusion::execution::TaskContext;
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer};
    use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics};
    use proptest::prelude::*;

    use super::*;

    struct Checked {
        keys: KeyPartitions,
        pool: Arc<dyn MemoryPool>,
        context: TaskContext,
        metrics: SpillMetrics,
    }

    /// Compares keys with this much memory.
    fn with_memory(bytes: usize, has_disk: bool) -> Checked {
        let context = TaskContext::default();
        let metrics = SpillMetrics::new(&ExecutionPlanMetricsSet::new(), 0);
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(bytes));
        let memory = MemoryConsumer::new("test").register(&pool);
        let disk = has_disk.then(|| Disk::of(&context, &metrics, "t").unwrap().unwrap());
        Checked {
            keys: KeyPartitions::new("t", 2, memory, pool.as_ref(), disk),
            pool,
            context,
            metrics,
        }
    }

    impl Checked {
        fn all(&self, keys: impl IntoIterator<Item = (u32, i32)>) -> DataFusionResult<()> {
            for (offset, (key, partition)) in (0..).zip(keys) {
                self.keys.check(&key.to_be_bytes(), partition, offset)?;
            }
            self.keys.group_ended(|| true)?;
            self.keys.group_ended(|| true)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn a_key_in_two_partitions_is_found_wherever_the_keys_are(
            mut keys in prop::collection::btree_map(any::<u32>(), 0..3i32, 1..3_000),
            twice in prop::option::of(any::<prop::sample::Index>()),
            memory in prop::sample::select(vec![80_000usize, 300_000, 100_000_000]),
        ) {
            let checked = with_memory(memory, true);
            let mut list: Vec<(u32, i32)> = std::mem::take(&mut keys).into_iter().collect();
            if let Some(index) = twice {
                let (key, partition) = list[index.index(list.len())];
                list.insert(0, (key, partition + 1));
            }
            let result = checked.all(list);
            prop_assert_eq!(result.is_err(), twice.is_some());
            if let Err(error) = result {
                let found = Error::find(&error);
                let is_found = matches!(found, Some(Error::KeyInTwoPartitions { .. }));
                prop_assert!(is_found, "{}", error);
            }
            let Checked { keys, pool, context, .. } = checked;
            drop(keys);
            prop_assert_eq!(pool.reserved(), 0);
            let progress = context.runtime_env().disk_manager.spilling_progress();
            prop_assert_eq!((progress.current_bytes, progress.active_files_count), (0, 0));
        }
    }

    #[test]
    fn keys_beyond_memory_go_to_disk_and_are_divided_until_they_fit() {
        let checked = with_memory(400_000, true);
        let keys: BTreeMap<u32, i32> = (0..60_000).map(|key| (key, (key % 3) as i32)).collect();
        checked.all(keys).unwrap();
        assert!(checked.metrics.spill_file_count.value() > 1);
        assert!(checked.metrics.spilled_rows.value() >= 60_000);
    }

    #[test]
    fn without_a_disk_the_error_says_what_to_raise() {
        let checked = with_memory(100_000, false);
        let keys = (0..10_000).map(|key| (key, 0));
        let error = checked.all(keys).unwrap_err().to_string();
        for part in [
            "topic `t`: the memory pool has no room for more than the",
            "keys that `kafka.check_keys` has compared",
            "`datafusion.runtime.memory_limit`",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}
