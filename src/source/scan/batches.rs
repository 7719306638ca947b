//! Rows on their way to the output: batched, filtered, cut at the limit.

use arrow::record_batch::RecordBatch;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::physical_plan::filter::batch_filter;
use rdkafka_extra::Record;

use super::{Output, ScanSpec};
use crate::source::metrics::ScanMetrics;
use crate::source::rows::{Outcome, Rows};

pub(super) struct Batches<'a> {
    rows: Rows,
    left: usize,
    batch_size: usize,
    /// What the records of a batch weigh at most, and what the last one brings.
    batch_bytes: usize,
    /// The offset of the last record that is a row.
    last: Option<i64>,
    spec: &'a ScanSpec,
    metrics: &'a ScanMetrics,
}

impl<'a> Batches<'a> {
    pub(super) fn new(
        rows: Rows,
        spec: &'a ScanSpec,
        batch_size: usize,
        batch_bytes: usize,
        metrics: &'a ScanMetrics,
    ) -> Self {
        Batches {
            rows,
            left: spec.limit.unwrap_or(usize::MAX),
            batch_size: batch_size.max(1),
            batch_bytes,
            last: None,
            spec,
            metrics,
        }
    }

    /// Makes rows of records, sending every batch that is full; `false` when
    /// no more rows are wanted.
    pub(super) fn extend<R: Record>(
        &mut self,
        records: impl IntoIterator<Item = R>,
        output: &mut impl Output,
    ) -> DataFusionResult<bool> {
        let mut timer = self.metrics.decode_time.timer();
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

    /// Makes a row of a record.
    pub(super) fn append(&mut self, record: &impl Record) -> DataFusionResult<Outcome> {
        let outcome = self.rows.append(record)?;
        if outcome != Outcome::Row {
            self.metrics.bad_records.add(1);
        }
        if outcome != Outcome::Skipped {
            self.last = Some(record.offset());
        }
        Ok(outcome)
    }

    /// The offset of the last record that is a row.
    pub(super) fn last(&self) -> Option<i64> {
        self.last
    }

    /// Says whether a record would be a row, without making one of it.
    pub(super) fn judge(&mut self, record: &impl Record) -> DataFusionResult<Outcome> {
        let outcome = self.rows.append(record)?;
        self.rows.take_back(outcome);
        Ok(outcome)
    }

    /// Whether a batch should go: it is full, or the limit may be reached.
    pub(super) fn is_full(&self) -> bool {
        let rows = self.rows.len();
        // With a filter nobody knows how many of them will be left.
        rows >= self.batch_size
            || (self.spec.filter.is_none() && rows >= self.left)
            || self.rows.bytes() >= self.batch_bytes
            // Records that are left out are in the way of no row, but take room.
            || self.rows.built() / 2 >= self.batch_size
    }

    /// Sends what there is; `false` when no more rows are wanted.
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
        Ok(self.left > 0 && output.is_wanted())
    }

    /// Whether nothing waits to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.built() == 0
    }

    #[cfg(test)]
    pub(super) fn built(&self) -> usize {
        self.rows.built()
    }

    fn take(&mut self) -> DataFusionResult<RecordBatch> {
        let _timer = self.metrics.decode_time.timer();
        let mut batch = self
            .rows
            .finish()
            .map_err(|error| DataFusionError::ArrowError(Box::new(error), None))?;
        if let Some(filter) = &self.spec.filter {
            batch = batch_filter(&batch, filter)?;
        }
        if batch.num_columns() > self.spec.returned {
            batch = batch.project(&(0..self.spec.returned).collect::<Vec<_>>())?;
        }
        if batch.num_rows() > self.left {
            batch = batch.slice(0, self.left);
        }
        self.left -= batch.num_rows();
        Ok(batch)
    }
}
