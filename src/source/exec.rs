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

use crate::definition::metadata_columns::Metadata;
use crate::options::{Bound, Mode};
use crate::source::groups::divide;
use crate::source::metrics::ScanMetrics;
use crate::source::pruning::{Candidates, columns_of};
use crate::source::reading::{Reading, ScanTask};
use crate::source::scan::ScanSpec;
use crate::source::shared::Runs;

/// Reads a topic. An output partition reads a group of Kafka partitions.
///
/// There are at most `datafusion.execution.target_partitions` groups, and no more than Kafka
/// partitions to be read. The groups have about the same number of records.
///
/// Nothing is read before a stream is polled. Each stream reads its group on a thread of its own;
/// dropping the stream stops the thread.
///
/// # Ends
/// The end offsets are looked up once, when the first stream is polled, or earlier by
/// [`fix_ends`](crate::fix_ends). From then on they are fixed: all partitions share one snapshot
/// of the topic, and a plan that is executed again returns the same rows. To see later records,
/// plan the query again, as every execution of a `DataFrame` does.
///
/// In a session that [`register_kafka`](crate::register_kafka) prepared, all scans of a topic in
/// one plan are fixed at the same instant. In other sessions `fix_ends` does that.
///
/// # Running again
/// Joins, `ORDER BY .. LIMIT` and similar operators keep what they learned at run time in their
/// plan, so a second execution of the plan could leave out rows. Executing a scan with such
/// dynamic filters a second time is therefore an error, unless DataFusion's `reset_plan_states`
/// has reset the filters.
pub struct KafkaScanExec {
    spec: ScanSpec,
    /// The partitions that are read, by output partition.
    groups: Arc<[Vec<i32>]>,
    /// The records of each partition that the filter could match at planning time.
    planned: BTreeMap<i32, Candidates>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    runs: Arc<Runs>,
}

impl KafkaScanExec {
    pub(crate) fn try_new(spec: ScanSpec) -> DataFusionResult<Self> {
        let topic_partitions = spec.watermarks.keys().copied();
        let planned = topic_partitions.clone().map(|p| (p, spec.candidates(p)));
        let planned: BTreeMap<i32, Candidates> = planned.filter(|(_, c)| !c.is_empty()).collect();
        let records = |partition: &i32| offsets_of(&spec, &planned, *partition) as u64;
        let weighed: Vec<_> = planned.keys().map(|p| (*p, records(p))).collect();
        let mut groups = divide(&weighed, spec.target_partitions);
        if groups.is_empty() {
            // A plan has at least one partition. Nothing is read from this partition.
            groups.push(topic_partitions.take(1).collect());
        }
        let returned = spec.columns.get(..spec.returned).unwrap_or_default();
        let schema = Arc::new(spec.table.schema.arrow().project(returned)?);
        let properties = PlanProperties::new(
            in_offset_order(&spec, &groups, &schema),
            Partitioning::UnknownPartitioning(groups.len()),
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
            groups: groups.into(),
            planned,
            schema,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
            runs: Arc::default(),
        })
    }

    /// The topic that is read.
    pub fn topic(&self) -> &str {
        &self.spec.table.topic
    }

    /// The end offset of the scan in each Kafka partition, as a value of `kafka.end`. A later
    /// query with this value sees the same records.
    ///
    /// Always [`Bound::Offsets`], with an offset for each Kafka partition, including the
    /// partitions that the query's filter excludes. `None` until the offsets are fixed: when the
    /// first stream of the scan is polled, or by [`fix_ends`](crate::fix_ends). A failed look-up
    /// leaves `None`. An unbounded scan has no end; the offsets are those at which the topic ended
    /// when the scan's start was fixed.
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
        self.spec.ends.fixed().map(|fixed| fixed.snapshot.end())
    }

    /// All scans of Kafka topics in a plan.
    pub fn all_in(plan: &Arc<dyn ExecutionPlan>) -> Vec<&KafkaScanExec> {
        let below = plan.children().into_iter().flat_map(Self::all_in);
        plan.downcast_ref::<KafkaScanExec>()
            .into_iter()
            .chain(below)
            .collect()
    }

    pub(crate) fn spec(&self) -> &ScanSpec {
        &self.spec
    }

    /// A scan of another spec that keeps its place in the plan.
    fn with_spec(&self, spec: ScanSpec) -> DataFusionResult<Self> {
        let mut scan = Self::try_new(spec)?;
        scan.runs = Arc::clone(&self.runs);
        Ok(scan)
    }

    /// Whether a dynamic filter keeps every row that its join would match. Two kinds of types
    /// break that rule: nested values, whose bounds are missing where part of a value is NULL;
    /// and floats, since a set that holds -0 does not contain 0.
    fn compares_as_joins_do(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        let Some(columns) = columns_of(filter) else {
            return false;
        };
        columns.iter().all(|column| {
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

    /// The number of records to read at planning time: the value of the metric `records_fetched`
    /// when nothing lets reading end earlier. Offsets without a record count too. `None` for an
    /// unbounded table.
    pub fn records_at_most(&self) -> Option<u64> {
        let records = self.read().map(|p| self.offsets_of(p) as u64).sum();
        (!self.spec.table.unbounded).then_some(records)
    }

    /// The partitions that are read.
    fn read(&self) -> impl Iterator<Item = i32> {
        self.groups.iter().flatten().copied()
    }

    fn offsets_of(&self, partition: i32) -> usize {
        offsets_of(&self.spec, &self.planned, partition)
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
        let read = self.read().count();
        write!(f, "{separator}partitions={read}")?;
        if read < self.spec.watermarks.len() {
            write!(f, " of {}", self.spec.watermarks.len())?;
        }
        match self.groups.len() {
            1 if read > 1 => write!(f, " in 1 group")?,
            groups if groups < read => write!(f, " in {groups} groups")?,
            _ => {}
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
        let candidates = self
            .read()
            .map(|partition| self.spec.candidates(partition))
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

/// The number of offsets of a partition that the filter could match at planning time.
fn offsets_of(spec: &ScanSpec, planned: &BTreeMap<i32, Candidates>, partition: i32) -> usize {
    let held = spec.watermarks.get(&partition);
    let Some((held, candidates)) = held.zip(planned.get(&partition)) else {
        return 0;
    };
    let last = candidates.offsets.max.saturating_add(1).min(held.end);
    let first = candidates.offsets.min.max(held.start);
    usize::try_from(last.saturating_sub(first)).unwrap_or(0)
}

/// Declares the sort order of append mode, which reads each partition in offset order. The records
/// of several partitions in one stream have no order.
fn in_offset_order(
    spec: &ScanSpec,
    groups: &[Vec<i32>],
    schema: &SchemaRef,
) -> EquivalenceProperties {
    let is_ordered = !spec.table.unbounded && groups.iter().all(|group| group.len() <= 1);
    let place = schema.index_of(Metadata::Offset.name());
    match (spec.table.options.mode.unwrap_or_default(), place) {
        // An unbounded scan adds the records of new partitions to an existing stream, which
        // breaks the order.
        (Mode::Append, Ok(place)) if is_ordered => {
            let offset = Arc::new(ColumnExpr::new(Metadata::Offset.name(), place));
            // The same as ASC in SQL; the column has no NULLs.
            let options = SortOptions::new(false, false);
            let ascending = [PhysicalSortExpr::new(offset, options)];
            EquivalenceProperties::new_with_orderings(Arc::clone(schema), [ascending])
        }
        _ => EquivalenceProperties::new(Arc::clone(schema)),
    }
}

/// The filter without the parts that other operators fill in at run time.
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

/// The size of a value in bytes; a guess for types of variable width.
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
        let partitions = self.groups.len();
        if partition >= partitions {
            return internal_err!("KafkaScanExec has no partition {partition}");
        }
        let task = ScanTask {
            run: self
                .runs
                .join(partition, partitions, &self.spec, &context)?,
            groups: Arc::clone(&self.groups),
            group: partition,
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

    /// Removes the dynamic filters. The plan's other nodes create new ones when they are reset,
    /// and the scan would not be told of them.
    fn reset_state(self: Arc<Self>) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let mut spec = self.spec.clone();
        spec.filter = spec.filter.map(without_dynamic_filters).transpose()?;
        let mut scan = self.with_spec(spec)?;
        scan.metrics = self.metrics.clone();
        Ok(Arc::new(scan))
    }

    /// Estimates rows from the offsets at planning time and the filters on offsets. The estimate
    /// is an upper bound, because the number of superseded records is unknown.
    fn statistics_from_inputs(
        &self,
        _inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> DataFusionResult<Arc<Statistics>> {
        if self.spec.table.unbounded {
            return Ok(Arc::new(Statistics::new_unknown(&self.schema)));
        }
        let read = match args.partition() {
            None => &*self.groups,
            Some(partition) => self.groups.get(partition..=partition).unwrap_or(&[]),
        };
        let rows: usize = read
            .iter()
            .flatten()
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

    /// Accepts dynamic filters, such as those of a hash join's build side and of ORDER BY ..
    /// LIMIT.
    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> DataFusionResult<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        // A filter above a limit must not move below the limit.
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
