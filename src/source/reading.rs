//! Reads a topic on threads of its own, and hands the batches to streams.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::internal_err;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use tokio::sync::mpsc;

use crate::client::{Cancel, threads};
use crate::source::chunk_sizes::Budget;
use crate::source::fetch::LastLook;
use crate::source::group_reader::{GroupReader, Source};
use crate::source::metrics::ScanMetrics;
use crate::source::passed::{Passed, Reach};
use crate::source::scan::{Output, ScanGroup};
use crate::source::shared::SharedScan;
use crate::source::spill::Disk;
use crate::source::topic_guard::TopicGuard;

/// The state of one stream: waiting to be polled, then reading on a thread.
pub(crate) enum Reading {
    Waiting(Box<ScanTask>),
    Running(mpsc::Receiver<NextBatch>),
    Ended,
}

/// What the reading thread sends. `None` says that the thread read to the end; a thread that dies
/// does not send it.
pub(crate) type NextBatch = DataFusionResult<Option<RecordBatch>>;

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
pub(crate) struct ScanTask {
    pub(crate) run: Arc<SharedScan>,
    /// The Kafka partitions that each output partition reads.
    pub(crate) groups: Arc<[Vec<i32>]>,
    /// The group that is read.
    pub(crate) group: usize,
    pub(crate) schema: SchemaRef,
    pub(crate) metrics: ScanMetrics,
    pub(crate) context: Arc<TaskContext>,
}

impl ScanTask {
    fn spawn(self: Box<Self>) -> DataFusionResult<mpsc::Receiver<NextBatch>> {
        // One batch is in the channel while the next is decoded.
        let (sender, receiver) = mpsc::channel(2);
        let name = format!("kafka-scan-{}-{}", self.run.spec.table.topic, self.group);
        threads::spawn(name, move || {
            let result = self.read(sender.clone());
            if result.is_err() {
                self.run.discard_clients();
            }
            // The session has its clients back before the query ends, so that the next query
            // finds them.
            drop(self);
            // The receiver may be gone; the result is then not needed.
            let _ = sender.blocking_send(result.map(|()| None));
        })
        .map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(receiver)
    }

    fn budget(&self) -> Budget {
        let largest = self.groups.iter().map(Vec::len).max().unwrap_or(1);
        let pool = self.context.memory_pool();
        Budget::of(self.groups.len(), largest, pool.as_ref())
    }

    fn read(&self, sender: mpsc::Sender<NextBatch>) -> DataFusionResult<()> {
        let spec = &self.run.spec;
        let table = &spec.table;
        let partitions = self.groups.get(self.group).map_or(&[][..], Vec::as_slice);
        let cancel = Arc::new(Cancel::when({
            let sender = sender.clone();
            move || sender.is_closed()
        }));
        let budget = self.budget();
        let (client, topic_id, snapshot) =
            self.run
                .open(self.group, &self.groups, budget.client_bytes, &cancel)?;
        if spec.limit == Some(0) {
            return Ok(());
        }
        let session_rows = self.context.session_config().batch_size();
        let batch_rows = table.options.batch_rows.filter(|_| table.unbounded);
        let extents = partitions
            .iter()
            .filter_map(|p| Some((*p, snapshot.extent(*p)?)));
        let mut filled = extents.filter(|(_, extent)| !extent.range.is_empty());
        let last = filled.next_back();
        let topic_guard = TopicGuard {
            checked: &self.run.checked,
            client: &client,
            topic: &table.topic,
            id: topic_id,
            limit: spec.limit,
            last: last.map_or((0, 0), |(partition, extent)| (partition, extent.range.end)),
            cancel: Arc::clone(&cancel),
        };
        let consumer = format!("KafkaScan[{}/{}]", table.topic, self.group);
        let memory = MemoryConsumer::new(consumer).register(self.context.memory_pool());
        let disk = Disk::of(&self.context, &self.metrics.spill, &table.topic)?;
        let group = ScanGroup {
            spec,
            batch_size: batch_rows.unwrap_or(session_rows).max(1),
            metrics: &self.metrics,
            memory_share: budget.partition_bytes,
            key_partitions: self.run.key_partitions(
                self.groups.len(),
                disk.as_ref(),
                &self.context,
            ),
            disk,
            left: Cell::new(spec.limit.unwrap_or(usize::MAX)),
            record_bytes: Cell::new(None),
        };
        let source = Source {
            queue: client.queue()?,
            client: Arc::clone(&client),
            topic_id,
            cancel: Arc::clone(&cancel),
            last_look: LastLook::default(),
        };
        let first = partitions.first().copied().unwrap_or(0);
        let mut output = ChannelOutput {
            topic_guard: &topic_guard,
            passed: spec.passed.as_deref(),
            sender,
            schema: Arc::clone(&self.schema),
        };
        let reader = GroupReader::new(&self.run, &group, budget, &memory, source, first);
        let result = reader.run(partitions, &snapshot, &mut output);
        let bad_records = self.metrics.bad_records.value();
        self.run
            .bad_records
            .fetch_add(bad_records, Ordering::Relaxed);
        result?;
        if let Some(key_partitions) = group.key_partitions {
            key_partitions.group_ended(|| output.is_wanted())?;
        }
        match last.filter(|_| !cancel.is_cancelled()) {
            None => Ok(()),
            Some(_) => Ok(topic_guard.check()?),
        }
    }
}

/// Sends batches to the stream.
struct ChannelOutput<'a> {
    topic_guard: &'a TopicGuard<'a>,
    /// Receives the read positions, where progress is tracked.
    passed: Option<&'a Passed>,
    sender: mpsc::Sender<NextBatch>,
    schema: SchemaRef,
}

impl Output for ChannelOutput<'_> {
    fn send(&mut self, batch: RecordBatch) -> DataFusionResult<bool> {
        self.topic_guard.before_output(batch.num_rows())?;
        let batch = batch
            .with_schema(Arc::clone(&self.schema))
            .map(Some)
            .map_err(|error| DataFusionError::ArrowError(Box::new(error), None));
        let is_sent = self.sender.blocking_send(batch).is_ok();
        if !is_sent {
            self.topic_guard.client.discard();
        }
        Ok(is_sent)
    }

    fn is_wanted(&self) -> bool {
        let is_wanted = !self.sender.is_closed();
        if !is_wanted {
            self.topic_guard.client.discard();
        }
        is_wanted
    }

    fn passed(&mut self, partition: i32, start: i64, rows: i64, read: i64) {
        if let Some(passed) = self.passed {
            passed.note(partition, Reach { start, rows, read });
        }
    }
}
