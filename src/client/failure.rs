//! What librdkafka says when something fails.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::error::Error;

/// Why a request was given up.
pub(super) enum Failure {
    Timeout(String),
    Login(String),
    Refused(RDKafkaErrorCode),
}

impl Failure {
    pub(super) fn into_error(
        self,
        servers: &str,
        timeout: Duration,
        refused: impl FnOnce(String) -> Error,
    ) -> Error {
        let servers = servers.to_owned();
        match self {
            Failure::Timeout(reason) => Error::Connect {
                servers,
                timeout,
                reason,
            },
            Failure::Login(reason) => Error::Login { servers, reason },
            Failure::Refused(code) => refused(code.to_string()),
        }
    }
}

/// Errors that may pass by themselves while servers are found and leaders elected.
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

/// Keeps what librdkafka complained about, since a time-out alone says nothing.
#[derive(Default)]
pub(crate) struct LastError {
    state: Mutex<Complaints>,
}

#[derive(Default)]
struct Complaints {
    last: Option<String>,
    refusal: Option<String>,
}

impl LastError {
    pub(crate) fn last(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last.clone()
    }

    /// A complaint that waiting does not help: a refused login or certificate.
    pub(crate) fn refusal(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.refusal.clone()
    }
}

impl ClientContext for LastError {
    fn error(&self, error: KafkaError, reason: &str) {
        log::debug!("librdkafka: {error}: {reason}");
        let code = error.rdkafka_error_code();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match code {
            // Follows the message that says why, and says nothing itself.
            Some(RDKafkaErrorCode::AllBrokersDown) if state.last.is_some() => return,
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) => {
                state.refusal = Some(reason.to_owned());
            }
            _ => {}
        }
        state.last = Some(reason.to_owned());
    }

    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        // Reasons reach the user inside errors; librdkafka's own lines are for debugging.
        log::debug!(target: "librdkafka", "{level:?} {facility} {message}");
    }
}

impl ConsumerContext for LastError {}
