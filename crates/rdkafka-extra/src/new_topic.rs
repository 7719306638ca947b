//! Creating a topic, with what the broker says where it refuses.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::ptr;
use std::time::Duration;

use rdkafka::consumer::ConsumerContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use crate::TopicHandle;
use crate::admin::{Owned, no_error, text};

/// Why a broker does not create a topic.
pub struct Refused {
    /// The broker's code.
    pub code: RDKafkaErrorCode,
    /// In the broker's words.
    pub text: Option<String>,
}

impl From<RDKafkaErrorCode> for Refused {
    fn from(code: RDKafkaErrorCode) -> Self {
        Refused { code, text: None }
    }
}

impl<C: ConsumerContext> TopicHandle<C> {
    /// Creates the topic; -1 is the broker's default number of partitions or replicas.
    pub fn create(
        &self,
        partitions: i32,
        replication: i32,
        config: &BTreeMap<String, String>,
        timeout: Duration,
    ) -> Result<(), Refused> {
        // SAFETY: the topic is alive, its name lives as long and is copied. The text of an
        // error is not asked for.
        let new = unsafe {
            let name = sys::rd_kafka_topic_name(self.as_ptr());
            sys::rd_kafka_NewTopic_new(name, partitions, replication, ptr::null_mut(), 0)
        };
        // librdkafka refuses numbers that no broker could take.
        let Ok(new) = Owned::new(new, sys::rd_kafka_NewTopic_destroy) else {
            return Err(RDKafkaErrorCode::InvalidArgument.into());
        };
        for (name, value) in config {
            let (Ok(name), Ok(value)) = (CString::new(name.as_str()), CString::new(value.as_str()))
            else {
                return Err(RDKafkaErrorCode::InvalidConfig.into());
            };
            // SAFETY: the new topic is alive; both are C strings, which are copied.
            no_error(unsafe {
                sys::rd_kafka_NewTopic_set_config(new.as_ptr(), name.as_ptr(), value.as_ptr())
            })?;
        }
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let create = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS;
        let event = self.request(create, timeout, |client, options, queue| {
            // SAFETY: all are alive; the list of one new topic is copied.
            unsafe {
                let text = ptr::null_mut();
                sys::rd_kafka_AdminOptions_set_operation_timeout(options, millis, text, 0);
                sys::rd_kafka_CreateTopics(client, &mut new.as_ptr(), 1, options, queue);
            }
        })?;
        let mut count = 0;
        // SAFETY: the event is alive and the answer to the only request that has this
        // queue: a list of `count` results, which live as long as the event.
        unsafe {
            let result = sys::rd_kafka_event_CreateTopics_result(event.as_ptr());
            if result.is_null() {
                return Err(RDKafkaErrorCode::BadMessage.into());
            }
            let topics = sys::rd_kafka_CreateTopics_result_topics(result, &mut count);
            if topics.is_null() || count == 0 || (*topics).is_null() {
                return Err(RDKafkaErrorCode::BadMessage.into());
            }
            no_error(sys::rd_kafka_topic_result_error(*topics)).map_err(|code| Refused {
                code,
                text: text(sys::rd_kafka_topic_result_error_string(*topics)),
            })
        }
    }
}
