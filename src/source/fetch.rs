//! The records of one partition, as they come from a broker.

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

/// Whether there is more to fetch before the end that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchProgress {
    More,
    End,
}

/// One partition to be read: a broker, or a test's list of records.
pub(crate) trait Fetch {
    type Chunk: Chunk;

    /// An empty chunk to be filled by [`fetch`](Self::fetch).
    fn chunk(&self) -> Self::Chunk;

    /// Goes on at `start`. Does not wait; records start to come at once.
    fn seek(&mut self, start: i64) -> Result<()>;

    /// The offset of the first record with this timestamp, in milliseconds, or
    /// a later one; `None` where there is none.
    fn offset_for_timestamp(&mut self, millis: i64) -> Result<Option<i64>>;

    /// Appends records with offsets below `end` to the chunk.
    ///
    /// Returns after a short while even when no record came, so that the
    /// caller can see whether anybody still wants them. `end` need not be the
    /// offset of a record: markers, aborted and compacted records leave holes.
    fn fetch(&mut self, end: i64, chunk: &mut Self::Chunk) -> Result<FetchProgress>;

    /// The next offset to be read: behind the last record, or behind what stands at the
    /// end of the partition and is no record, once that end was met.
    fn position(&self) -> i64;

    /// Reads nothing for a short while, and says how many partitions the topic has by
    /// now, which had so many.
    fn wait_for_more(&mut self, partitions: i32) -> Result<i32>;
}

/// The longest wait for a record before cancellation is looked at.
const POLL: Duration = Duration::from_millis(100);

/// As many records as one call may bring, where memory has room for them; what
/// their keys and payloads weigh is bounded by librdkafka's queue.
const MAX_RECORDS: usize = 16 * 1024;

/// About what librdkafka takes for a record besides its key, payload and headers.
pub(crate) const RECORD_OVERHEAD: usize = 320;

/// How long nothing comes before the brokers are asked whether the topic is
/// still there: librdkafka itself goes on for half a minute.
const SILENCE_CHECK: Duration = Duration::from_secs(2);

/// How often the brokers are asked about a topic that is read without end.
const UNBOUNDED_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Reading that goes on at the end of a partition.
#[derive(Clone)]
pub(crate) struct Follow {
    /// The longest wait for a record, if that is shorter than usual.
    pub(crate) poll: Duration,
    /// Told how many partitions the topic has.
    pub(crate) on_partitions: OnPartitions,
}

/// Begins to read those of so many partitions that nobody reads yet.
pub(crate) type OnPartitions = Arc<dyn Fn(i32) -> Result<()> + Send + Sync>;

/// A partition of a real topic.
pub(crate) struct PartitionFetch {
    client: Arc<Client>,
    /// From the first seek on.
    reader: Option<PartitionReader<ErrorLog>>,
    topic: String,
    /// Of the topic that is to be read, not another one of its name.
    topic_id: Option<TopicId>,
    partition: i32,
    retry_timeout: Duration,
    cancel: Arc<Cancel>,
    unbounded: Option<Follow>,
    /// The most records that one call may bring.
    at_once: usize,
    topic_checked: Instant,
    /// How many the topic had then; 0 before it was looked at.
    partitions: i32,
    position: i64,
    /// What was to be fetched next when it was last looked at.
    next: Option<i64>,
    /// How long nothing came, only the time spent waiting counted.
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
            at_once: MAX_RECORDS,
            topic_checked: Instant::now(),
            partitions: 0,
            position: 0,
            next: None,
            waited: Duration::ZERO,
            looked_up: Duration::ZERO,
        }
    }

    /// Brings no more at once than may wait in so many bytes of memory.
    pub(crate) fn within(self, bytes: usize) -> Self {
        PartitionFetch {
            at_once: (bytes / RECORD_OVERHEAD).clamp(1, MAX_RECORDS),
            ..self
        }
    }

    /// Gives requests up when nobody waits for them any more.
    pub(crate) fn cancelled_by(self, cancel: Arc<Cancel>) -> Self {
        PartitionFetch { cancel, ..self }
    }

    /// Fails where another topic of the same name is noticed.
    pub(crate) fn of(self, topic_id: Option<TopicId>) -> Self {
        PartitionFetch { topic_id, ..self }
    }

    /// Takes it for no failure that no record comes, as long as brokers answer.
    pub(crate) fn unbounded(self, unbounded: Option<Follow>) -> Self {
        PartitionFetch { unbounded, ..self }
    }

    /// Looks from time to time whether the topic is still what it was, and how many
    /// partitions it has.
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

    /// Nothing came for a while: a topic that is gone is an error at once, also
    /// where another one bears its name; servers that are silent are one after
    /// `kafka.retry_timeout`. Those that send what is not given out, as records of aborted
    /// transactions, or hold the client back because of a quota, are not silent.
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

    /// A message that is no record: the end of the partition, or a failure.
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
            let polled = reader.poll(poll, self.at_once, chunk);
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
        // Only records are progress: a broker that is away reports that again and again.
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
