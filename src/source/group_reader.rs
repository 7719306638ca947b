//! Reads the partitions of a group on one thread.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::error::Result as DataFusionResult;
use datafusion::execution::memory_pool::MemoryReservation;
use rdkafka_extra::{MessageQueue, Messages, TopicId};

use crate::client::{Cancel, Client, ErrorLog, OffsetRange};
use crate::error::{FetchFailure, Result};
use crate::source::chunk_sizes::{Budget, ChunkSizes};
use crate::source::fetch::{LastLook, MAX_RECORDS, POLL, PartitionFetch, RECORD_OVERHEAD};
use crate::source::scan::{Output, Scan, ScanGroup, Step};
use crate::source::shared::SharedScan;
use crate::source::snapshot::{Extent, Snapshot};

/// Reads the partitions of a group.
///
/// All partitions that are being read come into one queue, and a thread processes what has
/// arrived, whatever partition it is of. As many partitions are read at the same time as have
/// room in the group's chunks: a few large ones, or a thousand that have some records each and so
/// cost one round trip together.
pub(crate) struct GroupReader<'a> {
    run: &'a SharedScan,
    group: &'a ScanGroup<'a>,
    budget: Budget,
    /// The memory of all partitions is one consumer of the pool.
    memory: &'a MemoryReservation,
    source: Source,
    /// The partitions that are still to be read.
    waiting: VecDeque<(i32, Extent)>,
    active: BTreeMap<i32, Active<'a>>,
    /// The most partitions that are read at the same time.
    most_active: usize,
    arrived: Messages<ErrorLog>,
    /// A partition that is never read. It stands for the topic while no partition is read.
    standby: PartitionFetch,
    topic_checked: Instant,
    /// The number of partitions at that time.
    partitions: i32,
}

/// The client that the partitions are read with.
pub(crate) struct Source {
    pub(crate) client: Arc<Client>,
    pub(crate) topic_id: Option<TopicId>,
    pub(crate) queue: Arc<MessageQueue<ErrorLog>>,
    pub(crate) cancel: Arc<Cancel>,
    pub(crate) last_look: LastLook,
}

/// A partition that is being read.
struct Active<'a> {
    scan: Scan<'a, PartitionFetch>,
    extent: Extent,
    chunks: f64,
}

/// How often the brokers are asked about the topic of an unbounded scan.
const UNBOUNDED_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The number of partitions that a group begins with where a few rows are enough. The number
/// doubles each time that their records were not enough.
const FIRST_OF_LIMIT: usize = 8;

/// The memory that a record is assumed to take before one was read.
const RECORD_BYTES: usize = 1024;

impl<'a> GroupReader<'a> {
    pub(crate) fn new(
        run: &'a SharedScan,
        group: &'a ScanGroup<'a>,
        budget: Budget,
        memory: &'a MemoryReservation,
        source: Source,
        first: i32,
    ) -> Self {
        let partitions = group.spec.watermarks.len();
        GroupReader {
            standby: source.fetch(first, group),
            arrived: Messages::new(source.client.handle()),
            run,
            group,
            budget,
            memory,
            source,
            waiting: VecDeque::new(),
            active: BTreeMap::new(),
            most_active: match group.spec.limit {
                Some(_) => FIRST_OF_LIMIT,
                None => usize::MAX,
            },
            topic_checked: Instant::now(),
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
        }
    }

    /// Reads these partitions to the end of their extents, until the limit, or until no more rows
    /// are wanted. A scan that is unbounded also reads partitions that are added to the topic.
    pub(crate) fn run(
        mut self,
        partitions: &[i32],
        snapshot: &Snapshot,
        output: &mut impl Output,
    ) -> DataFusionResult<()> {
        for &partition in partitions {
            match snapshot.extent(partition) {
                Some(extent) => self.wait_for_turn(partition, extent),
                None => self.add(partition)?,
            }
        }
        while self.open(output)? && output.is_wanted() {
            if self.active.is_empty() && !self.awaits_partitions() {
                return Ok(());
            }
            if !self.turn(output)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn wait_for_turn(&mut self, partition: i32, extent: Extent) {
        let extent = match self.is_unbounded() {
            true => extent.unbounded(),
            false => extent,
        };
        if !extent.range.is_empty() {
            self.waiting.push_back((partition, extent));
        }
    }

    /// Adds a partition that the topic did not have when the snapshot was taken.
    fn add(&mut self, partition: i32) -> Result<()> {
        let source = &self.source;
        let held = source.client.watermarks(&[partition], &source.cancel)?;
        let held = held.get(&partition).copied();
        let held = held.unwrap_or(OffsetRange { start: 0, end: 0 });
        let start = &self.group.spec.table.options.start;
        self.wait_for_turn(partition, Extent::added(held, start));
        Ok(())
    }

    /// Starts to read further partitions; `false` when no more rows are wanted.
    fn open(&mut self, output: &mut impl Output) -> DataFusionResult<bool> {
        while let Some((partition, extent)) = self.waiting.front().copied() {
            let chunks = self.chunks(extent);
            let taken: f64 = self.active.values().map(|active| active.chunks).sum();
            let has_room = taken + chunks <= self.budget.at_once as f64
                && self.active.len() < self.most_active;
            if !has_room && !self.active.is_empty() && !self.is_unbounded() {
                break;
            }
            self.waiting.pop_front();
            let mut scan = Scan::try_new(
                self.group,
                partition,
                extent,
                self.first_chunk(),
                self.run.found_keys(),
                self.memory.new_empty(),
                self.source.fetch(partition, self.group),
            )?;
            match scan.step(false, output)? {
                Step::Waits => {
                    let active = Active {
                        scan,
                        extent,
                        chunks,
                    };
                    self.active.insert(partition, active);
                }
                Step::Ended => {}
                Step::Stopped => return Ok(false),
            }
        }
        self.most_active = self.most_active.saturating_mul(2);
        Ok(true)
    }

    /// How much of the group's chunks a partition takes: one chunk, or less where all of its
    /// records are fewer.
    fn chunks(&self, extent: Extent) -> f64 {
        let records = (extent.range.end - extent.range.start) as f64;
        let record_bytes = self.group.record_bytes.get().unwrap_or(RECORD_BYTES);
        let bytes = records * record_bytes as f64;
        (bytes / self.budget.chunks.bytes as f64).min(1.0)
    }

    /// The first chunk is small, so that the first rows come soon. Once the size of the records is
    /// known, later partitions begin with a whole chunk, unless a few rows are enough.
    fn first_chunk(&self) -> ChunkSizes {
        let chunks = self.budget.chunks;
        match self.group.record_bytes.get() {
            Some(bytes) if self.group.spec.limit.is_none() => {
                let records = i64::try_from(chunks.bytes / bytes.max(1)).unwrap_or(i64::MAX);
                ChunkSizes {
                    first: records.max(chunks.first),
                    ..chunks
                }
            }
            _ => chunks,
        }
    }

    /// Waits for records and processes them; `false` when no more rows are wanted.
    fn turn(&mut self, output: &mut impl Output) -> DataFusionResult<bool> {
        let batch_time = self.group.spec.table.options.batch_time;
        let time = match self.is_unbounded() {
            true => batch_time.min(POLL),
            false => POLL,
        };
        let asked = Instant::now();
        let polled = {
            let _timer = self.group.metrics.fetch_time.timer();
            let records = self.budget.partition_bytes / 4 / RECORD_OVERHEAD;
            let records = records.clamp(1, MAX_RECORDS);
            self.source.queue.poll(time, records, &mut self.arrived)
        };
        let waited = asked.elapsed();
        polled.map_err(|code| self.standby.error(FetchFailure::Other(code.to_string())))?;
        let is_idle = self.arrived.is_empty();
        let mut due = BTreeSet::new();
        let active = &mut self.active;
        self.arrived.distribute(|partition, messages| {
            if let Some(active) = active.get_mut(&partition) {
                active.scan.fetch().deliver(messages);
                due.insert(partition);
            }
        });
        if is_idle || self.is_unbounded() {
            // Rows that were collected may be due.
            due.extend(self.active.keys());
        }
        for partition in due {
            let Some(active) = self.active.get_mut(&partition) else {
                continue;
            };
            match active.scan.step(is_idle, output)? {
                Step::Waits => {}
                Step::Ended => drop(self.active.remove(&partition)),
                Step::Stopped => return Ok(false),
            }
        }
        self.put_back();
        for active in self.active.values_mut() {
            active.scan.fetch().has_waited(waited)?;
        }
        if self.is_unbounded() {
            if self.active.is_empty() {
                self.standby.has_waited(waited)?;
            }
            self.look_for_partitions()?;
        }
        Ok(true)
    }

    /// Where records are far larger than was assumed, reads fewer partitions at the same time:
    /// those of which nothing was processed yet begin again later.
    fn put_back(&mut self) {
        let most = 2 * self.budget.at_once * self.budget.chunks.bytes;
        let waiting = |active: &Active<'_>| active.scan.waiting_bytes();
        let mut bytes: usize = self.active.values().map(waiting).sum();
        let furthest = self.active.iter().max_by_key(|(_, active)| waiting(active));
        let Some(furthest) = furthest.map(|(partition, _)| *partition) else {
            return;
        };
        while bytes > most {
            let mut others = self.active.iter();
            let other = others.rfind(|(partition, active)| {
                **partition != furthest && active.scan.is_new() && waiting(active) > 0
            });
            let Some(partition) = other.map(|(partition, _)| *partition) else {
                return;
            };
            if let Some(active) = self.active.remove(&partition) {
                bytes -= waiting(&active);
                self.waiting.push_front((partition, active.extent));
            }
        }
    }

    /// Checks from time to time that the topic still has the same id, and reads partitions that
    /// were added to it. The first group that meets a new partition reads it.
    fn look_for_partitions(&mut self) -> DataFusionResult<()> {
        let retry_timeout = self.group.spec.table.options.retry_timeout;
        if self.topic_checked.elapsed() < UNBOUNDED_CHECK_INTERVAL.min(retry_timeout / 4) {
            return Ok(());
        }
        self.source.client.serve_events();
        let found = self.source.client.count_partitions(self.source.topic_id);
        self.topic_checked = Instant::now();
        let count = match found {
            Err(reason) => return Err(self.witness().error(reason).into()),
            Ok(None) => return Ok(()),
            Ok(Some(count)) => i32::try_from(count).unwrap_or(i32::MAX),
        };
        for partition in self.run.claim_partitions(count) {
            self.add(partition)?;
        }
        self.partitions = self.partitions.max(count);
        self.standby.progress();
        for active in self.active.values_mut() {
            active.scan.fetch().progress();
        }
        Ok(())
    }

    /// The partition that an error about the topic names.
    fn witness(&mut self) -> &mut PartitionFetch {
        match self.active.values_mut().next() {
            Some(active) => active.scan.fetch(),
            None => &mut self.standby,
        }
    }

    /// Whether the filter excludes all existing partitions, but may match records of a partition
    /// that is added later.
    fn awaits_partitions(&self) -> bool {
        self.group.spec.awaits_partitions(self.partitions)
    }

    fn is_unbounded(&self) -> bool {
        self.group.spec.table.unbounded
    }
}

impl Source {
    fn fetch(&self, partition: i32, group: &ScanGroup<'_>) -> PartitionFetch {
        let (client, queue) = (Arc::clone(&self.client), Arc::clone(&self.queue));
        let options = &group.spec.table.options;
        PartitionFetch::new(client, queue, partition, options.retry_timeout)
            .of(self.topic_id, &self.last_look)
            .cancelled_by(Arc::clone(&self.cancel))
            .unbounded(group.spec.table.unbounded)
    }
}
