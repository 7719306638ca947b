//! The execution of a plan: repeated, at one snapshot, dropped, with little memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan as _, collect, displayable, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_kafka::KafkaScanExec;
use futures::{StreamExt, TryStreamExt as _};

use super::{COLUMNS, number};
use crate::broker::{self, PATIENCE, Rec, SASL_USER, wait_until};
use crate::declared::{APPEND, Declared, in_time};
use crate::session::cells;

// Plans.

#[tokio::test]
async fn a_plan_can_run_again_and_its_partitions_in_any_order() {
    let Some(broker) = broker::required("a_plan_can_run_again") else {
        return;
    };
    let topic = broker.new_topic("again", 3, &[]);
    let records = |value: i64| {
        let one = |n: i32| number(&format!("k{n}"), value).partition(n % 3);
        (0..30).map(one).collect::<Vec<_>>()
    };
    broker.produce(&topic, &records(1));
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    // As many output partitions as the topic has partitions.
    table
        .rows("SET datafusion.execution.target_partitions = 3")
        .await;
    let frame = table.ctx.sql("SELECT v FROM t").await.unwrap();
    let plan = frame.clone().create_physical_plan().await.unwrap();
    let run = |context| {
        let collected = collect(Arc::clone(&plan), context);
        async { cells(&in_time("again", collected).await.unwrap()).concat() }
    };
    let context = table.ctx.task_ctx();
    assert_eq!(run(Arc::clone(&context)).await, vec!["1"; 30]);
    assert_eq!(run(Arc::clone(&context)).await, vec!["1"; 30]);
    broker.produce(&topic, &records(2));
    // The ends belong to the plan.
    assert_eq!(run(Arc::clone(&context)).await, vec!["1"; 30]);
    assert_eq!(run(table.ctx.task_ctx()).await, vec!["1"; 30]);
    // A DataFrame is planned at each execution.
    let again = in_time("again", frame.collect()).await.unwrap();
    assert_eq!(cells(&again).concat(), vec!["2"; 30]);

    let scan = scan_of(&plan);
    for partition in [2, 2, 0, 1, 1] {
        let stream = scan.execute(partition, Arc::clone(&context)).unwrap();
        let batches: Vec<_> = in_time("a partition", stream.collect()).await;
        let batches: Vec<_> = batches.into_iter().map(Result::unwrap).collect();
        assert_eq!(cells(&batches).concat(), vec!["1"; 10], "{partition}");
    }
}

/// The executions start the same partitions in turn. Contexts do not always tell them apart: over
/// DataFusion's foreign function interface, each partition has a context of its own.
#[tokio::test]
async fn a_plan_can_run_twice_at_the_same_time() {
    let Some(broker) = broker::required("a_plan_can_run_twice_at_the_same_time") else {
        return;
    };
    let records = |keys: &[&str]| {
        let one = |(n, key): (usize, &&str)| number(key, 1).partition(n as i32 % 2);
        keys.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    for (is_known, [a, b, c, d]) in [(true, [0, 1, 0, 1]), (false, [0, 1, 2, 3])] {
        let topic = broker.new_topic("twice", 2, &[]);
        broker.produce(&topic, &records(&["a", "b", "c", "d"]));
        let check = ("kafka.check_keys", "fail");
        let table = Declared::new(broker, &topic, COLUMNS, &[check]).await;
        let set = "SET datafusion.execution.target_partitions = 2";
        table.rows(set).await;
        let contexts = [(); 4].map(|()| table.ctx.task_ctx());
        // Both results of each of two executions at the same time.
        let twice = async || {
            let frame = table.ctx.sql("SELECT v FROM t").await.unwrap();
            let plan = frame.create_physical_plan().await.unwrap();
            let scan = scan_of(&plan);
            let streams = [(0, a), (0, b), (1, c), (1, d)];
            let streams = streams
                .map(|(partition, nth)| scan.execute(partition, Arc::clone(&contexts[nth])))
                .map(|stream| stream.unwrap().try_collect::<Vec<_>>());
            in_time("two runs", futures::future::join_all(streams)).await
        };
        for batches in twice().await {
            assert_eq!(cells(&batches.unwrap()).concat(), ["1", "1"], "{is_known}");
        }
        // Key `a` is now in both partitions, and each of the runs finds that out.
        broker.produce(&topic, &records(&["x", "a"]));
        let results = twice().await;
        let failed = |run: [usize; 2]| run.iter().any(|nth| results[*nth].is_err());
        match is_known {
            true => assert!(failed([0, 2]) && failed([1, 3])),
            false => assert!(results.iter().filter(|result| result.is_err()).count() >= 2),
        }
    }
}

#[tokio::test]
async fn a_plan_that_keeps_what_its_run_found_out_does_not_run_again_unless_it_is_reset() {
    let Some(broker) = broker::required("a_plan_that_keeps_what_its_run_found_out") else {
        return;
    };
    let topic = broker.new_topic("kept", 2, &[]);
    let records: Vec<Rec> = (0..100).map(|n| number(&format!("k{n}"), n)).collect();
    broker.produce(&topic, &records);
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    table
        .rows("CREATE TABLE w AS VALUES ('k99'), ('k98'), ('k97')")
        .await;
    for (sql, before, after) in [
        (
            "SELECT v FROM t ORDER BY v DESC LIMIT 3",
            &["99", "98", "97"][..],
            &["98", "97", "96"][..],
        ),
        (
            "SELECT v FROM w JOIN t ON column1 = _key ORDER BY v DESC",
            &["99", "98", "97"],
            &["98", "97"],
        ),
    ] {
        broker.produce(&topic, &[number("k99", 99)]);
        let frame = table.ctx.sql(sql).await.unwrap();
        let plan = frame.clone().create_physical_plan().await.unwrap();
        let run = |plan| async {
            let answer = in_time(sql, collect(plan, table.ctx.task_ctx())).await;
            answer.map(|batches| cells(&batches).concat())
        };
        assert_eq!(run(Arc::clone(&plan)).await.unwrap(), before, "{sql}");
        broker.produce(&topic, &[Rec::tombstone("k99")]);
        let error = run(Arc::clone(&plan)).await.unwrap_err().to_string();
        assert!(error.contains("plan the query again"), "{sql}: {error}");
        // A DataFrame is planned at each execution.
        let again = in_time(sql, frame.collect()).await.unwrap();
        assert_eq!(cells(&again).concat(), after, "{sql}");
        let reset = reset_plan_states(plan).unwrap();
        assert_eq!(run(reset).await.unwrap(), before, "{sql}");
    }
}

/// A nested loop join starts its input a second time when the memory pool is exhausted. What the
/// filters of joins below learned still applies then.
#[tokio::test]
async fn an_input_that_is_started_again_for_lack_of_memory_is_read_again() {
    let Some(broker) = broker::required("an_input_that_is_started_again") else {
        return;
    };
    let topic = broker.new_topic("restarted", 2, &[]);
    let padding = "x".repeat(1_000);
    let records: Vec<Rec> = (0..10_000)
        .map(|n| {
            let payload = format!(r#"{{"v":{n},"padding":"{padding}"}}"#);
            Rec::new(format!("k{n}"), payload)
        })
        .collect();
    broker.produce(&topic, &records);
    let table = Declared::new(
        broker,
        &topic,
        "_key VARCHAR, v BIGINT, padding VARCHAR",
        &[],
    )
    .await;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(8_400_000, 1.0)
        .build_arc()
        .unwrap();
    let mut config = SessionConfig::new();
    config.options_mut().optimizer.join_reordering = false;
    let ctx = SessionContext::new_with_config_rt(config, runtime);
    let provider = table.ctx.table_provider("t").await.unwrap();
    ctx.register_table("t", provider).unwrap();
    let wanted = "CREATE TABLE w AS SELECT concat('k', value) AS k FROM generate_series(0, 9998)";
    ctx.sql(wanted).await.unwrap();
    let sql = "SELECT count(l.padding), sum(l.v) \
               FROM (SELECT t.v, t.padding FROM w JOIN t ON w.k = t._key) AS l \
               JOIN (VALUES (0), (9997)) AS r (n) ON l.v > r.n";
    let frame = ctx.sql(sql).await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    let shown = displayable(plan.as_ref()).indent(false).to_string();
    assert!(shown.contains("NestedLoopJoinExec"), "{shown}");
    assert!(shown.contains("DynamicFilter"), "{shown}");
    let answer = in_time(sql, collect(Arc::clone(&plan), ctx.task_ctx())).await;
    let expected = [["9999", "49994999"]];
    assert_eq!(cells(&answer.unwrap()), expected, "{shown}");
    let metrics = KafkaScanExec::all_in(&plan)[0].metrics().unwrap();
    let fetched = metrics.sum_by_name("records_fetched").unwrap().as_usize();
    assert!(fetched > 10_000, "{fetched}: nothing was read again");
}

pub(super) fn scan_of(
    plan: &Arc<dyn datafusion::physical_plan::ExecutionPlan>,
) -> Arc<dyn datafusion::physical_plan::ExecutionPlan> {
    match plan.children().first() {
        Some(child) => scan_of(child),
        None => Arc::clone(plan),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_self_join_are_equal_while_somebody_writes() {
    let Some(broker) = broker::required("both_sides_of_a_self_join") else {
        return;
    };
    let topic = broker.new_topic("joined", 3, &[]);
    let batch = |from: i64| -> Vec<Rec> {
        (from..from + 300)
            .map(|n| number(&format!("k{}", n % 1_000), n))
            .collect()
    };
    broker.produce(&topic, &batch(0));
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    let done = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (topic, done) = (topic.clone(), Arc::clone(&done));
        move || {
            let mut written = 300;
            while !done.load(Ordering::Relaxed) {
                broker.produce(&topic, &batch(written));
                written += 300;
            }
            written
        }
    });
    let join = "SELECT count(*) FROM t AS l FULL JOIN t AS r ON l._key = r._key \
                WHERE l.v IS DISTINCT FROM r.v";
    let mut unequal = Vec::new();
    for _ in 0..30 {
        unequal.extend(table.rows(join).await);
    }
    done.store(true, Ordering::Relaxed);
    let written = writer.join().unwrap();
    assert!(
        written > 600,
        "only {written} records were written meanwhile"
    );
    assert_eq!(unequal, vec!["0"; 30]);
}

/// So many partitions that two clients read them.
#[tokio::test(flavor = "multi_thread")]
async fn the_latest_of_many_records_are_read() {
    let Some(broker) = broker::required("the_latest_of_many_records") else {
        return;
    };
    let topic = broker.new_topic("many", 4, &[]);
    let one = |n: i32| {
        let key = format!("k{}", n % 10_000);
        let record = match n % 10_000 {
            deleted if deleted % 10 == 7 && n >= 200_000 => Rec::tombstone(&key),
            _ => number(&key, i64::from(n)),
        };
        record.partition(n % 4)
    };
    let records: Vec<Rec> = (0..210_000).map(one).collect();
    broker.produce(&topic, &records);
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    let rows = "SELECT count(*), count(DISTINCT _key), min(v), max(v), sum(v) FROM t";
    let latest = (200_000..210_000).filter(|v| v % 10 != 7);
    let sum: i64 = latest.sum();
    let expected = vec![format!("9000|9000|200000|209999|{sum}")];
    assert_eq!(table.rows(rows).await, expected);
    let append = Declared::new(broker, &topic, COLUMNS, &[APPEND]).await;
    let upserts = append.rows("SELECT count(*) FROM t").await;
    assert_eq!(upserts, ["209000"]);
    // Both clients need a token before they may connect.
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let principal = format!("principal={SASL_USER}");
    let login = [
        ("kafka.bootstrap.servers", servers.as_str()),
        ("kafka.client.security.protocol", "sasl_plaintext"),
        ("kafka.client.sasl.mechanism", "OAUTHBEARER"),
        ("kafka.client.sasl.oauthbearer.config", &principal),
        ("kafka.client.enable.sasl.oauthbearer.unsecure.jwt", "true"),
    ];
    let table = Declared::new(broker, &topic, COLUMNS, &login).await;
    assert_eq!(table.rows(rows).await, expected);
}

/// Linux keeps only 15 bytes of a thread's name.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_ends_its_threads() {
    let Some(broker) = broker::required("a_dropped_stream") else {
        return;
    };
    // A name that no topic of another test starts with.
    let topic = broker.new_topic("qqqq", 3, &[]);
    let one = |n: i32| number(&format!("k{n}"), i64::from(n)).partition(n % 3);
    let records: Vec<Rec> = (0..150_000).map(one).collect();
    broker.produce(&topic, &records);
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| {
            // A thread may end while its name is read.
            std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
        });
        names
            .filter(|name| name.starts_with("kafka-scan-qqqq"))
            .count()
    };
    for options in [&[][..], &[APPEND]] {
        let table = Declared::new(broker, &topic, COLUMNS, options).await;
        let frame = table.ctx.sql("SELECT v FROM t").await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let mut stream = execute_stream(plan, table.ctx.task_ctx()).unwrap();
        let first = in_time("a batch", stream.next()).await;
        assert!(first.unwrap().unwrap().num_rows() > 0);
        assert!(threads() > 0, "nobody reads 150 000 records in one batch");
        drop(stream);
        wait_until(PATIENCE, "the threads end", || threads() == 0);
    }
}

#[tokio::test]
async fn little_memory_makes_smaller_chunks_and_more_passes_and_too_little_names_the_topic() {
    let Some(broker) = broker::required("little_memory") else {
        return;
    };
    let topic = broker.new_topic("memory", 1, &[]);
    let padding = "x".repeat(1_000);
    let records: Vec<Rec> = (0..5_000)
        .map(|n| {
            Rec::new(
                format!("key-{n}"),
                format!(r#"{{"v":{n},"padding":"{padding}"}}"#),
            )
        })
        .collect();
    broker.produce(&topic, &records);
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    for (bytes, enough) in [(600_000, true), (300_000, true), (1_500, false)] {
        match rows_within(&table, bytes).await {
            Ok(rows) => assert!(enough && rows == 5_000, "{rows} rows with {bytes} bytes"),
            Err(error) => assert!(!enough && error.contains(&topic), "{bytes}: {error}"),
        }
    }
}

#[tokio::test]
async fn records_as_large_as_a_partitions_part_of_the_memory_are_read() {
    let Some(broker) = broker::required("records_as_large_as_a_partitions_part") else {
        return;
    };
    // Half of the 10 MB is available to the partitions.
    const POOL: usize = 10_000_000;
    for (partitions, size) in [(1, 1_000_000), (4, 1_000_000), (5, 995_000), (8, 900_000)] {
        let topic = broker.new_topic("large", partitions, &[("max.message.bytes", "20000000")]);
        let padding = "x".repeat(size);
        // Each key has three records, the last of which hides the others.
        let record = |n: i32| {
            let payload = format!(r#"{{"v":{n},"padding":"{padding}"}}"#);
            let record = Rec::new(format!("k{}", n % 16), payload);
            record.partition(n % 16 % partitions)
        };
        let records: Vec<Rec> = (0..48).map(record).collect();
        broker.produce(&topic, &records);
        for (mode, limit, rows) in [
            ("upsert", "", 32..48),
            ("append", "", 0..48),
            ("upsert", "LIMIT 5", 0..5),
            ("append", "LIMIT 5", 0..5),
        ] {
            let table = Declared::new(broker, &topic, COLUMNS, &[("kafka.mode", mode)]).await;
            let sql = format!("SELECT v FROM t {limit}");
            let found = within(&table, POOL, &sql).await;
            let (mut found, passes) = found.unwrap();
            found.sort_unstable();
            match limit {
                "" => assert_eq!(
                    found,
                    Vec::from_iter(rows),
                    "{partitions} of {size}: {mode}"
                ),
                _ => assert_eq!(found.len(), rows.count(), "{partitions} of {size}: {mode}"),
            }
            assert!(
                passes <= partitions as usize,
                "{passes} passes: {mode} {limit}"
            );
        }
    }
}

#[tokio::test]
async fn a_record_that_memory_has_no_room_for_is_an_error_that_says_what_to_raise() {
    let Some(broker) = broker::required("a_record_that_memory_has_no_room_for") else {
        return;
    };
    let topic = broker.new_topic("huge", 2, &[("max.message.bytes", "20000000")]);
    let payload = format!(r#"{{"v":1,"padding":"{}"}}"#, "x".repeat(3_000_000));
    let larger = [("message.max.bytes", "20000000")];
    broker.produce_with(&topic, &[Rec::new("k", payload).partition(1)], &larger);
    for mode in ["upsert", "append"] {
        let table = Declared::new(broker, &topic, COLUMNS, &[("kafka.mode", mode)]).await;
        let error = within(&table, 2_000_000, "SELECT v FROM t")
            .await
            .unwrap_err();
        for part in [
            &format!("topic `{topic}` partition 1"),
            "the memory pool has no room for",
            "raise its limit (`datafusion.runtime.memory_limit`",
        ] {
            assert!(error.contains(part), "{mode}: {error}");
        }
        // The way on that the message names.
        let found = within(&table, 8_000_000, "SELECT v FROM t").await;
        assert_eq!(found.unwrap().0, [1], "{mode}");
    }
}

/// The number of rows of a table in a session with this much memory, or the error.
async fn rows_within(table: &Declared, bytes: usize) -> Result<usize, String> {
    within(table, bytes, "SELECT v FROM t")
        .await
        .map(|(rows, _)| rows.len())
}

/// The numbers that a query returns in a session with this much memory, and the number of passes,
/// or the error.
async fn within(table: &Declared, bytes: usize, sql: &str) -> Result<(Vec<i64>, usize), String> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(bytes, 1.0)
        .build_arc()
        .unwrap();
    let ctx = SessionContext::new_with_config_rt(SessionConfig::new(), runtime);
    let provider = table.ctx.table_provider("t").await.unwrap();
    ctx.register_table("t", provider).unwrap();
    let frame = ctx.sql(sql).await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    let mut stream = execute_stream(Arc::clone(&plan), ctx.task_ctx()).unwrap();
    let mut rows = Vec::new();
    while let Some(batch) = in_time("a batch", stream.next()).await {
        let batch = batch.map_err(|error| error.to_string())?;
        let numbers = batch.column(0).as_primitive::<Int64Type>();
        rows.extend(numbers.values());
    }
    let metrics = scan_of(&plan).metrics().unwrap().aggregate_by_name();
    let mut metrics = metrics.iter();
    let passes = metrics.find(|metric| metric.value().name() == "passes");
    Ok((rows, passes.map_or(0, |passes| passes.value().as_usize())))
}

#[tokio::test]
async fn small_records_fit_into_little_memory_however_many_there_are() {
    let Some(broker) = broker::required("small_records_fit") else {
        return;
    };
    let topic = broker.new_topic("small", 1, &[]);
    let records: Vec<Rec> = (0..40_000).map(|n| number("k", n)).collect();
    broker.produce(&topic, &records);
    let table = Declared::new(broker, &topic, COLUMNS, &[APPEND]).await;
    assert_eq!(rows_within(&table, 3_000_000).await, Ok(40_000));
}
