//! The records of a topic in append mode, kept in memory.

use std::collections::BTreeMap;

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::{BatchCoalescer, filter_record_batch};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::memory_pool::MemoryReservation;

/// Every record of a topic, in the order in which they came.
pub(super) struct EventRows {
    /// With two more columns behind those of the rows: Kafka partition and offset.
    batches: Vec<RecordBatch>,
    /// How many columns the rows have.
    columns: usize,
    memory: MemoryReservation,
}

/// Rows of a batch that is put together,
const ROWS: usize = 8192;
/// and so many smaller ones are put up with.
const SMALL_BATCHES: usize = 64;

impl EventRows {
    /// No rows yet, with so many columns.
    pub(super) fn new(columns: usize, memory: MemoryReservation) -> Self {
        EventRows {
            batches: Vec::new(),
            columns,
            memory,
        }
    }

    /// The bytes that are reserved.
    pub(super) fn memory(&self) -> usize {
        self.memory.size()
    }

    /// Takes records in: the columns of the rows, then the Kafka partition and the offset.
    ///
    /// # Errors
    /// The memory pool has no room for them.
    pub(super) fn apply(&mut self, records: RecordBatch) -> DataFusionResult<()> {
        self.batches.push(records);
        let small = |batch: &RecordBatch| batch.num_rows() < ROWS / 2;
        if self.batches.iter().filter(|batch| small(batch)).count() > SMALL_BATCHES {
            self.put_together()?;
        }
        self.reserve()
    }

    fn put_together(&mut self) -> DataFusionResult<()> {
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

    /// Leaves out what retention has deleted: offsets below these low watermarks.
    pub(super) fn forget_below(&mut self, low: &BTreeMap<i32, i64>) -> DataFusionResult<()> {
        let mut kept = Vec::with_capacity(self.batches.len());
        for batch in std::mem::take(&mut self.batches) {
            let place = |at: usize| batch.columns().get(self.columns + at);
            let partitions = place(0).and_then(|column| column.as_primitive_opt::<Int32Type>());
            let offsets = place(1).and_then(|column| column.as_primitive_opt::<Int64Type>());
            let (Some(partitions), Some(offsets)) = (partitions, offsets) else {
                return datafusion::common::internal_err!("records without their places");
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
