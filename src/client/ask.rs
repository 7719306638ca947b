//! Requests that are made until they are answered.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;

use super::{Cancel, Failure, LastError, is_transient};
use crate::native::find_brokers;

/// How long a single request may hold the thread before cancellation is looked at.
pub(super) const SLICE: Duration = Duration::from_millis(700);

/// How long librdkafka's reason for a failed request is waited for, which is
/// also the pause before the request is made again.
const REASON: Duration = Duration::from_millis(100);

/// How long servers may be silent before whoever waits is told, and the client looks
/// whether it knows any.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Repeats a request until it succeeds, is refused, or `kafka.timeout` is over.
pub(super) fn ask<T>(
    consumer: &BaseConsumer<LastError>,
    servers: &str,
    timeout: Duration,
    cancel: &Cancel,
    request: impl Fn(Duration) -> Result<T, KafkaError>,
) -> Result<T, Failure> {
    let start = Instant::now();
    let deadline = start + timeout;
    let mut noted = false;
    loop {
        if cancel.is_cancelled() {
            return Err(Failure::Timeout("cancelled".to_owned()));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let error = match request(SLICE.min(left).max(Duration::from_millis(1))) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        serve_events(consumer, REASON);
        let code = error.rdkafka_error_code();
        if let Some(reason) = consumer.context().refusal() {
            return Err(Failure::Login(reason));
        }
        match code {
            Some(code) if !is_transient(code) => return Err(Failure::Refused(code)),
            _ if left.is_zero() => {
                let reason = consumer.context().last().unwrap_or_else(|| match code {
                    Some(code) => code.to_string(),
                    None => error.to_string(),
                });
                return Err(Failure::Timeout(reason));
            }
            _ => {}
        }
        if start.elapsed() < PATIENCE {
            continue;
        }
        find_brokers(consumer.client());
        if !noted {
            noted = true;
            let reason = consumer.context().last();
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            log::warn!("Kafka at {servers} is waited for, up to {timeout:?}{reason}");
        }
    }
}

/// Without any time to spend, rdkafka stops after a single log line, however
/// many more stand before the error.
pub(super) fn serve_events(consumer: &BaseConsumer<LastError>, time: Duration) {
    // Servers that refuse to be connected to are an event again and again.
    let end = Instant::now() + time;
    while consumer
        .poll(end.saturating_duration_since(Instant::now()))
        .is_some()
    {}
}
