//! [`KafkaSink`]: the sink of INSERT and of every other statement that writes.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::common::plan_err;
use datafusion::datasource::sink::{DataSink, DataSinkExec};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column as ColumnExpr, Literal};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use datafusion::scalar::ScalarValue;
use futures::StreamExt;

use crate::client::KeptClients;
use crate::definition::TableDefinition;
use crate::definition::metadata_columns::KEY_COLUMN;
use crate::options::{Delivery, KafkaSessionOptions};
use crate::sink::change::Change;
use crate::sink::create::ensure_topic;
use crate::sink::encode_row::EncodedRecord;
use crate::sink::list_casts::plain_items;
use crate::sink::pending::{ChangedKeys, PendingRecords};
use crate::sink::record_encoder::RecordEncoder;
use crate::sink::record_writer::{RecordWriter, arrow_error};
use crate::sink::report::WriteReport;
use crate::sink::stream::{StreamWrite, StreamWriter};

/// Writes rows to a topic as keyed records.
///
/// The row count is returned once the brokers have acknowledged every record.
/// No more records are sent when a record is refused, the input fails or the
/// statement is dropped. Records that are already acknowledged then stay in the
/// topic, unless the statement is a transaction.
pub(crate) struct KafkaSink {
    table: Arc<TableDefinition>,
    schema: SchemaRef,
    /// The changes that a row can be.
    changes: Vec<Change>,
    /// Two rows that change the same key are an error.
    unique_keys: bool,
    /// Set for an unbounded input.
    stream: Option<StreamWrite>,
    metrics: ExecutionPlanMetricsSet,
    report: Mutex<Option<WriteReport>>,
}

impl KafkaSink {
    /// A sink for the rows of an INSERT.
    pub(crate) fn new(table: Arc<TableDefinition>) -> Self {
        // All fields are nullable for DataFusion, which does not know that a tombstone needs
        // no payload. The sink itself refuses NULLs, with a row number.
        let fields: Vec<_> = table
            .schema
            .columns()
            .map(|(_, field)| Arc::new(field.as_ref().clone().with_nullable(true)))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        Self::with_changes(table, schema, vec![Change::Upsert], false)
    }

    /// A sink for rows that say in [`CHANGE_COLUMN`](crate::sink::change::CHANGE_COLUMN) which
    /// of `changes` they are.
    pub(crate) fn with_changes(
        table: Arc<TableDefinition>,
        schema: SchemaRef,
        changes: Vec<Change>,
        unique_keys: bool,
    ) -> Self {
        KafkaSink {
            table,
            schema,
            changes,
            unique_keys,
            stream: None,
            metrics: ExecutionPlanMetricsSet::new(),
            report: Mutex::new(None),
        }
    }

    /// The same sink for an unbounded input.
    pub(crate) fn with_stream(self, stream: Option<StreamWrite>) -> Self {
        KafkaSink { stream, ..self }
    }

    /// The report of the last run; `None` until that has succeeded.
    pub(crate) fn report(&self) -> Option<WriteReport> {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.clone()
    }

    fn set_report(&self, report: Option<WriteReport>) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }

    /// Projects the input to the columns of the table, which are matched by name and cast.
    /// Columns that are missing in the input are NULL.
    ///
    /// # Errors
    /// A column that the table does not have, or a missing `_key` if every record needs one.
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
        let has_keys = given.index_of(KEY_COLUMN).is_ok() && !is_always_null(&input, KEY_COLUMN);
        if !has_keys && !self.table.takes_null_keys() {
            return plan_err!(
                "INSERT INTO topic `{topic}` needs a value for `{KEY_COLUMN}`, since every record needs a key in upsert mode; `kafka.mode` = `append` writes records without one"
            );
        }
        if given.fields() == self.schema.fields() {
            return Ok(input);
        }
        let mut expressions: Vec<(Arc<dyn PhysicalExpr>, String)> = Vec::new();
        for field in self.schema.fields() {
            let name = field.name().clone();
            // Metadata of list items is not needed: the encoder takes it from the table.
            let data_type = &plain_items(field.data_type());
            let expression: Arc<dyn PhysicalExpr> = match given.index_of(&name) {
                Err(_) => Arc::new(Literal::new(ScalarValue::try_from(data_type)?)),
                Ok(index) => {
                    let column = Arc::new(ColumnExpr::new(&name, index));
                    match plain_items(given.field(index).data_type()) == *data_type {
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

impl WriteReport {
    /// The report of a plan that writes to a topic, after the plan has succeeded.
    ///
    /// `None` before that, after a failure, and for a plan that writes to no topic.
    pub fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<WriteReport> {
        let sink = plan.downcast_ref::<DataSinkExec>();
        let sink = sink.and_then(|exec| exec.sink().downcast_ref::<KafkaSink>());
        match sink {
            Some(sink) => sink.report(),
            None => plan.children().into_iter().find_map(WriteReport::of),
        }
    }
}

/// Whether a projection returns only NULLs for the column, as DataFusion plans it for a
/// column that an INSERT leaves out.
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
        write!(f, "KafkaSink(topic={}", self.table.topic)?;
        if self.changes != [Change::Upsert] {
            let changes: Vec<&str> = self.changes.iter().map(Change::name).collect();
            write!(f, ", changes=[{}]", changes.join(", "))?;
        }
        if self.table.options.delivery == Delivery::ExactlyOnce {
            write!(f, ", delivery=exactly_once")?;
        }
        if self.table.options.dry_run {
            write!(f, ", dry_run")?;
        }
        write!(f, ", columns=[{}])", columns.join(", "))
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
        context: &Arc<TaskContext>,
    ) -> DataFusionResult<u64> {
        let mut table = Arc::clone(&self.table);
        if KafkaSessionOptions::is_dry_run(context.session_config().options()) {
            // The session's dry run overrides the table's option, so that nothing is written.
            Arc::make_mut(&mut table).options.dry_run = true;
        }
        let table = &table;
        let options = &table.options;
        self.set_report(None);
        let kept = KeptClients::of(context.session_config());
        ensure_topic(&table.topic, options, &kept).await?;
        let encoder = RecordEncoder::try_new(table, &self.schema, &self.changes)?;
        let mut writer = RecordWriter::new(table, &self.metrics).keeping(kept);
        if let Some(stream) = &self.stream {
            writer = writer.without_end();
            StreamWriter::new(stream, &encoder, &mut writer, table, context)
                .write(data)
                .await?;
            let report = writer.finish(0).await?;
            let count = report.rows;
            self.set_report(Some(report));
            return Ok(count);
        }
        let consumer = format!("KafkaSink[{}]", table.topic);
        let memory = MemoryConsumer::new(consumer).register(context.memory_pool());
        let mut keys = self.unique_keys.then(ChangedKeys::default);
        // A second row of a key fails the statement. A transaction is then aborted, and its
        // records are never visible. Without a transaction no record may be sent before the
        // keys of all rows have been checked.
        let keeps_pending = self.unique_keys && options.delivery == Delivery::AtLeastOnce;
        let mut pending = PendingRecords::new(&table.topic, memory);
        let mut record = EncodedRecord::default();
        let mut row = 0;
        while let Some(batch) = data.next().await {
            let batch = batch?;
            let columns = encoder.columns(&batch, row)?;
            let rows = encoder.batch(&columns).map_err(arrow_error)?;
            for index in 0..batch.num_rows() {
                rows.encode(index, row, &mut record)?;
                if let Some(keys) = &mut keys {
                    keys.add(&table.topic, columns.given_row(index), &record)?;
                }
                if record.unchanged {
                    writer.report.unchanged += 1;
                } else if keeps_pending {
                    pending.push(row, std::mem::take(&mut record));
                } else {
                    record = writer.write(row, record).await?;
                }
                row += 1;
            }
            if let Some(keys) = &keys {
                pending.reserve(keys)?;
            }
            writer.flush(row).await?;
        }
        for (row, record) in pending.take() {
            writer.write(row, record).await?;
        }
        let report = writer.finish(row).await?;
        let count = report.rows;
        self.set_report(Some(report));
        Ok(count)
    }
}
