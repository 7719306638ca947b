//! [`Output`]: the topic that a refreshed query is compared with and written to.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result as DataFusionResult;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use foldhash::quality::RandomState;
use futures::StreamExt;

use crate::definition::TableDefinition;
use crate::definition::metadata_columns::Metadata;
use crate::definition::schema::ColumnRole;
use crate::error::Error;
use crate::options::{Delivery, OnBadRecord};
use crate::sink::change::Change;
use crate::sink::encode_row::EncodedRecord;
use crate::sink::instance::Positions;
use crate::sink::key_set::{KeySet, as_it_is, scan};
use crate::sink::pending::PendingRecords;
use crate::sink::producer::Producer;
use crate::sink::record_encoder::RecordEncoder;
use crate::sink::record_writer::{RecordWriter, arrow_error};
use crate::sink::report::WriteReport;

/// The topic that is kept equal to a query.
pub(super) struct Output {
    table: Arc<TableDefinition>,
    encoder: RecordEncoder,
    writer: RecordWriter,
    known: KeySet<Written>,
    /// Upserts that are sent only after all rows of the refresh have been compared. `None` with
    /// transactions, which discard the records if a duplicate key fails the refresh.
    pending: Option<PendingRecords>,
    hashers: [RandomState; 2],
    round: u64,
    row: u64,
}

/// What the output holds for a key.
#[derive(Clone, Copy)]
struct Written {
    payload: Digest,
    /// The partition in which the record was found. The record is replaced and deleted there,
    /// even if another partitioner chose that partition.
    partition: Option<i32>,
    /// The number of the last refresh that had a row with this key.
    round: u64,
}

/// A hash of a payload, which saves the memory for payloads. `None` for a payload that no row
/// encodes to, so that it always differs.
type Digest = Option<[u64; 2]>;

impl Output {
    /// Reads the rows that the topic holds now.
    pub(super) async fn open(
        table: &Arc<TableDefinition>,
        schema: &Schema,
        producer: Producer,
        context: &Arc<TaskContext>,
    ) -> DataFusionResult<Self> {
        let mut writer = RecordWriter::new(table, &ExecutionPlanMetricsSet::new());
        writer.use_producer(producer);
        let transactional = table.options.delivery == Delivery::ExactlyOnce;
        let pending = (!transactional).then(|| {
            let consumer = MemoryConsumer::new(format!("KafkaSink[{}]", table.topic));
            PendingRecords::new(&table.topic, consumer.register(context.memory_pool()))
        });
        let mut output = Output {
            table: Arc::clone(table),
            encoder: RecordEncoder::try_new(table, schema, &[Change::Upsert])?,
            writer,
            known: KeySet::new(&table.topic, context),
            pending,
            hashers: [RandomState::default(), RandomState::default()],
            round: 0,
            row: 0,
        };
        output.read_rows(context).await?;
        Ok(output)
    }

    /// Reads the topic's rows and encodes them again. Equal rows then have equal bytes, even if
    /// another program wrote the record in another form.
    async fn read_rows(&mut self, context: &Arc<TaskContext>) -> DataFusionResult<()> {
        let mut reading = as_it_is(&self.table);
        reading.options.on_bad_record = OnBadRecord::DeadLetter;
        reading.schema = reading.schema.nullable();
        let record = [
            Metadata::RecordKey,
            Metadata::RecordError,
            Metadata::RecordPartition,
        ];
        let reading = Arc::new(reading.with_record(&record)?);
        let mut columns = Vec::new();
        for (place, (column, _)) in reading.schema.columns().enumerate() {
            let is_of_record = matches!(column, ColumnRole::Metadata(m) if record.contains(&m));
            if column != ColumnRole::Metadata(Metadata::Tombstone)
                && (is_of_record || !matches!(column, ColumnRole::Metadata(_)))
            {
                columns.push(place);
            }
        }
        let plan = scan(&reading, columns).await?;
        // The columns of the source record are not encoded. They are the last ones.
        let last = plan.schema().fields().len().saturating_sub(record.len());
        let schema = plan.schema().project(&(0..last).collect::<Vec<_>>())?;
        let encoder = RecordEncoder::try_new(&reading, &schema, &[Change::Upsert])?;
        let mut rows = execute_stream(plan, Arc::clone(context))?;
        let mut record = EncodedRecord::default();
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let own = batch.project(&(0..last).collect::<Vec<_>>())?;
            let columns = encoder.columns(&own, 0)?;
            let encoded = encoder.batch(&columns).map_err(arrow_error)?;
            let keys = batch.columns().get(last);
            let keys = keys.and_then(|column| column.as_binary_view_opt());
            let errors = batch.columns().get(last + 1);
            let partitions = batch.columns().get(last + 2);
            let partitions = partitions.and_then(|c| c.as_primitive_opt::<Int32Type>());
            for index in 0..batch.num_rows() {
                let Some(key) = keys.map(|keys| keys.value(index)) else {
                    continue;
                };
                let is_bad = errors.is_some_and(|errors| errors.is_valid(index));
                let payload = match !is_bad && encoded.encode(index, 0, &mut record).is_ok() {
                    true => self.digest(&record.payload),
                    false => None,
                };
                let written = Written {
                    payload,
                    partition: partitions.map(|p| p.value(index)),
                    round: 0,
                };
                self.known.insert(key, written);
            }
            self.known.reserve()?;
        }
        Ok(())
    }

    /// Begins a refresh.
    pub(super) fn begin(&mut self) {
        self.round += 1;
        self.row = 0;
    }

    /// Compares rows with those that the topic holds, and sends or keeps those that differ.
    pub(super) async fn compare(&mut self, batch: &RecordBatch) -> DataFusionResult<()> {
        let columns = self.encoder.columns(batch, self.row)?;
        let rows = self.encoder.batch(&columns).map_err(arrow_error)?;
        let mut record = EncodedRecord::default();
        for index in 0..batch.num_rows() {
            let row = self.row;
            self.row += 1;
            rows.encode(index, row, &mut record)?;
            if record.tombstone {
                continue;
            }
            let written = Written {
                payload: self.digest(&record.payload),
                partition: None,
                round: self.round,
            };
            match self.known.get_mut(&record.key) {
                Some(known) if known.round == self.round => {
                    return Err(Error::DuplicateKey {
                        topic: self.table.topic.clone(),
                        row: Some(row),
                    }
                    .into());
                }
                Some(known) => {
                    let is_same = known.payload == written.payload;
                    let partition = known.partition;
                    *known = Written {
                        partition,
                        ..written
                    };
                    record.partition = record.partition.or(partition);
                    if is_same {
                        self.writer.report.unchanged += 1;
                        continue;
                    }
                }
                None => self.known.insert(&record.key, written),
            }
            record = match &mut self.pending {
                Some(pending) => {
                    pending.push(row, record);
                    EncodedRecord::default()
                }
                None => self.writer.write(row, record).await?,
            };
        }
        if let Some(pending) = &self.pending {
            pending.reserve_with(0)?;
        }
        self.known.reserve()
    }

    /// Sends the pending records, and tombstones for the keys that have no row any more.
    pub(super) async fn finish(&mut self) -> DataFusionResult<()> {
        let gone = self
            .known
            .iter()
            .filter(|(_, written)| written.round != self.round);
        let gone: Vec<(Box<[u8]>, Option<i32>)> = gone
            .map(|(key, written)| (key.into(), written.partition))
            .collect();
        if let Some(pending) = &mut self.pending {
            for (row, record) in pending.take() {
                self.writer.write(row, record).await?;
            }
        }
        let mut record = EncodedRecord::default();
        for (key, partition) in gone {
            self.known.remove(&key);
            record.key.clear();
            record.key.extend_from_slice(&key);
            record.tombstone = true;
            record.partition = partition;
            record = self.writer.write(self.row, record).await?;
        }
        Ok(())
    }

    /// Commits the refresh and the offsets up to which its topics were read.
    pub(super) async fn commit(&mut self, read: &Positions) -> DataFusionResult<()> {
        self.writer.commit(self.row, read).await
    }

    /// What was written since the output was opened.
    pub(super) fn report(&self) -> &WriteReport {
        &self.writer.report
    }

    /// The reserved bytes of the keys.
    pub(super) fn memory(&self) -> usize {
        self.known.memory()
    }

    fn digest(&self, payload: &[u8]) -> Digest {
        let [first, second] = &self.hashers;
        Some([first.hash_one(payload), second.hash_one(payload)])
    }
}
