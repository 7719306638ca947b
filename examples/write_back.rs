//! Rows as records: INSERT with SQL and with `write_table`, and a tombstone.

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::prelude::SessionContext;
use datafusion_kafka::KafkaTable;

mod support;
use support::{Kafka, Result, show};

#[tokio::main]
async fn main() -> Result<()> {
    let kafka = Kafka::start()?;
    let topic = kafka.create_topic("stock", 2).await?;
    let stock = KafkaTable::builder(topic)
        .with_schema(Schema::new(vec![
            Field::new("pieces", DataType::Int32, true),
            // `_tombstone` is declared, so that rows can be written as tombstones.
            Field::new("_tombstone", DataType::Boolean, true),
        ]))
        .with_option("kafka.bootstrap.servers", kafka.servers())
        .build()
        .await?;
    let ctx = SessionContext::new();
    ctx.register_table("stock", std::sync::Arc::new(stock))?;

    show(
        &ctx,
        "INSERT INTO stock (_key, pieces) VALUES ('apple', 3), ('pear', 5)",
    )
    .await?;
    show(
        &ctx,
        "INSERT INTO stock (_key, _tombstone) VALUES ('pear', true)",
    )
    .await?;

    // Columns are matched by name. Columns that are left out are NULL.
    let more = ctx.sql("SELECT 7 AS pieces, 'plum' AS _key").await?;
    more.write_table("stock", DataFrameWriteOptions::new())
        .await?;

    show(&ctx, "SELECT _key, pieces FROM stock ORDER BY _key").await
}
