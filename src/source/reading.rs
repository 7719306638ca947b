//! Reads a topic on threads of its own, and hands the batches to streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::internal_err;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit};
use tokio::sync::mpsc;

use crate::client::{Cancel, OffsetRange, threads};
use crate::error::own_error;
use crate::source::chunk_sizes::ChunkSizes;
use crate::source::fetch::{Follow, OnPartitions, PartitionFetch};
use crate::source::metrics::ScanMetrics;
use crate::source::passed::{Passed, Reach};
use crate::source::scan::{Output, Scan};
use crate::source::shared::SharedScan;
use crate::source::snapshot::Extent;
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
#[derive(Clone)]
pub(crate) struct ScanTask {
    pub(crate) run: Arc<SharedScan>,
    pub(crate) kafka_partition: i32,
    /// All partitions that are read.
    pub(crate) kafka_partitions: Arc<[i32]>,
    /// The number of threads that send rows to the stream.
    pub(crate) readers: Arc<AtomicUsize>,
    pub(crate) schema: SchemaRef,
    pub(crate) metrics: ScanMetrics,
    pub(crate) context: Arc<TaskContext>,
}

impl ScanTask {
    /// The most bytes that a partition may hold. The pool serves requests in the order in which
    /// they arrive, so each partition must leave memory to the others.
    fn memory_share(&self) -> usize {
        match self.context.memory_pool().memory_limit() {
            MemoryLimit::Finite(bytes) => (bytes / 2 / self.kafka_partitions.len().max(1)).max(1),
            _ => usize::MAX,
        }
    }

    fn spawn(self: Box<Self>) -> DataFusionResult<mpsc::Receiver<NextBatch>> {
        // One batch is in the channel while the next is decoded.
        let (sender, receiver) = mpsc::channel(2);
        self.on_thread(sender)?;
        Ok(receiver)
    }

    fn on_thread(self: Box<Self>, sender: mpsc::Sender<NextBatch>) -> DataFusionResult<()> {
        self.readers.fetch_add(1, Ordering::Relaxed);
        let topic = &self.run.spec.table.topic;
        let name = format!("kafka-scan-{topic}-{}", self.kafka_partition);
        threads::spawn(name, move || {
            let result = self.read(sender.clone());
            let is_last = self.readers.fetch_sub(1, Ordering::Relaxed) == 1;
            if is_last || result.is_err() {
                // The receiver may be gone; the result is then not needed.
                let _ = sender.blocking_send(result.map(|()| None));
            }
        })
        .map_err(|error| DataFusionError::External(Box::new(error)))
    }

    /// Reads partitions that were added to the topic into the same stream.
    fn on_partitions(&self, sender: &mpsc::Sender<NextBatch>) -> OnPartitions {
        let (task, sender) = (self.clone(), sender.clone());
        Arc::new(move |partitions| {
            let read = task.run.read.fetch_max(partitions, Ordering::Relaxed);
            for kafka_partition in read..partitions {
                let task = Box::new(ScanTask {
                    kafka_partition,
                    ..task.clone()
                });
                task.on_thread(sender.clone()).map_err(own_error)?;
            }
            Ok(())
        })
    }

    fn read(&self, sender: mpsc::Sender<NextBatch>) -> DataFusionResult<()> {
        let spec = &self.run.spec;
        let table = &spec.table;
        let cancel = Arc::new(Cancel::when({
            let sender = sender.clone();
            move || sender.is_closed()
        }));
        let memory_share = self.memory_share();
        let chunk_sizes = ChunkSizes::of(self.kafka_partitions.len());
        let client_memory = memory_share.min(chunk_sizes.client_bytes());
        let (client, topic_id, snapshot) = self.run.open(
            self.kafka_partition,
            &self.kafka_partitions,
            client_memory,
            &cancel,
        )?;
        let mut extent = match snapshot.extent(self.kafka_partition) {
            Some(extent) => extent,
            None => {
                let held = client.watermarks(&[self.kafka_partition], &cancel)?;
                let held = held.get(&self.kafka_partition).copied();
                let held = held.unwrap_or(OffsetRange { start: 0, end: 0 });
                Extent::added(held, &table.options.start)
            }
        };
        let session_rows = self.context.session_config().batch_size();
        let mut batch_size = session_rows;
        if table.unbounded {
            extent = extent.unbounded();
            batch_size = table.options.batch_rows.unwrap_or(session_rows);
        }
        let topic_guard = TopicGuard {
            checked: &self.run.checked,
            client: &client,
            topic: &table.topic,
            id: topic_id,
            limit: spec.limit,
            partition: self.kafka_partition,
            end: extent.range.end,
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
            found_keys: self.run.found_keys(),
            key_partitions: self.run.key_partitions(&self.context),
            fetch: PartitionFetch::new(
                Arc::clone(&client),
                &table.topic,
                self.kafka_partition,
                table.options.retry_timeout,
            )
            .of(topic_id)
            .within(memory_share / 4)
            .cancelled_by(cancel)
            .unbounded(table.unbounded.then(|| Follow {
                poll: table.options.batch_time,
                on_partitions: self.on_partitions(&sender),
            })),
            output: ChannelOutput {
                topic_guard: &topic_guard,
                passed: spec.passed.as_deref(),
                sender,
                schema: Arc::clone(&self.schema),
            },
        };
        let result = scan.run(extent);
        let bad_records = self.metrics.bad_records.value();
        self.run
            .bad_records
            .fetch_add(bad_records, Ordering::Relaxed);
        result?;
        match extent.range.is_empty() {
            true => Ok(()),
            false => Ok(topic_guard.check()?),
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
        Ok(self.sender.blocking_send(batch).is_ok())
    }

    fn is_wanted(&self) -> bool {
        !self.sender.is_closed()
    }

    fn passed(&mut self, start: i64, rows: i64, read: i64) {
        if let Some(passed) = self.passed {
            passed.note(self.topic_guard.partition, Reach { start, rows, read });
        }
    }
}
