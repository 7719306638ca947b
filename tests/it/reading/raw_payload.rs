//! `_value` in a table of JSON: the raw payload, beside the columns of its properties.

use super::{NULL, SKIP, topic_of};
use crate::broker::{self, Rec};
use crate::declared::{APPEND, Declared};

const COLUMNS: &str = "_key VARCHAR, v BIGINT, _value VARCHAR";

/// The last payload, as bytes are printed.
const NOT_UTF8: &str = "7b2276223a352c226e616d65223a22ff227d";

fn payloads() -> [Rec; 5] {
    [
        Rec::new("a", r#"{"v": 1, "_value": "its own"}"#),
        Rec::new("b", r#"{"v":"many"}"#),
        Rec::new("c", "no JSON"),
        Rec::new("d", ""),
        Rec::new("e", b"{\"v\":5,\"name\":\"\xff\"}"),
    ]
}

#[tokio::test]
async fn the_raw_payload_stands_beside_typed_columns() {
    let Some(broker) = broker::required("the_raw_payload_stands") else {
        return;
    };
    let topic = topic_of(broker, "raw", &payloads()[..1]);
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    let raw = r#"{"v": 1, "_value": "its own"}"#;
    assert_eq!(table.rows("SELECT * FROM t").await, [format!("a|1|{raw}")]);
    assert_eq!(table.rows("SELECT _value FROM t").await, [raw]);
    let filtered = "SELECT _key FROM t WHERE _value LIKE '%own%' AND v = 1";
    assert_eq!(table.rows(filtered).await, ["a"]);
    let bytes = "v BIGINT, _value BYTEA";
    let table = Declared::new(broker, &topic, bytes, &[]).await;
    let text = "SELECT arrow_cast(_value, 'Utf8') FROM t";
    assert_eq!(table.rows(text).await, [raw]);
    // A property with the same name is another column.
    let own = r#"v BIGINT, "_Value" VARCHAR"#;
    let table = Declared::new(broker, &topic, own, &[]).await;
    assert_eq!(table.rows("SELECT \"_Value\" FROM t").await, ["its own"]);
}

#[tokio::test]
async fn the_raw_payload_is_read_where_the_format_was_forgotten() {
    let Some(broker) = broker::required("the_raw_payload_is_read_where") else {
        return;
    };
    let topic = topic_of(broker, "raw", &payloads()[..4]);
    let table = Declared::new(broker, &topic, "_key VARCHAR, _value VARCHAR", &[]).await;
    let rows = table.rows("SELECT * FROM t").await;
    assert_eq!(rows[1..], ["b|{\"v\":\"many\"}", "c|no JSON", "d|"]);
    let topic = topic_of(broker, "raw", &payloads());
    let table = Declared::new(broker, &topic, "_key VARCHAR, _value VARCHAR", &[]).await;
    let error = table.error("SELECT _value FROM t").await;
    assert!(
        error.contains("offset 4: bad payload: not UTF-8"),
        "{error}"
    );
    let table = Declared::new(broker, &topic, "_key VARCHAR, _value BYTEA", &[]).await;
    let bytes = "SELECT _value FROM t WHERE _key >= 'd'";
    assert_eq!(table.rows(bytes).await, ["", NOT_UTF8]);
}

#[tokio::test]
async fn the_raw_payload_of_a_bad_record_is_there() {
    let Some(broker) = broker::required("the_raw_payload_of_a_bad_record") else {
        return;
    };
    let topic = topic_of(broker, "raw", &payloads());
    for mode in [&[NULL][..], &[NULL, APPEND]] {
        let table = Declared::new(broker, &topic, COLUMNS, mode).await;
        let bad = "SELECT _key, v, _value FROM t WHERE v IS NULL";
        assert_eq!(
            table.rows(bad).await,
            [
                "b|NULL|{\"v\":\"many\"}",
                "c|NULL|no JSON",
                "d|NULL|",
                // The payload is not valid text.
                "e|NULL|NULL",
            ]
        );
    }
    let columns = "v BIGINT, _value VARCHAR, _error VARCHAR";
    let table = Declared::new(broker, &topic, columns, &[NULL]).await;
    let judged = "SELECT _key FROM t WHERE _error IS NULL";
    assert_eq!(table.rows(judged).await, ["a"]);
    let lossless = "v BIGINT, _value BYTEA";
    let table = Declared::new(broker, &topic, lossless, &[NULL]).await;
    let bytes = "SELECT _value FROM t WHERE _key = 'e'";
    assert_eq!(table.rows(bytes).await, [NOT_UTF8]);
    let table = Declared::new(broker, &topic, COLUMNS, &[SKIP]).await;
    assert_eq!(table.rows("SELECT _key FROM t").await, ["a"]);
    let only = "_key VARCHAR, _value VARCHAR";
    let table = Declared::new(broker, &topic, only, &[SKIP]).await;
    let keys = table.rows("SELECT _key FROM t").await;
    assert_eq!(keys, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_tombstone_has_no_raw_payload() {
    let Some(broker) = broker::required("a_tombstone_has_no_raw_payload") else {
        return;
    };
    let records = [Rec::new("a", r#"{"v":1}"#), Rec::tombstone("a")];
    let topic = topic_of(broker, "raw", &records);
    let columns = "v BIGINT, _value VARCHAR, _tombstone BOOLEAN";
    let table = Declared::new(broker, &topic, columns, &[APPEND]).await;
    let rows = table.rows("SELECT v, _value, _tombstone FROM t").await;
    assert_eq!(rows, ["1|{\"v\":1}|false", "NULL|NULL|true"]);
}

#[tokio::test]
async fn the_raw_payload_is_not_written() {
    let Some(broker) = broker::required("the_raw_payload_is_not_written") else {
        return;
    };
    let topic = topic_of(broker, "raw", &payloads()[..1]);
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    for (statement, message) in [
        (
            "INSERT INTO t VALUES ('x', 1, '{}')",
            "row 0 for topic `raw",
        ),
        ("UPDATE t SET _value = '{}'", "UPDATE cannot set `_value`"),
    ] {
        let error = table.error(statement).await;
        assert!(error.contains(message), "{error}");
        assert!(error.contains("`kafka.value.format` = `string`"), "{error}");
    }
    table.rows("INSERT INTO t (_key, v) VALUES ('x', 7)").await;
    // A property `_value` is kept where the payload has one, and not added elsewhere.
    table.rows("UPDATE t SET v = 2 WHERE _key = 'a'").await;
    assert_eq!(
        table.rows("SELECT _key, _value FROM t").await,
        [r#"a|{"v":2,"_value":"its own"}"#, r#"x|{"v":7}"#]
    );
}
