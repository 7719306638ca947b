//! Creating a topic, with the broker's own words when it refuses.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::time::Duration;
use std::{error, fmt, ptr};

use rdkafka::consumer::ConsumerContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use crate::ffi::{Owned, check, millis, text};
use crate::request::request;
use crate::topic::TopicHandle;

/// Why a topic was not created.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreateTopicError {
    /// The broker's code, or librdkafka's when no broker was asked or none answered.
    pub code: RDKafkaErrorCode,
    /// The broker's explanation, such as the setting that it does not accept.
    pub text: Option<String>,
}

impl fmt::Display for CreateTopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{text} ({:?})", self.code),
            None => write!(f, "{}", self.code),
        }
    }
}

impl error::Error for CreateTopicError {}

impl From<RDKafkaErrorCode> for CreateTopicError {
    fn from(code: RDKafkaErrorCode) -> Self {
        CreateTopicError { code, text: None }
    }
}

impl<C: ConsumerContext> TopicHandle<C> {
    /// Creates the topic with this number of partitions and replicas, -1 for the broker's defaults,
    /// and topic settings by name.
    ///
    /// Blocks up to `timeout`, and cannot be cancelled. The controller waits as long for the
    /// topic to exist on all brokers. After a timeout the topic may exist or not: call it again,
    /// and take [`RDKafkaErrorCode::TopicAlreadyExists`] for success.
    ///
    /// # Errors
    /// The broker's code and explanation; [`RDKafkaErrorCode::OperationTimedOut`] when no answer
    /// came; [`RDKafkaErrorCode::InvalidArgument`] for numbers that no broker accepts,
    /// [`RDKafkaErrorCode::InvalidConfig`] for settings with a zero byte.
    pub fn create(
        &self,
        partitions: i32,
        replication: i32,
        config: &BTreeMap<String, String>,
        timeout: Duration,
    ) -> Result<(), CreateTopicError> {
        // SAFETY: the topic is alive. Its name lives as long, and is copied. No buffer for an
        // error text is given. The new topic is destroyed by `Owned` alone.
        let new = unsafe {
            let name = sys::rd_kafka_topic_name(self.as_ptr());
            let new = sys::rd_kafka_NewTopic_new(name, partitions, replication, ptr::null_mut(), 0);
            Owned::new(new, sys::rd_kafka_NewTopic_destroy)
        };
        let new = new.ok_or(RDKafkaErrorCode::InvalidArgument)?;
        for (name, value) in config {
            let (Ok(name), Ok(value)) = (CString::new(name.as_str()), CString::new(value.as_str()))
            else {
                return Err(RDKafkaErrorCode::InvalidConfig.into());
            };
            // SAFETY: the new topic is alive. Both are C strings, which are copied.
            check(unsafe {
                sys::rd_kafka_NewTopic_set_config(new.as_ptr(), name.as_ptr(), value.as_ptr())
            })?;
        }
        let create = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS;
        let event = request(
            self.consumer(),
            create,
            timeout,
            |client, options, queue| {
                // SAFETY: all are alive. The list of one new topic is copied. No buffer for an
                // error text is given.
                unsafe {
                    let (time, text) = (millis(timeout), ptr::null_mut());
                    sys::rd_kafka_AdminOptions_set_operation_timeout(options, time, text, 0);
                    sys::rd_kafka_CreateTopics(client, &mut new.as_ptr(), 1, options, queue);
                }
            },
        )?;
        let mut count = 0;
        // SAFETY: the event is alive. Its result is null or a list of `count` results, which
        // live as long.
        unsafe {
            let result = sys::rd_kafka_event_CreateTopics_result(event.as_ptr());
            if result.is_null() {
                return Err(RDKafkaErrorCode::BadMessage.into());
            }
            let topics = sys::rd_kafka_CreateTopics_result_topics(result, &mut count);
            if topics.is_null() || count == 0 || (*topics).is_null() {
                return Err(RDKafkaErrorCode::BadMessage.into());
            }
            check(sys::rd_kafka_topic_result_error(*topics)).map_err(|code| CreateTopicError {
                code,
                text: text(sys::rd_kafka_topic_result_error_string(*topics)),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_brokers_words_with_its_code() {
        let code = RDKafkaErrorCode::InvalidConfig;
        let words = Some("Unknown topic config name: x".to_owned());
        let refused = CreateTopicError { code, text: words };
        let shown = refused.to_string();
        assert_eq!(shown, "Unknown topic config name: x (InvalidConfig)");
        let silent = CreateTopicError::from(code);
        assert_eq!(silent.to_string(), code.to_string());
    }
}
