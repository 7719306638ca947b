//! Upsert mode: finds the latest record of each key by walking back from the end of a partition.
//!
//! The first record seen of a key is then its latest record. Older records of the same key are
//! dropped without being decoded.
//!
//! One pass over the partition is enough while the set of seen keys fits into memory. When the
//! set grows too large, the pass keeps half of the keys, by hash, and goes on with that half. The
//! other half is left to a later pass, which starts again from the end: it must know which of its
//! keys it has seen, but it returns rows only for offsets that the earlier pass had not reached
//! (`Pass::sent_from`).

use std::ops::Range;

use datafusion::error::Result as DataFusionResult;
use rdkafka_extra::Record;

use super::batches::Batches;
use super::{Bounds, Output, Scan};
use crate::client::OffsetRange;
use crate::error::Error;
use crate::options::{NullKey, OnBadRecord};
use crate::source::deduplicate::{SeenKeys, Share};
use crate::source::fetch::{Chunk, Fetch};
use crate::source::rows::Outcome;

/// The size of a small chunk where the memory limit is unknown.
const SMALL_CHUNK: usize = 1024 * 1024;

/// How many records are deduplicated before their rows are decoded: few enough that the
/// processor's cache still holds what deduplication has touched.
const BLOCK: usize = 512;

/// A walk over the partition for a share of its keys.
#[derive(Debug, Clone, Copy)]
struct Pass {
    share: Share,
    /// Rows of these keys from this offset on were already sent by an earlier pass.
    sent_from: i64,
}

impl<F: Fetch, O: Output> Scan<'_, F, O> {
    pub(super) fn newest_first(
        &mut self,
        bounds: &mut Bounds,
        rows: &mut Batches<'_>,
    ) -> DataFusionResult<()> {
        let mut passes = vec![Pass {
            share: Share::WHOLE,
            sent_from: i64::MAX,
        }];
        let mut seen = SeenKeys::new();
        while let Some(pass) = passes.pop() {
            self.metrics.passes.add(1);
            seen.clear();
            if !self.pass(pass, &mut passes, &mut seen, bounds, rows)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads the partition once; `false` when no more rows are wanted. Adds passes for the keys
    /// that do not fit into memory.
    fn pass(
        &mut self,
        mut pass: Pass,
        passes: &mut Vec<Pass>,
        seen: &mut SeenKeys,
        bounds: &mut Bounds,
        rows: &mut Batches<'_>,
    ) -> DataFusionResult<bool> {
        let mut chunk = self.fetch.chunk();
        if !self.narrow(bounds)? {
            return Ok(true);
        }
        let end = bounds.range.end;
        let mut span = self.chunk_sizes.first.max(1);
        let mut current = before(bounds.range, end, span);
        self.fetch.seek(current.start)?;
        loop {
            let Some(weight) = self.read(current, &mut chunk)? else {
                return Ok(false);
            };
            let several = current.end - current.start > 1;
            let needed = |seen: &SeenKeys| {
                let added = weight.keys + seen.growth(chunk.len(), weight.keys);
                seen.allocated_bytes() + weight.bytes + added
            };
            let mut fits = self.fits(needed(seen));
            let is_small = weight.bytes <= self.small_chunk() || !several;
            // Another pass helps only where the keys take most of the memory. The rows of both
            // halves were sent down to the end of this chunk, so the later pass sends rows only
            // below it.
            while !fits
                && is_small
                && seen.len() > 1
                && seen.allocated_bytes() >= weight.bytes
                && let Some([kept, other]) = pass.share.split()
            {
                seen.retain(kept);
                pass.share = kept;
                passes.push(Pass {
                    share: other,
                    sent_from: pass.sent_from.min(current.end),
                });
                fits = self.fits(needed(seen));
            }
            if !fits && several {
                let less = self.chunk_sizes.bytes.min(weight.bytes / 4);
                self.chunk_sizes.bytes = less.max(1);
            }
            if several && (!fits || self.is_too_large(weight.bytes)) {
                // Either the records here are far larger than the ones before, or memory is
                // scarce: read a smaller part of the chunk.
                chunk.clear();
                span = ((current.end - current.start) / 8).max(1);
                current = before(bounds.range, current.end, span);
                self.fetch.seek(current.start)?;
                continue;
            }
            if !fits {
                // A single record cannot be cut. The pool may still have room for it outside of
                // this partition's share.
                self.reserve(needed(seen))?;
            }
            if !self.narrow(bounds)? {
                // The filter has changed and excludes everything that is left.
                return rows.flush(&mut self.output);
            }
            span = self.next_span(current, weight.bytes);
            let next = before(bounds.range, current.start, span);
            if !next.is_empty() {
                // The client fetches the next chunk while this one is deduplicated and decoded.
                self.fetch.seek(next.start)?;
            }
            let mut block = chunk.len()..chunk.len();
            while block.start > 0 {
                block = block.start.saturating_sub(BLOCK)..block.start;
                if !self.take_newest(&chunk, block.clone(), pass, bounds, seen, rows)? {
                    return Ok(false);
                }
            }
            chunk.clear();
            self.memory.try_resize(seen.allocated_bytes())?;
            if !rows.flush(&mut self.output)? {
                return Ok(false);
            }
            let wanted = bounds.keys.as_ref().and_then(|keys| keys.all());
            if next.is_empty() || wanted.is_some_and(|keys| self.found_keys.contains_all(keys)) {
                return Ok(true);
            }
            current = next;
        }
    }

    /// The size up to which chunks are not cut for lack of memory; the set of keys is split
    /// instead. Fetching a chunk takes longer than processing its records, so many small chunks
    /// cost more than another pass.
    fn small_chunk(&self) -> usize {
        match self.memory_share {
            usize::MAX => SMALL_CHUNK,
            share => share / 4,
        }
    }

    /// Reserves memory if the pool has room and the partition's share allows it.
    fn fits(&self, bytes: usize) -> bool {
        bytes <= self.memory_share && self.memory.try_resize(bytes).is_ok()
    }

    /// The number of offsets in the next chunk, so that the chunk has about the target size. A
    /// chunk has at most eight times as many offsets as the one before.
    fn next_span(&self, current: OffsetRange, bytes: usize) -> i64 {
        let span = current.end - current.start;
        let per_offset = (bytes as f64 / span as f64).max(1.0);
        let wanted = (self.chunk_sizes.bytes as f64 / per_offset) as i64;
        wanted.clamp(1, span.saturating_mul(8))
    }

    /// Walks through a block from its end, and decodes the records that are the latest of their
    /// keys; `false` when no more rows are wanted.
    fn take_newest(
        &mut self,
        chunk: &F::Chunk,
        block: Range<usize>,
        pass: Pass,
        bounds: &Bounds,
        seen: &mut SeenKeys,
        rows: &mut Batches<'_>,
    ) -> DataFusionResult<bool> {
        let timer = self.metrics.deduplicate_time.timer();
        let mut newest = Vec::with_capacity(block.len());
        let (mut tombstones, mut superseded, mut skipped) = (0, 0, 0);
        let skips_bad = self.spec.table.options.on_bad_record == OnBadRecord::Skip;
        for index in block.rev() {
            let Some(record) = chunk.get(index) else {
                continue;
            };
            let is_first_time = record.offset() < pass.sent_from;
            let Some(key) = record.key() else {
                self.null_key(&record, is_first_time)?;
                continue;
            };
            if !bounds.wants(Some(key)) {
                skipped += usize::from(is_first_time);
                continue;
            }
            if !seen.is_in(pass.share, key) {
                continue;
            }
            if record.payload().is_some() && skips_bad {
                // A skipped record does not hide older records of its key. A record must
                // therefore be decoded before its key counts as seen.
                if seen.contains(key) {
                    superseded += usize::from(is_first_time);
                } else {
                    let outcome = match is_first_time {
                        true => rows.append(&record)?,
                        false => rows.judge(&record)?,
                    };
                    if outcome != Outcome::Skipped {
                        seen.insert(key);
                        self.mark_found(&record, key, bounds)?;
                    }
                    if rows.is_full() && !rows.flush(&mut self.output)? {
                        return Ok(false);
                    }
                }
                continue;
            }
            let is_latest = seen.insert(key);
            if is_latest {
                self.mark_found(&record, key, bounds)?;
            }
            match (is_latest, record.payload().is_some()) {
                _ if !is_first_time => {}
                (true, true) => newest.push(index),
                (true, false) => tombstones += 1,
                (false, _) => superseded += 1,
            }
        }
        self.metrics.tombstones.add(tombstones);
        self.metrics.superseded.add(superseded);
        self.metrics.keys_skipped.add(skipped);
        drop(timer);
        // In memory order, which is forward.
        let records = newest.iter().rev().filter_map(|index| chunk.get(*index));
        rows.extend(records, &mut self.output)
    }

    /// Handles a record without a key in a table whose rows need a key.
    pub(super) fn null_key(
        &self,
        record: &impl Record,
        is_first_time: bool,
    ) -> DataFusionResult<()> {
        if self.spec.table.options.null_key == NullKey::Fail {
            return Err(Error::NullKey {
                topic: self.spec.table.topic.clone(),
                partition: self.partition,
                offset: record.offset(),
            }
            .into());
        }
        if is_first_time {
            self.metrics.null_keys.add(1);
        }
        Ok(())
    }

    /// Notes that the latest record of a key was found.
    fn mark_found(
        &self,
        record: &impl Record,
        key: &[u8],
        bounds: &Bounds,
    ) -> DataFusionResult<()> {
        if bounds.keys.is_some() {
            self.found_keys.add(key);
        }
        match self.key_partitions {
            None => Ok(()),
            Some(key_partitions) => {
                let topic = &self.spec.table.topic;
                key_partitions.check(topic, key, self.partition, record.offset())
            }
        }
    }
}

/// The last `span` offsets of the range before `end`, or fewer.
fn before(range: OffsetRange, end: i64, span: i64) -> OffsetRange {
    OffsetRange {
        start: end.saturating_sub(span).max(range.start),
        end,
    }
}
