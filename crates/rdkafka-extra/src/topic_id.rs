//! The id of a topic, which another topic of the same name does not have.

use std::time::Duration;
use std::{fmt, ptr};

use rdkafka::consumer::ConsumerContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use crate::TopicHandle;
use crate::admin::{Owned, no_error};

/// What Kafka gives each topic it creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicId(i64, i64);

impl TopicId {
    /// The id that a text of 32 hexadecimal digits stands for, which is how ids show.
    pub fn parse(text: &str) -> Option<Self> {
        let bits = u128::from_str_radix(text, 16).ok()?;
        let [high, low] = [bits >> 64, bits].map(|bits| bits as u64 as i64);
        (text.len() == 32).then_some(TopicId(high, low))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}

impl<C: ConsumerContext> TopicHandle<C> {
    /// Asks a broker for the topic's id; `None` where it gives none, as those
    /// before Kafka 2.8.
    pub fn id(&self, broker: i32, timeout: Duration) -> Result<Option<TopicId>, RDKafkaErrorCode> {
        // SAFETY: the topic is alive; its name lives as long.
        let mut name = unsafe { sys::rd_kafka_topic_name(self.as_ptr()) };
        // SAFETY: one name, which is copied.
        let topics = unsafe { sys::rd_kafka_TopicCollection_of_topic_names(&mut name, 1) };
        let topics = Owned::new(topics, sys::rd_kafka_TopicCollection_destroy)?;
        let describe = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let event = self.request(describe, timeout, |client, options, queue| {
            // SAFETY: all are alive; what is kept of them is copied or counted. The text
            // of an error is not asked for.
            unsafe {
                sys::rd_kafka_AdminOptions_set_broker(options, broker, ptr::null_mut(), 0);
                sys::rd_kafka_DescribeTopics(client, topics.as_ptr(), options, queue);
            }
        })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_shown() {
        for id in [TopicId(1, -2), TopicId(i64::MIN, 3), TopicId(-1, i64::MAX)] {
            assert_eq!(TopicId::parse(&id.to_string()), Some(id));
        }
        for text in ["", "12", "zz", &"0".repeat(33)] {
            assert_eq!(TopicId::parse(text), None, "{text}");
        }
    }
}
