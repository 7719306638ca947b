//! What a table shows of its records: columns, formats, bounds, policies, filters and limits, and
//! what it says when it cannot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::{collect, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_kafka::{KafkaTable, KafkaTopics, SourceOptions};
use futures::StreamExt;
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::broker::{self, Broker, Rec, SASL_PASSWORD, SASL_USER, topic_name, wait_until};
use crate::declared::{APPEND, Declared, in_time};
use crate::session::{cells, error, session};

const ALL: &str = "SELECT * FROM t";
const COUNT: &str = "SELECT count(*) FROM t";
const COLUMNS: &str = "_key VARCHAR, v BIGINT";
const SKIP: (&str, &str) = ("kafka.on_bad_record", "skip");
const NULL: (&str, &str) = ("kafka.on_bad_record", "null");

fn number(key: &str, value: i64) -> Rec {
    Rec::new(key, format!("{{\"v\":{value}}}"))
}

/// Records of long ago stay.
const FOREVER: &[(&str, &str)] = &[("retention.ms", "-1")];

/// A topic of one partition with these records.
fn topic_of(broker: &Broker, prefix: &str, records: &[Rec]) -> String {
    let topic = broker.new_topic(prefix, 1, FOREVER);
    broker.produce(&topic, records);
    topic
}

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

    // The names and the order of what `all` adds, after what is declared.
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

// Bad records.

/// Good, bad, good for `b`, and one that is only bad in a property of its own.
fn bad_records() -> [Rec; 6] {
    [
        Rec::new("a", r#"{"v":1,"w":"x"}"#),
        Rec::new("a", r#"{"v":"SECRET"}"#),
        Rec::new("b", r#"{"v":"SECRET"}"#),
        Rec::new("b", r#"{"v":2,"w":"y"}"#),
        Rec::new("c", "SECRET"),
        Rec::new("d", r#"{"v":4,"w":"z"}"#),
    ]
}

#[tokio::test]
async fn a_bad_record_fails_the_query_with_its_place_and_without_its_content() {
    let Some(broker) = broker::required("a_bad_record_fails_the_query") else {
        return;
    };
    let columns = "_key VARCHAR, v BIGINT, w VARCHAR";
    let topic = topic_of(broker, "bad-type", &bad_records()[..2]);
    let upsert = Declared::new(broker, &topic, columns, &[]).await;
    assert_eq!(
        upsert.error(ALL).await,
        format!(
            "External error: topic `{topic}` partition 0 offset 1: bad payload: expected Int64 but \
             found a string in `v` at byte 5; set `kafka.json.coerce` = true, or declare VARCHAR \
             and cast"
        )
    );
    // Only what is read is judged.
    assert_eq!(upsert.rows("SELECT _key, w FROM t").await, ["a|NULL"]);

    let topic = topic_of(broker, "bad-json", &bad_records());
    for options in [&[][..], &[APPEND]] {
        let table = Declared::new(broker, &topic, "w VARCHAR", options).await;
        let error = table.error("SELECT w FROM t").await;
        let place = format!("topic `{topic}` partition 0 offset 4: bad payload: not JSON: ");
        assert!(error.contains(&place), "{error}");
        assert!(error.contains("at byte 0"), "{error}");
        assert!(!error.contains("SECRET"), "{error}");
        assert!(error.contains("kafka.on_bad_record"), "{error}");
    }

    let topic = topic_of(
        broker,
        "nested",
        &[Rec::new("a", r#"{"o":{"l":[1,"SECRET"]}}"#)],
    );
    let columns = "o STRUCT<l BIGINT[]>";
    let nested = Declared::new(broker, &topic, columns, &[]).await;
    let error = nested.error(ALL).await;
    let place = "expected Int64 but found a string in `o.l[1]` at byte 13";
    assert!(error.contains(place), "{error}");
}

#[tokio::test]
async fn a_superseded_bad_record_is_nobodys_business() {
    let Some(broker) = broker::required("a_superseded_bad_record") else {
        return;
    };
    let topic = topic_of(broker, "superseded", &bad_records()[2..4]);
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    assert_eq!(table.rows(ALL).await, ["b|2"]);
}

#[tokio::test]
async fn a_skipped_record_was_never_written() {
    let Some(broker) = broker::required("a_skipped_record") else {
        return;
    };
    let mut records = bad_records().to_vec();
    // Nor does one that comes after a tombstone bring anything back.
    records.extend([number("e", 5), Rec::tombstone("e"), Rec::new("e", "SECRET")]);
    let topic = topic_of(broker, "skipped", &records);
    let columns = "_key VARCHAR, v BIGINT NOT NULL, w VARCHAR";
    for (options, expected) in [
        (&[SKIP][..], &["a|1|x", "b|2|y", "d|4|z"][..]),
        (&[SKIP, APPEND], &["a|1|x", "b|2|y", "d|4|z", "e|5|NULL"]),
    ] {
        let table = Declared::new(broker, &topic, columns, options).await;
        assert_eq!(table.rows(ALL).await, expected);
        let counted = [expected.len().to_string()];
        assert_eq!(table.rows(COUNT).await, counted);
        for column in ["_key", "w"] {
            let rows = table.rows(&format!("SELECT {column} FROM t")).await;
            assert_eq!(rows.len(), expected.len(), "{column}");
        }
        let first = table.rows("SELECT w FROM t WHERE v = 1").await;
        assert_eq!(first, ["x"]);
        assert_eq!(table.rows("SELECT * FROM t LIMIT 2").await.len(), 2);
    }
}

#[tokio::test]
async fn a_bad_record_can_be_a_row_without_a_payload_whatever_is_read_of_it() {
    let Some(broker) = broker::required("a_row_without_a_payload") else {
        return;
    };
    let mut records = bad_records().to_vec();
    records.push(Rec::new("e", r#"{"v":"SECRET","w":"good"}"#));
    let topic = topic_of(broker, "nulled", &records);
    let columns = "_key VARCHAR, v BIGINT, w VARCHAR, _error VARCHAR";
    let upsert = Declared::new(broker, &topic, columns, &[NULL]).await;
    let wrong = "expected Int64 but found a string in `v` at byte 5";
    let rows = upsert.rows("SELECT _key, v, w FROM t").await;
    let expected = [
        "a|NULL|NULL",
        "b|2|y",
        "c|NULL|NULL",
        "d|4|z",
        "e|NULL|NULL",
    ];
    assert_eq!(rows, expected);
    assert_eq!(upsert.rows(COUNT).await, ["5"]);

    // The reason is there without the column that it is about, and the good column of a bad
    // record is NULL though the bad one is not read.
    let errors = upsert
        .rows("SELECT _key, _error FROM t WHERE _error IS NOT NULL")
        .await;
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert_eq!(errors[0], format!("a|{wrong}"));
    assert!(errors[1].starts_with("c|not JSON: "), "{errors:?}");
    assert_eq!(errors[2], format!("e|{wrong}"));
    let rows = upsert.rows("SELECT _key, w FROM t").await;
    assert_eq!(rows, ["a|NULL", "b|y", "c|NULL", "d|z", "e|NULL"]);
    let rows = upsert.rows("SELECT _key FROM t WHERE w = 'good'").await;
    assert_eq!(rows, [""; 0]);

    let append = Declared::new(broker, &topic, columns, &[NULL, APPEND]).await;
    let sums = "SELECT count(*), count(v), count(_error) FROM t";
    assert_eq!(append.rows(sums).await, ["7|3|4"]);
    let refused = Declared::try_new(broker, &topic, "v BIGINT NOT NULL", &[NULL]).await;
    let error = refused.err().unwrap();
    assert!(error.contains("column `v`: is NOT NULL"), "{error}");
}

#[tokio::test]
async fn keys_metadata_and_counts_parse_no_payload() {
    let Some(broker) = broker::required("keys_metadata_and_counts") else {
        return;
    };
    let records = [Rec::new("a", "no JSON"), Rec::new("b", "{")];
    let topic = topic_of(broker, "unparsed", &records);
    let columns = "_key VARCHAR, v BIGINT, _offset BIGINT";
    for options in [&[][..], &[APPEND], &[NULL]] {
        let table = Declared::new(broker, &topic, columns, options).await;
        assert_eq!(table.rows(COUNT).await, ["2"]);
        assert_eq!(table.rows("SELECT count(_key) FROM t").await, ["2"]);
        assert_eq!(table.rows("SELECT _key FROM t").await, ["a", "b"]);
        let filtered = table
            .rows("SELECT _offset FROM t WHERE _key > 'a' LIMIT 1")
            .await;
        assert_eq!(filtered, ["1"]);
    }
}

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

// Filters and limits.

#[tokio::test]
async fn a_limit_gives_so_many_rows_also_behind_a_filter() {
    let Some(broker) = broker::required("a_limit_gives_so_many_rows") else {
        return;
    };
    let topic = broker.new_topic("limits", 3, &[]);
    let one = |n: i64| {
        let partition = i32::try_from(n % 3).unwrap();
        number(&format!("k{n:04}"), n).partition(partition)
    };
    let records: Vec<Rec> = (0..3_000).map(one).collect();
    broker.produce(&topic, &records);
    let columns = "_key VARCHAR, v BIGINT, _partition INT, _offset BIGINT";
    for options in [&[][..], &[APPEND]] {
        let table = Declared::new(broker, &topic, columns, options).await;
        for (filter, matching) in [
            ("true", 3_000),
            ("v < 10", 10),
            ("v % 100 = 1", 30),
            ("_key < 'k0005'", 5),
            ("_key IN ('k0001', 'k2999', 'none')", 2),
            ("_partition = 1", 1_000),
            ("_partition = 1 AND _offset < 7 AND v > 4", 5),
            ("_offset >= 990", 30),
            ("v IS NULL", 0),
        ] {
            let filtered = format!("SELECT v FROM t WHERE {filter}");
            let rows = table.rows(&filtered).await;
            assert_eq!(rows.len(), matching, "{filter}");
            for limit in [0, 1, 7, 29, 5_000] {
                let limited = table.rows(&format!("{filtered} LIMIT {limit}")).await;
                assert_eq!(limited.len(), matching.min(limit), "{filter} LIMIT {limit}");
                assert!(limited.iter().all(|row| rows.contains(row)));
            }
            let skipping = table.rows(&format!("{filtered} LIMIT 5 OFFSET 3")).await;
            assert_eq!(skipping.len(), matching.saturating_sub(3).min(5));
        }
        let random = table.rows("SELECT v FROM t WHERE random() >= 0").await;
        assert_eq!(random.len(), 3_000);
    }
}

#[tokio::test]
async fn a_newer_version_that_a_filter_leaves_out_still_hides_the_older() {
    let Some(broker) = broker::required("a_newer_version_that_a_filter_leaves_out") else {
        return;
    };
    let records = [
        number("a", 1).timestamp(1_000),
        number("b", 1).timestamp(1_000),
        number("a", 2).timestamp(2_000),
        number("c", 1).timestamp(2_000),
        Rec::tombstone("c").timestamp(3_000),
    ];
    let topic = topic_of(broker, "hidden", &records);
    let columns =
        "_key VARCHAR, v BIGINT, _offset BIGINT, _timestamp TIMESTAMP, _tombstone BOOLEAN";
    let table = Declared::new(broker, &topic, columns, &[]).await;
    for filter in [
        "v = 1",
        "_offset < 2",
        "_offset BETWEEN 0 AND 1",
        "_timestamp < TIMESTAMP '1970-01-01T00:00:02'",
        "NOT _tombstone AND _offset <> 2",
    ] {
        let rows = table
            .rows(&format!("SELECT _key, v FROM t WHERE {filter}"))
            .await;
        assert_eq!(rows, ["b|1"], "{filter}");
        let limited = format!("SELECT _key FROM t WHERE {filter} LIMIT 2");
        assert_eq!(table.rows(&limited).await, ["b"], "{filter}");
    }
}

#[tokio::test]
async fn explain_says_what_is_read() {
    let Some(broker) = broker::required("explain_says_what_is_read") else {
        return;
    };
    let topic = broker.new_topic("explained", 3, &[]);
    let table = Declared::new(broker, &topic, COLUMNS, &[APPEND]).await;
    let plan = table
        .rows("EXPLAIN FORMAT INDENT SELECT _key FROM t WHERE v > 1 LIMIT 3")
        .await
        .join("\n");
    let expected = format!(
        "KafkaScanExec: topic={topic}, mode=append, partitions=3, start=earliest, end=latest, \
         projection=[_key], filter=v@1 > 1, limit=3"
    );
    assert!(plan.contains(&expected), "{plan}");
    assert!(!plan.contains("FilterExec"), "{plan}");

    let bounds = [
        ("kafka.start", r#"offsets:{"0":0,"2":0}"#),
        ("kafka.end", "timestamp:1000"),
    ];
    let table = Declared::new(broker, &topic, COLUMNS, &bounds).await;
    let tree = table.rows("EXPLAIN FORMAT TREE SELECT * FROM t").await;
    assert!(tree.join("").contains("KafkaScanExec"), "{tree:?}");
    let plan = table.rows("EXPLAIN FORMAT INDENT SELECT * FROM t").await;
    let expected = "mode=upsert, partitions=3, start=offsets:{\"0\":0,\"2\":0}, \
                    end=timestamp:1000, projection=[_key, v]";
    assert!(plan.join("").contains(expected), "{plan:?}");
}

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
    // Tombstones show nothing: behind many of them the sample goes on.
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

#[tokio::test]
async fn records_without_keys_are_a_log() {
    let Some(broker) = broker::required("records_without_keys") else {
        return;
    };
    let keyless = |payload: &str| Rec {
        payload: Some(payload.as_bytes().to_vec()),
        ..Rec::default()
    };
    let records = [keyless(r#"{"v":1}"#), keyless(r#"{"v":2}"#), number("a", 3)];
    let topic = topic_of(broker, "keyless", &records);
    let inferred = Declared::new(broker, &topic, "", &[]).await;
    assert_eq!(inferred.rows(ALL).await, ["NULL|1", "NULL|2", "a|3"]);
    let asked = [("kafka.mode", "upsert"), ("kafka.null_key", "skip")];
    let asked = Declared::new(broker, &topic, "", &asked).await;
    assert_eq!(asked.rows(ALL).await, ["a|3"]);
}

// Failures.

#[tokio::test]
async fn an_unreachable_broker_is_an_error_with_a_reason_and_soon() {
    let Some(broker) = broker::required("an_unreachable_broker") else {
        return;
    };
    let options = [
        ("kafka.bootstrap.servers", "127.0.0.1:1"),
        ("kafka.timeout", "2s"),
    ];
    let began = Instant::now();
    let table = Declared::new(broker, "any", COLUMNS, &options).await;
    let error = table.error(ALL).await;
    assert!(error.contains("127.0.0.1:1"), "{error}");
    assert!(error.contains("refused"), "{error}");
    let created = Declared::try_new(broker, "any", "", &options).await;
    let error = created.err().unwrap();
    assert!(error.contains("refused"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_missing_topic_is_an_error_that_names_it() {
    let Some(broker) = broker::required("a_missing_topic") else {
        return;
    };
    let topic = topic_name("missing");
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    let error = table.error(ALL).await;
    let expected = format!("topic `{topic}` does not exist on {}", broker.servers);
    assert!(error.contains(&expected), "{error}");
    let created = Declared::try_new(broker, &topic, "", &[]).await;
    let error = created.err().unwrap();
    assert!(error.contains(&expected), "{error}");
}

#[tokio::test]
async fn a_refused_login_says_so_and_not_the_password() {
    let Some(broker) = broker::required("a_refused_login") else {
        return;
    };
    let Some(servers) = &broker.sasl_servers else {
        return;
    };
    let topic = topic_of(broker, "login", &[number("a", 1)]);
    let options = |password: &'static str| {
        [
            ("kafka.bootstrap.servers", servers.as_str()),
            ("kafka.client.security.protocol", "SASL_PLAINTEXT"),
            ("kafka.client.sasl.mechanism", "PLAIN"),
            ("kafka.client.sasl.username", SASL_USER),
            ("kafka.client.sasl.password", password),
        ]
    };
    let refused = Declared::new(broker, &topic, COLUMNS, &options("not-it-at-all")).await;
    let error = refused.error(ALL).await;
    assert!(error.contains(servers.as_str()), "{error}");
    assert!(error.contains("uthentication"), "{error}");
    assert!(!error.contains("not-it-at-all"), "{error}");

    for columns in [COLUMNS, ""] {
        let table = Declared::new(broker, &topic, columns, &options(SASL_PASSWORD)).await;
        assert_eq!(table.rows(ALL).await, ["a|1"]);
    }
}

// Plans.

#[tokio::test]
async fn a_plan_can_run_again_and_its_partitions_in_any_order() {
    let Some(broker) = broker::required("a_plan_can_run_again") else {
        return;
    };
    let topic = broker.new_topic("again", 3, &[]);
    let records = |value: i64| {
        let one = |n: i32| number(&format!("k{n}"), value).partition(n % 3);
        (0..30).map(one).collect::<Vec<_>>()
    };
    broker.produce(&topic, &records(1));
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    let frame = table.ctx.sql("SELECT v FROM t").await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    let run = |context| {
        let collected = collect(Arc::clone(&plan), context);
        async { cells(&in_time("again", collected).await.unwrap()).concat() }
    };
    let context = table.ctx.task_ctx();
    assert_eq!(run(Arc::clone(&context)).await, vec!["1"; 30]);
    assert_eq!(run(Arc::clone(&context)).await, vec!["1"; 30]);
    broker.produce(&topic, &records(2));
    // The instant is that of the context: a recursion asks for the same plan again and again.
    assert_eq!(run(context).await, vec!["1"; 30]);
    let context = table.ctx.task_ctx();
    assert_eq!(run(Arc::clone(&context)).await, vec!["2"; 30]);

    let scan = scan_of(&plan);
    for partition in [2, 2, 0, 1, 1] {
        let stream = scan.execute(partition, Arc::clone(&context)).unwrap();
        let batches: Vec<_> = in_time("a partition", stream.collect()).await;
        let batches: Vec<_> = batches.into_iter().map(Result::unwrap).collect();
        assert_eq!(cells(&batches).concat(), vec!["2"; 10], "{partition}");
    }
}

fn scan_of(
    plan: &Arc<dyn datafusion::physical_plan::ExecutionPlan>,
) -> Arc<dyn datafusion::physical_plan::ExecutionPlan> {
    match plan.children().first() {
        Some(child) => scan_of(child),
        None => Arc::clone(plan),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_self_join_are_equal_while_somebody_writes() {
    let Some(broker) = broker::required("both_sides_of_a_self_join") else {
        return;
    };
    let topic = broker.new_topic("joined", 3, &[]);
    let batch = |from: i64| -> Vec<Rec> {
        (from..from + 300)
            .map(|n| number(&format!("k{}", n % 1_000), n))
            .collect()
    };
    broker.produce(&topic, &batch(0));
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    let done = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (topic, done) = (topic.clone(), Arc::clone(&done));
        move || {
            let mut written = 300;
            while !done.load(Ordering::Relaxed) {
                broker.produce(&topic, &batch(written));
                written += 300;
            }
            written
        }
    });
    let join = "SELECT count(*) FROM t AS l FULL JOIN t AS r ON l._key = r._key \
                WHERE l.v IS DISTINCT FROM r.v";
    let mut unequal = Vec::new();
    for _ in 0..30 {
        unequal.extend(table.rows(join).await);
    }
    done.store(true, Ordering::Relaxed);
    let written = writer.join().unwrap();
    assert!(
        written > 600,
        "only {written} records were written meanwhile"
    );
    assert_eq!(unequal, vec!["0"; 30]);
}

/// Linux shows a thread's name, of which it keeps 15 bytes.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_ends_its_threads() {
    let Some(broker) = broker::required("a_dropped_stream") else {
        return;
    };
    // No other test's topic starts like this.
    let topic = broker.new_topic("qqqq", 3, &[]);
    let one = |n: i32| number(&format!("k{n}"), i64::from(n)).partition(n % 3);
    let records: Vec<Rec> = (0..150_000).map(one).collect();
    broker.produce(&topic, &records);
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| {
            // A thread may end while it is looked at.
            std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
        });
        names
            .filter(|name| name.starts_with("kafka-scan-qqqq"))
            .count()
    };
    for options in [&[][..], &[APPEND]] {
        let table = Declared::new(broker, &topic, COLUMNS, options).await;
        let frame = table.ctx.sql("SELECT v FROM t").await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let mut stream = execute_stream(plan, table.ctx.task_ctx()).unwrap();
        let first = in_time("a batch", stream.next()).await;
        assert!(first.unwrap().unwrap().num_rows() > 0);
        assert!(threads() > 0, "nobody reads 150 000 records in one batch");
        drop(stream);
        wait_until(Duration::from_secs(10), "the threads end", || {
            threads() == 0
        });
    }
}

// Ways in.

#[tokio::test]
async fn a_table_is_built_in_rust_and_read_with_plain_sql() {
    let Some(broker) = broker::required("a_table_is_built_in_rust") else {
        return;
    };
    let record = Rec::new("a", r#"{"firstName":"Ada","born":1815}"#);
    let topic = topic_of(broker, "built", &[record]);
    let fields = vec![
        Field::new("born", DataType::Int32, true),
        Field::new("firstName", DataType::LargeUtf8, false),
    ];
    let ctx = SessionContext::new();
    let declared = KafkaTable::builder(&topic)
        .with_schema(Schema::new(fields))
        .with_option("kafka.bootstrap.servers", &broker.servers);
    let inferred =
        KafkaTable::builder(&topic).with_option("kafka.bootstrap.servers", &broker.servers);
    for (name, builder) in [("declared", declared), ("inferred", inferred)] {
        let table = in_time("build", builder.build()).await.unwrap();
        ctx.register_table(name, Arc::new(table)).unwrap();
        let sql = format!("SELECT _key, \"firstName\", born FROM {name}");
        let frame = ctx.sql(&sql).await.unwrap();
        let batches = in_time(&sql, frame.collect()).await.unwrap();
        assert_eq!(cells(&batches), [["a", "Ada", "1815"]]);
    }
}

#[tokio::test]
async fn a_topic_that_matches_a_pattern_is_read_with_plain_sql() {
    let Some(broker) = broker::required("a_topic_that_matches_a_pattern") else {
        return;
    };
    let topic = topic_of(
        broker,
        "Matched",
        &[Rec::new("a", r#"{"firstName":"Ada"}"#)],
    );
    let ctx = session(
        broker,
        KafkaTopics::new().source("^Matched-", SourceOptions::new()),
    );
    let sql = format!("SELECT _key, \"firstName\" FROM \"{topic}\"");
    let frame = ctx.sql(&sql).await.unwrap();
    let batches = in_time(&sql, frame.collect()).await.unwrap();
    assert_eq!(cells(&batches), [["a", "Ada"]]);
    let error = error(&ctx, "SELECT * FROM unmatched").await;
    assert!(error.contains("not found"), "{error}");
}

// Trouble in mid-scan, and little memory.

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_while_it_is_read_is_an_error_that_says_so() {
    let Some(broker) = broker::required("a_topic_that_is_deleted") else {
        return;
    };
    let topic = broker.new_topic("deleted", 1, &[]);
    // More than a scan fetches ahead.
    let padding = "x".repeat(100_000);
    let payload = |n: i64| format!(r#"{{"v":{n},"padding":"{padding}"}}"#);
    for hundred in 0..12 {
        let keys = hundred * 100..(hundred + 1) * 100;
        let records: Vec<Rec> = keys
            .map(|n| Rec::new(format!("k{n}"), payload(n)))
            .collect();
        broker.produce(&topic, &records);
    }
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    let frame = table.ctx.sql("SELECT v FROM t").await.unwrap();
    let mut stream = frame.execute_stream().await.unwrap();
    assert!(in_time("a batch", stream.next()).await.unwrap().is_ok());
    broker.delete_topic(&topic);
    let end = async {
        while let Some(batch) = stream.next().await {
            if let Err(error) = batch {
                return error.to_string();
            }
        }
        "the scan ended as if it had read everything".to_owned()
    };
    let error = in_time("the scan", end).await;
    assert!(error.contains("was deleted while it was read"), "{error}");
    assert!(error.contains(&topic), "{error}");
}

#[tokio::test]
async fn little_memory_makes_smaller_chunks_and_more_passes_and_too_little_names_the_topic() {
    let Some(broker) = broker::required("little_memory") else {
        return;
    };
    let topic = broker.new_topic("memory", 1, &[]);
    let padding = "x".repeat(1_000);
    let records: Vec<Rec> = (0..5_000)
        .map(|n| {
            Rec::new(
                format!("key-{n}"),
                format!(r#"{{"v":{n},"padding":"{padding}"}}"#),
            )
        })
        .collect();
    broker.produce(&topic, &records);
    let table = Declared::new(broker, &topic, COLUMNS, &[]).await;
    for (bytes, enough) in [(600_000, true), (300_000, true), (1_500, false)] {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_limit(bytes, 1.0)
            .build_arc()
            .unwrap();
        let ctx = SessionContext::new_with_config_rt(SessionConfig::new(), runtime);
        let provider = table.ctx.table_provider("t").await.unwrap();
        ctx.register_table("t", provider).unwrap();
        let frame = ctx.sql("SELECT v FROM t").await.unwrap();
        let mut stream = frame.execute_stream().await.unwrap();
        let mut rows = Ok(0);
        while let (Ok(count), Some(batch)) = (&rows, in_time("a batch", stream.next()).await) {
            rows = batch.map(|batch| count + batch.num_rows());
        }
        match rows {
            Ok(rows) => assert!(enough && rows == 5_000, "{rows} rows with {bytes} bytes"),
            Err(error) => {
                let error = error.to_string();
                assert!(!enough && error.contains(&topic), "{bytes}: {error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_in_mid_scan_is_an_error_after_the_retry_timeout() {
    // A real broker cannot be taken away from the other tests.
    let kafka = MockCluster::new(1).unwrap();
    kafka.create_topic("away", 1, 1).unwrap();
    let servers = kafka.bootstrap_servers();
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &servers)
        .create()
        .unwrap();
    let payload = format!(r#"{{"v":1,"padding":"{}"}}"#, "x".repeat(1_000));
    let keys: Vec<String> = (0..3_000).map(|n| format!("k{n}")).collect();
    let sent = keys.iter().map(|key| {
        let record = FutureRecord::to("away").key(key).payload(&payload);
        producer.send(record, Duration::from_secs(30))
    });
    assert!(
        futures::future::join_all(sent)
            .await
            .iter()
            .all(Result::is_ok)
    );

    let table = KafkaTable::builder("away")
        .with_schema(Schema::new(vec![Field::new("v", DataType::Int64, true)]))
        .with_option("kafka.bootstrap.servers", &servers)
        .with_option("kafka.retry_timeout", "3s")
        // Little is fetched ahead of what was asked for.
        .with_option("kafka.consumer.queued.max.messages.kbytes", "64")
        .with_option("kafka.consumer.fetch.message.max.bytes", "10000")
        .build()
        .await
        .unwrap();
    let config = SessionConfig::new().with_batch_size(10);
    let ctx = SessionContext::new_with_config(config);
    ctx.register_table("t", Arc::new(table)).unwrap();
    let frame = ctx.sql("SELECT v FROM t").await.unwrap();
    let mut stream = frame.execute_stream().await.unwrap();
    assert!(in_time("a batch", stream.next()).await.unwrap().is_ok());
    kafka.broker_down(1).unwrap();
    let end = async {
        while let Some(batch) = stream.next().await {
            if let Err(error) = batch {
                return error.to_string();
            }
        }
        "the scan ended as if it had read everything".to_owned()
    };
    let error = in_time("the scan", end).await;
    assert!(
        error.contains("topic `away` partition 0 failed at offset"),
        "{error}"
    );
    assert!(error.contains("`kafka.retry_timeout`"), "{error}");
}
