//! The delay of the output.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::prelude::SessionContext;
use datafusion_kafka::{KafkaConfig, KafkaTable, register_kafka};
use rdkafka::config::ClientConfig;
use rdkafka::message::Message as _;
use tokio::runtime::Runtime;

use crate::query::{PARTITIONS, consumer, start};
use crate::support::from_env;
use kafka_test_broker::Broker;

/// The time from the acknowledgement of an input record until a reader has the committed output
/// record, at 1000 records a second.
pub fn print(broker: &'static Broker, runtime: &Runtime) {
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

/// In seconds, sorted. Records of the first second are left out.
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
                // The acknowledgement may be noted after the output record was read.
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
