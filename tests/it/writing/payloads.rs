//! Rows as payloads.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, StringArray};

use super::{PEOPLE, Writable, create_table, list, object, record, register, says};
use crate::broker;
use crate::session::rows;

#[tokio::test]
async fn payload_is_the_columns_in_table_order_with_explicit_nulls() {
    let Some(broker) = broker::required("payload_is_the_columns") else {
        return;
    };
    let t = Writable::new(broker, PEOPLE, &[]).await;
    assert_eq!(
        t.insert("VALUES ('a', 'Ada', 'Lovelace'), ('b', 'Bob', NULL)")
            .await,
        2
    );
    assert_eq!(t.insert("SELECT 'c', 'Cy', 'Young'").await, 1);
    assert_eq!(
        t.insert("(lastName, _key) VALUES ('Dee \"D\" \u{e9}', 'd')")
            .await,
        1
    );
    assert_eq!(
        t.records(),
        [
            record("a", r#"{"firstName":"Ada","lastName":"Lovelace"}"#),
            record("b", r#"{"firstName":"Bob","lastName":null}"#),
            record("c", r#"{"firstName":"Cy","lastName":"Young"}"#),
            record(
                "d",
                "{\"firstName\":null,\"lastName\":\"Dee \\\"D\\\" \u{e9}\"}"
            ),
        ]
    );
    let Some(out) = broker.kcat(&["-C", "-t", &t.topic, "-e", "-q", "-f", "%k %s\n"], "") else {
        return;
    };
    assert_eq!(
        out.lines().next(),
        Some(r#"a {"firstName":"Ada","lastName":"Lovelace"}"#)
    );
}

#[tokio::test]
async fn omitted_nulls_are_not_in_the_payload() {
    let Some(broker) = broker::required("omitted_nulls") else {
        return;
    };
    let t = Writable::new(broker, PEOPLE, &[("kafka.json.nulls", "omit")]).await;
    t.insert("VALUES ('a', NULL, 'Lovelace'), ('b', NULL, NULL)")
        .await;
    assert_eq!(t.payloads(), [r#"{"lastName":"Lovelace"}"#, "{}"]);
}

#[tokio::test]
async fn decimals_are_exact_numbers_or_strings() {
    let Some(broker) = broker::required("decimals_are_exact") else {
        return;
    };
    let columns = "_key VARCHAR, d DECIMAL(38, 2)";
    let t = Writable::new(broker, columns, &[]).await;
    assert_eq!(t.insert("VALUES ('a', 1.5)").await, 1);
    assert_eq!(t.insert("VALUES ('b', CAST('-0.05' AS DECIMAL(38, 2))), ('c', CAST('123456789012345678901234567890.12' AS DECIMAL(38, 2)))").await, 2);
    assert_eq!(
        t.payloads(),
        [
            r#"{"d":1.50}"#,
            r#"{"d":-0.05}"#,
            r#"{"d":123456789012345678901234567890.12}"#
        ]
    );
    let t = Writable::new(broker, columns, &[("kafka.json.decimals", "string")]).await;
    t.insert("VALUES ('a', 1.5)").await;
    assert_eq!(t.payloads(), [r#"{"d":"1.50"}"#]);
}

#[tokio::test]
async fn non_finite_numbers_are_refused_or_strings() {
    let Some(broker) = broker::required("non_finite_numbers") else {
        return;
    };
    let columns = "_key VARCHAR, d DOUBLE";
    let values = "VALUES ('a', 1), ('b', CAST('NaN' AS DOUBLE)), ('c', CAST('-inf' AS DOUBLE))";
    let t = Writable::new(broker, columns, &[]).await;
    says(
        &t.refused(values).await,
        &["row 1", "`d`", "`kafka.json.non_finite` = string"],
    );
    let t = Writable::new(broker, columns, &[("kafka.json.non_finite", "string")]).await;
    t.insert(values).await;
    assert_eq!(
        t.payloads(),
        [r#"{"d":1.0}"#, r#"{"d":"NaN"}"#, r#"{"d":"-Infinity"}"#]
    );
}

#[tokio::test]
async fn times_bytes_and_nested_values_have_their_json_form() {
    let Some(broker) = broker::required("times_bytes_and_nested_values") else {
        return;
    };
    let columns = "_key VARCHAR, ts TIMESTAMP, day DATE, \
                   b BYTEA, tags VARCHAR[], at STRUCT<x INT, y DOUBLE>";
    let t = Writable::new(broker, columns, &[]).await;
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None]));
    let x: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let y: ArrayRef = Arc::new(Float64Array::from(vec![None]));
    register(
        &t.ctx,
        "given",
        [("tags", list(texts)), ("at", object([("x", x), ("y", y)]))],
    );
    t.insert(
        "SELECT 'a', TIMESTAMP '2024-05-06T07:08:09.25', \
         DATE '2024-05-06', X'0001ff', tags, at FROM given",
    )
    .await;
    let payloads = t.payloads();
    let payload: serde_json::Value = serde_json::from_str(&payloads[0]).unwrap();
    assert_eq!(
        payload,
        serde_json::json!({
            "ts": "2024-05-06T07:08:09.250",
            "day": "2024-05-06",
            "b": "AAH/",
            "tags": ["x", null],
            "at": {"x": 1, "y": null},
        }),
    );

    rows(&t.ctx, "SET datafusion.execution.time_zone = '+02:00'").await;
    let create = create_table(
        "zoned",
        "_key VARCHAR, ts TIMESTAMP WITH TIME ZONE",
        &t.topic,
        &[],
    );
    rows(&t.ctx, &create).await;
    rows(
        &t.ctx,
        "INSERT INTO zoned VALUES ('b', '2024-05-06T07:08:09Z')",
    )
    .await;
    assert_eq!(t.payloads()[1], r#"{"ts":"2024-05-06T09:08:09+02:00"}"#);
}

#[tokio::test]
async fn payloads_that_are_not_json_are_one_column() {
    let Some(broker) = broker::required("payloads_that_are_not_json") else {
        return;
    };
    let text = [("kafka.value.format", "string")];
    let t = Writable::new(broker, "_key VARCHAR, _value VARCHAR", &text).await;
    t.insert("VALUES ('a', 'x=1'), ('b', '')").await;
    assert_eq!(t.records(), [record("a", "x=1"), record("b", "")]);
    let why = t.refused("VALUES ('c', NULL)").await;
    says(&why, &["row 0", "`_value` is NULL", "`_tombstone`"]);

    let bytes = [("kafka.value.format", "bytes")];
    let columns = "_key VARCHAR, _value BYTEA, _tombstone BOOLEAN";
    let t = Writable::new(broker, columns, &bytes).await;
    t.insert("VALUES ('a', X'00ff', NULL), ('b', NULL, true)")
        .await;
    let payloads: Vec<_> = broker
        .read_all(&t.topic)
        .into_iter()
        .map(|record| record.payload)
        .collect();
    assert_eq!(payloads, [Some(vec![0, 0xff]), None]);
}
