//! Refreshed queries over topics in append mode, and the positions at which they start.

use std::time::Duration;

use datafusion_kafka::{ContinuousOptions, ContinuousQuery};

use super::{caught_up, log, running, start, until, value, wait_for, written};
use crate::broker::{self, Broker, Rec, topic_name};
use crate::declared::{APPEND, Declared, in_time};

const COLUMNS: &str = "_key VARCHAR, v BIGINT";
const COUNT: &str = "INSERT INTO out SELECT _key, count(*) AS v FROM t GROUP BY _key";

async fn declared(broker: &Broker, feed: &str, out: &str, options: &[(&str, &str)]) -> Declared {
    let declared = Declared::new(broker, feed, COLUMNS, options).await;
    declared.add("out", out, COLUMNS, &[]).await.unwrap();
    declared
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_counted_and_only_new_ones_are_read() {
    let test = "continuous::events_are_counted_and_only_new_ones_are_read";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let feed = broker.new_topic("feed", 2, &[]);
    let out = broker.new_topic("out", 1, &[]);
    let events: Vec<Rec> = (0..3_000).map(|n| value(["a", "b"][n % 2], 1)).collect();
    broker.produce(&feed, &events);
    let declared = declared(broker, &feed, &out, &[APPEND]).await;
    let query = start(&declared, &topic_name("query"), COUNT).await;
    let mut found = written(broker, &out, 2).await;
    found.sort();
    assert_eq!(found, [r#"a={"v":1500}"#, r#"b={"v":1500}"#]);
    caught_up(broker, &query, &[&feed]).await;
    // Without new records nothing is read, run or committed.
    let before = query.progress();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let after = query.progress();
    assert_eq!(
        (before.refreshes, before.commits),
        (after.refreshes, after.commits)
    );
    assert_eq!(after.lag(), 0);
    // One record at a time, until the small batches must have been merged.
    for n in 1..=80 {
        broker.produce(&feed, &[value("a", 1)]);
        until("the event", &query, |p| p.upserts == 2 + n).await;
    }
    assert_eq!(log(broker, &out).last().unwrap(), r#"a={"v":1580}"#);
    in_time("stopping", query.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_has_deleted_does_not_count() {
    let test = "continuous::what_retention_has_deleted_does_not_count";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    broker.produce(&feed, &["a", "a", "b", "a"].map(|key| value(key, 1)));
    let declared = declared(broker, &feed, &out, &[APPEND]).await;
    let query = start(&declared, &topic_name("query"), COUNT).await;
    written(broker, &out, 2).await;
    broker.delete_records(&feed, 0, 3);
    broker.produce(&feed, &[value("a", 1)]);
    // The output is that of a SELECT at this time, also after a restart.
    let mut found = written(broker, &out, 4).await.split_off(2);
    found.sort();
    assert_eq!(found, [r#"a={"v":2}"#, "b=null"]);
    assert_eq!(
        declared
            .rows("SELECT _key, count(*) FROM t GROUP BY 1")
            .await,
        ["a|2"]
    );
    in_time("stopping", query.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_at_the_end_stays_where_it_was_over_restarts() {
    let test = "continuous::a_start_at_the_end_stays_where_it_was_over_restarts";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let sum = "INSERT INTO out SELECT _key, sum(v) AS v FROM t GROUP BY _key";
    for mode in ["append", "upsert"] {
        let feed = broker.new_topic("feed", 1, &[]);
        let out = broker.new_topic("out", 1, &[]);
        let name = topic_name("query");
        broker.produce(&feed, &[value("old", 1)]);
        let options = [("kafka.start", "latest"), ("kafka.mode", mode)];
        let declared = declared(broker, &feed, &out, &options).await;
        let query = start(&declared, &name, sum).await;
        running(&query).await;
        broker.produce(&feed, &[value("a", 2)]);
        assert_eq!(wait_for(broker, &out, 1), [r#"a={"v":2}"#], "{mode}");
        in_time("stopping", query.stop()).await.unwrap();
        // While the query is not running.
        broker.produce(&feed, &[value("b", 3)]);
        let query = start(&declared, &name, sum).await;
        let expected = [r#"a={"v":2}"#, r#"b={"v":3}"#];
        assert_eq!(written(broker, &out, 2).await, expected, "{mode}");
        caught_up(broker, &query, &[&feed]).await;
        in_time("stopping", query.stop()).await.unwrap();
        let query = start(&declared, &name, sum).await;
        caught_up(broker, &query, &[&feed]).await;
        until("up to date", &query, |p| p.lag() == 0 && p.unchanged == 2).await;
        in_time("stopping", query.stop()).await.unwrap();
        assert_eq!(log(broker, &out), expected, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_no_restart_would_find_again_is_refused() {
    let test = "continuous::a_start_that_no_restart_would_find_again_is_refused";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    let options = [
        ("kafka.start", "latest"),
        ("kafka.isolation", "read_uncommitted"),
    ];
    let declared = declared(broker, &feed, &out, &options).await;
    let name = topic_name("query");
    let started = ContinuousQuery::start(&declared.ctx, &name, COUNT, ContinuousOptions::new());
    let error = started.await.unwrap_err().to_string();
    assert!(error.contains("`kafka.start` = `latest`"), "{error}");
}

/// Bounded tables, and tables with records that are not committed yet, are read again only when
/// their topics have changed.
#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_read_as_a_whole_are_read_when_something_came() {
    let test = "continuous::topics_that_are_read_as_a_whole_are_read_when_something_came";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    broker.produce(&feed, &[value("a", 1)]);
    let options = [("kafka.isolation", "read_uncommitted")];
    let declared = declared(broker, &feed, &out, &options).await;
    let query = start(&declared, &topic_name("query"), COUNT).await;
    written(broker, &out, 1).await;
    caught_up(broker, &query, &[&feed]).await;
    let before = query.progress();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = query.progress();
    assert_eq!(
        (before.refreshes, before.commits),
        (after.refreshes, after.commits)
    );
    broker.produce(&feed, &[value("b", 1)]);
    written(broker, &out, 2).await;
    in_time("stopping", query.stop()).await.unwrap();
}
