//! Fetching the records of one partition from a broker.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka_extra::{Message, MessageQueue, Messages, PartitionReader, Record, Run, TopicId};

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

    /// Appends the records that have arrived, and whose offsets are below `end`, to the chunk.
    /// Does not wait for more. `end` need not be the offset of a record: markers, aborted records
    /// and compacted records leave gaps.
    fn fetch(&mut self, end: i64, chunk: &mut Self::Chunk) -> Result<FetchProgress>;

    /// The next offset to read: the one after the last record. Once the end of the partition was
    /// reached, also after any trailing offsets that are not records.
    fn position(&self) -> i64;
}

/// The longest wait for a record before cancellation is checked.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// The most records that are taken at once where memory allows it. librdkafka's queue bounds the
/// size of their keys and payloads.
pub(crate) const MAX_RECORDS: usize = 16 * 1024;

/// About how many bytes librdkafka uses for a record besides its key, payload and headers.
pub(crate) const RECORD_OVERHEAD: usize = 320;

/// How long no record may come before the brokers are asked whether the topic still exists.
/// librdkafka itself would continue for half a minute.
const SILENCE_CHECK: Duration = Duration::from_secs(2);

/// A partition of a real topic. The caller polls the queue, and delivers what comes out of it.
pub(crate) struct PartitionFetch {
    client: Arc<Client>,
    queue: Arc<MessageQueue<ErrorLog>>,
    /// Set by the first seek.
    reader: Option<PartitionReader<ErrorLog>>,
    /// The messages that have arrived.
    arrived: Messages<ErrorLog>,
    topic: String,
    /// The id of the topic to read. A recreated topic of the same name has another id.
    topic_id: Option<TopicId>,
    partition: i32,
    retry_timeout: Duration,
    cancel: Arc<Cancel>,
    /// Whether silence is not a failure as long as brokers answer.
    unbounded: bool,
    position: i64,
    /// The client's next offset when it was last looked up.
    next: Option<i64>,
    /// How long no record came, and nobody has looked for the reason.
    silent: Duration,
    /// How long no record came. Only time spent in waiting counts.
    waited: Duration,
    looked_up: Duration,
    last_look: LastLook,
}

/// When the brokers were last asked whether the topic still exists. The partitions of a group
/// share it: one answer holds for all of them.
pub(crate) type LastLook = Rc<Cell<Option<Instant>>>;

impl PartitionFetch {
    /// A partition whose messages come into `queue`.
    pub(crate) fn new(
        client: Arc<Client>,
        queue: Arc<MessageQueue<ErrorLog>>,
        partition: i32,
        retry_timeout: Duration,
    ) -> Self {
        PartitionFetch {
            arrived: Messages::new(client.handle()),
            topic: client.topic_name().to_owned(),
            client,
            queue,
            reader: None,
            topic_id: None,
            partition,
            retry_timeout,
            cancel: Arc::new(Cancel::never()),
            unbounded: false,
            position: 0,
            next: None,
            silent: Duration::ZERO,
            waited: Duration::ZERO,
            looked_up: Duration::ZERO,
            last_look: LastLook::default(),
        }
    }

    /// A partition with a queue of its own, to be read by [`wait`](Self::wait).
    pub(crate) fn alone(
        client: Arc<Client>,
        partition: i32,
        retry_timeout: Duration,
    ) -> Result<Self> {
        let queue = client.queue()?;
        Ok(PartitionFetch::new(client, queue, partition, retry_timeout))
    }

    /// Abandons requests when they are cancelled.
    pub(crate) fn cancelled_by(self, cancel: Arc<Cancel>) -> Self {
        PartitionFetch { cancel, ..self }
    }

    /// Fails when the topic was recreated under the same name.
    pub(crate) fn of(self, topic_id: Option<TopicId>, last_look: &LastLook) -> Self {
        PartitionFetch {
            topic_id,
            last_look: Rc::clone(last_look),
            ..self
        }
    }

    /// Does not treat silence as a failure as long as brokers answer.
    pub(crate) fn unbounded(self, unbounded: bool) -> Self {
        PartitionFetch { unbounded, ..self }
    }

    /// Waits up to `time` for records, where the partition has a queue of its own.
    pub(crate) fn wait(&mut self, time: Duration) -> Result<()> {
        let asked = Instant::now();
        let polled = self.queue.poll(time, MAX_RECORDS, &mut self.arrived);
        polled.map_err(|code| self.error(FetchFailure::Other(code.to_string())))?;
        self.has_waited(asked.elapsed())
    }

    /// Takes messages that have come out of the queue.
    pub(crate) fn deliver(&mut self, messages: Run<'_, '_, ErrorLog>) {
        self.arrived.append(messages);
    }

    /// Confirms that something was heard of the partition.
    pub(crate) fn progress(&mut self) {
        self.silent = Duration::ZERO;
        self.waited = Duration::ZERO;
        self.looked_up = Duration::ZERO;
    }

    /// Notes time for which the caller has waited for the queue. Records that arrived in that
    /// time end the silence when they are taken.
    ///
    /// # Errors
    /// The silence is a failure.
    pub(crate) fn has_waited(&mut self, time: Duration) -> Result<()> {
        self.silent += time;
        // Most waits are far shorter.
        match self.silent >= POLL / 2 {
            true => self.check_silence(),
            false => Ok(()),
        }
    }

    /// Decides whether silence is a failure. A topic that was deleted or recreated is an error
    /// immediately. Brokers that do not answer are an error after `kafka.retry_timeout`. A broker
    /// is not silent when it sends records that are not delivered, such as those of aborted
    /// transactions, or when it throttles the client because of a quota.
    fn check_silence(&mut self) -> Result<()> {
        let waited = std::mem::take(&mut self.silent);
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
        if !self.unbounded && self.waited - self.looked_up >= SILENCE_CHECK {
            self.looked_up = self.waited;
            let last = self.last_look.get();
            if last.is_none_or(|last| last.elapsed() >= SILENCE_CHECK) {
                if let Some(reason) = self.client.topic_lost(self.topic_id) {
                    return Err(self.error(reason));
                }
                self.last_look.set(Some(Instant::now()));
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

    pub(crate) fn error(&self, reason: FetchFailure) -> Error {
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
                    let reason = format!(
                        "the broker no longer holds this offset, since retention or compaction \
                         passed it or the topic was recreated while it was read; run the query \
                         again, with a new plan ({text})"
                    );
                    FetchFailure::of(RDKafkaErrorCode::OffsetOutOfRange, reason)
                })))
            }
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition => Err(self.error(FetchFailure::Deleted)),
            code => Err(self
                .client
                .denied("READ", code)
                .unwrap_or_else(|| self.error(FetchFailure::of(code, text)))),
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
        self.arrived.truncate(0);
        self.progress();
        match &self.reader {
            Some(reader) => reader.seek(start),
            None => PartitionReader::start_in(&self.queue, self.partition, start)
                .map(|reader| self.reader = Some(reader)),
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
        chunk.take_all(&mut self.arrived);
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
        // Only records count as progress: a broker that is away reports that again and again.
        if self.position >= end || index > before {
            self.progress();
        }
        Ok(match self.position >= end {
            true => FetchProgress::End,
            false => FetchProgress::More,
        })
    }

    fn position(&self) -> i64 {
        self.position
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
