//! Payload columns that are NOT NULL: a tombstone has no payload, but a row must have one.

use super::{EXACTLY_ONCE, Forever, log, start, value, written};
use crate::broker::{self, Broker, Rec, topic_name};
use crate::declared::{Declared, in_time};
use datafusion_kafka::Error;

const COLUMNS: &str = "_key VARCHAR NOT NULL, v BIGINT NOT NULL";

async fn declared(broker: &Broker, feed: &str, out: &str) -> Declared {
    let declared = Declared::new(broker, feed, COLUMNS, &[]).await;
    declared
        .add("out", out, COLUMNS, &[EXACTLY_ONCE])
        .await
        .unwrap();
    declared
}

/// A query that goes record by record, and one that is refreshed.
const QUERIES: [&str; 2] = [
    "INSERT INTO out SELECT _key, v FROM t WHERE v > 4",
    "INSERT INTO out SELECT _key, max(v) AS v FROM t WHERE v > 4 GROUP BY _key",
];

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_delete_rows_whose_columns_are_not_null() {
    let test = "continuous::tombstones_delete_rows_whose_columns_are_not_null";
    let Some(broker) = broker::required(test) else {
        return;
    };
    for sql in QUERIES {
        let feed = broker.new_topic("feed", 1, &[]);
        let out = broker.new_topic("out", 1, &[]);
        let declared = declared(broker, &feed, &out).await;
        broker.produce(&feed, &[value("a", 5), value("b", 6)]);
        let _query = start(&declared, &topic_name("query"), sql).await;
        let mut found = written(broker, &out, 2).await;
        found.sort();
        assert_eq!(found, [r#"a={"v":5}"#, r#"b={"v":6}"#], "{sql}");
        broker.produce(&feed, &[Rec::tombstone("a")]);
        assert_eq!(written(broker, &out, 3).await[2], "a=null", "{sql}");
        broker.produce(&feed, &[value("b", 1)]);
        assert_eq!(written(broker, &out, 4).await[3], "b=null", "{sql}");
        broker.produce(&feed, &[value("a", 7)]);
        assert_eq!(written(broker, &out, 5).await[4], r#"a={"v":7}"#, "{sql}");
        let kept = declared.rows("SELECT * FROM out").await;
        assert_eq!(kept, ["a|7"], "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_a_required_column_ends_it() {
    let test = "continuous::a_row_without_a_required_column_ends_it";
    let Some(broker) = broker::required(test) else {
        return;
    };
    for sql in QUERIES {
        let feed = broker.new_topic("feed", 1, &[]);
        let out = broker.new_topic("out", 1, &[]);
        let declared = declared(broker, &feed, &out).await;
        broker.produce(&feed, &[value("a", 5)]);
        let query = start(&declared, &topic_name("query"), sql).await;
        written(broker, &out, 1).await;
        // The second record is read as a change of rows that are in memory.
        broker.produce(&feed, &[Rec::tombstone("a"), Rec::new("b", "{}")]);
        let error = in_time("the end", query.wait()).await.unwrap_err();
        let Error::DecodePayload { offset, source, .. } = &error else {
            panic!("{sql}: {error}");
        };
        assert_eq!((*offset, source.path.as_str()), (2, "v"), "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_of_text_are_deleted_too() {
    let Some(broker) = broker::required("continuous::payloads_of_text_are_deleted_too") else {
        return;
    };
    for format in ["string", "bytes"] {
        let feed = broker.new_topic("feed", 1, &[]);
        let out = broker.new_topic("out", 1, &[]);
        let column = match format {
            "string" => "_key VARCHAR, _value VARCHAR NOT NULL",
            _ => "_key VARCHAR, _value BYTEA NOT NULL",
        };
        let options = [("kafka.value.format", format)];
        let declared = Declared::new(broker, &feed, column, &options).await;
        declared.add("out", &out, column, &options).await.unwrap();
        broker.produce(&feed, &[Rec::new("a", "one"), Rec::new("b", "two")]);
        let sql = "INSERT INTO out SELECT _key, _value FROM t";
        let _query = start(&declared, &topic_name("query"), sql).await;
        written(broker, &out, 2).await;
        broker.produce(&feed, &[Rec::tombstone("a"), Rec::new("b", "three")]);
        let found = written(broker, &out, 4).await;
        assert_eq!(found, ["a=one", "b=two", "a=null", "b=three"], "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lacks_a_required_column_is_a_dead_letter() {
    let test = "continuous::what_lacks_a_required_column_is_a_dead_letter";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    let dead = broker.new_topic("dead", 1, &[]);
    let declared = declared(broker, &feed, &out).await;
    let letters = [
        ("kafka.on_bad_record", "dead_letter"),
        ("kafka.dead_letter.topic", dead.as_str()),
    ];
    let added = declared.add_unbounded("endless", &feed, COLUMNS, &letters);
    added.await.unwrap();
    let sql = "INSERT INTO out SELECT _key, v FROM endless";
    let _running = Forever::start(&declared, sql).await;
    let records = [
        value("a", 5),
        Rec::new("b", r#"{"v":null}"#),
        Rec::tombstone("a"),
    ];
    broker.produce(&feed, &records);
    let found = written(broker, &out, 2).await;
    assert_eq!(found, [r#"a={"v":5}"#, "a=null"]);
    written(broker, &dead, 1).await;
    assert_eq!(log(broker, &dead), [r#"b={"v":null}"#]);
}
