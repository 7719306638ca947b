//! Three brokers. Leaders are killed while topics are read, written and followed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use datafusion_kafka::{ContinuousOptions, ContinuousQuery};

use crate::broker::{self, Broker, Cluster, PATIENCE, Rec, Stored, say, topic_name};
use crate::declared::{APPEND, Declared};

const COLUMNS: &str = "_key VARCHAR, v BIGINT";
const PARTITIONS: i32 = 3;
const RECORDS: i64 = 60_000;

/// Does the work, while the leader of a partition is killed after a delay.
async fn killed<T>(
    cluster: &mut Cluster,
    topic: &str,
    partition: i32,
    after: Duration,
    work: impl Future<Output = T>,
) -> T {
    let deadline = tokio::time::timeout(PATIENCE, async {
        let kill = async {
            tokio::time::sleep(after).await;
            tokio::task::block_in_place(|| cluster.kill_leader(topic, partition));
        };
        tokio::join!(work, kill).0
    });
    deadline.await.expect("an end in time")
}

fn records(from: i64) -> Vec<Rec> {
    let record = |n: i64| {
        let partition = i32::try_from(n % i64::from(PARTITIONS)).unwrap();
        Rec::new(format!("k{n}"), format!("{{\"v\":{n}}}")).partition(partition)
    };
    (from..from + RECORDS).map(record).collect()
}

/// One test for all statements and queries, because three brokers are expensive.
#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_are_killed_lose_and_repeat_nothing() {
    let test = "cluster::leaders_that_are_killed_lose_and_repeat_nothing";
    if broker::required(test).is_none() {
        return;
    }
    let mut cluster = match Cluster::start() {
        Ok(cluster) => cluster,
        Err(why) => return say(&format!("left out: {test} ({why})")),
    };
    select(&mut cluster).await;
    for delivery in ["at_least_once", "exactly_once"] {
        insert(&mut cluster, delivery).await;
        follow(&mut cluster, delivery).await;
    }
}

async fn select(cluster: &mut Cluster) {
    let topic = cluster.broker.new_topic("read", PARTITIONS, &[]);
    tokio::task::block_in_place(|| cluster.broker.produce(&topic, &records(0)));
    let sum = RECORDS * (RECORDS - 1) / 2;
    for (mode, after) in [("upsert", 0), ("append", 30), ("upsert", 150)] {
        let options = [("kafka.mode", mode)];
        let declared = Declared::new(&cluster.broker, &topic, COLUMNS, &options).await;
        let begun = Instant::now();
        let query = async {
            let frame = datafusion_kafka::sql(&declared.ctx, "SELECT count(*), sum(v) FROM t");
            crate::session::cells(&frame.await.unwrap().collect().await.unwrap())
        };
        let found = killed(cluster, &topic, 0, Duration::from_millis(after), query).await;
        assert_eq!(found, [[RECORDS.to_string(), sum.to_string()]], "{mode}");
        say(&format!(
            "SELECT, {mode}, a leader killed after {after} ms: {:?}",
            begun.elapsed()
        ));
        tokio::task::block_in_place(|| cluster.wait_whole(&topic));
    }
}

async fn insert(cluster: &mut Cluster, delivery: &str) {
    let topic = cluster.broker.new_topic("written", PARTITIONS, &[]);
    let options = [("kafka.delivery", delivery)];
    let declared = Declared::new(&cluster.broker, &topic, COLUMNS, &options).await;
    let begun = Instant::now();
    let sql = format!(
        "INSERT INTO t SELECT 'k' || value, value FROM generate_series(0, {}) AS n(value)",
        RECORDS - 1
    );
    let statement = async {
        let frame = datafusion_kafka::sql(&declared.ctx, &sql);
        frame.await.unwrap().collect().await.unwrap()
    };
    killed(cluster, &topic, 1, Duration::from_millis(100), statement).await;
    let took = begun.elapsed();
    tokio::task::block_in_place(|| {
        cluster.wait_whole(&topic);
        let found = cluster.broker.read_all(&topic);
        let keys: BTreeMap<_, _> = found.iter().map(|r| (r.key.clone(), ())).collect();
        say(&format!(
            "INSERT of {RECORDS}, {delivery}, a leader killed: {took:?}, {} records, {} keys",
            found.len(),
            keys.len()
        ));
        assert_eq!(
            (found.len() as i64, keys.len() as i64),
            (RECORDS, RECORDS),
            "{delivery}"
        );
    });
}

/// Two continuous queries, while two leaders are killed one after the other.
async fn follow(cluster: &mut Cluster, delivery: &str) {
    let new = |cluster: &Cluster, name: &str| cluster.broker.new_topic(name, PARTITIONS, &[]);
    let (feed, copy, sums) = (
        new(cluster, "feed"),
        new(cluster, "copy"),
        new(cluster, "sums"),
    );
    let declared = Declared::new(&cluster.broker, &feed, COLUMNS, &[APPEND]).await;
    let options = [("kafka.delivery", delivery)];
    declared
        .add("sums", &sums, COLUMNS, &options)
        .await
        .unwrap();
    let options = [("kafka.delivery", delivery), APPEND];
    declared
        .add("copy", &copy, COLUMNS, &options)
        .await
        .unwrap();
    let mut queries = Vec::new();
    for sql in [
        "INSERT INTO copy SELECT _key, v FROM t",
        "INSERT INTO sums SELECT right(_key, 1) AS _key, sum(v) AS v FROM t GROUP BY right(_key, 1)",
    ] {
        let options = ContinuousOptions::new().with_refresh_interval(Duration::from_millis(200));
        let name = topic_name("query");
        let query = ContinuousQuery::start(&declared.ctx, &name, sql, options);
        queries.push(query.await.unwrap());
    }
    let writer = Broker::elsewhere(&cluster.broker.servers);
    for (round, topic) in [&feed, &copy].into_iter().enumerate() {
        let from = RECORDS * round as i64;
        let (writer, written) = (Broker::elsewhere(&writer.servers), feed.clone());
        let writing = async move {
            let writing = move || {
                for records in records(from).chunks(10_000) {
                    writer.produce(&written, records);
                }
            };
            tokio::task::spawn_blocking(writing).await.unwrap();
        };
        killed(cluster, topic, 2, Duration::from_millis(300), writing).await;
        tokio::task::block_in_place(|| cluster.wait_whole(topic));
    }
    let begun = Instant::now();
    for query in &queries {
        let up_to_date = tokio::time::timeout(PATIENCE, async {
            loop {
                let progress = query.progress();
                let read: i64 = progress.inputs.iter().filter_map(|i| i.position).sum();
                if read >= 2 * RECORDS && progress.lag() == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        if up_to_date.await.is_err() {
            panic!("{:?}: {:?}", query.status(), query.progress());
        }
        query.stop().await.unwrap();
    }
    tokio::task::block_in_place(|| {
        // The writer may have written some records twice when a leader was lost.
        let fed: Vec<i64> = cluster.broker.read_all(&feed).iter().map(value).collect();
        let found = cluster.broker.read_all(&copy);
        let mut values: Vec<_> = found.iter().map(|r| r.payload.clone().unwrap()).collect();
        values.sort();
        let all = values.len();
        values.dedup();
        say(&format!(
            "followed, {delivery}, two leaders killed: {} records, {all} copies, {} distinct, \
             up to date {:?} after the last record",
            fed.len(),
            values.len(),
            begun.elapsed()
        ));
        assert_eq!(values.len() as i64, 2 * RECORDS, "{delivery}");
        if delivery == "exactly_once" {
            assert_eq!(all, fed.len(), "{delivery}");
        }
        let mut sums_of = BTreeMap::new();
        for record in cluster.broker.read_all(&sums) {
            let payload = String::from_utf8(record.payload.unwrap()).unwrap();
            sums_of.insert(record.key.unwrap(), payload);
        }
        for last in 0..10 {
            let sum: i64 = fed.iter().filter(|n| *n % 10 == last).sum();
            let found = &sums_of[last.to_string().as_bytes()];
            assert_eq!(*found, format!("{{\"v\":{sum}}}"), "{delivery}");
        }
    });
}

fn value(record: &Stored) -> i64 {
    let payload = String::from_utf8(record.payload.clone().unwrap()).unwrap();
    payload["{\"v\":".len()..payload.len() - 1].parse().unwrap()
}
