//! The columns of a topic whose payloads change.

use super::FOREVER;
use crate::broker::{self, Broker, Rec};
use crate::declared::Declared;

// Columns that change over time: inference looks at the newest records of all partitions.

/// The columns that inference finds, and the rows read with them.
async fn evolved(broker: &Broker, prefix: &str, payloads: &[&str]) -> (String, Vec<String>) {
    let topic = broker.new_topic(prefix, 2, FOREVER);
    let record = |(nth, payload): (usize, &&str)| {
        let partition = i32::try_from(nth % 2).unwrap();
        Rec::new(format!("k{nth}"), payload).partition(partition)
    };
    broker.produce(
        &topic,
        &payloads.iter().enumerate().map(record).collect::<Vec<_>>(),
    );
    let inferred = Declared::new(broker, &topic, "", &[]).await;
    let table = inferred.ctx.table("t").await.unwrap();
    let columns: Vec<String> = table
        .schema()
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    let mut rows = inferred.rows("SELECT * FROM t").await;
    rows.sort_unstable();
    (columns.join(", "), rows)
}

#[tokio::test]
async fn inferred_columns_cover_what_the_sample_shows_old_and_new() {
    let Some(broker) = broker::required("inferred_columns_cover_the_sample") else {
        return;
    };
    for (prefix, payloads, columns, expected) in [
        (
            "added",
            &[r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3,"b":"new"}"#][..],
            "a Int64, b Utf8View",
            &["k0|1|NULL", "k1|2|NULL", "k2|3|new"][..],
        ),
        (
            "removed",
            &[r#"{"a":1,"b":true}"#, r#"{"a":2,"b":false}"#, r#"{"a":3}"#],
            "a Int64, b Boolean",
            &["k0|1|true", "k1|2|false", "k2|3|NULL"],
        ),
        (
            "widened",
            &[r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":2.5}"#],
            "a Float64",
            &["k0|1.0", "k1|2.0", "k2|2.5"],
        ),
        (
            "retyped",
            &[r#"{"a":1}"#, r#"{"a":true}"#, r#"{"a":"three"}"#],
            "a Utf8View",
            &["k0|1", "k1|true", "k2|three"],
        ),
        (
            "null-first",
            &[r#"{"a":null}"#, r#"{"a":null,"b":null}"#, r#"{"a":7}"#],
            "a Int64, b Utf8View",
            &["k0|NULL|NULL", "k1|NULL|NULL", "k2|7|NULL"],
        ),
        (
            "nested",
            &[
                r#"{"o":{"x":1}}"#,
                r#"{"o":null}"#,
                r#"{"o":{"x":2,"y":["z"]}}"#,
            ],
            "o Struct(\"x\": Int64, \"y\": List(Utf8View))",
            &["k0|{x: 1, y: NULL}", "k1|NULL", "k2|{x: 2, y: [z]}"],
        ),
    ] {
        let (found, rows) = evolved(broker, prefix, payloads).await;
        assert_eq!(
            found.replacen("_key Utf8View, ", "", 1),
            columns,
            "{prefix}"
        );
        assert_eq!(rows, expected, "{prefix}");
    }
}

#[tokio::test]
async fn declared_columns_outlive_the_changes_of_a_topic() {
    let Some(broker) = broker::required("declared_columns_outlive_changes") else {
        return;
    };
    let topic = broker.new_topic("evolving", 1, FOREVER);
    let columns = "_key VARCHAR, a BIGINT, b VARCHAR, o STRUCT<x BIGINT>";
    let declared = Declared::new(broker, &topic, columns, &[]).await;
    broker.produce(
        &topic,
        &[
            Rec::new("k0", r#"{"a":1,"b":"text","o":{"x":1}}"#),
            Rec::new("k1", r#"{"b":2,"extra":[1],"o":{"x":2,"y":3}}"#),
        ],
    );
    assert_eq!(
        declared.rows("SELECT * FROM t").await,
        ["k0|1|text|{x: 1}", "k1|NULL|2|{x: 2}"]
    );
    // A value that no longer fits the type is an error, not a silent NULL. Other columns can still
    // be read.
    broker.produce(&topic, &[Rec::new("k2", r#"{"a":"three","b":"x"}"#)]);
    let said = declared.error("SELECT a FROM t").await;
    assert!(
        said.contains("expected BIGINT but found a string that is not a number in `a`"),
        "{said}"
    );
    assert_eq!(declared.rows("SELECT b FROM t").await, ["2", "text", "x"]);
    // Columns are inferred when a table is created. Newer columns need a new table.
    declared.add("inferred", &topic, "", &[]).await.unwrap();
    assert_eq!(
        declared
            .rows("SELECT _key, a, b, extra, o FROM inferred")
            .await,
        [
            "k0|1|text|NULL|{x: 1, y: NULL}",
            "k1|NULL|2|[1]|{x: 2, y: 3}",
            "k2|three|x|NULL|NULL"
        ]
    );
    broker.produce(&topic, &[Rec::new("k3", r#"{"a":"4","late":true}"#)]);
    let said = declared.error("SELECT late FROM inferred").await;
    assert!(said.contains("late"), "{said}");
    // A topic that is not a table is inferred again for each statement.
    let late = format!("SELECT late FROM kafka_log('{topic}') WHERE _key = 'k3'");
    assert_eq!(declared.rows(&late).await, ["true"]);
}
