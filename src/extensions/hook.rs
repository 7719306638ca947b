//! [`WriteHook`]: user code that sees records before they are sent.

use std::fmt;

use async_trait::async_trait;
use datafusion::error::Result as DataFusionResult;

/// Inspects, changes, drops or adds the records of a statement before they are sent.
///
/// A hook is given to [`KafkaTableBuilder::with_hook`](crate::KafkaTableBuilder::with_hook) or to
/// the settings of a sink pattern. It sees the encoded records of all kinds of statements, batch
/// by batch and in order, also with `kafka.dry_run`. The count that a statement returns is the
/// number of its rows, no matter what a hook changes. The [`WriteReport`](crate::WriteReport)
/// counts the records that were sent.
///
/// `MERGE` and `INSERT OVERWRITE` check that no key is written twice before the hook sees the
/// records. A hook that changes keys must do that check itself.
///
/// # Example
/// Adds a header with the writer to every record, and drops the records of one key:
/// ```
/// use std::sync::Arc;
/// use async_trait::async_trait;
/// # use arrow::datatypes::{DataType, Field, Schema};
/// # use datafusion::prelude::SessionContext;
/// use datafusion_kafka::{KafkaTable, OutgoingRecord, WriteHook};
/// # use datafusion_kafka::EmbeddedKafka;
///
/// #[derive(Debug)]
/// struct Signed;
///
/// #[async_trait]
/// impl WriteHook for Signed {
///     async fn before_send(
///         &self,
///         _topic: &str,
///         mut records: Vec<OutgoingRecord>,
///     ) -> datafusion::error::Result<Vec<OutgoingRecord>> {
///         records.retain(|record| record.key.as_deref() != Some(b"secret".as_slice()));
///         for record in &mut records {
///             record.headers.push(("writer".to_owned(), Some(b"reports".to_vec())));
///         }
///         Ok(records)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let kafka = EmbeddedKafka::start()?;
/// # kafka.create_topic("orders", 1)?;
/// # let servers = kafka.bootstrap_servers();
/// let orders = KafkaTable::builder("orders")
///     .with_schema(Schema::new(vec![Field::new("amount", DataType::Int64, true)]))
///     .with_option("kafka.bootstrap.servers", servers)
///     .with_hook(Arc::new(Signed))
///     .build()
///     .await?;
/// # let ctx = SessionContext::new();
/// # ctx.register_table("orders", Arc::new(orders))?;
/// # ctx.sql("INSERT INTO orders VALUES ('a', 1), ('secret', 2)").await?.collect().await?;
/// # assert_eq!(ctx.sql("SELECT * FROM orders").await?.count().await?, 1);
/// # Ok(()) }
/// ```
#[async_trait]
pub trait WriteHook: fmt::Debug + Send + Sync {
    /// Returns the records to send instead of these, in the order in which they are to be sent.
    ///
    /// # Errors
    /// Any error fails the statement, like a record that is refused.
    ///
    /// # Cancellation
    /// The future is dropped when the statement is cancelled.
    async fn before_send(
        &self,
        topic: &str,
        records: Vec<OutgoingRecord>,
    ) -> DataFusionResult<Vec<OutgoingRecord>>;
}

/// A record that is about to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutgoingRecord {
    /// The key; `None` is a record without one, as in append mode.
    pub key: Option<Vec<u8>>,
    /// The payload; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// The Kafka partition; `None` leaves it to the partitioner.
    pub partition: Option<i32>,
    /// Milliseconds since 1970; `None` is the time of sending.
    pub timestamp: Option<i64>,
    /// The headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl OutgoingRecord {
    /// A record for the partition that the partitioner chooses, without headers. Without a
    /// payload it is a tombstone.
    pub fn new(key: Option<Vec<u8>>, payload: Option<Vec<u8>>) -> Self {
        OutgoingRecord {
            key,
            payload,
            ..OutgoingRecord::default()
        }
    }
}
