//! What a continuous query and whoever started it know together.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rdkafka_extra::TopicId;
use tokio::sync::watch;

use crate::client::{Measurements, OffsetRange, RoundTrips};
use crate::continuous::reads::Reads;
use crate::error::{Error, Result};
use crate::options::TableOptions;
use crate::sink::instance::{Positions, QueryInstance, random_id};
use crate::sink::observer::StreamingQuery;
use crate::sink::producer::Producer;
use crate::sink::refused::Refused;
use crate::sink::report::WriteReport;
use crate::source::passed::Passed;

/// Whether a continuous query runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum QueryStatus {
    /// It reads what is there already, or connects.
    Starting,
    /// It has committed, or has found nothing to do.
    Running,
    /// Something failed that may pass; it begins again where it has committed to.
    Retrying {
        /// What failed.
        error: Error,
        /// How often in a row.
        attempts: u32,
    },
    /// It was told to stop, and has committed what it had read.
    Stopped,
    /// It ended with an error that trying again does not help.
    Failed(Error),
}

/// How far a continuous query has come.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct QueryProgress {
    /// Every Kafka partition that is read, by topic and number, of topics of which the brokers
    /// have said where they end.
    pub inputs: Vec<InputProgress>,
    /// How long ago the brokers said where the topics of the query end: of the topic for which
    /// that is longest. Not much more than a second as long as they answer, and zero where there
    /// is no topic. `None` before they have said that of all topics.
    pub ends_age: Option<Duration>,
    /// Records that were read, since the query was started here: tombstones, records that are no
    /// rows, and records that were read again after a failure too. Those of the output are not
    /// among them.
    pub records_read: u64,
    /// The bytes of their keys and payloads, decompressed.
    pub bytes_read: u64,
    /// Records with a payload that were sent.
    pub upserts: u64,
    /// Tombstones that were sent.
    pub tombstones: u64,
    /// Rows that the output held already, for which nothing was sent.
    pub unchanged: u64,
    /// The bytes of the keys and payloads that were sent, before compression.
    pub bytes_written: u64,
    /// Records that did not fit and went to `kafka.dead_letter.topic`.
    pub dead_letters: u64,
    /// How often something was committed: records, or how far was read. Offsets that are
    /// committed again while nothing comes, so that brokers keep them, do not count.
    pub commits: u64,
    /// When offsets were last committed, for the first time or again.
    pub last_commit: Option<SystemTime>,
    /// How often the query ran as a whole; 0 of a query that takes its records one
    /// by one.
    pub refreshes: u64,
    /// How long the last of these took, from looking for new records to the commit.
    pub refresh_time: Option<Duration>,
    /// When the last of these ended.
    pub last_refresh: Option<SystemTime>,
    /// How often the query began again after a failure.
    pub restarts: u64,
    /// The bytes of memory that the rows and keys which are kept take, as they were reserved in
    /// the session's memory pool.
    pub kept_bytes: usize,
    /// Records that wait in the producer, are not sent or not acknowledged, as librdkafka last
    /// said: every few seconds, or as `kafka.client.statistics.interval.ms` of the output says.
    pub queued_records: u64,
    /// The bytes of these records, likewise.
    pub queued_bytes: u64,
    /// How long the brokers took to answer, likewise.
    pub round_trips: Vec<RoundTrips>,
}

impl QueryProgress {
    /// The offsets that are still to be read, of all partitions.
    pub fn lag(&self) -> u64 {
        self.inputs.iter().map(InputProgress::lag).sum()
    }
}

/// How far one Kafka partition was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InputProgress {
    /// The topic.
    pub topic: String,
    /// The Kafka partition.
    pub partition: i32,
    /// The next offset to be read, which is committed: all records before it are written,
    /// or are no rows. `None` where nothing is committed yet.
    pub position: Option<i64>,
    /// Where the query began to read the partition, or where it begins now.
    pub start: i64,
    /// Where the partition ended when brokers were last asked.
    pub end: i64,
}

impl InputProgress {
    /// The offsets that are still to be read.
    pub fn lag(&self) -> u64 {
        let read = self.position.unwrap_or(self.start);
        u64::try_from(self.end - read).unwrap_or(0)
    }
}

/// Where a query has begun, and come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checkpoint {
    /// The next offsets to be read. Without partitions that begin with a record which
    /// has not come yet.
    pub(crate) positions: Positions,
    /// Where the query began to read at its first start.
    pub(crate) starts: Positions,
    /// The ids of the topics, where brokers tell them.
    pub(crate) sources: BTreeMap<String, TopicId>,
}

/// Shared by a query, what runs it, and whoever started it.
pub(crate) struct QueryState {
    name: String,
    /// Of the output: its servers keep the offsets.
    options: TableOptions,
    /// Of this instance of it, which is the same one however often it begins again.
    id: String,
    /// The instance since it began last.
    member: Mutex<Option<Arc<QueryInstance>>>,
    producer: Mutex<Option<Producer>>,
    stop: watch::Sender<bool>,
    status: watch::Sender<QueryStatus>,
    counts: Mutex<Counts>,
    passed: Arc<Passed>,
    refused: Refused,
    batches: AtomicU64,
    measurements: Arc<Measurements>,
    reads: Reads,
    kept_bytes: AtomicUsize,
}

#[derive(Default)]
struct Counts {
    begun: Checkpoint,
    held: BTreeMap<String, BTreeMap<i32, OffsetRange>>,
    /// When brokers said where a topic ends, of every topic that is watched; `None` before any is.
    looked: Option<BTreeMap<String, Option<Instant>>>,
    /// Of the attempts before this one.
    before: WriteReport,
    now: WriteReport,
    commits: u64,
    last_commit: Option<SystemTime>,
    refreshes: u64,
    refresh_time: Option<Duration>,
    last_refresh: Option<SystemTime>,
    attempts: u64,
}

impl Counts {
    fn ends_age(&self) -> Option<Duration> {
        let mut looked = self.looked.as_ref()?.values();
        looked.try_fold(Duration::ZERO, |oldest, looked| {
            Some(oldest.max(looked.as_ref()?.elapsed()))
        })
    }
}

impl QueryState {
    pub(crate) fn new(name: &str, options: TableOptions) -> Self {
        QueryState {
            name: name.to_owned(),
            options,
            id: random_id(),
            member: Mutex::default(),
            producer: Mutex::default(),
            stop: watch::Sender::new(false),
            status: watch::Sender::new(QueryStatus::Starting),
            counts: Mutex::default(),
            passed: Arc::default(),
            refused: Refused::default(),
            batches: AtomicU64::new(0),
            measurements: Arc::default(),
            reads: Reads::default(),
            kept_bytes: AtomicUsize::new(0),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Of the one topic of a query that takes its records one by one.
    pub(crate) fn passed(&self) -> &Arc<Passed> {
        &self.passed
    }

    /// Which records the output does not take, where they go to the dead letters.
    pub(crate) fn refused(&self) -> &Refused {
        &self.refused
    }

    /// This instance of the query, which begins.
    pub(crate) fn new_member(&self) -> Result<Arc<QueryInstance>> {
        let member = QueryInstance::new(&self.name, &self.id, &self.options, &self.measurements)?;
        let member = Arc::new(member);
        *self.current() = Some(Arc::clone(&member));
        Ok(member)
    }

    /// The same, once it has begun.
    pub(crate) fn member(&self) -> Option<Arc<QueryInstance>> {
        self.current().clone()
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<QueryInstance>>> {
        self.member.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the instance that begins writes with.
    pub(crate) fn set_producer(&self, producer: Producer) {
        *self.producer() = Some(producer);
    }

    /// Where the query has begun, and come to since: what is committed.
    pub(crate) fn begun(&self) -> Checkpoint {
        self.counts().begun.clone()
    }

    pub(crate) fn set_begun(&self, begun: Checkpoint) {
        self.counts().begun = begun;
    }

    fn producer(&self) -> MutexGuard<'_, Option<Producer>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    pub(crate) fn set_status(&self, status: QueryStatus) {
        self.status.send_replace(status);
    }

    pub(crate) fn status(&self) -> watch::Receiver<QueryStatus> {
        self.status.subscribe()
    }

    /// Counts begin anew with an attempt; those before stay.
    pub(crate) fn begin(&self) {
        self.measurements.forget();
        self.keeps(0);
        let mut counts = self.counts();
        counts.attempts += 1;
        let now = std::mem::take(&mut counts.now);
        counts.before.upserts += now.upserts;
        counts.before.tombstones += now.tombstones;
        counts.before.unchanged += now.unchanged;
        counts.before.dead_letters += now.dead_letters;
        counts.before.bytes += now.bytes;
    }

    /// Takes down what an attempt has committed by now.
    pub(crate) fn committed(&self, read: &Positions, report: &WriteReport) {
        let mut counts = self.counts();
        for (topic, positions) in read {
            let all = counts.begun.positions.entry(topic.clone()).or_default();
            all.extend(positions);
        }
        counts.now = report.clone();
        counts.commits += 1;
        counts.last_commit = Some(SystemTime::now());
        drop(counts);
        self.set_status(QueryStatus::Running);
    }

    /// Takes down that the same offsets were committed again.
    pub(crate) fn renewed(&self) {
        self.counts().last_commit = Some(SystemTime::now());
    }

    /// What librdkafka measures of the clients.
    pub(crate) fn measurements(&self) -> &Arc<Measurements> {
        &self.measurements
    }

    /// What the scans have read.
    pub(crate) fn reads(&self) -> &Reads {
        &self.reads
    }

    /// Takes down how many bytes the rows and keys hold that are kept.
    pub(crate) fn keeps(&self, bytes: usize) {
        self.kept_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Something was done with a batch of rows.
    pub(crate) fn batch(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Counts a refresh that took so long.
    pub(crate) fn refreshed(&self, time: Duration) {
        let mut counts = self.counts();
        counts.refreshes += 1;
        counts.refresh_time = Some(time);
        counts.last_refresh = Some(SystemTime::now());
    }

    /// From now on it is looked where these topics end.
    pub(crate) fn watches(&self, topics: impl IntoIterator<Item = String>) {
        let mut counts = self.counts();
        let looked = counts.looked.get_or_insert_default();
        for topic in topics {
            looked.entry(topic).or_default();
        }
    }

    /// Takes down what the partitions of a topic hold.
    pub(crate) fn holds(&self, topic: &str, held: BTreeMap<i32, OffsetRange>) {
        let mut counts = self.counts();
        let looked = counts.looked.get_or_insert_default();
        looked.insert(topic.to_owned(), Some(Instant::now()));
        counts.held.insert(topic.to_owned(), held);
    }

    pub(crate) fn progress(&self) -> QueryProgress {
        let counts = self.counts();
        let mut inputs = Vec::new();
        for (topic, held) in &counts.held {
            let of_topic = |all: &Positions, p: &i32| all.get(topic)?.get(p).copied();
            for (partition, held) in held {
                let start = of_topic(&counts.begun.starts, partition);
                inputs.push(InputProgress {
                    topic: topic.clone(),
                    partition: *partition,
                    position: of_topic(&counts.begun.positions, partition),
                    start: start.unwrap_or(held.start),
                    end: held.end,
                });
            }
        }
        let read = self.reads.count();
        let queue = self.measurements.queue();
        QueryProgress {
            inputs,
            ends_age: counts.ends_age(),
            records_read: read.records,
            bytes_read: read.bytes,
            upserts: counts.before.upserts + counts.now.upserts,
            tombstones: counts.before.tombstones + counts.now.tombstones,
            unchanged: counts.before.unchanged + counts.now.unchanged,
            bytes_written: counts.before.bytes + counts.now.bytes,
            dead_letters: counts.before.dead_letters + counts.now.dead_letters,
            commits: counts.commits,
            last_commit: counts.last_commit,
            refreshes: counts.refreshes,
            refresh_time: counts.refresh_time,
            last_refresh: counts.last_refresh,
            restarts: counts.attempts.saturating_sub(1),
            kept_bytes: self.kept_bytes.load(Ordering::Relaxed),
            queued_records: queue.records,
            queued_bytes: queue.bytes,
            round_trips: self.measurements.round_trips(),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamingQuery for QueryState {
    fn take_producer(&self) -> Option<Producer> {
        self.producer().take()
    }

    fn positions(&self) -> Positions {
        self.counts().begun.positions.clone()
    }

    fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped()
    }

    fn passed(&self) -> &Arc<Passed> {
        &self.passed
    }

    fn refused(&self) -> &Refused {
        self.refused()
    }

    fn running(&self) {
        self.set_status(QueryStatus::Running);
    }

    fn batch(&self) {
        self.batch();
    }

    fn keeps(&self, bytes: usize) {
        self.keeps(bytes);
    }

    fn committed(&self, read: &Positions, report: &WriteReport) {
        self.committed(read, report);
    }

    fn renewed(&self) {
        self.renewed();
    }
}

impl fmt::Debug for QueryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryState")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
