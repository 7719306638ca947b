//! [`KafkaScanExec`]: the physical plan that reads a topic.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::{StreamExt, stream};
use tokio::sync::mpsc;

use crate::client::{Cancel, Client};
use crate::error::Result;
use crate::options::Mode;
use crate::source::fetch::PartitionFetch;
use crate::source::offsets::Snapshot;
use crate::source::scan::{ChunkSizes, Output, Scan, ScanMetrics, ScanSpec};

/// Reads a topic: one output partition per Kafka partition.
///
/// Nothing is read before a stream is polled. The end offsets are taken once,
/// when the first of its streams starts, so that all partitions stand at one
/// instant. Each stream reads on a thread of its own; dropping it ends that.
pub struct KafkaScanExec {
    spec: ScanSpec,
    kafka_partitions: Vec<i32>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    execution: Mutex<Execution>,
}

impl KafkaScanExec {
    pub(crate) fn try_new(spec: ScanSpec, kafka_partitions: Vec<i32>) -> DataFusionResult<Self> {
        let returned = spec.columns.get(..spec.returned).unwrap_or_default();
        let schema = Arc::new(spec.table.schema.arrow().project(returned)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(kafka_partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(KafkaScanExec {
            spec,
            kafka_partitions,
            schema,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
            execution: Mutex::default(),
        })
    }

    /// The topic that is read.
    pub fn topic(&self) -> &str {
        &self.spec.table.topic
    }

    /// What the streams of one run share; a partition that is executed again
    /// starts a new run.
    fn join_execution(&self, partition: usize) -> Arc<Run> {
        let mut execution = self
            .execution
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !execution.started.insert(partition) {
            *execution = Execution::default();
            execution.started.insert(partition);
        }
        if let Some(run) = execution.run.upgrade() {
            return run;
        }
        let run = Arc::new(Run {
            spec: self.spec.clone(),
            kafka_partitions: self.kafka_partitions.clone(),
            client: OnceLock::new(),
            snapshot: Arc::clone(&execution.snapshot),
            bad_records: AtomicUsize::new(0),
        });
        execution.run = Arc::downgrade(&run);
        run
    }

    fn fmt_with(&self, f: &mut fmt::Formatter<'_>, separator: &str) -> fmt::Result {
        let options = &self.spec.table.options;
        let mode = match options.mode.unwrap_or_default() {
            Mode::Upsert => "upsert",
            Mode::Append => "append",
        };
        let columns: Vec<&str> = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        write!(f, "topic={}{separator}mode={mode}", self.topic())?;
        write!(f, "{separator}partitions={}", self.kafka_partitions.len())?;
        write!(f, "{separator}start={}", options.start)?;
        write!(f, "{separator}end={}", options.end)?;
        write!(f, "{separator}projection=[{}]", columns.join(", "))?;
        if let Some(filter) = &self.spec.filter {
            write!(f, "{separator}filter={filter}")?;
        }
        if let Some(limit) = self.spec.limit {
            write!(f, "{separator}limit={limit}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for KafkaScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaScanExec {{ ")?;
        self.fmt_with(f, ", ")?;
        write!(f, " }}")
    }
}

impl DisplayAs for KafkaScanExec {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match kind {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "KafkaScanExec: ")?;
                self.fmt_with(f, ", ")
            }
            DisplayFormatType::TreeRender => {
                self.fmt_with(f, "\n")?;
                writeln!(f)
            }
        }
    }
}

impl ExecutionPlan for KafkaScanExec {
    fn name(&self) -> &str {
        "KafkaScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        match &self.spec.filter {
            Some(filter) => visit(filter),
            None => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        if children.is_empty() {
            return Ok(self);
        }
        internal_err!("KafkaScanExec has no children")
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let Some(&kafka_partition) = self.kafka_partitions.get(partition) else {
            return internal_err!("KafkaScanExec has no partition {partition}");
        };
        let task = ScanTask {
            run: self.join_execution(partition),
            kafka_partition,
            schema: Arc::clone(&self.schema),
            metrics: ScanMetrics::new(&self.metrics, partition),
            context,
        };
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let batches = stream::unfold(Reading::Waiting(Box::new(task)), Reading::next);
        let batches = batches.inspect(move |batch| {
            if let Ok(batch) = batch {
                baseline.record_output(batch.num_rows());
            }
        });
        let schema = Arc::clone(&self.schema);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let mut spec = self.spec.clone();
        spec.limit = limit;
        let scan = KafkaScanExec::try_new(spec, self.kafka_partitions.clone()).ok()?;
        Some(Arc::new(scan))
    }

    fn fetch(&self) -> Option<usize> {
        self.spec.limit
    }
}

/// The runs of a plan: most plans run once.
#[derive(Default)]
struct Execution {
    started: HashSet<usize>,
    /// Kept until the next run, for partitions that start after others ended.
    snapshot: Arc<OnceLock<Result<Snapshot>>>,
    /// The client lives as long as a stream reads, not as long as the plan.
    run: Weak<Run>,
}

/// What the streams of one run share.
struct Run {
    spec: ScanSpec,
    kafka_partitions: Vec<i32>,
    client: OnceLock<Result<Arc<Client>>>,
    snapshot: Arc<OnceLock<Result<Snapshot>>>,
    bad_records: AtomicUsize,
}

impl Run {
    /// The client, made and asked for the offsets by whoever comes first.
    fn open(&self, cancel: &Cancel) -> Result<(Arc<Client>, Snapshot)> {
        let table = &self.spec.table;
        let client = self
            .client
            .get_or_init(|| Client::new(&table.topic, &table.options).map(Arc::new))
            .clone()?;
        let take = || {
            Snapshot::take(
                &client,
                &table.topic,
                &table.options,
                &self.kafka_partitions,
                cancel,
            )
        };
        let snapshot = self.snapshot.get_or_init(take).clone()?;
        Ok((client, snapshot))
    }
}

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
enum Reading {
    Waiting(Box<ScanTask>),
    Running(mpsc::Receiver<Message>),
    Ended,
}

/// What the reading thread sends; `None` says that it read to the end, which a
/// thread that dies does not.
type Message = DataFusionResult<Option<RecordBatch>>;

impl Reading {
    async fn next(self) -> Option<(DataFusionResult<RecordBatch>, Reading)> {
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
struct ScanTask {
    run: Arc<Run>,
    kafka_partition: i32,
    schema: SchemaRef,
    metrics: ScanMetrics,
    context: Arc<TaskContext>,
}

impl ScanTask {
    fn spawn(self: Box<Self>) -> DataFusionResult<mpsc::Receiver<Message>> {
        // One batch on its way while the next is decoded.
        let (sender, receiver) = mpsc::channel(2);
        let topic = &self.run.spec.table.topic;
        thread::Builder::new()
            .name(format!("kafka-scan-{topic}-{}", self.kafka_partition))
            .spawn(move || {
                let result = self.read(sender.clone());
                // The receiver may be gone; then nobody wants to know.
                let _ = sender.blocking_send(result.map(|()| None));
            })
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(receiver)
    }

    fn read(&self, sender: mpsc::Sender<Message>) -> DataFusionResult<()> {
        let spec = &self.run.spec;
        let table = &spec.table;
        let cancel = Cancel::when({
            let sender = sender.clone();
            move || sender.is_closed()
        });
        let (client, snapshot) = self.run.open(&cancel)?;
        let consumer = format!("KafkaScan[{}/{}]", table.topic, self.kafka_partition);
        let memory = MemoryConsumer::new(consumer).register(self.context.memory_pool());
        let scan = Scan {
            spec,
            partition: self.kafka_partition,
            batch_size: self.context.session_config().batch_size(),
            chunk_sizes: ChunkSizes::default(),
            metrics: &self.metrics,
            memory: &memory,
            fetch: PartitionFetch::new(
                client,
                &table.topic,
                self.kafka_partition,
                table.options.retry_timeout,
            ),
            output: ChannelOutput {
                sender,
                schema: Arc::clone(&self.schema),
            },
        };
        let result = scan.run(snapshot.range(self.kafka_partition));
        let bad_records = self.metrics.bad_records.value();
        self.run
            .bad_records
            .fetch_add(bad_records, Ordering::Relaxed);
        result
    }
}

/// Hands batches over to the stream.
struct ChannelOutput {
    sender: mpsc::Sender<Message>,
    schema: SchemaRef,
}

impl Output for ChannelOutput {
    fn send(&mut self, batch: RecordBatch) -> bool {
        let batch = batch
            .with_schema(Arc::clone(&self.schema))
            .map(Some)
            .map_err(|error| DataFusionError::ArrowError(Box::new(error), None));
        self.sender.blocking_send(batch).is_ok()
    }

    fn is_wanted(&self) -> bool {
        !self.sender.is_closed()
    }
}
