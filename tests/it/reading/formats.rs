//! Keys and payloads in every format, and columns that are inferred from them.

use arrow::datatypes::{DataType, Field};

use super::{ALL, number, topic_of};
use crate::broker::{self, Rec};
use crate::declared::Declared;

// Formats.

#[tokio::test]
async fn payloads_can_be_text_or_bytes() {
    let Some(broker) = broker::required("payloads_can_be_text_or_bytes") else {
        return;
    };
    let records = [
        Rec::new("a", "old"),
        Rec::new("a", "plain text"),
        Rec::new("b", ""),
        Rec::tombstone("c"),
    ];
    let topic = topic_of(broker, "text", &records);
    let text = ("kafka.value.format", "string");
    for (columns, options) in [
        ("_key VARCHAR, _value VARCHAR", &[text][..]),
        ("_key VARCHAR", &[text]),
        ("", &[text]),
        ("", &[]),
    ] {
        let table = Declared::new(broker, &topic, columns, options).await;
        assert_eq!(table.rows(ALL).await, ["a|plain text", "b|"], "{columns}");
        let kinds = table
            .rows("SELECT DISTINCT arrow_typeof(_value) FROM t")
            .await;
        assert_eq!(kinds, ["Utf8View"]);
    }
    let bytes = ("kafka.value.format", "bytes");
    for columns in ["_key VARCHAR, _value BYTEA", ""] {
        let table = Declared::new(broker, &topic, columns, &[bytes]).await;
        let rows = table.rows(ALL).await;
        assert_eq!(rows, ["a|706c61696e2074657874", "b|"]);
    }

    let topic = topic_of(broker, "binary", &[Rec::new("a", [0xff, 0x00])]);
    let inferred = Declared::new(broker, &topic, "", &[]).await;
    assert_eq!(inferred.rows(ALL).await, ["a|ff00"]);
    let declared = Declared::new(broker, &topic, "_value VARCHAR", &[text]).await;
    let error = declared.error(ALL).await;
    let place = format!("topic `{topic}` partition 0 offset 0: bad payload: not UTF-8 at byte 0");
    assert!(error.contains(&place), "{error}");
}

#[tokio::test]
async fn keys_can_be_json() {
    let Some(broker) = broker::required("keys_can_be_json") else {
        return;
    };
    let json = ("kafka.key.format", "json");
    for (prefix, keys, declared, rows) in [
        ("key-number", ["7", "8"], "BIGINT", ["7|1", "8|2"]),
        (
            "key-text",
            [r#""x""#, r#""y\n""#],
            "VARCHAR",
            ["x|1", "y\n|2"],
        ),
        (
            "key-object",
            [r#"{"id":7,"at":"x"}"#, r#"{"id":8,"at":"y"}"#],
            "STRUCT<id BIGINT, at VARCHAR>",
            ["{id: 7, at: x}|1", "{id: 8, at: y}|2"],
        ),
    ] {
        let records = [number(keys[0], 1), number(keys[1], 2)];
        let topic = topic_of(broker, prefix, &records);
        let columns = format!("_key {declared}, v BIGINT");
        for columns in [columns.as_str(), ""] {
            let table = Declared::new(broker, &topic, columns, &[json]).await;
            assert_eq!(table.rows(ALL).await, rows, "{columns}");
        }
    }

    let topic = topic_of(broker, "key-bad", &[number("1", 1), number("x", 2)]);
    let table = Declared::new(broker, &topic, "_key BIGINT, v BIGINT", &[json]).await;
    let error = table.error(ALL).await;
    let place = format!("topic `{topic}` partition 0 offset 1: bad key: not JSON: ");
    assert!(error.contains(&place), "{error}");
    assert!(error.contains("kafka.key.format"), "{error}");

    let refused = Declared::try_new(broker, &topic, "_key BIGINT", &[]).await;
    let error = refused.err().unwrap();
    assert!(error.contains("`kafka.key.format` = `json`"), "{error}");
}

#[tokio::test]
async fn a_column_finds_the_property_that_differs_only_in_case() {
    let Some(broker) = broker::required("a_column_finds_the_property") else {
        return;
    };
    let records = [
        Rec::new("a", r#"{"firstName":"Ada"}"#),
        Rec::new(
            "b",
            r#"{"firstName":"no","firstname":"Bob","FIRSTNAME":"no"}"#,
        ),
    ];
    let topic = topic_of(broker, "names", &records);
    let columns = "_key VARCHAR, firstname VARCHAR";
    let table = Declared::new(broker, &topic, columns, &[]).await;
    assert_eq!(table.rows(ALL).await, ["a|Ada", "b|Bob"]);
    let exact = [("kafka.json.names", "exact")];
    let exact = Declared::new(broker, &topic, columns, &exact).await;
    assert_eq!(exact.rows(ALL).await, ["a|NULL", "b|Bob"]);
}

// Inference.

#[tokio::test]
async fn columns_are_inferred_in_the_order_and_with_the_types_of_the_records() {
    let Some(broker) = broker::required("columns_are_inferred") else {
        return;
    };
    let records = [
        Rec::new("a", r#"{"zeta":1,"flag":true,"tags":["x"]}"#),
        Rec::tombstone("gone"),
        Rec::new(
            "b",
            r#"{"alpha":1.5,"zeta":2,"at":{"x":1,"y":null},"none":null}"#,
        ),
        Rec::new("c", r#"{"mixed":1,"firstName":"Ada","day":"2026-01-31"}"#),
        Rec::new("d", r#"{"mixed":"one","alpha":2}"#),
    ];
    let topic = topic_of(broker, "inferred", &records);
    let table = Declared::new(broker, &topic, "", &[]).await;
    let frame = table.ctx.sql(ALL).await.unwrap();
    let columns: Vec<(String, DataType, bool)> = frame
        .schema()
        .fields()
        .iter()
        .map(|f| (f.name().clone(), f.data_type().clone(), f.is_nullable()))
        .collect();
    let text = DataType::Utf8View;
    let inner = vec![
        Field::new("x", DataType::Int64, true),
        Field::new("y", text.clone(), true),
    ];
    let expected = [
        ("_key", text.clone()),
        ("zeta", DataType::Int64),
        ("flag", DataType::Boolean),
        ("tags", DataType::new_list(text.clone(), true)),
        ("alpha", DataType::Float64),
        ("at", DataType::Struct(inner.into())),
        ("none", text.clone()),
        ("mixed", text.clone()),
        ("firstName", text.clone()),
        ("day", text),
    ];
    let expected: Vec<(String, DataType, bool)> = expected
        .into_iter()
        .map(|(name, data_type)| (name.to_owned(), data_type, name != "_key"))
        .collect();
    assert_eq!(columns, expected);
    let rows = table
        .rows("SELECT _key, mixed, firstName, alpha FROM t")
        .await;
    assert_eq!(
        rows,
        [
            "a|NULL|NULL|NULL",
            "b|NULL|NULL|1.5",
            "c|1|Ada|NULL",
            "d|one|NULL|2.0"
        ]
    );
}

#[tokio::test]
async fn the_newest_records_are_the_sample() {
    let Some(broker) = broker::required("the_newest_records_are_the_sample") else {
        return;
    };
    let records = [
        Rec::new("a", r#"{"old":1}"#),
        Rec::new("b", r#"{"new":1}"#),
        Rec::new("c", r#"{"newest":1}"#),
    ];
    let topic = topic_of(broker, "sampled", &records);
    let table = Declared::new(broker, &topic, "", &[("kafka.infer.records", "2")]).await;
    let frame = table.ctx.sql(ALL).await.unwrap();
    assert_eq!(
        frame.schema().field_names(),
        ["t._key", "t.new", "t.newest"]
    );
    // Tombstones show no columns, so the sample continues past them.
    let many: Vec<Rec> = (0..500).map(|n| Rec::tombstone(n.to_string())).collect();
    broker.produce(&topic, &many);
    let table = Declared::new(broker, &topic, "", &[("kafka.infer.records", "2")]).await;
    let frame = table.ctx.sql(ALL).await.unwrap();
    assert!(
        frame
            .schema()
            .field_names()
            .contains(&"t.newest".to_owned())
    );
}

#[tokio::test]
async fn a_topic_without_payloads_must_be_declared() {
    let Some(broker) = broker::required("a_topic_without_payloads") else {
        return;
    };
    let topic = broker.new_topic("nothing", 2, &[]);
    for records in [&[][..], &[Rec::tombstone("a")]] {
        broker.produce(&topic, records);
        let created = Declared::try_new(broker, &topic, "", &[]).await;
        let error = created.err().unwrap();
        assert!(error.contains(&topic), "{error}");
        assert!(error.contains("declare the columns"), "{error}");
    }
}
