//! The latest record of each key, among records that come newest first.

use std::ops::Range;

use datafusion::error::Result as DataFusionResult;
use rdkafka_extra::Record;

use super::{Output, Partition};
use crate::options::OnBadRecord;
use crate::source::deduplicate::{SeenKeys, Share};
use crate::source::fetch::{Chunk, Fetch};
use crate::source::spill::Spill;

/// A pass over the partition for a share of its keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    pub(super) share: Share,
    /// Rows of these keys from this offset on were already sent by an earlier pass.
    pub(super) sent_from: i64,
}

/// The keys of a pass.
#[derive(Default)]
pub(super) struct Latest {
    /// The keys that the pass has seen.
    pub(super) seen: SeenKeys,
    /// Takes the records of all other keys. With a spill, no key is added to `seen` any more.
    pub(super) spill: Option<Spill>,
}

impl Latest {
    /// Removes all keys, and the records on disk.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
        self.spill = None;
    }

    /// Whether keys are still added to the set, which has some already.
    pub(super) fn is_open(&self) -> bool {
        self.spill.is_none() && self.seen.len() > 1
    }

    /// The bytes of memory that the keys take.
    pub(super) fn allocated_bytes(&self) -> usize {
        self.seen.allocated_bytes()
    }

    /// An upper bound of the bytes that are allocated while the keys of so many records are
    /// added, which take `key_bytes`.
    pub(super) fn growth(&self, records: usize, key_bytes: usize) -> usize {
        match self.spill {
            Some(_) => 0,
            None => key_bytes + self.seen.growth(records, key_bytes),
        }
    }

    /// Walks through a block of the chunk from its end, and decodes the records that are the
    /// latest of their keys; `false` when no more rows are wanted.
    pub(super) fn take<F: Fetch, C: Chunk>(
        &mut self,
        partition: &mut Partition<'_, F>,
        chunk: &C,
        block: Range<usize>,
        pass: Pass,
        output: &mut impl Output,
    ) -> DataFusionResult<bool> {
        let timer = partition.group.metrics.deduplicate_time.timer();
        let mut newest = Vec::with_capacity(block.len());
        let (mut tombstones, mut superseded, mut skipped) = (0, 0, 0);
        let options = &partition.group.spec.table.options;
        // A record that is left out does not hide older records of its key. A record must
        // therefore be decoded before its key counts as seen.
        let leaves_out =
            options.on_bad_record == OnBadRecord::Skip || options.passes_over_payloads();
        for index in block.rev() {
            let Some(record) = chunk.get(index) else {
                continue;
            };
            let is_first_time = record.offset() < pass.sent_from;
            let Some(key) = record.key() else {
                if partition.rows.is_passed_over(&record) {
                    continue;
                }
                partition.null_key(&record, is_first_time)?;
                continue;
            };
            if !partition.bounds.wants(Some(key)) {
                skipped += usize::from(is_first_time);
                continue;
            }
            if !self.seen.is_in(pass.share, key) {
                continue;
            }
            if let Some(spill) = &mut self.spill
                && let Some(hash) = self.seen.hash_of_new(key)
            {
                spill.append(&record, hash)?;
                continue;
            }
            if record.payload().is_some() && leaves_out {
                if self.seen.contains(key) {
                    superseded += usize::from(is_first_time);
                } else {
                    let outcome = match is_first_time {
                        true => partition.rows.append(&record)?,
                        false => partition.rows.judge(&record)?,
                    };
                    if !outcome.is_left_out() {
                        self.seen.insert(key);
                        partition.mark_found(&record, key)?;
                    }
                    if partition.rows.is_full() && !partition.rows.flush(output)? {
                        return Ok(false);
                    }
                }
                continue;
            }
            let is_latest = self.seen.insert(key);
            if is_latest {
                partition.mark_found(&record, key)?;
            }
            match (is_latest, record.payload().is_some()) {
                _ if !is_first_time => {}
                (true, true) => newest.push(index),
                (true, false) => tombstones += 1,
                (false, _) => superseded += 1,
            }
        }
        let metrics = partition.group.metrics;
        metrics.tombstones.add(tombstones);
        metrics.superseded.add(superseded);
        metrics.keys_skipped.add(skipped);
        drop(timer);
        // In memory order, which is forward.
        let records = newest.iter().rev().filter_map(|index| chunk.get(*index));
        partition.rows.extend(records, output)
    }
}

impl<F: Fetch> Partition<'_, F> {
    /// Notes that the latest record of a key was found.
    fn mark_found(&self, record: &impl Record, key: &[u8]) -> DataFusionResult<()> {
        if self.bounds.keys.is_some() {
            self.found_keys.add(key);
        }
        match self.group.key_partitions {
            None => Ok(()),
            Some(key_partitions) => key_partitions.check(key, self.id, record.offset()),
        }
    }
}
