//! [`EmbeddedKafka`]: a Kafka broker inside the process, for demos, examples and doc tests.

use std::fmt;

use rdkafka::mocking::MockCluster;

use crate::error::{Error, ErrorCode, Result};

/// A small Kafka broker that runs in this process and listens on a loopback port.
///
/// The broker speaks Kafka's protocol, so every client can use it, and needs no installation. It
/// keeps all records in memory, at most 5 MiB per partition; the oldest records are dropped
/// first. It has no compaction, no transactions, no administration and no look-up by timestamp. A
/// query for records from some `_timestamp` on therefore finds none. Use it for demos, not to
/// test the behaviour of a real broker.
///
/// The broker stops when it is dropped.
///
/// ```
/// # fn main() -> datafusion_kafka::error::Result<()> {
/// let kafka = datafusion_kafka::EmbeddedKafka::start()?;
/// kafka.create_topic("orders", 3)?;
/// assert!(kafka.bootstrap_servers().starts_with("127.0.0.1:"));
/// # Ok(()) }
/// ```
pub struct EmbeddedKafka {
    cluster: MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
}

impl EmbeddedKafka {
    /// Starts a broker on a free port.
    ///
    /// # Errors
    /// [`Error::CreateClient`] when librdkafka cannot start the broker.
    pub fn start() -> Result<Self> {
        MockCluster::new(1)
            .map(|cluster| EmbeddedKafka { cluster })
            .map_err(|error| Error::CreateClient {
                reason: error.to_string(),
            })
    }

    /// The value for `kafka.bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Creates a topic. Topics cannot be created in any other way, not even with
    /// `kafka.create_topic`.
    ///
    /// # Errors
    /// [`Error::CreateTopic`], for instance when the topic exists.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        self.cluster
            .create_topic(topic, partitions, 1)
            .map_err(|error| Error::CreateTopic {
                topic: topic.to_owned(),
                code: error.rdkafka_error_code().and_then(ErrorCode::of),
                reason: error.to_string(),
            })
    }
}

impl fmt::Debug for EmbeddedKafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedKafka")
            .field("bootstrap_servers", &self.bootstrap_servers())
            .finish()
    }
}
