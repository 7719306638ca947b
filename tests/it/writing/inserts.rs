//! An INSERT as a whole: the order of records, a full queue, failures.

use std::time::Duration;

use datafusion::dataframe::DataFrameWriteOptions;
use datafusion_kafka::KafkaTopics;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::{LARGE_BATCHES, PEOPLE, Writable, child, create_table, numbers, record, says};
use crate::broker::{self, Rec, wait_until};
use crate::session::{counted, error, rows, session, try_rows, within};

#[tokio::test]
async fn order_by_is_the_order_of_the_log() {
    let Some(broker) = broker::required("order_by_is_the_order") else {
        return;
    };
    let t = Writable::new(broker, "_key VARCHAR, n BIGINT", &[]).await;
    numbers(&t.ctx, 1000);
    let insert = "SELECT CAST(n AS VARCHAR) AS k, n FROM numbers ORDER BY n DESC";
    assert_eq!(t.insert(insert).await, 1000);
    let expected: Vec<_> = (0..1000).rev().map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(t.payloads(), expected);
}

#[tokio::test]
async fn a_full_queue_is_waited_for_and_every_row_arrives_once() {
    let Some(broker) = broker::required("a_full_queue_is_waited_for") else {
        return;
    };
    for queue in ["100", "1"] {
        let rows = if queue == "1" { 200 } else { 50_000 };
        let topic = broker.new_topic("queue", 3, &[]);
        let options = [
            ("kafka.producer.queue.buffering.max.messages", queue),
            ("kafka.producer.linger.ms", "0"),
        ];
        let t = Writable::on(broker, topic, "_key VARCHAR, n BIGINT", &options).await;
        numbers(&t.ctx, rows);
        let written = t
            .insert("SELECT CAST(n AS VARCHAR) AS k, n FROM numbers")
            .await;
        let mut keys: Vec<i64> = t
            .records()
            .iter()
            .map(|(key, _)| key.parse().unwrap())
            .collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..rows).collect::<Vec<_>>());
        assert_eq!(written, u64::try_from(rows).unwrap());
    }
}

#[tokio::test]
async fn a_record_that_never_fits_the_queue_is_an_error() {
    let Some(broker) = broker::required("a_record_that_never_fits_the_queue") else {
        return;
    };
    let options = [("kafka.producer.queue.buffering.max.kbytes", "1")];
    let t = Writable::new(broker, PEOPLE, &options).await;
    assert_eq!(t.insert("VALUES ('a', 'Ada', NULL)").await, 1);
    let why = t
        .refused(&format!(
            "VALUES ('b', 'Bob', NULL), ('c', '{}', NULL)",
            "x".repeat(5000)
        ))
        .await;
    says(
        &why,
        &[
            "1 records had been",
            "kafka.producer.queue.buffering.max.kbytes",
        ],
    );
}

#[tokio::test]
async fn no_rows_write_nothing() {
    let Some(broker) = broker::required("no_rows_write_nothing") else {
        return;
    };
    let t = Writable::new(broker, PEOPLE, &[]).await;
    assert_eq!(t.insert("SELECT 'a', 'b', 'c' WHERE false").await, 0);
    assert_eq!(t.records(), []);
}

#[tokio::test]
async fn a_data_frame_is_written_by_the_names_of_its_columns() {
    let Some(broker) = broker::required("a_data_frame_is_written") else {
        return;
    };
    let t = Writable::new(broker, "_key VARCHAR, n BIGINT, s VARCHAR, d DOUBLE", &[]).await;
    let write = async |sql: &str| {
        let frame = t.ctx.sql(sql).await.unwrap();
        within(sql, frame.write_table("t", DataFrameWriteOptions::new())).await
    };
    let written = write("SELECT 1.5 AS s, CAST(7 AS INT) AS n, 'a' AS _key").await;
    assert_eq!(counted(&written.unwrap()), 1);
    let written = write("SELECT d, _key FROM (VALUES (1, 'b'), (NULL, 'c')) AS v (d, _key)").await;
    assert_eq!(counted(&written.unwrap()), 2);
    assert_eq!(
        t.payloads(),
        [
            r#"{"n":7,"s":"1.5","d":null}"#,
            r#"{"n":null,"s":null,"d":1.0}"#,
            r#"{"n":null,"s":null,"d":null}"#,
        ]
    );

    let extra = write("SELECT 'a' AS _key, 1 AS m").await.unwrap_err();
    says(&extra.to_string(), &["no column `m`", "_key, n, s, d"]);
    let keyless = write("SELECT 1 AS n").await.unwrap_err();
    says(&keyless.to_string(), &["needs a value for `_key`"]);
    let not_a_number = write("SELECT 'a' AS _key, 'x' AS n").await.unwrap_err();
    says(&not_a_number.to_string(), &["'x'", "Int64"]);
    assert_eq!(t.records().len(), 3);
}

#[tokio::test]
async fn a_record_that_the_broker_refuses_fails_the_statement() {
    let Some(broker) = broker::required("a_record_that_the_broker_refuses") else {
        return;
    };
    let small = [("max.message.bytes", "2000")];
    let topic = broker.new_topic("small", 1, &small);
    let t = Writable::on(broker, topic, "_key VARCHAR, s VARCHAR", &[]).await;
    assert_eq!(t.insert("VALUES ('a', 'x')").await, 1);
    let why = t
        .refused(&format!("VALUES ('b', '{}')", "x".repeat(5000)))
        .await;
    says(
        &why,
        &[
            &t.topic,
            "too large",
            "0 records had been",
            "max.message.bytes",
        ],
    );
    assert_eq!(t.records(), [record("a", r#"{"s":"x"}"#)]);

    // Small records are sent in one batch, and the broker's limit applies to the batch.
    let topic = broker.new_topic("small", 1, &small);
    let batch = [("kafka.producer.batch.size", "1500")];
    let t = Writable::on(broker, topic, "_key VARCHAR, s VARCHAR", &batch).await;
    numbers(&t.ctx, 200);
    let insert = format!(
        "SELECT CAST(n AS VARCHAR), '{}' FROM numbers",
        "x".repeat(100)
    );
    assert_eq!(t.insert(&insert).await, 200);
}

/// Later records are also rejected or dropped, but the error names the first cause.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_cause_is_told_with_either_delivery() {
    let Some(broker) = broker::required("the_first_cause_is_told_with_either_delivery") else {
        return;
    };
    let columns = "_key VARCHAR, v BIGINT, _timestamp TIMESTAMP";
    for delivery in ["at_least_once", "exactly_once"] {
        let options = [("kafka.delivery", delivery), LARGE_BATCHES];
        // Batches of small records that are too large.
        for config in [
            ("max.message.bytes", "32000"),
            ("max.message.bytes", "3000"),
        ] {
            let topic = broker.new_topic("first-cause", 1, &[config]);
            let t = Writable::on(broker, topic, columns, &options).await;
            let error = t
                .refused(
                    "SELECT CAST(value AS VARCHAR) AS k, value AS v, NULL FROM generate_series(1, 20000)",
                )
                .await;
            let says_what = ["MessageSizeTooLarge", "max.message.bytes", "batch.size"];
            says(&error, &says_what);
            assert_no_consequence(&error);
        }
        // One record that the broker rejects, among others that it accepts.
        let config = [("message.timestamp.before.max.ms", "1000")];
        let topic = broker.new_topic("first-cause", 1, &config);
        let t = Writable::on(broker, topic, columns, &options).await;
        for values in [
            "VALUES ('a', 1, TIMESTAMP '2001-01-01T00:00:00')",
            "VALUES ('a', 1, NULL), ('b', 2, NULL), ('c', 3, TIMESTAMP '2001-01-01T00:00:00')",
        ] {
            let error = t.refused(values).await;
            says(
                &error,
                &["InvalidTimestamp", "message.timestamp.before.max.ms"],
            );
            assert_no_consequence(&error);
        }
    }
}

#[track_caller]
fn assert_no_consequence(error: &str) {
    for consequence in ["Erroneous state", "Purged", "Purge", "part of a batch"] {
        assert!(!error.contains(consequence), "{error}");
    }
}

#[tokio::test]
async fn servers_that_do_not_answer_are_named_in_time() {
    let Some(broker) = broker::required("servers_that_do_not_answer") else {
        return;
    };
    let ctx = session(broker, KafkaTopics::new());
    let create = "CREATE EXTERNAL TABLE t (_key VARCHAR, v INT) STORED AS KAFKA \
                  LOCATION 'gone' OPTIONS ('kafka.bootstrap.servers' '127.0.0.1:1', \
                  'kafka.timeout' '2s')";
    rows(&ctx, create).await;
    let why = error(&ctx, "INSERT INTO t VALUES ('a', 1)").await;
    says(&why, &["127.0.0.1:1", "2s", "Connection refused"]);
}

#[tokio::test]
async fn a_query_that_fails_fails_the_insert() {
    let Some(broker) = broker::required("a_query_that_fails") else {
        return;
    };
    let source = broker.new_topic("source", 1, &[]);
    let t = Writable::new(broker, "_key VARCHAR, v INT", &[]).await;
    let append = [("kafka.mode", "append")];
    let create = create_table("source", "_key VARCHAR, v INT", &source, &append);
    rows(&t.ctx, &create).await;
    let good = Rec::new("a", r#"{"v":1}"#);
    let bad = Rec::new("b", r#"{"v":"not a number"}"#);
    broker.produce(&source, &[good.clone(), bad, good]);
    let why = t.refused("SELECT * FROM source").await;
    says(&why, &[&source, "offset 1", "`v`"]);
    assert!(t.records().len() <= 1);
}

#[tokio::test]
async fn an_insert_that_is_dropped_stops_sending() {
    let Some(broker) = broker::required("an_insert_that_is_dropped") else {
        return;
    };
    // In a process of its own, in which its threads can be counted.
    let servers = [("KAFKA_BOOTSTRAP_SERVERS", broker.servers.as_str())];
    let test = "writing::inserts::child_drops_an_insert";
    within(test, child(test, &servers)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by `an_insert_that_is_dropped_stops_sending`"]
async fn child_drops_an_insert() {
    let broker = broker::required("child_drops_an_insert").unwrap();
    let t = Writable::new(broker, "_key VARCHAR, n BIGINT", &[]).await;
    numbers(&t.ctx, 1000);
    let ctx = t.ctx.clone();
    let insert = tokio::spawn(async move {
        let endless = "INSERT INTO t SELECT CAST(a.n AS VARCHAR) AS k, b.n \
                       FROM numbers a, numbers b, numbers c, numbers d";
        try_rows(&ctx, endless).await
    });
    // Not by reading to the end, since the read would not end either.
    let consumer: BaseConsumer = broker.config().create().unwrap();
    let patience = Duration::from_secs(30);
    wait_until(patience, "some records", || {
        consumer.fetch_watermarks(&t.topic, 0, patience).unwrap().1 > 0
    });
    drop(consumer);
    insert.abort();
    assert!(insert.await.unwrap_err().is_cancelled());
    // librdkafka names its threads.
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .filter(|name| name.starts_with("rdk:"))
            .count()
    };
    wait_until(patience, "no client is left", || threads() == 0);
}
