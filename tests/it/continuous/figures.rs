//! The metrics of [`progress`](datafusion_kafka::ContinuousQuery::progress).

use std::time::{Duration, SystemTime};

use datafusion_kafka::{ClientKind, QueryProgress};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{EXACTLY_ONCE, start, until, value};
use crate::broker::{self, Broker, PATIENCE, Rec, topic_name};
use crate::declared::{Declared, in_time};

const COLUMNS: &str = "_key VARCHAR, v BIGINT";
const COPY: &str = "INSERT INTO out SELECT _key, v FROM t";
const TOTAL: &str = "INSERT INTO out SELECT 'all' AS _key, sum(v) AS v FROM t";

async fn declared(broker: &Broker, feed: &str, out: &str, options: &[(&str, &str)]) -> Declared {
    let declared = Declared::new(broker, feed, COLUMNS, options).await;
    declared.add("out", out, COLUMNS, options).await.unwrap();
    declared
}

/// Checks what both kinds of queries count for two upserts and a tombstone.
async fn counts(sql: &str) -> Option<QueryProgress> {
    let broker = broker::required("continuous::progress")?;
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    broker.produce(&feed, &[value("a", 1), value("b", 2)]);
    let declared = declared(broker, &feed, &out, &[EXACTLY_ONCE]).await;
    let before = SystemTime::now();
    let query = start(&declared, &topic_name("query"), sql).await;
    until("the first records", &query, |p| {
        p.records_read == 2 && p.upserts > 0
    })
    .await;
    broker.produce(&feed, &[Rec::tombstone("a")]);
    until("the tombstone", &query, |p| {
        p.inputs
            .iter()
            .any(|input| input.position == Some(3) && input.end == 3)
    })
    .await;
    let progress = query.progress();
    in_time("stopping", query.stop()).await.unwrap();

    assert_eq!((progress.records_read, progress.lag()), (3, 0));
    // Each key has one byte and each payload seven.
    assert_eq!(progress.bytes_read, 17);
    assert_eq!(progress.restarts, 0);
    assert!(progress.last_commit.is_some_and(|time| time >= before));
    assert!(progress.ends_age.is_some());
    Some(progress)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_of_single_records_counts_what_it_reads_and_writes() {
    let Some(progress) = counts(COPY).await else {
        return;
    };
    assert_eq!((progress.upserts, progress.tombstones), (2, 1));
    assert_eq!(progress.bytes_written, 17);
    assert_eq!((progress.refreshes, progress.last_refresh), (0, None));
    assert_eq!(progress.kept_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_refreshed_counts_what_it_reads_writes_and_keeps() {
    let Some(progress) = counts(TOTAL).await else {
        return;
    };
    assert_eq!((progress.upserts, progress.tombstones), (2, 0));
    // The key `all` was written twice.
    assert_eq!(progress.bytes_written, 20);
    assert_eq!(progress.refreshes, progress.commits);
    assert!(progress.last_refresh >= progress.last_commit);
    assert!(progress.kept_bytes > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_looks_for_keys_keeps_them() {
    let Some(broker) = broker::required("continuous::a_query_that_looks_for_keys_keeps_them")
    else {
        return;
    };
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    broker.produce(&feed, &[value("a", 1)]);
    let declared = declared(broker, &feed, &out, &[]).await;
    let sql = "INSERT INTO out SELECT _key, v FROM t WHERE v > 0";
    let query = start(&declared, &topic_name("query"), sql).await;
    until("the keys", &query, |p| p.upserts == 1 && p.kept_bytes > 0).await;
}

/// Writes a record from time to time.
fn write_on(broker: &'static Broker, topic: &str) -> JoinHandle<()> {
    let topic = topic.to_owned();
    tokio::spawn(async move {
        loop {
            let topic = topic.clone();
            let written = spawn_blocking(move || broker.produce(&topic, &[value("a", 1)]));
            written.await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_measured() {
    let test = "continuous::clients_are_measured";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    let often = [("kafka.client.statistics.interval.ms", "1000")];
    let declared = declared(broker, &feed, &out, &often).await;
    let query = start(&declared, &topic_name("query"), COPY).await;
    let of = |progress: &QueryProgress, kind, topic: &str| {
        let mut trips = progress.round_trips.iter();
        trips.any(|trip| {
            let times = [trip.mean, trip.p50, trip.p95, trip.p99, trip.max];
            let is_sound = trip.answers > 0
                && trip.p50 <= trip.p95
                && trip.p95 <= trip.p99
                && times.iter().all(|time| !time.is_zero() && *time < PATIENCE);
            (trip.client, trip.topic.as_str()) == (kind, topic)
                && trip.broker.contains(&broker.servers)
                && is_sound
        })
    };
    // A producer without records to write sends no requests.
    let writing = write_on(broker, &feed);
    until("round trips of both clients", &query, |progress| {
        of(progress, ClientKind::Consumer, &feed) && of(progress, ClientKind::Producer, &out)
    })
    .await;
    writing.abort();
    // All queued records are acknowledged soon.
    until("an empty queue", &query, |p| {
        p.queued_records == 0 && p.queued_bytes == 0
    })
    .await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn restarts_are_counted_and_what_was_written_before_is_not_forgotten() {
    const NAME: &str = "continuous::restarts_are_counted";
    if broker::required(NAME).is_none() {
        return;
    }
    // The broker is frozen, so no other test may use it.
    let broker = match broker::own() {
        Ok(broker) => broker,
        Err(why) => return broker::say(&format!("left out: {NAME} ({why})")),
    };
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    broker.produce(&feed, &[value("a", 1)]);
    let declared = declared(&broker, &feed, &out, &[("kafka.timeout", "2s")]).await;
    let query = start(&declared, "query", TOTAL).await;
    until("the first row", &query, |p| {
        p.upserts == 1 && p.ends_age.is_some()
    })
    .await;
    let before = query.progress().restarts;

    let frozen = broker.freeze();
    until("a restart", &query, |p| p.restarts > before).await;
    let progress = query.progress();
    assert!(
        progress.ends_age >= Some(Duration::from_secs(1)),
        "{progress:?}"
    );
    assert_eq!((progress.upserts, progress.bytes_written), (1, 10));

    drop(frozen);
    broker.produce(&feed, &[value("b", 2)]);
    until("the row after it", &query, |progress| progress.upserts == 2).await;
    let progress = query.progress();
    assert!(
        progress.ends_age < Some(Duration::from_secs(20)),
        "{progress:?}"
    );
    // The first record was read twice.
    assert_eq!(progress.bytes_written, 20);
    assert!(progress.records_read >= 3, "{progress:?}");
}
