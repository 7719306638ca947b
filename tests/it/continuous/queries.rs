//! [`ContinuousQuery`] record by record: restarts, fencing, progress, failures.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};

use datafusion_kafka::{ContinuousOptions, ContinuousQuery, Error, KafkaTable, QueryStatus};

use super::{EXACTLY_ONCE, caught_up, log, start, stopped, until, value, written};
use crate::broker::{self, Broker, PATIENCE, Rec, topic_name};
use crate::declared::{APPEND, Declared, in_time};

const INSERT: &str = "INSERT INTO out SELECT _key, v FROM t WHERE v > 4";

async fn declared(broker: &Broker, feed: &str, out: &str, options: &[(&str, &str)]) -> Declared {
    let columns = "_key VARCHAR, v BIGINT";
    let declared = Declared::new(broker, feed, columns, &[]).await;
    declared.add("out", out, columns, options).await.unwrap();
    declared
}

fn topics(broker: &Broker) -> (String, String) {
    (
        broker.new_topic("feed", 2, &[]),
        broker.new_topic("out", 1, &[]),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_where_it_has_committed_to() {
    let Some(broker) = broker::required("continuous::it_goes_on_where_it_has_committed_to") else {
        return;
    };
    for delivery in ["at_least_once", "exactly_once"] {
        let (feed, out) = topics(broker);
        let name = topic_name("query");
        let declared = declared(broker, &feed, &out, &[("kafka.delivery", delivery)]).await;
        broker.produce(&feed, &[value("a", 5), value("b", 1)]);
        let query = start(&declared, &name, INSERT).await;
        assert_eq!(written(broker, &out, 1).await, [r#"a={"v":5}"#]);
        caught_up(broker, &query, &[&feed]).await;
        query.stop().await.unwrap();
        assert!(matches!(query.status(), QueryStatus::Stopped));
        let progress = query.progress();
        assert_eq!(
            (progress.upserts, progress.tombstones),
            (1, 0),
            "{progress:?}"
        );
        // Records that were written meanwhile are read, and no output is written twice.
        broker.produce(&feed, &[value("a", 1), value("c", 7)]);
        let query = start(&declared, &name, INSERT).await;
        let found = written(broker, &out, 3).await;
        caught_up(broker, &query, &[&feed]).await;
        let mut last = found[1..].to_vec();
        last.sort();
        assert_eq!(last, ["a=null", r#"c={"v":7}"#], "{delivery}");
        drop(query);
        assert_eq!(log(broker, &out).len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_commits_what_was_read() {
    let Some(broker) = broker::required("continuous::stopping_commits_what_was_read") else {
        return;
    };
    let (feed, out) = topics(broker);
    let options = [EXACTLY_ONCE, ("kafka.commit.ms", "50000")];
    let declared = declared(broker, &feed, &out, &options).await;
    broker.produce(&feed, &[value("a", 5)]);
    let query = start(&declared, &topic_name("query"), INSERT).await;
    broker::wait_until(PATIENCE, "an open transaction", || {
        broker.read_uncommitted(&out).len() == 1
    });
    assert_eq!(log(broker, &out).len(), 0);
    stopped(broker, &query, &out).await;
    assert_eq!(log(broker, &out), [r#"a={"v":5}"#]);
    assert_eq!(query.progress().commits, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_of_two_instances_ends_and_says_so() {
    let test = "continuous::the_older_of_two_instances_ends_and_says_so";
    let Some(broker) = broker::required(test) else {
        return;
    };
    for delivery in ["at_least_once", "exactly_once"] {
        let (feed, out) = topics(broker);
        let name = topic_name("query");
        let declared = declared(broker, &feed, &out, &[("kafka.delivery", delivery)]).await;
        broker.produce(&feed, &[value("a", 5)]);
        let older = start(&declared, &name, INSERT).await;
        caught_up_with(&older, &[value("a", 5)], broker, &feed).await;
        let newer = start(&declared, &name, INSERT).await;
        caught_up(broker, &newer, &[&feed]).await;
        broker.produce(&feed, &[value("b", 6)]);
        let error = in_time("the older to end", older.wait()).await.unwrap_err();
        assert!(
            matches!(&error, Error::Fenced { query } if *query == name),
            "{error}"
        );
        assert!(error.to_string().contains("another instance"), "{error}");
        broker.produce(&feed, &[value("c", 7)]);
        broker::wait_until(PATIENCE, "the newer's record", || {
            log(broker, &out).contains(&r#"c={"v":7}"#.to_owned())
        });
        assert!(
            matches!(newer.status(), QueryStatus::Running),
            "{:?}",
            newer.status()
        );
        if delivery == "exactly_once" {
            let found = log(broker, &out);
            assert_eq!(
                found.iter().filter(|r| r.starts_with("b=")).count(),
                1,
                "{found:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_with_nothing_to_do_notices_that_another_instance_goes_on() {
    let test = "continuous::a_query_with_nothing_to_do_notices_another_instance";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let refreshed = "INSERT INTO out SELECT _key, max(v) AS v FROM t GROUP BY _key";
    for (delivery, sql) in [
        ("at_least_once", INSERT),
        ("exactly_once", INSERT),
        ("at_least_once", refreshed),
        ("exactly_once", refreshed),
    ] {
        let (feed, out) = topics(broker);
        let name = topic_name("query");
        let declared = declared(broker, &feed, &out, &[("kafka.delivery", delivery)]).await;
        broker.produce(&feed, &[value("a", 5)]);
        let older = start(&declared, &name, sql).await;
        caught_up(broker, &older, &[&feed]).await;
        let newer = start(&declared, &name, sql).await;
        let error = in_time("the older to end", older.wait()).await.unwrap_err();
        assert!(matches!(error, Error::Fenced { .. }), "{sql}: {error}");
        caught_up(broker, &newer, &[&feed]).await;
        newer.stop().await.unwrap();
    }
}

async fn caught_up_with(
    query: &ContinuousQuery,
    records: &[Rec],
    broker: &'static Broker,
    feed: &str,
) {
    broker.produce(feed, records);
    let before = query.progress().commits;
    until("no commit", query, |p| p.commits > before).await;
    caught_up(broker, query, &[feed]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_picked_up() {
    let Some(broker) = broker::required("continuous::partitions_that_are_added_are_picked_up")
    else {
        return;
    };
    let (feed, out) = topics(broker);
    let declared = declared(broker, &feed, &out, &[EXACTLY_ONCE]).await;
    broker.produce(&feed, &[value("a", 5)]);
    let query = start(&declared, &topic_name("query"), INSERT).await;
    written(broker, &out, 1).await;
    broker.add_partitions(&feed, 3);
    broker.produce(&feed, &[value("b", 6).partition(2)]);
    assert_eq!(written(broker, &out, 2).await[1], r#"b={"v":6}"#);
    query.stop().await.unwrap();
    assert_eq!(log(broker, &out).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_read_record_by_record() {
    let Some(broker) = broker::required("continuous::a_log_is_read_record_by_record") else {
        return;
    };
    let (feed, out) = topics(broker);
    let columns = "_key VARCHAR, v BIGINT";
    let declared = Declared::new(broker, &feed, columns, &[APPEND]).await;
    declared
        .add("out", &out, columns, &[APPEND, EXACTLY_ONCE])
        .await
        .unwrap();
    broker.produce(
        &feed,
        &[
            value("a", 5),
            value("a", 1),
            Rec::tombstone("a"),
            value("a", 6),
        ]
        .map(|r| r.partition(0)),
    );
    let query = start(&declared, &topic_name("query"), INSERT).await;
    let found = written(broker, &out, 2).await;
    caught_up(broker, &query, &[&feed]).await;
    assert_eq!(found, [r#"a={"v":5}"#, r#"a={"v":6}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_does_not_fit_ends_it_and_says_where() {
    let test = "continuous::a_record_that_does_not_fit_ends_it_and_says_where";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let (feed, out) = topics(broker);
    let declared = declared(broker, &feed, &out, &[EXACTLY_ONCE]).await;
    let bad = Rec::new("a", r#"{"v":"secret"}"#).partition(1);
    broker.produce(&feed, &[value("a", 5).partition(1), bad]);
    let query = start(&declared, &topic_name("query"), INSERT).await;
    let error = in_time("the end", query.wait()).await.unwrap_err();
    let Error::DecodePayload {
        partition, offset, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((*partition, *offset), (1, 1));
    assert!(!error.to_string().contains("secret"), "{error}");
    assert!(matches!(query.status(), QueryStatus::Failed(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_select_starts_where_a_group_has_committed_to() {
    let test = "continuous::a_select_starts_where_a_group_has_committed_to";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let (feed, out) = topics(broker);
    let declared = declared(broker, &feed, &out, &[EXACTLY_ONCE]).await;
    let name = topic_name("query");
    broker.produce(&feed, &[value("a", 5).partition(0)]);
    let query = start(&declared, &name, INSERT).await;
    caught_up(broker, &query, &[&feed]).await;
    query.stop().await.unwrap();
    broker.produce(
        &feed,
        &[value("b", 1).partition(0), value("c", 6).partition(1)],
    );
    let options = [("kafka.start", "group"), ("kafka.group.id", name.as_str())];
    let columns = "_key VARCHAR, v BIGINT";
    declared
        .add("rest", &feed, columns, &options)
        .await
        .unwrap();
    assert_eq!(declared.rows("SELECT _key FROM rest").await, ["b", "c"]);
    // A group without committed offsets starts at the beginning.
    let options = [("kafka.start", "group"), ("kafka.group.id", "nobody")];
    declared
        .add("whole", &feed, columns, &options)
        .await
        .unwrap();
    assert_eq!(
        declared.rows("SELECT _key FROM whole").await,
        ["a", "b", "c"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_a_transaction_that_is_open_are_named_as_what_is_waited_for() {
    let test = "continuous::offsets_of_a_transaction_that_is_open_are_named";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let (feed, out) = topics(broker);
    broker.produce(&feed, &[value("a", 5).partition(0)]);
    let declared = declared(broker, &feed, &out, &[]).await;
    let group = topic_name("group");
    let open = broker.begin(&out, &[value("z", 1)]);
    open.send_offset(broker, &group, &feed, 1);
    let options = [
        ("kafka.start", "group"),
        ("kafka.group.id", group.as_str()),
        ("kafka.timeout", "2s"),
    ];
    let columns = "_key VARCHAR, v BIGINT";
    declared
        .add("rest", &feed, columns, &options)
        .await
        .unwrap();
    let error = declared.error("SELECT _key FROM rest").await;
    assert!(
        error.contains("a transaction that commits them has not ended"),
        "{error}"
    );
    assert!(error.contains(&group), "{error}");
    open.commit();
    let rows = declared.rows("SELECT _key FROM rest").await;
    assert_eq!(rows, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_continuous_query_is_refused() {
    let test = "continuous::what_cannot_be_a_continuous_query_is_refused";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let (feed, out) = topics(broker);
    let declared = declared(broker, &feed, &out, &[]).await;
    declared
        .add("log", &out, "_key VARCHAR, v BIGINT", &[APPEND])
        .await
        .unwrap();
    let other = KafkaTable::builder("elsewhere")
        .with_schema(Schema::new(vec![Field::new("v", DataType::Int64, true)]))
        .with_option("kafka.bootstrap.servers", "localhost:1");
    let other = Arc::new(other.build().await.unwrap());
    declared.ctx.register_table("other", other).unwrap();
    for (name, sql, says) in [
        (
            "q",
            "INSERT INTO other SELECT * FROM t",
            "has other servers",
        ),
        ("", INSERT, "needs a name"),
        ("q", "SELECT * FROM t", "INSERT INTO a topic"),
        ("q", "DELETE FROM t", "INSERT INTO a topic"),
        (
            "q",
            "INSERT OVERWRITE out SELECT * FROM t",
            "INSERT INTO a topic",
        ),
        (
            "q",
            "INSERT INTO t SELECT * FROM t",
            "write to another topic",
        ),
        (
            "q",
            "INSERT INTO log SELECT _key, max(v) FROM t GROUP BY _key",
            "append mode",
        ),
        (
            "q",
            "INSERT INTO out SELECT _key, nothing FROM t",
            "nothing",
        ),
    ] {
        let started = ContinuousQuery::start(&declared.ctx, name, sql, ContinuousOptions::new());
        let error = started.await.unwrap_err().to_string();
        assert!(error.contains(says), "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_go_away_are_waited_for() {
    let test = "continuous::brokers_that_go_away_are_waited_for";
    if broker::required(test).is_none() {
        return;
    }
    let mut own = match broker::own() {
        Ok(own) => own,
        Err(why) => return broker::say(&format!("left out: {test} ({why})")),
    };
    let (feed, out) = topics(&own);
    let options = [EXACTLY_ONCE, ("kafka.retry_timeout", "2s")];
    let declared = declared(&own, &feed, &out, &options).await;
    let query = start(&declared, &topic_name("query"), INSERT).await;
    own.produce(&feed, &[value("a", 5)]);
    until("the first record", &query, |p| p.upserts == 1).await;
    own = tokio::task::spawn_blocking(move || {
        own.restart();
        own
    })
    .await
    .unwrap();
    own.produce(&feed, &[value("b", 6), value("a", 1)]);
    until("the others", &query, |p| {
        (p.upserts, p.tombstones) == (2, 1)
    })
    .await;
    stopped(&own, &query, &out).await;
    assert_eq!(log(&own, &out).len(), 3);
}

/// A hook that never returns records.
#[derive(Debug)]
struct Stuck;

#[async_trait::async_trait]
impl datafusion_kafka::WriteHook for Stuck {
    async fn before_send(
        &self,
        _: &str,
        _: Vec<datafusion_kafka::OutgoingRecord>,
    ) -> datafusion::error::Result<Vec<datafusion_kafka::OutgoingRecord>> {
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_stuck_restarts() {
    let Some(broker) = broker::required("continuous::a_query_that_is_stuck_restarts") else {
        return;
    };
    let (feed, out) = topics(broker);
    let declared = declared(broker, &feed, &out, &[]).await;
    let columns = vec![Field::new("v", DataType::Int64, true)];
    let stuck = KafkaTable::builder(&out)
        .with_schema(Schema::new(columns))
        .with_option("kafka.bootstrap.servers", &broker.servers)
        .with_option("kafka.commit.ms", "10")
        .with_hook(Arc::new(Stuck))
        .build()
        .await
        .unwrap();
    declared
        .ctx
        .register_table("stuck", Arc::new(stuck))
        .unwrap();
    let options = ContinuousOptions::new().with_stall_timeout(Duration::from_millis(1500));
    let sql = "INSERT INTO stuck SELECT * FROM t";
    let name = topic_name("query");
    let query = ContinuousQuery::start(&declared.ctx, &name, sql, options);
    let query = query.await.unwrap();
    for n in 0.. {
        broker.produce(&feed, &[value("a", n)]);
        if let QueryStatus::Retrying { error, .. } = query.status() {
            assert!(matches!(&error, Error::Stalled { .. }), "{error}");
            break;
        }
        assert!(n < 600, "{:?}", query.status());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_it_is_down_is_read_wherever_it_began() {
    let test = "continuous::what_comes_while_it_is_down_is_read_wherever_it_began";
    let Some(broker) = broker::required(test) else {
        return;
    };
    for delivery in ["at_least_once", "exactly_once"] {
        let (feed, out) = topics(broker);
        let columns = "_key VARCHAR, v BIGINT";
        broker.produce(&feed, &[value("before", 5)]);
        let latest = [("kafka.start", "latest")];
        let declared = Declared::new(broker, &feed, columns, &latest).await;
        let options = [("kafka.delivery", delivery)];
        declared.add("out", &out, columns, &options).await.unwrap();
        let name = topic_name("query");
        let query = start(&declared, &name, INSERT).await;
        in_time("running", async {
            while !matches!(query.status(), QueryStatus::Running) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        query.stop().await.unwrap();
        let down = [0, 1].map(|p| value(&format!("down{p}"), 6).partition(p));
        broker.produce(&feed, &down);
        let query = start(&declared, &name, INSERT).await;
        let mut found = written(broker, &out, 2).await;
        found.sort();
        assert_eq!(
            found,
            [r#"down0={"v":6}"#, r#"down1={"v":6}"#],
            "{delivery}"
        );
        query.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn taking_over_repeats_nothing() {
    let Some(broker) = broker::required("continuous::taking_over_repeats_nothing") else {
        return;
    };
    let (feed, out) = topics(broker);
    let options = [EXACTLY_ONCE, ("kafka.commit.ms", "10")];
    let declared = declared(broker, &feed, &out, &options).await;
    let name = topic_name("query");
    let mut sent = 0;
    let mut query = start(&declared, &name, INSERT).await;
    for _ in 0..6 {
        let until = std::time::Instant::now() + Duration::from_millis(700);
        while std::time::Instant::now() < until {
            let records: Vec<Rec> = (0..10).map(|n| value("a", 5 + sent + n)).collect();
            sent += 10;
            let feed = feed.clone();
            let produced = tokio::task::spawn_blocking(move || broker.produce(&feed, &records));
            produced.await.unwrap();
        }
        // The instance before is still running.
        let newer = start(&declared, &name, INSERT).await;
        let _older = std::mem::replace(&mut query, newer);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    caught_up(broker, &query, &[&feed]).await;
    query.stop().await.unwrap();
    let found = written(broker, &out, usize::try_from(sent).unwrap()).await;
    let expected: Vec<String> = (5..5 + sent).map(|v| format!("a={{\"v\":{v}}}")).collect();
    assert_eq!(found, expected);
}
