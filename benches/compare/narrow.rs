//! The query with this library, as a program of its own.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Decimal128Type, Field, Int64Type, Schema};
use datafusion::prelude::SessionContext;
use datafusion_kafka::KafkaTable;

use crate::support::orders;

const NARROW: &str =
    "SELECT status, count(*), sum(amount) FROM orders GROUP BY status ORDER BY status";

pub fn run(servers: &str, topic: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(print(servers, topic));
}

async fn print(servers: &str, topic: &str) {
    let columns = orders::fields();
    let columns: Vec<Field> = columns.iter().map(|field| field.as_ref().clone()).collect();
    let orders = KafkaTable::builder(topic)
        .with_schema(Schema::new(columns))
        .with_option("kafka.bootstrap.servers", servers)
        .build()
        .await
        .unwrap();
    let ctx = SessionContext::new();
    ctx.register_table("orders", Arc::new(orders)).unwrap();
    let batches = ctx.sql(NARROW).await.unwrap().collect().await.unwrap();
    for batch in &batches {
        let status = batch.column(0).as_string_view();
        let count = batch.column(1).as_primitive::<Int64Type>();
        let sum = batch.column(2).as_primitive::<Decimal128Type>();
        for row in 0..batch.num_rows() {
            let (status, count, sum) = (
                status.value(row),
                count.value(row),
                sum.value_as_string(row),
            );
            println!("{status},{count},{sum}");
        }
    }
}
