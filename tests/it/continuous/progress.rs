//! The progress of a query covers all records that were read, whether or not they are rows.

use std::time::Duration;

use datafusion_kafka::{ContinuousOptions, ContinuousQuery, QueryStatus};

use super::{EXACTLY_ONCE, log, start, until, value};
use crate::broker::{self, Broker, End, PATIENCE, Rec, topic_name};
use crate::declared::{APPEND, Declared, in_time};

const COPY: &str = "INSERT INTO out SELECT _key, v FROM t";
const COLUMNS: &str = "_key VARCHAR, v BIGINT";

/// Records of a query's topic that are not rows of its table.
struct Case {
    name: &'static str,
    options: &'static [(&'static str, &'static str)],
    /// Writes such a record after a record that is a row.
    write: fn(&Broker, &str),
}

const CASES: &[Case] = &[
    Case {
        name: "tombstones in append mode",
        options: &[APPEND],
        write: |broker, feed| {
            broker.produce(feed, &[Rec::tombstone("a"), Rec::tombstone("b")]);
        },
    },
    Case {
        name: "records that do not fit",
        options: &[("kafka.on_bad_record", "skip")],
        write: |broker, feed| {
            broker.produce(feed, &[Rec::new("a", "no json"), Rec::new("b", "[1]")]);
        },
    },
    Case {
        name: "records without a key",
        options: &[("kafka.null_key", "skip")],
        write: |broker, feed| {
            let mut record = value("a", 1);
            record.key = None;
            broker.produce(feed, &[record]);
        },
    },
    Case {
        name: "marks of transactions",
        options: &[],
        write: |broker, feed| {
            broker.transaction(feed, &[value("c", 3)], End::Commit);
            broker.transaction(feed, &[value("d", 4)], End::Abort);
        },
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_row_is_read_and_committed_too() {
    let test = "continuous::what_is_no_row_is_read_and_committed_too";
    let Some(broker) = broker::required(test) else {
        return;
    };
    for case in CASES {
        for delivery in ["at_least_once", "exactly_once"] {
            let what = format!("{}, {delivery}", case.name);
            let feed = broker.new_topic("feed", 1, &[]);
            let out = broker.new_topic("out", 1, &[]);
            let name = topic_name("query");
            broker.produce(&feed, &[value("a", 5)]);
            (case.write)(broker, &feed);
            let declared = Declared::new(broker, &feed, COLUMNS, case.options).await;
            let options = [("kafka.delivery", delivery)];
            declared.add("out", &out, COLUMNS, &options).await.unwrap();
            let query = start(&declared, &name, COPY).await;
            let end = broker.ends(&feed);
            until(&what, &query, |p| {
                p.upserts > 0 && p.inputs.len() == 1 && p.lag() == 0
            })
            .await;
            assert_eq!(broker.committed(&name, &feed), end, "{what}");
            // The same without a row before.
            (case.write)(broker, &feed);
            let end = broker.ends(&feed);
            until(&what, &query, |p| {
                p.inputs[0].end == end[0].1 && p.lag() == 0
            })
            .await;
            assert_eq!(broker.committed(&name, &feed), end, "{what}");
            let progress = query.progress();
            assert_eq!(progress.inputs[0].position, Some(end[0].1), "{what}");
            in_time("stopping", query.stop()).await.unwrap();
            let found = log(broker, &out).len();
            // No record is read twice.
            let query = start(&declared, &name, COPY).await;
            until(&what, &query, |p| p.inputs.len() == 1 && p.lag() == 0).await;
            in_time("stopping", query.stop()).await.unwrap();
            assert_eq!(log(broker, &out).len(), found, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_no_rows_are_no_stall() {
    let test = "continuous::records_that_are_no_rows_are_no_stall";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    broker.produce(&feed, &[value("a", 5), Rec::tombstone("a")]);
    let declared = Declared::new(broker, &feed, COLUMNS, &[APPEND]).await;
    declared.add("out", &out, COLUMNS, &[]).await.unwrap();
    let stall = Duration::from_millis(1500);
    let options = ContinuousOptions::new().with_stall_timeout(stall);
    let name = topic_name("query");
    let query = ContinuousQuery::start(&declared.ctx, &name, COPY, options);
    let query = query.await.unwrap();
    until("the row", &query, |p| p.upserts == 1).await;
    let end = tokio::time::Instant::now() + 3 * stall;
    while tokio::time::Instant::now() < end {
        broker.produce(&feed, &[Rec::tombstone("a")]);
        let status = query.status();
        assert!(matches!(status, QueryStatus::Running), "{status:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let written = in_time("the end", async {
        until("it reads on", &query, |p| p.lag() == 0).await;
        query.progress().upserts
    });
    assert_eq!(written.await, 1);
}

/// The lag is not counted from the start of the topic's offsets.
#[tokio::test(flavor = "multi_thread")]
async fn lag_counts_what_is_to_be_read_before_anything_is_committed() {
    let test = "continuous::lag_counts_what_is_to_be_read_before_anything_is_committed";
    let Some(broker) = broker::required(test) else {
        return;
    };
    let feed = broker.new_topic("feed", 1, &[]);
    let out = broker.new_topic("out", 1, &[]);
    let records: Vec<Rec> = (0..50).map(|n| value(&format!("k{n}"), n)).collect();
    broker.produce(&feed, &records);
    broker.delete_records(&feed, 0, 40);
    // The transaction stays open for long, so no end offset is committed yet.
    let sum = "INSERT INTO out SELECT _key, max(v) AS v FROM t GROUP BY _key";
    for sql in [COPY, sum] {
        let options = [EXACTLY_ONCE, ("kafka.commit.ms", "20000")];
        let declared = Declared::new(broker, &feed, COLUMNS, &[]).await;
        declared.add("out", &out, COLUMNS, &options).await.unwrap();
        let query = start(&declared, &topic_name("query"), sql).await;
        let mut most = 0;
        let reached = tokio::time::timeout(PATIENCE, async {
            while query.progress().inputs.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            most = most.max(query.progress().lag());
        });
        reached.await.unwrap();
        assert!(most <= 10, "{sql}: {most}");
    }
}
