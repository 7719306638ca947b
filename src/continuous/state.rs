//! [`QueryState`]: the state that a continuous query shares with its handle.

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
    /// The query connects, or reads existing records for the first time.
    Starting,
    /// The query has committed, or has found nothing to do.
    Running,
    /// The query has failed for a reason that may pass. After a pause it restarts from its
    /// committed offsets.
    Retrying {
        /// What failed.
        error: Error,
        /// The number of failures in a row.
        attempts: u32,
    },
    /// The query was stopped, and has committed what it had read.
    Stopped,
    /// The query has ended with an error that a retry does not solve.
    Failed(Error),
}

/// How far a continuous query has come.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct QueryProgress {
    /// Every Kafka partition that is read, by topic and number. Topics whose end offsets the
    /// brokers have not reported yet are missing.
    pub inputs: Vec<InputProgress>,
    /// The age of the end offsets: of the topic whose end offsets are the oldest. Not much more
    /// than a second as long as the brokers answer. Zero if the query reads no topic. `None`
    /// until the brokers have reported the end offsets of all topics.
    pub ends_age: Option<Duration>,
    /// Records that were read since the query was started by this process. Tombstones, records
    /// that are no rows, and records that were read again after a failure count too. Records of
    /// the output do not count.
    pub records_read: u64,
    /// The bytes of the keys and payloads of these records, decompressed.
    pub bytes_read: u64,
    /// Records with a payload that were sent.
    pub upserts: u64,
    /// Tombstones that were sent.
    pub tombstones: u64,
    /// Rows for which nothing was sent, because the output already held them.
    pub unchanged: u64,
    /// The bytes of the sent keys and payloads, before compression.
    pub bytes_written: u64,
    /// Records that went to `kafka.dead_letter.topic`, because they did not fit their table or the
    /// brokers refused them.
    pub dead_letters: u64,
    /// The number of commits of records or of new offsets. Commits that only repeat the offsets
    /// of an idle query, so that brokers keep them, do not count.
    pub commits: u64,
    /// When offsets were last committed, new or repeated.
    pub last_commit: Option<SystemTime>,
    /// The number of refreshes, in each of which the whole query ran. 0 for a query that runs
    /// record by record.
    pub refreshes: u64,
    /// How long the last refresh took, from looking for new records to the commit.
    pub refresh_time: Option<Duration>,
    /// When the last refresh ended.
    pub last_refresh: Option<SystemTime>,
    /// The number of restarts after a failure.
    pub restarts: u64,
    /// The memory of the rows and keys that the query keeps, in bytes, as reserved in the
    /// session's memory pool.
    pub kept_bytes: usize,
    /// Records in the producer's queue that are not sent or not acknowledged yet, by
    /// librdkafka's last statistics. These come every few seconds, or at the interval
    /// `kafka.client.statistics.interval.ms` of the output.
    pub queued_records: u64,
    /// The bytes of these records, by the same statistics.
    pub queued_bytes: u64,
    /// How long the brokers took to answer, by the same statistics.
    pub round_trips: Vec<RoundTrips>,
}

impl QueryProgress {
    /// The number of offsets that are still to be read, over all partitions.
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
    /// The committed position: the next offset to read. All records before it are written or
    /// are no rows. `None` if no offset of the partition is committed yet.
    pub position: Option<i64>,
    /// The offset at which the query began to read the partition, or at which it begins now.
    pub start: i64,
    /// The end offset of the partition when the brokers were last asked.
    pub end: i64,
}

impl InputProgress {
    /// The number of offsets that are still to be read.
    pub fn lag(&self) -> u64 {
        let read = self.position.unwrap_or(self.start);
        u64::try_from(self.end - read).unwrap_or(0)
    }
}

/// Where a query began, and how far it has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checkpoint {
    /// The next offsets to read. Partitions whose start is a record that has not come yet, as
    /// with a start time in the future, are missing.
    pub(crate) positions: Positions,
    /// Where the query began to read at its first start.
    pub(crate) starts: Positions,
    /// The ids of the topics, if the brokers report them.
    pub(crate) sources: BTreeMap<String, TopicId>,
}

/// The state of a continuous query. Its handle, its runner and its writer share it.
pub(crate) struct QueryState {
    name: String,
    /// The options of the output, whose servers keep the offsets.
    options: TableOptions,
    /// Identifies this instance of the query. It stays the same after a restart.
    id: String,
    /// The instance of the current attempt.
    instance: Mutex<Option<Arc<QueryInstance>>>,
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
    /// When the end offsets of each watched topic were last reported. `None` before any topic is
    /// watched.
    looked: Option<BTreeMap<String, Option<Instant>>>,
    /// The sum of the earlier attempts.
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
            instance: Mutex::default(),
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

    /// Makes the instance of a new attempt.
    pub(crate) fn new_instance(&self) -> Result<Arc<QueryInstance>> {
        let instance = QueryInstance::new(&self.name, &self.id, &self.options, &self.measurements)?;
        let instance = Arc::new(instance);
        *self.current() = Some(Arc::clone(&instance));
        Ok(instance)
    }

    /// The instance of the current attempt.
    pub(crate) fn instance(&self) -> Option<Arc<QueryInstance>> {
        self.current().clone()
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<QueryInstance>>> {
        self.instance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the producer that the current attempt writes with.
    pub(crate) fn set_producer(&self, producer: Producer) {
        *self.producer() = Some(producer);
    }

    /// The last committed checkpoint.
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

    pub(crate) fn set_status(&self, status: QueryStatus) {
        self.status.send_replace(status);
    }

    pub(crate) fn status(&self) -> watch::Receiver<QueryStatus> {
        self.status.subscribe()
    }

    /// Begins a new attempt. The counts of earlier attempts are added up.
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

    /// What librdkafka measures in the query's clients.
    pub(crate) fn measurements(&self) -> &Arc<Measurements> {
        &self.measurements
    }

    /// Counts what the scans read.
    pub(crate) fn reads(&self) -> &Reads {
        &self.reads
    }

    pub(crate) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Records a refresh, and how long it took.
    pub(crate) fn refreshed(&self, time: Duration) {
        let mut counts = self.counts();
        counts.refreshes += 1;
        counts.refresh_time = Some(time);
        counts.last_refresh = Some(SystemTime::now());
    }

    /// Adds topics whose end offsets are watched from now on.
    pub(crate) fn watches(&self, topics: impl IntoIterator<Item = String>) {
        let mut counts = self.counts();
        let looked = counts.looked.get_or_insert_default();
        for topic in topics {
            looked.entry(topic).or_default();
        }
    }

    /// Records the watermarks of a topic's partitions.
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
        self.stop.subscribe()
    }

    fn passed(&self) -> &Arc<Passed> {
        &self.passed
    }

    fn refused(&self) -> &Refused {
        &self.refused
    }

    fn running(&self) {
        self.set_status(QueryStatus::Running);
    }

    fn batch(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    fn keeps(&self, bytes: usize) {
        self.kept_bytes.store(bytes, Ordering::Relaxed);
    }

    fn committed(&self, read: &Positions, report: &WriteReport) {
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

    fn renewed(&self) {
        self.counts().last_commit = Some(SystemTime::now());
    }
}

impl fmt::Debug for QueryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryState")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
