//! The whole idea in one run: topics are tables, and a query's rows become records.
//!
//! `cargo run --example quickstart` needs no broker. With `KAFKA_BOOTSTRAP_SERVERS=host:9092` it
//! uses that broker.

use datafusion::prelude::SessionContext;
use datafusion_kafka::{
    KafkaConfig, KafkaTable, KafkaTopics, SinkOptions, SourceOptions, register_kafka,
};

mod support;
use support::{Kafka, Result, show};

#[tokio::main]
async fn main() -> Result<()> {
    let kafka = Kafka::start()?;
    println!("Using {}.", kafka.describe());

    // Another program has been writing upserts and tombstones.
    let people = kafka.create_topic("people", 3).await?;
    let orders = kafka.create_topic("orders", 3).await?;
    let totals = kafka.create_topic("totals", 1).await?;
    let people_records = [
        (
            "p1",
            Some(r#"{"firstName":"Ada","lastName":"Byron","city":"London"}"#),
        ),
        (
            "p2",
            Some(r#"{"firstName":"Blaise","lastName":"Pascal","city":"Paris"}"#),
        ),
        (
            "p3",
            Some(r#"{"firstName":"Carl","lastName":"Gauss","city":"Göttingen"}"#),
        ),
        (
            "p1",
            Some(r#"{"firstName":"Ada","lastName":"Lovelace","city":"London"}"#),
        ),
        ("p3", None),
    ];
    let order_records = [
        ("o1", Some(r#"{"person":"p1","amount":12.50,"paid":true}"#)),
        ("o2", Some(r#"{"person":"p2","amount":8,"paid":false}"#)),
        ("o3", Some(r#"{"person":"p1","amount":30.25,"paid":true}"#)),
        ("o2", Some(r#"{"person":"p2","amount":9.75,"paid":true}"#)),
    ];
    for (topic, records) in [
        (&people, &people_records[..]),
        (&orders, &order_records[..]),
    ] {
        println!("\nRecords written to topic {topic}:");
        for (key, payload) in records {
            println!("  {key} = {}", payload.unwrap_or("(tombstone)"));
        }
        kafka.produce(topic, records).await?;
    }

    // One call makes every topic whose name matches a pattern a table.
    let ctx = SessionContext::new();
    let topics = KafkaTopics::new()
        .with_source("^(people|orders)", SourceOptions::new())
        .with_sink("^totals", SinkOptions::new());
    let config = KafkaConfig::new()
        .with_option("kafka.bootstrap.servers", kafka.servers())
        .with_topics(topics);
    register_kafka(&ctx, config)?;

    println!("\nThe table is the latest record of each key; p3 was deleted by its tombstone:");
    show(
        &ctx,
        &format!("SELECT _key, firstName, lastName, city FROM {people} ORDER BY _key"),
    )
    .await?;

    println!("\nTopics join and aggregate like any other table:");
    let query = format!(
        "SELECT p._key, p.firstName, count(*) AS orders, sum(o.amount) AS total
FROM {orders} o JOIN {people} p ON o.person = p._key
GROUP BY p._key, p.firstName ORDER BY p._key"
    );
    show(&ctx, &query).await?;

    println!("\nA query's rows become records; `_key` is the record's key:");
    show(&ctx, &format!("INSERT INTO {totals} {query}")).await?;

    println!("\nThe records that came out:");
    let raw = KafkaTable::builder(totals)
        .with_option("kafka.bootstrap.servers", kafka.servers())
        .with_option("kafka.mode", "append")
        .with_option("kafka.value.format", "string")
        .with_schema(arrow::datatypes::Schema::empty())
        .build()
        .await?;
    ctx.register_table("records", std::sync::Arc::new(raw))?;
    show(&ctx, "SELECT _key, _value FROM records ORDER BY _key").await
}
