//! Topics of many partitions: what a query takes follows the records and not the partitions.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use futures::future::join_all;
use tokio::runtime::Runtime;

use crate::broker::{Broker, Rec, wait_until};
use crate::declared::{APPEND, Declared, in_time};
use crate::dropping::alone_in;

const PARTITIONS: i32 = 1_000;
const KEYS: i64 = 10_000;

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
    // Records of a partition keep their order even where brokers are slow.
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
fn a_thousand_small_partitions_take_few_threads_and_little_memory() {
    alone_in(
        "many_partitions",
        "a_thousand_small_partitions_take_few_threads_and_little_memory",
        |broker| {
            let topic = many(broker);
            let runtime = Runtime::new().unwrap();
            let table = runtime.block_on(declared(broker, &topic, &[]));
            let (idle_threads, idle_kilobytes) = (threads(), resident_kilobytes());
            let sums = format!("{}|{}", KEYS - KEYS / 10, sum());
            for (sql, expected) in [
                ("SELECT count(*), sum(v) FROM t", vec![sums.as_str()]),
                ("SELECT v FROM t WHERE _key = 'k4711'", vec!["4712"]),
                ("SELECT count(*) FROM t WHERE _key = 'k4710'", vec!["0"]),
                ("SELECT count(*) FROM (SELECT * FROM t LIMIT 5)", vec!["5"]),
            ] {
                let (most_threads, kilobytes, rows) =
                    most_of(|| runtime.block_on(in_time(sql, table.rows(sql))));
                assert_eq!(rows, expected, "{sql}");
                let threads = most_threads - idle_threads;
                let megabytes = kilobytes.saturating_sub(idle_kilobytes) / 1024;
                println!("{sql}: {threads} threads and {megabytes} MB more");
                // The watching thread and the threads of the runtime are among them.
                assert!(threads <= 24, "{sql}: {threads} threads");
                assert!(megabytes <= 100, "{sql}: {megabytes} MB");
            }
        },
    );
}

#[test]
fn many_queries_of_many_partitions_at_once_are_bounded_and_right() {
    alone_in(
        "many_partitions",
        "many_queries_of_many_partitions_at_once_are_bounded_and_right",
        |broker| {
            let topic = many(broker);
            let runtime = Runtime::new().unwrap();
            let table = runtime.block_on(declared(broker, &topic, &[]));
            let (idle_threads, idle_kilobytes) = (threads(), resident_kilobytes());
            let sql = "SELECT count(*), sum(v) FROM t";
            let (most_threads, kilobytes, answers) = most_of(|| {
                let queries = (0..50).map(|_| table.rows(sql));
                runtime.block_on(in_time("50 queries", join_all(queries)))
            });
            let expected = format!("{}|{}", KEYS - KEYS / 10, sum());
            assert!(answers.iter().all(|rows| *rows == [expected.as_str()]));
            let threads = most_threads - idle_threads;
            let megabytes = kilobytes.saturating_sub(idle_kilobytes) / 1024;
            println!("50 queries at once: {threads} threads and {megabytes} MB more");
            assert!(threads <= 50 * 20, "{threads} threads");
            assert!(megabytes <= 50 * 50, "{megabytes} MB");
            drop(table);
            wait_until(Duration::from_secs(10), "the end of all threads", || {
                self::threads() <= idle_threads + 2
            });
        },
    );
}

#[test]
fn a_log_of_many_partitions_keeps_the_order_within_each() {
    alone_in(
        "many_partitions",
        "a_log_of_many_partitions_keeps_the_order_within_each",
        |broker| {
            let topic = many(broker);
            let runtime = Runtime::new().unwrap();
            let columns = "_key VARCHAR, v BIGINT, _partition INT, _offset BIGINT";
            let table = Declared::new(broker, &topic, columns, &[APPEND]);
            let table = runtime.block_on(table);
            let sql = "SELECT _partition, array_agg(_offset) AS o FROM t GROUP BY _partition";
            let sql = format!("SELECT count(*) FROM ({sql}) WHERE o != array_sort(o)");
            assert_eq!(runtime.block_on(table.rows(&sql)), ["0"]);
            let ordered = "SELECT count(*), min(_offset), max(_offset) FROM \
                           (SELECT * FROM t ORDER BY _offset LIMIT 1500)";
            let rows = runtime.block_on(table.rows(ordered));
            assert_eq!(rows, ["1500|0|1"]);
        },
    );
}
