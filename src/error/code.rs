//! [`ErrorCode`]: what a broker answers when it refuses a request.

use std::fmt;

use rdkafka::error::RDKafkaErrorCode;

/// The error code of the Kafka protocol with which a broker has refused a request.
///
/// librdkafka refuses some requests in the broker's place and with the same codes: a record that
/// is larger than `kafka.client.message.max.bytes` is `MESSAGE_TOO_LARGE` and is not sent.
///
/// ```
/// # fn main() -> datafusion_kafka::error::Result<()> {
/// let kafka = datafusion_kafka::EmbeddedKafka::start()?;
/// kafka.create_topic("orders", 3)?;
/// let error = kafka.create_topic("orders", 3).unwrap_err();
/// let code = error.code().unwrap();
/// assert_eq!((code.name(), code.number()), ("TOPIC_ALREADY_EXISTS", 36));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(i16);

impl ErrorCode {
    pub(super) const UNKNOWN_TOPIC_OR_PARTITION: ErrorCode = ErrorCode(3);

    /// The code in an answer to librdkafka. `None` for librdkafka's own codes, such as that of a
    /// time-out.
    pub(crate) fn of(code: RDKafkaErrorCode) -> Option<Self> {
        let number = i16::try_from(code as i32).ok()?;
        name_of(number).map(|_| ErrorCode(number))
    }

    /// The number in the protocol, such as 10.
    pub fn number(self) -> i16 {
        self.0
    }

    /// The name in the [protocol's list](https://kafka.apache.org/protocol#protocol_error_codes),
    /// such as `MESSAGE_TOO_LARGE`.
    pub fn name(self) -> &'static str {
        name_of(self.0).unwrap_or_default()
    }
}

/// `None` for a number that is not a code of the protocol.
fn name_of(number: i16) -> Option<&'static str> {
    match number {
        -1 => Some("UNKNOWN_SERVER_ERROR"),
        number => {
            let index = usize::try_from(number).ok()?.checked_sub(1)?;
            NAMES.split(' ').nth(index)
        }
    }
}

/// Name and number, as in `MESSAGE_TOO_LARGE (10)`.
impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

/// The names of the codes from 1 on.
const NAMES: &str = "\
    OFFSET_OUT_OF_RANGE CORRUPT_MESSAGE UNKNOWN_TOPIC_OR_PARTITION INVALID_FETCH_SIZE \
    LEADER_NOT_AVAILABLE NOT_LEADER_OR_FOLLOWER REQUEST_TIMED_OUT BROKER_NOT_AVAILABLE \
    REPLICA_NOT_AVAILABLE MESSAGE_TOO_LARGE STALE_CONTROLLER_EPOCH OFFSET_METADATA_TOO_LARGE \
    NETWORK_EXCEPTION COORDINATOR_LOAD_IN_PROGRESS COORDINATOR_NOT_AVAILABLE NOT_COORDINATOR \
    INVALID_TOPIC_EXCEPTION RECORD_LIST_TOO_LARGE NOT_ENOUGH_REPLICAS \
    NOT_ENOUGH_REPLICAS_AFTER_APPEND INVALID_REQUIRED_ACKS ILLEGAL_GENERATION \
    INCONSISTENT_GROUP_PROTOCOL INVALID_GROUP_ID UNKNOWN_MEMBER_ID INVALID_SESSION_TIMEOUT \
    REBALANCE_IN_PROGRESS INVALID_COMMIT_OFFSET_SIZE TOPIC_AUTHORIZATION_FAILED \
    GROUP_AUTHORIZATION_FAILED CLUSTER_AUTHORIZATION_FAILED INVALID_TIMESTAMP \
    UNSUPPORTED_SASL_MECHANISM ILLEGAL_SASL_STATE UNSUPPORTED_VERSION TOPIC_ALREADY_EXISTS \
    INVALID_PARTITIONS INVALID_REPLICATION_FACTOR INVALID_REPLICA_ASSIGNMENT INVALID_CONFIG \
    NOT_CONTROLLER INVALID_REQUEST UNSUPPORTED_FOR_MESSAGE_FORMAT POLICY_VIOLATION \
    OUT_OF_ORDER_SEQUENCE_NUMBER DUPLICATE_SEQUENCE_NUMBER INVALID_PRODUCER_EPOCH \
    INVALID_TXN_STATE INVALID_PRODUCER_ID_MAPPING INVALID_TRANSACTION_TIMEOUT \
    CONCURRENT_TRANSACTIONS TRANSACTION_COORDINATOR_FENCED \
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED SECURITY_DISABLED OPERATION_NOT_ATTEMPTED \
    KAFKA_STORAGE_ERROR LOG_DIR_NOT_FOUND SASL_AUTHENTICATION_FAILED UNKNOWN_PRODUCER_ID \
    REASSIGNMENT_IN_PROGRESS DELEGATION_TOKEN_AUTH_DISABLED DELEGATION_TOKEN_NOT_FOUND \
    DELEGATION_TOKEN_OWNER_MISMATCH DELEGATION_TOKEN_REQUEST_NOT_ALLOWED \
    DELEGATION_TOKEN_AUTHORIZATION_FAILED DELEGATION_TOKEN_EXPIRED INVALID_PRINCIPAL_TYPE \
    NON_EMPTY_GROUP GROUP_ID_NOT_FOUND FETCH_SESSION_ID_NOT_FOUND INVALID_FETCH_SESSION_EPOCH \
    LISTENER_NOT_FOUND TOPIC_DELETION_DISABLED FENCED_LEADER_EPOCH UNKNOWN_LEADER_EPOCH \
    UNSUPPORTED_COMPRESSION_TYPE STALE_BROKER_EPOCH OFFSET_NOT_AVAILABLE MEMBER_ID_REQUIRED \
    PREFERRED_LEADER_NOT_AVAILABLE GROUP_MAX_SIZE_REACHED FENCED_INSTANCE_ID \
    ELIGIBLE_LEADERS_NOT_AVAILABLE ELECTION_NOT_NEEDED NO_REASSIGNMENT_IN_PROGRESS \
    GROUP_SUBSCRIBED_TO_TOPIC INVALID_RECORD UNSTABLE_OFFSET_COMMIT THROTTLING_QUOTA_EXCEEDED \
    PRODUCER_FENCED RESOURCE_NOT_FOUND DUPLICATE_RESOURCE UNACCEPTABLE_CREDENTIAL \
    INCONSISTENT_VOTER_SET INVALID_UPDATE_VERSION FEATURE_UPDATE_FAILED \
    PRINCIPAL_DESERIALIZATION_FAILURE SNAPSHOT_NOT_FOUND POSITION_OUT_OF_RANGE \
    UNKNOWN_TOPIC_ID DUPLICATE_BROKER_REGISTRATION BROKER_ID_NOT_REGISTERED \
    INCONSISTENT_TOPIC_ID INCONSISTENT_CLUSTER_ID TRANSACTIONAL_ID_NOT_FOUND \
    FETCH_SESSION_TOPIC_ID_ERROR INELIGIBLE_REPLICA NEW_LEADER_ELECTED \
    OFFSET_MOVED_TO_TIERED_STORAGE FENCED_MEMBER_EPOCH UNRELEASED_INSTANCE_ID \
    UNSUPPORTED_ASSIGNOR STALE_MEMBER_EPOCH MISMATCHED_ENDPOINT_TYPE UNSUPPORTED_ENDPOINT_TYPE \
    UNKNOWN_CONTROLLER_ID UNKNOWN_SUBSCRIPTION_ID TELEMETRY_TOO_LARGE INVALID_REGISTRATION \
    TRANSACTION_ABORTABLE INVALID_RECORD_STATE SHARE_SESSION_NOT_FOUND \
    INVALID_SHARE_SESSION_EPOCH FENCED_STATE_EPOCH INVALID_VOTER_KEY DUPLICATE_VOTER \
    VOTER_NOT_FOUND INVALID_REGULAR_EXPRESSION REBOOTSTRAP_REQUIRED STREAMS_INVALID_TOPOLOGY \
    STREAMS_INVALID_TOPOLOGY_EPOCH STREAMS_TOPOLOGY_FENCED SHARE_SESSION_LIMIT_REACHED \
    GROUP_DELETION_FAILED STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED \
    CONTROLLER_ID_NOT_REGISTERED";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_the_name_and_the_number_of_the_protocol() {
        for (code, text) in [
            (RDKafkaErrorCode::Unknown, "UNKNOWN_SERVER_ERROR (-1)"),
            (
                RDKafkaErrorCode::OffsetOutOfRange,
                "OFFSET_OUT_OF_RANGE (1)",
            ),
            (
                RDKafkaErrorCode::MessageSizeTooLarge,
                "MESSAGE_TOO_LARGE (10)",
            ),
            (
                RDKafkaErrorCode::InvalidTopic,
                "INVALID_TOPIC_EXCEPTION (17)",
            ),
            (RDKafkaErrorCode::ProducerFenced, "PRODUCER_FENCED (90)"),
            (RDKafkaErrorCode::UnknownTopicId, "UNKNOWN_TOPIC_ID (100)"),
            (
                RDKafkaErrorCode::RebootstrapRequired,
                "REBOOTSTRAP_REQUIRED (129)",
            ),
        ] {
            assert_eq!(ErrorCode::of(code).unwrap().to_string(), text);
        }
        let known = ErrorCode::of(RDKafkaErrorCode::UnknownTopicOrPartition);
        assert_eq!(known, Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    }

    #[test]
    fn what_no_broker_has_answered_has_no_code() {
        for code in [
            RDKafkaErrorCode::NoError,
            RDKafkaErrorCode::OperationTimedOut,
            RDKafkaErrorCode::AllBrokersDown,
            RDKafkaErrorCode::UnknownTopic,
        ] {
            assert_eq!(ErrorCode::of(code), None);
        }
    }
}
