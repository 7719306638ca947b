//! The failures of requests that were given up.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;

use super::denied::Needs;
use super::error_log::ErrorLog;
use crate::error::Error;

/// Why a request was given up.
pub(super) enum RequestFailure {
    Timeout(String),
    Login(String),
    Refused(RDKafkaErrorCode),
}

impl RequestFailure {
    /// The error for a client with this error log. `needs` names the right that the request
    /// needs.
    pub(super) fn into_error(
        self,
        servers: &str,
        timeout: Duration,
        heard: &ErrorLog,
        needs: Option<Needs<'_>>,
        refused: impl FnOnce(RDKafkaErrorCode) -> Error,
    ) -> Error {
        let servers = servers.to_owned();
        match self {
            RequestFailure::Timeout(reason) => Error::Connect {
                servers,
                timeout,
                reason,
            },
            RequestFailure::Login(reason) => Error::Login { servers, reason },
            RequestFailure::Refused(code) => needs
                .and_then(|needs| needs.denied(code, heard.principal()))
                .unwrap_or_else(|| refused(code)),
        }
    }
}

/// Whether an error may go away by itself while brokers are found and leaders are elected.
pub(crate) fn is_transient(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::OperationTimedOut
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::DestroyBroker
            | Code::Resolve
            | Code::MessageTimedOut
            | Code::TimedOutQueue
            | Code::WaitingForCoordinator
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::NotController
            | Code::UnstableOffsetCommit
            | Code::InProgress
            | Code::PreviousInProgress
            | Code::WaitCache
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::RequestTimedOut
            | Code::KafkaStorageError
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::PreferredLeaderNotAvailable
    )
}
