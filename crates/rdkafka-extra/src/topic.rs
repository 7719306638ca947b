//! A topic of one client.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

/// A topic, and the client that knows it: partitions are read from it, and brokers are asked
/// about it.
///
/// The handle owns its client, so that a client has one handle and a partition one reader.
/// `C` is the client's context, [`DefaultConsumerContext`] for most.
///
/// Share it in an [`Arc`]: readers and messages keep it alive. The last owner destroys the
/// client, which waits for librdkafka's threads; that thread must not be one of an async
/// runtime's workers.
///
/// [`DefaultConsumerContext`]: rdkafka::consumer::DefaultConsumerContext
///
/// ```
/// use rdkafka::ClientConfig;
/// use rdkafka::consumer::BaseConsumer;
/// use rdkafka_extra::TopicHandle;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let consumer: BaseConsumer = ClientConfig::new()
///     .set("bootstrap.servers", "localhost:9092")
///     .create()?;
/// // No broker is asked yet.
/// let topic = TopicHandle::new(consumer, "orders")?;
/// # drop(topic);
/// # Ok(()) }
/// ```
pub struct TopicHandle<C: ConsumerContext> {
    // Fields drop in this order: librdkafka wants its topics destroyed before the client.
    topic: NativeTopic,
    consumer: BaseConsumer<C>,
    /// The partitions that have a reader.
    read: Mutex<BTreeSet<i32>>,
}

impl<C: ConsumerContext> TopicHandle<C> {
    /// Makes the handle of a topic, and takes the client. Does not connect and does not
    /// block; a topic that does not exist is an error only when brokers are asked.
    ///
    /// # Errors
    /// [`RDKafkaErrorCode::InvalidTopic`] for a name with a zero byte, otherwise the code with
    /// which librdkafka refuses the name. The client is destroyed then.
    pub fn new(consumer: BaseConsumer<C>, topic: &str) -> Result<Self, RDKafkaErrorCode> {
        let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        // SAFETY: the client is alive. The name is a C string, which is copied. A null
        // configuration means the client's defaults.
        let topic = unsafe {
            let client = consumer.client().native_ptr();
            sys::rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut())
        };
        let Some(topic) = NonNull::new(topic) else {
            // SAFETY: reads librdkafka's thread-local error code.
            return Err(unsafe { sys::rd_kafka_last_error() }.into());
        };
        Ok(TopicHandle {
            topic: NativeTopic(topic),
            consumer,
            read: Mutex::default(),
        })
    }

    /// The client, for what rdkafka has calls for: metadata, watermarks, events.
    ///
    /// Do not subscribe or assign it. librdkafka refuses readers of a client that is
    /// subscribed.
    pub fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rd_kafka_topic_t {
        self.topic.0.as_ptr()
    }
}

struct NativeTopic(NonNull<sys::rd_kafka_topic_t>);

// SAFETY: librdkafka's topic objects are reference counted and locked: any thread may use and
// destroy them.
unsafe impl Send for NativeTopic {}
// SAFETY: as above; several threads may use one at the same time.
unsafe impl Sync for NativeTopic {}

impl Drop for NativeTopic {
    fn drop(&mut self) {
        // SAFETY: the pointer came from rd_kafka_topic_new and is destroyed once.
        unsafe { sys::rd_kafka_topic_destroy(self.0.as_ptr()) }
    }
}

/// The right to read a partition, which one reader at a time has.
///
/// librdkafka itself lets a second reader start: both then get a part of the records, and the
/// first one that stops ends the other one, too.
pub(crate) struct Claim<C: ConsumerContext> {
    topic: Arc<TopicHandle<C>>,
    partition: i32,
}

impl<C: ConsumerContext> Claim<C> {
    /// `None` while another claim is alive.
    pub(crate) fn new(topic: Arc<TopicHandle<C>>, partition: i32) -> Option<Self> {
        let mut read = topic.read.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = read.insert(partition);
        drop(read);
        is_first.then_some(Claim { topic, partition })
    }

    pub(crate) fn topic(&self) -> &Arc<TopicHandle<C>> {
        &self.topic
    }

    pub(crate) fn partition(&self) -> i32 {
        self.partition
    }
}

impl<C: ConsumerContext> Drop for Claim<C> {
    fn drop(&mut self) {
        let read = self.topic.read.lock();
        read.unwrap_or_else(PoisonError::into_inner)
            .remove(&self.partition);
    }
}
