//! Shared by the behaviour tests: a session on the broker, and its answers as text.

use std::future::Future;

use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_kafka::{KafkaConfig, KafkaTopics, register_kafka};

use crate::broker::{Broker, PATIENCE};

/// A session in which every topic of the broker that matches a pattern is a table.
pub fn session(broker: &Broker, topics: KafkaTopics) -> SessionContext {
    let config = SessionConfig::new().with_information_schema(true);
    let ctx = SessionContext::new_with_config(config);
    let config = KafkaConfig::new()
        .with_option("kafka.bootstrap.servers", &broker.servers)
        .with_topics(topics);
    register_kafka(&ctx, config).unwrap();
    ctx
}

/// The rows of a statement.
pub async fn rows(ctx: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    match try_rows(ctx, sql).await {
        Ok(rows) => rows,
        Err(error) => panic!("{sql}: {error}"),
    }
}

pub async fn try_rows(
    ctx: &SessionContext,
    sql: &str,
) -> datafusion::error::Result<Vec<RecordBatch>> {
    within(sql, async {
        datafusion_kafka::sql(ctx, sql).await?.collect().await
    })
    .await
}

/// The count that a statement returns: the number of rows that it wrote.
pub async fn count(ctx: &SessionContext, sql: &str) -> u64 {
    counted(&rows(ctx, sql).await)
}

/// The count in the rows that a statement returns.
pub fn counted(rows: &[RecordBatch]) -> u64 {
    let cells = cells(rows);
    assert_eq!(cells.len(), 1, "{cells:?}");
    cells[0][0].parse().unwrap()
}

/// The result of a future. A future that hangs is a failure.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(result) => result,
        Err(_) => panic!("{what}: no end within {PATIENCE:?}"),
    }
}

/// The rows of a statement as a table of text.
pub async fn table(ctx: &SessionContext, sql: &str) -> String {
    pretty_format_batches(&rows(ctx, sql).await)
        .unwrap()
        .to_string()
}

/// The error message of a statement that fails.
pub async fn error(ctx: &SessionContext, sql: &str) -> String {
    match try_rows(ctx, sql).await {
        Ok(rows) => panic!("{sql} gave {} batches and no error", rows.len()),
        Err(error) => error.to_string(),
    }
}

/// Rows of text columns, cell by cell.
pub fn cells(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            rows.push(
                columns
                    .iter()
                    .map(|column| column.value(row).to_string())
                    .collect(),
            );
        }
    }
    rows
}
