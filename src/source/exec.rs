//! [`KafkaScanExec`]: the physical plan that reads a topic.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::{StreamExt, stream};

use crate::options::Mode;
use crate::source::run::{Reading, Runs, ScanTask};
use crate::source::scan::{ScanMetrics, ScanSpec};

/// Reads a topic: one output partition per Kafka partition.
///
/// Nothing is read before a stream is polled. The end offsets are taken once,
/// when the first of its streams starts, so that all partitions stand at one
/// instant, and with them all other scans of the topic in a plan of a session
/// that [`register_kafka`](crate::register_kafka) prepared. Each stream reads
/// on a thread of its own; dropping it ends that.
pub struct KafkaScanExec {
    spec: ScanSpec,
    kafka_partitions: Vec<i32>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    runs: Arc<Runs>,
    /// Which of the scans that share `runs` this is.
    scan: usize,
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
            runs: Arc::default(),
            scan: 0,
        })
    }

    /// The topic that is read.
    pub fn topic(&self) -> &str {
        &self.spec.table.topic
    }

    /// Whether the two read the same records at the same time.
    pub(crate) fn same_topic(&self, other: &KafkaScanExec) -> bool {
        let (one, other) = (&self.spec.table, &other.spec.table);
        let (client, other_client) = (&one.options.client, &other.options.client);
        one.topic == other.topic
            && one.options.isolation == other.options.isolation
            && client.bootstrap_servers().ok() == other_client.bootstrap_servers().ok()
    }

    /// The same scan as the `scan`th of several in one plan that see the topic
    /// at the same instant.
    pub(crate) fn sharing(&self, runs: &Arc<Runs>, scan: usize) -> DataFusionResult<Self> {
        let mut shared = Self::try_new(self.spec.clone(), self.kafka_partitions.clone())?;
        shared.runs = Arc::clone(runs);
        shared.scan = scan;
        Ok(shared)
    }

    /// What [`sharing`](Self::sharing) takes.
    pub(crate) fn runs(&self) -> &Arc<Runs> {
        &self.runs
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
            run: self
                .runs
                .join(self.scan, partition, &self.spec, &self.kafka_partitions),
            kafka_partition,
            schema: Arc::clone(&self.schema),
            metrics: ScanMetrics::new(&self.metrics, partition),
            context,
        };
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let batches = stream::unfold(Reading::Waiting(Box::new(task)), Reading::next);
        let batches = batches.inspect(move |batch| {
            if let Ok(batch) = batch {
                batch.record_output(&baseline);
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
        let mut scan = KafkaScanExec::try_new(spec, self.kafka_partitions.clone()).ok()?;
        scan.runs = Arc::clone(&self.runs);
        scan.scan = self.scan;
        Some(Arc::new(scan))
    }

    fn fetch(&self) -> Option<usize> {
        self.spec.limit
    }
}
