//! The id of a topic, which another topic of the same name does not have, and the leaders of its
//! partitions.

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fmt, ptr};

use rdkafka::consumer::ConsumerContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use crate::ffi::{Owned, check};
use crate::request::request;
use crate::topic::TopicHandle;

/// The id that Kafka gives each topic when it creates it.
///
/// A topic that was deleted and created again has the same name and another id.
///
/// ```
/// use rdkafka_extra::TopicId;
///
/// let id = TopicId::parse("00000000000000070000000000000009").unwrap();
/// assert_eq!(id.to_string(), "00000000000000070000000000000009");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicId(i64, i64);

impl TopicId {
    /// Reads an id from 32 hexadecimal digits, the format of its [`Display`](fmt::Display).
    /// `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let bits = u128::from_str_radix(text, 16).ok()?;
        let [high, low] = [bits >> 64, bits].map(|bits| bits as u64 as i64);
        Some(TopicId(high, low))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}

/// A topic as a broker describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicDescription {
    /// `None` where the topic has none, as before Kafka 2.8.
    pub id: Option<TopicId>,
    /// The id of the broker that leads each partition; -1 where the partition has no leader.
    pub leaders: BTreeMap<i32, i32>,
}

impl<C: ConsumerContext> TopicHandle<C> {
    /// Asks a broker to describe the topic. What librdkafka knows about the topic stays as it is.
    ///
    /// Blocks up to `timeout`, and cannot be cancelled.
    ///
    /// # Errors
    /// [`RDKafkaErrorCode::OperationTimedOut`] when no answer came, otherwise the broker's
    /// code, such as [`RDKafkaErrorCode::UnknownTopicOrPartition`] or
    /// [`RDKafkaErrorCode::TopicAuthorizationFailed`].
    pub fn describe(
        &self,
        broker: i32,
        timeout: Duration,
    ) -> Result<TopicDescription, RDKafkaErrorCode> {
        // SAFETY: the topic is alive, and its name lives as long. The one name is copied. The
        // list is new, and destroyed by `Owned` alone.
        let topics = unsafe {
            let mut name = sys::rd_kafka_topic_name(self.as_ptr());
            let topics = sys::rd_kafka_TopicCollection_of_topic_names(&mut name, 1);
            Owned::new(topics, sys::rd_kafka_TopicCollection_destroy)
        };
        let topics = topics.ok_or(RDKafkaErrorCode::InvalidArgument)?;
        let describe = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let event = request(
            self.consumer(),
            describe,
            timeout,
            |client, options, queue| {
                // SAFETY: all are alive; what librdkafka keeps is copied or counted. No buffer
                // for an error text is given.
                unsafe {
                    sys::rd_kafka_AdminOptions_set_broker(options, broker, ptr::null_mut(), 0);
                    sys::rd_kafka_DescribeTopics(client, topics.as_ptr(), options, queue);
                }
            },
        )?;
        let nothing = RDKafkaErrorCode::BadMessage;
        let mut count = 0;
        // SAFETY: the event is alive. Its result is null or a list of `count` descriptions,
        // which live as long. A null error has the code of no error.
        let topic = unsafe {
            let result = sys::rd_kafka_event_DescribeTopics_result(event.as_ptr());
            if result.is_null() {
                return Err(nothing);
            }
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            if topics.is_null() || count == 0 || (*topics).is_null() {
                return Err(nothing);
            }
            *topics
        };
        // SAFETY: the event, and so the description, is alive.
        unsafe {
            let error = sys::rd_kafka_TopicDescription_error(topic);
            check(sys::rd_kafka_error_code(error))?;
            Ok(TopicDescription {
                id: id(topic),
                leaders: leaders(topic),
            })
        }
    }
}

/// # Safety
/// The description is alive.
unsafe fn id(topic: *const sys::rd_kafka_TopicDescription_t) -> Option<TopicId> {
    // SAFETY: promised by the caller. The id is never null.
    let id = unsafe {
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        TopicId(
            sys::rd_kafka_Uuid_most_significant_bits(id),
            sys::rd_kafka_Uuid_least_significant_bits(id),
        )
    };
    (id != TopicId(0, 0)).then_some(id)
}

/// # Safety
/// The description is alive.
unsafe fn leaders(topic: *const sys::rd_kafka_TopicDescription_t) -> BTreeMap<i32, i32> {
    let mut count = 0;
    // SAFETY: promised by the caller. The list has `count` partitions, which live as long, and
    // is null only if the count is 0. The leader is null where a partition has no leader.
    unsafe {
        let partitions = sys::rd_kafka_TopicDescription_partitions(topic, &mut count);
        let partition = |nth| {
            let partition = *partitions.add(nth);
            let leader = sys::rd_kafka_TopicPartitionInfo_leader(partition);
            let leader = match leader.is_null() {
                true => -1,
                false => sys::rd_kafka_Node_id(leader),
            };
            (
                sys::rd_kafka_TopicPartitionInfo_partition(partition),
                leader,
            )
        };
        (0..count).map(partition).collect()
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
        let signed = format!("+{}", "0".repeat(31));
        for text in ["", "12", "zz", &"0".repeat(33), &signed] {
            assert_eq!(TopicId::parse(text), None, "{text}");
        }
    }
}
