//! The cost of a refresh.

use std::time::{Duration, Instant};

use rdkafka::producer::Producer as _;
use tokio::runtime::Runtime;

use crate::query::{PARTITIONS, session, start, until};
use crate::support::rounds::median;
use crate::support::topic::{self, Content, Topic};
use crate::support::{from_env, orders};
use kafka_test_broker::Broker;

/// A query over a million keys: first a full refresh, then a refresh after a thousand changes.
pub fn print(broker: &'static Broker, runtime: &Runtime) {
    const CHANGES: u64 = 1000;
    let records: u64 = from_env("CONTINUOUS_RECORDS", 1_000_000);
    let rounds: u64 = from_env("CONTINUOUS_ROUNDS", 5);
    let content = Content::new(records).written(1);
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

/// Writes existing keys again, in one batch.
fn change(broker: &Broker, feed: &Topic, round: u64, changes: u64) {
    let settings = [("linger.ms", "1000"), ("batch.num.messages", "100000")];
    let producer = topic::producer(&broker.servers, &settings);
    let mut payload = String::new();
    for n in 0..changes {
        let id = (n * 997 + round) % feed.content.keys;
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
