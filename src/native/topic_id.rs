//! The id of a topic, which another topic of the same name does not have.

use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use super::TopicHandle;

/// What Kafka gives each topic it creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicId(i64, i64);

impl<C: ConsumerContext> TopicHandle<C> {
    /// Asks a broker for the topic's id; `None` where it gives none, as those
    /// before Kafka 2.8.
    pub(crate) fn id(
        &self,
        broker: i32,
        timeout: Duration,
    ) -> Result<Option<TopicId>, RDKafkaErrorCode> {
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let client = self.consumer.client().native_ptr();
        // SAFETY: the client is alive.
        let queue = unsafe { sys::rd_kafka_queue_new(client) };
        let queue = Owned::new(queue, sys::rd_kafka_queue_destroy)?;
        // SAFETY: the topic is alive; its name lives as long.
        let mut name = unsafe { sys::rd_kafka_topic_name(self.as_ptr()) };
        // SAFETY: one name, which is copied.
        let topics = unsafe { sys::rd_kafka_TopicCollection_of_topic_names(&mut name, 1) };
        let topics = Owned::new(topics, sys::rd_kafka_TopicCollection_destroy)?;
        let describe = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        // SAFETY: the client is alive.
        let options = unsafe { sys::rd_kafka_AdminOptions_new(client, describe) };
        let options = Owned::new(options, sys::rd_kafka_AdminOptions_destroy)?;
        // SAFETY: the options, the topics and the queue are alive; what is kept
        // of them is copied or counted. Texts of errors are not asked for.
        let event = unsafe {
            let text = ptr::null_mut();
            sys::rd_kafka_AdminOptions_set_request_timeout(options.as_ptr(), millis, text, 0);
            sys::rd_kafka_AdminOptions_set_broker(options.as_ptr(), broker, text, 0);
            sys::rd_kafka_DescribeTopics(client, topics.as_ptr(), options.as_ptr(), queue.as_ptr());
            sys::rd_kafka_queue_poll(queue.as_ptr(), millis)
        };
        let event = Owned::new(event, sys::rd_kafka_event_destroy)?;
        // SAFETY: the event is alive.
        no_error(unsafe { sys::rd_kafka_event_error(event.as_ptr()) })?;
        let mut count = 0;
        // SAFETY: the event is alive and the answer to the only request that has this
        // queue: a list of `count` descriptions, which live as long as the event. That
        // of no error is none.
        unsafe {
            let result = sys::rd_kafka_event_DescribeTopics_result(event.as_ptr());
            if result.is_null() {
                return Ok(None);
            }
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            if topics.is_null() || count == 0 || (*topics).is_null() {
                return Ok(None);
            }
            let topic = *topics;
            let error = sys::rd_kafka_TopicDescription_error(topic);
            no_error(sys::rd_kafka_error_code(error))?;
            let id = sys::rd_kafka_TopicDescription_topic_id(topic);
            let id = TopicId(
                sys::rd_kafka_Uuid_most_significant_bits(id),
                sys::rd_kafka_Uuid_least_significant_bits(id),
            );
            Ok((id != TopicId(0, 0)).then_some(id))
        }
    }
}

fn no_error(code: sys::rd_kafka_resp_err_t) -> Result<(), RDKafkaErrorCode> {
    match code {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(code.into()),
    }
}

/// Something of librdkafka's that is ours to destroy.
struct Owned<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    /// Nothing came, or could be made, in time.
    fn new(
        pointer: *mut T,
        destroy: unsafe extern "C" fn(*mut T),
    ) -> Result<Self, RDKafkaErrorCode> {
        let pointer = NonNull::new(pointer).ok_or(RDKafkaErrorCode::OperationTimedOut)?;
        Ok(Owned(pointer, destroy))
    }

    fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: given with the pointer, which is destroyed once.
        unsafe { (self.1)(self.0.as_ptr()) }
    }
}
