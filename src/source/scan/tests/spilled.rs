//! Tests scans whose keys do not fit into memory, with a disk for the others.

use arrow::array::Array;
use datafusion::execution::disk_manager::{DiskManager, DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::metrics::CustomMetricValue;

use super::filters::{all_rows, physical};
use super::*;
use crate::error::Error;
use crate::options::OnBadRecord;

fn disk(change: impl FnOnce(DiskManagerBuilder) -> DiskManagerBuilder) -> Arc<TaskContext> {
    let builder = change(DiskManagerBuilder::default());
    let runtime = RuntimeEnvBuilder::new().with_disk_manager_builder(builder);
    Arc::new(TaskContext::default().with_runtime(runtime.build_arc().unwrap()))
}

fn manager(context: &TaskContext) -> Arc<DiskManager> {
    Arc::clone(&context.runtime_env().disk_manager)
}

fn is_clean(context: &TaskContext) -> bool {
    let progress = manager(context).spilling_progress();
    let files = manager(context)
        .temp_dir_paths()
        .iter()
        .map(|directory| std::fs::read_dir(directory).unwrap().count())
        .sum::<usize>();
    (progress.current_bytes, progress.active_files_count, files) == (0, 0, 0)
}

/// Logs with more keys than those of `logs`, and payloads that do not fit the table.
fn large_logs() -> impl Strategy<Value = Vec<Logged>> {
    let keys = prop::sample::select(vec![20u16, 200, 1_000]);
    let records = keys.prop_flat_map(|keys| prop::collection::vec((0..keys, 0..12u8), 0..1_500));
    records.prop_map(|records| {
        let record = |(offset, (key, kind)): (i64, (u16, u8))| Logged {
            offset: offset * 2,
            key: (kind != 11).then(|| format!("k{key}").into_bytes()),
            payload: match kind {
                0 | 1 => None,
                2 => Some(br#"{"v":"none"}"#.to_vec()),
                _ => Some(format!(r#"{{"v":{offset}}}"#).into_bytes()),
            },
        };
        (0..).zip(records).map(record).collect()
    })
}

/// The rows by key, or the offset of a row that does not fit the table.
fn fold(log: &[Logged], bad: OnBadRecord) -> Result<BTreeMap<String, Option<i64>>, i64> {
    let mut rows = BTreeMap::new();
    for record in log {
        let Some(key) = &record.key else { continue };
        let key = String::from_utf8(key.clone()).unwrap();
        let value = record.payload.as_deref().map(|payload| {
            let json: serde_json::Value = serde_json::from_slice(payload).unwrap();
            json["v"].as_i64()
        });
        match value {
            None => drop(rows.remove(&key)),
            Some(None) if bad == OnBadRecord::Skip => {}
            Some(value) => drop(rows.insert(key, (value, record.offset))),
        }
    }
    let misfit = rows.values().find(|(value, _)| value.is_none());
    match misfit {
        Some((_, offset)) if bad == OnBadRecord::Fail => Err(*offset),
        _ => Ok(rows.into_iter().map(|(k, (v, _))| (k, v)).collect()),
    }
}

fn found(batches: &[RecordBatch]) -> Vec<(String, Option<i64>)> {
    let rows = batches.iter().flat_map(|batch| {
        let keys = batch.column(0).as_string::<i32>();
        let values = batch.column(1).as_primitive::<Int64Type>();
        let value = |row| values.is_valid(row).then(|| values.value(row));
        (0..batch.num_rows()).map(move |row| (keys.value(row).to_owned(), value(row)))
    });
    rows.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_scan_with_a_disk_gives_the_rows_of_a_forward_read(
        log in large_logs(),
        sizes in sizes(),
        memory in prop::sample::select(vec![20_000usize, 6_000, 2_000, 1_000]),
        bad in prop::sample::select(vec![OnBadRecord::Fail, OnBadRecord::Skip, OnBadRecord::Null]),
        limit in prop::option::weighted(0.3, 0usize..300),
    ) {
        let range = OffsetRange { start: 0, end: log.last().map_or(0, |r| r.offset + 1) };
        let mut spec = spec("upsert", vec![0, 1], limit);
        Arc::make_mut(&mut spec.table).options.on_bad_record = bad;
        let context = disk(|disk| disk);
        let result = try_run(&spec, &log, range, sizes, 8, memory, Some(&context));
        prop_assert!(is_clean(&context));
        match (fold(&log, bad), result) {
            (Ok(expected), Ok(run)) => {
                let found = found(&run.batches);
                let count = limit.unwrap_or(usize::MAX).min(expected.len());
                prop_assert_eq!(found.len(), count);
                let unique: BTreeMap<_, _> = found.into_iter().collect();
                prop_assert_eq!(unique.len(), count, "a key came twice");
                prop_assert!(unique.iter().all(|(key, value)| expected.get(key) == Some(value)));
                prop_assert!(run.metrics.passes.as_usize() <= 1);
            }
            (Err(_), result) => prop_assert!(result.is_err() || limit.is_some()),
            (Ok(_), Err(error)) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn a_scan_with_a_disk_gives_the_rows_of_one_with_memory(
        log in logs(),
        sizes in sizes(),
        memory in prop::sample::select(vec![4_000usize, 2_000, 1_000]),
        columns in prop::sample::select(vec![vec![], vec![0], vec![4], vec![1, 3], vec![0, 1, 2, 3, 4]]),
        filter in prop::option::of(prop::sample::select(vec![
            "_offset > 100", "_key <> 'k3'", "_key IN ('k1', 'k20')", "v % 3 = 0",
            "_timestamp >= to_timestamp_millis(1020)",
        ])),
    ) {
        let range = OffsetRange { start: 0, end: log.last().map_or(0, |r| r.offset + 1) };
        let mut spec = spec("upsert", columns.clone(), None);
        if let Some(sql) = filter {
            spec.columns.extend((0..5).filter(|column| !columns.contains(column)));
            spec.filter = Some(physical(&spec, sql));
        }
        let context = disk(|disk| disk);
        let spilled = try_run(&spec, &log, range, sizes, 8, memory, Some(&context)).unwrap();
        let held = run(&spec, &log, range, sizes, 8);
        prop_assert_eq!(all_rows(&spilled.batches), all_rows(&held.batches));
        prop_assert!(is_clean(&context));
        let counts = |metrics: &ScanMetrics| {
            [&metrics.tombstones, &metrics.null_keys, &metrics.bad_records].map(|c| c.value())
        };
        if filter.is_none() {
            prop_assert_eq!(counts(&spilled.metrics), counts(&held.metrics));
            prop_assert_eq!(spilled.metrics.superseded.value(), held.metrics.superseded.value());
        }
    }
}

/// Reads a whole log with this much memory, and the disk of this context.
fn run_on(context: &TaskContext, log: &[Logged], memory: usize) -> DataFusionResult<Run> {
    let spec = spec("upsert", vec![0, 1], None);
    let sizes = ChunkSizes::default();
    try_run(&spec, log, whole(log), sizes, 8192, memory, Some(context))
}

#[test]
fn keys_that_memory_has_no_room_for_are_read_once_and_go_to_disk() {
    let log = numbered(100_000);
    let context = disk(|disk| disk);
    let result = run_on(&context, &log, 2_000_000);
    let result = result.unwrap();
    let unique: BTreeMap<_, _> = rows(&result.batches).into_iter().collect();
    assert_eq!(unique.len(), 100_000);
    assert_eq!(unique, model(&log, whole(&log)));
    assert_eq!(result.metrics.passes.as_usize(), 1);
    assert!(result.fetched < 102_000, "{} records", result.fetched);
    let spill = &result.metrics.spill;
    assert_eq!(spill.spill_file_count.value(), 1);
    let spilled = spill.spilled_rows.value();
    assert!((30_000..90_000).contains(&spilled), "{spilled} rows");
    assert!(spill.spilled_bytes.value() > spilled * 20);
    assert!(is_clean(&context));
    // Batches are as large as they would be without a disk.
    let batches = result.batches.len();
    assert!(batches < 60, "{batches} batches");
}

#[test]
fn parts_whose_keys_have_no_room_are_divided_again() {
    let mut log = numbered(20_000);
    for (record, n) in log.iter_mut().zip(0..) {
        record.key = Some(format!("k{}", n * 7_919 % 15_000).into_bytes());
    }
    let context = disk(|disk| disk);
    let result = run_on(&context, &log, 20_000);
    let result = result.unwrap();
    assert_eq!(rows(&result.batches).len(), 15_000);
    let unique: BTreeMap<_, _> = rows(&result.batches).into_iter().collect();
    assert_eq!(unique, model(&log, whole(&log)));
    let files = result.metrics.spill.spill_file_count.value();
    assert!(files > 10, "{files} files");
    assert_eq!(result.metrics.passes.as_usize(), 1);
    assert!(is_clean(&context));
}

#[test]
fn a_row_that_does_not_fit_fails_the_query_from_disk_too() {
    let mut log = numbered(20_000);
    log[3].payload = Some(br#"{"v":"none"}"#.to_vec());
    let context = disk(|disk| disk);
    let result = run_on(&context, &log, 300_000);
    let error = result.err().unwrap();
    let Some(Error::DecodePayload { offset: 3, .. }) = Error::find(&error) else {
        panic!("{error}");
    };
    assert!(is_clean(&context));
}

#[test]
fn a_limit_of_temporary_files_is_an_error_that_says_what_to_raise() {
    let log = numbered(100_000);
    let context = disk(|disk| disk.with_max_temp_directory_size(100_000));
    let result = run_on(&context, &log, 1_000_000);
    let error = result.err().unwrap().to_string();
    for part in [
        "topic `t` partition 0: the keys do not fit into memory",
        "temporary files have reached their limit of 97.7 KB",
        "`datafusion.runtime.max_temp_directory_size`",
        "`--disk-limit`",
        "`datafusion.runtime.memory_limit`",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(is_clean(&context));
    // The way on that the message names.
    manager(&context)
        .set_max_temp_directory_size(100_000_000)
        .unwrap();
    let result = run_on(&context, &log, 1_000_000);
    assert_eq!(rows(&result.unwrap().batches).len(), 100_000);
}

#[test]
fn without_temporary_files_the_keys_are_read_in_passes() {
    let log = numbered(100_000);
    for context in [
        disk(|disk| disk.with_mode(DiskManagerMode::Disabled)),
        disk(|disk| disk.with_max_temp_directory_size(0)),
    ] {
        let result = run_on(&context, &log, 2_000_000);
        let result = result.unwrap();
        assert_eq!(rows(&result.batches).len(), 100_000);
        assert!(result.metrics.passes.as_usize() > 1);
        assert_eq!(result.metrics.spill.spill_file_count.value(), 0);
    }
}
