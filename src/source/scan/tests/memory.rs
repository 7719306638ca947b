//! Tests how much memory a scan holds, and how it proceeds with little memory.

use datafusion::physical_plan::metrics::CustomMetricValue;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

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

#[test]
fn suddenly_large_records_do_not_make_a_chunk_of_many_times_its_size() {
    // Small records at the end make the next chunk span more offsets, which hold large records.
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
fn records_as_large_as_the_part_of_the_memory_take_one_pass() {
    let range = OffsetRange { start: 0, end: 90 };
    let mut log = numbered(90);
    for (record, n) in log.iter_mut().zip(0..) {
        record.key = Some(format!("k{}", n % 60).into_bytes());
        // One large record among small ones, and a few large ones in a row.
        let padding = if n % 7 < 3 { 20_000 } else { 1 };
        let payload = format!(r#"{{"v":{n},"padding":"{}"}}"#, "x".repeat(padding));
        record.payload = Some(payload.into_bytes());
    }
    let spec = spec("upsert", vec![0, 1], None);
    for memory in [15_000, 20_000, 20_500, 25_000, 100_000] {
        let result = run_within(&spec, &log, range, ChunkSizes::default(), 8192, memory);
        let found: BTreeMap<_, _> = rows(&result.batches).into_iter().collect();
        assert_eq!(found, model(&log, range), "{memory}");
        assert_eq!(result.metrics.passes.as_usize(), 1, "{memory}");
        assert!(result.fetched < 1_000, "{memory}: {}", result.fetched);
    }
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
    let group = scan_group(&spec, &metrics, 100, usize::MAX, None);
    let mut rows = Batches::new(made, &group, usize::MAX);
    let batches = std::cell::RefCell::default();
    let mut output = Collected {
        batches: Some(&batches),
    };
    assert!(rows.extend(log.iter(), &mut output).unwrap());
    assert!(rows.built() <= 200, "{} rows", rows.built());
    assert!(batches.into_inner().is_empty());
}
