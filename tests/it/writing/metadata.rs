//! What a record is beside its key and payload: tombstone, timestamp, headers, partition.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, StringArray};

use super::{Writable, list, object, record, register, says};
use crate::broker;
use crate::session::{cells, rows};

#[tokio::test]
async fn a_tombstone_row_is_a_tombstone_record() {
    let Some(broker) = broker::required("a_tombstone_row") else {
        return;
    };
    let t = Writable::new(broker, "_key VARCHAR, v INT, _tombstone BOOLEAN", &[]).await;
    assert_eq!(
        t.insert("VALUES ('a', 1, false), ('b', 2, NULL), ('a', 3, true)")
            .await,
        3
    );
    assert_eq!(
        t.records(),
        [
            record("a", r#"{"v":1}"#),
            record("b", r#"{"v":2}"#),
            ("a".to_owned(), None)
        ]
    );
    let left = rows(&t.ctx, "SELECT _key FROM t").await;
    assert_eq!(cells(&left), [["b"]]);
}

#[tokio::test]
async fn timestamp_headers_and_partition_are_those_of_the_row() {
    let Some(broker) = broker::required("timestamp_headers_and_partition") else {
        return;
    };
    // A record from 1970 is past every retention.
    let topic = broker.new_topic("metadata", 3, &[("retention.ms", "-1")]);
    let columns = "_key VARCHAR, v INT, _partition INT, _timestamp TIMESTAMP, \
                   _headers STRUCT<key VARCHAR, value BYTEA>[]";
    let t = Writable::on(broker, topic, columns, &[]).await;
    let names: ArrayRef = Arc::new(StringArray::from(vec!["h", "n", "h"]));
    let values = [Some(b"\x01".as_slice()), None, Some(b"\x02")];
    let values: ArrayRef = Arc::new(BinaryArray::from_iter(values));
    let headers = list(object([("key", names), ("value", values)]));
    register(&t.ctx, "given", [("headers", headers)]);
    let insert = "SELECT 'a', 1, 2, TIMESTAMP '1970-01-01T00:00:01.234', headers FROM given";
    t.insert(insert).await;
    t.insert("(_key, v) VALUES ('a', 2)").await;
    let records = broker.read_all(&t.topic);
    let given = records.iter().find(|r| r.partition == 2).unwrap();
    assert_eq!(given.timestamp, Some(1_234));
    assert_eq!(given.payload.as_deref(), Some(br#"{"v":1}"#.as_slice()));
    let header = |key: &str, value: Option<&[u8]>| (key.to_owned(), value.map(<[u8]>::to_vec));
    assert_eq!(
        given.headers,
        [
            header("h", Some(b"\x01")),
            header("n", None),
            header("h", Some(b"\x02"))
        ]
    );
    let other = records
        .iter()
        .find(|r| r.payload.as_deref() == Some(br#"{"v":2}"#))
        .unwrap();
    assert!(other.headers.is_empty());
    assert!(other.timestamp.unwrap() > 1_000_000_000_000);

    let why = t.refused("(_key, v, _partition) VALUES ('a', 3, 3)").await;
    says(&why, &["Unknown partition", "0 records had been"]);
}

#[tokio::test]
async fn a_timestamp_that_kafka_cannot_hold_is_refused() {
    let Some(broker) = broker::required("a_timestamp_that_kafka_cannot_hold") else {
        return;
    };
    let t = Writable::new(broker, "_key VARCHAR, _timestamp TIMESTAMP", &[]).await;
    for timestamp in ["1970-01-01T00:00:00", "1969-12-31T23:59:59"] {
        let why = t
            .refused(&format!("VALUES ('a', TIMESTAMP '{timestamp}')"))
            .await;
        says(&why, &["row 0", "`_timestamp`", "1970"]);
    }
    assert_eq!(t.records(), []);
}

#[tokio::test]
async fn what_only_the_broker_knows_cannot_be_written() {
    let Some(broker) = broker::required("what_only_the_broker_knows") else {
        return;
    };
    let columns = "_key VARCHAR, v INT, _offset BIGINT, _topic VARCHAR, _error VARCHAR";
    let t = Writable::new(broker, columns, &[]).await;
    assert_eq!(t.insert("VALUES ('a', 1, NULL, NULL, NULL)").await, 1);
    assert_eq!(t.insert("(_key, v) VALUES ('a', 2)").await, 1);
    for (column, value) in [
        ("_offset", "7"),
        ("_topic", "'elsewhere'"),
        ("_error", "'bad'"),
    ] {
        let insert = format!("(_key, v, {column}) VALUES ('a', 3, {value})");
        says(
            &t.refused(&insert).await,
            &["row 0", &format!("`{column}`"), "leave it out"],
        );
    }
    assert_eq!(t.payloads(), [r#"{"v":1}"#, r#"{"v":2}"#]);
}

#[tokio::test]
async fn a_tombstone_needs_no_payload_where_columns_are_not_null() {
    let Some(broker) = broker::required("a_tombstone_needs_no_payload") else {
        return;
    };
    let columns = "_key VARCHAR, v INT NOT NULL, _tombstone BOOLEAN";
    let t = Writable::new(broker, columns, &[]).await;
    assert_eq!(t.insert("(_key, v) VALUES ('a', 1)").await, 1);
    assert_eq!(t.insert("(_key, _tombstone) VALUES ('a', true)").await, 1);
    assert_eq!(t.records().last(), Some(&("a".to_owned(), None)));
    let why = t.refused("(_key) VALUES ('b')").await;
    says(&why, &["row 0", &t.topic, "`v` is NULL"]);
}
