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

use super::{ChunkWeight, Output, Partition, Step};
use crate::client::OffsetRange;
use crate::error::Error;
use crate::options::{NullKey, OnBadRecord};
use crate::source::deduplicate::{SeenKeys, Share};
use crate::source::fetch::{Chunk, Fetch, FetchProgress};
use crate::source::rows::Outcome;

/// The size of a small chunk where the memory limit is unknown.
const SMALL_CHUNK: usize = 1024 * 1024;

/// How many records are deduplicated before their rows are decoded: few enough that the
/// processor's cache still holds what deduplication has touched.
const BLOCK: usize = 512;

/// A pass over the partition for a share of its keys.
#[derive(Debug, Clone, Copy)]
struct Pass {
    share: Share,
    /// Rows of these keys from this offset on were already sent by an earlier pass.
    sent_from: i64,
}

/// A walk over a partition from its end to its beginning.
pub(super) struct NewestFirst<C> {
    /// The passes that have not begun.
    passes: Vec<Pass>,
    /// The current pass, and the chunk that it reads.
    current: Option<(Pass, OffsetRange)>,
    /// The keys that the current pass has seen.
    seen: SeenKeys,
    chunk: C,
    /// The memory that the records of the chunk take which have arrived.
    weight: ChunkWeight,
    /// How many records of the chunk are included in `weight`.
    counted: usize,
    /// How many passes have begun.
    begun: usize,
    /// Whether a chunk was processed.
    has_sent: bool,
}

impl<C: Chunk> NewestFirst<C> {
    pub(super) fn new(chunk: C) -> Self {
        NewestFirst {
            passes: vec![Pass {
                share: Share::WHOLE,
                sent_from: i64::MAX,
            }],
            current: None,
            seen: SeenKeys::new(),
            chunk,
            weight: ChunkWeight::default(),
            counted: 0,
            begun: 0,
            has_sent: false,
        }
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.weight.bytes
    }

    pub(super) fn is_new(&self) -> bool {
        !self.has_sent
    }

    pub(super) fn step<F: Fetch<Chunk = C>>(
        &mut self,
        partition: &mut Partition<'_, F>,
        output: &mut impl Output,
    ) -> DataFusionResult<Step> {
        loop {
            let (pass, range) = match self.current {
                Some(current) => current,
                None => match self.passes.pop() {
                    None => return Ok(Step::Ended),
                    Some(pass) => {
                        self.begun += 1;
                        partition.group.metrics.passes.at_least(self.begun);
                        self.seen.clear();
                        if !partition.narrow()? {
                            continue;
                        }
                        let span = partition.chunk_sizes.first.max(1);
                        let end = partition.bounds.range.end;
                        let range = before(partition.bounds.range, end, span);
                        partition.fetch.seek(range.start)?;
                        self.current = Some((pass, range));
                        (pass, range)
                    }
                },
            };
            if !self.is_complete(partition, range)? {
                return Ok(Step::Waits);
            }
            if !output.is_wanted() {
                return Ok(Step::Stopped);
            }
            let weight = std::mem::take(&mut self.weight);
            self.counted = 0;
            if !self.take_chunk(partition, pass, range, weight, output)? {
                return Ok(Step::Stopped);
            }
        }
    }

    /// Takes the records that have arrived. Returns whether the chunk is complete: it has all
    /// records of the range, or they take too many bytes.
    fn is_complete<F: Fetch<Chunk = C>>(
        &mut self,
        partition: &mut Partition<'_, F>,
        range: OffsetRange,
    ) -> DataFusionResult<bool> {
        let progress = partition.fetch.fetch(range.end, &mut self.chunk)?;
        let more = partition.count(&self.chunk, self.counted);
        self.weight.bytes += more.bytes;
        self.weight.keys += more.keys;
        self.counted = self.chunk.len();
        let several = range.end - range.start > 1;
        Ok(
            progress == FetchProgress::End
                || (several && partition.is_too_large(self.weight.bytes)),
        )
    }

    /// Processes a complete chunk, or gives it up to read a smaller one; `false` when no more
    /// rows are wanted. Adds passes for the keys that do not fit into memory.
    fn take_chunk<F: Fetch<Chunk = C>>(
        &mut self,
        partition: &mut Partition<'_, F>,
        mut pass: Pass,
        current: OffsetRange,
        weight: ChunkWeight,
        output: &mut impl Output,
    ) -> DataFusionResult<bool> {
        let several = current.end - current.start > 1;
        let records = self.chunk.len();
        let needed = |seen: &SeenKeys| {
            let added = weight.keys + seen.growth(records, weight.keys);
            seen.allocated_bytes() + weight.bytes + added
        };
        let mut fits = partition.fits(needed(&self.seen));
        let is_small = weight.bytes <= partition.small_chunk() || !several;
        // Another pass helps only where the keys take most of the memory. The rows of both
        // halves were sent down to the end of this chunk, so the later pass sends rows only
        // below it.
        while !fits
            && is_small
            && self.seen.len() > 1
            && self.seen.allocated_bytes() >= weight.bytes
            && let Some([kept, other]) = pass.share.split()
        {
            self.seen.retain(kept);
            pass.share = kept;
            self.passes.push(Pass {
                share: other,
                sent_from: pass.sent_from.min(current.end),
            });
            fits = partition.fits(needed(&self.seen));
        }
        if !fits && several {
            let less = partition.chunk_sizes.bytes.min(weight.bytes / 4);
            partition.chunk_sizes.bytes = less.max(1);
        }
        if several && (!fits || partition.is_too_large(weight.bytes)) {
            // Either the records here are far larger than the ones before, or memory is
            // scarce: read a smaller part of the chunk.
            self.chunk.clear();
            let span = ((current.end - current.start) / 8).max(1);
            let smaller = before(partition.bounds.range, current.end, span);
            partition.fetch.seek(smaller.start)?;
            self.current = Some((pass, smaller));
            return Ok(true);
        }
        if !fits {
            // A single record cannot be cut. The pool may still have room for it outside of
            // this partition's share.
            partition.reserve(needed(&self.seen))?;
        }
        self.has_sent = true;
        if !partition.narrow()? {
            // The filter has changed and excludes everything that is left.
            self.chunk.clear();
            self.current = None;
            return partition.rows.flush(output);
        }
        let span = partition.next_span(current, weight.bytes);
        let next = before(partition.bounds.range, current.start, span);
        if !next.is_empty() {
            // The client fetches the next chunk while this one is deduplicated and decoded.
            partition.fetch.seek(next.start)?;
        }
        let mut block = self.chunk.len()..self.chunk.len();
        while block.start > 0 {
            block = block.start.saturating_sub(BLOCK)..block.start;
            if !self.take_newest(partition, block.clone(), pass, output)? {
                return Ok(false);
            }
        }
        self.chunk.clear();
        partition.memory.try_resize(self.seen.allocated_bytes())?;
        if !partition.rows.flush(output)? {
            return Ok(false);
        }
        let wanted = partition.bounds.keys.as_ref().and_then(|keys| keys.all());
        let has_all = wanted.is_some_and(|keys| partition.found_keys.contains_all(keys));
        let pass_ends = next.is_empty() || has_all;
        self.current = (!pass_ends).then_some((pass, next));
        Ok(true)
    }

    /// Walks through a block from its end, and decodes the records that are the latest of their
    /// keys; `false` when no more rows are wanted.
    fn take_newest<F: Fetch<Chunk = C>>(
        &mut self,
        partition: &mut Partition<'_, F>,
        block: Range<usize>,
        pass: Pass,
        output: &mut impl Output,
    ) -> DataFusionResult<bool> {
        let timer = partition.group.metrics.deduplicate_time.timer();
        let mut newest = Vec::with_capacity(block.len());
        let (mut tombstones, mut superseded, mut skipped) = (0, 0, 0);
        let skips_bad = partition.group.spec.table.options.on_bad_record == OnBadRecord::Skip;
        for index in block.rev() {
            let Some(record) = self.chunk.get(index) else {
                continue;
            };
            let is_first_time = record.offset() < pass.sent_from;
            let Some(key) = record.key() else {
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
            if record.payload().is_some() && skips_bad {
                // A skipped record does not hide older records of its key. A record must
                // therefore be decoded before its key counts as seen.
                if self.seen.contains(key) {
                    superseded += usize::from(is_first_time);
                } else {
                    let outcome = match is_first_time {
                        true => partition.rows.append(&record)?,
                        false => partition.rows.judge(&record)?,
                    };
                    if outcome != Outcome::Skipped {
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
        let records = newest
            .iter()
            .rev()
            .filter_map(|index| self.chunk.get(*index));
        partition.rows.extend(records, output)
    }
}

impl<F: Fetch> Partition<'_, F> {
    /// The size up to which chunks are not cut for lack of memory; the set of keys is split
    /// instead. Fetching a chunk takes longer than processing its records, so many small chunks
    /// cost more than another pass.
    fn small_chunk(&self) -> usize {
        match self.group.memory_share {
            usize::MAX => SMALL_CHUNK,
            share => share / 4,
        }
    }

    /// Reserves memory if the pool has room and the partition's share allows it.
    fn fits(&self, bytes: usize) -> bool {
        bytes <= self.group.memory_share && self.memory.try_resize(bytes).is_ok()
    }

    /// The number of offsets in the next chunk, so that the chunk has about the target size. A
    /// chunk has at most eight times as many offsets as the one before.
    fn next_span(&self, current: OffsetRange, bytes: usize) -> i64 {
        let span = current.end - current.start;
        let per_offset = (bytes as f64 / span as f64).max(1.0);
        let wanted = (self.chunk_sizes.bytes as f64 / per_offset) as i64;
        wanted.clamp(1, span.saturating_mul(8))
    }

    /// Handles a record without a key in a table whose rows need a key.
    pub(super) fn null_key(
        &self,
        record: &impl Record,
        is_first_time: bool,
    ) -> DataFusionResult<()> {
        if self.group.spec.table.options.null_key == NullKey::Fail {
            return Err(Error::NullKey {
                topic: self.group.spec.table.topic.clone(),
                partition: self.id,
                offset: record.offset(),
            }
            .into());
        }
        if is_first_time {
            self.group.metrics.null_keys.add(1);
        }
        Ok(())
    }

    /// Notes that the latest record of a key was found.
    fn mark_found(&self, record: &impl Record, key: &[u8]) -> DataFusionResult<()> {
        if self.bounds.keys.is_some() {
            self.found_keys.add(key);
        }
        match self.group.key_partitions {
            None => Ok(()),
            Some(key_partitions) => {
                let topic = &self.group.spec.table.topic;
                key_partitions.check(topic, key, self.id, record.offset())
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
