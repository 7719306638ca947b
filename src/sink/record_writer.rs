//! [`RecordWriter`]: sends the records of a statement and counts them.

use std::sync::Arc;
use std::time::Duration;

use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, Time};

use crate::client::KeptClients;
use crate::definition::TableDefinition;
use crate::error::Error;
use crate::extensions::hook::OutgoingRecord;
use crate::options::Delivery;
use crate::sink::acknowledgements::Shown;
use crate::sink::encode_row::EncodedRecord;
use crate::sink::instance::Positions;
use crate::sink::producer::{Producer, Sendable, Writer};
use crate::sink::report::WriteReport;

/// Sends the records of a statement and counts them.
pub(crate) struct RecordWriter {
    table: Arc<TableDefinition>,
    /// Records that the hook has not seen yet.
    for_hook: Vec<OutgoingRecord>,
    metrics: SinkMetrics,
    pub(crate) report: WriteReport,
    /// Made for the first record, so that a transaction is not open longer than necessary.
    producer: Option<Producer>,
    /// The statement ends, and is one transaction.
    ends: bool,
    /// The clients of the session.
    kept: KeptClients,
}

/// The maximum number of records in one call of the hook.
const HOOK_BATCH: usize = 8192;

impl RecordWriter {
    pub(crate) fn new(table: &Arc<TableDefinition>, metrics: &ExecutionPlanMetricsSet) -> Self {
        RecordWriter {
            table: Arc::clone(table),
            for_hook: Vec::new(),
            metrics: SinkMetrics::new(metrics, table.options.delivery),
            report: WriteReport::default(),
            producer: None,
            ends: true,
            kept: KeptClients::default(),
        }
    }

    /// The same writer for a session that keeps clients.
    pub(crate) fn keeping(self, kept: KeptClients) -> Self {
        RecordWriter { kept, ..self }
    }

    /// The same writer for an unbounded statement, which commits at intervals.
    pub(crate) fn without_end(self) -> Self {
        RecordWriter {
            ends: false,
            ..self
        }
    }

    /// Sends with the producer of a continuous query.
    pub(crate) fn use_producer(&mut self, producer: Producer) {
        self.producer = Some(producer);
    }

    /// Writes the record of a row. Returns a record whose buffers can be reused.
    pub(crate) async fn write(
        &mut self,
        row: u64,
        record: EncodedRecord,
    ) -> DataFusionResult<EncodedRecord> {
        self.report.rows += 1;
        if self.table.extensions.hook.is_none() {
            self.send(row, &record).await?;
            return Ok(record);
        }
        self.for_hook.push(record.into());
        if self.for_hook.len() >= HOOK_BATCH {
            self.flush(row).await?;
        }
        Ok(EncodedRecord::default())
    }

    /// Passes the waiting records to the hook, and sends the records that the hook returns.
    pub(crate) async fn flush(&mut self, row: u64) -> DataFusionResult<()> {
        let records = std::mem::take(&mut self.for_hook);
        let Some(hook) = self.table.extensions.hook.clone() else {
            return Ok(());
        };
        if records.is_empty() {
            return Ok(());
        }
        // A hook may drop, add and reorder records, so their rows are unknown. The last row of
        // the batch stands for all of them.
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

    async fn send(&mut self, row: u64, record: &EncodedRecord) -> DataFusionResult<()> {
        if !self.table.options.dry_run {
            self.producer().await?.send(row, &record.into()).await?;
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

    /// Sends a record to another topic, without the hook.
    pub(crate) async fn send_elsewhere(
        &mut self,
        topic: &str,
        row: u64,
        record: &Sendable<'_>,
    ) -> DataFusionResult<()> {
        if !self.table.options.dry_run {
            let producer = self.producer().await?;
            producer.send_to(Some(topic), row, record).await?;
        }
        self.report.dead_letters += 1;
        Ok(())
    }

    /// Waits until every sent record is acknowledged.
    pub(crate) async fn settle(&mut self) -> DataFusionResult<()> {
        if let Some(producer) = &mut self.producer {
            producer.acknowledged().await?;
        }
        Ok(())
    }

    async fn producer(&mut self) -> DataFusionResult<&mut Producer> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => {
                let shown = self.metrics.shown.clone();
                let (topic, options) = (&self.table.topic, &self.table.options);
                let writer = match self.ends {
                    true => Writer::Statement(self.kept.clone()),
                    false => Writer::Stream,
                };
                Producer::new(topic, options, shown, writer).await?
            }
        };
        Ok(self.producer.insert(producer))
    }

    /// Waits until every sent record is acknowledged, and commits the records and the offsets
    /// `read`. More records can be sent afterwards.
    pub(crate) async fn commit(&mut self, row: u64, read: &Positions) -> DataFusionResult<()> {
        self.flush(row).await?;
        if let Some(producer) = &mut self.producer {
            producer.commit(read).await?;
            self.metrics.committed();
        }
        Ok(())
    }

    /// Commits for the last time, and returns the report.
    pub(crate) async fn finish(mut self, rows: u64) -> DataFusionResult<WriteReport> {
        self.flush(rows).await?;
        if let Some(producer) = &mut self.producer {
            self.report.partitions = producer.finish().await?;
            self.metrics.committed();
            self.metrics.queue_full(producer.queue_full());
        }
        Ok(self.report)
    }
}

pub(crate) fn arrow_error(error: arrow::error::ArrowError) -> DataFusionError {
    DataFusionError::ArrowError(Box::new(error), None)
}

/// Counters of a statement, shown by EXPLAIN ANALYZE.
struct SinkMetrics {
    records_produced: Count,
    shown: Shown,
    /// Only with transactions.
    records_committed: Option<Count>,
    tombstones: Count,
    bytes_produced: Count,
    queue_full_time: Time,
}

impl SinkMetrics {
    fn new(metrics: &ExecutionPlanMetricsSet, delivery: Delivery) -> Self {
        let counter = |name: &'static str| MetricBuilder::new(metrics).global_counter(name);
        let time = |name: &'static str| MetricBuilder::new(metrics).subset_time(name, 0);
        SinkMetrics {
            records_produced: counter("records_produced"),
            shown: Shown {
                acknowledged: counter("records_acknowledged"),
                throttled: time("throttle_time"),
            },
            records_committed: (delivery == Delivery::ExactlyOnce)
                .then(|| counter("records_committed")),
            tombstones: counter("tombstones"),
            bytes_produced: counter("bytes_produced"),
            queue_full_time: time("queue_full_time"),
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

    /// Counts all acknowledged records as committed.
    fn committed(&self) {
        if let Some(committed) = &self.records_committed {
            committed.add(self.shown.acknowledged.value() - committed.value());
        }
    }

    fn queue_full(&self, time: Duration) {
        self.queue_full_time.add_duration(time);
    }
}
