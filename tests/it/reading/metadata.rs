//! The columns with a record's position, time and headers.

use super::{ALL, COLUMNS, FOREVER, number, topic_of};
use crate::broker::{self, Rec};
use crate::declared::{APPEND, Declared};

// Metadata.

#[tokio::test]
async fn metadata_columns_say_where_and_when_a_record_is() {
    let Some(broker) = broker::required("metadata_columns") else {
        return;
    };
    let topic = broker.new_topic("metadata", 2, FOREVER);
    broker.produce(
        &topic,
        &[
            number("a", 1).partition(0).timestamp(1_700_000_000_123),
            number("b", 2)
                .partition(1)
                .timestamp(1_700_000_001_000)
                .header("trace", Some(b"1"))
                .header("other", None)
                .header("trace", Some(b"\xff")),
            Rec::tombstone("c")
                .partition(1)
                .timestamp(1_700_000_002_000),
        ],
    );
    let declared = "_offset BIGINT, _partition INT, _topic VARCHAR, v BIGINT, _key VARCHAR, \
                    _timestamp TIMESTAMP, _tombstone BOOLEAN, _error VARCHAR";
    let upsert = Declared::new(broker, &topic, declared, &[]).await;
    assert_eq!(
        upsert.rows(ALL).await,
        [
            format!("0|0|{topic}|1|a|2023-11-14T22:13:20.123|false|NULL"),
            format!("0|1|{topic}|2|b|2023-11-14T22:13:21|false|NULL"),
        ]
    );

    // The names and the order of the columns that `all` adds after the declared columns.
    for (columns, first) in [(COLUMNS, "_key|v"), ("", "_key|v")] {
        let all = ("kafka.metadata", "all");
        let append = Declared::new(broker, &topic, columns, &[all, APPEND]).await;
        let frame = append.ctx.sql(ALL).await.unwrap();
        let names: Vec<&str> = frame
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        assert_eq!(
            names.join("|"),
            format!("{first}|_topic|_partition|_offset|_timestamp|_headers|_tombstone|_error")
        );
        assert_eq!(
            append.rows(ALL).await,
            [
                format!("a|1|{topic}|0|0|2023-11-14T22:13:20.123Z|[]|false|NULL"),
                format!(
                    "b|2|{topic}|1|0|2023-11-14T22:13:21Z|[{{key: trace, value: 31}}, \
                     {{key: other, value: NULL}}, {{key: trace, value: ff}}]|false|NULL"
                ),
                format!("c|NULL|{topic}|1|1|2023-11-14T22:13:22Z|[]|true|NULL"),
            ]
        );
    }
}

#[tokio::test]
async fn a_metadata_column_of_another_type_is_refused() {
    let Some(broker) = broker::required("a_metadata_column_of_another_type") else {
        return;
    };
    for column in ["_offset VARCHAR", "_timestamp BIGINT", "_tombstone INT"] {
        let created = Declared::try_new(broker, "any", column, &[]).await;
        let error = created.err().unwrap();
        let name = column.split_once(' ').unwrap().0;
        assert!(error.contains(&format!("column `{name}`")), "{error}");
    }
}

#[tokio::test]
async fn payload_properties_never_stand_in_for_key_and_metadata() {
    let Some(broker) = broker::required("payload_properties_never_stand_in") else {
        return;
    };
    let payload = r#"{"_key":"false","_offset":99,"v":1}"#;
    let topic = topic_of(broker, "impostor", &[Rec::new("true", payload)]);
    let declared = Declared::new(broker, &topic, "v BIGINT, _offset BIGINT", &[]).await;
    assert_eq!(declared.rows(ALL).await, ["true|1|0"]);
    let inferred = Declared::new(broker, &topic, "", &[("kafka.metadata", "all")]).await;
    let rows = inferred.rows("SELECT _key, v FROM t").await;
    assert_eq!(rows, ["true|1"]);
}

#[tokio::test]
async fn records_without_keys_are_a_log() {
    let Some(broker) = broker::required("records_without_keys") else {
        return;
    };
    let keyless = |payload: &str| Rec {
        payload: Some(payload.as_bytes().to_vec()),
        ..Rec::default()
    };
    let mut records = vec![keyless(r#"{"v":1}"#), keyless(r#"{"v":2}"#)];
    let topic = topic_of(broker, "keyless", &records);
    let inferred = Declared::new(broker, &topic, "", &[]).await;
    assert_eq!(inferred.rows(ALL).await, ["NULL|1", "NULL|2"]);
    records.push(number("a", 3));
    let topic = topic_of(broker, "keyless", &records);
    let asked = [("kafka.mode", "upsert"), ("kafka.null_key", "skip")];
    let asked = Declared::new(broker, &topic, "", &asked).await;
    assert_eq!(asked.rows(ALL).await, ["a|3"]);
}
