//! How filters limit what a query reads from a topic, as shown by EXPLAIN and the metrics.

use std::sync::Arc;

use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::common::stats::Precision;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, collect, common};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_kafka::{KafkaScanExec, KafkaTable};

use crate::broker::{self, Broker, PATIENCE, Rec, wait_until};
use crate::declared::{APPEND, Declared, in_time};
use crate::session::cells;

const COLUMNS: &str =
    "_key VARCHAR, v BIGINT, _partition INT, _offset BIGINT, _timestamp TIMESTAMP";

/// Two partitions of 500 records each, with one record per key and second.
fn topic(broker: &Broker) -> String {
    let topic = broker.new_topic("pushdown", 2, &[("retention.ms", "-1")]);
    let records: Vec<Rec> = (0..1000)
        .map(|n: i64| {
            Rec::new(format!("k{n}"), format!("{{\"v\":{n}}}"))
                .partition((n % 2) as i32)
                .timestamp(1_700_000_000_000 + n * 1000)
        })
        .collect();
    broker.produce(&topic, &records);
    topic
}

/// The scans of a plan.
fn scans(plan: &Arc<dyn ExecutionPlan>) -> Vec<Arc<dyn ExecutionPlan>> {
    if plan.is::<KafkaScanExec>() {
        return vec![Arc::clone(plan)];
    }
    plan.children().into_iter().flat_map(scans).collect()
}

/// The rows, the description of each scan in EXPLAIN, and how many records each scan fetched.
async fn run(ctx: &SessionContext, sql: &str) -> (Vec<String>, Vec<(String, usize)>) {
    let work = async {
        let plan = ctx
            .sql(sql)
            .await
            .unwrap()
            .create_physical_plan()
            .await
            .unwrap();
        // The plan before dynamic filters exist.
        let texts: Vec<String> = scans(&plan)
            .iter()
            .map(|scan| format!("{scan:?}"))
            .collect();
        let batches = collect(Arc::clone(&plan), ctx.task_ctx()).await.unwrap();
        let mut rows: Vec<String> = cells(&batches).iter().map(|row| row.join("|")).collect();
        rows.sort_unstable();
        let fetched = scans(&plan).into_iter().map(|scan| {
            let metrics = scan.metrics().unwrap().aggregate_by_name();
            metrics.sum_by_name("records_fetched").unwrap().as_usize()
        });
        (rows, texts.into_iter().zip(fetched).collect())
    };
    in_time(sql, work).await
}

#[tokio::test]
async fn explain_says_what_a_filter_leaves_to_be_read() {
    let Some(broker) = broker::required("explain_says_what_a_filter_leaves") else {
        return;
    };
    let topic = topic(broker);
    let append: &[(&str, &str)] = &[APPEND];
    let time = "_timestamp >= '2023-11-14T22:29:00'";
    for (options, filter, rows, explained, most) in [
        (&[][..], "_partition = 1", 500, "partitions=1 of 2,", 500),
        (
            append,
            "_partition IN (1, 9)",
            500,
            "partitions=1 of 2,",
            500,
        ),
        (&[], "_partition = 7", 0, "partitions=1 of 2,", 0),
        (&[], "_offset >= 450", 100, "reads=[_offset >= 450]", 100),
        (
            append,
            "_offset BETWEEN 450 AND 459",
            20,
            "reads=[_offset >= 450, _offset <= 459]",
            30,
        ),
        (&[], "_offset < 10", 20, "filter=", 2000),
        (append, "_offset < 10", 20, "reads=[_offset <= 9]", 30),
        (
            &[],
            time,
            60,
            "reads=[_timestamp >= 2023-11-14T22:29:00.000Z]",
            70,
        ),
        (
            append,
            time,
            60,
            "reads=[_timestamp >= 2023-11-14T22:29:00.000Z]",
            70,
        ),
        (
            append,
            "_timestamp < '2023-11-14T22:13:30'",
            10,
            "filter=",
            2000,
        ),
        (
            &[],
            "_key = 'k990' AND _partition = 0",
            1,
            "reads=[_key in 1 value]",
            256,
        ),
        (
            append,
            "_key IN ('k1', 'k3')",
            2,
            "reads=[_key in 2 values]",
            2000,
        ),
        (
            &[],
            "(_partition = 0 AND _offset >= 490) OR (_partition = 1 AND _offset >= 499)",
            11,
            "reads=[_offset >= 490]",
            11,
        ),
    ] {
        let table = Declared::new(broker, &topic, COLUMNS, options).await;
        let sql = format!("SELECT v FROM t WHERE {filter}");
        let (found, scans) = run(&table.ctx, &sql).await;
        assert_eq!(found.len(), rows, "{sql}");
        let (text, fetched) = &scans[0];
        assert!(text.contains(explained), "{sql}: {text}");
        assert!(*fetched <= most, "{sql}: {fetched} records were fetched");
    }
}

#[tokio::test]
async fn a_scan_says_how_many_records_there_are_to_read() {
    let Some(broker) = broker::required("a_scan_says_how_many_records_there_are_to_read") else {
        return;
    };
    let topic = topic(broker);
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    for (filter, records) in [
        ("v >= 0", 1000),
        ("_partition = 1", 500),
        ("_offset >= 450", 100),
        ("_partition = 7", 0),
    ] {
        let sql = format!("SELECT v FROM t WHERE {filter}");
        let plan = async { table.ctx.sql(&sql).await?.create_physical_plan().await };
        let plan = in_time(&sql, plan).await.unwrap();
        let scans = KafkaScanExec::all_in(&plan);
        assert_eq!(scans[0].records_at_most(), Some(records), "{sql}");
    }
}

#[tokio::test]
async fn filters_made_by_the_running_query_decide_what_is_read() {
    let Some(broker) = broker::required("filters_made_by_the_running_query") else {
        return;
    };
    let topic = topic(broker);
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    table
        .rows("CREATE TABLE wanted AS VALUES ('k998'), ('k999')")
        .await;
    let join = "SELECT t.v FROM wanted JOIN t ON wanted.column1 = t._key";
    let (rows, scans) = run(&table.ctx, join).await;
    assert_eq!(rows, ["998", "999"]);
    let (text, fetched) = &scans[0];
    assert!(text.contains("DynamicFilter"), "{text}");
    // Neither partition has both keys, so both are read. Nothing else is decoded.
    assert!(*fetched <= 1000, "{fetched} records were fetched");

    let newest = "SELECT v FROM t WHERE _partition = 0 ORDER BY _offset DESC NULLS LAST LIMIT 2";
    let (rows, scans) = run(&table.ctx, newest).await;
    assert_eq!(rows, ["996", "998"]);
    let (text, _) = &scans[0];
    assert!(text.contains("DynamicFilter"), "{text}");
}

#[tokio::test]
async fn a_key_that_lives_in_one_partition_ends_the_reading_of_all() {
    let Some(broker) = broker::required("a_key_that_lives_in_one_partition") else {
        return;
    };
    let topic = broker.new_topic("pushdown_pk", 1, &[]);
    let records: Vec<Rec> = (0..2000)
        .map(|n| Rec::new(format!("k{n}"), format!("{{\"v\":{n}}}")))
        .collect();
    broker.produce(&topic, &records);
    let table = Declared::new(
        broker,
        &topic,
        "_key VARCHAR, v BIGINT, PRIMARY KEY (_key)",
        &[],
    )
    .await;
    let (rows, scans) = run(&table.ctx, "SELECT v FROM t WHERE _key = 'k1999'").await;
    assert_eq!(rows, ["1999"]);
    assert!(scans[0].1 <= 256, "{} records were fetched", scans[0].1);
    let (rows, _) = run(&table.ctx, "SELECT v FROM t WHERE _key IN ('k0', 'nobody')").await;
    assert_eq!(rows, ["0"]);
}

#[tokio::test]
async fn a_filter_above_a_limit_stays_above_it() {
    let Some(broker) = broker::required("a_filter_above_a_limit") else {
        return;
    };
    let topic = topic(broker);
    let table = Declared::new(broker, &topic, COLUMNS, &[APPEND]).await;
    let limited =
        "SELECT count(*) FROM (SELECT * FROM t WHERE _partition = 0 LIMIT 10) WHERE _offset >= 5";
    assert_eq!(table.rows(limited).await, ["5"]);
    let top = "SELECT v FROM (SELECT * FROM t WHERE _partition = 0 LIMIT 10) ORDER BY _offset DESC LIMIT 1";
    assert_eq!(table.rows(top).await, ["18"]);
}

#[tokio::test]
async fn a_topic_with_more_keys_than_memory_is_read_in_several_passes_without_a_disk() {
    let Some(broker) = broker::required("a_topic_with_more_keys_than_memory") else {
        return;
    };
    let topic = broker.new_topic("passes", 2, &[]);
    let records: Vec<Rec> = (0..60_000)
        .map(|n: i64| {
            Rec::new(format!("key-{}", n % 50_000), format!("{{\"v\":{n}}}"))
                .partition((n % 2) as i32)
        })
        .collect();
    broker.produce(&topic, &records);
    let mut answers = Vec::new();
    for limit in [None, Some(1_500_000)] {
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let mut runtime = RuntimeEnvBuilder::new().with_disk_manager_builder(disk);
        if let Some(limit) = limit {
            runtime = runtime.with_memory_limit(limit, 1.0);
        }
        let config = SessionConfig::new().with_target_partitions(2);
        let ctx = SessionContext::new_with_config_rt(config, runtime.build_arc().unwrap());
        let table = KafkaTable::builder(&topic)
            .with_option("kafka.bootstrap.servers", &broker.servers)
            .build()
            .await
            .unwrap();
        ctx.register_table("t", Arc::new(table)).unwrap();
        let sql = "SELECT count(*), sum(v), min(_key), max(_key) FROM t";
        let plan = ctx
            .sql(sql)
            .await
            .unwrap()
            .create_physical_plan()
            .await
            .unwrap();
        let batches = in_time(sql, collect(Arc::clone(&plan), ctx.task_ctx()))
            .await
            .unwrap();
        let metrics = scans(&plan)[0].metrics().unwrap().aggregate_by_name();
        let passes = metrics
            .iter()
            .find(|metric| metric.value().name() == "passes");
        let passes = passes.unwrap().value().as_usize();
        assert_eq!(passes > 1, limit.is_some(), "{passes} passes");
        answers.push(cells(&batches));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0][0][0], "50000");
}

#[tokio::test]
async fn a_record_larger_than_its_partitions_part_of_the_memory_is_read() {
    let Some(broker) = broker::required("a_record_larger_than_its_partitions") else {
        return;
    };
    let topic = broker.new_topic("large", 16, &[]);
    let large = format!("{{\"v\":\"{}\"}}", "x".repeat(900_000));
    broker.produce(
        &topic,
        &[
            Rec::new("large", large).partition(3),
            Rec::new("small", "{\"v\":\"y\"}").partition(1),
        ],
    );
    let runtime = RuntimeEnvBuilder::new().with_memory_limit(8_000_000, 1.0);
    let ctx =
        SessionContext::new_with_config_rt(SessionConfig::new(), runtime.build_arc().unwrap());
    let table = KafkaTable::builder(&topic)
        .with_option("kafka.bootstrap.servers", &broker.servers)
        .build()
        .await
        .unwrap();
    ctx.register_table("t", Arc::new(table)).unwrap();
    for sql in [
        "SELECT _key FROM t",
        "SELECT _key FROM t WHERE v IS NOT NULL",
    ] {
        let rows = in_time(sql, async { ctx.sql(sql).await?.collect().await }).await;
        let mut rows = cells(&rows.unwrap());
        rows.sort();
        assert_eq!(rows, [["large"], ["small"]]);
    }
}

#[tokio::test]
async fn what_append_mode_holds_is_reserved_and_no_more_than_there_is() {
    let Some(broker) = broker::required("what_append_mode_holds_is_reserved") else {
        return;
    };
    let topic = broker.new_topic("held", 1, &[]);
    let value = |n: usize| format!("{{\"v\":\"{}\"}}", "x".repeat(n));
    let records: Vec<Rec> = (0..100)
        .map(|n| Rec::new(format!("{n}"), value(100_000)))
        .collect();
    broker.produce(&topic, &records);
    let sql = "SELECT CAST(count(v) AS VARCHAR) FROM t";
    let run = |limit| {
        let topic = topic.clone();
        async move {
            let runtime = RuntimeEnvBuilder::new().with_memory_limit(limit, 1.0);
            let config = SessionConfig::new().with_target_partitions(1);
            let ctx = SessionContext::new_with_config_rt(config, runtime.build_arc().unwrap());
            let table = KafkaTable::builder(&topic)
                .with_option("kafka.bootstrap.servers", &broker.servers)
                .with_option("kafka.mode", "append")
                .build()
                .await
                .unwrap();
            ctx.register_table("t", Arc::new(table)).unwrap();
            in_time(sql, async { ctx.sql(sql).await?.collect().await }).await
        }
    };
    assert_eq!(cells(&run(3_000_000).await.unwrap()), [["100"]]);
    let error = run(50_000).await.unwrap_err().to_string();
    assert!(
        error.contains("Resources exhausted") && error.contains(&topic),
        "{error}"
    );
}

#[tokio::test]
async fn with_the_partitioner_known_only_the_partitions_of_the_keys_are_read() {
    let Some(broker) = broker::required("with_the_partitioner_known") else {
        return;
    };
    for partitioner in ["murmur2", "crc32"] {
        let topic = broker.new_topic("partitioner", 5, &[]);
        let option = ("kafka.partitioner", partitioner);
        let table = Declared::new(
            broker,
            &topic,
            "_key VARCHAR, v BIGINT, _partition INT",
            &[option],
        )
        .await;
        let insert =
            "INSERT INTO t (_key, v) SELECT 'ä-' || value, value FROM generate_series(1, 200)";
        assert_eq!(table.rows(insert).await, ["200"]);
        let spread = table.rows("SELECT DISTINCT _partition FROM t").await;
        assert_eq!(spread.len(), 5);
        for key in 1..=20 {
            let sql = format!("SELECT v FROM t WHERE _key = 'ä-{key}'");
            let (rows, scans) = run(&table.ctx, &sql).await;
            assert_eq!(rows, [key.to_string()], "{partitioner}");
            assert!(scans[0].0.contains("partitions=1 of 5,"), "{}", scans[0].0);
            // Of the 200 records, only those of the key's partition are read.
            assert!(scans[0].1 < 100, "{} records", scans[0].1);
        }
    }
    let both = [
        ("kafka.partitioner", "crc32"),
        ("kafka.producer.partitioner", "random"),
    ];
    let error = Declared::try_new(broker, "any", "v INT", &both)
        .await
        .err()
        .unwrap();
    assert!(error.contains("set the same thing"), "{error}");
}

#[tokio::test]
async fn a_key_in_two_partitions_is_found_where_that_is_asked_for() {
    let Some(broker) = broker::required("a_key_in_two_partitions") else {
        return;
    };
    let topic = broker.new_topic("homes", 2, &[]);
    let value = |key: &str, v: i64| Rec::new(key, format!("{{\"v\":{v}}}"));
    broker.produce(
        &topic,
        &[
            value("a", 1).partition(0),
            value("a", 2).partition(0),
            value("b", 3).partition(1),
        ],
    );
    let check = ("kafka.check_keys", "fail");
    let columns = "_key VARCHAR, v BIGINT";
    let good = Declared::new(broker, &topic, columns, &[check]).await;
    assert_eq!(good.rows("SELECT * FROM t").await, ["a|2", "b|3"]);

    // A tombstone in another partition than its row also means that a key is in two partitions.
    broker.produce(&topic, &[Rec::tombstone("a").partition(1)]);
    let error = good.error("SELECT * FROM t").await;
    assert!(error.contains("in partition"), "{error}");
    for place in ["partition 0", "offset 1", "partition 1"] {
        assert!(error.contains(place), "{error}");
    }
    let ignored = Declared::new(broker, &topic, columns, &[]).await;
    assert_eq!(ignored.rows("SELECT * FROM t").await, ["a|2", "b|3"]);
}

#[tokio::test]
async fn a_key_in_two_partitions_is_found_by_streams_that_run_one_after_the_other() {
    let Some(broker) = broker::required("a_key_in_two_partitions_one_after_the_other") else {
        return;
    };
    let topic = broker.new_topic("homes", 2, &[]);
    let record = |partition| Rec::new("a", r#"{"v":1}"#).partition(partition);
    broker.produce(&topic, &[record(0), record(1)]);
    let check = ("kafka.check_keys", "fail");
    let table = Declared::new(broker, &topic, "_key VARCHAR, v BIGINT", &[check]).await;
    let frame = table.ctx.sql("SELECT * FROM t").await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    let scan = scans(&plan).remove(0);
    let context = table.ctx.task_ctx();
    let read = |partition| {
        let stream = scan.execute(partition, Arc::clone(&context)).unwrap();
        in_time("a stream", common::collect(stream))
    };
    for turn in 0..2 {
        let first = read(turn).await.unwrap();
        assert_eq!(cells(&first), [["a", "1"]], "turn {turn}");
        let error = read(1 - turn).await.unwrap_err().to_string();
        assert!(error.contains("in partition"), "turn {turn}: {error}");
        // The plan still exists, and could be executed once more.
        wait_until(PATIENCE, "all memory given back", || {
            context.memory_pool().reserved() == 0
        });
    }
}

#[tokio::test]
async fn the_optimizer_knows_at_most_how_many_rows_there_are() {
    let Some(broker) = broker::required("the_optimizer_knows") else {
        return;
    };
    let topic = topic(broker);
    let table = Declared::new(broker, &topic, COLUMNS, &[APPEND]).await;
    for (sql, rows) in [
        ("SELECT v FROM t", 1000),
        ("SELECT v FROM t WHERE _offset >= 490", 20),
        ("SELECT v FROM t WHERE _partition = 1", 500),
    ] {
        let plan = table
            .ctx
            .sql(sql)
            .await
            .unwrap()
            .create_physical_plan()
            .await
            .unwrap();
        let scan = scans(&plan).remove(0);
        let statistics = StatisticsContext::new().compute(scan.as_ref(), &StatisticsArgs::new());
        let found = statistics.unwrap().num_rows;
        assert_eq!(found, Precision::Inexact(rows), "{sql}");
    }
    // Each partition is already sorted.
    let sql = "EXPLAIN SELECT _offset FROM t WHERE _partition = 0 ORDER BY _offset";
    let plan = table.rows(sql).await.join("\n");
    assert!(!plan.contains("SortExec"), "{plan}");
}

#[tokio::test]
async fn every_turn_of_a_recursion_has_its_own_filters() {
    let Some(broker) = broker::required("every_turn_of_a_recursion") else {
        return;
    };
    let topic = broker.new_topic("recursion", 2, &[]);
    let records: Vec<Rec> = (0..50)
        .map(|n| Rec::new(format!("k{n}"), format!("{{\"next\":\"k{}\"}}", n + 1)))
        .collect();
    broker.produce(&topic, &records);
    let table = Declared::new(broker, &topic, "_key VARCHAR, next VARCHAR", &[]).await;
    for join in [
        "walk JOIN t ON t._key = walk.next",
        "t JOIN walk ON t._key = walk.next",
    ] {
        let sql = format!(
            "WITH RECURSIVE walk AS (
               SELECT _key, next FROM t WHERE _key = 'k10'
               UNION ALL
               SELECT t._key, t.next FROM {join})
             SELECT count(*) FROM walk"
        );
        assert_eq!(table.rows(&sql).await, ["40"], "{join}");
    }
}

/// An asynchronous function, like one that sends a request to a server.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Awaited(Signature);

impl ScalarUDFImpl for Awaited {
    fn name(&self) -> &str {
        "awaited"
    }
    fn signature(&self) -> &Signature {
        &self.0
    }
    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Int64)
    }
    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        datafusion::common::internal_err!("nobody awaits it")
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Awaited {
    async fn invoke_async_with_args(
        &self,
        arguments: ScalarFunctionArgs,
    ) -> DataFusionResult<ColumnarValue> {
        Ok(arguments.args[0].clone())
    }
}

#[tokio::test]
async fn a_filter_that_is_awaited_is_left_to_the_engine() {
    let Some(broker) = broker::required("a_filter_that_is_awaited") else {
        return;
    };
    let topic = topic(broker);
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    let signature = Signature::exact(vec![DataType::Int64], Volatility::Immutable);
    let function = AsyncScalarUDF::new(Arc::new(Awaited(signature)));
    table.ctx.register_udf(function.into_scalar_udf());
    let sql = "SELECT count(*) FROM t WHERE awaited(v) < 10 AND _partition = 0";
    assert_eq!(table.rows(sql).await, ["5"]);
}
