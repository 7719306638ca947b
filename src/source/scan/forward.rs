//! Append mode: reads every record of a partition, in offset order.

use std::time::Instant;

use datafusion::error::Result as DataFusionResult;
use rdkafka_extra::Record;

use super::{Output, Partition, Step};
use crate::client::OffsetRange;
use crate::error::Error;
use crate::source::fetch::{Chunk, Fetch, FetchProgress};

/// A walk over a partition in offset order.
pub(super) struct Forward<C> {
    chunk: C,
    /// The offset at which reading began.
    begin: i64,
    /// The next offset to be read. `None` before the first step.
    next: Option<i64>,
    /// Since when rows have waited for a full batch, in an unbounded stream.
    waiting: Option<Instant>,
}

impl<C: Chunk> Forward<C> {
    pub(super) fn new(chunk: C, begin: i64) -> Self {
        Forward {
            chunk,
            begin,
            next: None,
            waiting: None,
        }
    }

    pub(super) fn step<F: Fetch<Chunk = C>>(
        &mut self,
        partition: &mut Partition<'_, F>,
        is_idle: bool,
        output: &mut impl Output,
    ) -> DataFusionResult<Step> {
        if !partition.narrow()? {
            return match partition.rows.flush(output)? {
                true => Ok(Step::Ended),
                false => Ok(Step::Stopped),
            };
        }
        let OffsetRange { start: first, end } = partition.bounds.range;
        if self.next.is_none_or(|next| next < first) {
            if self.next.is_none() {
                partition.group.metrics.passes.at_least(1);
            }
            self.next = Some(first);
            partition.fetch.seek(first)?;
        }
        let progress = partition.fetch.fetch(end, &mut self.chunk)?;
        let chunk = &self.chunk;
        let weight = partition.count(chunk, 0);
        partition.reserve(weight.bytes)?;
        let mut taken = Vec::with_capacity(chunk.len());
        for index in 0..chunk.len() {
            if let Some(record) = chunk.get(index)
                && partition.takes(&record)?
            {
                taken.push(index);
            }
        }
        if let Some(last) = chunk.len().checked_sub(1).and_then(|last| chunk.get(last)) {
            // Records that were read are never read again.
            let after = last.offset() + 1;
            self.next = self.next.max(Some(after));
            partition.bounds.range.start = partition.bounds.range.start.max(after);
        }
        let records = taken.iter().filter_map(|index| chunk.get(*index));
        if !partition.rows.extend(records, output)? {
            return Ok(Step::Stopped);
        }
        self.chunk.clear();
        let table = &partition.group.spec.table;
        let is_due = match table.unbounded {
            false => is_idle,
            true if partition.rows.is_empty() => {
                self.waiting = None;
                false
            }
            true => {
                let since = self.waiting.get_or_insert_with(Instant::now);
                since.elapsed() >= table.options.batch_time
            }
        };
        if is_due || progress == FetchProgress::End {
            self.waiting = None;
            if !partition.rows.flush(output)? {
                return Ok(Step::Stopped);
            }
        }
        if partition.rows.is_empty() {
            partition.memory.free();
        }
        if partition.rows.is_empty() && !partition.bounds.awaits_start() {
            let sent = partition.rows.last().map_or(self.begin, |last| last + 1);
            let read = partition.fetch.position();
            output.passed(partition.id, self.begin, sent, read);
        }
        Ok(match progress {
            _ if !output.is_wanted() => Step::Stopped,
            FetchProgress::End => Step::Ended,
            FetchProgress::More => Step::Waits,
        })
    }
}

impl<F: Fetch> Partition<'_, F> {
    fn takes(&mut self, record: &impl Record) -> DataFusionResult<bool> {
        let spec = self.group.spec;
        if !self.bounds.has_begun(record) {
            return Ok(false);
        }
        if record.key().is_none() && spec.table.is_change_log {
            if self.rows.is_passed_over(record) {
                return Ok(false);
            }
            self.null_key(record, true)?;
            return Ok(false);
        }
        if record.key().is_some() && spec.table.keyless {
            return Err(Error::UnexpectedKey {
                topic: spec.table.topic.clone(),
                partition: self.id,
                offset: record.offset(),
            }
            .into());
        }
        if !self.bounds.wants(record.key()) {
            self.group.metrics.keys_skipped.add(1);
            return Ok(false);
        }
        if record.payload().is_none() {
            self.group.metrics.tombstones.add(1);
            return Ok(spec.table.schema.has_tombstones());
        }
        Ok(true)
    }
}
