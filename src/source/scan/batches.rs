//! Collects rows into batches, filters them and cuts them at the limit.

use arrow::record_batch::RecordBatch;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::physical_plan::filter::batch_filter;
use rdkafka_extra::Record;

use super::{Output, ScanGroup};
use crate::source::rows::{Outcome, RecordParts, Rows};

pub(super) struct Batches<'a> {
    rows: Rows,
    group: &'a ScanGroup<'a>,
    /// The size that the records of a batch may reach, not counting the last record.
    batch_bytes: usize,
    /// The offset of the last record that is a row.
    last: Option<i64>,
}

impl<'a> Batches<'a> {
    pub(super) fn new(rows: Rows, group: &'a ScanGroup<'a>, batch_bytes: usize) -> Self {
        Batches {
            rows,
            group,
            batch_bytes,
            last: None,
        }
    }

    /// Turns records into rows and sends every full batch; `false` when no more rows are wanted.
    pub(super) fn extend<R: Record>(
        &mut self,
        records: impl IntoIterator<Item = R>,
        output: &mut impl Output,
    ) -> DataFusionResult<bool> {
        let mut timer = self.group.metrics.decode_time.timer();
        for record in records {
            self.append(&record)?;
            if self.is_full() {
                timer.stop();
                if !self.flush(output)? {
                    return Ok(false);
                }
                timer.restart();
            }
        }
        Ok(true)
    }

    /// Turns a record into a row.
    pub(super) fn append(&mut self, record: &impl Record) -> DataFusionResult<Outcome> {
        let outcome = self.rows.append(record)?;
        match outcome {
            Outcome::Row | Outcome::PassedOver => {}
            Outcome::BadRow | Outcome::Skipped => self.group.metrics.bad_records.add(1),
            Outcome::Deleted { .. } => self.group.metrics.tombstones.add(1),
        }
        if outcome.is_row() {
            self.last = Some(record.offset());
        }
        Ok(outcome)
    }

    /// The parts of a record that the rows are built from.
    pub(super) fn record_parts(&self) -> RecordParts {
        self.rows.record_parts()
    }

    /// The offset of the last record that is a row.
    pub(super) fn last(&self) -> Option<i64> {
        self.last
    }

    /// Whether a record is left out, with a key or without.
    pub(super) fn is_passed_over(&mut self, record: &impl Record) -> bool {
        self.rows.is_passed_over(record)
    }

    /// Whether a record would be a row, without adding the row.
    pub(super) fn judge(&mut self, record: &impl Record) -> DataFusionResult<Outcome> {
        let outcome = self.rows.append(record)?;
        self.rows.take_back(outcome);
        Ok(outcome)
    }

    /// Whether to send the batch: it is full, or it may reach the limit.
    pub(super) fn is_full(&self) -> bool {
        let rows = self.rows.len();
        // A filter may remove any number of these rows.
        rows >= self.group.batch_size
            || (self.group.spec.filter.is_none() && rows >= self.group.left.get())
            || self.rows.bytes() >= self.batch_bytes
            // Records that are left out do not become rows, but take memory until the next batch.
            || self.rows.built() / 2 >= self.group.batch_size
    }

    /// Sends the collected rows; `false` when no more rows are wanted.
    pub(super) fn flush(&mut self, output: &mut impl Output) -> DataFusionResult<bool> {
        let batch = match self.rows.built() {
            0 => None,
            _ => Some(self.take()?),
        };
        if let Some(batch) = batch.filter(|batch| batch.num_rows() > 0)
            && !output.send(batch)?
        {
            return Ok(false);
        }
        Ok(self.group.left.get() > 0 && output.is_wanted())
    }

    /// Whether no row waits to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.built() == 0
    }

    #[cfg(test)]
    pub(super) fn built(&self) -> usize {
        self.rows.built()
    }

    fn take(&mut self) -> DataFusionResult<RecordBatch> {
        let _timer = self.group.metrics.decode_time.timer();
        let mut batch = self
            .rows
            .finish()
            .map_err(|error| DataFusionError::ArrowError(Box::new(error), None))?;
        if let Some(filter) = &self.group.spec.filter {
            batch = batch_filter(&batch, filter)?;
        }
        if batch.num_columns() > self.group.spec.returned {
            batch = batch.project(&(0..self.group.spec.returned).collect::<Vec<_>>())?;
        }
        let left = self.group.left.get();
        if batch.num_rows() > left {
            batch = batch.slice(0, left);
        }
        self.group.left.set(left - batch.num_rows());
        Ok(batch)
    }
}
