//! Reading a partition in batches.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::ConsumerContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use crate::ffi::check;
use crate::message_queue::MessageQueue;
use crate::messages::Messages;
use crate::topic::{Claim, TopicHandle};

/// A partition that is being fetched.
///
/// librdkafka fetches ahead on its own threads, as far as `queued.max.messages.kbytes` and
/// `queued.min.messages` allow; [`poll`](Self::poll) takes what has come. No consumer group is
/// joined and no offset is committed.
///
/// Dropping it stops fetching and throws away what was fetched and not taken. The drop waits
/// for librdkafka's own thread, not for the network.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use rdkafka::ClientConfig;
/// use rdkafka::consumer::BaseConsumer;
/// use rdkafka::mocking::MockCluster;
/// use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
/// use rdkafka_extra::{Messages, PartitionReader, Record, TopicHandle};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let kafka = MockCluster::new(1)?;
/// kafka.create_topic("orders", 1, 1)?;
/// let mut config = ClientConfig::new();
/// config.set("bootstrap.servers", kafka.bootstrap_servers());
///
/// let producer: BaseProducer = config.create()?;
/// let record = BaseRecord::to("orders").key("order-1").payload("open");
/// producer.send(record).map_err(|(error, _)| error)?;
/// producer.flush(Duration::from_secs(10))?;
///
/// let consumer: BaseConsumer = config.create()?;
/// let topic = Arc::new(TopicHandle::new(consumer, "orders")?);
/// let reader = PartitionReader::start(Arc::clone(&topic), 0, 0)?;
/// let mut messages = Messages::new(topic);
/// while messages.is_empty() {
///     reader.poll(Duration::from_millis(100), 1_000, &mut messages)?;
/// }
/// let first = messages.get(0).ok_or("no message")?;
/// assert_eq!(first.key(), Some(&b"order-1"[..]));
/// # Ok(()) }
/// ```
pub struct PartitionReader<C: ConsumerContext> {
    claim: Claim<C>,
    queue: Arc<MessageQueue<C>>,
}

impl<C: ConsumerContext> PartitionReader<C> {
    /// Starts to fetch at `offset`, or at librdkafka's logical offsets -2 (the beginning) and
    /// -1 (the end). Does not wait for brokers: an offset that is out of range becomes a
    /// [`Message`](crate::Message) with an error later.
    ///
    /// # Errors
    /// [`RDKafkaErrorCode::Conflict`] while another reader of the partition is alive,
    /// [`RDKafkaErrorCode::UnknownPartition`] for a negative partition,
    /// [`RDKafkaErrorCode::InvalidArgument`] for any other negative offset, or when the client
    /// is subscribed to topics.
    pub fn start(
        topic: Arc<TopicHandle<C>>,
        partition: i32,
        offset: i64,
    ) -> Result<Self, RDKafkaErrorCode> {
        let queue = Arc::new(MessageQueue::new(topic)?);
        PartitionReader::start_in(&queue, partition, offset)
    }

    /// As [`start`](Self::start), for a partition whose messages come into a queue that it shares
    /// with others. [`poll`](Self::poll) then takes messages of any of these partitions.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_in(
        queue: &Arc<MessageQueue<C>>,
        partition: i32,
        offset: i64,
    ) -> Result<Self, RDKafkaErrorCode> {
        let topic = Arc::clone(queue.topic());
        let claim = Claim::new(topic, partition).ok_or(RDKafkaErrorCode::Conflict)?;
        // SAFETY: topic and queue are alive, and of one client. librdkafka checks partition and
        // offset, and keeps the queue as long as it needs it.
        let started = unsafe {
            let topic = claim.topic().as_ptr();
            sys::rd_kafka_consume_start_queue(topic, partition, offset, queue.as_ptr())
        };
        if started != 0 {
            // SAFETY: reads librdkafka's thread-local error code.
            return Err(unsafe { sys::rd_kafka_last_error() }.into());
        }
        Ok(PartitionReader {
            claim,
            queue: Arc::clone(queue),
        })
    }

    /// Continues at `offset`. What was fetched and not taken is thrown away. Does not block.
    ///
    /// # Errors
    /// The code with which librdkafka refuses.
    pub fn seek(&self, offset: i64) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: the topic is alive. A timeout of 0 only queues the request.
        check(unsafe { sys::rd_kafka_seek(self.topic(), self.claim.partition(), offset, 0) })
    }

    /// Appends up to `max` messages to `messages`, oldest first.
    ///
    /// Blocks up to `timeout` for the first message and not at all for the others. Nothing ends
    /// the wait early: a caller that may be cancelled polls repeatedly with a short timeout.
    /// A timeout without a message is not an error.
    ///
    /// # Errors
    /// [`RDKafkaErrorCode::InvalidArgument`] when `messages` belongs to another handle.
    pub fn poll(
        &self,
        timeout: Duration,
        max: usize,
        messages: &mut Messages<C>,
    ) -> Result<(), RDKafkaErrorCode> {
        self.queue.poll(timeout, max, messages)
    }

    fn topic(&self) -> *mut sys::rd_kafka_topic_t {
        self.claim.topic().as_ptr()
    }
}

impl<C: ConsumerContext> Drop for PartitionReader<C> {
    fn drop(&mut self) {
        // SAFETY: the topic is alive and this partition was started. The claim is given up
        // only after this.
        unsafe { sys::rd_kafka_consume_stop(self.topic(), self.claim.partition()) };
    }
}
