//! Records that do not fit the table.

use super::{ALL, COLUMNS, COUNT, NULL, SKIP, number, topic_of};
use crate::broker::{self, Rec};
use crate::declared::{APPEND, Declared};

// Bad records.

/// `a` is good and then bad in `v`, `b` is bad and then good, `c` is not JSON, and `d` is good.
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
            "External error: topic `{topic}` partition 0 offset 1: bad payload: expected BIGINT but \
             found a string that is not a number in `v` at byte 5; declare VARCHAR and use \
             try_cast, or set `kafka.on_bad_record` = `null` or `skip`"
        )
    );
    // Only columns that are read are checked.
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
    let place = "expected BIGINT but found a string that is not a number in `o.l[1]` at byte 13";
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
    // A bad record after a tombstone does not bring the row back either.
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
    let wrong = "expected BIGINT but found a string that is not a number in `v` at byte 5";
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

    // `_error` is set even if the column that failed is not read. A good column of a bad record is
    // NULL even if the bad column is not read.
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
