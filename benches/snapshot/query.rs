//! One run: a query, or a bare consume of the topic.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
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
    query_within(topic, sql, None)
}

/// Runs a query in a memory pool of this many megabytes.
pub fn query_within(topic: &Topic, sql: &str, pool: Option<usize>) -> Figures {
    let shape = topic.content.shape.name();
    let pool = pool.map_or("unbounded".to_owned(), |pool| pool.to_string());
    fresh(&[
        "run",
        "query",
        topic.servers(),
        &topic.name,
        shape,
        &pool,
        sql,
    ])
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
        ["query", servers, topic, shape, pool, sql] => {
            let shape = Shape::named(shape).unwrap();
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let ctx = session(pool.parse().ok());
            report(|| runtime.block_on(rows(&ctx, servers, topic, shape, sql)));
        }
        _ => panic!("no such run: {words:?}"),
    }
}

pub fn session(pool: Option<usize>) -> SessionContext {
    let runtime = RuntimeEnvBuilder::new();
    let runtime = match pool {
        Some(megabytes) => runtime.with_memory_limit(megabytes << 20, 1.0),
        None => runtime,
    };
    let runtime = runtime.build_arc().unwrap();
    let ctx = SessionContext::new_with_config_rt(SessionConfig::new(), runtime);
    register_kafka(&ctx, KafkaConfig::new()).unwrap();
    ctx
}

async fn rows(ctx: &SessionContext, servers: &str, topic: &str, shape: Shape, sql: &str) -> usize {
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
        .with_option("kafka.value.envelope", shape.envelope())
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
