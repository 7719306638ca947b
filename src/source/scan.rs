//! Reading one partition: newest first in upsert mode, forward in append mode.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::filter::batch_filter;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};

use crate::error::Error;
use crate::options::{Mode, NullKey, OnBadRecord};
use crate::record::{OffsetRange, Record};
use crate::schema::Metadata;
use crate::source::fetch::{Chunk, Fetch, Progress};
use crate::source::fold::SeenKeys;
use crate::source::rows::{Outcome, Rows};
use crate::table::TableDefinition;

/// What a scan reads and returns, the same for all its partitions.
#[derive(Debug, Clone)]
pub(crate) struct ScanSpec {
    pub(crate) table: Arc<TableDefinition>,
    /// Positions in the table's schema: the columns to return, in order, then
    /// those that only the filter needs.
    pub(crate) columns: Vec<usize>,
    /// How many of `columns` are returned.
    pub(crate) returned: usize,
    /// Over `columns`; only rows for which it is true are returned.
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    /// At most so many rows per partition.
    pub(crate) limit: Option<usize>,
}

/// How a partition is cut into chunks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkSizes {
    /// Offsets in the first chunk: small, so that the first rows come at once.
    pub(crate) first: i64,
    /// What a chunk should weigh, in bytes of keys and payloads.
    pub(crate) bytes: usize,
}

impl Default for ChunkSizes {
    fn default() -> Self {
        ChunkSizes {
            first: 256,
            bytes: 8 * 1024 * 1024,
        }
    }
}

/// Where the rows go.
pub(crate) trait Output {
    /// Takes a batch; `false` when nobody wants more.
    fn send(&mut self, batch: RecordBatch) -> bool;
    /// Whether somebody still waits for rows.
    fn is_wanted(&self) -> bool;
}

/// Counters of one partition's scan, shown by EXPLAIN ANALYZE.
#[derive(Debug, Clone)]
pub(crate) struct ScanMetrics {
    records_fetched: Count,
    bytes_fetched: Count,
    tombstones: Count,
    superseded: Count,
    pub(crate) bad_records: Count,
    null_keys: Count,
}

impl ScanMetrics {
    pub(crate) fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let counter = |name: &'static str| MetricBuilder::new(metrics).counter(name, partition);
        ScanMetrics {
            records_fetched: counter("records_fetched"),
            bytes_fetched: counter("bytes_fetched"),
            tombstones: counter("tombstones"),
            superseded: counter("superseded"),
            bad_records: counter("bad_records"),
            null_keys: counter("null_keys"),
        }
    }
}

/// One partition's scan.
pub(crate) struct Scan<'a, F, O> {
    pub(crate) spec: &'a ScanSpec,
    pub(crate) partition: i32,
    pub(crate) batch_size: usize,
    pub(crate) chunk_sizes: ChunkSizes,
    pub(crate) metrics: &'a ScanMetrics,
    pub(crate) memory: &'a MemoryReservation,
    pub(crate) fetch: F,
    pub(crate) output: O,
}

impl<F: Fetch, O: Output> Scan<'_, F, O> {
    /// Reads the range, whose start `fetch` was started at, to its end, the
    /// limit, or until nobody wants more rows.
    pub(crate) fn run(mut self, range: OffsetRange) -> DataFusionResult<()> {
        if range.is_empty() || self.spec.limit == Some(0) {
            return Ok(());
        }
        let rows = Rows::try_new(&self.spec.table, self.partition, &self.spec.columns)?;
        let mut rows = RowStream {
            rows,
            left: self.spec.limit.unwrap_or(usize::MAX),
            batch_size: self.batch_size.max(1),
            spec: self.spec,
        };
        match self.spec.table.options.mode.unwrap_or_default() {
            Mode::Upsert => self.newest_first(range, &mut rows),
            Mode::Append => self.forward(range, &mut rows),
        }
    }

    /// The latest record of each key: walks back from the end, so the first
    /// record met of a key is its latest.
    fn newest_first(
        &mut self,
        range: OffsetRange,
        rows: &mut RowStream<'_>,
    ) -> DataFusionResult<()> {
        let mut seen = SeenKeys::new();
        let full_size = self.chunk_sizes.bytes;
        let mut chunk = self.fetch.chunk();
        let mut span = self.chunk_sizes.first.max(1);
        let mut current = before(range, range.end, span);
        self.fetch.seek(current.start)?;
        loop {
            let Some(bytes) = self.read(current, &mut chunk)? else {
                return Ok(());
            };
            let several = current.end - current.start > 1;
            let reserved = self.memory.try_resize(seen.allocated_bytes() + bytes);
            if reserved.is_err() && several {
                self.chunk_sizes.bytes = (bytes / 8).max(1);
            }
            if several && (reserved.is_err() || self.is_too_large(bytes)) {
                // Records here are far larger than those before, or memory is
                // scarce: take less at once.
                chunk.clear();
                span = ((current.end - current.start) / 8).max(1);
                current = before(range, current.end, span);
                self.fetch.seek(current.start)?;
                continue;
            }
            reserved?;
            // After a shortage, back to full size step by step.
            self.chunk_sizes.bytes = (self.chunk_sizes.bytes * 2).min(full_size);
            span = self.next_span(current, bytes);
            let next = before(range, current.start, span);
            if !next.is_empty() {
                // Fetched while this chunk is folded and decoded.
                self.fetch.seek(next.start)?;
            }
            for index in (0..chunk.len()).rev() {
                let Some(record) = chunk.get(index) else {
                    continue;
                };
                if self.fold(&record, &mut seen, rows)? && !rows.flush(&mut self.output)? {
                    return Ok(());
                }
            }
            chunk.clear();
            self.memory.try_resize(seen.allocated_bytes())?;
            if !rows.flush(&mut self.output)? || next.is_empty() {
                return Ok(());
            }
            current = next;
        }
    }

    /// Every record in offset order.
    fn forward(&mut self, range: OffsetRange, rows: &mut RowStream<'_>) -> DataFusionResult<()> {
        let mut chunk = self.fetch.chunk();
        let with_tombstones = self.spec.table.schema.has(Metadata::Tombstone);
        self.fetch.seek(range.start)?;
        loop {
            let progress = self.fetch.fetch(range.end, &mut chunk)?;
            let mut bytes = 0;
            for index in 0..chunk.len() {
                let Some(record) = chunk.get(index) else {
                    continue;
                };
                bytes += record.size();
                if record.payload().is_none() {
                    self.metrics.tombstones.add(1);
                    if !with_tombstones {
                        continue;
                    }
                }
                self.append(&record, rows)?;
                if rows.is_full() && !rows.flush(&mut self.output)? {
                    return Ok(());
                }
            }
            self.metrics.records_fetched.add(chunk.len());
            self.metrics.bytes_fetched.add(bytes);
            // Nothing came for a while: what is there goes out.
            let idle = chunk.len() == 0;
            chunk.clear();
            if (idle || progress == Progress::End) && !rows.flush(&mut self.output)? {
                return Ok(());
            }
            if progress == Progress::End || !self.output.is_wanted() {
                return Ok(());
            }
        }
    }

    /// Reads all records of a range and says what they weigh; `None` when
    /// nobody wants them any more. Stops early when they are too many bytes.
    fn read(
        &mut self,
        range: OffsetRange,
        chunk: &mut F::Chunk,
    ) -> DataFusionResult<Option<usize>> {
        let mut bytes = 0;
        let mut counted = 0;
        loop {
            let progress = self.fetch.fetch(range.end, chunk)?;
            if !self.output.is_wanted() {
                return Ok(None);
            }
            let came = bytes;
            for index in counted..chunk.len() {
                bytes += chunk.get(index).map_or(0, |record| record.size());
            }
            self.metrics.records_fetched.add(chunk.len() - counted);
            self.metrics.bytes_fetched.add(bytes - came);
            counted = chunk.len();
            let several = range.end - range.start > 1;
            if progress == Progress::End || (several && self.is_too_large(bytes)) {
                return Ok(Some(bytes));
            }
        }
    }

    /// Whether a chunk weighs far more than it was cut to.
    fn is_too_large(&self, bytes: usize) -> bool {
        bytes > self.chunk_sizes.bytes.saturating_mul(4)
    }

    /// How many offsets the next chunk takes to weigh what it should, growing
    /// at most eightfold at a time.
    fn next_span(&self, current: OffsetRange, bytes: usize) -> i64 {
        let span = current.end - current.start;
        let per_offset = (bytes as f64 / span as f64).max(1.0);
        let wanted = (self.chunk_sizes.bytes as f64 / per_offset) as i64;
        wanted.clamp(1, span.saturating_mul(8))
    }

    /// Takes a record into account; `true` when there are rows to be sent.
    fn fold(
        &mut self,
        record: &impl Record,
        seen: &mut SeenKeys,
        rows: &mut RowStream<'_>,
    ) -> DataFusionResult<bool> {
        let options = &self.spec.table.options;
        let Some(key) = record.key() else {
            if options.null_key == NullKey::Skip {
                self.metrics.null_keys.add(1);
                return Ok(false);
            }
            return Err(Error::NullKey {
                topic: self.spec.table.topic.clone(),
                partition: self.partition,
                offset: record.offset(),
            }
            .into());
        };
        if record.payload().is_none() {
            let counter = match seen.insert(key) {
                true => &self.metrics.tombstones,
                false => &self.metrics.superseded,
            };
            counter.add(1);
            return Ok(false);
        }
        if options.on_bad_record == OnBadRecord::Skip {
            // A skipped record does not hide the older versions of its key.
            if seen.contains(key) {
                self.metrics.superseded.add(1);
            } else if self.append(record, rows)? != Outcome::Skipped {
                seen.insert(key);
            }
        } else if seen.insert(key) {
            self.append(record, rows)?;
        } else {
            self.metrics.superseded.add(1);
        }
        Ok(rows.is_full())
    }

    fn append(&self, record: &impl Record, rows: &mut RowStream<'_>) -> DataFusionResult<Outcome> {
        let outcome = rows.rows.append(record)?;
        if outcome != Outcome::Row {
            self.metrics.bad_records.add(1);
        }
        Ok(outcome)
    }
}

/// Up to `span` offsets before `end`.
fn before(range: OffsetRange, end: i64, span: i64) -> OffsetRange {
    OffsetRange {
        start: end.saturating_sub(span).max(range.start),
        end,
    }
}

/// Rows on their way to the output: batched, filtered, cut at the limit.
struct RowStream<'a> {
    rows: Rows,
    left: usize,
    batch_size: usize,
    spec: &'a ScanSpec,
}

impl RowStream<'_> {
    /// Whether a batch should go: it is full, or the limit may be reached.
    fn is_full(&self) -> bool {
        let rows = self.rows.len();
        // With a filter nobody knows how many of them will be left.
        rows >= self.batch_size || (self.spec.filter.is_none() && rows >= self.left)
    }

    /// Sends what there is; `false` when no more rows are wanted.
    fn flush(&mut self, output: &mut impl Output) -> DataFusionResult<bool> {
        if self.rows.len() == 0 {
            return Ok(output.is_wanted());
        }
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
        if batch.num_rows() > 0 && !output.send(batch) {
            return Ok(false);
        }
        Ok(self.left > 0 && output.is_wanted())
    }
}

#[cfg(test)]
mod tests;
