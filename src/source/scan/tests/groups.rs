//! Tests scans of several partitions that one thread reads, in whatever order records arrive.

use std::cell::RefCell;

use super::*;
use crate::source::groups::divide;

/// Reads the partitions of each group at the same time. `turns` says whose records come next.
fn run_groups(
    spec: &ScanSpec,
    logs: &[Vec<Logged>],
    groups: &[Vec<i32>],
    turns: &[usize],
    sizes: ChunkSizes,
    memory_share: usize,
    disk: Option<&TaskContext>,
) -> Vec<RecordBatch> {
    let batches = RefCell::default();
    let fetched = Cell::default();
    let pool: Arc<dyn datafusion::execution::memory_pool::MemoryPool> =
        Arc::new(UnboundedMemoryPool::default());
    let memory = MemoryConsumer::new("test").register(&pool);
    for members in groups {
        let metrics = ScanMetrics::new(&ExecutionPlanMetricsSet::new(), 0);
        let group = scan_group(spec, &metrics, 8, memory_share, disk);
        let mut output = Collected {
            batches: Some(&batches),
        };
        let scan = |partition: &i32| {
            let log = &logs[*partition as usize];
            let fetch = LogFetch {
                log,
                position: 0,
                at_once: 3,
                fetched: &fetched,
            };
            let extent = Extent::of(whole(log));
            let memory = memory.new_empty();
            Scan::try_new(
                &group,
                *partition,
                extent,
                sizes,
                Arc::default(),
                memory,
                fetch,
            )
            .unwrap()
        };
        let mut scans: Vec<_> = members
            .iter()
            .filter(|partition| !whole(&logs[**partition as usize]).is_empty())
            .map(scan)
            .collect();
        let mut turns = turns.iter().copied().cycle();
        while !scans.is_empty() {
            let place = turns.next().unwrap() % scans.len();
            match scans[place].step(false, &mut output).unwrap() {
                Step::Waits => {}
                Step::Ended => drop(scans.remove(place)),
                Step::Stopped => break,
            }
        }
    }
    batches.into_inner()
}

/// The rows with their partitions, in the order of the columns `_key`, `v`, `_partition`.
fn rows_by_partition(batches: &[RecordBatch]) -> Vec<(i32, String, i64)> {
    let mut found = Vec::new();
    for batch in batches {
        let partitions = batch
            .column(2)
            .as_primitive::<arrow::datatypes::Int32Type>();
        for (row, (key, value)) in rows(std::slice::from_ref(batch)).into_iter().enumerate() {
            found.push((partitions.value(row), key, value));
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn however_partitions_are_grouped_each_has_its_rows(
        logs in prop::collection::vec(logs(), 1..6),
        most in prop::sample::select(vec![1usize, 3, usize::MAX]),
        turns in prop::collection::vec(0usize..1000, 1..50),
        sizes in sizes(),
        memory in prop::sample::select(vec![usize::MAX, 2_000]),
        has_disk in any::<bool>(),
        limit in prop::option::of(1usize..40),
    ) {
        let spec = spec("upsert", vec![0, 1, 3], limit);
        let weighed: Vec<_> = (0..).zip(&logs).map(|(p, log)| (p, log.len() as u64)).collect();
        let groups = divide(&weighed, most);
        let batches = {
            let context = TaskContext::default();
            let disk = has_disk.then_some(&context);
            run_groups(&spec, &logs, &groups, &turns, sizes, memory, disk)
        };
        let found = rows_by_partition(&batches);
        let mut expected: Vec<(i32, String, i64)> = Vec::new();
        for (partition, log) in (0..).zip(&logs) {
            let of_log = model(log, whole(log));
            expected.extend(of_log.into_iter().map(|(key, value)| (partition, key, value)));
        }
        let mut unique = found.clone();
        unique.sort();
        unique.dedup();
        prop_assert_eq!(unique.len(), found.len(), "a row came twice");
        match limit {
            None => {
                expected.sort();
                prop_assert_eq!(unique, expected);
            }
            Some(limit) => {
                prop_assert!(found.iter().all(|row| expected.contains(row)));
                let of_group = |group: &Vec<i32>| {
                    expected.iter().filter(|row| group.contains(&row.0)).count().min(limit)
                };
                let most: usize = groups.iter().map(of_group).sum();
                prop_assert_eq!(found.len(), most);
            }
        }
    }

    #[test]
    fn records_of_a_partition_keep_their_order_beside_others(
        logs in prop::collection::vec(logs(), 1..6),
        turns in prop::collection::vec(0usize..1000, 1..50),
    ) {
        let spec = spec("append", vec![0, 1, 3], None);
        let group: Vec<i32> = (0..).take(logs.len()).collect();
        let sizes = ChunkSizes::default();
        let batches = run_groups(&spec, &logs, &[group], &turns, sizes, usize::MAX, None);
        let found = rows_by_partition(&batches);
        for (partition, log) in (0..).zip(&logs) {
            let of_partition = found.iter().filter(|row| row.0 == partition);
            let values: Vec<i64> = of_partition.map(|row| row.2).collect();
            let expected: Vec<i64> = log.iter().filter_map(|r| r.payload.as_deref()).map(value).collect();
            prop_assert_eq!(values, expected);
        }
    }
}
