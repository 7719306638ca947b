//! [`KafkaScanExec`]: the physical plan that reads a topic.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Statistics, internal_err};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::{
    Column as ColumnExpr, DynamicFilterPhysicalExpr, lit,
};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{
    EquivalenceProperties, PhysicalExpr, PhysicalSortExpr, conjunction,
};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::{StreamExt, stream};

use crate::definition::metadata::Metadata;
use crate::options::{Bound, Mode};
use crate::source::metrics::ScanMetrics;
use crate::source::predicate::Candidates;
use crate::source::reading::{Reading, ScanTask};
use crate::source::scan::ScanSpec;
use crate::source::shared::PlanState;

/// Reads a topic: one output partition per Kafka partition.
///
/// Nothing is read before a stream is polled. The end offsets are taken once
/// per [`TaskContext`] that the plan is executed with, when the first of its
/// streams starts, so that all partitions stand at one instant, and with them
/// all other scans of the topic in a plan of a session that
/// [`register_kafka`](crate::register_kafka) prepared. Each stream reads on a
/// thread of its own; dropping it ends that.
///
/// To see a topic as it is later, plan the query again, as every execution of a
/// `DataFrame` does. What joins, `ORDER BY .. LIMIT` and the like find out while
/// they run stays in their plan: executed with a second context, it may give
/// rows of the first one. A scan that such knowledge filters is an error then,
/// unless DataFusion's `reset_plan_states` has made it forget.
pub struct KafkaScanExec {
    spec: ScanSpec,
    /// Those that are read.
    kafka_partitions: Arc<[i32]>,
    /// What the filter wanted of them when the scan was planned.
    planned: BTreeMap<i32, Candidates>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    runs: Arc<PlanState>,
    /// Which of the scans that share `runs` this is.
    scan: usize,
}

impl KafkaScanExec {
    pub(crate) fn try_new(spec: ScanSpec) -> DataFusionResult<Self> {
        let topic_partitions = spec.held.keys().copied();
        let planned = topic_partitions.clone().map(|p| (p, spec.candidates(p)));
        let planned: BTreeMap<i32, Candidates> = planned.filter(|(_, c)| !c.is_empty()).collect();
        let mut kafka_partitions: Vec<i32> = planned.keys().copied().collect();
        if kafka_partitions.is_empty() {
            // A plan has at least one partition; nothing is read of this one.
            kafka_partitions.extend(topic_partitions.take(1));
        }
        let returned = spec.columns.get(..spec.returned).unwrap_or_default();
        let schema = Arc::new(spec.table.schema.arrow().project(returned)?);
        let properties = PlanProperties::new(
            in_offset_order(&spec, &schema),
            Partitioning::UnknownPartitioning(kafka_partitions.len()),
            EmissionType::Incremental,
            match spec.table.unbounded {
                false => Boundedness::Bounded,
                true => Boundedness::Unbounded {
                    requires_infinite_memory: false,
                },
            },
        );
        Ok(KafkaScanExec {
            spec,
            kafka_partitions: kafka_partitions.into(),
            planned,
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

    /// Where the scan ends in each Kafka partition, as a value of `kafka.end`:
    /// later queries with it see what this one sees.
    ///
    /// Always [`Bound::Offsets`], with an offset for every Kafka partition, also
    /// those that the query's filter leaves out. They are looked up when the
    /// first stream of the plan is polled; before that, and after a failure to
    /// look them up, there are none.
    ///
    /// # Example
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow::datatypes::{DataType, Field, Schema};
    /// # use datafusion::prelude::*;
    /// # use datafusion_kafka::{EmbeddedKafka, KafkaScanExec, KafkaTable};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let kafka = EmbeddedKafka::start()?;
    /// # kafka.create_topic("orders", 2)?;
    /// # let servers = kafka.bootstrap_servers();
    /// # let orders = KafkaTable::builder("orders")
    /// #     .with_schema(Schema::new(vec![Field::new("amount", DataType::Int64, true)]))
    /// #     .with_option("kafka.bootstrap.servers", servers);
    /// # let ctx = SessionContext::new();
    /// # ctx.register_table("orders", Arc::new(orders.build().await?))?;
    /// # ctx.sql("INSERT INTO orders VALUES ('a', 1), ('b', 2)").await?.collect().await?;
    /// let query = ctx.sql("SELECT sum(amount) FROM orders").await?;
    /// let plan = query.create_physical_plan().await?;
    /// let total = datafusion::physical_plan::collect(Arc::clone(&plan), ctx.task_ctx()).await?;
    /// for scan in KafkaScanExec::all_in(&plan) {
    ///     // such as `orders ended at offsets:{"0":1,"1":1}`
    ///     println!("{} ended at {}", scan.topic(), scan.end_offsets().unwrap());
    /// }
    /// # let end = KafkaScanExec::all_in(&plan)[0].end_offsets().unwrap().to_string();
    /// # assert!(end.starts_with(r#"offsets:{"0":"#), "{end}");
    /// # Ok(()) }
    /// ```
    pub fn end_offsets(&self) -> Option<Bound> {
        self.runs.snapshot(self.scan).map(|snapshot| snapshot.end())
    }

    /// All scans of Kafka topics in a plan.
    pub fn all_in(plan: &Arc<dyn ExecutionPlan>) -> Vec<&KafkaScanExec> {
        let below = plan.children().into_iter().flat_map(Self::all_in);
        plan.downcast_ref::<KafkaScanExec>()
            .into_iter()
            .chain(below)
            .collect()
    }

    /// Whether the two read the same records at the same time.
    pub(crate) fn same_topic(&self, other: &KafkaScanExec) -> bool {
        let (one, other) = (&self.spec.table, &other.spec.table);
        let (client, other_client) = (&one.options.client, &other.options.client);
        one.topic == other.topic
            && one.options.isolation == other.options.isolation
            && one.options.wait_for == other.options.wait_for
            && client.bootstrap_servers().ok() == other_client.bootstrap_servers().ok()
    }

    /// The same scan as the `scan`th of several in one plan that see the topic
    /// at the same instant.
    pub(crate) fn sharing(&self, runs: &Arc<PlanState>, scan: usize) -> Self {
        KafkaScanExec {
            spec: self.spec.clone(),
            kafka_partitions: Arc::clone(&self.kafka_partitions),
            planned: self.planned.clone(),
            schema: Arc::clone(&self.schema),
            properties: Arc::clone(&self.properties),
            metrics: ExecutionPlanMetricsSet::new(),
            runs: Arc::clone(runs),
            scan,
        }
    }

    /// The same scan in the same plan, of something else.
    fn with_spec(&self, spec: ScanSpec) -> DataFusionResult<Self> {
        let mut scan = Self::try_new(spec)?;
        scan.runs = Arc::clone(&self.runs);
        scan.scan = self.scan;
        Ok(scan)
    }

    /// What [`sharing`](Self::sharing) takes.
    pub(crate) fn runs(&self) -> &Arc<PlanState> {
        &self.runs
    }

    /// Whether a filter that a plan makes while it runs says no of no row that
    /// its join would take. Bounds of nested values are none where a part of them
    /// is NULL, and a set of floats does not hold 0 for -0.
    fn compares_as_joins_do(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        collect_columns(filter).iter().all(|column| {
            let field = self.schema.fields().get(column.index());
            field.is_some_and(|field| {
                let data_type = match field.data_type() {
                    DataType::Dictionary(_, value) => value.as_ref(),
                    other => other,
                };
                !data_type.is_nested() && !data_type.is_floating()
            })
        })
    }

    /// How many records there were to read when the scan was planned: what the
    /// metric `records_fetched` comes to where nothing lets reading end earlier.
    /// Offsets that hold no record count too. `None` of an unbounded table.
    pub fn records_at_most(&self) -> Option<u64> {
        let partitions = self.kafka_partitions.iter();
        let records = partitions.map(|p| self.offsets_of(*p) as u64).sum();
        (!self.spec.table.unbounded).then_some(records)
    }

    fn offsets_of(&self, partition: i32) -> usize {
        let held = self.spec.held.get(&partition);
        let Some((held, candidates)) = held.zip(self.planned.get(&partition)) else {
            return 0;
        };
        let last = candidates.offsets.max.saturating_add(1).min(held.end);
        let first = candidates.offsets.min.max(held.start);
        usize::try_from(last.saturating_sub(first)).unwrap_or(0)
    }

    fn rows_at_most(&self, partition: i32) -> usize {
        let Some(candidates) = self.planned.get(&partition) else {
            return 0;
        };
        let records = self.offsets_of(partition);
        let upsert = self.spec.table.options.mode.unwrap_or_default() == Mode::Upsert;
        let keys = candidates
            .keys
            .as_ref()
            .filter(|_| upsert)
            .map_or(usize::MAX, |keys| keys.len());
        records.min(keys).min(self.spec.limit.unwrap_or(usize::MAX))
    }

    fn fmt_with(&self, f: &mut fmt::Formatter<'_>, separator: &str) -> fmt::Result {
        let options = &self.spec.table.options;
        let mode = match self.spec.table.declared_mode() {
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
        let read = self.kafka_partitions.len();
        write!(f, "{separator}partitions={read}")?;
        if read < self.spec.held.len() {
            write!(f, " of {}", self.spec.held.len())?;
        }
        write!(f, "{separator}start={}", options.start)?;
        match self.spec.table.unbounded {
            false => write!(f, "{separator}end={}", options.end)?,
            true => write!(f, "{separator}unbounded")?,
        }
        write!(f, "{separator}projection=[{}]", columns.join(", "))?;
        if let Some(filter) = &self.spec.filter {
            write!(f, "{separator}filter={filter}")?;
        }
        let candidates = self.kafka_partitions.iter();
        let candidates = candidates
            .map(|partition| self.spec.candidates(*partition))
            .fold(Candidates::NONE, Candidates::or);
        let pruned = candidates.describe(options.mode.unwrap_or_default());
        if !pruned.is_empty() {
            write!(f, "{separator}reads=[{}]", pruned.join(", "))?;
        }
        if let Some(limit) = self.spec.limit {
            write!(f, "{separator}limit={limit}")?;
        }
        Ok(())
    }
}

/// Append mode reads each partition in the order of its offsets.
fn in_offset_order(spec: &ScanSpec, schema: &SchemaRef) -> EquivalenceProperties {
    let place = schema.index_of(Metadata::Offset.name());
    match (spec.table.options.mode.unwrap_or_default(), place) {
        // Partitions that are added join the first one's stream.
        (Mode::Append, Ok(place)) if !spec.table.unbounded => {
            let offset = Arc::new(ColumnExpr::new(Metadata::Offset.name(), place));
            // As SQL's ASC; there are no NULLs.
            let options = SortOptions::new(false, false);
            let ascending = [PhysicalSortExpr::new(offset, options)];
            EquivalenceProperties::new_with_orderings(Arc::clone(schema), [ascending])
        }
        _ => EquivalenceProperties::new(Arc::clone(schema)),
    }
}

/// The filter as it is where nobody has found out anything yet.
fn without_dynamic_filters(
    filter: Arc<dyn PhysicalExpr>,
) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
    filter
        .transform_down(|part| match part.is::<DynamicFilterPhysicalExpr>() {
            true => Ok(Transformed::new(lit(true), true, TreeNodeRecursion::Jump)),
            false => Ok(Transformed::no(part)),
        })
        .data()
}

/// The bytes of a value, guessed where they differ from row to row.
fn width(data_type: &DataType) -> usize {
    const GUESS: usize = 32;
    data_type.primitive_width().unwrap_or(GUESS)
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
        let partitions = self.kafka_partitions.len();
        let task = ScanTask {
            run: self
                .runs
                .join(self.scan, partition, partitions, &self.spec, &context)?,
            kafka_partition,
            kafka_partitions: Arc::clone(&self.kafka_partitions),
            readers: Arc::default(),
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

    /// Without the filters of the plan's other nodes, which make new ones that the scan
    /// is not told of.
    fn reset_state(self: Arc<Self>) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let mut spec = self.spec.clone();
        spec.filter = spec.filter.map(without_dynamic_filters).transpose()?;
        let mut scan = self.with_spec(spec)?;
        scan.metrics = self.metrics.clone();
        Ok(Arc::new(scan))
    }

    /// From the offsets at planning and the filters on them: at most so many
    /// rows, since nobody knows which records are superseded.
    fn statistics_from_inputs(
        &self,
        _inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> DataFusionResult<Arc<Statistics>> {
        if self.spec.table.unbounded {
            return Ok(Arc::new(Statistics::new_unknown(&self.schema)));
        }
        let read = match args.partition() {
            None => &*self.kafka_partitions,
            Some(partition) => self
                .kafka_partitions
                .get(partition..=partition)
                .unwrap_or(&[]),
        };
        let rows: usize = read
            .iter()
            .map(|partition| self.rows_at_most(*partition))
            .sum();
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Inexact(rows);
        let width: usize = self
            .schema
            .fields()
            .iter()
            .map(|field| width(field.data_type()))
            .sum();
        statistics.total_byte_size = Precision::Inexact(rows.saturating_mul(width));
        Ok(Arc::new(statistics))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let mut spec = self.spec.clone();
        spec.limit = limit;
        let scan = self.with_spec(spec).ok()?;
        Some(Arc::new(scan))
    }

    /// Takes over the filters that a plan makes while it runs, such as those
    /// of a hash join's build side and of ORDER BY .. LIMIT.
    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> DataFusionResult<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        // A filter above a limit is not one below it.
        if phase != FilterPushdownPhase::Post || self.spec.limit.is_some() {
            return Ok(FilterPushdownPropagation::all_unsupported(result));
        }
        let mut spec = self.spec.clone();
        let mut taken = Vec::new();
        for parent in result.parent_filters {
            let takes = !is_volatile(&parent.filter) && self.compares_as_joins_do(&parent.filter);
            taken.push(match takes {
                true => PushedDown::Yes,
                false => PushedDown::No,
            });
            if takes {
                let filters = spec.filter.take().into_iter().chain([parent.filter]);
                spec.filter = Some(conjunction(filters));
            }
        }
        let propagation = FilterPushdownPropagation::with_parent_pushdown_result(taken);
        Ok(propagation.with_updated_node(Arc::new(self.with_spec(spec)?)))
    }

    fn fetch(&self) -> Option<usize> {
        self.spec.limit
    }
}
