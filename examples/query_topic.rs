//! One topic as a table of a `SessionContext`, with columns that are declared in Rust.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::prelude::{SessionContext, col, lit};
use datafusion_kafka::KafkaTable;

mod support;
use support::{Kafka, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let kafka = Kafka::start()?;
    let topic = kafka.create_topic("sensors", 2).await?;
    let records = [
        ("kitchen", Some(r#"{"celsius":19.5,"battery":80}"#)),
        ("cellar", Some(r#"{"celsius":12,"battery":31}"#)),
        ("kitchen", Some(r#"{"celsius":21.25,"battery":79}"#)),
    ];
    kafka.produce(&topic, &records).await?;

    let sensors = KafkaTable::builder(topic)
        .with_schema(Schema::new(vec![
            Field::new("celsius", DataType::Float64, true),
            Field::new("battery", DataType::Int32, true),
        ]))
        .with_option("kafka.bootstrap.servers", kafka.servers())
        .build()
        .await?;

    let ctx = SessionContext::new();
    ctx.register_table("sensors", Arc::new(sensors))?;

    // The DataFrame API and SQL see the same table.
    let warm = ctx
        .table("sensors")
        .await?
        .filter(col("celsius").gt(lit(20.0)))?;
    warm.show().await?;
    let plan = ctx
        .sql("EXPLAIN SELECT _key FROM sensors WHERE battery < 50 LIMIT 1")
        .await?;
    plan.show().await?;
    Ok(())
}
