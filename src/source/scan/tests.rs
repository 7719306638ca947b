//! The fold against a model: random logs, cut into chunks of every size.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::execution::memory_pool::{MemoryConsumer, UnboundedMemoryPool};
use proptest::prelude::*;

use super::*;
use crate::error::Result;
use crate::options::{Options, TableOptions};

/// A record of a partition held in memory.
#[derive(Debug, Clone)]
struct Logged {
    offset: i64,
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
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
        None
    }
    fn visit_headers(&self, _: &mut dyn FnMut(&[u8], Option<&[u8]>)) {}
}

/// A partition that gives its records a few at a time.
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
    fn fetch(&mut self, end: i64, chunk: &mut Vec<Logged>) -> Result<Progress> {
        let from = self.log.partition_point(|r| r.offset < self.position);
        let to = self.log.partition_point(|r| r.offset < end);
        let records = &self.log[from..to.max(from)];
        let records = &records[..records.len().min(self.at_once)];
        self.fetched.set(self.fetched.get() + records.len());
        chunk.extend_from_slice(records);
        match records.last() {
            Some(last) if from + records.len() < to => {
                self.position = last.offset + 1;
                Ok(Progress::More)
            }
            _ => Ok(Progress::End),
        }
    }
}

#[derive(Default)]
struct Collected<'a> {
    batches: Option<&'a std::cell::RefCell<Vec<RecordBatch>>>,
}

impl Output for Collected<'_> {
    fn send(&mut self, batch: RecordBatch) -> bool {
        self.batches.unwrap().borrow_mut().push(batch);
        true
    }
    fn is_wanted(&self) -> bool {
        true
    }
}

fn spec(mode: &str, columns: Vec<usize>, limit: Option<usize>) -> ScanSpec {
    let options = Options::new()
        .set("kafka.bootstrap.servers", "unused:9092")
        .set("kafka.mode", mode)
        .set("kafka.null_key", "skip");
    let options = TableOptions::parse(&[&options]).unwrap();
    let schema = Schema::new(vec![
        Field::new("_key", DataType::Utf8, true),
        Field::new("v", DataType::Int64, true),
    ]);
    let table = TableDefinition::try_new("t".to_owned(), options, &schema).unwrap();
    ScanSpec {
        table: Arc::new(table),
        returned: columns.len(),
        columns,
        filter: None,
        limit,
    }
}

struct Run {
    batches: Vec<RecordBatch>,
    fetched: usize,
}

fn run(
    spec: &ScanSpec,
    log: &[Logged],
    range: OffsetRange,
    sizes: ChunkSizes,
    batch: usize,
) -> Run {
    let set = ExecutionPlanMetricsSet::new();
    let pool: Arc<dyn datafusion::execution::memory_pool::MemoryPool> =
        Arc::new(UnboundedMemoryPool::default());
    let memory = MemoryConsumer::new("test").register(&pool);
    let batches = std::cell::RefCell::default();
    let fetched = std::cell::Cell::default();
    let scan = Scan {
        spec,
        partition: 0,
        batch_size: batch,
        chunk_sizes: sizes,
        metrics: &ScanMetrics::new(&set, 0),
        memory: &memory,
        fetch: LogFetch {
            log,
            position: 0,
            at_once: 7,
            fetched: &fetched,
        },
        output: Collected {
            batches: Some(&batches),
        },
    };
    scan.run(range).unwrap();
    Run {
        batches: batches.into_inner(),
        fetched: fetched.get(),
    }
}

/// What a forward read of the whole range leaves, key by key.
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
    // As many bytes as about 1, 3 and 1000 of these records weigh.
    let bytes = prop::sample::select(vec![10, 30, 10_000]);
    (first, bytes).prop_map(|(first, bytes)| ChunkSizes { first, bytes })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn newest_first_gives_the_rows_of_a_forward_read(
        log in logs(),
        sizes in sizes(),
        batch in prop::sample::select(vec![1usize, 3, 100]),
        cut in (0..5i64, 0..5i64),
    ) {
        let end = log.last().map_or(0, |record| record.offset + 1) + 3;
        // The watermarks need not be offsets of records.
        let range = OffsetRange { start: cut.0 * 3, end: end - cut.1 };
        let result = run(&spec("upsert", vec![0, 1], None), &log, range, sizes, batch);
        let found = rows(&result.batches);
        let unique: BTreeMap<_, _> = found.iter().cloned().collect();
        prop_assert_eq!(found.len(), unique.len(), "a key came twice");
        prop_assert_eq!(unique, model(&log, range));
    }

    #[test]
    fn a_limit_gives_as_many_rows_of_the_table(
        log in logs(),
        sizes in sizes(),
        limit in 0usize..40,
    ) {
        let range = OffsetRange { start: 0, end: i64::MAX };
        let range = OffsetRange { end: log.last().map_or(0, |r| r.offset + 1), ..range };
        let result = run(&spec("upsert", vec![0, 1], Some(limit)), &log, range, sizes, 8);
        let expected = model(&log, range);
        let found = rows(&result.batches);
        prop_assert_eq!(found.len(), limit.min(expected.len()));
        for (key, value) in found {
            prop_assert_eq!(expected.get(&key), Some(&value));
        }
    }

    #[test]
    fn every_projection_gives_its_part_of_the_same_rows(
        log in logs(),
        sizes in sizes(),
        columns in prop::sample::select(vec![vec![], vec![0], vec![1], vec![1, 0]]),
        limit in prop::option::of(0usize..40),
    ) {
        let range = OffsetRange { start: 0, end: log.last().map_or(0, |r| r.offset + 1) };
        let result = run(&spec("upsert", columns.clone(), limit), &log, range, sizes, 8);
        let expected = model(&log, range);
        let count: usize = result.batches.iter().map(RecordBatch::num_rows).sum();
        prop_assert_eq!(count, limit.unwrap_or(usize::MAX).min(expected.len()));
        for batch in &result.batches {
            prop_assert_eq!(batch.num_columns(), columns.len());
            for (array, column) in batch.columns().iter().zip(&columns) {
                for row in 0..batch.num_rows() {
                    let known = match column {
                        0 => expected.contains_key(array.as_string::<i32>().value(row)),
                        _ => {
                            let value = array.as_primitive::<Int64Type>().value(row);
                            expected.values().any(|v| *v == value)
                        }
                    };
                    prop_assert!(known, "a value of no row");
                }
            }
        }
    }

    #[test]
    fn forward_gives_every_record_with_a_payload_in_order(
        log in logs(),
        batch in prop::sample::select(vec![1usize, 3, 100]),
    ) {
        let range = OffsetRange { start: 0, end: log.last().map_or(0, |r| r.offset + 1) };
        let result = run(&spec("append", vec![0, 1], None), &log, range, ChunkSizes::default(), batch);
        let found: Vec<i64> = rows(&result.batches).into_iter().map(|(_, value)| value).collect();
        let expected: Vec<i64> = log.iter().filter_map(|r| r.payload.as_deref()).map(value).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_limit_stops_the_reading() {
    let log: Vec<Logged> = (0..10_000)
        .map(|offset| Logged {
            offset,
            key: Some(format!("k{offset}").into_bytes()),
            payload: Some(format!(r#"{{"v":{offset}}}"#).into_bytes()),
        })
        .collect();
    let range = OffsetRange {
        start: 0,
        end: 10_000,
    };
    let limited = spec("upsert", vec![0, 1], Some(10));
    let result = run(&limited, &log, range, ChunkSizes::default(), 8192);
    assert_eq!(rows(&result.batches).len(), 10);
    assert_eq!(result.fetched, ChunkSizes::default().first as usize);
}

#[test]
fn suddenly_large_records_do_not_make_a_chunk_of_many_times_its_size() {
    // Small records at the end let the next chunk grow over large ones.
    let mut log: Vec<Logged> = Vec::new();
    for offset in 0..2_000 {
        let padding = if offset < 1_000 { 4_000 } else { 1 };
        let payload = format!(r#"{{"v":{offset},"x":"{}"}}"#, "x".repeat(padding));
        log.push(Logged {
            offset,
            key: Some(format!("k{offset}").into_bytes()),
            payload: Some(payload.into_bytes()),
        });
    }
    let range = OffsetRange {
        start: 0,
        end: 2_000,
    };
    let sizes = ChunkSizes {
        first: 10,
        bytes: 10_000,
    };
    let result = run(&spec("upsert", vec![0, 1], None), &log, range, sizes, 100);
    assert_eq!(rows(&result.batches).len(), 2_000);
    assert!(
        result.fetched < 3_000,
        "{} records were fetched",
        result.fetched
    );
}
