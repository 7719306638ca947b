//! INSERT OVERWRITE: only differences are sent.

use super::{Changing, sent};
use crate::broker::{self, Rec};
use crate::session::{count, error, rows};
use crate::writing::says;

const COLUMNS: &str = "_key VARCHAR NOT NULL, v BIGINT, s VARCHAR";

#[tokio::test]
async fn only_new_changed_and_vanished_rows_are_sent() {
    let Some(broker) = broker::required("only_new_changed_and_vanished") else {
        return;
    };
    let records = [
        Rec::new("same", r#"{ "s" : "x", "v" : 1.0e0 , "unknown": 7 }"#),
        Rec::new("null", r#"{"s":"x"}"#),
        Rec::new("changed", r#"{"v":1,"s":"x"}"#),
        Rec::new("vanished", r#"{"v":1,"s":"x"}"#),
        Rec::new("deleted", r#"{"v":1,"s":"x"}"#),
        Rec::tombstone("deleted"),
    ];
    let mut t = Changing::new(broker, COLUMNS, &records).await;
    let query = "INSERT OVERWRITE t VALUES ('same', 1, 'x'), ('null', NULL, 'x'), \
                 ('changed', 2, 'x'), ('new', 3, NULL)";
    let (count, _, report) = t.run_reported(query).await;
    assert_eq!((count, report.unchanged), (3, 2));
    assert_eq!((report.upserts, report.tombstones), (2, 1));
    let state = t.state();
    assert_eq!(state["changed"], r#"{"v":2,"s":"x"}"#);
    assert_eq!(state["new"], r#"{"v":3,"s":null}"#);
    assert_eq!(state.len(), 4);
    let done = t.run(query).await;
    assert_eq!((done.count, done.sent), (0, vec![]), "the second time");
    let done = t
        .run("INSERT OVERWRITE t SELECT * FROM t WHERE v > 1")
        .await;
    assert_eq!(done.count, 2, "those that vanish");
    assert_eq!(
        t.state().into_keys().collect::<Vec<_>>(),
        ["changed", "new"]
    );
    let done = t
        .run("INSERT OVERWRITE t SELECT * FROM t WHERE false")
        .await;
    assert_eq!(done.count, 2);
    assert!(t.state().is_empty());
}

#[tokio::test]
async fn two_rows_of_one_key_are_an_error_before_anything_is_sent() {
    let Some(broker) = broker::required("two_rows_of_one_key") else {
        return;
    };
    for options in [&[][..], &[("kafka.delivery", "exactly_once")]] {
        let records = [Rec::new("a", r#"{"v":1}"#)];
        let t = Changing::with(broker, 1, COLUMNS, &records, options).await;
        for (query, twice) in [
            ("VALUES ('b', 1, 'x'), ('c', 1, 'x'), ('b', 2, 'x')", [0, 2]),
            // One of the two rows is equal to the existing row.
            (
                "VALUES ('c', 1, NULL), ('a', 1, NULL), ('a', 2, NULL)",
                [1, 2],
            ),
            (
                "VALUES ('a', 1, NULL), ('c', 1, NULL), ('a', 1, NULL)",
                [0, 2],
            ),
        ] {
            let message = error(&t.ctx, &format!("INSERT OVERWRITE t {query}")).await;
            let said = twice.map(|row| duplicate(row, &t.topic));
            assert!(said.contains(&message), "{message}");
        }
        let null = "INSERT OVERWRITE t SELECT CASE WHEN v = 1 THEN NULL ELSE 'x' END, v, s FROM t";
        says(&error(&t.ctx, null).await, &[&t.topic, "`_key` is NULL"]);
        assert_eq!(t.state().into_keys().collect::<String>(), "a");
        if options.is_empty() {
            assert!(t.is_untouched());
        }
    }
}

/// The error for a row of the query whose key is repeated by another row.
fn duplicate(row: usize, topic: &str) -> String {
    format!(
        "External error: row {row} for topic `{topic}` has the `_key` of another row that the \
         statement changes, or that key is in two partitions; nothing was written"
    )
}

#[tokio::test]
async fn a_key_in_two_partitions_is_written_once_it_was_deleted() {
    let Some(broker) = broker::required("a_key_in_two_partitions_is_written") else {
        return;
    };
    let records = [0, 1].map(|partition| Rec::new("a", r#"{"v":1}"#).partition(partition));
    let t = Changing::with(broker, 2, COLUMNS, &records, &[]).await;
    let overwrite = "INSERT OVERWRITE t VALUES ('b', 1, 'x'), ('a', 2, 'x')";
    assert_eq!(error(&t.ctx, overwrite).await, duplicate(1, &t.topic));
    count(&t.ctx, "DELETE FROM t WHERE _key = 'a'").await;
    assert_eq!(count(&t.ctx, overwrite).await, 2);
}

#[tokio::test]
async fn values_of_every_type_are_compared_as_values() {
    let Some(broker) = broker::required("values_of_every_type") else {
        return;
    };
    let columns = "_key VARCHAR NOT NULL, d DECIMAL(10,2), f DOUBLE, b BOOLEAN, t TIMESTAMP, \
                   y DATE, l BIGINT[], st STRUCT<a INT, b VARCHAR[]>, x BYTEA, sm SMALLINT";
    let records = [Rec::new(
        "a",
        r#"{"f":15e-1,"d":"10.5","b":true,"t":"2026-01-02T03:04:05","y":"2026-01-02",
            "l":[1,2.0,null],"st":{"b":["x"],"a":1},"x":"AAE=","sm":7,"more":1}"#,
    )];
    let mut t = Changing::new(broker, columns, &records).await;
    let row = |l: &str, st: &str| {
        format!(
            r#"{{"d":10.50,"f":1.5,"b":true,"t":"2026-01-02T03:04:05.000","y":"2026-01-02",
                "l":{l},"st":{st},"x":"AAE=","sm":7e0}}"#
        )
    };
    let other = broker.new_topic("others", 1, &[]);
    rows(
        &t.ctx,
        &crate::writing::create_table("other", columns, &other, &[]),
    )
    .await;
    let st = r#"{"a":1,"b":["x"]}"#;
    for (l, st, sent) in [
        ("[1,2,null]", st, 0),
        ("[1,2]", st, 1),
        ("[1,2]", st, 0),
        ("[1,2]", r#"{"a":1,"b":["y"]}"#, 1),
        ("null", r#"{"a":1,"b":["y"]}"#, 1),
        ("null", r#"{"a":1,"b":["y"]}"#, 0),
        ("null", r#"{"a":null,"b":["y"]}"#, 1),
        ("[]", "null", 1),
        ("[]", "null", 0),
    ] {
        broker.produce(&other, &[Rec::new("a", row(l, st))]);
        let done = t.run("INSERT OVERWRITE t SELECT * FROM other").await;
        assert_eq!(done.count, sent, "{l} {st}");
    }
    let done = t.run("INSERT OVERWRITE t SELECT * FROM t").await;
    assert_eq!(done.count, 0);
}

#[tokio::test]
async fn a_row_that_is_a_tombstone_is_no_row() {
    let Some(broker) = broker::required("a_row_that_is_a_tombstone") else {
        return;
    };
    let columns = "_key VARCHAR NOT NULL, v BIGINT, _tombstone BOOLEAN";
    let records = [Rec::new("a", r#"{"v":1}"#), Rec::new("b", r#"{"v":2}"#)];
    let mut t = Changing::new(broker, columns, &records).await;
    let query = "INSERT OVERWRITE t VALUES ('a', 1, true), ('b', 2, false), ('c', 3, true)";
    let done = t.run(query).await;
    assert_eq!((done.count, done.sent), (1, sent(&[("a", None)])));
}

#[tokio::test]
async fn a_topic_that_the_query_gives_its_columns_is_reconciled_too() {
    let Some(broker) = broker::required("a_topic_that_the_query_gives") else {
        return;
    };
    let topic = broker.new_topic("reconciled", 2, &[]);
    broker.produce(
        &topic,
        &[Rec::new("a", r#"{"n":1}"#), Rec::new("old", r#"{"n":1}"#)],
    );
    let topics = datafusion_kafka::KafkaTopics::new()
        .with_source("^reconciled", Default::default())
        .with_sink("^reconciled", Default::default());
    let ctx = crate::session::session(broker, topics);
    let query = format!("INSERT OVERWRITE \"{topic}\" SELECT 'a' AS _key, 1 AS n");
    assert_eq!(crate::session::count(&ctx, &query).await, 1);
    assert_eq!(crate::session::count(&ctx, &query).await, 0);
    rows(&ctx, &format!("EXPLAIN {query}")).await;
    assert_eq!(broker.read_all(&topic).len(), 3);
}

#[tokio::test]
async fn a_topic_that_is_to_be_created_has_no_rows_yet() {
    let Some(broker) = broker::required("a_topic_that_is_to_be_created") else {
        return;
    };
    let ctx = crate::session::session(broker, Default::default());
    let topic = broker::topic_name("overwritten");
    let create = [("kafka.create_topic", "true")];
    rows(
        &ctx,
        &crate::writing::create_table("t", COLUMNS, &topic, &create),
    )
    .await;
    let query = "INSERT OVERWRITE t VALUES ('a', 1, NULL)";
    assert_eq!(crate::session::count(&ctx, query).await, 1);
    assert_eq!(crate::session::count(&ctx, query).await, 0);
    let missing = broker::topic_name("missing");
    rows(
        &ctx,
        &crate::writing::create_table("m", COLUMNS, &missing, &[]),
    )
    .await;
    says(
        &error(&ctx, "DELETE FROM m").await,
        &[&missing, "does not exist"],
    );
}

#[tokio::test]
async fn rows_of_any_type_equal_themselves() {
    use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, TimeUnit};

    let Some(broker) = broker::required("rows_of_any_type_equal_themselves") else {
        return;
    };
    let entries = DataType::Struct(
        vec![
            Field::new("key", DataType::Utf8, false),
            Field::new("value", DataType::Int64, true),
        ]
        .into(),
    );
    let item = |data_type| Field::new("item", data_type, true).into();
    let inner = DataType::Struct(vec![Field::new("x", DataType::Float64, true)].into());
    let columns = [
        (
            "m",
            DataType::Map(Field::new("entries", entries, false).into(), false),
            r#"{"a":1,"b":null}"#,
        ),
        (
            "f",
            DataType::FixedSizeList(item(DataType::Int32), 2),
            "[1,null]",
        ),
        (
            "l",
            DataType::LargeList(item(inner.clone())),
            r#"[{"x":1.5},null,{"x":"NaN"}]"#,
        ),
        ("st", inner, r#"{"x":-0.0}"#),
        ("n", DataType::Float32, r#""NaN""#),
        ("z", DataType::Float64, "-0.0"),
        ("h", DataType::Float16, "1.5"),
        (
            "d",
            DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into()),
            r#""x""#,
        ),
        (
            "ti",
            DataType::Time64(TimeUnit::Nanosecond),
            r#""10:11:12.000000001""#,
        ),
        (
            "du",
            DataType::Duration(TimeUnit::Millisecond),
            r#""PT1.5S""#,
        ),
        (
            "iv",
            DataType::Interval(IntervalUnit::MonthDayNano),
            r#""P1M2DT3S""#,
        ),
        (
            "dd",
            DataType::Decimal256(60, 3),
            "12345678901234567890123456789.123",
        ),
        ("u", DataType::UInt64, "18446744073709551615"),
        ("bv", DataType::BinaryView, r#""AAE=""#),
        ("ls", DataType::LargeUtf8, r#""text""#),
        (
            "ts",
            DataType::Timestamp(TimeUnit::Nanosecond, Some("+02:00".into())),
            r#""2026-01-02T03:04:05.000000001+02:00""#,
        ),
    ];
    let topic = broker.new_topic("types", 1, &[]);
    let properties = columns
        .iter()
        .map(|(name, _, json)| format!("\"{name}\":{json}"));
    let payload = format!("{{{}}}", properties.collect::<Vec<_>>().join(","));
    broker.produce(&topic, &[Rec::new("a", payload), Rec::new("nulls", "{}")]);
    let fields = columns
        .iter()
        .map(|(name, data_type, _)| Field::new(*name, data_type.clone(), true));
    let table = datafusion_kafka::KafkaTable::builder(&topic)
        .with_schema(Schema::new(fields.collect::<Vec<_>>()))
        .with_option("kafka.bootstrap.servers", &broker.servers)
        .build()
        .await
        .unwrap();
    let ctx = crate::session::session(broker, Default::default());
    ctx.register_table("t", std::sync::Arc::new(table)).unwrap();
    let done = crate::session::count(&ctx, "INSERT OVERWRITE t SELECT * FROM t").await;
    assert_eq!(done, 0);
    assert_eq!(
        crate::session::count(&ctx, "UPDATE t SET z = z + 1 WHERE z IS NOT NULL").await,
        1
    );
}
