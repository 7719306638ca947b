//! UNBOUNDED tables: rows come as records are written, until the query is dropped.

mod bounds;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt as _;

use crate::broker::{self, Broker, PATIENCE, Rec};
use crate::declared::{APPEND, Declared, in_time};
use crate::session::cells;

const CHANGES: &str = "_key VARCHAR, v BIGINT, _tombstone BOOLEAN";

/// A session with the topic as UNBOUNDED table `t`.
async fn unbounded(
    broker: &Broker,
    topic: &str,
    columns: &str,
    options: &[(&str, &str)],
) -> Declared {
    let declared = Declared::new(broker, topic, "_key VARCHAR", &[]).await;
    let added = declared.add_unbounded("t", topic, columns, options);
    added.await.unwrap();
    declared
}

/// A query that keeps running while a test does something else.
struct Running(SendableRecordBatchStream);

impl Running {
    async fn start(declared: &Declared, sql: &str) -> Self {
        let frame = declared.ctx.sql(sql).await.unwrap();
        Running(frame.execute_stream().await.unwrap())
    }

    /// The rows of the next batch; `None` at the end.
    async fn batch(&mut self) -> Option<Result<Vec<String>, DataFusionError>> {
        let batch = in_time("the next batch", self.0.next()).await?;
        Some(batch.map(|batch| cells(&[batch]).iter().map(|row| row.join("|")).collect()))
    }

    /// This many rows, in the order in which they come.
    async fn rows(&mut self, count: usize) -> Vec<String> {
        let mut rows = Vec::new();
        while rows.len() < count {
            rows.extend(self.batch().await.unwrap().unwrap());
        }
        assert_eq!(rows.len(), count, "{rows:?}");
        rows
    }

    /// The error of the query.
    async fn error(&mut self) -> String {
        loop {
            match self.batch().await {
                None => panic!("it ended without an error"),
                Some(Ok(_)) => {}
                Some(Err(error)) => return error.to_string(),
            }
        }
    }
}

fn numbered(numbers: impl IntoIterator<Item = usize>) -> Vec<Rec> {
    let numbers = numbers.into_iter();
    numbers
        .map(|n| Rec::new(format!("k{n}"), format!("{{\"v\":{n}}}")).partition(0))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_log_come_as_records_are_written() {
    let Some(broker) = broker::required("unbounded::rows_of_a_log_come_as_records_are_written")
    else {
        return;
    };
    let topic = broker.new_topic("feed", 1, &[]);
    broker.produce(&topic, &numbered(0..2));
    let declared = unbounded(broker, &topic, "_key VARCHAR, v BIGINT", &[APPEND]).await;
    let mut feed = Running::start(&declared, "SELECT _key, v FROM t WHERE v <> 3").await;
    assert_eq!(feed.rows(2).await, ["k0|0", "k1|1"]);
    broker.produce(&topic, &numbered(2..5));
    assert_eq!(feed.rows(2).await, ["k2|2", "k4|4"]);
    // Without a `_tombstone` column there is no row for a deleted key.
    broker.produce(
        &topic,
        &[Rec::tombstone("k0"), Rec::new("k5", r#"{"v":5}"#)],
    );
    assert_eq!(feed.rows(1).await, ["k5|5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn upserts_are_changes_and_deletes_are_seen() {
    let Some(broker) = broker::required("unbounded::upserts_are_changes_and_deletes_are_seen")
    else {
        return;
    };
    let topic = broker.new_topic("changes", 1, &[]);
    let change = |key: &str, v: usize| Rec::new(key, format!("{{\"v\":{v}}}"));
    broker.produce(
        &topic,
        &[
            change("a", 1),
            change("a", 2),
            Rec::tombstone("a"),
            change("b", 3),
        ],
    );
    let declared = unbounded(broker, &topic, CHANGES, &[]).await;
    let sql = "SELECT _key, v, _tombstone FROM t";
    let mut changes = Running::start(&declared, sql).await;
    let seen = changes.rows(4).await;
    assert_eq!(seen, ["a|1|false", "a|2|false", "a|NULL|true", "b|3|false"]);
    broker.produce(&topic, &[change("a", 4), Rec::tombstone("b")]);
    assert_eq!(changes.rows(2).await, ["a|4|false", "b|NULL|true"]);
    let mut deleted = Running::start(&declared, "SELECT _key FROM t WHERE _tombstone").await;
    assert_eq!(deleted.rows(2).await, ["a", "b"]);

    // A change always belongs to a key, so a record without a key is not a change.
    let mut keyless = change("", 5);
    keyless.key = None;
    broker.produce(&topic, &[keyless, change("c", 6)]);
    let error = changes.error().await;
    assert!(error.contains("kafka.null_key"), "{error}");
    let skipping = unbounded(broker, &topic, CHANGES, &[("kafka.null_key", "skip")]).await;
    let mut all = Running::start(&skipping, "SELECT _key, v FROM t").await;
    assert_eq!(all.rows(7).await[6], "c|6");
}

#[tokio::test(flavor = "multi_thread")]
async fn few_rows_are_given_out_after_a_while_though_more_keep_coming() {
    let test = "unbounded::few_rows_are_given_out_after_a_while_though_more_keep_coming";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let topic = broker.new_topic("trickle", 1, &[]);
    let options = [
        APPEND,
        ("kafka.batch.ms", "50"),
        ("kafka.batch.rows", "1000000"),
    ];
    let declared = unbounded(broker, &topic, "_key VARCHAR, v BIGINT", &options).await;
    let wanted = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while wanted.load(Ordering::Relaxed) && n < 100_000 {
                broker.produce(&topic, &numbered(n..n + 1));
                n += 1;
            }
        });
        let first = tokio::runtime::Handle::current();
        let batch = tokio::task::block_in_place(|| {
            first.block_on(async {
                let mut feed = Running::start(&declared, "SELECT v FROM t").await;
                feed.batch().await.unwrap().unwrap()
            })
        });
        wanted.store(false, Ordering::Relaxed);
        assert_eq!(batch[0], "0");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_as_large_as_was_asked_for() {
    let Some(broker) = broker::required("unbounded::batches_are_as_large_as_was_asked_for") else {
        return;
    };
    let topic = broker.new_topic("batches", 1, &[]);
    broker.produce(&topic, &numbered(0..35));
    let options = [
        APPEND,
        ("kafka.batch.rows", "10"),
        ("kafka.batch.ms", "3600000"),
    ];
    let declared = unbounded(broker, &topic, "_key VARCHAR, v BIGINT", &options).await;
    let mut feed = Running::start(&declared, "SELECT v FROM t").await;
    for _ in 0..3 {
        assert_eq!(feed.batch().await.unwrap().unwrap().len(), 10);
    }
    // The other rows wait until there are ten.
    broker.produce(&topic, &numbered(35..40));
    assert_eq!(feed.batch().await.unwrap().unwrap().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_where_no_more_rows_are_wanted() {
    let Some(broker) = broker::required("unbounded::it_ends_where_no_more_rows_are_wanted") else {
        return;
    };
    let topic = broker.new_topic("limited", 1, &[]);
    broker.produce(&topic, &numbered(0..5));
    let columns = "_key VARCHAR, v BIGINT, _offset BIGINT";
    let declared = unbounded(broker, &topic, columns, &[APPEND]).await;
    for (sql, rows) in [
        ("SELECT v FROM t LIMIT 3", 3),
        ("SELECT v FROM t WHERE _offset < 4", 4),
        ("SELECT v FROM t WHERE v > 1 LIMIT 2", 2),
        ("SELECT v FROM t LIMIT 0", 0),
    ] {
        assert_eq!(declared.rows(sql).await.len(), rows, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_where_it_is_told_to() {
    let Some(broker) = broker::required("unbounded::it_starts_where_it_is_told_to") else {
        return;
    };
    let topic = broker.new_topic("started", 1, &[("retention.ms", "-1")]);
    let at = |n: usize, millis| {
        let record = Rec::new("k", format!("{{\"v\":{n}}}"));
        record.partition(0).timestamp(millis)
    };
    broker.produce(&topic, &[at(0, 1_000), at(1, 2_000), at(2, 3_000)]);
    for (start, first) in [
        ("earliest", "0"),
        (r#"offsets:{"0":1}"#, "1"),
        ("timestamp:2500", "2"),
    ] {
        let options = [APPEND, ("kafka.start", start)];
        let declared = unbounded(broker, &topic, "_key VARCHAR, v BIGINT", &options).await;
        let mut feed = Running::start(&declared, "SELECT v FROM t").await;
        let batch = feed.batch().await.unwrap().unwrap();
        assert_eq!(batch[0], first, "{start}");
    }

    let options = [APPEND, ("kafka.start", "latest")];
    let declared = unbounded(broker, &topic, "_key VARCHAR, v BIGINT", &options).await;
    let mut feed = Running::start(&declared, "SELECT v FROM t").await;
    let mut n = 3;
    let row: usize = loop {
        // The query starts with the first poll, and does not tell when it has started.
        let batch = tokio::time::timeout(Duration::from_millis(200), feed.0.next()).await;
        if let Ok(batch) = batch {
            break cells(&[batch.unwrap().unwrap()])[0][0].parse().unwrap();
        }
        assert!(n < 150, "no row came");
        broker.produce(&topic, &[at(n, 4_000)]);
        n += 1;
    };
    assert!(row >= 3, "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn that_nothing_is_written_is_no_failure() {
    let Some(broker) = broker::required("unbounded::that_nothing_is_written_is_no_failure") else {
        return;
    };
    let topic = broker.new_topic("idle", 2, &[]);
    let options = [APPEND, ("kafka.retry_timeout", "500ms")];
    let declared = unbounded(broker, &topic, "_key VARCHAR, v BIGINT", &options).await;
    let mut feed = Running::start(&declared, "SELECT v FROM t").await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let idle = tokio::time::timeout(Duration::from_millis(200), feed.0.next()).await;
        assert!(idle.is_err(), "{idle:?}");
    }
    broker.produce(&topic, &numbered(7..8));
    assert_eq!(feed.rows(1).await, ["7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_changes_under_it_is_an_error() {
    let Some(broker) = broker::required("unbounded::a_topic_that_changes_under_it_is_an_error")
    else {
        return;
    };
    let topic = broker.new_topic("grown", 1, &[]);
    broker.produce(&topic, &numbered(0..1));
    let columns = "_key VARCHAR, v BIGINT";
    let declared = unbounded(broker, &topic, columns, &[APPEND]).await;
    let mut grown = Running::start(&declared, "SELECT v FROM t").await;
    assert_eq!(grown.rows(1).await, ["0"]);
    broker.add_partitions(&topic, 3);
    let more = [1, 2].map(|p| Rec::new("more", format!("{{\"v\":{p}}}")).partition(p));
    broker.produce(&topic, &more);
    let mut rows = grown.rows(2).await;
    rows.sort();
    assert_eq!(rows, ["1", "2"]);
    broker.produce(&topic, &numbered(5..6));
    assert_eq!(grown.rows(1).await, ["5"]);

    let topic = broker.new_topic("deleted", 1, &[]);
    broker.produce(&topic, &numbered(0..1));
    let declared = unbounded(broker, &topic, columns, &[APPEND]).await;
    let mut deleted = Running::start(&declared, "SELECT v FROM t").await;
    assert_eq!(deleted.rows(1).await, ["0"]);
    broker.delete_topic(&topic);
    let error = deleted.error().await;
    assert!(error.contains("was deleted"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_is_an_error_at_last() {
    let test = "unbounded::a_broker_that_goes_away_is_an_error_at_last";
    if broker::required(test).is_none() {
        return;
    }
    let Ok(own) = broker::own() else {
        return;
    };
    let topic = own.new_topic("orphaned", 1, &[]);
    own.produce(&topic, &numbered(0..1));
    let options = [APPEND, ("kafka.retry_timeout", "2s")];
    let declared = unbounded(&own, &topic, "_key VARCHAR, v BIGINT", &options).await;
    let mut feed = Running::start(&declared, "SELECT v FROM t").await;
    assert_eq!(feed.rows(1).await, ["0"]);
    drop(own);
    let error = feed.error().await;
    assert!(error.contains("kafka.retry_timeout"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_topic_is_fed_while_it_runs() {
    let Some(broker) = broker::required("unbounded::another_topic_is_fed_while_it_runs") else {
        return;
    };
    let (topic, copy) = (
        broker.new_topic("from", 2, &[]),
        broker.new_topic("to", 1, &[]),
    );
    let declared = unbounded(broker, &topic, CHANGES, &[]).await;
    declared.add("copy", &copy, CHANGES, &[]).await.unwrap();
    let insert = "INSERT INTO copy SELECT _key, v * 10, _tombstone FROM t";
    let frame = declared.ctx.sql(insert).await.unwrap();
    let writing = tokio::spawn(frame.collect());
    for n in 0..3 {
        let record = Rec::new("a", format!("{{\"v\":{n}}}")).partition(1);
        broker.produce(&topic, &[record, Rec::tombstone("gone").partition(0)]);
        broker::wait_until(PATIENCE, "the copies", || {
            broker.read_all(&copy).len() == 2 * (n + 1)
        });
    }
    writing.abort();
    assert!(writing.await.unwrap_err().is_cancelled());
    let copied = broker.read_all(&copy);
    let of = |key: &str| {
        let records = copied
            .iter()
            .filter(|r| r.key.as_deref() == Some(key.as_bytes()));
        records.map(|r| r.payload.clone()).collect::<Vec<_>>()
    };
    let tens = [0, 10, 20].map(|v| Some(format!("{{\"v\":{v}}}").into_bytes()));
    assert_eq!(of("a"), tens);
    assert_eq!(of("gone"), [None, None, None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_without_an_end_is_refused() {
    let test = "unbounded::what_makes_no_sense_without_an_end_is_refused";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let topic = broker.new_topic("endless", 1, &[]);
    let declared = Declared::new(broker, &topic, "_key VARCHAR", &[]).await;
    for (columns, options, says) in [
        (
            CHANGES,
            vec![("kafka.end", "timestamp:5")],
            "leave `kafka.end` out",
        ),
        (
            CHANGES,
            vec![("kafka.check_keys", "fail")],
            "kafka.check_keys",
        ),
        (
            "_key VARCHAR, v INT NOT NULL, _tombstone BOOLEAN",
            vec![],
            "NOT NULL",
        ),
        (
            "_key VARCHAR, v INT, _tombstone BOOLEAN, PRIMARY KEY (_key)",
            vec![],
            "PRIMARY KEY",
        ),
        (CHANGES, vec![("kafka.batch.ms", "0")], "kafka.batch.ms"),
    ] {
        let error = declared
            .add_unbounded("t", &topic, columns, &options)
            .await
            .unwrap_err();
        assert!(error.contains(says), "{columns} {options:?}: {error}");
    }
    let added = declared.add_unbounded("t", &topic, CHANGES, &[]);
    added.await.unwrap();
    for sql in [
        "DELETE FROM t WHERE v = 1",
        "UPDATE t SET v = 1",
        "INSERT OVERWRITE t SELECT 'a', 1, false",
    ] {
        let error = declared.error(sql).await;
        assert!(
            error.contains("use a table without UNBOUNDED"),
            "{sql}: {error}"
        );
    }
    for sql in ["SELECT v FROM t ORDER BY v", "SELECT count(*) FROM t"] {
        let error = declared.error(sql).await;
        assert!(error.contains("an unbounded source never ends"), "{error}");
        // The error does not contain the plan.
        assert!(error.len() < 300, "{error}");
    }
    let error = declared.error("CREATE TABLE c AS SELECT v FROM t").await;
    assert!(error.contains("use CREATE VIEW, add a LIMIT"), "{error}");
    broker.produce(&topic, &numbered(0..4));
    declared
        .rows("CREATE TABLE c AS SELECT v FROM t LIMIT 3")
        .await;
    assert_eq!(declared.rows("SELECT count(*) FROM c").await, ["3"]);
    let plan = declared.rows("EXPLAIN SELECT v FROM t").await.join(" ");
    assert!(
        plan.contains("mode=upsert") && plan.contains("unbounded"),
        "{plan}"
    );
    let shown = declared.rows("SHOW CREATE TABLE t").await.join(" ");
    assert!(shown.contains("CREATE UNBOUNDED EXTERNAL TABLE"), "{shown}");
}
