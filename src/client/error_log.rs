//! Keeps the errors that librdkafka reports until a request is answered.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext, statistics};

use super::connection::{Complaint, Connection, Weight, principal};
use super::denied::is_denied;
use super::measured::Measure;
use super::statistics::Statistics;

/// Keeps the errors that librdkafka reports, because a time-out alone does not tell the reason.
pub(crate) struct ErrorLog {
    connection: Connection,
    principal: Option<String>,
    measure: Option<Measure>,
    state: Mutex<State>,
    statistics: Statistics,
}

#[derive(Default)]
struct State {
    last: Option<Complaint>,
    /// A denied right that is only reported as an event, not as the answer to a request.
    denied: Option<RDKafkaErrorCode>,
    /// Whether any request was ever answered.
    answered: bool,
    /// How many complaints there were.
    heard: u64,
}

impl ErrorLog {
    /// The log of a client with this configuration.
    pub(crate) fn of(config: &ClientConfig) -> Self {
        ErrorLog {
            connection: Connection::of(config),
            principal: principal(config),
            measure: None,
            state: Mutex::default(),
            statistics: Statistics::default(),
        }
    }

    /// Records statistics, and returns how long brokers have throttled requests since the last
    /// statistics.
    pub(crate) fn record_statistics(&self, statistics: &statistics::Statistics) -> Duration {
        log::trace!(target: "librdkafka", "{statistics:?}");
        if let Some(measure) = &self.measure {
            measure.take(statistics);
        }
        self.statistics.take(statistics)
    }

    /// The time until which brokers throttle requests because of a quota, where they have said
    /// so.
    pub(crate) fn held_back_until(&self) -> Option<Instant> {
        self.statistics.held_back_until()
    }

    /// The next offset to be fetched from a partition, by the last statistics.
    pub(super) fn next_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.statistics.next_offset(topic, partition)
    }

    /// Adds measurements, where the client is measured.
    pub(crate) fn measured_by(self, measure: Option<Measure>) -> Self {
        ErrorLog { measure, ..self }
    }

    /// The principal that the client has logged in as, where it is known.
    pub(crate) fn principal(&self) -> Option<String> {
        self.principal.clone()
    }

    /// The most specific complaint.
    pub(crate) fn last(&self) -> Option<String> {
        self.state().last.as_ref().map(|last| last.text.clone())
    }

    /// A refused login or certificate, unless a later complaint has replaced it.
    pub(super) fn refusal(&self) -> Option<String> {
        let state = self.state();
        let refusal = state
            .last
            .as_ref()
            .filter(|last| last.weight == Weight::Refusal);
        refusal.map(|last| last.text.clone())
    }

    /// The same, but only where waiting does not help. Brokers that have accepted the client
    /// before may refuse it for a moment, for instance while they start.
    pub(super) fn final_refusal(&self) -> Option<String> {
        self.refusal().filter(|_| !self.state().answered)
    }

    /// A denied right that keeps a request waiting.
    pub(super) fn denied(&self) -> Option<RDKafkaErrorCode> {
        self.state().denied
    }

    /// How many complaints there were.
    pub(super) fn heard(&self) -> u64 {
        self.state().heard
    }

    /// Forgets everything, as if the client were new. False if there was a complaint since the
    /// last answer, or brokers throttle the client.
    pub(crate) fn renew(&self) -> bool {
        let state = std::mem::take(&mut *self.state());
        let is_throttled = self.statistics.forget();
        state.last.is_none() && state.denied.is_none() && !is_throttled
    }

    /// Notes that a request was answered. Earlier complaints no longer apply.
    pub(crate) fn answered(&self) {
        let mut state = self.state();
        state.last = None;
        state.denied = None;
        state.answered = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn explain(&self, line: &str) -> Option<Complaint> {
        self.connection.explain(line, self.state().answered)
    }

    fn hear(&self, complaint: Complaint) {
        let mut state = self.state();
        let less = |last: &Complaint| last.weight > complaint.weight;
        if state.answered || !state.last.as_ref().is_some_and(less) {
            state.last = Some(complaint);
        }
    }
}

impl ClientContext for ErrorLog {
    fn stats(&self, statistics: statistics::Statistics) {
        self.record_statistics(&statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log::debug!("librdkafka: {error}: {reason}");
        self.state().heard += 1;
        let code = error.rdkafka_error_code();
        match code {
            // This event follows the message with the reason, and adds no information.
            Some(RDKafkaErrorCode::AllBrokersDown) if self.last().is_some() => return,
            Some(code) if is_denied(code) => self.state().denied = Some(code),
            _ => {}
        }
        let complaint = self.explain(reason);
        self.hear(complaint.unwrap_or_else(|| Complaint {
            text: reason.to_owned(),
            weight: match code {
                // Not about a broker: there is no token to log in with.
                Some(RDKafkaErrorCode::Authentication) => Weight::Refusal,
                _ => Weight::Passing,
            },
        }));
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Reasons reach the user inside errors; librdkafka's own lines are for debugging.
        log::debug!(target: "librdkafka", "{level:?} {facility} {message}");
        self.state().heard += 1;
        // librdkafka does not report closed connections as errors, only in its log.
        if facility == "FAIL"
            && let Some(complaint) = self.explain(message)
        {
            self.hear(complaint);
        }
    }
}

impl ConsumerContext for ErrorLog {}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str = "kafka:9092/bootstrap: SASL authentication error: Authentication failed: \
                           Invalid username or password (after 3ms in state AUTH_REQ)";
    const CLOSED: &str = "kafka:9092/bootstrap: Disconnected (after 5ms in state APIVERSION_QUERY)";
    const DOWN: &str = "other:9092/bootstrap: Connect to ipv4#10.0.0.1:9092 failed: Connection \
                        refused (after 0ms in state CONNECT)";

    fn heard() -> ErrorLog {
        ErrorLog::of(&ClientConfig::new())
    }

    fn error(heard: &ErrorLog, code: RDKafkaErrorCode, reason: &str) {
        heard.error(KafkaError::Global(code), reason);
    }

    fn fail(heard: &ErrorLog, reason: &str) {
        heard.log(
            RDKafkaLogLevel::Info,
            "FAIL",
            &format!("[thrd:x]: {reason}"),
        );
    }

    #[test]
    fn a_refused_login_is_final_until_any_was_let_in() {
        let heard = heard();
        error(&heard, RDKafkaErrorCode::Authentication, REFUSED);
        error(
            &heard,
            RDKafkaErrorCode::AllBrokersDown,
            "1/1 brokers are down",
        );
        let refusal = heard.final_refusal().unwrap();
        assert!(refusal.contains("Authentication failed"), "{refusal}");

        heard.answered();
        assert_eq!((heard.last(), heard.refusal()), (None, None));
        // For instance a broker that is starting and does not know its users yet.
        error(&heard, RDKafkaErrorCode::Authentication, REFUSED);
        assert_eq!(heard.final_refusal(), None);
        assert!(heard.refusal().is_some());
        fail(&heard, DOWN);
        assert_eq!(heard.refusal(), None);
    }

    #[test]
    fn what_says_most_is_kept_until_a_request_is_answered() {
        let heard = heard();
        fail(&heard, DOWN);
        assert!(heard.last().unwrap().contains("other:9092"));
        fail(&heard, CLOSED);
        fail(&heard, DOWN);
        assert!(heard.last().unwrap().contains("kafka:9092 closes"));
        heard.answered();
        fail(&heard, CLOSED);
        // The answer has shown that the listener is of the right kind.
        assert_eq!(heard.last().as_deref(), Some("kafka:9092: Disconnected"));
        fail(&heard, DOWN);
        assert!(heard.last().unwrap().contains("other:9092"));
    }

    #[test]
    fn a_token_that_does_not_come_is_a_refused_login() {
        let heard = heard();
        let reason = "Failed to acquire SASL OAUTHBEARER token: no such client";
        error(&heard, RDKafkaErrorCode::Authentication, reason);
        assert_eq!(heard.final_refusal().as_deref(), Some(reason));
    }

    #[test]
    fn a_denied_right_is_remembered_until_a_request_is_answered() {
        let heard = heard();
        let code = RDKafkaErrorCode::GroupAuthorizationFailed;
        error(
            &heard,
            code,
            "FindCoordinator response error: Group authorization failed.",
        );
        assert_eq!(heard.denied(), Some(code));
        heard.answered();
        assert_eq!(heard.denied(), None);
    }
}
