//! `INSERT INTO .. SELECT .. FROM` an UNBOUNDED table, in plain SQL.

use datafusion_kafka::{KafkaTopics, SinkOptions};

use super::{EXACTLY_ONCE, Forever, caught_up, log, start, value, written};
use crate::broker::{self, Broker, Rec, topic_name};
use crate::declared::{APPEND, Declared, in_time};
use crate::session::session;

/// A session with the UNBOUNDED table `feed` and the table `out`.
async fn feed_and_out(
    broker: &Broker,
    feed: &str,
    feed_options: &[(&str, &str)],
    out: &str,
    out_options: &[(&str, &str)],
) -> Declared {
    let columns = "_key VARCHAR, v BIGINT";
    let declared = Declared::new(broker, out, columns, &[]).await;
    declared
        .add("out", out, columns, out_options)
        .await
        .unwrap();
    let added = declared.add_unbounded("feed", feed, columns, feed_options);
    added.await.unwrap();
    declared
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_and_rows_that_no_longer_match_are_deletes() {
    let test = "continuous::tombstones_and_rows_that_no_longer_match_are_deletes";
    let Some(broker) = broker::required(test) else {
        return;
    };
    for delivery in ["at_least_once", "exactly_once"] {
        let (feed, out) = (
            broker.new_topic("feed", 1, &[]),
            broker.new_topic("out", 1, &[]),
        );
        // The query takes into account what an earlier run has left.
        broker.produce(
            &out,
            &[value("old", 70), value("gone", 1), Rec::tombstone("gone")],
        );
        let options = [("kafka.delivery", delivery)];
        let declared = feed_and_out(broker, &feed, &[], &out, &options).await;
        let insert = "INSERT INTO out SELECT _key, v * 10 AS v FROM feed WHERE v > 4";
        let _running = Forever::start(&declared, insert).await;
        broker.produce(
            &feed,
            &[
                value("a", 5),
                value("b", 1),
                value("old", 1),
                value("gone", 2),
                Rec::tombstone("unknown"),
                value("a", 3),
                value("a", 2),
                value("a", 9),
                Rec::tombstone("a"),
                Rec::tombstone("a"),
                value("end", 5),
            ],
        );
        let found = written(broker, &out, 8).await;
        assert_eq!(
            found[3..],
            [
                r#"a={"v":50}"#,
                "old=null",
                "a=null",
                r#"a={"v":90}"#,
                "a=null",
                r#"end={"v":50}"#
            ],
            "{delivery}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_of_unknown_keys_are_sent_where_that_is_asked_for() {
    let test = "continuous::deletes_of_unknown_keys_are_sent_where_that_is_asked_for";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let (feed, out) = (
        broker.new_topic("feed", 1, &[]),
        broker.new_topic("out", 1, &[]),
    );
    let always = [("kafka.deletes", "always")];
    let declared = feed_and_out(broker, &feed, &[], &out, &always).await;
    let insert = "INSERT INTO out SELECT * FROM feed WHERE v > 4";
    let _running = Forever::start(&declared, insert).await;
    broker.produce(&feed, &[value("b", 1), Rec::tombstone("c"), value("a", 5)]);
    let found = written(broker, &out, 3).await;
    assert_eq!(found, ["b=null", "c=null", r#"a={"v":5}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_where_every_tombstone_goes_through() {
    let test = "continuous::without_where_every_tombstone_goes_through";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let (feed, out) = (
        broker.new_topic("feed", 1, &[]),
        broker.new_topic("out", 1, &[]),
    );
    let declared = feed_and_out(broker, &feed, &[], &out, &[]).await;
    // The key is recognized through aliases, subqueries and casts.
    let insert = "INSERT INTO out SELECT id, w FROM (SELECT _key AS id, v + 1 AS w FROM feed) AS f";
    let _running = Forever::start(&declared, insert).await;
    broker.produce(
        &feed,
        &[Rec::tombstone("x"), value("a", 5), Rec::tombstone("a")],
    );
    let found = written(broker, &out, 3).await;
    assert_eq!(found, ["x=null", r#"a={"v":6}"#, "a=null"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_where_keeps_out_is_not_computed() {
    let Some(broker) = broker::required("continuous::what_where_keeps_out_is_not_computed") else {
        return;
    };
    let (feed, out) = (
        broker.new_topic("feed", 1, &[]),
        broker.new_topic("out", 1, &[]),
    );
    let declared = feed_and_out(broker, &feed, &[], &out, &[]).await;
    let insert = "INSERT INTO out SELECT _key, CASE WHEN 100 / v > 5 THEN 1 ELSE 0 END AS v FROM feed WHERE v <> 0";
    let _running = Forever::start(&declared, insert).await;
    broker.produce(
        &feed,
        &[
            value("a", 0),
            value("b", 10),
            Rec::tombstone("b"),
            value("c", 50),
        ],
    );
    let found = written(broker, &out, 3).await;
    assert_eq!(found, [r#"b={"v":1}"#, "b=null", r#"c={"v":0}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_goes_on_in_transactions() {
    let Some(broker) = broker::required("continuous::a_log_goes_on_in_transactions") else {
        return;
    };
    let (feed, out) = (
        broker.new_topic("feed", 1, &[]),
        broker.new_topic("out", 1, &[]),
    );
    let declared = feed_and_out(broker, &feed, &[APPEND], &out, &[EXACTLY_ONCE]).await;
    let insert = "INSERT INTO out SELECT * FROM feed WHERE v > 4";
    let _running = Forever::start(&declared, insert).await;
    broker.produce(&feed, &[value("a", 1), value("a", 5)]);
    assert_eq!(written(broker, &out, 1).await, [r#"a={"v":5}"#]);
    broker.produce(&feed, &[value("a", 2), value("a", 6)]);
    assert_eq!(written(broker, &out, 2).await[1..], [r#"a={"v":6}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_do_not_fit_go_to_another_topic() {
    let test = "continuous::records_that_do_not_fit_go_to_another_topic";
    let Some(broker) = broker::required(test) else {
        return;
    };
    for delivery in ["at_least_once", "exactly_once"] {
        let (feed, out, dead) = (
            broker.new_topic("feed", 1, &[]),
            broker.new_topic("out", 1, &[]),
            broker.new_topic("dead", 1, &[]),
        );
        let letters = [
            ("kafka.on_bad_record", "dead_letter"),
            ("kafka.dead_letter.topic", dead.as_str()),
        ];
        let options = [("kafka.delivery", delivery)];
        let declared = feed_and_out(broker, &feed, &letters, &out, &options).await;
        declared
            .add("ends", &feed, "_key VARCHAR, v BIGINT", &letters)
            .await
            .unwrap();
        let error = declared.error("SELECT * FROM ends").await;
        assert!(error.contains("use `skip` or `null`"), "{error}");
        let insert = "INSERT INTO out SELECT _key, v FROM feed WHERE v > 4";
        let _running = Forever::start(&declared, insert).await;
        broker.produce(
            &feed,
            &[
                value("a", 5),
                Rec::new("a", "{broken").header("h", Some(b"1")),
                Rec::new("\u{fffd}", r#"{"v":"text"}"#),
                Rec::new([0xff, 0xfe], r#"{"v":7}"#),
                value("b", 6),
            ],
        );
        // The good row of `a` is kept.
        let found = written(broker, &out, 2).await;
        assert_eq!(found, [r#"a={"v":5}"#, r#"b={"v":6}"#]);
        written(broker, &dead, 3).await;
        let letters = broker.read_all(&dead);
        assert_eq!(letters[0].payload.as_deref(), Some(&b"{broken"[..]));
        assert_eq!(letters[2].key.as_deref(), Some(&[0xff, 0xfe][..]));
        let header = |letter: usize, name: &str| {
            let headers = letters[letter].headers.iter();
            let found = headers.filter(|(key, _)| key == name);
            let found = found.map(|(_, value)| value.clone().unwrap_or_default());
            found
                .map(|v| String::from_utf8(v).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(header(0, "h"), ["1"]);
        assert_eq!(header(0, "kafka.dead_letter.topic"), [feed.as_str()]);
        assert_eq!(header(0, "kafka.dead_letter.partition"), ["0"]);
        assert_eq!(header(1, "kafka.dead_letter.offset"), ["2"]);
        let reason = header(1, "kafka.dead_letter.reason");
        assert!(
            reason[0].contains("`v`") && !reason[0].contains("text"),
            "{reason:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_carry_deletes_is_refused() {
    let Some(broker) = broker::required("continuous::what_cannot_carry_deletes_is_refused") else {
        return;
    };
    let (feed, out) = (
        broker.new_topic("feed", 1, &[]),
        broker.new_topic("out", 1, &[]),
    );
    let declared = feed_and_out(broker, &feed, &[], &out, &[]).await;
    for sql in [
        "INSERT INTO out SELECT CAST(v AS VARCHAR) AS k, v FROM feed",
        "INSERT INTO out SELECT lower(_key), v FROM feed",
        "INSERT INTO out SELECT f._key, f.v FROM feed AS f JOIN t ON f._key = t._key",
        "INSERT INTO out SELECT _key, v FROM feed WHERE _key IN (SELECT _key FROM t)",
        "INSERT INTO out SELECT _key, v FROM feed LIMIT 3",
    ] {
        let error = declared.error(sql).await;
        assert!(error.contains("cannot carry the deletes"), "{sql}: {error}");
    }
    let error = declared.error("SELECT * FROM feed").await;
    assert!(error.contains("declare `_tombstone BOOLEAN`"), "{error}");
    assert_eq!(log(broker, &out), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_for_dead_letters_that_is_missing_is_named_at_once() {
    let test = "continuous::a_topic_for_dead_letters_that_is_missing_is_named_at_once";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let (feed, out) = (
        broker.new_topic("feed", 1, &[]),
        broker.new_topic("out", 1, &[]),
    );
    broker.produce(&feed, &[value("a", 5)]);
    let letters = [
        ("kafka.on_bad_record", "dead_letter"),
        ("kafka.dead_letter.topic", "no-such-topic"),
    ];
    let declared = feed_and_out(broker, &feed, &letters, &out, &[]).await;
    let error = declared.error("INSERT INTO out SELECT * FROM feed").await;
    assert!(error.contains("`no-such-topic` does not exist"), "{error}");
    assert_eq!(log(broker, &out), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_hands_tombstones_on_takes_rows_back_too() {
    let test = "continuous::a_query_that_hands_tombstones_on_takes_rows_back_too";
    let Some(broker) = broker::required(test) else {
        return;
    };
    for (condition, expected) in [
        ("v > 0", &["a=null", "b=null"][..]),
        ("v > 0 OR _tombstone", &["a=null", "b=null"]),
        ("v > 0 AND NOT _tombstone", &["a=null"]),
    ] {
        let (feed, out) = (
            broker.new_topic("feed", 1, &[]),
            broker.new_topic("out", 1, &[]),
        );
        let columns = "_key VARCHAR, v BIGINT, _tombstone BOOLEAN";
        let declared = Declared::new(broker, &out, columns, &[]).await;
        declared.add("out", &out, columns, &[]).await.unwrap();
        let added = declared.add_unbounded("feed", &feed, columns, &[]);
        added.await.unwrap();
        let insert = format!("INSERT INTO out SELECT * FROM feed WHERE {condition}");
        let _running = Forever::start(&declared, &insert).await;
        broker.produce(
            &feed,
            &[
                value("a", 1),
                value("b", 2),
                value("a", -1),
                Rec::tombstone("b"),
                value("end", 3),
            ],
        );
        let found = written(broker, &out, 3 + expected.len()).await;
        assert_eq!(found[2..2 + expected.len()], *expected, "{condition}");
        assert_eq!(
            found[2 + expected.len()..],
            [r#"end={"v":3}"#],
            "{condition}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_a_key_are_written_without_one() {
    let test = "continuous::records_without_a_key_are_written_without_one";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let without = |v: i64| Rec {
        payload: Some(format!("{{\"v\":{v}}}").into_bytes()),
        ..Rec::default()
    };
    for delivery in ["at_least_once", "exactly_once"] {
        let (feed, out) = (
            broker.new_topic("feed", 1, &[]),
            broker.new_topic("out", 1, &[]),
        );
        let options = [APPEND, ("kafka.delivery", delivery)];
        let declared = feed_and_out(broker, &feed, &[APPEND], &out, &options).await;
        let insert = "INSERT INTO out SELECT _key, v * 10 AS v FROM feed WHERE v > 1";
        let running = Forever::start(&declared, insert).await;
        broker.produce(&feed, &[without(1), without(2), value("k", 3), without(4)]);
        let expected = [r#"null={"v":20}"#, r#"k={"v":30}"#, r#"null={"v":40}"#];
        assert_eq!(written(broker, &out, 3).await, expected);
        drop(running);

        let out = broker.new_topic("out", 1, &[]);
        declared
            .add("events", &feed, "_key VARCHAR, v BIGINT", &[APPEND])
            .await
            .unwrap();
        declared
            .add("copy", &out, "_key VARCHAR, v BIGINT", &options)
            .await
            .unwrap();
        let insert = "INSERT INTO copy SELECT _key, v * 10 AS v FROM events WHERE v > 1";
        let query = start(&declared, &topic_name("keyless"), insert).await;
        assert_eq!(written(broker, &out, 3).await, expected);
        in_time("stopping", query.stop()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_a_map_are_written() {
    let test = "continuous::headers_that_are_a_map_are_written";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let (feed, out) = (
        broker.new_topic("feed", 1, &[]),
        broker.new_topic("mapped", 1, &[]),
    );
    let declared = Declared {
        ctx: session(
            broker,
            KafkaTopics::new().with_sink("^mapped", SinkOptions::new()),
        ),
    };
    declared
        .add("feed", &feed, "_key VARCHAR, v BIGINT", &[])
        .await
        .unwrap();
    broker.produce(&feed, &[value("a", 1), value("b", 2)]);
    let insert = format!(
        "INSERT INTO \"{out}\" SELECT _key, v, MAP {{'v': CAST(v AS VARCHAR)}} AS _headers FROM feed"
    );
    let query = start(&declared, &topic_name("mapped"), &insert).await;
    written(broker, &out, 2).await;
    in_time("stopping", query.stop()).await.unwrap();
    let headers = broker
        .read_all(&out)
        .into_iter()
        .map(|record| record.headers);
    let expected = ["1", "2"].map(|v| vec![("v".to_owned(), Some(v.into()))]);
    assert_eq!(headers.collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_keep_the_form_that_they_have() {
    let test = "continuous::values_keep_the_form_that_they_have";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let feed = broker.new_topic("feed", 1, &[]);
    let columns = "_key VARCHAR, ts TIMESTAMP(3), doc VARCHAR";
    let options = [
        ("kafka.json.timestamp_unit", "ms"),
        ("kafka.column.doc.encoding", "mixed"),
    ];
    let declared = Declared::new(broker, &feed, columns, &options).await;
    let payloads = [
        r#"{"ts":1000,"doc":1}"#,
        r#"{"ts":2000,"doc":"1"}"#,
        r#"{"ts":3000,"doc":{"x": [1, "y"]}}"#,
        r#"{"ts":4000,"doc":"z"}"#,
    ];
    let records = payloads.map(|payload| Rec::new(&payload[6..7], payload));
    broker.produce(&feed, &records);
    let expected = payloads.map(|payload| format!("{}={payload}", &payload[6..7]));
    for query in ["SELECT * FROM t", "SELECT DISTINCT * FROM t"] {
        let out = broker.new_topic("out", 1, &[]);
        declared.add("out", &out, columns, &options).await.unwrap();
        let name = topic_name("forms");
        let insert = format!("INSERT INTO out {query}");
        for _ in 0..2 {
            let query = start(&declared, &name, &insert).await;
            let mut found = written(broker, &out, 4).await;
            found.sort();
            assert_eq!(found, expected);
            // A query that starts again has nothing to write.
            caught_up(broker, &query, &[&feed]).await;
            in_time("stopping", query.stop()).await.unwrap();
        }
        assert_eq!(broker.read_all(&out).len(), 4);
        declared.rows("DROP TABLE out").await;
    }
}
