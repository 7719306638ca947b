//! [`KafkaSink`]: what INSERT runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::common::{DataFusionError, plan_err};
use datafusion::datasource::sink::DataSink;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column as ColumnExpr, Literal};
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, Time,
};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use datafusion::scalar::ScalarValue;
use futures::StreamExt;

use crate::schema::KEY_COLUMN;
use crate::sink::create::ensure_topic;
use crate::sink::encode::{EncodedRecord, RecordEncoder};
use crate::sink::producer::Producer;
use crate::table::TableDefinition;

/// Writes rows to a topic as keyed records.
///
/// The count is returned when every record is acknowledged by the brokers.
/// When a record is refused, the input fails or the statement is dropped, no
/// more records are sent; those that were acknowledged before stay.
pub(crate) struct KafkaSink {
    table: Arc<TableDefinition>,
    schema: SchemaRef,
    metrics: ExecutionPlanMetricsSet,
}

impl KafkaSink {
    pub(crate) fn new(table: Arc<TableDefinition>) -> Self {
        // NULLs are refused here, with a row number, and not by DataFusion,
        // which does not know that a tombstone needs no payload.
        let fields: Vec<_> = table
            .schema
            .columns()
            .map(|(_, field)| Arc::new(field.as_ref().clone().with_nullable(true)))
            .collect();
        KafkaSink {
            table,
            schema: Arc::new(Schema::new(fields)),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// Brings the input's columns into the order and the types of the table,
    /// by name; columns that it does not have are NULL.
    ///
    /// # Errors
    /// A column that the table does not have, or no `_key`.
    pub(crate) fn align(
        &self,
        input: Arc<dyn ExecutionPlan>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let given = input.schema();
        let topic = &self.table.topic;
        for field in given.fields() {
            if self.schema.index_of(field.name()).is_err() {
                let known: Vec<_> = self
                    .schema
                    .fields()
                    .iter()
                    .map(|f| f.name().as_str())
                    .collect();
                return plan_err!(
                    "topic `{topic}` has no column `{}`; it has {}",
                    field.name(),
                    known.join(", ")
                );
            }
        }
        if given.index_of(KEY_COLUMN).is_err() || is_always_null(&input, KEY_COLUMN) {
            return plan_err!(
                "INSERT INTO topic `{topic}` needs a value for `{KEY_COLUMN}`, since every record needs a key"
            );
        }
        if given.fields() == self.schema.fields() {
            return Ok(input);
        }
        let mut expressions: Vec<(Arc<dyn PhysicalExpr>, String)> = Vec::new();
        for field in self.schema.fields() {
            let name = field.name().clone();
            let data_type = field.data_type();
            let expression: Arc<dyn PhysicalExpr> = match given.index_of(&name) {
                Err(_) => Arc::new(Literal::new(ScalarValue::try_from(data_type)?)),
                Ok(index) => {
                    let column = Arc::new(ColumnExpr::new(&name, index));
                    match given.field(index).data_type() == data_type {
                        true => column,
                        false => Arc::new(CastExpr::new(column, data_type.clone(), None)),
                    }
                }
            };
            expressions.push((expression, name));
        }
        Ok(Arc::new(ProjectionExec::try_new(expressions, input)?))
    }
}

/// Whether a projection gives nothing but NULL for the column: what DataFusion
/// plans for a column that an INSERT leaves out.
fn is_always_null(input: &Arc<dyn ExecutionPlan>, column: &str) -> bool {
    let Some(projection) = input.downcast_ref::<ProjectionExec>() else {
        return false;
    };
    let expression = projection.expr().iter().find(|e| e.alias == column);
    let mut expression = expression.map(|e| &e.expr);
    while let Some(current) = expression {
        if let Some(literal) = current.downcast_ref::<Literal>() {
            return literal.value().is_null();
        }
        expression = current.downcast_ref::<CastExpr>().map(CastExpr::expr);
    }
    false
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink")
            .field("topic", &self.table.topic)
            .finish()
    }
}

impl DisplayAs for KafkaSink {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> = self
            .schema
            .fields()
            .iter()
            .map(|f| f.name().as_str())
            .collect();
        write!(
            f,
            "KafkaSink(topic={}, columns=[{}])",
            self.table.topic,
            columns.join(", ")
        )
    }
}

#[async_trait]
impl DataSink for KafkaSink {
    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn write_all(
        &self,
        mut data: SendableRecordBatchStream,
        _context: &Arc<TaskContext>,
    ) -> DataFusionResult<u64> {
        let table = &self.table;
        let metrics = SinkMetrics::new(&self.metrics);
        ensure_topic(&table.topic, &table.options).await?;
        let encoder = RecordEncoder::try_new(table)?;
        let mut producer = Producer::new(&table.topic, &table.options)?;
        let mut record = EncodedRecord::default();
        let mut row = 0;
        while let Some(batch) = data.next().await {
            let batch = batch?;
            let columns = encoder.columns(&batch).map_err(arrow_error)?;
            let rows = encoder.batch(&columns).map_err(arrow_error)?;
            for index in 0..batch.num_rows() {
                rows.encode(index, row, &mut record)?;
                producer.send(&record).await?;
                metrics.count(&record);
                row += 1;
            }
        }
        let acknowledged = producer.finish().await?;
        metrics.queue_full(producer.queue_full());
        Ok(acknowledged)
    }
}

fn arrow_error(error: arrow::error::ArrowError) -> DataFusionError {
    DataFusionError::ArrowError(Box::new(error), None)
}

/// Counters of a statement, shown by EXPLAIN ANALYZE.
struct SinkMetrics {
    records_produced: Count,
    tombstones: Count,
    bytes_produced: Count,
    queue_full_time: Time,
}

impl SinkMetrics {
    fn new(metrics: &ExecutionPlanMetricsSet) -> Self {
        let counter = |name: &'static str| MetricBuilder::new(metrics).global_counter(name);
        SinkMetrics {
            records_produced: counter("records_produced"),
            tombstones: counter("tombstones"),
            bytes_produced: counter("bytes_produced"),
            queue_full_time: MetricBuilder::new(metrics).subset_time("queue_full_time", 0),
        }
    }

    fn count(&self, record: &EncodedRecord) {
        self.records_produced.add(1);
        self.bytes_produced.add(record.key.len());
        match record.tombstone {
            true => self.tombstones.add(1),
            false => self.bytes_produced.add(record.payload.len()),
        }
    }

    fn queue_full(&self, time: Duration) {
        self.queue_full_time.add_duration(time);
    }
}
