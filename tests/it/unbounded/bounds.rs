//! Where an UNBOUNDED table starts, and what its filters let it skip: all later rows that match
//! come, and no others.

use std::time::Duration;

use super::Running;
use crate::broker::{self, Broker, PATIENCE, Rec, wait_until};
use crate::declared::{APPEND, Declared, in_time};
use crate::session::cells;

const COLUMNS: &str =
    "_key VARCHAR, v BIGINT, _partition INT, _offset BIGINT, _timestamp TIMESTAMP";

/// A stream that wrongly ends does so within this time.
const WHILE: Duration = Duration::from_millis(1_500);

/// The option that makes the table check for new partitions often.
const WATCHFUL: (&str, &str) = ("kafka.retry_timeout", "2s");

/// An UNBOUNDED table over a topic that keeps records of any age.
struct Feed {
    broker: &'static Broker,
    topic: String,
    declared: Declared,
}

impl Feed {
    fn topic(broker: &Broker, partitions: usize) -> String {
        let partitions = i32::try_from(partitions).unwrap();
        broker.new_topic("bounded", partitions, &[("retention.ms", "-1")])
    }

    async fn of(broker: &'static Broker, topic: &str, options: &[(&str, &str)]) -> Self {
        let options = [&[APPEND, WATCHFUL], options].concat();
        Feed {
            broker,
            topic: topic.to_owned(),
            declared: super::unbounded(broker, topic, COLUMNS, &options).await,
        }
    }

    /// A query over the table that has started to read. What is written next comes after its start.
    async fn begun(&self, sql: &str) -> Running {
        let mut running = Running::start(&self.declared, sql).await;
        self.nothing_from(&mut running).await;
        running
    }

    /// Checks that the query keeps running and returns no rows for a while.
    async fn nothing_from(&self, running: &mut Running) {
        if let Ok(answer) =
            tokio::time::timeout(WHILE, futures::StreamExt::next(&mut running.0)).await
        {
            let answer = answer.map(|batch| batch.map(|batch| cells(&[batch])));
            panic!("{}: {answer:?}", self.topic);
        }
    }

    /// Writes records with these values and times.
    fn write(&self, partition: i32, records: &[(i64, i64)]) {
        let record = |(v, millis): &(i64, i64)| {
            let record = Rec::new(format!("k{v}"), format!("{{\"v\":{v}}}"));
            record.partition(partition).timestamp(*millis)
        };
        let records: Vec<Rec> = records.iter().map(record).collect();
        self.broker.produce(&self.topic, &records);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_no_record_has_yet_is_waited_for_in_every_partition() {
    let Some(broker) = broker::required("unbounded::a_time_that_no_record_has_yet") else {
        return;
    };
    let topic = Feed::topic(broker, 2);
    let feed = Feed::of(broker, &topic, &[]).await;
    feed.write(0, &[(1, 1_000), (2, 2_000)]);
    feed.write(1, &[(3, 5_000)]);
    let sql = "SELECT v FROM t WHERE _timestamp >= to_timestamp_millis(4000)";
    let mut rows = Running::start(&feed.declared, sql).await;
    assert_eq!(rows.rows(1).await, ["3"]);
    // Records that are too old are not part of the answer, even after newer ones.
    feed.write(0, &[(4, 3_000), (5, 4_000), (6, 3_999), (7, 9_000)]);
    assert_eq!(rows.rows(2).await, ["5", "7"]);
    feed.write(1, &[(8, 1_000), (9, 6_000)]);
    assert_eq!(rows.rows(1).await, ["9"]);

    let one = Feed::topic(broker, 1);
    let one = Feed::of(broker, &one, &[]).await;
    one.write(0, &[(1, 1_000)]);
    for sql in [
        "SELECT v FROM t WHERE _timestamp >= now()",
        "SELECT v FROM t WHERE _timestamp > to_timestamp_millis(2000) AND _timestamp < now()",
        "SELECT v FROM t WHERE _timestamp = to_timestamp_millis(3000)",
    ] {
        one.begun(sql).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_waits_for_records_of_a_time_to_come() {
    let Some(broker) = broker::required("unbounded::an_insert_waits_for_records") else {
        return;
    };
    let topic = Feed::topic(broker, 1);
    let copy = broker.new_topic("copied", 1, &[]);
    let feed = Feed::of(broker, &topic, &[]).await;
    let added = feed
        .declared
        .add("copy", &copy, "_key VARCHAR, v BIGINT", &[]);
    added.await.unwrap();
    feed.write(0, &[(1, 1_000)]);
    let sql =
        "INSERT INTO copy SELECT _key, v FROM t WHERE _timestamp >= to_timestamp_millis(2000)";
    let frame = feed.declared.ctx.sql(sql).await.unwrap();
    let writing = tokio::spawn(frame.collect());
    tokio::time::sleep(WHILE).await;
    assert!(!writing.is_finished());
    let mut n = 2;
    wait_until(PATIENCE, "a copy", || {
        feed.write(0, &[(n, 1_999), (n + 1, 2_000)]);
        n += 2;
        !broker.read_all(&copy).is_empty()
    });
    assert!(!writing.is_finished());
    writing.abort();
    let payloads = broker.read_all(&copy).into_iter().filter_map(|r| r.payload);
    for payload in payloads {
        let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(value["v"].as_i64().unwrap() % 2, 1, "{value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_at_a_time_to_come_is_the_first_record_of_that_time() {
    let Some(broker) = broker::required("unbounded::a_start_at_a_time_to_come") else {
        return;
    };
    let topic = Feed::topic(broker, 2);
    let feed = Feed::of(broker, &topic, &[("kafka.start", "timestamp:5000")]).await;
    feed.write(0, &[(1, 1_000)]);
    feed.write(1, &[(2, 6_000), (3, 1_000)]);
    let mut rows = Running::start(&feed.declared, "SELECT v FROM t").await;
    assert_eq!(rows.rows(2).await, ["2", "3"]);
    feed.nothing_from(&mut rows).await;
    feed.write(0, &[(4, 2_000), (5, 4_999)]);
    feed.nothing_from(&mut rows).await;
    // The start is found once: all records after it are read, however old they are.
    feed.write(0, &[(6, 4_000), (7, 5_000), (8, 1_000)]);
    assert_eq!(rows.rows(2).await, ["7", "8"]);
    feed.write(0, &[(9, 1_000)]);
    assert_eq!(rows.rows(1).await, ["9"]);
    // An added partition starts by the same rule.
    broker.add_partitions(&topic, 3);
    feed.write(2, &[(10, 4_000), (11, 7_000), (12, 4_000)]);
    assert_eq!(rows.rows(2).await, ["11", "12"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_behind_the_end_are_waited_for() {
    let Some(broker) = broker::required("unbounded::offsets_behind_the_end") else {
        return;
    };
    let topic = Feed::topic(broker, 1);
    let feed = Feed::of(broker, &topic, &[]).await;
    feed.write(0, &[(0, 1), (1, 1)]);
    let sql = "SELECT v FROM t WHERE _offset >= 4";
    let mut rows = feed.begun(sql).await;
    let both = "SELECT v FROM t WHERE _offset BETWEEN 3 AND 4";
    let mut between = feed.begun(both).await;
    feed.write(0, &[(2, 1), (3, 1), (4, 1), (5, 1)]);
    assert_eq!(rows.rows(2).await, ["4", "5"]);
    assert_eq!(between.rows(2).await, ["3", "4"]);
    // No later record can match.
    assert!(between.batch().await.is_none());
    feed.write(0, &[(6, 1)]);
    assert_eq!(rows.rows(1).await, ["6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upper_bound_ends_it_when_every_partition_has_come_to_it() {
    let Some(broker) = broker::required("unbounded::an_upper_bound_ends_it") else {
        return;
    };
    let topic = Feed::topic(broker, 2);
    let feed = Feed::of(broker, &topic, &[]).await;
    feed.write(0, &[(0, 1), (1, 1), (2, 1)]);
    feed.write(1, &[(10, 1)]);
    let sql = "SELECT v FROM t WHERE _offset < 2";
    let mut rows = Running::start(&feed.declared, sql).await;
    let mut first = rows.rows(3).await;
    first.sort();
    assert_eq!(first, ["0", "1", "10"]);
    // While another partition is still read, added partitions are read as well, up to their end.
    broker.add_partitions(&topic, 3);
    feed.write(2, &[(20, 1)]);
    assert_eq!(rows.rows(1).await, ["20"]);
    feed.write(1, &[(11, 1), (12, 1)]);
    assert_eq!(rows.rows(1).await, ["11"]);
    feed.nothing_from(&mut rows).await;
    feed.write(2, &[(21, 1), (22, 1)]);
    assert_eq!(rows.rows(1).await, ["21"]);
    assert!(rows.batch().await.is_none());

    // A timestamp is not an upper bound: a later record may be older.
    let sql = "SELECT v FROM t WHERE _timestamp < to_timestamp_millis(5)";
    let mut rows = Running::start(&feed.declared, sql).await;
    rows.rows(9).await;
    feed.write(0, &[(30, 9), (31, 4)]);
    assert_eq!(rows.rows(1).await, ["31"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_there_is_not_yet_is_waited_for() {
    let Some(broker) = broker::required("unbounded::a_partition_that_there_is_not_yet") else {
        return;
    };
    let topic = Feed::topic(broker, 1);
    let feed = Feed::of(broker, &topic, &[]).await;
    feed.write(0, &[(1, 1)]);
    let mut rows = feed.begun("SELECT v FROM t WHERE _partition = 2").await;
    let mut ends = feed
        .begun("SELECT v FROM t WHERE _partition >= 1 AND _offset < 1")
        .await;
    broker.add_partitions(&topic, 2);
    feed.write(1, &[(10, 1), (11, 1)]);
    assert_eq!(ends.rows(1).await, ["10"]);
    assert!(ends.batch().await.is_none());
    feed.nothing_from(&mut rows).await;
    broker.add_partitions(&topic, 3);
    feed.write(2, &[(20, 1)]);
    assert_eq!(rows.rows(1).await, ["20"]);
    // A query does not wait for records that no partition can have.
    for never in ["_topic = 'another'", "_offset < 5 AND _offset > 7", "false"] {
        let columns = format!("{COLUMNS}, _topic VARCHAR");
        let added = feed
            .declared
            .add_unbounded("t", &topic, &columns, &[APPEND]);
        added.await.unwrap();
        let sql = format!("SELECT v FROM t WHERE {never}");
        assert!(feed.declared.rows(&sql).await.is_empty(), "{never}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_added_before_the_first_row_is_read_from_its_beginning() {
    let Some(broker) = broker::required("unbounded::a_partition_added_before_the_first_row") else {
        return;
    };
    for start in ["latest", "earliest", "timestamp:5", r#"offsets:{"0":1}"#] {
        let topic = Feed::topic(broker, 1);
        let feed = Feed::of(broker, &topic, &[("kafka.start", start)]).await;
        feed.write(0, &[(1, 1)]);
        let frame = feed
            .declared
            .ctx
            .sql("SELECT v FROM t WHERE v > 1")
            .await
            .unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        // Between planning and execution.
        broker.add_partitions(&topic, 2);
        feed.write(1, &[(2, 5)]);
        let context = feed.declared.ctx.task_ctx();
        let stream = datafusion::physical_plan::execute_stream(plan, context).unwrap();
        let mut rows = Running(stream);
        assert_eq!(rows.rows(1).await, ["2"], "{start}");
        // And during execution.
        broker.add_partitions(&topic, 3);
        feed.write(2, &[(3, 5)]);
        assert_eq!(rows.rows(1).await, ["3"], "{start}");
        feed.write(0, &[(4, 5)]);
        assert_eq!(rows.rows(1).await, ["4"], "{start}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_found_in_the_partition_to_which_it_moves() {
    let Some(broker) = broker::required("unbounded::a_key_is_found_in_the_partition") else {
        return;
    };
    let topic = Feed::topic(broker, 2);
    let feed = Feed::of(broker, &topic, &[("kafka.partitioner", "murmur2")]).await;
    let sql = "SELECT v FROM t WHERE _key = 'k7'";
    let mut rows = Running::start(&feed.declared, sql).await;
    // In whichever partition writers put the key after partitions were added.
    broker.add_partitions(&topic, 4);
    for partition in 0..4 {
        feed.write(partition, &[(6, 1), (7, 1)]);
        assert_eq!(rows.rows(1).await, ["7"], "{partition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_join_asks_for_is_waited_for() {
    let Some(broker) = broker::required("unbounded::what_a_join_asks_for") else {
        return;
    };
    let topic = Feed::topic(broker, 2);
    let feed = Feed::of(broker, &topic, &[]).await;
    feed.declared
        .rows("SET datafusion.execution.batch_size = 1")
        .await;
    feed.declared
        .rows(
            "CREATE TABLE wanted AS SELECT to_timestamp_millis(n * 1000) AS at, n AS place, CAST(n - 4 AS INT) AS part FROM (VALUES (6), (7)) AS w (n)",
        )
        .await;
    feed.write(0, &[(0, 1_000), (1, 2_000)]);
    let join = |on: &str| format!("SELECT v FROM wanted JOIN t ON {on}");
    let mut at = feed.begun(&join("at = _timestamp")).await;
    let mut place = feed.begun(&join("place = _offset")).await;
    let mut part = feed.begun(&join("part = _partition")).await;
    feed.write(0, &[(2, 5_000), (3, 7_000), (4, 4_000)]);
    assert_eq!(at.rows(1).await, ["3"]);
    feed.write(1, &[(10, 6_000), (11, 1_000)]);
    assert_eq!(at.rows(1).await, ["10"]);
    feed.write(0, &[(5, 1), (6, 1), (7, 1), (8, 1)]);
    assert_eq!(place.rows(2).await, ["6", "7"]);
    feed.write(
        1,
        &[
            (12, 1),
            (13, 1),
            (14, 1),
            (15, 1),
            (16, 1),
            (17, 1),
            (18, 1),
        ],
    );
    assert_eq!(place.rows(2).await, ["16", "17"]);
    assert!(in_time("the end", place.batch()).await.is_none());
    feed.nothing_from(&mut part).await;
    broker.add_partitions(&topic, 3);
    feed.write(2, &[(20, 1)]);
    assert_eq!(part.rows(1).await, ["20"]);
}
