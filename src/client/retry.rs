//! Repeats requests until they are answered.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka_extra::rebootstrap;

use super::blocking::Cancel;
use super::error_log::ErrorLog;
use super::failure::{RequestFailure, is_transient};

/// How long a single request may block its thread before cancellation is checked.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(700);

/// How long to wait for librdkafka's reason after a failed request. This is also the pause before
/// the next attempt.
const ERROR_GRACE: Duration = Duration::from_millis(100);

/// How long servers may stay silent before the user is warned, and the client asks librdkafka to
/// find brokers again if it knows none.
pub(crate) const WARN_AFTER: Duration = Duration::from_secs(2);

/// The reason for a missing answer, where librdkafka has reported none.
const SILENCE: &str = "no answer came; the servers may be slow (`kafka.timeout` gives them more \
                       time), behind a firewall, or not Kafka";

/// Repeats a request until it succeeds, is refused, or `kafka.timeout` is over.
pub(super) fn retry<T>(
    consumer: &BaseConsumer<ErrorLog>,
    servers: &str,
    timeout: Duration,
    cancel: &Cancel,
    request: impl Fn(Duration) -> Result<T, KafkaError>,
) -> Result<T, RequestFailure> {
    let start = Instant::now();
    let deadline = start + timeout;
    let mut noted = false;
    loop {
        if cancel.is_cancelled() {
            return Err(RequestFailure::Timeout("cancelled".to_owned()));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let error = match request(ATTEMPT_TIMEOUT.min(left).max(Duration::from_millis(1))) {
            Ok(answer) => {
                serve_waiting(consumer);
                consumer.context().answered();
                return Ok(answer);
            }
            Err(error) => error,
        };
        serve_events(consumer, ERROR_GRACE);
        let heard = consumer.context();
        if let Some(reason) = heard.final_refusal() {
            return Err(RequestFailure::Login(reason));
        }
        let code = heard.denied().or(error.rdkafka_error_code());
        match code {
            Some(code) if !is_transient(code) => return Err(RequestFailure::Refused(code)),
            _ if left.is_zero() => {
                return Err(match (heard.refusal(), heard.last()) {
                    (Some(reason), _) => RequestFailure::Login(reason),
                    (_, Some(reason)) => RequestFailure::Timeout(reason),
                    (_, None) => RequestFailure::Timeout(SILENCE.to_owned()),
                });
            }
            _ => {}
        }
        if start.elapsed() < WARN_AFTER {
            continue;
        }
        rebootstrap(consumer.client());
        if !noted {
            noted = true;
            let reason = consumer.context().last();
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            log::warn!("waiting for Kafka at {servers}, up to {timeout:?}{reason}");
        }
    }
}

/// Serves librdkafka's events for this time.
fn serve_events(consumer: &BaseConsumer<ErrorLog>, time: Duration) {
    // Servers that refuse connections cause one event after the other.
    let end = Instant::now() + time;
    while consumer
        .poll(end.saturating_duration_since(Instant::now()))
        .is_some()
    {}
    serve_waiting(consumer);
}

/// Serves the events that librdkafka has already queued, without waiting for more.
pub(super) fn serve_waiting(consumer: &BaseConsumer<ErrorLog>) {
    let heard = || consumer.context().heard();
    // With a time-out of zero, rdkafka returns after a single log line, no matter how many lines
    // are queued before the error.
    let mut before = heard();
    while consumer.poll(Duration::ZERO).is_some() || heard() != before {
        before = heard();
    }
}
