//! Queries over a topic on a real broker, as ratios to a bare consume of it.
//!
//! `cargo bench --bench snapshot` starts a broker as the tests do (or uses
//! `KAFKA_BOOTSTRAP_SERVERS`), fills two topics and prints a table. All figures
//! come from one run; only the ratios mean anything on another machine.
//! `SNAPSHOT_RECORDS` (default 2000000) and `SNAPSHOT_ROUNDS` (default 5)
//! change the size.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    unsafe_code
)]

use std::ffi::CString;
use std::fs;
use std::ptr;
use std::time::{Duration, Instant};

use arrow::datatypes::{Field, Schema};
use datafusion::prelude::SessionContext;
use datafusion_kafka::{KafkaConfig, KafkaTable, register_kafka};
use futures::StreamExt;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka_sys as sys;

#[path = "../tests/it/broker.rs"]
mod broker;
mod orders;

const PARTITIONS: i32 = 4;

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let broker = match broker::broker() {
        Ok(broker) => broker,
        Err(why) => {
            println!("left out: no Kafka broker: {why}");
            return;
        }
    };
    let records = from_env("SNAPSHOT_RECORDS", 2_000_000);
    let rounds = from_env("SNAPSHOT_ROUNDS", 5);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for keys in [records / 20, records] {
        let topic = fill(broker, records, keys);
        let bare = median(rounds, || bare_consume(&broker.servers, &topic, records));
        println!();
        println!(
            "{records} records over {keys} keys, {PARTITIONS} partitions; bare consume {:.2} s",
            bare.time.as_secs_f64()
        );
        println!("| query | ratio to bare consume | rows | peak memory |");
        println!("|---|---|---|---|");
        println!(
            "| bare consume | 1.00 | {} | {} MB |",
            bare.rows, bare.peak_mb
        );
        for (name, sql) in queries(keys) {
            let figures = median(rounds, || {
                runtime.block_on(query(&broker.servers, &topic, &sql))
            });
            println!(
                "| {name} | {:.2} | {} | {} MB |",
                figures.time.as_secs_f64() / bare.time.as_secs_f64(),
                figures.rows,
                figures.peak_mb,
            );
        }
        broker.delete_topic(&topic);
    }
}

fn queries(keys: u64) -> Vec<(&'static str, String)> {
    let wanted = key(keys / 2 + 1);
    vec![
        ("all 11 columns", "SELECT * FROM orders".to_owned()),
        (
            "2 of 11 columns, grouped",
            "SELECT status, count(*), sum(amount) FROM orders GROUP BY status".to_owned(),
        ),
        ("`count(*)`", "SELECT count(*) FROM orders".to_owned()),
        (
            "one `_key`",
            format!("SELECT * FROM orders WHERE _key = '{wanted}'"),
        ),
        ("LIMIT 10", "SELECT * FROM orders LIMIT 10".to_owned()),
        ("`_key` of all", "SELECT _key FROM orders".to_owned()),
        ("one key written last, promised", promised("last")),
        ("one key written halfway, promised", promised("halfway")),
        ("one key written first, promised", promised("first")),
    ]
}

/// Keys that are written once, and when, for look-ups under `PRIMARY KEY (_key)`.
fn written_once(i: u64, records: u64) -> Option<&'static str> {
    match i {
        0 => Some("first"),
        i if i == records / 2 => Some("halfway"),
        i if i + 1 == records => Some("last"),
        _ => None,
    }
}

fn promised(key: &str) -> String {
    format!("SELECT * FROM promised WHERE _key = '{key}'")
}

fn key(i: u64) -> String {
    format!("order-{i:08}")
}

struct Figures {
    time: Duration,
    rows: usize,
    peak_mb: u64,
}

fn median(rounds: u64, run: impl Fn() -> usize) -> Figures {
    let mut times = Vec::new();
    let (mut rows, mut peak_mb) = (0, 0);
    for _ in 0..rounds.max(1) {
        reset_peak();
        let start = Instant::now();
        rows = run();
        times.push(start.elapsed());
        peak_mb = peak_mb.max(peak());
    }
    times.sort_unstable();
    let time = times[times.len() / 2];
    Figures {
        time,
        rows,
        peak_mb,
    }
}

/// A new session per query, as a program that asks one question has.
async fn query(servers: &str, topic: &str, sql: &str) -> usize {
    let ctx = SessionContext::new();
    register_kafka(&ctx, KafkaConfig::new()).unwrap();
    if sql.contains("promised") {
        let create = format!(
            "CREATE EXTERNAL TABLE promised (_key VARCHAR, order_id BIGINT, PRIMARY KEY (_key)) \
             STORED AS KAFKA LOCATION 'kafka://{servers}/{topic}'"
        );
        ctx.sql(&create).await.unwrap();
    }
    let schema = Schema::new(
        orders::fields()
            .iter()
            .map(|field| field.as_ref().clone())
            .collect::<Vec<Field>>(),
    );
    let table = KafkaTable::builder(topic)
        .with_schema(schema)
        .with_option("kafka.bootstrap.servers", servers)
        .build()
        .await
        .unwrap();
    ctx.register_table("orders", std::sync::Arc::new(table))
        .unwrap();
    let frame = ctx.sql(sql).await.unwrap();
    let mut batches = frame.execute_stream().await.unwrap();
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        rows += batch.unwrap().num_rows();
    }
    rows
}

/// Fills a topic: `records` records over `keys` keys, 1 % tombstones when keys
/// are written more than once.
fn fill(broker: &broker::Broker, records: u64, keys: u64) -> String {
    let topic = broker.new_topic("snapshot", PARTITIONS, &[]);
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", &broker.servers)
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "20")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.kbytes", "262144")
        .create()
        .unwrap();
    let mut payload = String::new();
    for i in 0..records {
        // Keys are written round by round, in another order each time.
        let id = i.wrapping_mul(7_368_787) % keys;
        let once = written_once(i, records);
        let key = once.map_or_else(|| key(id), str::to_owned);
        orders::write_order(i, &mut payload);
        let is_last_round = keys < records && i >= records - keys;
        let tombstone = is_last_round && id.is_multiple_of(100) && once.is_none();
        let mut record = BaseRecord::to(&topic).key(&key);
        if !tombstone {
            record = record.payload(&payload);
        }
        while let Err((_, returned)) = producer.send(record) {
            record = returned;
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    producer.flush(Duration::from_secs(120)).unwrap();
    topic
}

/// librdkafka's fastest way to read a topic, doing nothing with the records.
fn bare_consume(servers: &str, topic: &str, records: u64) -> usize {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "0")
        .create()
        .unwrap();
    let name = CString::new(topic).unwrap();
    let mut count = 0;
    // SAFETY: plain calls of librdkafka's C interface, in the order that its
    // documentation asks for; every message is given back once.
    unsafe {
        let client = consumer.client().native_ptr();
        let topic = sys::rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut());
        let queue = sys::rd_kafka_queue_new(client);
        for partition in 0..PARTITIONS {
            sys::rd_kafka_consume_start_queue(topic, partition, 0, queue);
        }
        let mut messages: Vec<*mut sys::rd_kafka_message_t> = vec![ptr::null_mut(); 10_000];
        while count < records as usize {
            let got = sys::rd_kafka_consume_batch_queue(queue, 5, messages.as_mut_ptr(), 10_000);
            for message in &messages[..got.max(0) as usize] {
                if (**message).err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    count += 1;
                }
                sys::rd_kafka_message_destroy(*message);
            }
        }
        for partition in 0..PARTITIONS {
            sys::rd_kafka_consume_stop(topic, partition);
        }
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_topic_destroy(topic);
    }
    count
}

/// The highest resident memory since [`reset_peak`], in MB; 0 where it is not known.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kb = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kb.unwrap_or(0) / 1024
}

fn reset_peak() {
    // Only Linux can; elsewhere the peak is that of the whole run.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}
