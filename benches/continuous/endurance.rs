//! Whether memory and lag stay constant.

use std::time::{Duration, Instant};

use datafusion_kafka::ContinuousQuery;
use tokio::runtime::Runtime;

use crate::query::{PARTITIONS, session, start};
use crate::support::topic::{self, Content};
use crate::support::{from_env, orders, process};
use kafka_test_broker::Broker;

/// A steady load on two queries, one record by record and one that is refreshed.
pub fn print(broker: &'static Broker, runtime: &Runtime) {
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
                process::status("self", "VmRSS").unwrap_or(0) / 1000,
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
