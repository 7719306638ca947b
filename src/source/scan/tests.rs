//! The fold against a model: random logs, cut into chunks of every size.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::common::DFSchema;
use datafusion::execution::memory_pool::{MemoryConsumer, UnboundedMemoryPool};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::filter::batch_filter;
use datafusion::physical_plan::metrics::{CustomMetricValue, ExecutionPlanMetricsSet};
use datafusion::prelude::SessionContext;
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

impl Logged {
    /// Not in the order of the offsets, as where producers set it.
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
    fn first_at(&mut self, millis: i64) -> Result<Option<i64>> {
        let found = self.log.iter().find(|r| r.millis() >= millis);
        Ok(found.map(|record| record.offset))
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
        .set("kafka.bootstrap.servers", "unused:9092")
        .set("kafka.mode", mode)
        .set("kafka.null_key", "skip");
    let options = TableOptions::parse(&[&options]).unwrap();
    let schema = Schema::new(vec![
        Field::new("_key", DataType::Utf8, true),
        Field::new("v", DataType::Int64, true),
        Field::new("_offset", DataType::Int64, true),
        Field::new("_partition", DataType::Int32, true),
        Field::new(
            "_timestamp",
            crate::schema::Metadata::Timestamp.data_type(),
            true,
        ),
    ]);
    let table = TableDefinition::try_new("t".to_owned(), options, &schema).unwrap();
    ScanSpec {
        table: Arc::new(table),
        returned: columns.len(),
        columns,
        filter: None,
        limit,
        primary_key: false,
        held: BTreeMap::from([(0, OffsetRange { start: 0, end: 0 })]),
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

/// With so many bytes of memory.
fn run_within(
    spec: &ScanSpec,
    log: &[Logged],
    range: OffsetRange,
    sizes: ChunkSizes,
    batch: usize,
    memory_share: usize,
) -> Run {
    let set = ExecutionPlanMetricsSet::new();
    let pool: Arc<dyn datafusion::execution::memory_pool::MemoryPool> =
        Arc::new(UnboundedMemoryPool::default());
    let memory = MemoryConsumer::new("test").register(&pool);
    let batches = std::cell::RefCell::default();
    let fetched = std::cell::Cell::default();
    let metrics = ScanMetrics::new(&set, 0);
    let scan = Scan {
        spec,
        partition: 0,
        batch_size: batch,
        chunk_sizes: sizes,
        metrics: &metrics,
        memory: &memory,
        memory_share,
        met: Arc::default(),
        homes: None,
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
        metrics,
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
    // As many bytes as about 1, 3 and 1000 of these records take.
    let bytes = prop::sample::select(vec![330, 1_000, 330_000]);
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
        bytes: 50_000,
    };
    let result = run(&spec("upsert", vec![0, 1], None), &log, range, sizes, 100);
    assert_eq!(rows(&result.batches).len(), 2_000);
    assert!(
        result.fetched < 3_000,
        "{} records were fetched",
        result.fetched
    );
}

/// One comparison on any of the columns, in the forms that SQL has.
fn condition() -> impl Strategy<Value = String> {
    let op = prop::sample::select(vec!["=", "<", "<=", ">", ">=", "<>"]);
    let key = (0..32u8).prop_map(|key| format!("'k{key}'"));
    prop_oneof![
        (op.clone(), 0..900i64).prop_map(|(op, n)| format!("_offset {op} {n}")),
        (op.clone(), 0..900i64).prop_map(|(op, n)| format!("CAST(_offset AS DOUBLE) {op} {n}.5")),
        (op.clone(), 0..900i64).prop_map(|(op, n)| format!("{n} {op} _offset")),
        (0..900i64, 0..300i64).prop_map(|(n, m)| format!("_offset BETWEEN {n} AND {}", n + m)),
        (0..900i64, 0..900i64).prop_map(|(n, m)| format!("_offset IN ({n}, {m}, NULL)")),
        (op.clone(), 0..3i32).prop_map(|(op, n)| format!("_partition {op} {n}")),
        (0..3i32).prop_map(|n| format!("_partition IN ({n}, 7)")),
        (op.clone(), 990..1060i64)
            .prop_map(|(op, n)| { format!("_timestamp {op} to_timestamp_millis({n})") }),
        (op.clone(), 0..3i64).prop_map(|(op, n)| {
            format!("CAST(_timestamp AS TIMESTAMP(0)) {op} to_timestamp_seconds({n})")
        }),
        Just("CAST(_timestamp AS DATE) = DATE '1970-01-01'".to_owned()),
        key.clone().prop_map(|key| format!("_key = {key}")),
        key.clone().prop_map(|key| format!("_key <> {key}")),
        key.clone().prop_map(|key| format!("_key > {key}")),
        prop::collection::vec(key, 1..4).prop_map(|keys| format!("_key IN ({})", keys.join(", "))),
        (op, 0..400i64).prop_map(|(op, n)| format!("v {op} {n}")),
        Just("_offset IS NULL".to_owned()),
        Just("_key IS NOT NULL".to_owned()),
    ]
}

fn filters() -> impl Strategy<Value = String> {
    condition().prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} AND {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

fn physical(spec: &ScanSpec, sql: &str) -> Arc<dyn PhysicalExpr> {
    let ctx = SessionContext::new();
    let schema = spec.table.schema.arrow().project(&spec.columns).unwrap();
    let schema = DFSchema::try_from(schema).unwrap();
    let filter = ctx.parse_sql_expr(sql, &schema).unwrap();
    // As the optimizer does it before it pushes filters down.
    let info = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .build();
    let simplifier = ExprSimplifier::new(info);
    let filter = simplifier.coerce(filter, &schema).unwrap();
    let filter = simplifier.simplify(filter).unwrap();
    ctx.create_physical_expr(filter, &schema).unwrap()
}

fn all_rows(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows: Vec<String> = batches
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).map(|row| format!("{:?}", batch.slice(row, 1))))
        .collect();
    rows.sort_unstable();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// What is not read because of a filter would not have passed it.
    #[test]
    fn a_filter_inside_the_scan_is_the_filter_above_it(
        log in logs(),
        sizes in sizes(),
        mode in prop::sample::select(vec!["upsert", "append"]),
        sql in filters(),
    ) {
        let range = OffsetRange { start: 0, end: log.last().map_or(0, |r| r.offset + 1) };
        let mut spec = spec(mode, vec![0, 1, 2, 3, 4], None);
        let filter = physical(&spec, &sql);
        let above: Vec<RecordBatch> = run(&spec, &log, range, sizes, 8)
            .batches
            .iter()
            .map(|batch| batch_filter(batch, &filter).unwrap())
            .collect();
        spec.filter = Some(filter);
        let inside = run(&spec, &log, range, sizes, 8);
        prop_assert_eq!(all_rows(&inside.batches), all_rows(&above), "{}", sql);
    }

    #[test]
    fn several_passes_give_the_rows_of_one(
        log in logs(),
        sizes in sizes(),
        memory in prop::sample::select(vec![4_000usize, 2_000, 1_000]),
        bad in prop::sample::select(vec!["fail", "skip"]),
    ) {
        let range = OffsetRange { start: 0, end: log.last().map_or(0, |r| r.offset + 1) };
        let mut spec = spec("upsert", vec![0, 1], None);
        let table = Arc::make_mut(&mut spec.table);
        if bad == "skip" {
            table.options.on_bad_record = crate::options::OnBadRecord::Skip;
        }
        let result = run_within(&spec, &log, range, sizes, 8, memory);
        let found = rows(&result.batches);
        let unique: BTreeMap<_, _> = found.iter().cloned().collect();
        prop_assert_eq!(found.len(), unique.len(), "a key came twice");
        prop_assert_eq!(unique, model(&log, range));
    }
}

fn numbered(count: i64) -> Vec<Logged> {
    let record = |offset| Logged {
        offset,
        key: Some(format!("k{offset}").into_bytes()),
        payload: Some(format!(r#"{{"v":{offset}}}"#).into_bytes()),
    };
    (0..count).map(record).collect()
}

#[test]
fn keys_that_memory_has_no_room_for_are_read_in_further_passes() {
    let log = numbered(100_000);
    let range = OffsetRange {
        start: 0,
        end: 100_000,
    };
    let spec = spec("upsert", vec![0, 1], None);
    let result = run_within(&spec, &log, range, ChunkSizes::default(), 8192, 2_000_000);
    assert_eq!(rows(&result.batches).len(), 100_000);
    let passes = result.metrics.passes.as_usize();
    assert!(passes > 1, "{passes} passes");
    assert_eq!(result.metrics.superseded.value(), 0);
}

#[test]
fn a_batch_weighs_no_more_than_a_chunk_in_any_mode() {
    let sizes = ChunkSizes {
        first: 100,
        bytes: 10_000,
    };
    let range = OffsetRange { start: 0, end: 100 };
    let payload = format!(r#"{{"v":1,"padding":"{}"}}"#, "x".repeat(1_000));
    let mut log = numbered(100);
    for record in &mut log {
        record.payload = Some(payload.clone().into_bytes());
    }
    for mode in ["append", "upsert"] {
        let result = run(&spec(mode, vec![0, 1], None), &log, range, sizes, 8192);
        assert_eq!(rows(&result.batches).len(), 100);
        let largest = result.batches.iter().map(RecordBatch::num_rows).max();
        assert!(largest <= Some(10), "{mode}: a batch of {largest:?} rows");
    }
}

#[test]
fn records_that_are_left_out_do_not_pile_up() {
    let mut log = numbered(10_000);
    for record in &mut log {
        record.payload = Some(b"not JSON".to_vec());
    }
    let mut spec = spec("append", vec![0, 1], None);
    Arc::make_mut(&mut spec.table).options.on_bad_record = crate::options::OnBadRecord::Skip;
    let metrics = ScanMetrics::new(&ExecutionPlanMetricsSet::new(), 0);
    let made = Rows::try_new(&spec.table, 0, &spec.columns).unwrap();
    let mut rows = Batches::new(made, &spec, 100, usize::MAX, &metrics);
    let batches = std::cell::RefCell::default();
    let mut output = Collected {
        batches: Some(&batches),
    };
    assert!(rows.extend(log.iter(), &mut output).unwrap());
    assert!(rows.built() <= 200, "{} rows", rows.built());
    assert!(batches.into_inner().is_empty());
}

#[test]
fn a_query_for_keys_stops_where_all_of_them_were_met() {
    let log = numbered(10_000);
    let range = OffsetRange {
        start: 0,
        end: 10_000,
    };
    let mut spec = spec("upsert", vec![0, 1], None);
    spec.filter = Some(physical(&spec, "_key IN ('k9990', 'k9900')"));
    let result = run(&spec, &log, range, ChunkSizes::default(), 8192);
    assert_eq!(rows(&result.batches).len(), 2);
    assert_eq!(result.fetched, ChunkSizes::default().first as usize);
}

#[test]
fn a_lower_bound_of_offsets_starts_the_reading_there() {
    let log = numbered(10_000);
    let range = OffsetRange {
        start: 0,
        end: 10_000,
    };
    for (mode, sql, read) in [
        ("upsert", "_offset >= 9000", 1_000),
        ("append", "_offset BETWEEN 9000 AND 9099", 100),
        ("upsert", "_partition = 1", 0),
        ("upsert", "_timestamp >= to_timestamp_millis(5000)", 0),
    ] {
        let mut spec = spec(mode, vec![0, 1, 2, 3, 4], None);
        spec.filter = Some(physical(&spec, sql));
        let result = run(&spec, &log, range, ChunkSizes::default(), 8192);
        assert_eq!(result.fetched, read, "{sql}");
    }
}

#[test]
fn a_comparison_that_rounds_does_not_decide_what_is_read() {
    // The float next to 16777216 is 16777218.
    let mut log = numbered(1);
    log[0].offset = 16_777_217;
    let range = OffsetRange {
        start: 0,
        end: 16_777_218,
    };
    let most = "99999999999999999999999999999999999999";
    for (mode, sql) in [
        (
            "append",
            "CAST(_offset AS REAL) = CAST(16777216 AS REAL)".to_owned(),
        ),
        (
            "append",
            "CAST(_offset AS REAL) <= CAST(16777216 AS REAL)".to_owned(),
        ),
        (
            "append",
            "CAST(CAST(_offset AS REAL) AS DOUBLE) = 16777216".to_owned(),
        ),
        (
            "upsert",
            format!(
                "CAST(CAST(CAST(_timestamp AS TIMESTAMP(0)) AS BIGINT) AS DECIMAL(38, 0)) < CAST('{most}' AS DECIMAL(38, 0))"
            ),
        ),
    ] {
        let mut spec = spec(mode, vec![0, 1, 2, 3, 4], None);
        spec.filter = Some(physical(&spec, &sql));
        let result = run(&spec, &log, range, ChunkSizes::default(), 8192);
        assert_eq!(rows(&result.batches).len(), 1, "{sql}");
    }
}
