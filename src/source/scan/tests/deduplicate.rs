//! Checks deduplication by key against a model: random logs, cut into chunks of every size.

use super::*;

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
