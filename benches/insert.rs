//! Statements that write, as ratios to a bare producer that sends the same bytes.
//!
//! `cargo bench --bench insert` starts a broker as the tests do (or uses `KAFKA_BOOTSTRAP_SERVERS`)
//! and prints a table. All figures come from one run; only the ratios mean anything on another
//! machine. `INSERT_ROWS` (default 1000000) and `INSERT_ROUNDS` (default 5) change the size.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::physical_plan::collect;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_kafka::json::{DecodeOptions, EncodeOptions, RowDecoder, RowEncoder};
use datafusion_kafka::{KafkaConfig, KafkaTable, WriteReport, register_kafka};
use rdkafka::producer::Producer as _;

use crate::support::rounds::{median, median_ratio};
use crate::support::{from_env, orders, topic};

mod support;

const PARTITIONS: i32 = 4;

/// The rows of a query, and the records that they become.
struct Data {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    records: Vec<(String, Vec<u8>)>,
}

fn main() {
    if support::words().is_none() {
        return;
    }
    let Some(broker) = support::broker() else {
        return;
    };
    let rows = from_env("INSERT_ROWS", 1_000_000);
    let rounds: u64 = from_env("INSERT_ROUNDS", 5);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let data = data(rows);
    let bytes: usize = data.records.iter().map(|(k, p)| k.len() + p.len()).sum();
    let topics = [(); 3].map(|()| broker.new_topic("insert", PARTITIONS, &[]));
    let [bare_topic, topic, exactly_once] = &topics;
    let ctx = runtime.block_on(session(&broker.servers, &data, topic, exactly_once));
    let run = |sql: &str| runtime.block_on(write(&ctx, sql));

    let names = [
        "INSERT",
        "INSERT, exactly once",
        "INSERT OVERWRITE, equal rows",
    ];
    let mut bare = Vec::new();
    let mut not_idempotent = Vec::new();
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..rounds.max(1) {
        bare.push(bare_produce(&broker.servers, bare_topic, &data, true));
        not_idempotent.push(bare_produce(&broker.servers, bare_topic, &data, false));
        for (statement, times) in [
            "INSERT INTO t SELECT * FROM rows",
            "INSERT INTO once SELECT * FROM rows",
            "INSERT OVERWRITE t SELECT * FROM rows",
        ]
        .into_iter()
        .zip(&mut times)
        {
            let (time, report) = run(statement);
            let expected = if statement.contains("OVERWRITE") {
                0
            } else {
                rows
            };
            assert_eq!(report.rows, expected, "{statement}");
            times.push(time.as_secs_f64());
        }
    }
    let (_, report) = run(
        "INSERT OVERWRITE t SELECT _key, order_id, customer_id, status, amount, currency, \
         created_at, CASE WHEN order_id % 1000 = 0 THEN items + 1 ELSE items END, express, tags, \
         address, note FROM rows",
    );
    println!();
    println!(
        "{rows} rows, {} MB of keys and payloads, {PARTITIONS} partitions; bare producer {:.2} s",
        bytes / 1_000_000,
        median(bare.iter().copied())
    );
    println!("| statement | rate, as a ratio to a bare producer |\n|---|---|");
    // This producer does not wait for a producer id. librdkafka alone takes half a second to get
    // one.
    println!(
        "| bare producer, not idempotent | {:.2} |",
        median_ratio(&bare, &not_idempotent)
    );
    for (name, times) in names.into_iter().zip(&times) {
        let ratio = median_ratio(&bare, times);
        println!("| {name} | {ratio:.2} |");
    }
    println!(
        "INSERT OVERWRITE with every 1000th row changed sent {} records of {rows}",
        report.upserts + report.tombstones
    );
    topics.iter().for_each(|topic| broker.delete_topic(topic));
}

fn data(rows: u64) -> Data {
    let fields = orders::fields();
    let mut columns = vec![Arc::new(Field::new("_key", DataType::Utf8View, false))];
    columns.extend(fields.iter().cloned());
    let schema = Arc::new(Schema::new(columns));
    let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
    let encoder = RowEncoder::try_new(&fields, &EncodeOptions::default()).unwrap();
    let (mut batches, mut records) = (Vec::new(), Vec::new());
    let mut payload = String::new();
    for start in (0..rows).step_by(8192) {
        let numbers = start..rows.min(start + 8192);
        for i in numbers.clone() {
            orders::write_order(i, &mut payload);
            decoder.append(payload.as_bytes()).unwrap();
        }
        let keys: Vec<String> = numbers.map(|i| format!("order-{i:08}")).collect();
        let values = decoder.finish().unwrap();
        let writer = encoder.batch(&values).unwrap();
        for (row, key) in keys.iter().enumerate() {
            let mut payload = Vec::new();
            writer.write(row, &mut payload).unwrap();
            records.push((key.clone(), payload));
        }
        let keys: ArrayRef = Arc::new(StringViewArray::from_iter_values(&keys));
        let columns = [vec![keys], values.clone()].concat();
        batches.push(RecordBatch::try_new(Arc::clone(&schema), columns).unwrap());
    }
    Data {
        schema,
        batches,
        records,
    }
}

async fn session(servers: &str, data: &Data, topic: &str, exactly_once: &str) -> SessionContext {
    // The rows of `rows` come in order, unlike those of most queries that write.
    let ctx = SessionContext::new_with_config(SessionConfig::new());
    register_kafka(&ctx, KafkaConfig::new()).unwrap();
    let rows = MemTable::try_new(Arc::clone(&data.schema), vec![data.batches.clone()]).unwrap();
    ctx.register_table("rows", Arc::new(rows)).unwrap();
    for (name, topic, delivery) in [
        ("t", topic, "at_least_once"),
        ("once", exactly_once, "exactly_once"),
    ] {
        let table = KafkaTable::builder(topic)
            .with_schema(Arc::clone(&data.schema))
            .with_option("kafka.bootstrap.servers", servers)
            .with_option("kafka.delivery", delivery)
            .build()
            .await
            .unwrap();
        ctx.register_table(name, Arc::new(table)).unwrap();
    }
    ctx
}

async fn write(ctx: &SessionContext, sql: &str) -> (Duration, WriteReport) {
    let start = Instant::now();
    let statement = ctx.sql(sql).await.unwrap();
    let plan = statement.create_physical_plan().await.unwrap();
    collect(Arc::clone(&plan), ctx.task_ctx()).await.unwrap();
    (start.elapsed(), WriteReport::of(&plan).unwrap())
}

/// rdkafka's producer with records that already exist. It is idempotent, so it is as safe as an
/// INSERT.
fn bare_produce(servers: &str, topic: &str, data: &Data, idempotent: bool) -> f64 {
    let start = Instant::now();
    let idempotent = idempotent.to_string();
    let producer = topic::producer(servers, &[("enable.idempotence", &idempotent)]);
    for (key, payload) in &data.records {
        topic::send(&producer, topic, key, Some(payload));
    }
    producer.flush(Duration::from_secs(120)).unwrap();
    start.elapsed().as_secs_f64()
}
