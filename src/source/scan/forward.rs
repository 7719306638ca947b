//! Every record of a partition in offset order.

use datafusion::error::Result as DataFusionResult;

use super::batches::Batches;
use super::{Bounds, Output, Scan};
use crate::record::{OffsetRange, Record};
use crate::schema::Metadata;
use crate::source::fetch::{Chunk, Fetch, Progress};

impl<F: Fetch, O: Output> Scan<'_, F, O> {
    pub(super) fn forward(
        &mut self,
        bounds: &mut Bounds,
        rows: &mut Batches<'_>,
    ) -> DataFusionResult<()> {
        let mut chunk = self.fetch.chunk();
        self.metrics.passes.add(1);
        let mut start = None;
        loop {
            if !self.narrow(bounds)? {
                rows.flush(&mut self.output)?;
                return Ok(());
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
            let held = self.count(&chunk, 0);
            self.memory.try_resize(held)?;
            let taken: Vec<usize> = (0..chunk.len())
                .filter(|index| chunk.get(*index).is_some_and(|r| self.takes(&r, bounds)))
                .collect();
            if let Some(last) = chunk.len().checked_sub(1).and_then(|last| chunk.get(last)) {
                // What is behind is never gone back to.
                start = start.max(Some(last.offset() + 1));
                bounds.range.start = bounds.range.start.max(last.offset() + 1);
            }
            let records = taken.iter().filter_map(|index| chunk.get(*index));
            if !rows.extend(records, &mut self.output)? {
                return Ok(());
            }
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

    fn takes(&self, record: &impl Record, bounds: &Bounds) -> bool {
        if !bounds.wants(record.key()) {
            self.metrics.keys_skipped.add(1);
            return false;
        }
        if record.payload().is_none() {
            self.metrics.tombstones.add(1);
            return self.spec.table.schema.has(Metadata::Tombstone);
        }
        true
    }
}
