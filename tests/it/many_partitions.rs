//! Topics of many partitions: what a query takes follows the records and not the partitions.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use futures::TryStreamExt;
use futures::future::join_all;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::broker::{self, Broker, Rec};
use crate::declared::{APPEND, Declared};
use crate::dropping::{Held, alone_in, first_batch, open, several_threads};
use crate::session::cells;

const PARTITIONS: i32 = 1_000;
const KEYS: i64 = 10_000;

/// How long many queries of such a topic may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// A topic that has two versions of each key, of which the later one is larger by one, and one
/// key in ten deleted.
fn many(broker: &Broker) -> String {
    let topic = broker.new_topic("many", PARTITIONS, &[]);
    let place = |n: i64| (n % i64::from(PARTITIONS)) as i32;
    let version = |later: i64| {
        let record = move |n: i64| {
            let key = format!("k{n}");
            let record = match later == 1 && n % 10 == 0 {
                true => Rec::tombstone(key),
                false => Rec::new(key, format!("{{\"v\":{}}}", n + later)),
            };
            record.partition(place(n))
        };
        (0..KEYS).map(record)
    };
    let records: Vec<Rec> = version(0).chain(version(1)).collect();
    // Without idempotence, a batch that is sent again to a slow broker may come into the log
    // behind a later one.
    broker.produce_with(&topic, &records, &[("enable.idempotence", "true")]);
    topic
}

/// The sum of `v` over the keys that are left.
fn sum() -> i64 {
    (0..KEYS).filter(|n| n % 10 != 0).map(|n| n + 1).sum()
}

async fn declared(broker: &Broker, topic: &str, options: &[(&str, &str)]) -> Declared {
    Declared::new(broker, topic, "_key VARCHAR, v BIGINT", options).await
}

/// The most threads and the most memory that this process has while `work` runs.
fn most_of<T>(work: impl FnOnce() -> T) -> (usize, usize, T) {
    let ended = Arc::new(AtomicBool::new(false));
    let watch = thread::spawn({
        let ended = Arc::clone(&ended);
        move || {
            let mut most = (0, 0);
            while !ended.load(Ordering::Relaxed) {
                most = (most.0.max(threads()), most.1.max(resident_kilobytes()));
                thread::sleep(Duration::from_millis(2));
            }
            most
        }
    });
    let result = work();
    ended.store(true, Ordering::Relaxed);
    let (threads, kilobytes) = watch.join().unwrap();
    (threads, kilobytes, result)
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

fn resident_kilobytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse().unwrap()
}

#[test]
fn what_a_query_takes_follows_the_records_and_not_the_partitions() {
    alone_in(
        "many_partitions",
        "what_a_query_takes_follows_the_records_and_not_the_partitions",
        |_| {
            // So many partitions would keep the brokers of other tests busy.
            let own = match broker::own() {
                Ok(own) => own,
                Err(why) => return broker::say(&format!("left out: many partitions ({why})")),
            };
            let broker = &own;
            let topic = many(broker);
            let runtime = Runtime::new().unwrap();
            one_query_takes_few_threads_and_little_memory(broker, &topic, &runtime);
            several_threads().block_on(a_dropped_query_leaves_nothing(broker, &topic));
            many_queries_at_once_are_bounded_and_right(broker, &topic, &runtime);
            a_log_keeps_the_order_within_each_partition(broker, &topic, &runtime);
        },
    );
}

fn one_query_takes_few_threads_and_little_memory(broker: &Broker, topic: &str, runtime: &Runtime) {
    let table = runtime.block_on(declared(broker, topic, &[]));
    let (idle_threads, idle_kilobytes) = (threads(), resident_kilobytes());
    let sums = format!("{}|{}", KEYS - KEYS / 10, sum());
    for (sql, expected) in [
        ("SELECT count(*), sum(v) FROM t", sums.as_str()),
        ("SELECT v FROM t WHERE _key = 'k4711'", "4712"),
        ("SELECT count(*) FROM t WHERE _key = 'k4710'", "0"),
        ("SELECT count(*) FROM (SELECT * FROM t LIMIT 5)", "5"),
    ] {
        let (most_threads, kilobytes, rows) = most_of(|| runtime.block_on(table.rows(sql)));
        assert_eq!(rows, [expected], "{sql}");
        let threads = most_threads - idle_threads;
        let megabytes = kilobytes.saturating_sub(idle_kilobytes) / 1024;
        println!("{sql}: {threads} threads and {megabytes} MB more");
        // The watching thread is among them.
        assert!(threads <= 20, "{sql}: {threads} threads");
        assert!(megabytes <= 100, "{sql}: {megabytes} MB");
    }
}

async fn a_dropped_query_leaves_nothing(broker: &Broker, topic: &str) {
    let columns = "_key VARCHAR, v BIGINT";
    let table = Declared::new(broker, topic, columns, &[("kafka.keep_clients", "0")]).await;
    let before = Held::now();
    for _ in 0..3 {
        let mut stream = open(&table, "SELECT * FROM t").await;
        first_batch(&mut stream).await;
        drop(stream);
        before.is_restored("a query of many partitions").await;
    }
}

fn many_queries_at_once_are_bounded_and_right(broker: &Broker, topic: &str, runtime: &Runtime) {
    let table = runtime.block_on(declared(broker, topic, &[]));
    let (idle_threads, idle_kilobytes) = (threads(), resident_kilobytes());
    let sql = "SELECT count(*), sum(v) FROM t";
    let query = || async {
        let frame = table.ctx.sql(sql).await.unwrap();
        cells(&frame.collect().await.unwrap()).concat()
    };
    let count = queries_at_once();
    let queries = join_all((0..count).map(|_| query()));
    let (most_threads, kilobytes, answers) =
        most_of(|| runtime.block_on(async { timeout(PATIENCE, queries).await }));
    let expected = [(KEYS - KEYS / 10).to_string(), sum().to_string()];
    assert!(answers.unwrap().iter().all(|rows| *rows == expected));
    let threads = most_threads - idle_threads;
    let megabytes = kilobytes.saturating_sub(idle_kilobytes) / 1024;
    println!("{count} queries at once: {threads} threads and {megabytes} MB more");
    assert!(threads <= count * 12, "{threads} threads");
    assert!(megabytes <= count * 40, "{megabytes} MB");
}

/// Few by default, since many would keep other tests waiting.
fn queries_at_once() -> usize {
    let given = std::env::var("DATAFUSION_KAFKA_QUERIES").ok();
    given.and_then(|count| count.parse().ok()).unwrap_or(8)
}

fn a_log_keeps_the_order_within_each_partition(broker: &Broker, topic: &str, runtime: &Runtime) {
    let columns = "_key VARCHAR, v BIGINT, _partition INT, _offset BIGINT";
    let table = runtime.block_on(Declared::new(broker, topic, columns, &[APPEND]));
    let last_offsets = runtime.block_on(async {
        let frame = table.ctx.sql("SELECT _partition, _offset FROM t").await;
        let streams = frame.unwrap().execute_stream_partitioned().await.unwrap();
        let mut last_offsets = BTreeMap::new();
        for stream in streams {
            let batches: Vec<_> = stream.try_collect().await.unwrap();
            for batch in batches {
                let partitions = batch.column(0).as_primitive::<Int32Type>().values();
                let offsets = batch.column(1).as_primitive::<Int64Type>().values();
                for (partition, offset) in partitions.iter().zip(offsets) {
                    let before = last_offsets.insert(*partition, *offset);
                    assert!(
                        before < Some(*offset),
                        "partition {partition}: {before:?}, {offset}"
                    );
                }
            }
        }
        last_offsets
    });
    assert_eq!(last_offsets.len(), PARTITIONS as usize);
    let ordered = "SELECT count(*), min(_offset), max(_offset) FROM \
                   (SELECT * FROM t ORDER BY _offset LIMIT 1500)";
    let rows = runtime.block_on(table.rows(ordered));
    assert_eq!(rows, ["1500|0|1"]);
}
