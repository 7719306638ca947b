//! Upsert mode: finds the latest record of each key by walking back from the end of a partition.
//!
//! The first record seen of a key is then its latest record. Older records of the same key are
//! dropped without being decoded.
//!
//! When the set of seen keys has no more room in memory, no key is added to it any more. The walk
//! goes on: records of keys in the set are superseded, and all others go to disk. At the end of
//! the walk they are read from there (see `spilled`).
//!
//! Without a disk, the pass keeps half of the keys, by hash, and goes on with that half. The other
//! half is left to a later pass, which starts again from the end: it must know which of its keys
//! it has seen, but it returns rows only for offsets that the earlier pass had not reached
//! (`Pass::sent_from`).

use datafusion::error::Result as DataFusionResult;
use rdkafka_extra::Record;

use super::latest::{Latest, Pass};
use super::{ChunkWeight, Output, Partition, Step};
use crate::client::OffsetRange;
use crate::error::Error;
use crate::options::NullKey;
use crate::source::deduplicate::Share;
use crate::source::fetch::{Chunk, Fetch, FetchProgress};
use crate::source::spill::Disk;

/// The size of a small chunk where the memory limit is unknown.
const SMALL_CHUNK: usize = 1024 * 1024;

/// A partition of at most this many first chunks is read as one.
const SMALL_PARTITION: i64 = 4;

/// How many records are deduplicated before their rows are decoded: few enough that the
/// processor's cache still holds what deduplication has touched.
const BLOCK: usize = 512;

/// A walk over a partition from its end to its beginning.
pub(super) struct NewestFirst<C> {
    /// The passes that have not begun.
    passes: Vec<Pass>,
    /// The current pass, and the chunk that it reads.
    current: Option<(Pass, OffsetRange)>,
    /// The keys of the current pass.
    latest: Latest,
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
            latest: Latest::default(),
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
                        self.latest.clear();
                        if !partition.narrow()? {
                            continue;
                        }
                        let span = partition.first_span();
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
        let needed = |latest: &Latest| {
            latest.allocated_bytes() + weight.bytes + latest.growth(records, weight.keys)
        };
        let buffers = partition.spill_memory();
        // The set of keys leaves room for the buffers, and for any chunk that is not cut.
        let spared = match buffers > 0 && self.latest.spill.is_none() {
            true => buffers + partition.small_chunk().saturating_sub(weight.bytes),
            false => buffers,
        };
        let mut fits = partition.fits(needed(&self.latest), spared);
        let is_small = weight.bytes <= partition.small_chunk() || !several;
        // Fewer keys help only where the keys take most of the memory.
        let growth = self.latest.growth(records, weight.keys);
        let keys_weigh_more = self.latest.allocated_bytes() + growth >= weight.bytes;
        if !fits && is_small && keys_weigh_more && self.latest.is_open() {
            self.latest.spill = partition.start_spill(pass.share.equal_bits())?;
            if self.latest.spill.is_some() {
                fits = partition.fits(needed(&self.latest), buffers);
            }
        }
        // The rows of both halves were sent down to the end of this chunk, so the later pass sends
        // rows only below it.
        while !fits
            && is_small
            && self.latest.is_open()
            && self.latest.allocated_bytes() >= weight.bytes
            && let Some([kept, other]) = pass.share.split()
        {
            self.latest.seen.retain(kept);
            pass.share = kept;
            self.passes.push(Pass {
                share: other,
                sent_from: pass.sent_from.min(current.end),
            });
            fits = partition.fits(needed(&self.latest), buffers);
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
            partition.reserve(needed(&self.latest))?;
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
            let latest = &mut self.latest;
            if !latest.take(partition, &self.chunk, block.clone(), pass, output)? {
                return Ok(false);
            }
        }
        self.chunk.clear();
        partition.memory.try_resize(self.latest.allocated_bytes())?;
        if !partition.rows.flush(output)? {
            return Ok(false);
        }
        let has_all = partition.has_found_all();
        if next.is_empty() && !has_all && !self.latest.take_spilled(partition, pass, output)? {
            return Ok(false);
        }
        let pass_ends = next.is_empty() || has_all;
        self.current = (!pass_ends).then_some((pass, next));
        Ok(true)
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

    /// The memory for the buffers of records on their way to disk.
    pub(super) fn spill_memory(&self) -> usize {
        match self.disk {
            Some(_) => Disk::memory(self.group.memory_share),
            None => 0,
        }
    }

    /// The number of offsets in the first chunk. A small partition is one chunk: a second one would
    /// take another round trip, and librdkafka waits at the end of the log before it asks again.
    /// Where a few rows or keys are enough, the first chunk may be all that is read.
    fn first_span(&self) -> i64 {
        let range = self.bounds.range;
        let (all, first) = (range.end - range.start, self.chunk_sizes.first.max(1));
        let may_end_early = self.group.spec.limit.is_some() || self.bounds.keys.is_some();
        match !may_end_early && all <= first.saturating_mul(SMALL_PARTITION) {
            true => all.max(1),
            false => first,
        }
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
}

/// The last `span` offsets of the range before `end`, or fewer.
fn before(range: OffsetRange, end: i64, span: i64) -> OffsetRange {
    OffsetRange {
        start: end.saturating_sub(span).max(range.start),
        end,
    }
}
