//! A topic that SQL changes: UPDATE, DELETE, MERGE and INSERT OVERWRITE, each in one transaction if
//! the brokers support transactions.

use std::sync::Arc;

use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;
use datafusion_kafka::{KafkaConfig, WriteReport, register_kafka};

mod support;
use support::{Kafka, Result, show};

#[tokio::main]
async fn main() -> Result<()> {
    let kafka = Kafka::start()?;
    let topic = kafka.create_topic("articles", 2).await?;
    let records = [
        ("apple", Some(r#"{"pieces":3,"price":0.50,"note":"crisp"}"#)),
        ("pear", Some(r#"{"pieces":5,"price":0.70}"#)),
        ("plum", Some(r#"{"pieces":0,"price":0.20}"#)),
    ];
    kafka.produce(&topic, &records).await?;
    let ctx = SessionContext::new();
    register_kafka(
        &ctx,
        KafkaConfig::new().with_option("kafka.bootstrap.servers", kafka.servers()),
    )?;
    let create = format!(
        "CREATE EXTERNAL TABLE articles (_key VARCHAR NOT NULL, pieces BIGINT) \
         STORED AS KAFKA LOCATION '{topic}' OPTIONS ('kafka.delivery' 'exactly_once')"
    );
    ctx.sql(&create).await?;
    let raw = format!(
        "CREATE EXTERNAL TABLE raw (_key VARCHAR) \
         STORED AS KAFKA LOCATION '{topic}' OPTIONS ('kafka.value.format' 'string')"
    );
    ctx.sql(&raw).await?;

    show(
        &ctx,
        "UPDATE articles SET pieces = pieces + 10 WHERE pieces < 5",
    )
    .await?;
    show(
        &ctx,
        "DELETE FROM articles WHERE pieces = (SELECT min(pieces) FROM articles)",
    )
    .await?;
    show(
        &ctx,
        "MERGE INTO articles a USING (VALUES ('plum', 4), ('fig', 9)) AS d(name, n) ON a._key = d.name \
         WHEN MATCHED THEN UPDATE SET pieces = a.pieces + d.n \
         WHEN NOT MATCHED THEN INSERT (_key, pieces) VALUES (d.name, d.n)",
    )
    .await?;
    // Properties that the table does not declare keep their values.
    show(&ctx, "SELECT * FROM raw ORDER BY _key").await?;

    // The fewest records that make the topic equal to the query: only `fig` disappears.
    let overwrite = "INSERT OVERWRITE articles SELECT * FROM articles WHERE pieces > 9";
    println!("\n> {overwrite}");
    let plan = datafusion_kafka::sql(&ctx, overwrite)
        .await?
        .create_physical_plan()
        .await?;
    collect(Arc::clone(&plan), ctx.task_ctx()).await?;
    let report = WriteReport::of(&plan).ok_or("no report")?;
    println!("{report:?}");
    assert_eq!(
        (report.upserts, report.tombstones, report.unchanged),
        (0, 1, 2)
    );
    Ok(())
}
