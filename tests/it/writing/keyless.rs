//! Records without a key, in append mode.

use super::{Writable, create_table, register, says};
use crate::broker::{self, Broker, Rec, topic_name};
use crate::session::{cells, count, error, rows, session};
use datafusion_kafka::KafkaTopics;

const APPEND: (&str, &str) = ("kafka.mode", "append");

/// Keys and payloads, sorted.
fn log(broker: &Broker, topic: &str) -> Vec<(Option<String>, Option<String>)> {
    let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8(bytes).unwrap());
    let records = broker.read_all(topic).into_iter();
    let mut found: Vec<_> = records.map(|r| (text(r.key), text(r.payload))).collect();
    found.sort();
    found
}

fn keyless(payload: &str) -> (Option<String>, Option<String>) {
    (None, Some(payload.to_owned()))
}

fn keyed(key: &str, payload: &str) -> (Option<String>, Option<String>) {
    (Some(key.to_owned()), Some(payload.to_owned()))
}

#[tokio::test]
async fn a_null_key_is_a_record_without_one() {
    let Some(broker) = broker::required("a_null_key_is_a_record_without_one") else {
        return;
    };
    for delivery in ["at_least_once", "exactly_once"] {
        let options = [APPEND, ("kafka.delivery", delivery)];
        let t = Writable::new(broker, "_key VARCHAR, v INT, _tombstone BOOLEAN", &options).await;
        // An empty key is a key.
        t.insert("VALUES (NULL, 1, false), ('', 2, false), ('k', 3, false)")
            .await;
        t.insert("(v) VALUES (4)").await;
        t.insert("(_key, v) SELECT NULL, 5").await;
        t.insert("(_tombstone) VALUES (true)").await;
        let expected = [
            (None, None),
            keyless(r#"{"v":1}"#),
            keyless(r#"{"v":4}"#),
            keyless(r#"{"v":5}"#),
            keyed("", r#"{"v":2}"#),
            keyed("k", r#"{"v":3}"#),
        ];
        assert_eq!(log(broker, &t.topic), expected);
        let read = rows(&t.ctx, "SELECT _key, v FROM t WHERE v > 2 ORDER BY v").await;
        assert_eq!(cells(&read), [["k", "3"], ["NULL", "4"], ["NULL", "5"]]);
    }
}

#[tokio::test]
async fn a_null_key_is_refused_where_rows_need_one() {
    let Some(broker) = broker::required("a_null_key_is_refused_where_rows_need_one") else {
        return;
    };
    let t = Writable::new(broker, "_key VARCHAR, v INT", &[]).await;
    let why = t.refused("VALUES ('a', 1), (NULL, 2)").await;
    says(
        &why,
        &["row 1", "`_key` is NULL", "`kafka.mode` = `append`"],
    );
    let why = t.refused("(v) VALUES (1)").await;
    says(
        &why,
        &["needs a value for `_key`", "`kafka.mode` = `append`"],
    );
    let t = Writable::new(broker, "_key VARCHAR NOT NULL, v INT", &[APPEND]).await;
    let why = t.refused("SELECT NULLIF('a', 'a'), 1").await;
    says(&why, &["row 0", "`_key` is NULL, but declared NOT NULL"]);
    let why = t.refused("(v) VALUES (1)").await;
    says(&why, &["`_key`"]);
    assert_eq!(t.records(), []);
}

#[tokio::test]
async fn keys_of_every_format_may_be_null() {
    let Some(broker) = broker::required("keys_of_every_format_may_be_null") else {
        return;
    };
    for (format, data_type, key, raw) in [
        ("json", "INT", "7", "7"),
        ("json", "VARCHAR", "'x'", "\"x\""),
        ("bytes", "BYTEA", "X'61'", "a"),
    ] {
        let options = [APPEND, ("kafka.key.format", format)];
        let t = Writable::new(broker, &format!("_key {data_type}, v INT"), &options).await;
        t.insert(&format!("VALUES ({key}, 1), (NULL, 2)")).await;
        let expected = [keyless(r#"{"v":2}"#), keyed(raw, r#"{"v":1}"#)];
        assert_eq!(log(broker, &t.topic), expected);
    }
}

#[tokio::test]
async fn records_without_a_key_are_spread_over_partitions() {
    let Some(broker) = broker::required("records_without_a_key_are_spread") else {
        return;
    };
    for partitioner in ["murmur2", "crc32"] {
        let topic = broker.new_topic("keyless", 4, &[]);
        // The producer changes the partition whenever a batch is full.
        let options = [
            APPEND,
            ("kafka.partitioner", partitioner),
            ("kafka.producer.sticky.partitioning.linger.ms", "0"),
        ];
        let t = Writable::on(broker, topic, "_key VARCHAR, v INT", &options).await;
        t.insert("SELECT NULL, value FROM generate_series(1, 400)")
            .await;
        let records = broker.read_all(&t.topic);
        assert_eq!(records.len(), 400);
        for partition in 0..4 {
            let here = records.iter().filter(|r| r.partition == partition).count();
            assert!(here > 20, "{partitioner}: {here} in {partition}");
        }
    }
}

#[tokio::test]
async fn a_log_with_records_without_a_key_is_copied() {
    let Some(broker) = broker::required("a_log_with_records_without_a_key_is_copied") else {
        return;
    };
    let events = broker.new_topic("events", 1, &[]);
    let without = |payload: &str| Rec {
        payload: Some(payload.into()),
        ..Rec::default()
    };
    broker.produce(
        &events,
        &[
            without(r#"{"v":1}"#),
            Rec::new("k", r#"{"v":2}"#),
            without(r#"{"v":3}"#),
        ],
    );
    let expected = [
        keyless(r#"{"v":1}"#),
        keyless(r#"{"v":3}"#),
        keyed("k", r#"{"v":2}"#),
    ];
    let prefix = topic_name("copies");
    let sinks = datafusion_kafka::SinkOptions::new()
        .with_option("kafka.create_topic", "true")
        .with_option(APPEND.0, APPEND.1);
    let topics = KafkaTopics::new().with_sink(format!("^{prefix}-out"), sinks);
    let ctx = session(broker, topics);
    let columns = "_key VARCHAR, v INT";
    rows(&ctx, &create_table("events", columns, &events, &[APPEND])).await;
    let copied = broker.new_topic("copied", 2, &[]);
    rows(&ctx, &create_table("copied", columns, &copied, &[APPEND])).await;
    assert_eq!(
        count(&ctx, "INSERT INTO copied SELECT * FROM events").await,
        3
    );
    assert_eq!(log(broker, &copied), expected);

    let (copy, out) = (format!("{prefix}-copy"), format!("{prefix}-out"));
    let options = "'kafka.mode' 'append', 'kafka.create_topic' 'true'";
    let sql =
        format!("COPY (SELECT * FROM events) TO '{copy}' STORED AS KAFKA OPTIONS ({options})");
    assert_eq!(count(&ctx, &sql).await, 3);
    assert_eq!(log(broker, &copy), expected);
    // Topics without a declaration. The queries have a key column, no such column, or a key column
    // without a type.
    assert_eq!(
        count(
            &ctx,
            &format!("INSERT INTO \"{out}\" SELECT _key, v FROM events")
        )
        .await,
        3
    );
    assert_eq!(log(broker, &out), expected);
    assert_eq!(
        count(
            &ctx,
            &format!("INSERT INTO \"{out}-1\" SELECT v FROM events")
        )
        .await,
        3
    );
    assert_eq!(
        count(
            &ctx,
            &format!("INSERT INTO \"{out}-2\" SELECT NULL AS _key, v FROM events")
        )
        .await,
        3
    );
    for topic in [format!("{out}-1"), format!("{out}-2")] {
        let all = [1, 2, 3].map(|v| keyless(&format!(r#"{{"v":{v}}}"#)));
        assert_eq!(log(broker, &topic), all);
    }
}

#[tokio::test]
async fn a_compacted_topic_takes_no_record_without_a_key() {
    let Some(broker) = broker::required("a_compacted_topic_takes_no_record") else {
        return;
    };
    let topic = broker.new_topic("compacted", 1, &[("cleanup.policy", "compact")]);
    let t = Writable::on(broker, topic, "_key VARCHAR, v INT", &[APPEND]).await;
    let why = t.refused("VALUES ('k', 1), (NULL, 2)").await;
    says(&why, &["InvalidRecord", "one without a key", "`compact`"]);
    assert_eq!(log(broker, &t.topic), []);
}

#[tokio::test]
async fn a_hook_sees_records_without_a_key_as_such() {
    let Some(broker) = broker::required("a_hook_sees_records_without_a_key") else {
        return;
    };
    let t = Writable::new(broker, "_key VARCHAR, v INT", &[APPEND]).await;
    let values: arrow::array::ArrayRef =
        std::sync::Arc::new(arrow::array::Int32Array::from(vec![1, 2]));
    register(&t.ctx, "given", [("v", values)]);
    t.insert("(v) SELECT v FROM given").await;
    assert_eq!(
        log(broker, &t.topic),
        [keyless(r#"{"v":1}"#), keyless(r#"{"v":2}"#)]
    );
    let why = error(&t.ctx, "INSERT INTO t (_key, w) VALUES (NULL, 1)").await;
    says(&why, &["w"]);
}
