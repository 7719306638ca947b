//! Creates librdkafka clients from options, and asks them for partitions and offsets.
//!
//! Every call here blocks. Async code calls through [`blocking`], and scans call from their own
//! threads. No Tokio worker ever waits for a broker, and no client is destroyed on a Tokio
//! worker.

mod blocking;
mod connection;
mod create;
mod denied;
mod drop_on_thread;
mod error_log;
mod failure;
mod group;
mod kept;
mod listing;
mod measured;
mod offset_range;
mod offsets;
mod retry;
mod statistics;
pub(crate) mod threads;
mod topic;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka_extra::{MessageQueue, TopicHandle, TopicId, rebootstrap};

pub(crate) use self::blocking::{Cancel, blocking};
use self::create::{config_of_scan, config_within};
pub(crate) use self::create::{create, set_statistics_interval};
pub(crate) use self::denied::{Needs, Pattern};
pub(crate) use self::drop_on_thread::DropOnThread;
pub(crate) use self::error_log::ErrorLog;
use self::failure::RequestFailure;
pub(crate) use self::failure::is_transient;
pub(crate) use self::group::Group;
pub(crate) use self::kept::{KeptClients, Place, Reuse};
pub(crate) use self::listing::topics;
pub use self::measured::{ClientKind, RoundTrips};
pub(crate) use self::measured::{Measure, Measurements};
pub(crate) use self::offset_range::OffsetRange;
pub(crate) use self::retry::WARN_AFTER;
use self::retry::{ATTEMPT_TIMEOUT, retry, serve_waiting};
pub(crate) use self::topic::Topic;
use crate::error::{Error, ErrorCode, FetchFailure, Result};
use crate::options::{NewTopic, TableOptions};

/// In place of the id of a broker.
const NO_BROKER: i32 = -1;

/// A client that reads: metadata, offsets, records.
pub(crate) struct Client {
    topic: DropOnThread<Arc<TopicHandle<ErrorLog>>>,
    /// A broker that leads a partition, or [`NO_BROKER`].
    leader: AtomicI32,
    name: String,
    servers: String,
    timeout: Duration,
    memory: usize,
    /// Where the client goes when it is dropped. `None` if it is destroyed then.
    place: Mutex<Option<Place>>,
}

impl Client {
    /// Creates a client for one topic, without connecting.
    pub(crate) fn new(topic: &str, options: &TableOptions) -> Result<Self> {
        Self::with_memory(topic, options, usize::MAX)
    }

    /// A client that the session keeps, or else a new one. The session keeps it, unless a request
    /// fails or the client is [discarded](Self::discard).
    pub(crate) fn kept(topic: &str, options: &TableOptions, kept: &KeptClients) -> Result<Self> {
        let config = config_within(options, usize::MAX)?;
        Self::make(topic, options, config, usize::MAX, None, kept)
    }

    /// The same, for a client that is measured.
    pub(crate) fn measured(topic: &str, options: &TableOptions, measure: Measure) -> Result<Self> {
        let (config, none) = (config_within(options, usize::MAX)?, KeptClients::default());
        Self::make(topic, options, config, usize::MAX, Some(measure), &none)
    }

    /// As [`new`](Self::new), with `bytes` bytes of memory per partition. A fetch and the queue
    /// each take only a part of that memory, unless an option sets their size.
    pub(crate) fn with_memory(topic: &str, options: &TableOptions, bytes: usize) -> Result<Self> {
        let (config, none) = (config_within(options, bytes)?, KeptClients::default());
        Self::make(topic, options, config, bytes, None, &none)
    }

    /// As [`kept`](Self::kept), for a scan that ends, [with this memory](Self::with_memory).
    pub(crate) fn of_scan(
        topic: &str,
        options: &TableOptions,
        bytes: usize,
        kept: &KeptClients,
    ) -> Result<Self> {
        let config = config_of_scan(options, bytes)?;
        Self::make(topic, options, config, bytes, None, kept)
    }

    fn make(
        topic: &str,
        options: &TableOptions,
        config: ClientConfig,
        bytes: usize,
        measure: Option<Measure>,
        kept: &KeptClients,
    ) -> Result<Self> {
        let servers = options.client.bootstrap_servers()?.to_owned();
        let place = kept.place(Some(topic), &config, options);
        let handle = match place.as_ref().and_then(Place::take) {
            Some(handle) => handle,
            None => {
                let context = |heard: ErrorLog| heard.measured_by(measure);
                let consumer: BaseConsumer<_> = create(config, options.timeout, context)?;
                let handle = TopicHandle::new(consumer, topic).map_err(|_| Error::Request {
                    act: "use the name",
                    topic: topic.to_owned(),
                    code: None,
                    reason: "librdkafka rejects it".to_owned(),
                })?;
                DropOnThread::new(Arc::new(handle))
            }
        };
        Ok(Client {
            topic: handle,
            leader: AtomicI32::new(NO_BROKER),
            name: topic.to_owned(),
            servers,
            timeout: options.timeout,
            memory: bytes,
            place: Mutex::new(place),
        })
    }

    /// Has the client destroyed when it is dropped, since its statement did not end well.
    pub(crate) fn discard(&self) {
        self.place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// The memory that [`with_memory`](Self::with_memory) was given.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    pub(crate) fn topic_name(&self) -> &str {
        &self.name
    }

    fn consumer(&self) -> &BaseConsumer<ErrorLog> {
        self.topic.consumer()
    }

    /// The topic's partitions, in ascending order.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`], [`Error::Connect`] after `kafka.timeout`.
    pub(crate) fn partitions(&self, cancel: &Cancel) -> Result<Vec<i32>> {
        let leaders = self.retry(cancel, |wait| self.leaders(wait));
        let leaders = leaders.map_err(|failure| self.not_described(failure))?;
        Ok(leaders.into_keys().collect())
    }

    /// The topic's partitions, in ascending order, and the topic's id.
    ///
    /// # Errors
    /// As [`partitions`](Self::partitions).
    pub(crate) fn topic(&self, cancel: &Cancel) -> Result<Topic> {
        self.retry(cancel, |wait| self.describe(wait))
            .map_err(|failure| self.not_described(failure))
    }

    /// What happened to the topic with this id, as the reason in an error: the topic was deleted,
    /// or it was recreated. The brokers are asked only once.
    pub(crate) fn topic_lost(&self, id: Option<TopicId>) -> Option<FetchFailure> {
        self.count_partitions(id).err()
    }

    /// The number of partitions of the topic with this id. `None` when no broker answers
    /// immediately. An error says [what happened](Self::topic_lost) to the topic.
    pub(crate) fn count_partitions(
        &self,
        id: Option<TopicId>,
    ) -> Result<Option<usize>, FetchFailure> {
        let described = self.describe(ATTEMPT_TIMEOUT);
        if described.is_err() {
            self.discard();
        }
        match described {
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

    /// Asks a broker that leads a partition, since it is connected anyway. Where no such broker is
    /// known, the topic's metadata says which one it is.
    fn describe(&self, wait: Duration) -> Result<Topic, KafkaError> {
        let asked = Instant::now();
        let leaders = match self.leader.load(Ordering::Relaxed) {
            NO_BROKER => Some(self.leaders(wait)?),
            _ => None,
        };
        let leader = self.leader.load(Ordering::Relaxed);
        if leader == NO_BROKER {
            let code = RDKafkaErrorCode::LeaderNotAvailable;
            return Err(KafkaError::MetadataFetch(code));
        }
        let left = || wait.saturating_sub(asked.elapsed());
        let code = match self.topic.describe(leader, left()) {
            Ok(topic) => return Ok(Topic::from(topic)),
            Err(code) => code,
        };
        self.leader.store(NO_BROKER, Ordering::Relaxed);
        match leaders {
            // What was known about the broker may be old.
            None if !left().is_zero() => self.describe(left()),
            None => Err(KafkaError::MetadataFetch(code)),
            Some(_) if is_transient(code) => Err(KafkaError::MetadataFetch(code)),
            // A client that is not allowed to know the id works without it.
            Some(leaders) => Ok(Topic { leaders, id: None }),
        }
    }

    /// The id of the broker that leads each partition; negative where the partition has no
    /// leader.
    fn leaders(&self, wait: Duration) -> Result<BTreeMap<i32, i32>, KafkaError> {
        let metadata = self.consumer().fetch_metadata(Some(&self.name), wait)?;
        let topic = metadata.topics().first();
        if let Some(error) = topic.and_then(|topic| topic.error()) {
            return Err(KafkaError::MetadataFetch(error.into()));
        }
        let partitions = topic.into_iter().flat_map(|topic| topic.partitions());
        let leaders: BTreeMap<i32, i32> = partitions.map(|p| (p.id(), p.leader())).collect();
        let leader = leaders.values().copied().find(|leader| *leader >= 0);
        self.leader
            .store(leader.unwrap_or(NO_BROKER), Ordering::Relaxed);
        Ok(leaders)
    }

    /// Creates the topic. A topic that another client has just created is not an error.
    ///
    /// # Errors
    /// [`Error::CreateTopic`], [`Error::Denied`], [`Error::Connect`] after
    /// `kafka.timeout`.
    pub(crate) fn create(&self, new: &NewTopic, cancel: &Cancel) -> Result<()> {
        // -1 stands for the broker's default in both.
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
        let refused = match refused {
            Err(failure) => return Err(self.error("request the creation", failure)),
            Ok(None) => return Ok(()),
            Ok(Some(refused)) if refused.code == RDKafkaErrorCode::TopicAlreadyExists => {
                return Ok(());
            }
            Ok(Some(refused)) => match self.denied("CREATE", refused.code) {
                Some(denied) => return Err(denied),
                None => refused,
            },
        };
        Err(Error::CreateTopic {
            topic: self.name.clone(),
            code: ErrorCode::of(refused.code),
            reason: refused.to_string(),
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

    /// The handle to read the topic's partitions with.
    pub(crate) fn handle(&self) -> Arc<TopicHandle<ErrorLog>> {
        Arc::clone(&self.topic)
    }

    /// A queue for the records of the topic's partitions.
    pub(crate) fn queue(&self) -> Result<Arc<MessageQueue<ErrorLog>>> {
        let queue = MessageQueue::new(self.handle());
        queue.map(Arc::new).map_err(|code| Error::CreateClient {
            reason: code.to_string(),
        })
    }

    /// Serves librdkafka's logs and errors. The last error is kept for messages.
    pub(crate) fn serve_events(&self) {
        serve_waiting(self.consumer());
    }

    /// The last error that librdkafka reported, as the reason in an error.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.consumer().context().last()
    }

    /// The time until which brokers throttle requests because of a quota, where they have said
    /// so.
    pub(crate) fn held_back_until(&self) -> Option<Instant> {
        self.consumer().context().held_back_until()
    }

    /// The next offset to be fetched from a partition, by librdkafka's last statistics.
    pub(crate) fn next_offset(&self, partition: i32) -> Option<i64> {
        let context = self.consumer().context();
        context.next_offset(&self.name, partition)
    }

    /// The longest time for which brokers let a transaction stay open. `None` where the brokers
    /// do not reveal it, for instance to a client that may not read their configuration.
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
                log::debug!("the brokers do not reveal `transaction.max.timeout.ms`: {code}");
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
        let answer = retry(self.consumer(), servers, self.timeout, cancel, request);
        if answer.is_err() {
            self.discard();
        }
        answer
    }

    /// The error that names the denied right, where the code means a denied right.
    pub(crate) fn denied(&self, operation: &'static str, code: RDKafkaErrorCode) -> Option<Error> {
        let principal = self.consumer().context().principal();
        Needs::on(operation, &self.name).denied(code, principal)
    }

    fn error(&self, act: &'static str, failure: RequestFailure) -> Error {
        let heard = self.consumer().context();
        let needs = Some(Needs::on("DESCRIBE", &self.name));
        failure.into_error(&self.servers, self.timeout, heard, needs, |code| {
            Error::Request {
                act,
                topic: self.name.clone(),
                code: ErrorCode::of(code),
                reason: code.to_string(),
            }
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let place = self.place.get_mut().unwrap_or_else(PoisonError::into_inner);
        // A handle that is still used elsewhere has a reader or records.
        if let Some(place) = place.take()
            && Arc::strong_count(&self.topic) == 1
        {
            place.give_back(self.topic.take());
        }
    }
}

impl Reuse for DropOnThread<Arc<TopicHandle<ErrorLog>>> {
    fn renew(&self) -> bool {
        serve_waiting(self.consumer());
        self.consumer().context().renew()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("topic", &self.name).finish()
    }
}
