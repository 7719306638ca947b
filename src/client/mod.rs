//! librdkafka clients: made from options, asked for partitions and offsets.
//!
//! Every call here blocks. Async code goes through [`blocking`], scans call
//! from their own threads; no Tokio worker ever waits for a broker, and no
//! client is destroyed on one.

mod blocking;
mod connection;
mod create;
mod denied;
mod drop_on_thread;
mod error_log;
mod failure;
mod group;
mod listing;
mod measured;
mod offset_range;
mod retry;
mod statistics;
pub(crate) mod threads;
mod topic;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_extra::{TopicHandle, TopicId, rebootstrap};

pub(crate) use self::blocking::{Cancel, blocking};
use self::create::config_within;
pub(crate) use self::create::{create, tell_of_itself};
pub(crate) use self::denied::{Needs, Pattern};
pub(crate) use self::drop_on_thread::DropOnThread;
pub(crate) use self::error_log::ErrorLog;
use self::failure::RequestFailure;
pub(crate) use self::failure::is_transient;
pub(crate) use self::group::Group;
pub(crate) use self::listing::topics;
pub use self::measured::{ClientKind, RoundTrips};
pub(crate) use self::measured::{Measure, Measurements};
pub(crate) use self::offset_range::OffsetRange;
pub(crate) use self::retry::WARN_AFTER;
use self::retry::{ATTEMPT_TIMEOUT, retry, serve_waiting};
pub(crate) use self::topic::Topic;
use crate::error::{Error, FetchFailure, Result};
use crate::options::{NewTopic, TableOptions};

/// A client that reads: metadata, offsets, records.
pub(crate) struct Client {
    topic: DropOnThread<Arc<TopicHandle<ErrorLog>>>,
    name: String,
    servers: String,
    timeout: Duration,
    memory: usize,
}

impl Client {
    /// Makes a client for one topic. Does not connect yet.
    pub(crate) fn new(topic: &str, options: &TableOptions) -> Result<Self> {
        Self::with_memory(topic, options, usize::MAX)
    }

    /// The same for a client that is measured.
    pub(crate) fn measured(topic: &str, options: &TableOptions, measure: Measure) -> Result<Self> {
        Self::make(topic, options, usize::MAX, Some(measure))
    }

    /// As [`new`](Self::new), with so many bytes of memory for a partition: no
    /// more than a part of them is fetched at once, and waits to be taken, where
    /// no option says how much.
    pub(crate) fn with_memory(topic: &str, options: &TableOptions, bytes: usize) -> Result<Self> {
        Self::make(topic, options, bytes, None)
    }

    fn make(
        topic: &str,
        options: &TableOptions,
        bytes: usize,
        measure: Option<Measure>,
    ) -> Result<Self> {
        let servers = options.client.bootstrap_servers()?.to_owned();
        let config = config_within(options, bytes)?;
        let context = |heard: ErrorLog| heard.measured_by(measure);
        let consumer: BaseConsumer<_> = create(config, options.timeout, context)?;
        let handle = TopicHandle::new(consumer, topic).map_err(|_| Error::Request {
            act: "use the name",
            topic: topic.to_owned(),
            reason: "librdkafka refuses it".to_owned(),
        })?;
        Ok(Client {
            topic: DropOnThread::new(Arc::new(handle)),
            name: topic.to_owned(),
            servers,
            timeout: options.timeout,
            memory: bytes,
        })
    }

    /// What [`with_memory`](Self::with_memory) was told.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    pub(crate) fn topic_name(&self) -> &str {
        &self.name
    }

    fn consumer(&self) -> &BaseConsumer<ErrorLog> {
        self.topic.consumer()
    }

    /// The topic's partitions in their order.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`], [`Error::Connect`] after `kafka.timeout`.
    pub(crate) fn partitions(&self, cancel: &Cancel) -> Result<Vec<i32>> {
        let leaders = self.retry(cancel, |wait| self.leaders(wait));
        let leaders = leaders.map_err(|failure| self.not_described(failure))?;
        Ok(leaders.into_keys().collect())
    }

    /// The topic's partitions in their order, and its id.
    ///
    /// # Errors
    /// As [`partitions`](Self::partitions).
    pub(crate) fn topic(&self, cancel: &Cancel) -> Result<Topic> {
        self.retry(cancel, |wait| self.describe(wait))
            .map_err(|failure| self.not_described(failure))
    }

    /// What happened to the topic of this id, as the reason in an error: it
    /// was deleted, or another one bears its name. Brokers are asked only once.
    pub(crate) fn topic_lost(&self, id: Option<TopicId>) -> Option<FetchFailure> {
        self.count_partitions(id).err()
    }

    /// How many partitions the topic of this id has, `None` when no broker
    /// answers at once, or else [what happened](Self::topic_lost) to it.
    pub(crate) fn count_partitions(
        &self,
        id: Option<TopicId>,
    ) -> Result<Option<usize>, FetchFailure> {
        match self.describe(ATTEMPT_TIMEOUT) {
            Ok(topic) if topic.is_another(id) => Err(FetchFailure::Recreated),
            Ok(topic) => Ok(Some(topic.leaders.len())),
            Err(error) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Err(FetchFailure::Deleted),
                _ => {
                    rebootstrap(self.consumer().client());
                    Ok(None)
                }
            },
        }
    }

    fn describe(&self, wait: Duration) -> Result<Topic, KafkaError> {
        let asked = Instant::now();
        let leaders = self.leaders(wait)?;
        // A leader is connected to anyway, and knows which topic it leads.
        let leader = leaders.values().find(|leader| **leader >= 0);
        let id = match leader {
            None => {
                return Err(KafkaError::MetadataFetch(
                    RDKafkaErrorCode::LeaderNotAvailable,
                ));
            }
            Some(leader) => self.topic.id(*leader, wait.saturating_sub(asked.elapsed())),
        };
        let id = match id {
            Err(code) if is_transient(code) => return Err(KafkaError::MetadataFetch(code)),
            // Who may not know it does without.
            id => id.unwrap_or(None),
        };
        Ok(Topic { leaders, id })
    }

    /// The broker that leads each partition; negative where there is none.
    fn leaders(&self, wait: Duration) -> Result<BTreeMap<i32, i32>, KafkaError> {
        let metadata = self.consumer().fetch_metadata(Some(&self.name), wait)?;
        let topic = metadata.topics().first();
        if let Some(error) = topic.and_then(|topic| topic.error()) {
            return Err(KafkaError::MetadataFetch(error.into()));
        }
        let partitions = topic.into_iter().flat_map(|topic| topic.partitions());
        Ok(partitions.map(|p| (p.id(), p.leader())).collect())
    }

    /// Creates the topic. That somebody else was faster is as good.
    ///
    /// # Errors
    /// [`Error::CreateTopic`], [`Error::Denied`], [`Error::Connect`] after
    /// `kafka.timeout`.
    pub(crate) fn create(&self, new: &NewTopic, cancel: &Cancel) -> Result<()> {
        // -1 is the broker's default for both.
        let partitions = new.partitions.unwrap_or(-1);
        let replication = new.replication.unwrap_or(-1);
        let refused = self.retry(cancel, |wait| {
            let created = self
                .topic
                .create(partitions, replication, &new.config, wait);
            match created {
                Err(refused) if is_transient(refused.code) => {
                    Err(KafkaError::AdminOp(refused.code))
                }
                created => Ok(created.err()),
            }
        });
        let reason = match refused {
            Err(failure) => return Err(self.error("retry for the creation", failure)),
            Ok(None) => return Ok(()),
            Ok(Some(refused)) if refused.code == RDKafkaErrorCode::TopicAlreadyExists => {
                return Ok(());
            }
            Ok(Some(refused)) => match self.denied("CREATE", refused.code) {
                Some(denied) => return Err(denied),
                None => refused.to_string(),
            },
        };
        Err(Error::CreateTopic {
            topic: self.name.clone(),
            reason,
        })
    }

    fn not_described(&self, failure: RequestFailure) -> Error {
        match failure {
            RequestFailure::Refused(
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
            ) => Error::TopicNotFound {
                topic: self.name.clone(),
                servers: self.servers.clone(),
                hint: String::new(),
            },
            failure => self.error("read the partitions", failure),
        }
    }

    /// The low watermarks and the ends (the last stable offsets where only
    /// committed records are read) of the partitions.
    pub(crate) fn watermarks(
        &self,
        partitions: &[i32],
        cancel: &Cancel,
    ) -> Result<BTreeMap<i32, OffsetRange>> {
        let low = self.offsets(partitions, Offset::Beginning, cancel)?;
        let high = self.offsets(partitions, Offset::End, cancel)?;
        Ok(low
            .into_iter()
            .map(|(partition, start)| {
                let end = high.get(&partition).copied().flatten();
                let start = start.unwrap_or(0);
                let end = end.unwrap_or(start).max(start);
                (partition, OffsetRange { start, end })
            })
            .collect())
    }

    /// The same, once the partitions end where `wait_for` says or later.
    ///
    /// # Errors
    /// [`Error::NotYetThere`] after `kafka.timeout`.
    pub(crate) fn watermarks_behind(
        &self,
        partitions: &[i32],
        wait_for: &BTreeMap<i32, i64>,
        cancel: &Cancel,
    ) -> Result<BTreeMap<i32, OffsetRange>> {
        if let Some(missing) = wait_for.keys().find(|p| !partitions.contains(p)) {
            return Err(Error::Request {
                act: "wait for the offsets",
                topic: self.name.clone(),
                reason: format!("it has no partition {missing} (`kafka.wait_for`)"),
            });
        }
        let deadline = Instant::now() + self.timeout;
        loop {
            let watermarks = self.watermarks(partitions, cancel)?;
            let end = |partition| watermarks.get(partition).map_or(0, |held| held.end);
            let missing = wait_for.iter().find(|(p, wanted)| end(p) < **wanted);
            let Some((&partition, &wanted)) = missing else {
                return Ok(watermarks);
            };
            if Instant::now() >= deadline || cancel.is_cancelled() {
                return Err(Error::NotYetThere {
                    topic: self.name.clone(),
                    partition,
                    end: end(&partition),
                    wanted,
                    timeout: self.timeout,
                });
            }
            // Whoever holds it up is another writer, of whom nothing is heard.
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Per partition the offset of the first record at or after `millis`;
    /// `None` where there is none.
    pub(crate) fn offsets_for_timestamp(
        &self,
        partitions: &[i32],
        millis: i64,
        cancel: &Cancel,
    ) -> Result<BTreeMap<i32, Option<i64>>> {
        self.offsets(partitions, Offset::Offset(millis), cancel)
    }

    /// One request per leader: librdkafka sends the list's offset field as the
    /// timestamp to look up, and -2 and -1 mean the two ends of the log there.
    fn offsets(
        &self,
        partitions: &[i32],
        at: Offset,
        cancel: &Cancel,
    ) -> Result<BTreeMap<i32, Option<i64>>> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let consumer = self.consumer();
        self.retry(cancel, |wait| {
            let mut list = TopicPartitionList::with_capacity(partitions.len());
            for partition in partitions {
                list.add_partition_offset(&self.name, *partition, at)?;
            }
            let list = consumer.offsets_for_times(list, wait)?;
            list.elements()
                .iter()
                .map(|element| {
                    element.error()?;
                    Ok((
                        element.partition(),
                        element.offset().to_raw().filter(|o| *o >= 0),
                    ))
                })
                .collect()
        })
        .map_err(|failure| self.error("read the offsets", failure))
    }

    /// The topic, to read its partitions from.
    pub(crate) fn handle(&self) -> Arc<TopicHandle<ErrorLog>> {
        Arc::clone(&self.topic)
    }

    /// Serves librdkafka's logs and errors; the last error is kept for messages.
    pub(crate) fn serve_events(&self) {
        serve_waiting(self.consumer());
    }

    /// What librdkafka complained about last, as the reason in an error.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.consumer().context().last()
    }

    /// Until when brokers take no more requests, where they have said so because of a quota.
    pub(crate) fn held_back_until(&self) -> Option<Instant> {
        self.consumer().context().held_back_until()
    }

    /// The offset that is fetched next of a partition, as librdkafka told last.
    pub(crate) fn next_offset(&self, partition: i32) -> Option<i64> {
        let context = self.consumer().context();
        context.next_offset(&self.name, partition)
    }

    /// How long the brokers let a transaction be open; `None` where they do not say, as to
    /// who has no right to read their configuration.
    ///
    /// # Errors
    /// [`Error::Connect`] after `kafka.timeout`, [`Error::Login`].
    pub(crate) fn longest_transaction(&self, cancel: &Cancel) -> Result<Option<Duration>> {
        let found = self.retry(cancel, |wait| {
            let asked = Instant::now();
            let metadata = self.consumer().fetch_metadata(Some(&self.name), wait)?;
            let Some(broker) = metadata.brokers().first() else {
                return Err(KafkaError::MetadataFetch(
                    RDKafkaErrorCode::BrokerNotAvailable,
                ));
            };
            let left = wait.saturating_sub(asked.elapsed());
            let name = "transaction.max.timeout.ms";
            let value = self.topic.broker_config(broker.id(), name, left);
            value.map_err(KafkaError::MetadataFetch)
        });
        match found {
            Ok(millis) => {
                let millis = millis.and_then(|millis| millis.parse().ok());
                Ok(millis.map(Duration::from_millis))
            }
            Err(RequestFailure::Refused(code)) => {
                log::debug!("the brokers do not tell their longest transaction: {code}");
                Ok(None)
            }
            Err(failure) => Err(self.error("read the brokers' configuration", failure)),
        }
    }

    fn retry<T>(
        &self,
        cancel: &Cancel,
        request: impl Fn(Duration) -> Result<T, KafkaError>,
    ) -> Result<T, RequestFailure> {
        let servers = &self.servers;
        retry(self.consumer(), servers, self.timeout, cancel, request)
    }

    /// The right that the brokers deny, where that is what the code says.
    pub(crate) fn denied(&self, operation: &'static str, code: RDKafkaErrorCode) -> Option<Error> {
        let principal = self.consumer().context().principal();
        Needs::on(operation, &self.name).denied(code, principal)
    }

    fn error(&self, act: &'static str, failure: RequestFailure) -> Error {
        let heard = self.consumer().context();
        let needs = Some(Needs::on("DESCRIBE", &self.name));
        failure.into_error(&self.servers, self.timeout, heard, needs, |reason| {
            Error::Request {
                act,
                topic: self.name.clone(),
                reason,
            }
        })
    }
}

/// How often ends are asked for that are waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("topic", &self.name).finish()
    }
}
