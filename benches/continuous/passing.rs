//! Throughput of changes that are already queued.

use std::time::{Duration, Instant};

use datafusion_kafka::QueryProgress;
use rdkafka::message::Message as _;
use rdkafka::producer::Producer as _;
use tokio::runtime::Runtime;

use crate::query::{PARTITIONS, consumer, session, start, until};
use crate::support::from_env;
use crate::support::rounds::{median, median_ratio};
use crate::support::topic::{self, Content, Topic};
use kafka_test_broker::Broker;

/// Queued changes, against a loop that reads the records and writes them to another topic.
pub fn print(broker: &'static Broker, runtime: &Runtime) {
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

/// Consumes a topic and produces every record to another topic, with the settings that the library
/// gives to its own clients.
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
