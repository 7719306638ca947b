//! [`EventRows`]: the records of a topic in append mode, in memory.

use std::collections::BTreeMap;

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::{BatchCoalescer, filter_record_batch};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::memory_pool::MemoryReservation;

/// Every record of a topic, in the order in which they were read.
pub(super) struct EventRows {
    /// The columns of the rows, followed by the Kafka partition and the offset.
    batches: Vec<RecordBatch>,
    /// The number of columns of a row.
    columns: usize,
    memory: MemoryReservation,
}

/// The rows of a batch that small batches are combined to.
const ROWS: usize = 8192;
/// The number of small batches above which they are combined.
const SMALL_BATCHES: usize = 64;

impl EventRows {
    /// No rows yet. `columns` is the number of columns of a row.
    pub(super) fn new(columns: usize, memory: MemoryReservation) -> Self {
        EventRows {
            batches: Vec::new(),
            columns,
            memory,
        }
    }

    /// The reserved bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory.size()
    }

    /// Adds records. Their columns are those of the rows, then the Kafka partition and the offset.
    ///
    /// # Errors
    /// The memory pool has no room for the records.
    pub(super) fn apply(&mut self, records: RecordBatch) -> DataFusionResult<()> {
        self.batches.push(records);
        let small = |batch: &RecordBatch| batch.num_rows() < ROWS / 2;
        if self.batches.iter().filter(|batch| small(batch)).count() > SMALL_BATCHES {
            self.combine()?;
        }
        self.reserve()
    }

    fn combine(&mut self) -> DataFusionResult<()> {
        let Some(schema) = self.batches.first().map(RecordBatch::schema) else {
            return Ok(());
        };
        let mut together = BatchCoalescer::new(schema, ROWS);
        for batch in std::mem::take(&mut self.batches) {
            together.push_batch(batch)?;
        }
        together.finish_buffered_batch()?;
        while let Some(batch) = together.next_completed_batch() {
            self.batches.push(batch);
        }
        Ok(())
    }

    /// Drops the records that retention has deleted: those below these low watermarks.
    pub(super) fn forget_below(&mut self, low: &BTreeMap<i32, i64>) -> DataFusionResult<()> {
        let mut kept = Vec::with_capacity(self.batches.len());
        for batch in std::mem::take(&mut self.batches) {
            let place = |at: usize| batch.columns().get(self.columns + at);
            let partitions = place(0).and_then(|column| column.as_primitive_opt::<Int32Type>());
            let offsets = place(1).and_then(|column| column.as_primitive_opt::<Int64Type>());
            let (Some(partitions), Some(offsets)) = (partitions, offsets) else {
                return datafusion::common::internal_err!("records without their positions");
            };
            let places = partitions.values().iter().zip(offsets.values());
            let is_held: BooleanArray = places
                .map(|(partition, offset)| Some(low.get(partition).is_none_or(|low| offset >= low)))
                .collect();
            match is_held.true_count() {
                0 => {}
                all if all == batch.num_rows() => kept.push(batch),
                _ => kept.push(filter_record_batch(&batch, &is_held)?),
            }
        }
        self.batches = kept;
        self.reserve()
    }

    fn reserve(&self) -> DataFusionResult<()> {
        let bytes = self.batches.iter().map(RecordBatch::get_array_memory_size);
        self.memory.try_resize(bytes.sum())
    }

    /// These columns of all rows.
    pub(super) fn batches(&self, columns: &[usize]) -> DataFusionResult<Vec<RecordBatch>> {
        let batches = self.batches.iter();
        Ok(batches
            .map(|batch| batch.project(columns))
            .collect::<Result<_, _>>()?)
    }
}
