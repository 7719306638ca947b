//! The sessions and queries that are measured, and the readers of their output.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::Schema;
use datafusion::prelude::SessionContext;
use datafusion_kafka::{
    ContinuousOptions, ContinuousQuery, KafkaConfig, KafkaTable, QueryProgress, register_kafka,
};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::orders;
use kafka_test_broker::topic_name;

/// The number of partitions of every topic.
pub const PARTITIONS: i32 = 4;

/// A session with these tables of orders.
pub async fn session(servers: &str, tables: &[(&str, &str, &str)]) -> SessionContext {
    let ctx = SessionContext::new();
    register_kafka(&ctx, KafkaConfig::new()).unwrap();
    for (name, topic, delivery) in tables {
        let table = KafkaTable::builder(*topic)
            .with_schema(Schema::new(orders::fields()))
            .with_option("kafka.bootstrap.servers", servers)
            .with_option("kafka.delivery", *delivery)
            .build()
            .await
            .unwrap();
        ctx.register_table(*name, Arc::new(table)).unwrap();
    }
    ctx
}

pub async fn start(ctx: &SessionContext, sql: &str) -> ContinuousQuery {
    let name = topic_name("bench");
    let options = ContinuousOptions::new().with_refresh_interval(Duration::from_millis(20));
    ContinuousQuery::start(ctx, &name, sql, options)
        .await
        .unwrap()
}

pub async fn until(query: &ContinuousQuery, mut holds: impl FnMut(&QueryProgress) -> bool) {
    while !holds(&query.progress()) {
        if let datafusion_kafka::QueryStatus::Failed(error) = query.status() {
            panic!("{error}");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Reads the committed records of a topic from its beginning.
pub fn consumer(servers: &str, topic: &str, partitions: i32) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "false")
        .set("fetch.queue.backoff.ms", "0")
        .set("fetch.wait.max.ms", "10")
        .set("queued.max.messages.kbytes", "16384")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&list).unwrap();
    consumer
}
