//! Append mode: reads every record of a partition, in offset order.

use std::time::Instant;

use datafusion::error::Result as DataFusionResult;
use rdkafka_extra::Record;

use super::batches::Batches;
use super::{Bounds, Output, Scan};
use crate::client::OffsetRange;
use crate::error::Error;
use crate::source::fetch::{Chunk, Fetch, FetchProgress};

impl<F: Fetch, O: Output> Scan<'_, F, O> {
    pub(super) fn forward(
        &mut self,
        bounds: &mut Bounds,
        rows: &mut Batches<'_>,
    ) -> DataFusionResult<()> {
        let mut chunk = self.fetch.chunk();
        self.metrics.passes.add(1);
        let mut start = None;
        let begin = bounds.range.start;
        // Since when rows have waited for a full batch, in an unbounded stream.
        let mut waiting: Option<Instant> = None;
        loop {
            if !self.narrow(bounds)? {
                rows.flush(&mut self.output)?;
                return self.await_partitions();
            }
            let OffsetRange { start: first, end } = bounds.range;
            if start.is_none_or(|start| start < first) {
                start = Some(first);
                self.fetch.seek(first)?;
            }
            let progress = {
                let _timer = self.metrics.fetch_time.timer();
                self.fetch.fetch(end, &mut chunk)?
            };
            let weight = self.count(&chunk, 0);
            self.reserve(weight.bytes)?;
            let mut taken = Vec::with_capacity(chunk.len());
            for index in 0..chunk.len() {
                if let Some(record) = chunk.get(index)
                    && self.takes(&record, bounds)?
                {
                    taken.push(index);
                }
            }
            if let Some(last) = chunk.len().checked_sub(1).and_then(|last| chunk.get(last)) {
                // Records that were read are never read again.
                start = start.max(Some(last.offset() + 1));
                bounds.range.start = bounds.range.start.max(last.offset() + 1);
            }
            let records = taken.iter().filter_map(|index| chunk.get(*index));
            if !rows.extend(records, &mut self.output)? {
                return Ok(());
            }
            let is_due = match self.spec.table.unbounded {
                // No record came for a while, so the collected rows are sent.
                false => chunk.len() == 0,
                true if rows.is_empty() => {
                    waiting = None;
                    false
                }
                true => {
                    let since = waiting.get_or_insert_with(Instant::now);
                    since.elapsed() >= self.spec.table.options.batch_time
                }
            };
            chunk.clear();
            if is_due || progress == FetchProgress::End {
                waiting = None;
                if !rows.flush(&mut self.output)? {
                    return Ok(());
                }
            }
            if rows.is_empty() && !bounds.awaits_start() {
                let sent = rows.last().map_or(begin, |last| last + 1);
                self.output.passed(begin, sent, self.fetch.position());
            }
            if progress == FetchProgress::End || !self.output.is_wanted() {
                return Ok(());
            }
        }
    }

    /// Waits for a new partition that the filter may match, where the filter excludes all
    /// existing partitions. The stream that finds such a partition reads it.
    fn await_partitions(&mut self) -> DataFusionResult<()> {
        let mut partitions = i32::try_from(self.spec.watermarks.len()).unwrap_or(i32::MAX);
        while self.spec.awaits_partitions(partitions) && self.output.is_wanted() {
            partitions = self.fetch.wait_for_more(partitions)?;
        }
        Ok(())
    }

    fn takes(&self, record: &impl Record, bounds: &mut Bounds) -> DataFusionResult<bool> {
        if !bounds.has_begun(record) {
            return Ok(false);
        }
        if record.key().is_none() && self.spec.table.is_change_log {
            self.null_key(record, true)?;
            return Ok(false);
        }
        if record.key().is_some() && self.spec.table.keyless {
            return Err(Error::UnexpectedKey {
                topic: self.spec.table.topic.clone(),
                partition: self.partition,
                offset: record.offset(),
            }
            .into());
        }
        if !bounds.wants(record.key()) {
            self.metrics.keys_skipped.add(1);
            return Ok(false);
        }
        if record.payload().is_none() {
            self.metrics.tombstones.add(1);
            return Ok(self.spec.table.schema.has_tombstones());
        }
        Ok(true)
    }
}
