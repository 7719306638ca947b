//! The threads that read a topic, and what those of one query share.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::internal_err;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit};
use tokio::sync::mpsc;

use crate::client::{Cancel, Client, Topic};
use crate::error::{Error, Result};
use crate::native::TopicId;
use crate::options::CheckKeys;
use crate::record::OffsetRange;
use crate::source::fetch::{Endless, OnMore, PartitionFetch};
use crate::source::keys::{KeyHomes, MetKeys};
use crate::source::metrics::ScanMetrics;
use crate::source::offsets::Snapshot;
use crate::source::once::Once;
use crate::source::same_topic::{Checked, SameTopic};
use crate::source::scan::{ChunkSizes, Output, Scan, ScanSpec};
use crate::table::own_error;

/// The runs of a plan's scans of one topic; most plans run once.
///
/// The last execution stays, for streams that start after others ended; older
/// ones stay as long as they may still start streams.
#[derive(Default)]
pub(crate) struct Runs(Mutex<Vec<Execution>>);

/// One execution of the plan, which is what has one task context.
#[derive(Default)]
struct Execution {
    /// As long as this is kept, no other context can have its address.
    context: Weak<TaskContext>,
    /// Of all scans: one instant for all.
    begun: Arc<Once<Begun>>,
    scans: HashMap<usize, ScanRuns>,
}

/// The runs of one scan in one execution: more than one where its result is
/// asked for again, as in each turn of a recursive query.
#[derive(Default)]
struct ScanRuns {
    snapshot: Arc<Once<Snapshot>>,
    /// The output partitions that were started since one was started again.
    joined: HashSet<usize>,
    /// Of all of these, also where some ended before others were started.
    homes: Arc<OnceLock<KeyHomes>>,
    /// A client lives as long as a stream reads, not as long as the plan.
    last: Weak<Run>,
}

/// The topic when the execution began.
#[derive(Clone)]
struct Begun {
    topic: Topic,
    watermarks: BTreeMap<i32, OffsetRange>,
}

impl Runs {
    /// What a stream of a scan shares with the others of this run: that of one
    /// of so many output partitions.
    pub(crate) fn join(
        &self,
        scan: usize,
        partition: usize,
        partitions: usize,
        spec: &ScanSpec,
        context: &Arc<TaskContext>,
    ) -> Arc<Run> {
        let mut executions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |other: &Execution| Weak::as_ptr(&other.context) == Arc::as_ptr(context);
        let mut execution = match executions.iter().position(same) {
            Some(place) => executions.remove(place),
            None => Execution {
                context: Arc::downgrade(context),
                ..Execution::default()
            },
        };
        let run = execution.join(scan, partition, partitions, spec);
        executions.retain(|other| other.context.strong_count() > 0);
        executions.push(execution);
        run
    }

    /// What a scan reads in the last execution, once that is known.
    pub(crate) fn snapshot(&self, scan: usize) -> Option<Snapshot> {
        let executions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        executions.last()?.scans.get(&scan)?.snapshot.made()
    }
}

impl Execution {
    fn join(
        &mut self,
        scan: usize,
        partition: usize,
        partitions: usize,
        spec: &ScanSpec,
    ) -> Arc<Run> {
        let runs = self.scans.entry(scan).or_default();
        if !runs.joined.insert(partition) {
            runs.joined = HashSet::from([partition]);
            runs.last = Weak::new();
            runs.homes = Arc::default();
        }
        let run = runs.last.upgrade().unwrap_or_else(|| {
            Arc::new(Run {
                spec: spec.clone(),
                client: Once::default(),
                second_client: Once::default(),
                begun: Arc::clone(&self.begun),
                snapshot: Arc::clone(&runs.snapshot),
                checked: Checked::default(),
                bad_records: AtomicUsize::new(0),
                met: Arc::default(),
                homes: Arc::clone(&runs.homes),
            })
        });
        runs.last = Arc::downgrade(&run);
        if runs.joined.len() == partitions {
            // Nobody else joins: their memory is that of the streams alone.
            runs.homes = Arc::default();
        }
        run
    }
}

/// What the streams of one scan share in one run.
pub(crate) struct Run {
    spec: ScanSpec,
    client: Once<Arc<Client>>,
    second_client: Once<Arc<Client>>,
    /// Shared with all scans of the topic in the plan: one instant for all.
    begun: Arc<Once<Begun>>,
    snapshot: Arc<Once<Snapshot>>,
    checked: Checked,
    bad_records: AtomicUsize,
    met: Arc<MetKeys>,
    homes: Arc<OnceLock<KeyHomes>>,
}

impl Run {
    /// Wanted keys that were met: anywhere, where a key lives in one partition only.
    fn met(&self) -> Arc<MetKeys> {
        match self.spec.primary_key && !self.checks_keys() {
            true => Arc::clone(&self.met),
            false => Arc::default(),
        }
    }

    fn checks_keys(&self) -> bool {
        self.spec.table.options.check_keys == CheckKeys::Fail
    }

    fn homes(&self, context: &TaskContext) -> Option<&KeyHomes> {
        let homes = || {
            let consumer = format!("KafkaCheckKeys[{}]", self.spec.table.topic);
            KeyHomes::new(MemoryConsumer::new(consumer).register(context.memory_pool()))
        };
        self.checks_keys().then(|| self.homes.get_or_init(homes))
    }

    /// The client to read a partition with, the topic's id and the offsets to read,
    /// looked up by whoever comes first.
    fn open(
        &self,
        partition: i32,
        memory: usize,
        cancel: &Cancel,
    ) -> Result<(Arc<Client>, Option<TopicId>, Snapshot)> {
        let table = &self.spec.table;
        let client = self.client.get(|| match self.spec.connected.take(memory) {
            Some(client) => Ok(client),
            None => Client::with_memory(&table.topic, &table.options, memory).map(Arc::new),
        })?;
        let Begun { topic, watermarks } = self.begun.get(|| {
            // The id before the offsets, which could else be those of an earlier topic.
            let topic = client.topic(cancel)?;
            let wait_for = &table.options.wait_for;
            let watermarks = client.watermarks_behind(&topic.partitions(), wait_for, cancel)?;
            Ok(Begun { topic, watermarks })
        })?;
        if !watermarks.keys().eq(self.spec.held.keys()) {
            return Err(Error::Request {
                act: "read the partitions",
                topic: table.topic.clone(),
                reason: "they are others than when the query was planned; plan it again".to_owned(),
            });
        }
        let snapshot = self.snapshot.get(|| {
            Snapshot::resolve(&client, &table.topic, &table.options, &watermarks, cancel)
        })?;
        let many = snapshot.offsets() >= OFFSETS_FOR_TWO && self.spec.limit.is_none();
        let client = match many && !table.endless && topic.is_in_second_half(partition) {
            false => client,
            true => self
                .second_client
                .get(|| Client::with_memory(&table.topic, &table.options, memory).map(Arc::new))?,
        };
        Ok((client, topic.id, snapshot))
    }
}

/// From so many offsets on a topic is read by two clients: what the second one saves
/// is more than it takes to connect.
///
/// A client asks a broker for records, waits, takes them apart, and asks for the next
/// ones only then; what one of two does fits into the time in which the other waits.
/// They read as fast as brokers and networks mostly are.
const OFFSETS_FOR_TWO: i64 = 200_000;

impl Drop for Run {
    fn drop(&mut self) {
        let bad_records = *self.bad_records.get_mut();
        if bad_records > 0 {
            log::warn!(
                "topic `{}`: {bad_records} records did not fit the table (`kafka.on_bad_record`)",
                self.spec.table.topic
            );
        }
    }
}

/// One stream: first waiting to be polled, then reading on its thread.
pub(crate) enum Reading {
    Waiting(Box<ScanTask>),
    Running(mpsc::Receiver<Message>),
    Ended,
}

/// What the reading thread sends; `None` says that it read to the end, which a
/// thread that dies does not.
pub(crate) type Message = DataFusionResult<Option<RecordBatch>>;

impl Reading {
    pub(crate) async fn next(self) -> Option<(DataFusionResult<RecordBatch>, Reading)> {
        let mut receiver = match self {
            Reading::Waiting(task) => match task.spawn() {
                Ok(receiver) => receiver,
                Err(error) => return Some((Err(error), Reading::Ended)),
            },
            Reading::Running(receiver) => receiver,
            Reading::Ended => return None,
        };
        match receiver.recv().await {
            Some(Ok(Some(batch))) => Some((Ok(batch), Reading::Running(receiver))),
            Some(Ok(None)) => None,
            Some(Err(error)) => Some((Err(error), Reading::Ended)),
            None => Some((
                internal_err!("the thread that reads the topic ended without a result"),
                Reading::Ended,
            )),
        }
    }
}

/// Everything that a reading thread needs.
#[derive(Clone)]
pub(crate) struct ScanTask {
    pub(crate) run: Arc<Run>,
    pub(crate) kafka_partition: i32,
    /// How many are read.
    pub(crate) partitions: usize,
    /// It reads partitions too that the topic gets while it is read.
    pub(crate) reads_more: bool,
    pub(crate) schema: SchemaRef,
    pub(crate) metrics: ScanMetrics,
    pub(crate) context: Arc<TaskContext>,
}

impl ScanTask {
    /// The most bytes that a partition may hold: the pool serves whoever asks
    /// first, and one partition must not leave nothing to the others.
    fn memory_share(&self) -> usize {
        match self.context.memory_pool().memory_limit() {
            MemoryLimit::Finite(bytes) => (bytes / 2 / self.partitions.max(1)).max(1),
            _ => usize::MAX,
        }
    }

    fn spawn(self: Box<Self>) -> DataFusionResult<mpsc::Receiver<Message>> {
        // One batch on its way while the next is decoded.
        let (sender, receiver) = mpsc::channel(2);
        self.on_thread(move |task| {
            let result = task.read(sender.clone());
            // The receiver may be gone; then nobody wants to know.
            let _ = sender.blocking_send(result.map(|()| None));
        })?;
        Ok(receiver)
    }

    fn on_thread(
        self: Box<Self>,
        read: impl FnOnce(&Self) + Send + 'static,
    ) -> DataFusionResult<()> {
        let topic = &self.run.spec.table.topic;
        thread::Builder::new()
            .name(format!("kafka-scan-{topic}-{}", self.kafka_partition))
            .spawn(move || read(&self))
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(())
    }

    /// Reads partitions that the topic has got into the same stream, which ends
    /// without them.
    fn on_more(&self, sender: &mpsc::Sender<Message>) -> Option<OnMore> {
        let (task, sender) = (self.reads_more.then(|| self.clone())?, sender.clone());
        Some(Box::new(move |more| {
            for kafka_partition in more {
                let task = Box::new(ScanTask {
                    kafka_partition,
                    reads_more: false,
                    ..task.clone()
                });
                let sender = sender.clone();
                let begun = task.on_thread(move |task| {
                    if let Err(error) = task.read(sender.clone()) {
                        let _ = sender.blocking_send(Err(error));
                    }
                });
                begun.map_err(own_error)?;
            }
            Ok(())
        }))
    }

    fn read(&self, sender: mpsc::Sender<Message>) -> DataFusionResult<()> {
        let spec = &self.run.spec;
        let table = &spec.table;
        let cancel = Arc::new(Cancel::when({
            let sender = sender.clone();
            move || sender.is_closed()
        }));
        let memory_share = self.memory_share();
        let chunk_sizes = ChunkSizes::of(self.partitions);
        let client_memory = memory_share.min(chunk_sizes.client_bytes());
        let (client, topic_id, snapshot) =
            self.run
                .open(self.kafka_partition, client_memory, &cancel)?;
        let mut range = snapshot.range(self.kafka_partition);
        let session_rows = self.context.session_config().batch_size();
        let mut batch_size = session_rows;
        if table.endless {
            range.end = i64::MAX;
            batch_size = table.options.batch_rows.unwrap_or(session_rows);
        }
        let same_topic = SameTopic {
            checked: &self.run.checked,
            client: &client,
            topic: &table.topic,
            id: topic_id,
            limit: spec.limit,
            partition: self.kafka_partition,
            end: range.end,
            cancel: Arc::clone(&cancel),
        };
        let consumer = format!("KafkaScan[{}/{}]", table.topic, self.kafka_partition);
        let memory = MemoryConsumer::new(consumer).register(self.context.memory_pool());
        let scan = Scan {
            spec,
            partition: self.kafka_partition,
            batch_size,
            chunk_sizes,
            metrics: &self.metrics,
            memory: &memory,
            memory_share,
            met: self.run.met(),
            homes: self.run.homes(&self.context),
            fetch: PartitionFetch::new(
                Arc::clone(&client),
                &table.topic,
                self.kafka_partition,
                table.options.retry_timeout,
            )
            .of(topic_id)
            .within(memory_share / 4)
            .cancelled_by(cancel)
            .endless(table.endless.then(|| Endless {
                partitions: i32::try_from(spec.held.len()).unwrap_or(i32::MAX),
                poll: table.options.batch_time,
            }))
            .tails(table.tails.clone())
            .on_more(self.on_more(&sender)),
            output: ChannelOutput {
                same_topic: &same_topic,
                sender,
                schema: Arc::clone(&self.schema),
            },
        };
        let result = scan.run(range);
        let bad_records = self.metrics.bad_records.value();
        self.run
            .bad_records
            .fetch_add(bad_records, Ordering::Relaxed);
        result?;
        match range.is_empty() {
            true => Ok(()),
            false => Ok(same_topic.check()?),
        }
    }
}

/// Hands batches over to the stream.
struct ChannelOutput<'a> {
    same_topic: &'a SameTopic<'a>,
    sender: mpsc::Sender<Message>,
    schema: SchemaRef,
}

impl Output for ChannelOutput<'_> {
    fn send(&mut self, batch: RecordBatch) -> DataFusionResult<bool> {
        self.same_topic.give(batch.num_rows())?;
        let batch = batch
            .with_schema(Arc::clone(&self.schema))
            .map(Some)
            .map_err(|error| DataFusionError::ArrowError(Box::new(error), None));
        Ok(self.sender.blocking_send(batch).is_ok())
    }

    fn is_wanted(&self) -> bool {
        !self.sender.is_closed()
    }
}
