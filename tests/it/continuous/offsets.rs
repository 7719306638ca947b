//! Committed offsets of a query. Brokers keep them for a limited time, as they keep records.

use std::time::Duration;

use datafusion_kafka::Error;

use super::{caught_up, feed_and_out, log, running, start, value, written};
use crate::broker::{self, Broker, End, PATIENCE, topic_name};
use crate::declared::{APPEND, in_time};

const COPY: &str = "INSERT INTO out SELECT _key, v FROM t";
const COLUMNS: &str = "_key VARCHAR, v BIGINT";

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_deleted_unread_is_named_and_can_be_passed() {
    let test = "continuous::what_retention_deleted_unread_is_named_and_can_be_passed";
    let Some(broker) = broker::required(test) else {
        return;
    };
    for delivery in ["at_least_once", "exactly_once"] {
        let feed = broker.new_topic("feed", 1, &[]);
        let out = broker.new_topic("out", 1, &[]);
        let name = topic_name("query");
        broker.produce(&feed, &[value("a", 1), value("b", 2)]);
        let query_of = feed_and_out(broker, [&feed, &out], COLUMNS, delivery, &[]).await;
        let query = start(&query_of, &name, COPY).await;
        caught_up(broker, &query, &[&feed]).await;
        query.stop().await.unwrap();
        broker.produce(&feed, &[value("c", 3), value("d", 4), value("e", 5)]);
        broker.delete_records(&feed, 0, 4);
        // Each start reports the same error, and no start continues silently.
        for _ in 0..2 {
            let query = start(&query_of, &name, COPY).await;
            let error = in_time("the error", query.wait()).await.unwrap_err();
            let Error::LostOffsets {
                topic, from, to, ..
            } = &error
            else {
                panic!("{error}");
            };
            assert_eq!((topic, *from, *to), (&feed, 2, 4));
            let text = error.to_string();
            assert!(text.contains("kafka.on_lost_offsets"), "{text}");
        }
        assert_eq!(log(broker, &out).len(), 2);
        // The way on that the error names.
        let options = [("kafka.on_lost_offsets", "earliest")];
        let query_of = feed_and_out(broker, [&feed, &out], COLUMNS, delivery, &options).await;
        let query = start(&query_of, &name, COPY).await;
        let found = written(broker, &out, 3).await;
        assert_eq!(found.last().unwrap(), r#"e={"v":5}"#, "{delivery}");
        query.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_with_records_that_are_no_rows() {
    let test = "continuous::nothing_is_lost_with_records_that_are_no_rows";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    let name = topic_name("query");
    broker.produce(&feed, &[value("a", 1)]);
    broker.transaction(&feed, &[value("b", 2)], End::Abort);
    broker.produce(&feed, &[broker::Rec::tombstone("a")]);
    let query_of = feed_and_out(broker, [&feed, &out], COLUMNS, "exactly_once", &[APPEND]).await;
    let query = start(&query_of, &name, COPY).await;
    super::until("the end", &query, |p| p.upserts == 1 && p.lag() == 0).await;
    query.stop().await.unwrap();
    let end = broker.ends(&feed)[0].1;
    broker.delete_records(&feed, 0, end);
    broker.produce(&feed, &[value("c", 3)]);
    let query = start(&query_of, &name, COPY).await;
    let found = written(broker, &out, 2).await;
    assert_eq!(found.last().unwrap(), r#"c={"v":3}"#);
    query.stop().await.unwrap();
}

/// Brokers that forget the offsets and the transactional ids of anything idle for a minute.
const FORGETFUL: &str = "
offsets.retention.minutes=1
offsets.retention.check.interval.ms=1000
transactional.id.expiration.ms=30000
transaction.remove.expired.transaction.cleanup.interval.ms=1000
";

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_query_keeps_its_place_beyond_the_retention_of_offsets() {
    let test = "continuous::an_idle_query_keeps_its_place_beyond_the_retention_of_offsets";
    if broker::required(test).is_none() {
        return;
    }
    let own = match broker::own_with(FORGETFUL) {
        Ok(own) => own,
        Err(why) => return broker::say(&format!("left out: {test} ({why})")),
    };
    let own: &'static Broker = Box::leak(Box::new(own));
    let latest = [("kafka.start", "latest")];
    let sum = "INSERT INTO out SELECT _key, max(v) AS v FROM t GROUP BY _key";
    let mut queries = Vec::new();
    for delivery in ["at_least_once", "exactly_once"] {
        for sql in [COPY, sum] {
            let feed = own.new_topic("feed", 1, &[]);
            let out = own.new_topic("out", 1, &[]);
            let name = topic_name("query");
            own.produce(&feed, &[value("old", 1)]);
            let declared = feed_and_out(own, [&feed, &out], COLUMNS, delivery, &latest).await;
            let query = start(&declared, &name, sql).await;
            running(&query).await;
            own.produce(&feed, &[value("a", 2)]);
            written(own, &out, 1).await;
            queries.push((declared, query, feed, out, name, sql));
        }
    }
    // Groups that are idle for the same time show that brokers do forget.
    let idle = topic_name("idle");
    let feed = own.new_topic("feed", 1, &[]);
    own.produce(&feed, &[value("a", 1)]);
    own.commit(&idle, &feed, 0, 1);
    broker::wait_until(Duration::from_secs(180), "forgotten offsets", || {
        own.committed(&idle, &feed).is_empty()
    });
    for (declared, query, feed, out, name, sql) in queries {
        // Once while the query runs, and once after a restart.
        own.produce(&feed, &[value("b", 3)]);
        assert_eq!(written(own, &out, 2).await.len(), 2, "{sql}");
        caught_up(own, &query, &[&feed]).await;
        in_time("stopping", query.stop()).await.unwrap();
        own.produce(&feed, &[value("c", 4)]);
        let query = start(&declared, &name, sql).await;
        let found = written(own, &out, 3).await;
        caught_up(own, &query, &[&feed]).await;
        in_time("stopping", query.stop()).await.unwrap();
        let expected = [r#"a={"v":2}"#, r#"b={"v":3}"#, r#"c={"v":4}"#];
        assert_eq!(found, expected, "{sql}");
        assert_eq!(log(own, &out), expected, "{sql}");
    }
}

/// A query that was suspended for so long that the brokers have forgotten it still knows its
/// position.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_goes_on_where_it_was_though_its_offsets_are_gone() {
    let test = "continuous::a_query_goes_on_where_it_was_though_its_offsets_are_gone";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    let name = topic_name("query");
    let records: Vec<_> = (0..3).map(|n| value(&format!("k{n}"), n)).collect();
    broker.produce(&feed, &records);
    let declared = feed_and_out(broker, [&feed, &out], COLUMNS, "exactly_once", &[]).await;
    let query = start(&declared, &name, COPY).await;
    caught_up(broker, &query, &[&feed]).await;
    broker.delete_group(&name);
    // The fence makes the query restart.
    broker.fence(&format!("datafusion-kafka-{name}"));
    broker.produce(&feed, &[value("k3", 3)]);
    broker::wait_until(PATIENCE, "the last record", || log(broker, &out).len() >= 4);
    caught_up(broker, &query, &[&feed]).await;
    in_time("stopping", query.stop()).await.unwrap();
    assert_eq!(log(broker, &out).len(), 4);
}
