//! Records that the output topic rejects, and rights that are revoked.

use std::time::{Duration, Instant};

use datafusion_kafka::{ContinuousOptions, ContinuousQuery, Error, QueryStatus};

use super::{feed_and_out, log, running, start, until, written};
use crate::broker::{self, PATIENCE, Rec, Right, USER_PASSWORD, topic_name};
use crate::declared::{Declared, in_time};

const COLUMNS: &str = "_key VARCHAR, v VARCHAR";
const COPY: &str = "INSERT INTO out SELECT _key, v FROM t";
const SMALL: &[(&str, &str)] = &[("max.message.bytes", "2000")];

fn text(key: &str, length: usize) -> Rec {
    Rec::new(key, format!("{{\"v\":\"{}\"}}", "x".repeat(length)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_output_does_not_take_ends_it() {
    let test = "continuous::a_record_that_the_output_does_not_take_ends_it";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let max = "INSERT INTO out SELECT _key, max(v) AS v FROM t GROUP BY _key";
    for delivery in ["at_least_once", "exactly_once"] {
        for sql in [COPY, max] {
            let feed = broker.new_topic("feed", 1, &[]);
            let out = broker.new_topic("out", 1, SMALL);
            broker.produce(&feed, &[text("large", 5_000)]);
            let declared = feed_and_out(broker, [&feed, &out], COLUMNS, delivery, &[]).await;
            let query = start(&declared, &topic_name("query"), sql).await;
            let error = in_time("the error", query.wait()).await.unwrap_err();
            match &error {
                Error::Produce { refused: true, .. } if delivery == "at_least_once" => {}
                Error::TransactionFailed {
                    refused_row: Some(_),
                    ..
                } => {}
                other => panic!("{delivery} {sql}: {other:?}"),
            }
            let error = error.to_string();
            assert!(error.contains("max.message.bytes"), "{delivery}: {error}");
            assert_eq!(log(broker, &out), Vec::<String>::new());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_output_does_not_take_is_a_dead_letter() {
    let test = "continuous::a_record_that_the_output_does_not_take_is_a_dead_letter";
    let Some(broker) = broker::required(test) else {
        return;
    };
    for delivery in ["at_least_once", "exactly_once"] {
        let feed = broker.new_topic("feed", 1, &[]);
        let out = broker.new_topic("out", 1, SMALL);
        let dead = broker.new_topic("dead", 1, &[]);
        let letters = [
            ("kafka.on_bad_record", "dead_letter"),
            ("kafka.dead_letter.topic", dead.as_str()),
        ];
        broker.produce(
            &feed,
            &[
                text("a", 10),
                text("b", 10),
                text("large", 5_000),
                text("c", 10),
                Rec::new("bad", "no json"),
                text("larger", 6_000),
                text("d", 10),
            ],
        );
        let declared = feed_and_out(broker, [&feed, &out], COLUMNS, delivery, &letters).await;
        let query = start(&declared, &topic_name("query"), COPY).await;
        until(delivery, &query, |p| {
            p.inputs.len() == 1 && p.lag() == 0 && p.dead_letters == 3
        })
        .await;
        broker.produce(&feed, &[text("e", 10)]);
        until(delivery, &query, |p| p.inputs[0].end >= 8 && p.lag() == 0).await;
        let status = query.status();
        assert!(matches!(status, QueryStatus::Running), "{status:?}");
        in_time("stopping", query.stop()).await.unwrap();
        let keys = |topic: &str| {
            let mut keys: Vec<String> = broker
                .read_all(topic)
                .iter()
                .map(|r| String::from_utf8(r.key.clone().unwrap()).unwrap())
                .collect();
            // Without transactions some records may be written twice.
            keys.dedup();
            keys
        };
        let mut found = keys(&out);
        found.sort();
        found.dedup();
        assert_eq!(found, ["a", "b", "c", "d", "e"], "{delivery}");
        let mut found = keys(&dead);
        found.sort();
        found.dedup();
        assert_eq!(found, ["bad", "large", "larger"], "{delivery}");
        if delivery == "exactly_once" {
            assert_eq!(broker.read_all(&out).len(), 5);
            assert_eq!(broker.read_all(&dead).len(), 3);
        }
        let letters = broker.read_all(&dead);
        let large = letters
            .iter()
            .find(|r| r.key.as_deref() == Some(b"large"))
            .unwrap();
        assert!(large.payload.as_ref().unwrap().len() > 5_000);
        let reason = large
            .headers
            .iter()
            .find(|(name, _)| name == "kafka.dead_letter.reason");
        let reason = String::from_utf8(reason.unwrap().1.clone().unwrap()).unwrap();
        assert!(reason.contains("too large"), "{reason}");
        let offset = large
            .headers
            .iter()
            .find(|(name, _)| name == "kafka.dead_letter.offset");
        assert_eq!(offset.unwrap().1.as_deref(), Some(&b"2"[..]));
    }
}

/// Small records that are rejected only as a batch are not dead letters.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_are_too_large_end_it_and_say_what_to_set() {
    let test = "continuous::batches_that_are_too_large_end_it_and_say_what_to_set";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, SMALL);
    let dead = broker.new_topic("dead", 1, &[]);
    let letters = [
        ("kafka.on_bad_record", "dead_letter"),
        ("kafka.dead_letter.topic", dead.as_str()),
    ];
    let declared = feed_and_out(broker, [&feed, &out], COLUMNS, "exactly_once", &letters).await;
    let query = start(&declared, &topic_name("query"), COPY).await;
    let records: Vec<Rec> = (0..400).map(|n| text(&format!("k{n}"), 100)).collect();
    // Until many records are in one batch, which the broker rejects.
    let deadline = Instant::now() + PATIENCE;
    while query.progress().restarts == 0 && Instant::now() < deadline {
        broker.produce(&feed, &records);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // The query then sends each of them alone, to learn which of them is too large. It may have
    // read all that is there: only a batch that comes after them shows that none of them is.
    broker.produce(&feed, &records);
    let Ok(ended) = tokio::time::timeout(3 * PATIENCE, query.wait()).await else {
        panic!("no end: {:?} {:?}", query.status(), query.progress());
    };
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("kafka.producer.batch.size"), "{error}");
    assert_eq!(log(broker, &dead), Vec::<String>::new());
    // The way on that the error names.
    let options = [
        ("kafka.delivery", "exactly_once"),
        ("kafka.producer.batch.size", "1500"),
    ];
    let columns = COLUMNS;
    let declared = Declared::new(broker, &feed, columns, &letters).await;
    declared.add("out", &out, columns, &options).await.unwrap();
    let query = start(&declared, &topic_name("query"), COPY).await;
    written(broker, &out, records.len()).await;
    in_time("stopping", query.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_is_waited_for_and_then_ends_it() {
    let test = "continuous::a_right_that_is_taken_away_is_waited_for_and_then_ends_it";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let Some(servers) = broker.sasl_servers.clone() else {
        return broker::say(&format!("left out: {test} (a broker without logins)"));
    };
    let user = broker.new_user();
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    let name = topic_name("query");
    let write = Right::new("WRITE", "topic", &out);
    for right in [
        Right::new("READ", "topic", &feed),
        Right::new("READ", "group", &name),
        write.clone(),
    ] {
        broker.allow(&user, &right);
    }
    let login = [
        ("kafka.bootstrap.servers", servers.as_str()),
        ("kafka.client.security.protocol", "sasl_plaintext"),
        ("kafka.client.sasl.mechanism", "PLAIN"),
        ("kafka.client.sasl.username", user.as_str()),
        ("kafka.client.sasl.password", USER_PASSWORD),
        ("kafka.retry_timeout", "4s"),
    ];
    let declared = Declared::new(broker, &feed, COLUMNS, &login).await;
    declared.add("out", &out, COLUMNS, &login).await.unwrap();
    let options = ContinuousOptions::new().with_refresh_interval(Duration::from_millis(50));
    let query = ContinuousQuery::start(&declared.ctx, &name, COPY, options)
        .await
        .unwrap();
    running(&query).await;
    broker.produce(&feed, &[text("a", 1)]);
    written(broker, &out, 1).await;
    // The right is granted again in time.
    broker.take_back(&user, &write);
    broker.produce(&feed, &[text("b", 1)]);
    until("a retry", &query, |_| {
        matches!(query.status(), QueryStatus::Retrying { .. })
    })
    .await;
    broker.allow(&user, &write);
    written(broker, &out, 2).await;
    // The right is not granted again in time.
    broker.take_back(&user, &write);
    broker.produce(&feed, &[text("c", 1)]);
    let error = in_time("the end", query.wait()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Denied { resource: "topic", name, .. } if *name == out),
        "{error:?}"
    );
    // The way on that the error names.
    broker.allow(&user, &write);
    let query = start(&declared, &name, COPY).await;
    written(broker, &out, 3).await;
    in_time("stopping", query.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_no_rows() {
    let Some(broker) = broker::required("continuous::dead_letters_are_no_rows") else {
        return;
    };
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, SMALL);
    let dead = broker.new_topic("dead", 1, &[]);
    let letters = [
        ("kafka.on_bad_record", "dead_letter"),
        ("kafka.dead_letter.topic", dead.as_str()),
        ("kafka.batch.rows", "4"),
    ];
    let declared = feed_and_out(broker, [&feed, &out], COLUMNS, "at_least_once", &letters).await;
    declared
        .add_unbounded("t", &feed, COLUMNS, &letters)
        .await
        .unwrap();
    broker.produce(
        &feed,
        &[
            text("a", 1),
            Rec::new("x", "1"),
            Rec::new("y", "2"),
            text("b", 1),
        ],
    );
    let frame = datafusion_kafka::sql(&declared.ctx, COPY).await.unwrap();
    let statement = tokio::spawn(frame.collect());
    written(broker, &dead, 2).await;
    written(broker, &out, 2).await;
    broker.produce(&feed, &[text("large", 5_000)]);
    let error = in_time("the error", statement).await.unwrap().unwrap_err();
    let Some(Error::Produce { acknowledged, .. }) = Error::find(&error) else {
        panic!("{error}");
    };
    assert_eq!(*acknowledged, 2, "{error}");
}
