//! One run: a query, or a bare consume of the topic.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::prelude::SessionContext;
use datafusion_kafka::{KafkaConfig, KafkaTable, register_kafka};
use futures::StreamExt;

use crate::support::bare;
use crate::support::orders::Shape;
use crate::support::process::{Figures, fresh, report};
use crate::support::topic::Topic;

pub const ALL: &str = "SELECT * FROM orders";
pub const GROUPED: &str = "SELECT status, count(*), sum(amount) FROM orders GROUP BY status";
pub const COUNT: &str = "SELECT count(*) FROM orders";
pub const LIMIT: &str = "SELECT * FROM orders LIMIT 10";

/// Runs a query over the topic, as the table `orders`, or as `promised` with `PRIMARY KEY (_key)`.
pub fn query(topic: &Topic, sql: &str) -> Figures {
    let shape = topic.content.shape.name();
    fresh(&["run", "query", topic.servers(), &topic.name, shape, sql])
}

pub fn bare_consume(topic: &Topic) -> Figures {
    let partitions = topic.content.partitions.to_string();
    let records = topic.content.records.to_string();
    fresh(&[
        "run",
        "bare",
        topic.servers(),
        &topic.name,
        &partitions,
        &records,
    ])
}

/// The work of the new process.
pub fn run(words: &[&str]) {
    match words {
        ["bare", servers, topic, partitions, records] => {
            let (partitions, records) = (partitions.parse().unwrap(), records.parse().unwrap());
            report(|| bare::consume(servers, topic, partitions, records));
        }
        ["query", servers, topic, shape, sql] => {
            let shape = Shape::named(shape).unwrap();
            let runtime = tokio::runtime::Runtime::new().unwrap();
            report(|| runtime.block_on(rows(servers, topic, shape, sql)));
        }
        _ => panic!("no such run: {words:?}"),
    }
}

async fn rows(servers: &str, topic: &str, shape: Shape, sql: &str) -> usize {
    let ctx = SessionContext::new();
    register_kafka(&ctx, KafkaConfig::new()).unwrap();
    if sql.contains("promised") {
        let create = format!(
            "CREATE EXTERNAL TABLE promised (_key VARCHAR, order_id BIGINT, PRIMARY KEY (_key)) \
             STORED AS KAFKA LOCATION 'kafka://{servers}/{topic}'"
        );
        ctx.sql(&create).await.unwrap();
    }
    let columns = shape.fields();
    let columns: Vec<Field> = columns.iter().map(|field| field.as_ref().clone()).collect();
    let table = KafkaTable::builder(topic)
        .with_schema(Schema::new(columns))
        .with_option("kafka.bootstrap.servers", servers)
        .build()
        .await
        .unwrap();
    ctx.register_table("orders", Arc::new(table)).unwrap();
    let frame = ctx.sql(sql).await.unwrap();
    let mut batches = frame.execute_stream().await.unwrap();
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        rows += batch.unwrap().num_rows();
    }
    rows
}
