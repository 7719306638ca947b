//! What UPDATE, DELETE and TRUNCATE keep of the records that they replace.

use super::{Changing, sent};
use crate::broker::{self, Rec};
use crate::session::{error, rows};
use crate::writing::says;

#[tokio::test]
async fn update_keeps_undeclared_properties_spelling_and_numbers_as_they_stand() {
    let Some(broker) = broker::required("update_keeps_undeclared_properties") else {
        return;
    };
    let columns = "_key VARCHAR NOT NULL, firstname VARCHAR, age INT";
    let records = [
        Rec::new(
            "a",
            r#"{"x": {"deep": [1.50]}, "firstName" : "Ada", "age": 36, "big": 1e400}"#,
        ),
        Rec::new("b", r#"{"firstname":"Bob","FirstName":"other"}"#),
        Rec::new("c", r#"{}"#),
        Rec::new("d", r#"{"age":1,"age":2}"#),
    ];
    let mut t = Changing::new(broker, columns, &records).await;
    let done = t
        .run("UPDATE t SET firstname = 'X \"' WHERE _key <> 'd'")
        .await;
    let mut records = done.sent;
    records.sort();
    let expected = [
        (
            "a",
            Some(r#"{"x":{"deep": [1.50]},"firstName":"X \"","age":36,"big":1e400}"#),
        ),
        ("b", Some(r#"{"firstname":"X \"","FirstName":"other"}"#)),
        ("c", Some(r#"{"firstname":"X \""}"#)),
    ];
    assert_eq!(records, sent(&expected));
    let done = t.run("UPDATE t SET age = NULL WHERE age = 2").await;
    assert_eq!(done.sent, sent(&[("d", Some(r#"{"age":1,"age":null}"#))]));
    let rows = rows(&t.ctx, "SELECT count(age) FROM t WHERE _key = 'd'").await;
    assert_eq!(crate::session::cells(&rows), [["0"]]);
}

#[tokio::test]
async fn with_nulls_omitted_a_property_set_to_null_is_gone() {
    let Some(broker) = broker::required("with_nulls_omitted") else {
        return;
    };
    let columns = "_key VARCHAR NOT NULL, v INT, w INT";
    let records = [
        Rec::new("a", r#"{"V":1,"v":2,"w":3,"u":4}"#),
        Rec::new("b", r#"{"w":1}"#),
    ];
    let omit = [("kafka.json.nulls", "omit")];
    let mut t = Changing::with(broker, 1, columns, &records, &omit).await;
    let mut done = t.run("UPDATE t SET v = NULL").await;
    done.sent.sort();
    let expected = [("a", Some(r#"{"w":3,"u":4}"#)), ("b", Some(r#"{"w":1}"#))];
    assert_eq!(done.sent, sent(&expected));
}

#[tokio::test]
async fn a_change_goes_where_its_record_lies_and_keeps_its_key_and_headers() {
    let Some(broker) = broker::required("a_change_goes_where_its_record_lies") else {
        return;
    };
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let before = i64::try_from(before.unwrap().as_millis()).unwrap() - 60_000;
    // Placed as no partitioner would place them, including one key in two partitions.
    let records: Vec<Rec> = (0..4)
        .map(|p| Rec::new(format!("{{\"id\": {p}.0}}"), r#"{"v":1}"#).partition(p))
        .chain([Rec::new(r#"{"id": 0.0}"#, r#"{"v":2}"#).partition(3)])
        .map(|rec| {
            rec.header("trace", Some(b"1"))
                .header("trace", None)
                .timestamp(before)
        })
        .collect();
    let columns = "_key STRUCT<id INT> NOT NULL, v INT, _timestamp TIMESTAMP, _offset BIGINT";
    let json = [("kafka.key.format", "json")];
    let mut t = Changing::with(broker, 4, columns, &records, &json).await;
    let (count, stored, report) = t.run_reported("UPDATE t SET v = v * 10").await;
    assert_eq!(count, 5);
    assert_eq!(report.partitions.len(), 4);
    for stored in &stored {
        let written = &report.partitions[&stored.partition];
        assert!((written.first..=written.last).contains(&stored.offset));
        assert_eq!(stored.headers, records[0].headers);
        assert!(stored.timestamp > Some(before), "the time of the update");
        let was = |rec: &&Rec| rec.partition == Some(stored.partition) && rec.key == stored.key;
        assert_eq!(records.iter().filter(was).count(), 1, "{stored:?}");
    }
    let (count, stored, _) = t.run_reported("DELETE FROM t WHERE v >= 10").await;
    assert_eq!((count, stored.len()), (5, 5));
    let left = rows(&t.ctx, "SELECT * FROM t").await;
    assert_eq!(left.iter().map(|batch| batch.num_rows()).sum::<usize>(), 0);
}

#[tokio::test]
async fn truncate_deletes_every_live_key_once() {
    let Some(broker) = broker::required("truncate_deletes_every_live_key") else {
        return;
    };
    let records = [
        Rec::new("a", "{}"),
        Rec::new("b", "{}"),
        Rec::new("a", "{}"),
        Rec::tombstone("b"),
        Rec::new("c", "not JSON at all"),
    ];
    let mut t = Changing::new(broker, "_key VARCHAR NOT NULL, v INT NOT NULL", &records).await;
    let mut done = t.run("TRUNCATE TABLE t").await;
    done.sent.sort();
    assert_eq!(
        (done.count, done.sent),
        (2, sent(&[("a", None), ("c", None)]))
    );
    assert_eq!(t.run("TRUNCATE TABLE t").await.count, 0);
}

#[tokio::test]
async fn a_bad_record_can_be_deleted_by_its_key_and_not_updated() {
    let Some(broker) = broker::required("a_bad_record_can_be_deleted") else {
        return;
    };
    let records = [Rec::new("a", r#"{"v":1}"#), Rec::new("b", "[1]")];
    let mut t = Changing::new(broker, "_key VARCHAR NOT NULL, v INT", &records).await;
    let message = error(&t.ctx, "UPDATE t SET v = 3 WHERE _key = 'b'").await;
    says(
        &message,
        &[
            &t.topic,
            "no properties to set",
            "an array",
            "INSERT the whole row instead",
        ],
    );
    assert_eq!(
        t.run("DELETE FROM t WHERE _key = 'b'").await.sent,
        sent(&[("b", None)])
    );
    assert_eq!(t.run("UPDATE t SET v = 3").await.count, 1);
}

#[tokio::test]
async fn payloads_that_are_not_json_are_replaced_as_a_whole() {
    let Some(broker) = broker::required("payloads_that_are_not_json") else {
        return;
    };
    let records = [Rec::new("a", "one").header("h", None), Rec::new("b", "two")];
    let text = [("kafka.value.format", "string")];
    let columns =
        "_key VARCHAR NOT NULL, _value VARCHAR, _headers STRUCT<key VARCHAR, value BYTEA>[]";
    let columns = columns.split(", _headers").next().unwrap();
    let mut t = Changing::with(broker, 1, columns, &records, &text).await;
    let done = t
        .run("UPDATE t SET _value = upper(_value) || '!' WHERE _value = 'one'")
        .await;
    assert_eq!(done.sent, sent(&[("a", Some("ONE!"))]));
    let message = error(&t.ctx, "UPDATE t SET _value = NULL").await;
    says(&message, &["`_value` is NULL", "DELETE"]);
}

#[tokio::test]
async fn what_cannot_be_changed_is_refused_before_anything_is_sent() {
    let Some(broker) = broker::required("what_cannot_be_changed") else {
        return;
    };
    let columns = "_key VARCHAR NOT NULL, v INT NOT NULL, _offset BIGINT, _partition INT, \
                   _tombstone BOOLEAN";
    let records = [Rec::new("a", r#"{"v":1}"#)];
    let t = Changing::new(broker, columns, &records).await;
    let servers = &broker.servers;
    for (name, options) in [
        ("log", "'kafka.mode' 'append'"),
        ("old", "'kafka.end' 'timestamp:1000'"),
        ("new", "'kafka.start' 'latest'"),
    ] {
        let create = format!(
            "CREATE EXTERNAL TABLE {name} (_key VARCHAR, v INT) STORED AS KAFKA \
             LOCATION 'kafka://{servers}/{}' OPTIONS ({options})",
            t.topic
        );
        rows(&t.ctx, &create).await;
    }
    for (sql, parts) in [
        (
            "UPDATE t SET _key = 'b'",
            &["`_key`", "INSERT the row under its new key"][..],
        ),
        ("UPDATE t SET _offset = 3", &["`_offset`"]),
        ("UPDATE t SET _partition = 3", &["`_partition`"]),
        ("UPDATE t SET _tombstone = true", &["`_tombstone`"]),
        ("UPDATE t SET v = NULL", &["column `v` is NULL", "NOT NULL"]),
        ("UPDATE t SET nothing = 1", &["nothing"]),
        (
            "DELETE FROM log",
            &["DELETE", "append", "kafka.mode", &t.topic],
        ),
        ("UPDATE log SET v = 1", &["UPDATE", "append"]),
        ("TRUNCATE TABLE log", &["TRUNCATE", "append"]),
        (
            "INSERT OVERWRITE log VALUES ('a', 1)",
            &["INSERT OVERWRITE", "append"],
        ),
        (
            "REPLACE INTO log VALUES ('a', 1)",
            &["REPLACE INTO", "append"],
        ),
        ("DELETE FROM old", &["kafka.end", "as it is now"]),
        ("UPDATE new SET v = 1", &["kafka.start"]),
    ] {
        says(&error(&t.ctx, sql).await, parts);
    }
    assert!(t.is_untouched());
}

#[tokio::test]
async fn replace_into_is_an_upsert() {
    let Some(broker) = broker::required("replace_into_is_an_upsert") else {
        return;
    };
    let mut t = Changing::new(
        broker,
        "_key VARCHAR NOT NULL, v INT",
        &[Rec::new("a", "{}")],
    )
    .await;
    let done = t.run("REPLACE INTO t VALUES ('a', 1)").await;
    assert_eq!(
        (done.count, done.sent),
        (1, sent(&[("a", Some(r#"{"v":1}"#))]))
    );
}

#[tokio::test]
async fn a_dry_run_reports_and_sends_nothing() {
    let Some(broker) = broker::required("a_dry_run_reports") else {
        return;
    };
    let records = [Rec::new("a", r#"{"v":1}"#), Rec::new("b", r#"{"v":2}"#)];
    let dry = [
        ("kafka.dry_run", "true"),
        ("kafka.delivery", "exactly_once"),
    ];
    let mut t = Changing::with(broker, 1, "_key VARCHAR NOT NULL, v INT", &records, &dry).await;
    for (sql, upserts, tombstones, unchanged) in [
        ("DELETE FROM t WHERE v = 1", 0, 1, 0),
        ("UPDATE t SET v = 3", 2, 0, 0),
        ("INSERT INTO t VALUES ('c', 1)", 1, 0, 0),
        ("INSERT OVERWRITE t VALUES ('a', 1), ('c', 1)", 1, 1, 1),
    ] {
        let (_, stored, report) = t.run_reported(sql).await;
        assert_eq!(stored, []);
        let figures = (report.upserts, report.tombstones, report.unchanged);
        assert_eq!(figures, (upserts, tombstones, unchanged), "{sql}");
        assert!(report.partitions.is_empty() && report.bytes > 0);
    }
    assert!(t.is_untouched());
}

#[tokio::test]
async fn reading_and_writing_one_topic_works_on_the_snapshot() {
    let Some(broker) = broker::required("reading_and_writing_one_topic") else {
        return;
    };
    let records: Vec<Rec> = (0..2_000)
        .map(|i| Rec::new(format!("k{i}"), format!("{{\"v\":{i}}}")))
        .collect();
    let mut t = Changing::with(broker, 3, "_key VARCHAR NOT NULL, v BIGINT", &records, &[]).await;
    let copy = "INSERT INTO t SELECT _key || 'x', v + 1 FROM t";
    assert_eq!(t.run(copy).await.count, 2_000);
    let same = "INSERT INTO t SELECT a._key, a.v + b.v FROM t a JOIN t b USING (_key)";
    assert_eq!(t.run(same).await.count, 4_000);
    let sum = rows(&t.ctx, "SELECT sum(v) FROM t").await;
    let once: u64 = (0..2_000).sum();
    let expected = 2 * (once + once + 2_000);
    assert_eq!(crate::session::cells(&sum), [[expected.to_string()]]);
}
