//! The metadata of a record besides key and payload: tombstone, timestamp, headers, partition.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, StringArray};

use datafusion_kafka::{KafkaTopics, SinkOptions};

use super::{Writable, list, object, record, register, says};
use crate::broker::{self, topic_name};
use crate::session::{cells, count, error, rows, session};

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
    // Retention would remove a record from 1970.
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

#[tokio::test]
async fn headers_of_a_query_may_be_text_or_a_map() {
    let Some(broker) = broker::required("headers_of_a_query_may_be_text_or_a_map") else {
        return;
    };
    let prefix = topic_name("headers");
    let creating = SinkOptions::new().with_option("kafka.create_topic", "true");
    let topics = KafkaTopics::new().with_sink(format!("^{prefix}"), creating);
    let ctx = session(broker, topics);
    let header = |key: &str, value: Option<&[u8]>| (key.to_owned(), value.map(<[u8]>::to_vec));
    let one = vec![header("h", Some(b"text"))];
    for (number, (headers, expected)) in [
        ("[{key: 'h', value: 'text'}]", one.clone()),
        (
            "[{key: 'h', value: arrow_cast('text', 'LargeUtf8')}]",
            one.clone(),
        ),
        ("[{key: 'h', value: X'74657874'}]", one.clone()),
        (
            "[{key: 'h', value: 'text'}, {key: 'h', value: NULL}]",
            vec![header("h", Some(b"text")), header("h", None)],
        ),
        ("MAP {'h': 'text'}", one.clone()),
        ("MAP {'h': X'74657874'}", one.clone()),
        (
            "MAP {'h': 'text', 'n': NULL}",
            vec![header("h", Some(b"text")), header("n", None)],
        ),
        (
            "CASE WHEN true THEN NULL ELSE MAP {'h': 'text'} END",
            vec![],
        ),
        (
            "CASE WHEN true THEN NULL ELSE [{key: 'h', value: 'text'}] END",
            vec![],
        ),
        ("NULL", vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        let query = format!("SELECT 'k' AS _key, 1 AS v, {headers} AS _headers");
        let inserted = format!("{prefix}-{number}");
        let insert = format!("INSERT INTO \"{inserted}\" {query}");
        assert_eq!(count(&ctx, &insert).await, 1, "{headers}");
        let copied = format!("{prefix}-{number}-copied");
        let copy = format!(
            "COPY ({query}) TO '{copied}' STORED AS KAFKA OPTIONS ('kafka.create_topic' 'true')"
        );
        assert_eq!(count(&ctx, &copy).await, 1, "{headers}");
        for topic in [inserted, copied] {
            let records = broker.read_all(&topic);
            assert_eq!(records[0].headers, expected, "{headers}");
            assert_eq!(
                records[0].payload.as_deref(),
                Some(br#"{"v":1}"#.as_slice())
            );
        }
    }
    for headers in [
        "'h=text'",
        "[1, 2]",
        "MAP {'h': 1}",
        "[{key: 1, value: 'x'}]",
        "[{name: 'h', value: 'x'}]",
        "MAP {1: 'x'}",
    ] {
        let insert =
            format!("INSERT INTO \"{prefix}-bad\" SELECT 'k' AS _key, {headers} AS _headers");
        let why = error(&ctx, &insert).await;
        says(&why, &["`_headers`", "MAP {'name': 'value'}"]);
    }
    let nameless = "[{key: NULLIF('h', 'h'), value: 'text'}]";
    let insert = format!("INSERT INTO \"{prefix}-bad\" SELECT 'k' AS _key, {nameless} AS _headers");
    says(&error(&ctx, &insert).await, &["`_headers`", "name"]);
}

#[tokio::test]
async fn headers_of_a_declared_table_may_be_text_or_the_entries_of_a_map() {
    let Some(broker) = broker::required("headers_of_a_declared_table") else {
        return;
    };
    let columns = "_key VARCHAR, v INT, _headers STRUCT<key VARCHAR, value BYTEA>[]";
    let t = Writable::new(broker, columns, &[]).await;
    t.insert("SELECT 'a', 1, [{key: 'h', value: 'text'}]").await;
    t.insert("SELECT 'b', 1, map_entries(MAP {'h': 'text'})")
        .await;
    let update = "UPDATE t SET _headers = map_entries(MAP {'u': 'text'}) WHERE _key = 'a'";
    assert_eq!(count(&t.ctx, update).await, 1);
    let records = broker.read_all(&t.topic);
    let names = records.iter().map(|record| match &record.headers[..] {
        [(name, Some(value))] if value == b"text" => name.as_str(),
        other => panic!("{other:?}"),
    });
    assert_eq!(names.collect::<Vec<_>>(), ["h", "h", "u"]);
}
