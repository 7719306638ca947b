//! A producer that counts its acknowledgements.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use datafusion::error::DataFusionError;
use datafusion::physical_plan::metrics::Count;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use tokio::sync::Notify;

use crate::client::{DropElsewhere, LastError, create};
use crate::error::{Error, Result};
use crate::options::{Delivery, Partitioner, TableOptions};
use crate::sink::batch::EncodedRecord;
use crate::sink::report::WrittenOffsets;
use crate::sink::transaction::{self, Native, Transaction};
use crate::table::own_error;

/// Sends records of one statement to one topic.
///
/// Dropping it before [`finish`](Self::finish) throws away what was not sent
/// yet, and in a transaction also what was.
pub(crate) struct Producer {
    // Fields drop in this order: a transaction is aborted by its producer.
    transaction: Option<Transaction>,
    native: Native,
    topic: String,
    sent: u64,
    queue_full: Duration,
}

impl Producer {
    /// Makes a producer and begins its transaction, where it has one. Without one
    /// it does not wait for the brokers. What they acknowledge is counted in
    /// `acknowledged` as well, for whoever watches the statement.
    ///
    /// # Errors
    /// [`Error::CreateClient`], [`Error::BeginTransaction`]
    pub(crate) async fn new(
        topic: &str,
        options: &TableOptions,
        acknowledged: Count,
    ) -> Result<Self> {
        let mut config = options.client.producer_config()?;
        let given = ["message.timeout.ms", "delivery.timeout.ms"];
        let transactional = options.delivery == Delivery::ExactlyOnce;
        if transactional {
            config.set("transactional.id", transaction::new_id());
        } else if given.iter().all(|key| config.get(key).is_none()) {
            // In a transaction its time-out bounds this one.
            let millis = options.retry_timeout.as_millis();
            config.set("message.timeout.ms", millis.max(1).to_string());
        }
        if options.partitioner == Some(Partitioner::Crc32) {
            config.set("partitioner", "consistent_random");
        }
        let native: ThreadedProducer<_> = create(&config, Acknowledgements::new(acknowledged))?;
        let native = Arc::new(DropElsewhere::new(native));
        hurry(&native, topic);
        let transaction = match transactional {
            true => Some(Transaction::begin(Arc::clone(&native), topic, options).await?),
            false => None,
        };
        Ok(Producer {
            transaction,
            native,
            topic: topic.to_owned(),
            sent: 0,
            queue_full: Duration::ZERO,
        })
    }

    /// Puts the record of a row in the queue; waits while the queue is full.
    ///
    /// # Errors
    /// [`Error::Produce`] when this or an earlier record was refused, in a
    /// transaction [`Error::TransactionFailed`].
    pub(crate) async fn send(&mut self, row: u64, record: &EncodedRecord) -> Result<()> {
        let opaque = usize::try_from(row).unwrap_or(usize::MAX);
        let mut message = BaseRecord::with_opaque_to(&self.topic, opaque).key(&record.key);
        if !record.tombstone {
            message = message.payload(&record.payload);
        }
        if let Some(partition) = record.partition {
            message = message.partition(partition);
        }
        if let Some(timestamp) = record.timestamp {
            message = message.timestamp(timestamp);
        }
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            let headers = record
                .headers
                .iter()
                .fold(headers, |headers, (key, value)| {
                    let value = value.as_deref();
                    headers.insert(Header { key, value })
                });
            message = message.headers(headers);
        }
        let mut full_since = None;
        loop {
            self.check()?;
            let nothing_queued = full_since.is_some() && self.native.in_flight_count() == 0;
            match self.native.send(message) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                    message = returned;
                    full_since.get_or_insert_with(Instant::now);
                    if nothing_queued {
                        let reason = "the record is larger than \
                                      `kafka.producer.queue.buffering.max.kbytes`";
                        return Err(self.error(row, reason.to_owned()));
                    }
                    self.room().await;
                }
                Err((error, _)) => return Err(self.error(row, not_taken(&error))),
            }
        }
        if let Some(since) = full_since {
            self.queue_full += since.elapsed();
        }
        self.sent += 1;
        Ok(())
    }

    /// Waits until there may be room in a queue that was full.
    async fn room(&self) {
        if self.acknowledgements().count() < self.sent {
            self.acknowledgements().changed.notified().await;
        } else {
            // A record leaves the queue just after its acknowledgement was
            // counted, and no other acknowledgement will follow the last.
            tokio::task::yield_now().await;
        }
    }

    /// Waits until every record is acknowledged, and the transaction committed,
    /// and says where they are.
    ///
    /// # Errors
    /// As [`send`](Self::send), and those of a commit.
    pub(crate) async fn finish(&mut self) -> Result<BTreeMap<i32, WrittenOffsets>> {
        loop {
            self.check()?;
            if self.acknowledgements().count() == self.sent {
                break;
            }
            self.acknowledgements().changed.notified().await;
        }
        if let Some(transaction) = self.transaction.take() {
            transaction.commit().await?;
        }
        Ok(self.acknowledgements().places())
    }

    /// How long [`send`](Self::send) waited for a full queue.
    pub(crate) fn queue_full(&self) -> Duration {
        self.queue_full
    }

    fn acknowledgements(&self) -> &Arc<Acknowledgements> {
        self.native.client().context()
    }

    fn check(&self) -> Result<()> {
        match self.acknowledgements().refused() {
            Some((row, reason)) => Err(self.error(row, reason)),
            None => Ok(()),
        }
    }

    fn error(&self, row: u64, mut reason: String) -> Error {
        let topic = self.topic.clone();
        // After it every record is refused, none of them with the reason.
        if let Some((code, text)) = self.native.client().fatal_error() {
            let help = transaction::fenced(Some(code));
            reason = help.map_or_else(|| text.clone(), |help| format!("{text}; {help}"));
        }
        match self.transaction {
            None => Error::Produce {
                topic,
                row,
                reason,
                acknowledged: self.acknowledgements().count(),
            },
            Some(_) => Error::TransactionFailed {
                topic,
                reason: format!("row {row}: {reason}"),
            },
        }
    }
}

/// Lets a new producer get its id at once.
///
/// An idempotent producer asks for it when it is made, before it is connected,
/// and from then on only every half a second. What makes it ask again is an
/// answer about a topic, so it is asked for one until records get through.
fn hurry(native: &Native, topic: &str) {
    let (native, topic) = (Arc::downgrade(native), topic.to_owned());
    tokio::task::spawn_blocking(move || {
        let mut pause = Duration::from_millis(5);
        while pause < SELF_HELP
            && let Some(native) = native.upgrade()
            && native.client().context().count() == 0
        {
            if let Err(error) = native.client().fetch_metadata(Some(&topic), SELF_HELP) {
                // Whoever sends will hear of it, and knows what for.
                log::debug!("topic `{topic}`: {error}");
            }
            drop(native);
            thread::sleep(pause);
            pause *= 2;
        }
    });
}

/// How often an idempotent producer without an id asks for one by itself.
const SELF_HELP: Duration = Duration::from_millis(500);

/// Runs blocking work off the runtime's workers.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| own_error(DataFusionError::External(Box::new(error))))
}

/// Why librdkafka did not put a record in its queue.
fn not_taken(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
            format!("{error}; raise `kafka.client.message.max.bytes`")
        }
        _ => error.to_string(),
    }
}

/// What helps where the broker refuses a size, which it does for a whole batch.
const TOO_LARGE: &str = "raise the topic's `max.message.bytes`, or set \
                         `kafka.producer.batch.size` below it where no single record is too large";

/// What became of the records that were sent.
pub(crate) struct Acknowledgements {
    acknowledged: AtomicU64,
    /// The same as a metric of the plan.
    shown: Count,
    places: Mutex<BTreeMap<i32, WrittenOffsets>>,
    /// The first row that was refused, and why.
    refused: Mutex<Option<(u64, String)>>,
    changed: Notify,
    last_error: LastError,
}

impl Acknowledgements {
    fn new(shown: Count) -> Self {
        Acknowledgements {
            acknowledged: AtomicU64::new(0),
            shown,
            places: Mutex::default(),
            refused: Mutex::default(),
            changed: Notify::new(),
            last_error: LastError::default(),
        }
    }

    fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    fn places(&self) -> BTreeMap<i32, WrittenOffsets> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.clone()
    }

    fn take(&self, partition: i32, offset: i64) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let written = places.entry(partition).or_insert(WrittenOffsets {
            first: offset,
            last: offset,
        });
        written.first = written.first.min(offset);
        written.last = written.last.max(offset);
    }

    fn refused(&self) -> Option<(u64, String)> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.clone()
    }

    fn refuse(&self, row: u64, error: &KafkaError) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.is_none() {
            *refused = Some((row, self.explain(error)));
        }
    }

    /// An error's text with what caused it, or what helps.
    pub(super) fn explain(&self, error: &KafkaError) -> String {
        let code = match error {
            KafkaError::Transaction(error) => Some(error.code()),
            other => other.rdkafka_error_code(),
        };
        if let Some(help) = transaction::fenced(code) {
            return format!("{error}; {help}");
        }
        match (code, self.last_error.last()) {
            (Some(RDKafkaErrorCode::MessageSizeTooLarge), _) => format!("{error}; {TOO_LARGE}"),
            // A time-out alone says nothing.
            (
                Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::OperationTimedOut),
                Some(cause),
            ) => format!("{error}: {cause}"),
            _ => error.to_string(),
        }
    }
}

impl ClientContext for Acknowledgements {
    fn error(&self, error: KafkaError, reason: &str) {
        self.last_error.error(error, reason);
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.last_error.log(level, facility, message);
    }
}

impl ProducerContext for Acknowledgements {
    /// The number of the row.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, row: usize) {
        match result {
            Ok(message) => {
                self.take(message.partition(), message.offset());
                self.acknowledged.fetch_add(1, Ordering::Release);
                self.shown.add(1);
            }
            Err((error, _)) => self.refuse(row as u64, error),
        }
        self.changed.notify_one();
    }
}
