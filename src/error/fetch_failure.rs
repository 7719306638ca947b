//! [`FetchFailure`]: why a partition could not be read to its end.

use rdkafka::error::RDKafkaErrorCode;

use super::code::ErrorCode;

/// Why a partition could not be read to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchFailure {
    /// The topic was deleted.
    #[error("the topic was deleted while it was read")]
    Deleted,
    /// The topic was deleted, and another one has its name.
    #[error("the topic was recreated while it was read; run the query again, with a new plan")]
    Recreated,
    /// A broker has refused it.
    #[error("{reason}")]
    #[non_exhaustive]
    Refused {
        /// The code of the broker's answer.
        code: ErrorCode,
        /// What librdkafka says about it.
        reason: String,
    },
    /// What librdkafka said.
    #[error("{0}")]
    Other(String),
}

impl FetchFailure {
    /// A failure with this code of librdkafka and this reason.
    pub(crate) fn of(code: RDKafkaErrorCode, reason: String) -> Self {
        match ErrorCode::of(code) {
            Some(code) => FetchFailure::Refused { code, reason },
            None => FetchFailure::Other(reason),
        }
    }
}
