//! Reads partitions: newest first in upsert mode, forward in append mode.
//!
//! One thread reads all partitions of a group. While the records of one partition are on their
//! way, those of another one that have arrived are deduplicated and decoded. The scan of a
//! partition therefore never waits: [`Scan::step`] processes what has arrived and returns.

mod batches;
mod forward;
mod latest;
mod newest_first;
mod spilled;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{DynamicFilterTracker, DynamicFilterTracking};
use rdkafka_extra::{Record, crc32_partition, murmur2_partition};

use crate::client::OffsetRange;
use crate::definition::TableDefinition;
use crate::error::no_room;
use crate::options::{Mode, Partitioner};
use crate::source::chunk_sizes::ChunkSizes;
use crate::source::ends::Ends;
use crate::source::fetch::{Chunk, Fetch, RECORD_OVERHEAD};
use crate::source::key_partitions::KeyPartitions;
use crate::source::keys::{FoundKeys, WantedKeys};
use crate::source::metrics::ScanMetrics;
use crate::source::passed::Passed;
use crate::source::planning_client::PlanningClient;
use crate::source::pruning::{Candidates, Pruner};
use crate::source::rows::Rows;
use crate::source::snapshot::Extent;
use crate::source::spill::Disk;
use batches::Batches;
use forward::Forward;
use newest_first::NewestFirst;

/// What a scan reads and returns. All partitions share one spec.
#[derive(Debug, Clone)]
pub(crate) struct ScanSpec {
    pub(crate) table: Arc<TableDefinition>,
    /// Positions in the table's schema: first the returned columns, in order, then the columns
    /// that only the filter needs.
    pub(crate) columns: Vec<usize>,
    /// How many of `columns` are returned.
    pub(crate) returned: usize,
    /// A filter over `columns`. Only rows for which the filter is true are returned.
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    /// The most rows to return per output partition.
    pub(crate) limit: Option<usize>,
    /// Whether the user has declared that a key is in one partition only.
    pub(crate) primary_key: bool,
    /// The topic's partitions, and their watermarks when the query was planned.
    pub(crate) watermarks: BTreeMap<i32, OffsetRange>,
    /// The client that looked up `watermarks`.
    pub(crate) planning_client: PlanningClient,
    /// The offsets that are read, once they are fixed.
    pub(crate) ends: Ends,
    /// The most output partitions.
    pub(crate) target_partitions: usize,
    /// Receives the read positions of an unbounded scan.
    pub(crate) passed: Option<Arc<Passed>>,
}

impl ScanSpec {
    /// The records of a partition for which the filter may currently be true.
    pub(crate) fn candidates(&self, partition: i32) -> Candidates {
        let candidates = self.filtered(Some(partition));
        let keys = candidates.keys.as_ref().and_then(WantedKeys::all);
        // Keys move to other partitions when a topic gets more partitions.
        let partitioner = self.table.options.partitioner;
        let partitioner = partitioner.filter(|_| !self.table.unbounded);
        if let (Some(partitioner), Some(keys)) = (partitioner, keys) {
            let count = i32::try_from(self.watermarks.len()).unwrap_or(i32::MAX);
            let partition_of = match partitioner {
                Partitioner::Murmur2 => murmur2_partition,
                Partitioner::Crc32 => crc32_partition,
            };
            let lives_here =
                |key: &Vec<u8>| partition_of(key, count).is_none_or(|home| home == partition);
            if !keys.iter().any(lives_here) {
                return Candidates::NONE;
            }
        }
        candidates
    }

    /// Whether the filter has parts that the plan fills in at run time.
    pub(crate) fn has_dynamic_filters(&self) -> bool {
        let filter = self.filter.as_ref();
        filter.is_some_and(|f| DynamicFilterTracking::classify(f).contains_dynamic_filter())
    }

    /// Whether the filter excludes all of the `count` existing partitions, but may match records
    /// of a partition that is added later.
    pub(crate) fn awaits_partitions(&self, count: i32) -> bool {
        self.table.unbounded
            && (0..count).all(|partition| self.candidates(partition).is_empty())
            && !self.filtered(None).is_empty()
    }

    /// The records of a partition that the filter may match; `None` stands for any partition.
    fn filtered(&self, partition: Option<i32>) -> Candidates {
        self.filter.as_ref().map_or(Candidates::ALL, |filter| {
            Pruner::new(&self.table, &self.columns, partition).candidates(filter)
        })
    }
}

/// How many records share one sample of their headers' size. Measuring headers means parsing
/// them, which is expensive, so one record in this many is measured and the others are assumed to
/// be like it.
const HEADERS_SAMPLE: usize = 16;

/// The memory that the records of a chunk take.
#[derive(Debug, Clone, Copy, Default)]
struct ChunkWeight {
    bytes: usize,
    /// The bytes of the keys, which are included in `bytes`.
    keys: usize,
}

/// The receiver of the rows.
pub(crate) trait Output {
    /// Takes a batch; `false` when no more rows are wanted.
    fn send(&mut self, batch: RecordBatch) -> DataFusionResult<bool>;
    /// Whether rows are still wanted.
    fn is_wanted(&self) -> bool;
    /// Reports that all rows of the records that were read from a partition were sent. Reading
    /// began at `start`, the last row was before `rows`, and no record from `rows` to `read` is a
    /// row.
    fn passed(&mut self, _partition: i32, _start: i64, _rows: i64, _read: i64) {}
}

/// What the partitions of a group share while they are read.
pub(crate) struct ScanGroup<'a> {
    pub(crate) spec: &'a ScanSpec,
    pub(crate) batch_size: usize,
    pub(crate) metrics: &'a ScanMetrics,
    /// The most bytes that one partition may hold, so that no partition starves the others.
    pub(crate) memory_share: usize,
    /// The partition of every key, where `kafka.check_keys` asks for the check.
    pub(crate) key_partitions: Option<&'a KeyPartitions>,
    /// Takes the records of keys that memory has no room for. Without a disk, a partition is read
    /// in several passes.
    pub(crate) disk: Option<Disk>,
    /// The number of rows that are still to be returned, by all partitions together.
    pub(crate) left: Cell<usize>,
    /// The memory that a record takes, as far as records were read.
    pub(crate) record_bytes: Cell<Option<usize>>,
}

/// Whether the scan of a partition goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// More records have to arrive.
    Waits,
    /// The partition was read to its end.
    Ended,
    /// No more rows are wanted, of any partition.
    Stopped,
}

/// One partition's scan.
pub(crate) struct Scan<'a, F: Fetch> {
    partition: Partition<'a, F>,
    walk: Walk<F::Chunk>,
}

enum Walk<C> {
    NewestFirst(Box<NewestFirst<C>>),
    Forward(Forward<C>),
}

impl<'a, F: Fetch> Scan<'a, F> {
    pub(crate) fn try_new(
        group: &'a ScanGroup<'a>,
        partition: i32,
        extent: Extent,
        mut chunk_sizes: ChunkSizes,
        found_keys: Arc<FoundKeys>,
        memory: MemoryReservation,
        fetch: F,
    ) -> DataFusionResult<Self> {
        let spec = group.spec;
        // Two thirds of the size of a small chunk (see `small_chunk`), since records vary in
        // size.
        let bytes = chunk_sizes.bytes.min(group.memory_share / 6);
        chunk_sizes.bytes = bytes.max(1);
        let rows = Rows::try_new(&spec.table, partition, &spec.columns)?;
        let chunk = fetch.chunk();
        let begin = extent.range.start;
        Ok(Scan {
            partition: Partition {
                rows: Batches::new(rows, group, chunk_sizes.bytes),
                bounds: Bounds::new(spec, extent),
                group,
                id: partition,
                chunk_sizes,
                found_keys,
                memory,
                disk: group.disk.as_ref().map(|disk| disk.of_partition(partition)),
                fetch,
            },
            walk: match spec.table.options.mode.unwrap_or_default() {
                Mode::Upsert => Walk::NewestFirst(Box::new(NewestFirst::new(chunk))),
                Mode::Append => Walk::Forward(Forward::new(chunk, begin)),
            },
        })
    }

    /// Where the records come from.
    pub(crate) fn fetch(&mut self) -> &mut F {
        &mut self.partition.fetch
    }

    /// Processes the records that have arrived. `is_idle` says that none has arrived for a while,
    /// of any partition: rows that were collected are then sent.
    pub(crate) fn step(
        &mut self,
        is_idle: bool,
        output: &mut impl Output,
    ) -> DataFusionResult<Step> {
        match &mut self.walk {
            Walk::NewestFirst(walk) => walk.step(&mut self.partition, output),
            Walk::Forward(walk) => walk.step(&mut self.partition, is_idle, output),
        }
    }

    /// The bytes of records that wait until their chunk is complete.
    pub(crate) fn waiting_bytes(&self) -> usize {
        match &self.walk {
            Walk::NewestFirst(walk) => walk.waiting_bytes(),
            Walk::Forward(_) => 0,
        }
    }

    /// Whether no record was processed yet, so that the scan can begin again later.
    pub(crate) fn is_new(&self) -> bool {
        match &self.walk {
            Walk::NewestFirst(walk) => walk.is_new(),
            Walk::Forward(_) => false,
        }
    }
}

/// A partition that is read, for the walk over its records.
struct Partition<'a, F> {
    group: &'a ScanGroup<'a>,
    id: i32,
    chunk_sizes: ChunkSizes,
    /// The wanted keys that were found. All partitions share one set where a key is in one
    /// partition only.
    found_keys: Arc<FoundKeys>,
    memory: MemoryReservation,
    disk: Option<Disk>,
    fetch: F,
    bounds: Bounds,
    rows: Batches<'a>,
}

impl<F: Fetch> Partition<'_, F> {
    /// Narrows the bounds to what the filter currently allows; `false` when nothing is left to
    /// read.
    fn narrow(&mut self) -> DataFusionResult<bool> {
        let bounds = &mut self.bounds;
        if !bounds.is_due() {
            return Ok(!bounds.range.is_empty());
        }
        let spec = self.group.spec;
        let candidates = spec.candidates(self.id);
        if candidates.is_empty() {
            bounds.range.end = bounds.range.start;
            return Ok(false);
        }
        let (range, known_end) = (&mut bounds.range, bounds.known_end);
        range.start = range.start.max(candidates.offsets.min.min(known_end));
        let earliest = candidates.timestamps.min;
        if earliest > bounds.earliest && !range.is_empty() {
            bounds.earliest = earliest;
            let found = self.fetch.offset_for_timestamp(earliest)?;
            range.start = range.start.max(found.unwrap_or(known_end));
        }
        // In upsert mode a newer record hides the older one, whatever its offset.
        if spec.table.options.mode == Some(Mode::Append) {
            range.end = range.end.min(candidates.offsets.max.saturating_add(1));
        }
        bounds.keys = candidates.keys;
        Ok(!bounds.range.is_empty())
    }

    /// Whether all keys that the query asks for were found.
    fn has_found_all(&self) -> bool {
        let wanted = self.bounds.keys.as_ref().and_then(WantedKeys::all);
        wanted.is_some_and(|keys| self.found_keys.contains_all(keys))
    }

    /// Counts the records from index `from` on, and returns the memory that they hold.
    fn count(&self, chunk: &F::Chunk, from: usize) -> ChunkWeight {
        let metrics = self.group.metrics;
        let (mut bytes, mut keys) = (0, 0);
        for record in (from..chunk.len()).filter_map(|index| chunk.get(index)) {
            bytes += record.size();
            keys += record.key().map_or(0, <[u8]>::len);
        }
        let records = chunk.len() - from;
        let sampled = (from..chunk.len()).step_by(HEADERS_SAMPLE);
        let samples = sampled.len().max(1);
        let headers: usize = sampled
            .filter_map(|index| chunk.get(index))
            .map(|record| record.headers_size())
            .sum();
        metrics.records_fetched.add(records);
        metrics.bytes_fetched.add(bytes);
        let bytes = bytes + headers / samples * records + records * RECORD_OVERHEAD;
        if let Some(record_bytes) = bytes.checked_div(records) {
            self.group.record_bytes.set(Some(record_bytes));
        }
        ChunkWeight { bytes, keys }
    }

    /// Reserves memory if the pool has room, and if the partition's share has room for `spared`
    /// bytes more.
    fn fits(&self, bytes: usize, spared: usize) -> bool {
        bytes.saturating_add(spared) <= self.group.memory_share
            && self.memory.try_resize(bytes).is_ok()
    }

    /// Reserves memory for records that cannot be cut any smaller, and fails where the pool has
    /// no room.
    fn reserve(&self, bytes: usize) -> DataFusionResult<()> {
        self.memory.try_resize(bytes).map_err(|error| {
            let (topic, partition) = (&self.group.spec.table.topic, self.id);
            log::debug!("topic `{topic}` partition {partition}: {error}");
            no_room(
                format_args!("topic `{topic}` partition {partition}"),
                format_args!(
                    "{bytes} bytes of records and keys, which cannot be read in smaller parts"
                ),
            )
        })
    }

    /// Whether a chunk is far larger than its target size.
    fn is_too_large(&self, bytes: usize) -> bool {
        bytes > self.chunk_sizes.bytes.saturating_mul(4)
    }
}

/// The part of a partition that is still to be read. The filter narrows it, and may narrow it
/// further while the query runs.
struct Bounds {
    range: OffsetRange,
    /// Look-ups found nothing before this offset. Nothing is known about later records.
    known_end: i64,
    /// The timestamp at which reading starts, where no such record has come yet.
    starts_at: Option<i64>,
    /// `None` is every key.
    keys: Option<WantedKeys>,
    /// The timestamp that the start of `range` was looked up for.
    earliest: i64,
    is_new: bool,
    changes: Option<DynamicFilterTracker>,
}

impl Bounds {
    fn new(spec: &ScanSpec, extent: Extent) -> Self {
        let tracking = spec.filter.as_ref().map(DynamicFilterTracking::classify);
        Bounds {
            range: extent.range,
            known_end: extent.known_end,
            starts_at: extent.starts_at,
            keys: None,
            // The first record of all needs no look-up.
            earliest: 0,
            is_new: true,
            changes: match tracking {
                Some(DynamicFilterTracking::Watching(tracker)) => Some(tracker),
                _ => None,
            },
        }
    }

    /// Whether the filter may have changed since the last look.
    fn is_due(&mut self) -> bool {
        let changed = self
            .changes
            .as_mut()
            .is_some_and(DynamicFilterTracker::changed);
        std::mem::take(&mut self.is_new) || changed
    }

    /// Whether reading starts at this record, or has started before it.
    fn has_begun(&mut self, record: &impl Record) -> bool {
        if let Some(starts_at) = self.starts_at
            && record.timestamp().is_some_and(|millis| millis >= starts_at)
        {
            self.starts_at = None;
        }
        self.starts_at.is_none()
    }

    /// Whether the record at which reading starts has not come yet.
    fn awaits_start(&self) -> bool {
        self.starts_at.is_some()
    }

    fn wants(&self, key: Option<&[u8]>) -> bool {
        match (&self.keys, key) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(key)) => wanted.contains(key),
        }
    }
}

#[cfg(test)]
mod tests;
