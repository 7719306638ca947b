//! Tests scans of logs that are held in memory.

mod deduplicate;
mod filters;
mod groups;
mod memory;
mod spilled;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, UnboundedMemoryPool};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use proptest::prelude::*;

use super::*;
use crate::error::Result;
use crate::options::{Options, TableOptions};
use crate::source::fetch::FetchProgress;

/// A record of a partition held in memory.
#[derive(Debug, Clone)]
struct Logged {
    offset: i64,
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
}

impl Logged {
    /// Not in offset order, as where producers set the timestamps.
    fn millis(&self) -> i64 {
        1_000 + self.offset * 7 % 50
    }
}

impl Record for &Logged {
    fn offset(&self) -> i64 {
        self.offset
    }
    fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }
    fn payload(&self) -> Option<&[u8]> {
        self.payload.as_deref()
    }
    fn timestamp(&self) -> Option<i64> {
        Some(self.millis())
    }
    fn visit_headers(&self, _: &mut dyn FnMut(&[u8], Option<&[u8]>)) {}
}

/// A partition that returns its records a few at a time.
struct LogFetch<'a> {
    log: &'a [Logged],
    position: i64,
    at_once: usize,
    fetched: &'a std::cell::Cell<usize>,
}

impl Chunk for Vec<Logged> {
    type Record<'a> = &'a Logged;

    fn len(&self) -> usize {
        self.len()
    }
    fn get(&self, index: usize) -> Option<&Logged> {
        self.as_slice().get(index)
    }
    fn clear(&mut self) {
        self.clear();
    }
}

impl Fetch for LogFetch<'_> {
    type Chunk = Vec<Logged>;

    fn chunk(&self) -> Vec<Logged> {
        Vec::new()
    }
    fn seek(&mut self, start: i64) -> Result<()> {
        self.position = start;
        Ok(())
    }
    fn offset_for_timestamp(&mut self, millis: i64) -> Result<Option<i64>> {
        let found = self.log.iter().find(|r| r.millis() >= millis);
        Ok(found.map(|record| record.offset))
    }
    fn fetch(&mut self, end: i64, chunk: &mut Vec<Logged>) -> Result<FetchProgress> {
        let from = self.log.partition_point(|r| r.offset < self.position);
        let to = self.log.partition_point(|r| r.offset < end);
        let records = &self.log[from..to.max(from)];
        let records = &records[..records.len().min(self.at_once)];
        self.fetched.set(self.fetched.get() + records.len());
        chunk.extend_from_slice(records);
        match records.last() {
            Some(last) if from + records.len() < to => {
                self.position = last.offset + 1;
                Ok(FetchProgress::More)
            }
            _ => Ok(FetchProgress::End),
        }
    }
    fn position(&self) -> i64 {
        self.position
    }
}

#[derive(Default)]
struct Collected<'a> {
    batches: Option<&'a std::cell::RefCell<Vec<RecordBatch>>>,
}

impl Output for Collected<'_> {
    fn send(&mut self, batch: RecordBatch) -> DataFusionResult<bool> {
        self.batches.unwrap().borrow_mut().push(batch);
        Ok(true)
    }
    fn is_wanted(&self) -> bool {
        true
    }
}

fn spec(mode: &str, columns: Vec<usize>, limit: Option<usize>) -> ScanSpec {
    let options = Options::new()
        .with_option("kafka.bootstrap.servers", "unused:9092")
        .with_option("kafka.mode", mode)
        .with_option("kafka.null_key", "skip");
    let options = TableOptions::parse(&[&options]).unwrap();
    let schema = Schema::new(vec![
        Field::new("_key", DataType::Utf8, true),
        Field::new("v", DataType::Int64, true),
        Field::new("_offset", DataType::Int64, true),
        Field::new("_partition", DataType::Int32, true),
        Field::new(
            "_timestamp",
            crate::definition::metadata_columns::Metadata::Timestamp.data_type(),
            true,
        ),
    ]);
    let table =
        TableDefinition::try_new("t".to_owned(), options, &schema, Default::default()).unwrap();
    ScanSpec {
        table: Arc::new(table),
        returned: columns.len(),
        columns,
        filter: None,
        limit,
        primary_key: false,
        watermarks: BTreeMap::from([(0, OffsetRange { start: 0, end: 0 })]),
        planning_client: PlanningClient::default(),
        ends: Ends::default(),
        target_partitions: 1,
        passed: None,
    }
}

struct Run {
    batches: Vec<RecordBatch>,
    fetched: usize,
    metrics: ScanMetrics,
}

fn run(
    spec: &ScanSpec,
    log: &[Logged],
    range: OffsetRange,
    sizes: ChunkSizes,
    batch: usize,
) -> Run {
    run_within(spec, log, range, sizes, batch, usize::MAX)
}

/// Runs a scan with a pool of this many bytes.
fn run_within(
    spec: &ScanSpec,
    log: &[Logged],
    range: OffsetRange,
    sizes: ChunkSizes,
    batch: usize,
    memory_share: usize,
) -> Run {
    try_run(spec, log, range, sizes, batch, memory_share, None).unwrap()
}

/// Runs a scan with a pool of this many bytes, and a disk.
fn try_run(
    spec: &ScanSpec,
    log: &[Logged],
    range: OffsetRange,
    sizes: ChunkSizes,
    batch: usize,
    memory_share: usize,
    disk: Option<&TaskContext>,
) -> DataFusionResult<Run> {
    let set = ExecutionPlanMetricsSet::new();
    let pool: Arc<dyn datafusion::execution::memory_pool::MemoryPool> =
        Arc::new(UnboundedMemoryPool::default());
    let memory = MemoryConsumer::new("test").register(&pool);
    let batches = std::cell::RefCell::default();
    let fetched = std::cell::Cell::default();
    let metrics = ScanMetrics::new(&set, 0);
    let group = scan_group(spec, &metrics, batch, memory_share, disk);
    let fetch = LogFetch {
        log,
        position: 0,
        at_once: 7,
        fetched: &fetched,
    };
    let mut output = Collected {
        batches: Some(&batches),
    };
    if spec.limit != Some(0) && !range.is_empty() {
        let extent = Extent::of(range);
        let scan = Scan::try_new(&group, 0, extent, sizes, Arc::default(), memory, fetch);
        let mut scan = scan.unwrap();
        while scan.step(false, &mut output)? == Step::Waits {}
    }
    Ok(Run {
        batches: batches.into_inner(),
        fetched: fetched.get(),
        metrics,
    })
}

fn scan_group<'a>(
    spec: &'a ScanSpec,
    metrics: &'a ScanMetrics,
    batch_size: usize,
    memory_share: usize,
    disk: Option<&TaskContext>,
) -> ScanGroup<'a> {
    ScanGroup {
        spec,
        batch_size,
        metrics,
        memory_share,
        key_partitions: None,
        disk: disk.and_then(|context| Disk::of(context, &metrics.spill, "t").unwrap()),
        left: Cell::new(spec.limit.unwrap_or(usize::MAX)),
        record_bytes: Cell::new(None),
    }
}

fn whole(log: &[Logged]) -> OffsetRange {
    let end = log.last().map_or(0, |record| record.offset + 1);
    OffsetRange { start: 0, end }
}

/// The result of reading the whole range forward, key by key.
fn model(log: &[Logged], range: OffsetRange) -> BTreeMap<String, i64> {
    let mut rows = BTreeMap::new();
    for record in log {
        let inside = (range.start..range.end).contains(&record.offset);
        let (true, Some(key)) = (inside, &record.key) else {
            continue;
        };
        let key = String::from_utf8(key.clone()).unwrap();
        match &record.payload {
            None => drop(rows.remove(&key)),
            Some(payload) => drop(rows.insert(key, value(payload))),
        }
    }
    rows
}

fn value(payload: &[u8]) -> i64 {
    serde_json::from_slice::<serde_json::Value>(payload).unwrap()["v"]
        .as_i64()
        .unwrap()
}

fn rows(batches: &[RecordBatch]) -> Vec<(String, i64)> {
    let mut rows = Vec::new();
    for batch in batches {
        let keys = batch.column(0).as_string::<i32>();
        let values = batch.column(1).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            rows.push((keys.value(row).to_owned(), values.value(row)));
        }
    }
    rows
}

/// Logs with few keys, tombstones, records without a key, and holes as
/// compaction, markers and aborted transactions leave them.
fn logs() -> impl Strategy<Value = Vec<Logged>> {
    let record = (1..4i64, 0..30u8, 0..10u8);
    prop::collection::vec(record, 0..400).prop_map(|records| {
        let mut offset = 0;
        let mut log = Vec::new();
        for (index, (gap, key, kind)) in records.into_iter().enumerate() {
            offset += if gap == 3 { 5 } else { 1 };
            log.push(Logged {
                offset,
                key: (kind != 9).then(|| format!("k{key}").into_bytes()),
                payload: (kind > 1).then(|| format!(r#"{{"v":{index}}}"#).into_bytes()),
            });
        }
        log
    })
}

fn sizes() -> impl Strategy<Value = ChunkSizes> {
    let first = prop::sample::select(vec![1, 3, 1000]);
    // About the memory of 1, 3 and 1000 of these records.
    let bytes = prop::sample::select(vec![330, 1_000, 330_000]);
    (first, bytes).prop_map(|(first, bytes)| ChunkSizes { first, bytes })
}

fn numbered(count: i64) -> Vec<Logged> {
    let record = |offset| Logged {
        offset,
        key: Some(format!("k{offset}").into_bytes()),
        payload: Some(format!(r#"{{"v":{offset}}}"#).into_bytes()),
    };
    (0..count).map(record).collect()
}
