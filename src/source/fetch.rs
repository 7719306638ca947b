//! Fetching the records of one partition from a broker.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka_extra::{Message, Messages, PartitionReader, Record, TopicId};

use crate::client::{Cancel, Client, ErrorLog, is_transient};
use crate::error::{Error, FetchFailure, Result};

/// Records that were fetched together, oldest first.
pub(crate) trait Chunk {
    type Record<'a>: Record
    where
        Self: 'a;

    fn len(&self) -> usize;
    fn get(&self, index: usize) -> Option<Self::Record<'_>>;
    fn clear(&mut self);
}

/// Whether there is more to fetch before the requested end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchProgress {
    More,
    End,
}

/// A partition to read: on a broker, or a list of records in tests.
pub(crate) trait Fetch {
    type Chunk: Chunk;

    /// An empty chunk to be filled by [`fetch`](Self::fetch).
    fn chunk(&self) -> Self::Chunk;

    /// Continues at `start`. Does not wait for records; the client starts to fetch them
    /// immediately.
    fn seek(&mut self, start: i64) -> Result<()>;

    /// The offset of the first record with this timestamp, in milliseconds, or a later one.
    /// `None` where no record is that new.
    fn offset_for_timestamp(&mut self, millis: i64) -> Result<Option<i64>>;

    /// Appends records with offsets below `end` to the chunk.
    ///
    /// Returns after a short while even when no record came, so that the caller can check for
    /// cancellation. `end` need not be the offset of a record: markers, aborted records and
    /// compacted records leave gaps.
    fn fetch(&mut self, end: i64, chunk: &mut Self::Chunk) -> Result<FetchProgress>;

    /// The next offset to read: the one after the last record. Once the end of the partition was
    /// reached, also after any trailing offsets that are not records.
    fn position(&self) -> i64;

    /// Waits for a short while without reading, and returns the current number of partitions of
    /// the topic, which is at least `partitions`.
    fn wait_for_more(&mut self, partitions: i32) -> Result<i32>;
}

/// The longest wait for a record before cancellation is checked.
const POLL: Duration = Duration::from_millis(100);

/// The most records that one call may return where memory allows it. librdkafka's queue bounds
/// the size of their keys and payloads.
const MAX_RECORDS: usize = 16 * 1024;

/// About how many bytes librdkafka uses for a record besides its key, payload and headers.
pub(crate) const RECORD_OVERHEAD: usize = 320;

/// How long no record may come before the brokers are asked whether the topic still exists.
/// librdkafka itself would continue for half a minute.
const SILENCE_CHECK: Duration = Duration::from_secs(2);

/// How often the brokers are asked about the topic of an unbounded scan.
const UNBOUNDED_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Settings of a scan that does not stop at the end of a partition.
#[derive(Clone)]
pub(crate) struct Follow {
    /// The longest wait for a record, where that is shorter than the default.
    pub(crate) poll: Duration,
    /// Called with the topic's number of partitions.
    pub(crate) on_partitions: OnPartitions,
}

/// Starts to read those partitions, of the given number, that no stream reads yet.
pub(crate) type OnPartitions = Arc<dyn Fn(i32) -> Result<()> + Send + Sync>;

/// A partition of a real topic.
pub(crate) struct PartitionFetch {
    client: Arc<Client>,
    /// Set by the first seek.
    reader: Option<PartitionReader<ErrorLog>>,
    topic: String,
    /// The id of the topic to read. A recreated topic of the same name has another id.
    topic_id: Option<TopicId>,
    partition: i32,
    retry_timeout: Duration,
    cancel: Arc<Cancel>,
    unbounded: Option<Follow>,
    /// The most records that one call may bring.
    max_records: usize,
    topic_checked: Instant,
    /// The number of partitions at that time; 0 before the first check.
    partitions: i32,
    position: i64,
    /// The client's next offset when it was last looked up.
    next: Option<i64>,
    /// How long no record came. Only time spent in waiting counts.
    waited: Duration,
    looked_up: Duration,
}

impl PartitionFetch {
    pub(crate) fn new(
        client: Arc<Client>,
        topic: &str,
        partition: i32,
        retry_timeout: Duration,
    ) -> Self {
        PartitionFetch {
            client,
            reader: None,
            topic: topic.to_owned(),
            topic_id: None,
            partition,
            retry_timeout,
            cancel: Arc::new(Cancel::never()),
            unbounded: None,
            max_records: MAX_RECORDS,
            topic_checked: Instant::now(),
            partitions: 0,
            position: 0,
            next: None,
            waited: Duration::ZERO,
            looked_up: Duration::ZERO,
        }
    }

    /// Limits one call to records that fit into `bytes` bytes of memory.
    pub(crate) fn within(self, bytes: usize) -> Self {
        PartitionFetch {
            max_records: (bytes / RECORD_OVERHEAD).clamp(1, MAX_RECORDS),
            ..self
        }
    }

    /// Abandons requests when they are cancelled.
    pub(crate) fn cancelled_by(self, cancel: Arc<Cancel>) -> Self {
        PartitionFetch { cancel, ..self }
    }

    /// Fails when the topic was recreated under the same name.
    pub(crate) fn of(self, topic_id: Option<TopicId>) -> Self {
        PartitionFetch { topic_id, ..self }
    }

    /// Does not treat silence as a failure as long as brokers answer.
    pub(crate) fn unbounded(self, unbounded: Option<Follow>) -> Self {
        PartitionFetch { unbounded, ..self }
    }

    /// Checks from time to time that the topic still has the same id, and looks up its number of
    /// partitions.
    fn check_topic(&mut self, unbounded: &Follow) -> Result<()> {
        if self.topic_checked.elapsed() < UNBOUNDED_CHECK_INTERVAL.min(self.retry_timeout / 4) {
            return Ok(());
        }
        self.client.serve_events();
        let found = self.client.count_partitions(self.topic_id);
        self.topic_checked = Instant::now();
        match found {
            Err(reason) => Err(self.error(reason)),
            Ok(Some(partitions)) => {
                self.partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
                (unbounded.on_partitions)(self.partitions)?;
                self.progress();
                Ok(())
            }
            Ok(None) => Ok(()),
        }
    }

    fn progress(&mut self) {
        self.waited = Duration::ZERO;
        self.looked_up = Duration::ZERO;
    }

    /// Decides whether silence is a failure. A topic that was deleted or recreated is an error
    /// immediately. Brokers that do not answer are an error after `kafka.retry_timeout`. A broker
    /// is not silent when it sends records that are not delivered, such as those of aborted
    /// transactions, or when it throttles the client because of a quota.
    fn on_silence(&mut self, waited: Duration) -> Result<()> {
        self.client.serve_events();
        let next = self.client.next_offset(self.partition);
        if next != self.next {
            self.next = next;
            self.progress();
        }
        let held_back_until = self.client.held_back_until();
        if held_back_until.is_none_or(|until| until < Instant::now()) {
            self.waited += waited;
        }
        if self.unbounded.is_none() && self.waited - self.looked_up >= SILENCE_CHECK {
            self.looked_up = self.waited;
            if let Some(reason) = self.client.topic_lost(self.topic_id) {
                return Err(self.error(reason));
            }
        }
        if self.waited <= self.retry_timeout {
            return Ok(());
        }
        let reason = self.client.last_error();
        Err(self.error(FetchFailure::Other(format!(
            "no record came for {:?} (`kafka.retry_timeout`): {}",
            self.retry_timeout,
            reason.as_deref().unwrap_or("the broker does not answer")
        ))))
    }

    fn error(&self, reason: FetchFailure) -> Error {
        Error::Fetch {
            topic: self.topic.clone(),
            partition: self.partition,
            offset: self.position,
            reason,
        }
    }

    /// Handles a message that is not a record: the end of the partition, or a failure.
    fn handle_event(&mut self, code: RDKafkaErrorCode, offset: i64, text: String) -> Result<()> {
        match code {
            RDKafkaErrorCode::PartitionEOF => {
                self.position = self.position.max(offset);
                Ok(())
            }
            code if is_transient(code) => Ok(()),
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                let reason = self.client.topic_lost(self.topic_id);
                Err(self.error(reason.unwrap_or_else(|| {
                    FetchFailure::Other(format!(
                        "the broker no longer holds this offset, since retention or compaction \
                         passed it or the topic was recreated while it was read; run the query \
                         again ({text})"
                    ))
                })))
            }
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition => Err(self.error(FetchFailure::Deleted)),
            code => Err(self
                .client
                .denied("READ", code)
                .unwrap_or_else(|| self.error(FetchFailure::Other(text)))),
        }
    }
}

impl Fetch for PartitionFetch {
    type Chunk = Messages<ErrorLog>;

    fn chunk(&self) -> Self::Chunk {
        Messages::new(self.client.handle())
    }

    fn seek(&mut self, start: i64) -> Result<()> {
        self.position = start;
        self.progress();
        match &self.reader {
            Some(reader) => reader.seek(start),
            None => {
                let reader = PartitionReader::start(self.client.handle(), self.partition, start);
                reader.map(|reader| self.reader = Some(reader))
            }
        }
        .map_err(|code| self.error(FetchFailure::Other(code.to_string())))
    }

    fn offset_for_timestamp(&mut self, millis: i64) -> Result<Option<i64>> {
        let found = self
            .client
            .offsets_for_timestamp(&[self.partition], millis, &self.cancel)?;
        Ok(found.get(&self.partition).copied().flatten())
    }

    fn fetch(&mut self, end: i64, chunk: &mut Self::Chunk) -> Result<FetchProgress> {
        let before = chunk.len();
        let unbounded = self.unbounded.clone();
        if let Some(unbounded) = &unbounded {
            self.check_topic(unbounded)?;
        }
        let poll = unbounded.map_or(POLL, |unbounded| unbounded.poll.min(POLL));
        let asked = Instant::now();
        if let Some(reader) = &self.reader {
            let polled = reader.poll(poll, self.max_records, chunk);
            polled.map_err(|code| self.error(FetchFailure::Other(code.to_string())))?;
        }
        let mut index = before;
        while let Some(message) = chunk.get(index) {
            match message.error() {
                None if message.offset() >= end => {
                    chunk.truncate(index);
                    self.progress();
                    return Ok(FetchProgress::End);
                }
                None => {
                    self.position = message.offset() + 1;
                    index += 1;
                }
                Some(code) => {
                    let (offset, text) = (message.offset(), message.error_text());
                    chunk.remove(index);
                    self.handle_event(code, offset, text)?;
                }
            }
        }
        if self.position >= end {
            self.progress();
            return Ok(FetchProgress::End);
        }
        // Only records count as progress: a broker that is away reports that again and again.
        match index > before {
            true => self.progress(),
            false => self.on_silence(asked.elapsed())?,
        }
        Ok(FetchProgress::More)
    }

    fn position(&self) -> i64 {
        self.position
    }

    fn wait_for_more(&mut self, partitions: i32) -> Result<i32> {
        self.reader = None;
        if let Some(unbounded) = self.unbounded.clone() {
            self.check_topic(&unbounded)?;
        }
        thread::sleep(POLL);
        self.on_silence(POLL)?;
        Ok(partitions.max(self.partitions))
    }
}

impl Chunk for Messages<ErrorLog> {
    type Record<'a> = Message<'a>;

    fn len(&self) -> usize {
        self.len()
    }

    fn get(&self, index: usize) -> Option<Message<'_>> {
        self.get(index)
    }

    fn clear(&mut self) {
        self.truncate(0);
    }
}
