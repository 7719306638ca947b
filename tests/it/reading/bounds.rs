//! The start and the end of reading.

use super::{ALL, COLUMNS, FOREVER, number};
use crate::broker::{self, Broker, Rec};
use crate::declared::{APPEND, Declared};

// Bounds.

/// Two versions of every key, in partition 0 at offsets 0 to 5, and one record in partition 1.
fn bounded_topic(broker: &Broker) -> String {
    let topic = broker.new_topic("bounds", 2, FOREVER);
    let at = |key: &str, value: i64, second: i64| {
        let record = number(key, value).partition(0);
        record.timestamp(1_700_000_000_000 + second * 1_000)
    };
    broker.produce(
        &topic,
        &[
            at("a", 1, 0),
            at("b", 1, 1),
            at("c", 1, 2),
            at("a", 2, 3),
            Rec::tombstone("b")
                .partition(0)
                .timestamp(1_700_000_004_000),
            at("d", 2, 5),
            number("z", 9).partition(1).timestamp(1_700_000_003_000),
        ],
    );
    topic
}

#[tokio::test]
async fn a_table_can_be_read_as_of_an_end() {
    let Some(broker) = broker::required("a_table_can_be_read_as_of_an_end") else {
        return;
    };
    let topic = bounded_topic(broker);
    let nothing = &[][..];
    for (end, upsert, append) in [
        ("earliest", nothing, nothing),
        (
            "latest",
            &["a|2", "c|1", "d|2", "z|9"][..],
            &["a|1", "a|2", "b|1", "c|1", "d|2", "z|9"][..],
        ),
        (
            r#"offsets:{"0":3,"1":0}"#,
            &["a|1", "b|1", "c|1"],
            &["a|1", "b|1", "c|1"],
        ),
        // A partition that is not named is read to its end.
        (r#"offsets:{"0":0}"#, &["z|9"], &["z|9"]),
        (
            "timestamp:2023-11-14T22:13:23Z",
            &["a|1", "b|1", "c|1"],
            &["a|1", "b|1", "c|1"],
        ),
        (
            "timestamp:1700000003500",
            &["a|2", "b|1", "c|1", "z|9"],
            &["a|1", "a|2", "b|1", "c|1", "z|9"],
        ),
        ("timestamp:0", nothing, nothing),
        (
            "timestamp:1900000000000",
            &["a|2", "c|1", "d|2", "z|9"],
            &["a|1", "a|2", "b|1", "c|1", "d|2", "z|9"],
        ),
    ] {
        let end = ("kafka.end", end);
        let table = Declared::new(broker, &topic, COLUMNS, &[end]).await;
        assert_eq!(table.rows(ALL).await, upsert, "{end:?}");
        let table = Declared::new(broker, &topic, COLUMNS, &[end, APPEND]).await;
        assert_eq!(table.rows(ALL).await, append, "{end:?}");
    }
}

#[tokio::test]
async fn a_start_gives_the_keys_that_changed_since() {
    let Some(broker) = broker::required("a_start_gives_the_keys_that_changed_since") else {
        return;
    };
    let topic = bounded_topic(broker);
    let nothing = &[][..];
    for (start, upsert, append) in [
        ("latest", nothing, nothing),
        (
            "earliest",
            &["a|2", "c|1", "d|2", "z|9"][..],
            &["a|1", "a|2", "b|1", "c|1", "d|2", "z|9"][..],
        ),
        (r#"offsets:{"0":3,"1":1}"#, &["a|2", "d|2"], &["a|2", "d|2"]),
        (r#"offsets:{"0":6}"#, &["z|9"], &["z|9"]),
        (
            "timestamp:2023-11-14T23:13:22.500+01:00",
            &["a|2", "d|2", "z|9"],
            &["a|2", "d|2", "z|9"],
        ),
        ("timestamp:1700000005000", &["d|2"], &["d|2"]),
        ("timestamp:1900000000000", nothing, nothing),
    ] {
        let start = ("kafka.start", start);
        let table = Declared::new(broker, &topic, COLUMNS, &[start]).await;
        assert_eq!(table.rows(ALL).await, upsert, "{start:?}");
        let table = Declared::new(broker, &topic, COLUMNS, &[start, APPEND]).await;
        assert_eq!(table.rows(ALL).await, append, "{start:?}");
    }
    let window = [
        ("kafka.start", r#"offsets:{"0":1,"1":0}"#),
        ("kafka.end", r#"offsets:{"0":4,"1":0}"#),
    ];
    let table = Declared::new(broker, &topic, COLUMNS, &window).await;
    assert_eq!(table.rows(ALL).await, ["a|2", "b|1", "c|1"]);
}

#[tokio::test]
async fn an_offset_out_of_range_names_the_range() {
    let Some(broker) = broker::required("an_offset_out_of_range") else {
        return;
    };
    let topic = bounded_topic(broker);
    broker.delete_records(&topic, 0, 2);
    for (key, offset) in [("kafka.start", 1), ("kafka.start", 7), ("kafka.end", 7)] {
        let bound = format!("offsets:{{\"0\":{offset}}}");
        let table = Declared::new(broker, &topic, COLUMNS, &[(key, &bound)]).await;
        let error = table.error(ALL).await;
        let expected = format!(
            "option `{key}`: offset {offset} of topic `{topic}` partition 0 is out of range; the \
             partition holds offsets 2 to 6 (end not included)"
        );
        assert!(error.contains(&expected), "{error}");
    }
    let other = [("kafka.start", r#"offsets:{"5":0}"#)];
    let table = Declared::new(broker, &topic, COLUMNS, &other).await;
    let error = table.error(ALL).await;
    assert!(error.contains("has no partition 5"), "{error}");
}
