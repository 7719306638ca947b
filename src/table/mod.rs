//! [`KafkaTable`]: a topic as a DataFusion table, on top of the source and the sink.
//!
//! ```text
//! builder ── a table from options and columns;   infer_from_sample ── columns of a topic
//! sample ── what its newest records have in common
//! location ── `kafka://host/topic`;   write_query ── a query's rows for a topic with its columns
//! ```

mod builder;
mod filters;
pub(crate) mod infer_from_sample;
pub(crate) mod location;
mod sample;
pub(crate) mod write_query;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{
    Constraints, DFSchema, DFSchemaRef, Result as DataFusionResult, plan_err,
};
use datafusion::datasource::TableType;
use datafusion::datasource::sink::DataSinkExec;
use datafusion::logical_expr::dml::{InsertOp, MergeIntoClause};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use crate::client::{Client, KeptClients, blocking};
use crate::definition::TableDefinition;
use crate::definition::metadata_columns::Metadata;
use crate::error::{Error, Result, own_error};
use crate::options::{Bound, Mode, OnBadRecord};
use crate::sink::exec::KafkaSink;
use crate::sink::stream::StreamWrite;
use crate::source::chunk_sizes::Budget;
use crate::source::exec::KafkaScanExec;
use crate::source::look_ups::LookUps;
use crate::source::passed::Passed;
use crate::source::scan::ScanSpec;
pub(crate) use crate::table::filters::needs_another_plan;
use crate::table::filters::{needs_the_engine, physical};

pub use builder::KafkaTableBuilder;

/// A Kafka topic as a table.
///
/// # Shape
/// The column `_key` comes first, unless it is declared elsewhere, followed by the declared or
/// inferred columns. In upsert mode (the default) the rows are the latest records of all keys,
/// except keys whose latest record is a tombstone. In append mode the rows are all records. The
/// order of rows is not defined.
///
/// An [unbounded](KafkaTableBuilder::unbounded) table has all records in both modes, including
/// those that are written later.
///
/// # Reading
/// A scan has one output partition per Kafka partition. The end offsets are fixed when the first
/// of these partitions starts, or earlier by [`fix_ends`](crate::fix_ends); records that are
/// written later are not read. Filters, projection and limit are applied inside the scan. See
/// [`options`](crate::options) for the settings.
///
/// # Writing
/// `INSERT INTO` produces one record per row and returns when all records are acknowledged. In
/// append mode a row whose `_key` is NULL becomes a record without a key, in any partition; in
/// upsert mode such a row is refused. `UPDATE`, `DELETE`, `MERGE`, `TRUNCATE` and
/// `INSERT OVERWRITE` need upsert mode, and a session that
/// [`register_kafka`](crate::register_kafka) has prepared. Such a session also writes rows of
/// the same key in the order in which they are read. In other sessions DataFusion may distribute
/// these rows over several threads first, unless `enable_round_robin_repartition`,
/// `repartition_file_scans`, `repartition_joins` and `repartition_windows` of
/// `datafusion.optimizer` are `false`.
///
/// # Example
/// ```
/// # use datafusion::prelude::*;
/// # use datafusion_kafka::{EmbeddedKafka, KafkaTable};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let kafka = EmbeddedKafka::start()?;
/// # kafka.create_topic("orders", 1)?;
/// # let servers = kafka.bootstrap_servers();
/// use arrow::datatypes::{DataType, Field, Schema};
///
/// let ctx = SessionContext::new();
/// let orders = KafkaTable::builder("orders")
///     .with_schema(Schema::new(vec![Field::new("amount", DataType::Int64, true)]))
///     .with_option("kafka.bootstrap.servers", servers)
///     .build()
///     .await?;
/// ctx.register_table("orders", std::sync::Arc::new(orders))?;
/// ctx.sql("INSERT INTO orders VALUES ('a', 1), ('b', 2), ('a', 3)").await?.collect().await?;
/// let total = ctx.sql("SELECT sum(amount) FROM orders").await?;
/// # let batches = total.clone().collect().await?;
/// # assert_eq!(batches[0].column(0).as_ref(), &arrow::array::Int64Array::from(vec![5]));
/// total.show().await?; // 5: `a` counts once, with its latest record
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct KafkaTable {
    source: Option<Arc<TableDefinition>>,
    sink: Option<Arc<TableDefinition>>,
    schema: SchemaRef,
    constraints: Option<Constraints>,
    defaults: HashMap<String, Expr>,
    definition: Option<String>,
    /// A missing topic is read as one without rows, because the statement creates the topic.
    may_be_missing: bool,
    /// The columns are those of the query that is written.
    of_query: bool,
    /// Where scans report how far they have read.
    passed: Option<Arc<Passed>>,
}

impl KafkaTable {
    /// A builder for a table of this topic.
    pub fn builder(topic: impl Into<String>) -> KafkaTableBuilder {
        KafkaTableBuilder::new(topic.into())
    }

    /// A table that reads with one definition and writes with another.
    pub(crate) fn new(
        source: Option<Arc<TableDefinition>>,
        sink: Option<Arc<TableDefinition>>,
    ) -> Self {
        let schema = source.as_ref().or(sink.as_ref()).map_or_else(
            || Arc::new(Schema::empty()),
            |table| Arc::clone(table.schema.arrow()),
        );
        KafkaTable {
            source,
            sink,
            schema,
            constraints: None,
            defaults: HashMap::new(),
            definition: None,
            may_be_missing: false,
            of_query: false,
            passed: None,
        }
    }

    /// A table that reads, bounded or unbounded, and writes with the same definition.
    pub(crate) fn of(definition: Arc<TableDefinition>, unbounded: bool) -> Result<Self> {
        let source = match unbounded {
            true => Arc::new(definition.without_end()?),
            false => Arc::clone(&definition),
        };
        Ok(KafkaTable::new(Some(source), Some(definition)))
    }

    /// The same table, except that it has no rows if its topic does not exist.
    pub(crate) fn allow_missing_topic(mut self) -> Self {
        self.may_be_missing = true;
        self
    }

    /// The same table, marked as one whose columns are those of the query that is written.
    pub(crate) fn of_query(mut self) -> Self {
        self.of_query = true;
        self
    }

    /// The same table, whose scans report in `passed` how far they have read.
    pub(crate) fn with_passed(mut self, passed: Option<Arc<Passed>>) -> Self {
        self.passed = passed;
        self
    }

    /// Whether the columns are those of the query that is written, which was planned first.
    pub(crate) fn has_columns_of_query(&self) -> bool {
        self.of_query
    }

    /// Adds what only `CREATE EXTERNAL TABLE` can declare.
    pub(crate) fn with_ddl(
        mut self,
        constraints: Constraints,
        defaults: HashMap<String, Expr>,
        definition: String,
    ) -> Self {
        self.constraints = Some(constraints);
        self.defaults = defaults;
        self.definition = Some(definition);
        self
    }

    /// The definition for reading; `None` if only a sink pattern matches.
    pub(crate) fn source(&self) -> Option<&Arc<TableDefinition>> {
        self.source.as_ref()
    }

    /// The definition for writing; `None` if only a source pattern matches.
    pub(crate) fn sink(&self) -> Option<&Arc<TableDefinition>> {
        self.sink.as_ref()
    }

    /// The declared default of a column.
    pub(crate) fn default_of(&self, column: &str) -> Option<&Expr> {
        self.defaults.get(column)
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        let table = self.source.as_ref().or(self.sink.as_ref());
        table.map_or("", |table| &table.topic)
    }

    /// The current end offsets of the topic, as a value of `kafka.end`. Queries with that option
    /// read the topic as it is now, without records that are written later.
    ///
    /// Always [`Bound::Offsets`], with an offset for each Kafka partition: the end up to which a
    /// query would read, given `kafka.isolation`. A partition that is added later is not
    /// included, and queries read that partition to its own end.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Login`] and [`Error::TopicNotFound`]. A
    /// query with the offsets fails with [`Error::OffsetOutOfRange`] once
    /// retention has passed one of them.
    ///
    /// # Cancellation
    /// Dropping the future ends the request within a second.
    ///
    /// # Example
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow::datatypes::{DataType, Field, Schema};
    /// # use datafusion::prelude::*;
    /// # use datafusion_kafka::{EmbeddedKafka, KafkaTable};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let kafka = EmbeddedKafka::start()?;
    /// # kafka.create_topic("orders", 2)?;
    /// # let servers = kafka.bootstrap_servers();
    /// let orders = KafkaTable::builder("orders")
    ///     .with_schema(Schema::new(vec![Field::new("amount", DataType::Int64, true)]))
    ///     .with_option("kafka.bootstrap.servers", servers);
    /// let live = orders.clone().build().await?;
    /// # let ctx = SessionContext::new();
    /// # ctx.register_table("live", Arc::new(live.clone()))?;
    /// # ctx.sql("INSERT INTO live VALUES ('a', 1), ('b', 2)").await?.collect().await?;
    /// let end = live.end_offsets().await?; // such as `offsets:{"0":1,"1":1}`
    /// let report = orders.with_option("kafka.end", end.to_string()).build().await?;
    /// # ctx.register_table("report", Arc::new(report))?;
    /// # ctx.sql("INSERT INTO live VALUES ('c', 3)").await?.collect().await?;
    /// # assert_eq!(ctx.sql("SELECT * FROM live").await?.count().await?, 3);
    /// # assert_eq!(ctx.sql("SELECT * FROM report").await?.count().await?, 2);
    /// # Ok(()) }
    /// ```
    pub async fn end_offsets(&self) -> Result<Bound> {
        let Some(table) = self.source.as_ref().or(self.sink.as_ref()).cloned() else {
            return Err(Error::Unsupported("the table has no topic".to_owned()));
        };
        blocking(move |cancel| {
            let client = Client::new(&table.topic, &table.options)?;
            let partitions = client.partitions(cancel)?;
            let watermarks = client.watermarks(&partitions, cancel)?;
            let ends = watermarks
                .into_iter()
                .map(|(partition, held)| (partition, held.end));
            Ok(Bound::Offsets(ends.collect()))
        })
        .await
        .map_err(own_error)
    }
}

impl KafkaTable {
    /// The error of a statement that was not rewritten above the provider. A provider does not
    /// get the whole predicate: for `WHERE false`, subqueries and LIMIT its list of filters is
    /// empty or incomplete.
    fn needs_rewriting<T>(&self, verb: &str) -> DataFusionResult<T> {
        plan_err!(
            "{verb} on topic `{}` needs a session that `datafusion_kafka::register_kafka` prepared, so that only the rows that the statement asks for are changed",
            self.topic()
        )
    }
}

impl fmt::Debug for KafkaTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTable")
            .field("topic", &self.topic())
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for KafkaTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn constraints(&self) -> Option<&Constraints> {
        self.constraints.as_ref()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_table_definition(&self) -> Option<&str> {
        self.definition.as_deref()
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.default_of(column)
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        filters
            .iter()
            .map(|filter| {
                Ok(match needs_the_engine(filter)? {
                    true => TableProviderFilterPushDown::Unsupported,
                    false => TableProviderFilterPushDown::Exact,
                })
            })
            .collect()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let Some(table) = &self.source else {
            return plan_err!(
                "`{}` matches only a sink pattern; add a source pattern to read it",
                self.topic()
            );
        };
        table.check_deletes_are_seen()?;
        if table.options.on_bad_record == OnBadRecord::DeadLetter
            && !table.schema.has(Metadata::RecordError)
        {
            return plan_err!(
                "`kafka.on_bad_record` = `dead_letter` of topic `{}` works only for unbounded INSERTs that run record by record; use `skip` or `null` for other queries",
                self.topic()
            );
        }
        let mut columns = match projection {
            Some(projection) => projection.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let returned = columns.len();
        let filter = match conjunction(filters.iter().cloned()) {
            None => None,
            Some(filter) => {
                for column in filter.column_refs() {
                    let index = self.schema.index_of(&column.name)?;
                    if !columns.contains(&index) {
                        columns.push(index);
                    }
                }
                let schema = DFSchema::try_from(self.schema.project(&columns)?)?;
                Some(physical(&filter, &schema, state)?)
            }
        };
        let look_ups = state
            .config()
            .get_extension::<LookUps>()
            .unwrap_or_default();
        let kept = KeptClients::of(state.config());
        let topic = match look_ups.topic(table, &kept).await {
            Err(error)
                if self.may_be_missing
                    && matches!(Error::find(&error), Some(Error::TopicNotFound { .. })) =>
            {
                let returned = columns.get(..returned).unwrap_or_default();
                let schema = Arc::new(self.schema.project(returned)?);
                return Ok(Arc::new(EmptyExec::new(schema)));
            }
            found => found?,
        };
        let spec = ScanSpec {
            table: Arc::clone(table),
            columns,
            returned,
            filter,
            limit,
            primary_key: self.constraints.iter().flat_map(|c| c.iter()).count() > 0,
            watermarks: topic.watermarks,
            planning_client: topic.client,
            ends: topic.ends,
            target_partitions: state.config().target_partitions().min(Budget::most_groups(
                state.runtime_env().memory_pool.as_ref(),
            )),
            passed: self.passed.clone(),
        };
        Ok(Arc::new(KafkaScanExec::try_new(spec)?))
    }

    async fn insert_into(
        &self,
        _state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        insert_op: InsertOp,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let Some(table) = &self.sink else {
            return plan_err!(
                "`{}` matches only a source pattern; add a sink pattern to write it",
                self.topic()
            );
        };
        table.check_is_writable()?;
        match (insert_op, table.options.mode.unwrap_or_default()) {
            // In upsert mode REPLACE INTO is INSERT INTO, since the latest record of a key replaces
            // the others.
            (InsertOp::Append, _) | (InsertOp::Replace, Mode::Upsert) => {}
            (InsertOp::Replace, Mode::Append) => {
                return plan_err!(
                    "REPLACE INTO replaces the record of a key, which `{}` in append mode does not have; use INSERT INTO",
                    self.topic()
                );
            }
            (InsertOp::Overwrite, _) => return self.needs_rewriting("INSERT OVERWRITE"),
        }
        let stream = input.boundedness().is_unbounded();
        let stream = stream.then(StreamWrite::default);
        let sink = KafkaSink::new(Arc::clone(table)).with_stream(stream);
        let input = sink.align(input)?;
        Ok(Arc::new(DataSinkExec::new(input, Arc::new(sink), None)))
    }

    async fn delete_from(
        &self,
        _state: &dyn Session,
        _filters: Vec<Expr>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.needs_rewriting("DELETE")
    }

    async fn update(
        &self,
        _state: &dyn Session,
        _assignments: Vec<(String, Expr)>,
        _filters: Vec<Expr>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.needs_rewriting("UPDATE")
    }

    async fn truncate(&self, _state: &dyn Session) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.needs_rewriting("TRUNCATE")
    }

    async fn merge_into(
        &self,
        _state: &dyn Session,
        _source: Arc<dyn ExecutionPlan>,
        _merge_schema: DFSchemaRef,
        _on: Expr,
        _clauses: Vec<MergeIntoClause>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.needs_rewriting("MERGE")
    }
}
