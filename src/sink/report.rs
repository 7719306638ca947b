//! [`WriteReport`]: what a statement did to a topic.

use std::collections::BTreeMap;

use crate::options::Bound;

/// What a statement wrote to a topic.
///
/// [`WriteReport::of`] returns the report of a plan's last run.
///
/// ```
/// # use std::sync::Arc;
/// # use arrow::datatypes::{DataType, Field, Schema};
/// # use datafusion::prelude::*;
/// # use datafusion_kafka::{EmbeddedKafka, KafkaTable};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let kafka = EmbeddedKafka::start()?;
/// # kafka.create_topic("orders", 1)?;
/// # let servers = kafka.bootstrap_servers();
/// # let orders = KafkaTable::builder("orders")
/// #     .with_schema(Schema::new(vec![Field::new("amount", DataType::Int64, true)]))
/// #     .with_option("kafka.bootstrap.servers", servers);
/// # let ctx = SessionContext::new();
/// # ctx.register_table("orders", Arc::new(orders.build().await?))?;
/// use datafusion_kafka::WriteReport;
///
/// let insert = ctx.sql("INSERT INTO orders VALUES ('a', 1), ('b', 2)").await?;
/// let plan = insert.create_physical_plan().await?;
/// datafusion::physical_plan::collect(Arc::clone(&plan), ctx.task_ctx()).await?;
/// let report = WriteReport::of(&plan).unwrap();
/// assert_eq!((report.upserts, report.tombstones), (2, 0));
/// // `kafka.wait_for` with this makes a later query see what was written.
/// assert_eq!(report.end_offsets().to_string(), r#"offsets:{"0":2}"#);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteReport {
    /// Rows that changed the topic. Their number is that of upserts and tombstones together,
    /// unless a hook dropped or added records.
    pub rows: u64,
    /// Records with a payload that were sent.
    pub upserts: u64,
    /// Tombstones that were sent.
    pub tombstones: u64,
    /// Rows for which nothing was sent, because the topic already held them.
    pub unchanged: u64,
    /// Records that went to `kafka.dead_letter.topic`, because they did not fit their table or the
    /// brokers refused them.
    pub dead_letters: u64,
    /// The bytes of the sent keys and payloads, before compression.
    pub bytes: u64,
    /// The offsets of the records, by Kafka partition. Empty for a dry run.
    pub partitions: BTreeMap<i32, WrittenOffsets>,
}

/// The offsets of the records that a statement wrote to one Kafka partition. Records of
/// other writers may lie between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrittenOffsets {
    /// The offset of the first record.
    pub first: i64,
    /// The offset of the last record.
    pub last: i64,
}

impl WriteReport {
    /// The offset after the last record of each partition, as a value of `kafka.wait_for`.
    /// Always [`Bound::Offsets`].
    pub fn end_offsets(&self) -> Bound {
        let partitions = self.partitions.iter();
        Bound::Offsets(
            partitions
                .map(|(p, written)| (*p, written.last + 1))
                .collect(),
        )
    }
}
