//! [`KafkaSink`]: what INSERT and the other statements that write run.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::common::{DataFusionError, plan_err};
use datafusion::datasource::sink::DataSink;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::memory_pool::MemoryConsumer;
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

use crate::error::Error;
use crate::options::{Delivery, KafkaSessionOptions};
use crate::schema::KEY_COLUMN;
use crate::sink::batch::EncodedRecord;
use crate::sink::change::Change;
use crate::sink::create::ensure_topic;
use crate::sink::encode::RecordEncoder;
use crate::sink::held::{ChangedKeys, Held};
use crate::sink::hook::OutgoingRecord;
use crate::sink::producer::Producer;
use crate::sink::report::WriteReport;
use crate::table::TableDefinition;

/// Writes rows to a topic as keyed records.
///
/// The count is returned when every record is acknowledged by the brokers.
/// When a record is refused, the input fails or the statement is dropped, no
/// more records are sent; those that were acknowledged before stay, unless the
/// statement is a transaction.
pub(crate) struct KafkaSink {
    table: Arc<TableDefinition>,
    schema: SchemaRef,
    /// What a row can be.
    changes: Vec<Change>,
    /// No key may be changed by two rows.
    unique_keys: bool,
    metrics: ExecutionPlanMetricsSet,
    report: Mutex<Option<WriteReport>>,
}

impl KafkaSink {
    /// The rows of an INSERT.
    pub(crate) fn new(table: Arc<TableDefinition>) -> Self {
        // NULLs are refused here, with a row number, and not by DataFusion,
        // which does not know that a tombstone needs no payload.
        let fields: Vec<_> = table
            .schema
            .columns()
            .map(|(_, field)| Arc::new(field.as_ref().clone().with_nullable(true)))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        Self::with_changes(table, schema, vec![Change::Upsert], false)
    }

    /// Rows of this schema that say which of these changes they are.
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
            metrics: ExecutionPlanMetricsSet::new(),
            report: Mutex::new(None),
        }
    }

    /// What was written, once all of it was.
    pub(crate) fn report(&self) -> Option<WriteReport> {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.clone()
    }

    fn set_report(&self, report: Option<WriteReport>) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
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
            // Whatever a table was made with: it is what keeps a statement from harm.
            Arc::make_mut(&mut table).options.dry_run = true;
        }
        let table = &table;
        let options = &table.options;
        self.set_report(None);
        ensure_topic(&table.topic, options).await?;
        let encoder = RecordEncoder::try_new(table, &self.schema, &self.changes)?;
        let mut sender = Sender {
            table,
            hooked: Vec::new(),
            metrics: SinkMetrics::new(&self.metrics),
            report: WriteReport::default(),
            producer: None,
        };
        let consumer = format!("KafkaSink[{}]", table.topic);
        let memory = MemoryConsumer::new(consumer).register(context.memory_pool());
        let mut keys = self.unique_keys.then(ChangedKeys::default);
        // A transaction takes back what was sent before the second row of a key.
        let holds = self.unique_keys && options.delivery == Delivery::AtLeastOnce;
        let mut held = Held::new(memory);
        let mut record = EncodedRecord::default();
        let mut row = 0;
        while let Some(batch) = data.next().await {
            let batch = batch?;
            let columns = encoder.columns(&batch, row)?;
            let rows = encoder.batch(&columns).map_err(arrow_error)?;
            for index in 0..batch.num_rows() {
                rows.encode(index, row, &mut record)?;
                if let Some(keys) = &mut keys {
                    keys.add(&table.topic, row, &record)?;
                }
                if record.unchanged {
                    sender.report.unchanged += 1;
                } else if holds {
                    held.push(row, std::mem::take(&mut record));
                } else {
                    record = sender.write(row, record).await?;
                }
                row += 1;
            }
            if let Some(keys) = &keys {
                held.reserve(keys)?;
            }
            sender.flush(row).await?;
        }
        for (row, record) in held.take() {
            sender.write(row, record).await?;
        }
        let report = sender.finish(row).await?;
        let count = report.rows;
        self.set_report(Some(report));
        Ok(count)
    }
}

/// Sends the records of a statement and counts them.
struct Sender<'a> {
    table: &'a TableDefinition,
    /// Those that the hook has not seen yet.
    hooked: Vec<OutgoingRecord>,
    metrics: SinkMetrics,
    report: WriteReport,
    /// From the first record on: a transaction is open no longer than it must be.
    producer: Option<Producer>,
}

/// As many records as a hook sees at once.
const HOOKED: usize = 8192;

impl Sender<'_> {
    /// Takes the record of a row; gives back a record to be filled anew.
    async fn write(&mut self, row: u64, record: EncodedRecord) -> DataFusionResult<EncodedRecord> {
        self.report.rows += 1;
        if self.table.extensions.hook.is_none() {
            self.send(row, &record).await?;
            return Ok(record);
        }
        self.hooked.push(record.into());
        if self.hooked.len() >= HOOKED {
            self.flush(row).await?;
        }
        Ok(EncodedRecord::default())
    }

    /// Shows the hook what it has not seen, and sends what it makes of it.
    async fn flush(&mut self, row: u64) -> DataFusionResult<()> {
        let records = std::mem::take(&mut self.hooked);
        match &self.table.extensions.hook {
            Some(hook) if !records.is_empty() => {
                // Which row a record was nobody knows any more; it was none after this one.
                let row = row.saturating_sub(1);
                for record in hook.before_send(&self.table.topic, records).await? {
                    let record = EncodedRecord::from(record);
                    if let Some(reason) = record.refusal() {
                        return Err(Error::InvalidRow {
                            topic: self.table.topic.clone(),
                            row,
                            reason: format!("the hook's record: {reason}"),
                        }
                        .into());
                    }
                    self.send(row, &record).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn send(&mut self, row: u64, record: &EncodedRecord) -> DataFusionResult<()> {
        let options = &self.table.options;
        if !options.dry_run {
            let producer = match self.producer.take() {
                Some(producer) => producer,
                None => {
                    let acknowledged = self.metrics.records_acknowledged.clone();
                    Producer::new(&self.table.topic, options, acknowledged).await?
                }
            };
            self.producer.insert(producer).send(row, record).await?;
        }
        let payload = match record.tombstone {
            true => 0,
            false => record.payload.len(),
        };
        let bytes = (record.key.len() + payload) as u64;
        self.metrics.count(record, bytes);
        self.report.bytes += bytes;
        match record.tombstone {
            true => self.report.tombstones += 1,
            false => self.report.upserts += 1,
        }
        Ok(())
    }

    async fn finish(mut self, rows: u64) -> DataFusionResult<WriteReport> {
        self.flush(rows).await?;
        if let Some(producer) = &mut self.producer {
            self.report.partitions = producer.finish().await?;
            self.metrics.queue_full(producer.queue_full());
        }
        Ok(self.report)
    }
}

fn arrow_error(error: arrow::error::ArrowError) -> DataFusionError {
    DataFusionError::ArrowError(Box::new(error), None)
}

/// Counters of a statement, shown by EXPLAIN ANALYZE.
struct SinkMetrics {
    records_produced: Count,
    records_acknowledged: Count,
    tombstones: Count,
    bytes_produced: Count,
    queue_full_time: Time,
}

impl SinkMetrics {
    fn new(metrics: &ExecutionPlanMetricsSet) -> Self {
        let counter = |name: &'static str| MetricBuilder::new(metrics).global_counter(name);
        SinkMetrics {
            records_produced: counter("records_produced"),
            records_acknowledged: counter("records_acknowledged"),
            tombstones: counter("tombstones"),
            bytes_produced: counter("bytes_produced"),
            queue_full_time: MetricBuilder::new(metrics).subset_time("queue_full_time", 0),
        }
    }

    fn count(&self, record: &EncodedRecord, bytes: u64) {
        self.records_produced.add(1);
        self.bytes_produced
            .add(usize::try_from(bytes).unwrap_or(usize::MAX));
        if record.tombstone {
            self.tombstones.add(1);
        }
    }

    fn queue_full(&self, time: Duration) {
        self.queue_full_time.add_duration(time);
    }
}
