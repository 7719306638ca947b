//! One registration for many topics: patterns choose the settings, and each name is a topic.

use datafusion::prelude::SessionContext;
use datafusion_kafka::{KafkaConfig, KafkaTopics, SinkOptions, SourceOptions, register_kafka};

mod support;
use support::{Kafka, Result, show};

#[tokio::main]
async fn main() -> Result<()> {
    let kafka = Kafka::start()?;
    let eu = kafka.create_topic("orders_eu", 2).await?;
    let us = kafka.create_topic("orders_us", 2).await?;
    let out = kafka.create_topic("out_large", 2).await?;
    kafka
        .produce(&eu, &[("e1", Some(r#"{"amount":120,"vat":22.80}"#))])
        .await?;
    kafka
        .produce(&us, &[("u1", Some(r#"{"amount":80,"state":"CA"}"#))])
        .await?;

    // Each topic has its own columns, inferred from its records.
    let topics = KafkaTopics::new()
        .with_source("^orders_", SourceOptions::new())
        .with_source("^out_", SourceOptions::new())
        .with_sink(
            "^out_",
            SinkOptions::new().with_option("kafka.json.nulls", "omit"),
        );
    let config = KafkaConfig::new()
        .with_option("kafka.bootstrap.servers", kafka.servers())
        .with_topics(topics);
    let ctx = SessionContext::new();
    register_kafka(&ctx, config)?;

    let all = format!(
        "SELECT _key, amount, vat, NULL AS state FROM {eu}
UNION ALL SELECT _key, amount, NULL, state FROM {us}"
    );
    show(&ctx, &all).await?;
    // `out_large` has no records yet, so its columns are those of the query.
    show(
        &ctx,
        &format!("INSERT INTO {out} SELECT _key, amount FROM {eu} WHERE amount > 100"),
    )
    .await?;
    show(&ctx, &format!("SELECT * FROM {out}")).await
}
