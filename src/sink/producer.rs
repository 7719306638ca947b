//! A producer that counts its acknowledgements.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use tokio::sync::Notify;

use crate::client::{DropElsewhere, LastError, create};
use crate::error::{Error, Result};
use crate::options::{Partitioner, TableOptions};
use crate::sink::encode::EncodedRecord;

/// Sends records of one statement to one topic.
///
/// Dropping it before [`finish`](Self::finish) throws away what was not sent yet.
pub(crate) struct Producer {
    native: DropElsewhere<ThreadedProducer<Acknowledgements>>,
    topic: String,
    sent: u64,
    queue_full: Duration,
}

impl Producer {
    /// Makes a producer without connecting.
    pub(crate) fn new(topic: &str, options: &TableOptions) -> Result<Self> {
        let mut config = options.client.producer_config()?;
        let given = ["message.timeout.ms", "delivery.timeout.ms"];
        if given.iter().all(|key| config.get(key).is_none()) {
            let millis = options.retry_timeout.as_millis();
            config.set("message.timeout.ms", millis.max(1).to_string());
        }
        if options.partitioner == Some(Partitioner::Crc32) {
            config.set("partitioner", "consistent_random");
        }
        let native: ThreadedProducer<_> = create(&config, Acknowledgements::default())?;
        Ok(Producer {
            native: DropElsewhere::new(native),
            topic: topic.to_owned(),
            sent: 0,
            queue_full: Duration::ZERO,
        })
    }

    /// Puts a record in the queue; waits while the queue is full.
    ///
    /// # Errors
    /// [`Error::Produce`] when this or an earlier record was refused.
    pub(crate) async fn send(&mut self, record: &EncodedRecord) -> Result<()> {
        let mut message = BaseRecord::to(&self.topic).key(&record.key);
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
                        return Err(self.error(reason.to_owned()));
                    }
                    self.room().await;
                }
                Err((error, _)) => return Err(self.error(not_taken(&error))),
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

    /// Waits until every record is acknowledged and says how many there were.
    ///
    /// # Errors
    /// [`Error::Produce`] for the first record that was refused.
    pub(crate) async fn finish(&mut self) -> Result<u64> {
        loop {
            self.check()?;
            let acknowledged = self.acknowledgements().count();
            if acknowledged == self.sent {
                return Ok(acknowledged);
            }
            self.acknowledgements().changed.notified().await;
        }
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
            Some(reason) => Err(self.error(reason)),
            None => Ok(()),
        }
    }

    fn error(&self, reason: String) -> Error {
        Error::Produce {
            topic: self.topic.clone(),
            reason,
            acknowledged: self.acknowledgements().count(),
        }
    }
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
#[derive(Default)]
pub(crate) struct Acknowledgements {
    acknowledged: AtomicU64,
    refused: Mutex<Option<String>>,
    changed: Notify,
    last_error: LastError,
}

impl Acknowledgements {
    fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    fn refused(&self) -> Option<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.clone()
    }

    fn refuse(&self, error: &KafkaError) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.is_none() {
            let cause = self.last_error.last();
            *refused = Some(match (error.rdkafka_error_code(), cause) {
                // A time-out alone says nothing.
                (Some(RDKafkaErrorCode::MessageTimedOut), Some(cause)) => {
                    format!("{error}: {cause}")
                }
                (Some(RDKafkaErrorCode::MessageSizeTooLarge), _) => format!("{error}; {TOO_LARGE}"),
                _ => error.to_string(),
            });
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
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        match result {
            Ok(_) => {
                self.acknowledged.fetch_add(1, Ordering::Release);
            }
            Err((error, _)) => self.refuse(error),
        }
        self.changed.notify_one();
    }
}
