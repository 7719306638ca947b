//! [`Producer`]: sends records, counts acknowledgements and commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, PurgeConfig, ThreadedProducer};
use rdkafka_extra::rebootstrap;

use crate::client::{self, ClientKind, DropOnThread, KeptClients, Place, WARN_AFTER, create};
use crate::error::{Error, ErrorCode, Result, own_error};
use crate::options::{Delivery, TableOptions};
use crate::sink::acknowledgements::{
    Acknowledgements, Cause, Reason, Refusal, Shown, Writes, is_fenced,
};
use crate::sink::encode_row::EncodedRecord;
use crate::sink::instance::{Positions, QueryInstance};
use crate::sink::native::{Flushing, config, knows_topic, request_producer_id_early};
use crate::sink::report::WrittenOffsets;
use crate::sink::silence::Silence;
use crate::sink::time_limit::{TimeLimit, USUAL};
use crate::sink::transaction::{self, Limits, Native, Transaction, blocking};
use crate::sink::transactional_id::TransactionalId;

/// Sends the records of one statement to one topic.
///
/// Dropping the producer before [`finish`](Self::finish) discards the records that are not
/// sent yet. In a transaction it also discards those that are.
pub(crate) struct Producer {
    // Fields drop in this order. The transaction comes first, because it needs its producer
    // to be aborted.
    transaction: Option<Transaction>,
    native: Native,
    /// Where the native producer goes when all records are acknowledged. `None` if it is
    /// destroyed then.
    place: Option<Place>,
    topic: Arc<str>,
    limits: Limits,
    transactional: bool,
    instance: Option<Arc<QueryInstance>>,
    sent: u64,
    silence: Silence,
    queue_full: Duration,
}

/// What a producer sends records for.
pub(crate) enum Writer {
    /// A statement that ends: all of its records are one transaction. Without a transaction, it
    /// takes a producer that the session has kept.
    Statement(KeptClients),
    /// An unbounded statement, which commits at intervals.
    Stream,
    /// A continuous query.
    Query(Arc<QueryInstance>),
}

/// A record to be sent.
pub(crate) struct Sendable<'a> {
    pub(crate) key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) headers: &'a [(String, Option<Vec<u8>>)],
}

impl<'a> From<&'a EncodedRecord> for Sendable<'a> {
    fn from(record: &'a EncodedRecord) -> Self {
        Sendable {
            key: (!record.keyless).then_some(record.key.as_slice()),
            payload: (!record.tombstone).then_some(record.payload.as_slice()),
            partition: record.partition,
            timestamp: record.timestamp,
            headers: &record.headers,
        }
    }
}

impl Producer {
    /// Makes a producer.
    ///
    /// With `kafka.delivery` = `exactly_once` it waits for a producer id; the transaction begins
    /// with the first record. Otherwise it does not wait for the brokers. Acknowledgements are
    /// also counted in `shown`, which EXPLAIN ANALYZE and progress lines read.
    ///
    /// # Errors
    /// [`Error::CreateClient`], [`Error::BeginTransaction`], [`Error::Connect`],
    /// [`Error::Login`]
    pub(crate) async fn new(
        topic: &str,
        options: &TableOptions,
        shown: Shown,
        writer: Writer,
    ) -> Result<Self> {
        let (instance, kept) = match writer {
            Writer::Query(instance) => (Some(instance), None),
            Writer::Stream => (None, None),
            Writer::Statement(kept) => (None, Some(kept)),
        };
        let commits_often = kept.is_none();
        let mut config = config(options, instance.is_some())?;
        let silence = Silence::of(&mut config, options);
        let limits = Limits::of(options);
        let make = |transactions: Option<(TransactionalId, TimeLimit)>| {
            let mut config = config.clone();
            if let Some((id, limit)) = &transactions {
                config.set("transactional.id", id.name());
                limit.set(&mut config);
            }
            let writes = Writes {
                topic: topic.to_owned(),
                transactions,
                group: instance
                    .as_ref()
                    .map(|instance| instance.query().to_owned()),
            };
            let measure = instance
                .as_ref()
                .map(|instance| instance.measurements().of(ClientKind::Producer, topic));
            let native: ThreadedProducer<_> = create(config, options.timeout, |error_log| {
                Acknowledgements::new(writes, shown.clone(), error_log.measured_by(measure))
            })?;
            let native = Arc::new(DropOnThread::new(native));
            request_producer_id_early(&native, topic);
            Ok::<_, Error>(native)
        };
        let mut place = None;
        let native = match options.delivery {
            Delivery::AtLeastOnce => {
                place = kept.and_then(|kept| kept.place(Some(topic), &config, options));
                match place.as_ref().and_then(Place::take) {
                    Some(native) if knows_topic(&native, topic).await => {
                        native.client().context().show(shown);
                        native
                    }
                    _ => make(None)?,
                }
            }
            Delivery::ExactlyOnce => {
                let id = match &instance {
                    Some(instance) => TransactionalId::of_query(instance.query(), options),
                    None => TransactionalId::of_statement(options),
                };
                let limit = match commits_often {
                    true => TimeLimit::of_stream(&config),
                    false => TimeLimit::of_statement(&config, topic, options).await?,
                };
                let mut native = make(Some((id.clone(), limit)))?;
                let mut begun = transaction::init(&native, limits).await;
                if let Err(failure) = &begun
                    && failure.is_of_time_limit()
                    && matches!(limit, TimeLimit::Assumed(_))
                {
                    native = make(Some((id, USUAL)))?;
                    begun = transaction::init(&native, limits).await;
                }
                begun.map_err(|failure| failure.not_begun(&native, topic))?;
                native
            }
        };
        Ok(Producer {
            transaction: None,
            native,
            place,
            topic: topic.into(),
            limits,
            transactional: options.delivery == Delivery::ExactlyOnce,
            instance,
            sent: 0,
            silence,
            queue_full: Duration::ZERO,
        })
    }

    /// Queues the record of a row, and waits while the queue is full.
    ///
    /// # Errors
    /// [`Error::Produce`] if this or an earlier record was refused;
    /// [`Error::TransactionFailed`] instead in a transaction.
    pub(crate) async fn send(&mut self, row: u64, record: &Sendable<'_>) -> Result<()> {
        self.send_to(None, row, record).await
    }

    /// The same as [`send`](Self::send), to the topic `elsewhere` if there is one.
    pub(crate) async fn send_to(
        &mut self,
        elsewhere: Option<&str>,
        row: u64,
        record: &Sendable<'_>,
    ) -> Result<()> {
        self.begin().await?;
        let own_topic = Arc::clone(&self.topic);
        let topic = elsewhere.unwrap_or(&own_topic);
        let opaque = usize::try_from(row).unwrap_or(usize::MAX);
        let mut message: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(topic, opaque);
        message.key = record.key;
        message.payload = record.payload;
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
            self.check().await?;
            let nothing_queued = full_since.is_some() && self.native.in_flight_count() == 0;
            match self.native.send(message) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                    message = returned;
                    full_since.get_or_insert_with(Instant::now);
                    if nothing_queued {
                        let text = "the record is larger than \
                                    `kafka.producer.queue.buffering.max.kbytes`";
                        let (code, text) = (None, text.to_owned());
                        return Err(self.failed(row, Reason::Record(Cause { code, text })));
                    }
                    self.wait_for_queue_space().await;
                }
                Err((error, _)) => return Err(self.not_taken(row, &error).await),
            }
        }
        if let Some(since) = full_since {
            self.queue_full += since.elapsed();
        }
        self.sent += 1;
        Ok(())
    }

    /// Waits until a full queue may have space again.
    async fn wait_for_queue_space(&self) {
        if self.acknowledgements().count() < self.sent {
            self.acknowledgement().await;
        } else {
            // A record leaves the queue shortly after its acknowledgement is counted. After the
            // last acknowledgement there is nothing left to wait for, so this only yields.
            tokio::task::yield_now().await;
        }
    }

    /// Begins a transaction if the producer is transactional and none is open.
    async fn begin(&mut self) -> Result<()> {
        if self.transactional && self.transaction.is_none() {
            let native = Arc::clone(&self.native);
            let begun = Transaction::begin(native, &self.topic, self.limits).await;
            self.transaction = Some(begun.map_err(|error| self.map_fencing(error))?);
        }
        Ok(())
    }

    /// Waits until every record is acknowledged, then commits the records and the offsets
    /// `read` of a continuous query. More records can be sent afterwards.
    ///
    /// In a transaction both are committed atomically. Otherwise the offsets are committed
    /// after the records are acknowledged.
    ///
    /// # Errors
    /// The errors of [`send`](Self::send) and of a commit, and [`Error::Fenced`] if another
    /// instance of the query has taken over.
    pub(crate) async fn commit(&mut self, read: &Positions) -> Result<()> {
        self.acknowledged().await?;
        let instance = self.instance.clone().filter(|_| !read.is_empty());
        if self.transactional {
            if instance.is_some() {
                self.begin().await?;
            }
            let offsets = instance.clone().map(|instance| (instance, read.clone()));
            if let Some(transaction) = self.transaction.take() {
                let committed = transaction.commit(offsets).await;
                committed.map_err(|error| self.map_fencing(error))?;
            }
            if let Some(instance) = instance {
                instance.committed(read);
            }
        } else if let Some(instance) = instance {
            let read = read.clone();
            let committed = client::blocking(move |cancel| instance.commit(&read, cancel)).await;
            committed.map_err(own_error)?;
        }
        Ok(())
    }

    /// Waits until every record is acknowledged, commits the transaction, and returns the
    /// offsets of the records by Kafka partition. Nothing can be sent afterwards.
    ///
    /// # Errors
    /// The errors of [`send`](Self::send) and of a commit.
    pub(crate) async fn finish(&mut self) -> Result<BTreeMap<i32, WrittenOffsets>> {
        self.commit(&Positions::new()).await?;
        let places = self.acknowledgements().places();
        if let Some(place) = self.place.take() {
            place.give_back(Arc::clone(&self.native));
        }
        Ok(places)
    }

    /// Waits until every record is acknowledged.
    ///
    /// # Errors
    /// The errors of [`send`](Self::send).
    pub(crate) async fn acknowledged(&mut self) -> Result<()> {
        let mut flushing = None;
        loop {
            self.check().await?;
            if self.acknowledgements().count() == self.sent {
                return Ok(());
            }
            flushing.get_or_insert_with(|| Flushing::start(&self.native));
            self.acknowledgement().await;
        }
    }

    /// Waits for the next acknowledgement.
    ///
    /// librdkafka may lose its whole broker list and then never looks for brokers again, while
    /// records wait in the queue. So the list is checked at intervals and filled again if empty.
    async fn acknowledgement(&self) {
        tokio::select! {
            () = self.acknowledgements().changed.notified() => {}
            () = tokio::time::sleep(WARN_AFTER.min(self.limits.retry_timeout)) => {
                rebootstrap(self.native.client());
            }
        }
    }

    /// Replaces the error of a fenced transaction of a continuous query by [`Error::Fenced`].
    fn map_fencing(&self, error: Error) -> Error {
        let fatal = self.native.client().fatal_error();
        match (&self.instance, fatal) {
            (Some(instance), Some((code, _))) if is_fenced(code) => instance.fenced(),
            _ => error,
        }
    }

    /// How long [`send`](Self::send) has waited because the queue was full.
    pub(crate) fn queue_full(&self) -> Duration {
        self.queue_full
    }

    fn acknowledgements(&self) -> &Arc<Acknowledgements> {
        self.native.client().context()
    }

    /// Fails if a record was refused, or if no record was acknowledged for too long.
    async fn check(&mut self) -> Result<()> {
        let acknowledgements = Arc::clone(&self.native);
        let acknowledgements = acknowledgements.client().context();
        if let Some(refusal) = acknowledgements.refused() {
            return Err(self.refused(refusal).await);
        }
        let (sent, acknowledged) = (self.sent, acknowledgements.count());
        let held_back = || acknowledgements.held_back_until();
        match self.silence.too_long(sent, acknowledged, held_back) {
            Some(time) => Err(self.given_up(acknowledgements.silence(time)).await),
            None => Ok(()),
        }
    }

    /// The error of records that no broker acknowledges. Without a transaction the queue is
    /// purged, so that those records are not sent later; an abort does the same.
    async fn given_up(&self, reason: Reason) -> Error {
        if self.transactional {
            let topic = self.topic.to_string();
            let failed = |cause: Cause| Error::TransactionFailed {
                topic,
                code: cause.code,
                reason: cause.text,
                refused_row: None,
            };
            return self.map_fencing(reason.into_error(failed));
        }
        let native = Arc::clone(&self.native);
        let all = || PurgeConfig::default().queue().inflight();
        if let Err(error) = blocking(move || native.purge(all())).await {
            return error;
        }
        self.refused_soon().await;
        // The first purged record.
        let row = self
            .acknowledgements()
            .refused()
            .map_or(0, |first| first.row);
        self.failed(row, reason)
    }

    /// The error of a record that librdkafka did not accept in its queue.
    async fn not_taken(&self, row: u64, error: &KafkaError) -> Error {
        let (reason, is_cause) = match error.rdkafka_error_code() {
            Some(code @ RDKafkaErrorCode::MessageSizeTooLarge) => {
                let text = format!("{error}; raise `kafka.client.message.max.bytes`");
                let code = ErrorCode::of(code);
                (Reason::Record(Cause { code, text }), true)
            }
            // The transaction has failed already. The cause is the refusal of an earlier record.
            Some(RDKafkaErrorCode::State) => (self.acknowledgements().explain(error, None), false),
            _ => (self.acknowledgements().explain(error, None), true),
        };
        let refusal = Refusal {
            row,
            reason,
            is_cause,
        };
        self.refused(refusal).await
    }

    /// The error of a refused record. If its refusal is only a consequence, the error names
    /// the record and the reason that caused it.
    async fn refused(&self, refusal: Refusal) -> Error {
        if refusal.is_cause {
            return self.failed(refusal.row, refusal.reason);
        }
        self.refused_soon().await;
        if let Some(Refusal {
            row,
            reason,
            is_cause: true,
        }) = self.acknowledgements().refused()
        {
            return self.failed(row, reason);
        }
        let cause = match &self.transaction {
            Some(transaction) => transaction.cause().await,
            None => None,
        };
        self.failed(refusal.row, cause.unwrap_or(refusal.reason))
    }

    /// Waits until librdkafka has purged the queue after a failure, so that the refusal that
    /// is the cause is among those reported.
    async fn refused_soon(&self) {
        let deadline = Instant::now() + CAUSE_TIMEOUT;
        let more_comes = || {
            let not_reported = self.transactional && !self.acknowledgements().has_failed();
            not_reported || self.native.in_flight_count() > 0
        };
        while Instant::now() < deadline && more_comes() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn failed(&self, row: u64, mut reason: Reason) -> Error {
        // After a fatal error every record is refused, but only the fatal error has the reason.
        if let Some((code, text)) = self.native.client().fatal_error() {
            if let Some(instance) = &self.instance
                && is_fenced(code)
            {
                return instance.fenced();
            }
            reason = self.acknowledgements().reason(None, Some(code), text);
        }
        let topic = self.topic.to_string();
        let acknowledged = self.acknowledgements().rows();
        let code = reason.code();
        let refused = matches!(reason, Reason::Record(_));
        match reason {
            // The shorter error loses nothing here. No record was acknowledged, the transaction
            // takes the records back, or the continuous query counts its commits itself.
            Reason::Denied(denied)
                if self.transactional || acknowledged == 0 || self.instance.is_some() =>
            {
                denied
            }
            reason if self.transactional => Error::TransactionFailed {
                topic,
                code,
                reason: format!("row {row}: {reason}"),
                refused_row: refused.then_some(row),
            },
            reason => Error::Produce {
                topic,
                row,
                code,
                reason: reason.to_string(),
                acknowledged,
                refused,
            },
        }
    }
}

/// How long to wait for the cause of a refusal that is only a consequence.
const CAUSE_TIMEOUT: Duration = Duration::from_secs(1);
