//! Continuous queries: how fast queued changes pass, how late the output is, and what a refresh
//! costs.
//!
//! `cargo bench --bench continuous` starts a broker as the tests do (or uses
//! `KAFKA_BOOTSTRAP_SERVERS`) and prints three tables; `-- passing`, `-- latency`, `-- refresh` and
//! `-- endurance` choose one. `CONTINUOUS_RECORDS` (default 1000000), `CONTINUOUS_ROUNDS` (default
//! 5) and `CONTINUOUS_SECONDS` (default 20; of `endurance` 300) change the size.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs
)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::prelude::SessionContext;
use datafusion_kafka::{
    ContinuousOptions, ContinuousQuery, KafkaConfig, KafkaTable, QueryProgress, register_kafka,
};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Runtime;

use crate::support::broker::{Broker, topic_name};
use crate::support::rounds::{median, median_ratio};
use crate::support::topic::{Content, Topic};
use crate::support::{from_env, orders, process, topic};

mod support;

const PARTITIONS: i32 = 4;

fn main() {
    let Some(words) = support::words() else {
        return;
    };
    let Some(broker) = support::broker() else {
        return;
    };
    let is_wanted = |name: &str, always| match words.as_slice() {
        [] => always,
        words => words.iter().any(|word| word == name),
    };
    let runtime = Runtime::new().unwrap();
    if is_wanted("passing", true) {
        passing(broker, &runtime);
    }
    if is_wanted("latency", true) {
        latency(broker, &runtime);
    }
    if is_wanted("refresh", true) {
        refresh(broker, &runtime);
    }
    if is_wanted("endurance", false) {
        endurance(broker, &runtime);
    }
}

/// A session with these tables of orders.
async fn session(servers: &str, tables: &[(&str, &str, &str)]) -> SessionContext {
    let ctx = SessionContext::new();
    register_kafka(&ctx, KafkaConfig::new()).unwrap();
    for (name, topic, delivery) in tables {
        let table = KafkaTable::builder(*topic)
            .with_schema(Schema::new(orders::fields()))
            .with_option("kafka.bootstrap.servers", servers)
            .with_option("kafka.delivery", *delivery)
            .build()
            .await
            .unwrap();
        ctx.register_table(*name, Arc::new(table)).unwrap();
    }
    ctx
}

async fn start(ctx: &SessionContext, sql: &str) -> ContinuousQuery {
    let name = topic_name("bench");
    let options = ContinuousOptions::new().refresh_interval(Duration::from_millis(20));
    ContinuousQuery::start(ctx, &name, sql, options)
        .await
        .unwrap()
}

async fn until(query: &ContinuousQuery, mut holds: impl FnMut(&QueryProgress) -> bool) {
    while !holds(&query.progress()) {
        if let datafusion_kafka::QueryStatus::Failed(error) = query.status() {
            panic!("{error}");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Changes that wait already, against a loop that reads the records and writes them on.
fn passing(broker: &'static Broker, runtime: &Runtime) {
    let records: u64 = from_env("CONTINUOUS_RECORDS", 1_000_000);
    let rounds: u64 = from_env("CONTINUOUS_ROUNDS", 5);
    let feed = Content {
        tombstones: 1,
        ..Content::new(records)
    }
    .fill(broker);
    let projection =
        "SELECT _key, order_id, customer_id, status, amount, created_at, note FROM feed";
    let queries = [
        ("projection", "at_least_once", projection.to_owned()),
        (
            "projection and filter",
            "at_least_once",
            format!("{projection} WHERE items < 18"),
        ),
        (
            "projection and filter, exactly once",
            "exactly_once",
            format!("{projection} WHERE items < 18"),
        ),
    ];
    let mut bare = Vec::new();
    let mut times = queries.each_ref().map(|_| Vec::new());
    for _ in 0..rounds.max(1) {
        let out = broker.new_topic("passed", PARTITIONS, &[]);
        bare.push(bare_loop(&feed, &out));
        broker.delete_topic(&out);
        for ((_, delivery, select), times) in queries.iter().zip(&mut times) {
            let out = broker.new_topic("passed", PARTITIONS, &[]);
            let tables = [
                ("feed", feed.name.as_str(), "at_least_once"),
                ("passed", out.as_str(), *delivery),
            ];
            times.push(runtime.block_on(async {
                let ctx = session(&broker.servers, &tables).await;
                let start_time = Instant::now();
                let query = start(&ctx, &with_columns(select)).await;
                until(&query, |progress| read(progress) == records).await;
                let time = start_time.elapsed().as_secs_f64();
                query.stop().await.unwrap();
                time
            }));
            broker.delete_topic(&out);
        }
    }
    println!();
    println!(
        "{records} queued changes; reading them and writing them on as they are takes {:.2} s",
        median(bare.iter().copied())
    );
    println!("| query | rate, as a ratio to that loop |\n|---|---|");
    for ((name, ..), times) in queries.iter().zip(&times) {
        println!("| {name} | {:.2} |", median_ratio(&bare, times));
    }
}

fn with_columns(select: &str) -> String {
    format!(
        "INSERT INTO passed (_key, order_id, customer_id, status, amount, created_at, note) {select}"
    )
}

fn read(progress: &QueryProgress) -> u64 {
    let positions = progress.inputs.iter().filter_map(|input| input.position);
    positions.map(|position| position as u64).sum()
}

/// Consumes a topic and produces every record to another one, with the settings that the library
/// gives its own clients.
fn bare_loop(feed: &Topic, out: &str) -> f64 {
    let start = Instant::now();
    let consumer = consumer(feed.servers(), &feed.name, feed.content.partitions);
    let producer = topic::producer(feed.servers(), &[("enable.idempotence", "true")]);
    let mut left = feed.content.records;
    while left > 0 {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message.unwrap();
        let key = std::str::from_utf8(message.key().unwrap()).unwrap();
        topic::send(&producer, out, key, message.payload());
        left -= 1;
    }
    producer.flush(Duration::from_secs(120)).unwrap();
    start.elapsed().as_secs_f64()
}

/// Reads the committed records of a topic from its beginning.
fn consumer(servers: &str, topic: &str, partitions: i32) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "false")
        .set("fetch.queue.backoff.ms", "0")
        .set("fetch.wait.max.ms", "10")
        .set("queued.max.messages.kbytes", "16384")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&list).unwrap();
    consumer
}

/// From when a record of the input was acknowledged to when a reader has the committed one of the
/// output, at 1000 records a second.
fn latency(broker: &'static Broker, runtime: &Runtime) {
    const RATE: u64 = 1000;
    let seconds: u64 = from_env("CONTINUOUS_SECONDS", 20);
    println!();
    println!("{RATE} records a second for {seconds} s; from acknowledged to read by a consumer");
    println!("| query | median | 99th percentile | most |\n|---|---|---|---|");
    for (name, delivery, options) in [
        ("as it is", "at_least_once", &[][..]),
        ("as it is, exactly once", "exactly_once", &[]),
        (
            "kafka.batch.ms = 10, kafka.commit.ms = 10, exactly once",
            "exactly_once",
            &[("kafka.batch.ms", "10"), ("kafka.commit.ms", "10")],
        ),
    ] {
        let feed = broker.new_topic("feed", PARTITIONS, &[]);
        let out = broker.new_topic("passed", PARTITIONS, &[]);
        let ctx = SessionContext::new();
        register_kafka(&ctx, KafkaConfig::new()).unwrap();
        let query = runtime.block_on(async {
            for (name, topic) in [("feed", &feed), ("passed", &out)] {
                let fields = vec![Field::new("order_id", DataType::Int64, true)];
                let mut table = KafkaTable::builder(topic)
                    .with_schema(Schema::new(fields))
                    .with_option("kafka.bootstrap.servers", &broker.servers)
                    .with_option("kafka.delivery", delivery);
                for (key, value) in options {
                    table = table.with_option(*key, *value);
                }
                ctx.register_table(name, Arc::new(table.build().await.unwrap()))
                    .unwrap();
            }
            start(
                &ctx,
                "INSERT INTO passed SELECT * FROM feed WHERE order_id >= 0",
            )
            .await
        });
        let times = delays(broker, &feed, &out, RATE, seconds);
        runtime.block_on(query.stop()).unwrap();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] * 1000.0;
        println!(
            "| {name} | {:.0} ms | {:.0} ms | {:.0} ms |",
            at(0.5),
            at(0.99),
            at(1.0)
        );
        broker.delete_topic(&feed);
        broker.delete_topic(&out);
    }
}

/// In seconds, sorted; what the first second brings is left out.
fn delays(broker: &Broker, feed: &str, out: &str, rate: u64, seconds: u64) -> Vec<f64> {
    let acknowledged: Mutex<HashMap<u64, Instant>> = Mutex::default();
    let total = rate * seconds;
    let read = consumer(&broker.servers, out, PARTITIONS);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let producer: rdkafka::producer::FutureProducer = ClientConfig::new()
                .set("bootstrap.servers", &broker.servers)
                .set("linger.ms", "0")
                .create()
                .unwrap();
            let waiting = Runtime::new().unwrap();
            let begin = Instant::now();
            std::thread::scope(|inner| {
                for n in 0..total {
                    let at = Duration::from_micros(n * 1_000_000 / rate);
                    std::thread::sleep(at.saturating_sub(begin.elapsed()));
                    let key = format!("k{}", n % 10_000);
                    let payload = format!("{{\"order_id\":{n}}}");
                    let record = rdkafka::producer::FutureRecord::to(feed)
                        .key(&key)
                        .payload(&payload);
                    let sent = producer.send_result(record).map_err(|(error, _)| error);
                    let sent = sent.unwrap();
                    let acknowledged = &acknowledged;
                    let waiting = &waiting;
                    if n.is_multiple_of(10) {
                        inner.spawn(move || {
                            waiting.block_on(sent).unwrap().unwrap();
                            acknowledged.lock().unwrap().insert(n, Instant::now());
                        });
                    }
                }
            });
        });
        let mut times = Vec::new();
        let mut seen = 0;
        while seen < total {
            let Some(message) = read.poll(Duration::from_millis(100)) else {
                continue;
            };
            let now = Instant::now();
            let message = message.unwrap();
            let text = std::str::from_utf8(message.payload().unwrap()).unwrap();
            let n: u64 = text["{\"order_id\":".len()..text.len() - 1]
                .parse()
                .unwrap();
            seen += 1;
            if n.is_multiple_of(10) && n >= rate {
                // The acknowledgement may be taken down after the record was read.
                let mut then = None;
                while then.is_none() {
                    then = acknowledged.lock().unwrap().remove(&n);
                }
                times.push(now.saturating_duration_since(then.unwrap()).as_secs_f64());
            }
        }
        times.sort_unstable_by(f64::total_cmp);
        times
    })
}

/// A query over a million keys, first as a whole and then after a thousand changes.
fn refresh(broker: &'static Broker, runtime: &Runtime) {
    const CHANGES: u64 = 1000;
    let records: u64 = from_env("CONTINUOUS_RECORDS", 1_000_000);
    let rounds: u64 = from_env("CONTINUOUS_ROUNDS", 5);
    let content = Content {
        writes: 1,
        ..Content::new(records)
    };
    let feed = content.fill(broker);
    let queries = [
        (
            "sum per status",
            "SELECT status AS _key, sum(amount) AS amount, count(*) AS customer_id FROM feed GROUP BY status",
        ),
        (
            "sum per 10 000 customers",
            "SELECT CAST(customer_id % 10000 AS VARCHAR) AS _key, sum(amount) AS amount, count(*) AS customer_id FROM feed GROUP BY customer_id % 10000",
        ),
        (
            "a row per key, with a window",
            "SELECT _key, amount, count(*) OVER () AS customer_id FROM feed WHERE customer_id % 10 = 0",
        ),
    ];
    println!();
    println!("{records} keys; then {CHANGES} of them change, {rounds} times");
    println!("| query | first run | refresh (median) | ratio |\n|---|---|---|---|");
    for (name, select) in queries {
        let out = broker.new_topic("passed", PARTITIONS, &[]);
        let tables = [
            ("feed", feed.name.as_str(), "at_least_once"),
            ("passed", out.as_str(), "exactly_once"),
        ];
        let (first, later) = runtime.block_on(async {
            let ctx = session(&broker.servers, &tables).await;
            let sql = format!("INSERT INTO passed (_key, amount, customer_id) {select}");
            let begin = Instant::now();
            let query = start(&ctx, &sql).await;
            until(&query, |progress| progress.refreshes == 1).await;
            let first = begin.elapsed().as_secs_f64();
            let mut later = Vec::new();
            for round in 0..rounds.max(1) {
                let refreshes = query.progress().refreshes;
                change(broker, &feed, round, CHANGES);
                until(&query, |p| p.refreshes > refreshes && p.lag() == 0).await;
                later.push(query.progress().refresh_time.unwrap().as_secs_f64());
            }
            query.stop().await.unwrap();
            (first, median(later))
        });
        println!(
            "| {name} | {first:.2} s | {:.0} ms | {:.0} |",
            later * 1000.0,
            first / later
        );
        broker.delete_topic(&out);
    }
}

/// Writes keys that are there anew, in one batch.
fn change(broker: &Broker, feed: &Topic, round: u64, changes: u64) {
    let settings = [("linger.ms", "1000"), ("batch.num.messages", "100000")];
    let producer = topic::producer(&broker.servers, &settings);
    let mut payload = String::new();
    for n in 0..changes {
        let id = (n * 997 + round) % feed.content.keys();
        orders::write_order(id + round + 1, &mut payload);
        topic::send(
            &producer,
            &feed.name,
            &topic::key(id),
            Some(payload.as_bytes()),
        );
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

/// A steady load: whether memory and lag stay what they are.
fn endurance(broker: &'static Broker, runtime: &Runtime) {
    let seconds: u64 = from_env("CONTINUOUS_SECONDS", 300);
    let rate: u64 = from_env("CONTINUOUS_RATE", 10_000);
    let feed = Content::new(1000).fill(broker);
    let outs = [(); 2].map(|()| broker.new_topic("passed", PARTITIONS, &[]));
    let tables = [
        ("feed", feed.name.as_str(), "at_least_once"),
        ("passed", outs[0].as_str(), "exactly_once"),
        ("sums", outs[1].as_str(), "exactly_once"),
    ];
    let ctx = runtime.block_on(session(&broker.servers, &tables));
    let queries = runtime.block_on(async {
        [
            start(&ctx, "INSERT INTO passed SELECT * FROM feed WHERE items < 18").await,
            start(
                &ctx,
                "INSERT INTO sums (_key, amount) SELECT status, sum(amount) FROM feed GROUP BY status",
            )
            .await,
        ]
    });
    let producer = topic::producer(&broker.servers, &[]);
    println!(
        "| s | MB of memory | lag row by row | lag refreshed | commits |\n|---|---|---|---|---|"
    );
    let begin = Instant::now();
    let mut payload = String::new();
    let mut sent = 0;
    for second in 0..seconds {
        for _ in 0..rate {
            orders::write_order(sent, &mut payload);
            let key = topic::key(sent.wrapping_mul(7_368_787) % 100_000);
            let deleted = sent.is_multiple_of(50);
            let payload = (!deleted).then_some(payload.as_bytes());
            topic::send(&producer, &feed.name, &key, payload);
            sent += 1;
        }
        let next = Duration::from_secs(second + 1);
        std::thread::sleep(next.saturating_sub(begin.elapsed()));
        if second.is_multiple_of((seconds / 15).max(1)) {
            let progress = queries.each_ref().map(ContinuousQuery::progress);
            println!(
                "| {:.0} | {} | {} | {} | {} |",
                begin.elapsed().as_secs_f64(),
                process::memory_kb("self", "VmRSS").unwrap_or(0) / 1000,
                progress[0].lag(),
                progress[1].lag(),
                progress[0].commits + progress[1].commits
            );
        }
    }
    for query in &queries {
        runtime.block_on(query.stop()).unwrap();
    }
}
