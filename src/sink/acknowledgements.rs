//! [`Acknowledgements`]: the results of sent records, and the reasons for refusals.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use datafusion::physical_plan::metrics::{Count, Time};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::{ClientContext, statistics};
use tokio::sync::Notify;

use crate::client::{ErrorLog, Needs};
use crate::error::{Error, ErrorCode};
use crate::sink::report::WrittenOffsets;
use crate::sink::time_limit::TimeLimit;
use crate::sink::transactional_id::TransactionalId;

/// The results of the records that were sent.
pub(crate) struct Acknowledgements {
    writes: Writes,
    acknowledged: AtomicU64,
    /// The acknowledged records of other topics: dead letters.
    elsewhere: AtomicU64,
    shown: Mutex<Shown>,
    places: Mutex<BTreeMap<i32, WrittenOffsets>>,
    refused: Mutex<Option<Refusal>>,
    /// A topic that could not be added to the transaction.
    not_added: Mutex<Option<String>>,
    /// Whether librdkafka has reported that the transaction has failed.
    has_failed: AtomicBool,
    pub(super) changed: Notify,
    error_log: ErrorLog,
}

/// The metrics of a writing plan that its producer counts.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) acknowledged: Count,
    /// How long brokers have throttled requests because of a quota, summed over the brokers.
    pub(crate) throttled: Time,
}

impl Shown {
    /// Metrics that no plan shows.
    pub(crate) fn nowhere() -> Self {
        Shown {
            acknowledged: Count::new(),
            throttled: Time::new(),
        }
    }
}

/// What a producer needs rights on.
#[derive(Debug, Clone)]
pub(super) struct Writes {
    pub(super) topic: String,
    pub(super) transactions: Option<(TransactionalId, TimeLimit)>,
    /// The consumer group whose offsets the producer commits.
    pub(super) group: Option<String>,
}

/// The ACL name of an operation, and the topic of the operation.
pub(super) type Operation<'a> = (&'static str, &'a str);

/// The first record that was refused.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) row: u64,
    pub(super) reason: Reason,
    /// Whether the reason concerns this record, rather than an earlier refusal.
    pub(super) is_cause: bool,
}

/// Why brokers refuse a request.
#[derive(Debug, Clone)]
pub(super) enum Reason {
    /// A right is missing.
    Denied(Error),
    /// The record itself is the reason, so sending it again cannot help.
    Record(Cause),
    /// Any other reason.
    Other(Cause),
}

/// A reason as text, with the code of the broker's answer where a broker has refused it.
#[derive(Debug, Clone)]
pub(super) struct Cause {
    pub(super) code: Option<ErrorCode>,
    pub(super) text: String,
}

impl Reason {
    /// The error for a missing right, or else the given error with the cause.
    pub(super) fn into_error(self, error: impl FnOnce(Cause) -> Error) -> Error {
        match self {
            Reason::Denied(denied) => denied,
            Reason::Record(cause) | Reason::Other(cause) => error(cause),
        }
    }

    /// The code of the broker's answer, where a broker has refused it.
    pub(super) fn code(&self) -> Option<ErrorCode> {
        match self {
            Reason::Denied(denied) => denied.code(),
            Reason::Record(cause) | Reason::Other(cause) => cause.code,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Denied(denied) => denied.fmt(f),
            Reason::Record(cause) | Reason::Other(cause) => f.write_str(&cause.text),
        }
    }
}

/// What to do if the broker refuses the record itself; `None` for other codes.
fn help(code: RDKafkaErrorCode) -> Option<&'static str> {
    match code {
        RDKafkaErrorCode::MessageSizeTooLarge => Some(
            "raise the topic's `max.message.bytes`, or set `kafka.producer.batch.size` below it \
             if no single record is too large; the broker refuses a batch as a whole, so the \
             record that is too large may be a later row of the batch",
        ),
        RDKafkaErrorCode::InvalidTimestamp => Some(
            "the topic's `message.timestamp.before.max.ms` or `message.timestamp.after.max.ms` does \
             not allow this `_timestamp`",
        ),
        RDKafkaErrorCode::InvalidRecord => Some(
            "the topic does not accept such a record, for example one without a key if its \
             `cleanup.policy` is `compact`",
        ),
        _ => None,
    }
}

impl Acknowledgements {
    pub(super) fn new(writes: Writes, shown: Shown, error_log: ErrorLog) -> Self {
        Acknowledgements {
            writes,
            acknowledged: AtomicU64::new(0),
            elsewhere: AtomicU64::new(0),
            shown: Mutex::new(shown),
            places: Mutex::default(),
            refused: Mutex::default(),
            not_added: Mutex::default(),
            has_failed: AtomicBool::new(false),
            changed: Notify::new(),
            error_log,
        }
    }

    /// Forgets the records of an earlier statement, all of which were acknowledged. False if the
    /// producer heard of a failure since then.
    pub(super) fn renew(&self) -> bool {
        self.acknowledged.store(0, Ordering::Release);
        self.elsewhere.store(0, Ordering::Relaxed);
        lock(&self.places).clear();
        *lock(&self.shown) = Shown::nowhere();
        self.error_log.renew()
    }

    /// Counts acknowledgements in the metrics of another statement.
    pub(super) fn show(&self, shown: Shown) {
        *lock(&self.shown) = shown;
    }

    pub(super) fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// How many records of the topic were acknowledged, not counting dead letters.
    pub(super) fn rows(&self) -> u64 {
        self.count()
            .saturating_sub(self.elsewhere.load(Ordering::Relaxed))
    }

    pub(super) fn places(&self) -> BTreeMap<i32, WrittenOffsets> {
        lock(&self.places).clone()
    }

    fn take(&self, partition: i32, offset: i64) {
        let mut places = lock(&self.places);
        let written = places.entry(partition).or_insert(WrittenOffsets {
            first: offset,
            last: offset,
        });
        written.first = written.first.min(offset);
        written.last = written.last.max(offset);
    }

    /// Whether librdkafka has finished reporting why the transaction has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    pub(super) fn refused(&self) -> Option<Refusal> {
        lock(&self.refused).clone()
    }

    fn refuse(&self, row: usize, error: &KafkaError, message: &BorrowedMessage<'_>) {
        let code = error.rdkafka_error_code();
        let is_cause = !code.is_some_and(is_consequence);
        let mut refused = lock(&self.refused);
        let enough = |first: &Refusal| first.is_cause || !is_cause;
        if refused.as_ref().is_some_and(enough) {
            return;
        }
        // The broker's own message is lost: librdkafka frees it before it can be read.
        *refused = Some(Refusal {
            row: row as u64,
            reason: self.reason(Some(("WRITE", message.topic())), code, error.to_string()),
            is_cause,
        });
    }

    /// Until when a quota keeps the client from sending requests, if the brokers report that.
    pub(super) fn held_back_until(&self) -> Option<Instant> {
        self.error_log.held_back_until()
    }

    /// The reason when no record was acknowledged for this time.
    pub(super) fn silence(&self, time: Duration) -> Reason {
        let cause = self.error_log.last();
        let cause = cause.as_deref().unwrap_or("the brokers do not answer");
        Reason::Other(Cause {
            code: None,
            text: format!(
                "no record was acknowledged for {time:?} (`kafka.retry_timeout`): {cause}"
            ),
        })
    }

    /// Why a request was refused: a missing right, or the error's text with its cause or with
    /// what to do. `on` is the operation of the request, if it is known.
    pub(super) fn explain(&self, error: &KafkaError, on: Option<Operation<'_>>) -> Reason {
        let code = match error {
            KafkaError::Transaction(error) => Some(error.code()),
            other => other.rdkafka_error_code(),
        };
        self.reason(on, code, error.to_string())
    }

    /// The same as [`explain`](Self::explain), for an error with this code and text.
    pub(super) fn reason(
        &self,
        on: Option<Operation<'_>>,
        code: Option<RDKafkaErrorCode>,
        text: String,
    ) -> Reason {
        let transactions = self.writes.transactions.as_ref();
        let not_added = lock(&self.not_added).clone();
        let (operation, topic) = on.unwrap_or_else(|| {
            let topic = not_added.as_deref().unwrap_or(&self.writes.topic);
            ("WRITE", topic)
        });
        let needs = Needs {
            group: self.writes.group.as_deref(),
            transactional_id: transactions.map(|(id, _)| id.pattern()),
            ..Needs::on(operation, topic)
        };
        let denied = code.and_then(|code| needs.denied(code, self.error_log.principal()));
        if let Some(denied) = denied {
            return Reason::Denied(denied);
        }
        let cause = |text| Cause {
            code: code.and_then(ErrorCode::of),
            text,
        };
        if let Some(help) = code.and_then(help) {
            return Reason::Record(cause(format!("{text}; {help}")));
        }
        if let Some((_, limit)) = transactions
            && code.is_some_and(is_fenced)
        {
            return Reason::Other(cause(format!("{text}; {}", limit.help())));
        }
        Reason::Other(cause(match (code, self.error_log.last()) {
            // A time-out does not say why; the last error of a connection does.
            (
                Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::OperationTimedOut),
                Some(last),
            ) => format!("{text}: {last}"),
            _ => text,
        }))
    }
}

impl ClientContext for Acknowledgements {
    fn stats(&self, statistics: statistics::Statistics) {
        let throttled = self.error_log.record_statistics(&statistics);
        lock(&self.shown).throttled.add_duration(throttled);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.error_log.error(error, reason);
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.error_log.log(level, facility, message);
        match facility {
            // librdkafka logs a line for each topic that is added to the transaction. The error
            // that follows names no topic, so the topic is taken from the log. Lines of topics
            // that were not tried come before or after that of the failed topic.
            "ADDPARTS" if !message.ends_with("Operation not attempted") => {
                if let Some(topic) = message.split('"').nth(1) {
                    lock(&self.not_added).get_or_insert_with(|| topic.to_owned());
                }
            }
            "TXNERR" => self.has_failed.store(true, Ordering::Release),
            _ => {}
        }
    }
}

impl ProducerContext for Acknowledgements {
    /// The row's number.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, row: usize) {
        match result {
            Ok(message) => {
                if message.topic() == self.writes.topic {
                    self.take(message.partition(), message.offset());
                    lock(&self.shown).acknowledged.add(1);
                } else {
                    self.elsewhere.fetch_add(1, Ordering::Relaxed);
                }
                self.acknowledged.fetch_add(1, Ordering::Release);
                self.error_log.answered();
            }
            Err((error, message)) => self.refuse(row, error, message),
        }
        self.changed.notify_one();
    }
}

/// Whether this code means that a record was refused because of another record, or because
/// its transaction has failed.
fn is_consequence(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::State
            | Code::Fatal
            | Code::PurgeQueue
            | Code::PurgeInflight
            | Code::InvalidDifferentRecord
    )
}

/// Whether this code means that the producer was fenced or its transaction was ended.
pub(super) fn is_fenced(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::InvalidTransactionalState
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
