//! A query that is dropped leaves nothing behind, whatever it was doing: within a second its
//! threads have ended and its connections are closed. The sessions of these tests keep no clients.
//!
//! Each test runs in a process of its own, so that threads and sockets of other tests do not count.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion_kafka::{KafkaScanExec, wait_for_clients};
use futures::StreamExt as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::runtime::{Builder, Runtime};

use crate::broker::{self, Broker, PATIENCE, Rec, wait_until};
use crate::declared::{APPEND, Declared, in_time};

/// How long a dropped query may take to end.
const SECOND: Duration = Duration::from_secs(1);

const ALL: &str = "SELECT * FROM t";

/// The environment variable that is set in the processes that tests start.
const CHILD: &str = "DATAFUSION_KAFKA_DROPPING";

fn alone(test: &str, work: impl FnOnce(&'static Broker)) {
    alone_in("dropping", test, work);
}

/// Runs the work in a process of its own: this program, with only this test of the module.
pub fn alone_in(module: &str, test: &str, work: impl FnOnce(&'static Broker)) {
    let test = format!("{module}::{test}");
    let Some(broker) = broker::required(&test) else {
        return;
    };
    if std::env::var_os(CHILD).is_some() {
        return work(broker);
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env("KAFKA_BOOTSTRAP_SERVERS", &broker.servers)
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

/// The number of threads and sockets of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    threads: usize,
    sockets: usize,
}

impl Held {
    pub fn now() -> Self {
        let files = fs::read_dir("/proc/self/fd").unwrap();
        // A file may be closed between listing and reading it.
        let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        Held {
            threads: fs::read_dir("/proc/self/task").unwrap().count(),
            sockets: links
                .filter(|link| link.to_string_lossy().starts_with("socket:"))
                .count(),
        }
    }

    /// Waits until this process has no more threads and sockets than before. The runtime must run
    /// meanwhile, because aborted tasks end only when they are scheduled.
    pub async fn is_restored(self, what: &str) {
        let end = Instant::now() + SECOND;
        loop {
            let now = Held::now();
            if now.threads <= self.threads && now.sockets <= self.sockets {
                return;
            }
            assert!(
                Instant::now() < end,
                "{what}: {self:?} before, {now:?} a second after: {}",
                thread_names()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a query has threads and a connection.
    pub fn wait_exceeded(self) {
        wait_until(PATIENCE, "a query at work", || {
            let now = Held::now();
            now.threads > self.threads && now.sockets > self.sockets
        });
    }
}

pub fn thread_names() -> String {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .collect::<String>()
        .replace('\n', " ")
}

/// A runtime whose idle threads end early, so that all threads can be counted.
fn runtime(mut builder: Builder) -> Runtime {
    builder
        .enable_time()
        .thread_keep_alive(Duration::ZERO)
        .build()
        .unwrap()
}

pub fn several_threads() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2);
    runtime(builder)
}

pub fn one_thread() -> Runtime {
    runtime(Builder::new_current_thread())
}

/// A topic that is read in many batches.
pub fn large_topic(broker: &Broker) -> String {
    let topic = broker.new_topic("dropped", 3, &[]);
    let one = |n: i32| Rec::new(format!("k{n}"), format!("{{\"v\":{n}}}")).partition(n % 3);
    broker.produce(&topic, &(0..150_000).map(one).collect::<Vec<_>>());
    topic
}

async fn declared(broker: &Broker, topic: &str, options: &[(&str, &str)]) -> Declared {
    let options = [options, &[KEEP_NOTHING]].concat();
    Declared::new(broker, topic, "_key VARCHAR, v BIGINT", &options).await
}

/// The option with which a session keeps no client of a table.
pub const KEEP_NOTHING: (&str, &str) = ("kafka.keep_clients", "0");

pub async fn open(declared: &Declared, sql: &str) -> SendableRecordBatchStream {
    let frame = in_time(sql, declared.ctx.sql(sql)).await.unwrap();
    in_time(sql, frame.execute_stream()).await.unwrap()
}

pub async fn first_batch(stream: &mut SendableRecordBatchStream) {
    let batch = in_time("a batch", stream.next()).await;
    assert!(batch.unwrap().unwrap().num_rows() > 0);
}

/// Reads one batch of the query, and drops the query while there is more to read.
async fn drop_in_the_middle(table: &Declared, sql: &str, before: Held) {
    let mut stream = open(table, sql).await;
    first_batch(&mut stream).await;
    before.wait_exceeded();
    drop(stream);
    before.is_restored(sql).await;
}

#[test]
fn a_query_that_waits_for_its_first_batch_can_be_dropped() {
    alone(
        "a_query_that_waits_for_its_first_batch_can_be_dropped",
        |broker| {
            let topic = large_topic(broker);
            several_threads().block_on(async {
                let table = declared(broker, &topic, &[]).await;
                let before = Held::now();
                // A stream that was never polled, and one that was polled once.
                drop(open(&table, ALL).await);
                before.is_restored("never polled").await;
                let mut stream = open(&table, ALL).await;
                let polled = futures::poll!(stream.next());
                assert!(polled.is_pending());
                before.wait_exceeded();
                drop(stream);
                before.is_restored("polled once").await;
            });
        },
    );
}

#[test]
fn a_query_can_be_dropped_in_the_middle() {
    alone("a_query_can_be_dropped_in_the_middle", |broker| {
        let topic = large_topic(broker);
        several_threads().block_on(async {
            let before = Held::now();
            for options in [&[][..], &[APPEND]] {
                let table = declared(broker, &topic, options).await;
                drop_in_the_middle(&table, ALL, before).await;
                drop_in_the_middle(&table, "SELECT * FROM t WHERE v % 2 = 0", before).await;
            }
        });
    });
}

#[test]
fn a_query_can_be_dropped_on_a_runtime_of_one_thread_and_with_it() {
    let test = "a_query_can_be_dropped_on_a_runtime_of_one_thread_and_with_it";
    alone(test, |broker| {
        let topic = large_topic(broker);
        let nothing = Held::now();
        let first = one_thread();
        let stream = first.block_on(async {
            let before = Held::now();
            let table = declared(broker, &topic, &[]).await;
            drop_in_the_middle(&table, ALL, before).await;
            let mut stream = open(&table, ALL).await;
            first_batch(&mut stream).await;
            stream
        });
        nothing.wait_exceeded();
        drop(first);
        drop(stream);
        one_thread().block_on(nothing.is_restored("the runtime and then the query"));
    });
}

#[test]
fn a_join_of_two_topics_can_be_dropped() {
    alone("a_join_of_two_topics_can_be_dropped", |broker| {
        let (left, right) = (large_topic(broker), large_topic(broker));
        several_threads().block_on(async {
            let table = declared(broker, &left, &[]).await;
            let columns = "_key VARCHAR, v BIGINT";
            table
                .add("r", &right, columns, &[KEEP_NOTHING])
                .await
                .unwrap();
            let before = Held::now();
            let join = "SELECT * FROM t JOIN r ON t._key = r._key";
            drop_in_the_middle(&table, join, before).await;
            // While one side of the join is still being collected.
            let mut stream = open(&table, join).await;
            assert!(futures::poll!(stream.next()).is_pending());
            before.wait_exceeded();
            drop(stream);
            before.is_restored(join).await;
        });
    });
}

#[test]
fn an_insert_in_flight_can_be_dropped() {
    alone("an_insert_in_flight_can_be_dropped", |broker| {
        let topic = large_topic(broker);
        let out = broker.new_topic("out", 1, &[]);
        several_threads().block_on(async {
            let table = declared(broker, &topic, &[]).await;
            let columns = "_key VARCHAR, v BIGINT";
            table
                .add("out", &out, columns, &[KEEP_NOTHING])
                .await
                .unwrap();
            let before = Held::now();
            let ctx = table.ctx.clone();
            let insert = tokio::spawn(async move {
                // The cross join would not end for a long time.
                let insert = "INSERT INTO out SELECT l._key, r.v FROM t AS l CROSS JOIN t AS r";
                ctx.sql(insert).await?.collect().await
            });
            let consumer: BaseConsumer = broker.config().create().unwrap();
            wait_until(PATIENCE, "records", || {
                consumer.fetch_watermarks(&out, 0, PATIENCE).unwrap().1 > 0
            });
            drop(consumer);
            insert.abort();
            assert!(insert.await.unwrap_err().is_cancelled());
            before.is_restored("INSERT").await;
        });
    });
}

#[test]
fn a_limit_ends_the_scan_before_the_stream_is_dropped() {
    let test = "a_limit_ends_the_scan_before_the_stream_is_dropped";
    alone(test, |broker| {
        let topic = large_topic(broker);
        several_threads().block_on(async {
            let before = Held::now();
            for options in [&[][..], &[APPEND]] {
                let table = declared(broker, &topic, options).await;
                for sql in [
                    "SELECT * FROM t LIMIT 5",
                    "SELECT * FROM t WHERE v > 100 LIMIT 300",
                    "SELECT l._key FROM t AS l JOIN t AS r ON l._key = r._key LIMIT 2",
                ] {
                    let mut stream = open(&table, sql).await;
                    while let Some(batch) = in_time(sql, stream.next()).await {
                        batch.unwrap();
                    }
                    before.is_restored(sql).await;
                    drop(stream);
                }
            }
        });
    });
}

#[test]
fn a_query_that_waits_for_servers_can_be_dropped() {
    alone("a_query_that_waits_for_servers_can_be_dropped", |broker| {
        several_threads().block_on(async {
            let table = declared(broker, "any", &[]).await;
            let nowhere = "kafka://127.0.0.1:1/nowhere";
            let minutes = [("kafka.timeout", "5m")];
            table.add("n", nowhere, "v INT", &minutes).await.unwrap();
            let before = Held::now();
            let mut planning = Box::pin(async {
                let frame = table.ctx.sql("SELECT * FROM n").await?;
                frame.create_physical_plan().await
            });
            assert!(futures::poll!(&mut planning).is_pending());
            wait_until(PATIENCE, "a client", || {
                Held::now().threads > before.threads + 1
            });
            drop(planning);
            before.is_restored("planning").await;
        });
    });
}

/// The scans share one client and one look-up while they are planned.
#[test]
fn planning_connects_once_to_a_topic_however_often_a_statement_reads_it() {
    let test = "planning_connects_once_to_a_topic_however_often_a_statement_reads_it";
    alone(test, |broker| {
        let topic = broker.new_topic("planned", 2, &[]);
        several_threads().block_on(async {
            let table = declared(broker, &topic, &[]).await;
            table.rows("CREATE VIEW w AS SELECT v FROM t").await;
            let before = Held::now();
            let plan = async |sql: &str| {
                let frame = table.ctx.sql(sql).await.unwrap();
                let plan = in_time(sql, frame.create_physical_plan()).await.unwrap();
                (plan, clients())
            };
            let (one, clients_of_one) = plan(ALL).await;
            drop(one);
            before.is_restored("one scan").await;
            let (several, clients_of_several) = plan(
                "SELECT a.v, (SELECT max(v) FROM w) FROM t AS a JOIN t AS b ON a.v = b.v
                 WHERE a.v IN (SELECT v FROM t UNION ALL SELECT v + 1 FROM t)",
            )
            .await;
            assert_eq!(KafkaScanExec::all_in(&several).len(), 5);
            assert_eq!((clients_of_one, clients_of_several), (1, 1));
        });
    });
}

/// The number of librdkafka's clients, each of which has one main thread.
fn clients() -> usize {
    let names = thread_names();
    names.split(' ').filter(|name| *name == "rdk:main").count()
}

/// Waits for the clients, so that no Kafka thread uses OpenSSL while the process exits.
#[test]
fn clients_that_were_waited_for_have_ended() {
    let test = "clients_that_were_waited_for_have_ended";
    alone(test, |broker| {
        let topic = large_topic(broker);
        several_threads().block_on(async {
            let table = declared(broker, &topic, &[]).await;
            let options = [("kafka.delivery", "exactly_once")];
            let columns = "_key VARCHAR, v BIGINT";
            table.add("out", &topic, columns, &options).await.unwrap();
            let mut stream = open(&table, ALL).await;
            first_batch(&mut stream).await;
            // The query still uses its clients.
            assert!(!wait_for_clients(Duration::from_millis(50)).await);
            let insert = "INSERT INTO out VALUES ('a', 1)";
            let insert = table.ctx.sql(insert).await.unwrap();
            in_time("INSERT", insert.collect()).await.unwrap();
            drop((table, stream));
            assert!(wait_for_clients(PATIENCE).await);
            let names = thread_names();
            let of_kafka = ["rdk:", "kafka-"].map(|prefix| names.contains(prefix));
            assert_eq!(of_kafka, [false, false], "{names}");
        });
    });
}

#[test]
fn two_hundred_dropped_queries_leave_nothing_behind() {
    let test = "two_hundred_dropped_queries_leave_nothing_behind";
    alone(test, |broker| {
        let topic = large_topic(broker);
        several_threads().block_on(async {
            let upsert = declared(broker, &topic, &[]).await;
            let append = declared(broker, &topic, &[APPEND]).await;
            let before = Held::now();
            let pools: Vec<Arc<dyn MemoryPool>> = [&upsert, &append]
                .map(|table| Arc::clone(&table.ctx.runtime_env().memory_pool))
                .into();
            for query in 0..200 {
                let table = if query % 2 == 0 { &upsert } else { &append };
                let mut stream = open(table, ALL).await;
                first_batch(&mut stream).await;
            }
            before.is_restored("200 queries").await;
            for pool in pools {
                assert_eq!(pool.reserved(), 0);
            }
        });
    });
}
