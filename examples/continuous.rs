//! Totals per customer that stay up to date: orders joined with customers, kept in a topic while a
//! generator writes to both inputs.

use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::prelude::SessionContext;
use datafusion_kafka::{ContinuousOptions, ContinuousQuery, KafkaConfig, register_kafka};

mod support;
use support::{Kafka, Result, show};

const TOTALS: &str = "\
INSERT INTO customer_totals
SELECT c._key, max(c.name) AS name, count(*) AS orders, sum(o.amount) AS total
FROM orders o JOIN customers c ON o.customer = c._key
GROUP BY c._key";

#[tokio::main]
async fn main() -> Result<()> {
    let kafka = Kafka::start()?;
    let ctx = SessionContext::new();
    let config = KafkaConfig::new().with_option("kafka.bootstrap.servers", kafka.servers());
    register_kafka(&ctx, config)?;
    for (table, columns) in [
        ("orders", "_key VARCHAR, customer VARCHAR, amount DOUBLE"),
        ("customers", "_key VARCHAR, name VARCHAR"),
        (
            "customer_totals",
            "_key VARCHAR, name VARCHAR, orders BIGINT, total DOUBLE",
        ),
    ] {
        let topic = kafka.create_topic(table, 2).await?;
        let create =
            format!("CREATE EXTERNAL TABLE {table} ({columns}) STORED AS KAFKA LOCATION '{topic}'");
        ctx.sql(&create).await?;
    }

    let options = ContinuousOptions::new().with_refresh_interval(Duration::from_millis(100));
    let name = format!("customer-totals-{}", std::process::id());
    let query = ContinuousQuery::start(&ctx, &name, TOTALS, options).await?;
    run(
        &ctx,
        "INSERT INTO customers VALUES ('c1', 'Ada'), ('c2', 'Bob')",
    )
    .await?;
    for n in 0..20 {
        let order = format!("INSERT INTO orders VALUES ('o{n}', 'c{}', {n})", 1 + n % 2);
        run(&ctx, &order).await?;
    }
    run(
        &ctx,
        "UPDATE customers SET name = 'Ada Lovelace' WHERE _key = 'c1'",
    )
    .await?;
    run(&ctx, "DELETE FROM orders WHERE amount < 10").await?;

    let up_to_date = async {
        while orders(&ctx).await? != 10 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Result::<()>::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(30), up_to_date).await??;
    query.stop().await?;
    show(&ctx, "SELECT * FROM customer_totals ORDER BY _key").await?;
    let progress = query.progress();
    println!(
        "{} upserts in {} refreshes, {} records behind",
        progress.upserts,
        progress.refreshes,
        progress.lag()
    );
    Ok(())
}

/// The orders that the totals are computed from.
async fn orders(ctx: &SessionContext) -> Result<i64> {
    let sum = ctx.sql("SELECT sum(orders) FROM customer_totals").await?;
    let batches = sum.collect().await?;
    let sums = batches
        .first()
        .map(|batch| batch.column(0).as_primitive::<Int64Type>());
    Ok(sums.map_or(0, |sums| sums.value(0)))
}

async fn run(ctx: &SessionContext, sql: &str) -> Result<()> {
    ctx.sql(sql).await?.collect().await?;
    Ok(())
}
