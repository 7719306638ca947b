//! Topics as tables in plain SQL, without a line of Rust per topic.

use datafusion::prelude::SessionContext;
use datafusion_kafka::{KafkaConfig, register_kafka};

mod support;
use support::{Kafka, Result, show};

#[tokio::main]
async fn main() -> Result<()> {
    let kafka = Kafka::start()?;
    let topic = kafka.create_topic("payments", 2).await?;
    let ctx = SessionContext::new();
    register_kafka(&ctx, KafkaConfig::new())?;

    let location = format!("kafka://{}/{topic}", kafka.servers());
    show(
        &ctx,
        &format!(
            "CREATE EXTERNAL TABLE payments (
  _key VARCHAR NOT NULL,
  amount DECIMAL(10, 2),
  paidAt TIMESTAMP,
  PRIMARY KEY (_key)
) STORED AS KAFKA LOCATION '{location}'
OPTIONS ('kafka.client.client.id' 'payments-example')"
        ),
    )
    .await?;
    show(
        &ctx,
        "INSERT INTO payments VALUES ('p-1', 10.50, '2026-01-02T03:04:05'), ('p-2', 0.99, NULL)",
    )
    .await?;

    // Without a column list the columns are inferred from the newest records. In append mode every
    // record is a row, with its position in the topic.
    show(
        &ctx,
        &format!(
            "CREATE EXTERNAL TABLE payment_log STORED AS KAFKA LOCATION '{location}'
OPTIONS ('kafka.mode' 'append', 'kafka.metadata' 'all')"
        ),
    )
    .await?;
    show(
        &ctx,
        "SELECT _key, amount, paidAt, _offset, _tombstone FROM payment_log ORDER BY _key",
    )
    .await
}
