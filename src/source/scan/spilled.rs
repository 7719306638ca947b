//! Upsert mode: the rows of those keys that memory had no room for, from disk.
//!
//! A part holds all records of its keys that the walk met, newest first. It is read like a
//! partition. Where its keys have no room either, it is divided again in the same way.

use datafusion::error::Result as DataFusionResult;

use super::latest::{Latest, Pass};
use super::{Output, Partition};
use crate::source::fetch::{Chunk, Fetch};
use crate::source::spill::Spill;

impl Latest {
    /// Returns the rows of the records on disk; `false` when no more rows are wanted.
    pub(super) fn take_spilled<F: Fetch>(
        &mut self,
        partition: &mut Partition<'_, F>,
        pass: Pass,
        output: &mut impl Output,
    ) -> DataFusionResult<bool> {
        let Some(spill) = self.spill.take() else {
            return Ok(true);
        };
        let mut parts = spill.finish()?;
        while let Some(mut part) = parts.pop() {
            // No key of this part is in the set, so the memory of the set is free.
            self.seen.clear();
            loop {
                let bytes = part.next_bytes();
                partition.reserve(self.allocated_bytes() + bytes)?;
                let Some(block) = part.next()? else {
                    break;
                };
                if !output.is_wanted() {
                    return Ok(false);
                }
                if !partition.narrow()? || partition.has_found_all() {
                    return partition.rows.flush(output);
                }
                let growth = self.growth(block.len(), block.key_bytes());
                let needed = self.allocated_bytes() + bytes + growth;
                let spared = partition.spill_memory();
                if self.spill.is_none() && !partition.fits(needed, spared) {
                    // A set of some keys was filled before, so each division leaves fewer.
                    if self.seen.len() > 0 {
                        self.spill = partition.start_spill(part.equal_bits())?;
                    }
                    if self.spill.is_none() {
                        partition.reserve(needed)?;
                    }
                }
                let all = 0..block.len();
                if !self.take(partition, &block, all, pass, output)? {
                    return Ok(false);
                }
            }
            if let Some(rest) = self.spill.take() {
                parts.append(&mut rest.finish()?);
            }
        }
        self.seen.clear();
        partition.memory.try_resize(0)?;
        partition.rows.flush(output)
    }
}

impl<F: Fetch> Partition<'_, F> {
    /// Starts a spill of keys whose hashes are equal in this many upper bits; `None` where there
    /// is no disk, or no memory for the buffers.
    pub(super) fn start_spill(&self, equal_bits: u32) -> DataFusionResult<Option<Spill>> {
        match &self.disk {
            Some(disk) => disk.start(
                self.rows.record_parts(),
                equal_bits,
                self.group.memory_share,
                &self.memory,
            ),
            None => Ok(None),
        }
    }
}
