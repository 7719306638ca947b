//! A queue that the messages of several partitions come into.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use crate::ffi::{Owned, millis};
use crate::messages::Messages;
use crate::topic::TopicHandle;

/// Receives the messages of all partitions whose [`PartitionReader`] was started in it.
///
/// One thread can so read many partitions, which are fetched at the same time. The limits of the
/// client on what waits to be taken, `queued.max.messages.kbytes` and `queued.min.messages`, are
/// then limits of the queue, and no longer of each partition: poll it also while only some of the
/// partitions are of interest, since messages that nobody takes keep the other ones from being
/// fetched.
///
/// The messages of one partition come in the order of their offsets.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use rdkafka::ClientConfig;
/// use rdkafka::consumer::BaseConsumer;
/// use rdkafka::mocking::MockCluster;
/// use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
/// use rdkafka_extra::{MessageQueue, Messages, PartitionReader, TopicHandle};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let kafka = MockCluster::new(1)?;
/// kafka.create_topic("orders", 2, 1)?;
/// let mut config = ClientConfig::new();
/// config.set("bootstrap.servers", kafka.bootstrap_servers());
///
/// let producer: BaseProducer = config.create()?;
/// for partition in [0, 1] {
///     let record = BaseRecord::to("orders").partition(partition).key("a").payload("1");
///     producer.send(record).map_err(|(error, _)| error)?;
/// }
/// producer.flush(Duration::from_secs(10))?;
///
/// let consumer: BaseConsumer = config.create()?;
/// let topic = Arc::new(TopicHandle::new(consumer, "orders")?);
/// let queue = Arc::new(MessageQueue::new(Arc::clone(&topic))?);
/// let first = PartitionReader::start_in(&queue, 0, 0)?;
/// let second = PartitionReader::start_in(&queue, 1, 0)?;
/// let mut messages = Messages::new(topic);
/// while messages.len() < 2 {
///     queue.poll(Duration::from_millis(100), 1_000, &mut messages)?;
/// }
/// # drop((first, second));
/// # Ok(()) }
/// ```
///
/// [`PartitionReader`]: crate::PartitionReader
pub struct MessageQueue<C: ConsumerContext> {
    // Fields drop in this order: librdkafka wants its queues destroyed before the client.
    queue: NativeQueue,
    topic: Arc<TopicHandle<C>>,
}

impl<C: ConsumerContext> MessageQueue<C> {
    /// An empty queue for partitions of this topic.
    ///
    /// # Errors
    /// [`RDKafkaErrorCode::CriticalSystemResource`] where librdkafka makes no queue.
    pub fn new(topic: Arc<TopicHandle<C>>) -> Result<Self, RDKafkaErrorCode> {
        // SAFETY: the client is alive. The queue is new, and destroyed by `Owned` alone.
        let queue = unsafe {
            let queue = sys::rd_kafka_queue_new(topic.consumer().client().native_ptr());
            Owned::new(queue, sys::rd_kafka_queue_destroy)
        };
        Ok(MessageQueue {
            queue: NativeQueue(queue.ok_or(RDKafkaErrorCode::CriticalSystemResource)?),
            topic,
        })
    }

    /// Appends up to `max` messages of any of the partitions to `messages`.
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
        if !messages.belongs_to(&self.topic) {
            return Err(RDKafkaErrorCode::InvalidArgument);
        }
        if max == 0 {
            return Ok(());
        }
        // SAFETY: the queue is alive. The message is given to `push` and nowhere else.
        let first = unsafe {
            let first = sys::rd_kafka_consume_queue(self.as_ptr(), millis(timeout));
            messages.push(first)
        };
        if !first {
            return Ok(());
        }
        // SAFETY: librdkafka fills as many places as it returns, never with null, and never
        // more than it was given; -1 is a failure, of which nothing was filled.
        unsafe {
            messages.extend_with(max - 1, |places, count| {
                let filled = sys::rd_kafka_consume_batch_queue(self.as_ptr(), 0, places, count);
                usize::try_from(filled).unwrap_or(0)
            });
        }
        Ok(())
    }

    /// The topic whose partitions are read.
    pub fn topic(&self) -> &Arc<TopicHandle<C>> {
        &self.topic
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rd_kafka_queue_t {
        self.queue.0.as_ptr()
    }
}

struct NativeQueue(Owned<sys::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues are reference counted and locked: any thread may use and destroy
// them.
unsafe impl Send for NativeQueue {}
// SAFETY: as above; several threads may use one at the same time.
unsafe impl Sync for NativeQueue {}
