//! The sizes of the chunks in which a partition is read.

/// How a partition is cut into chunks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkSizes {
    /// Offsets in the first chunk: few, so that the first rows arrive immediately.
    pub(crate) first: i64,
    /// The target size of a chunk in memory, and the largest size of a batch.
    pub(crate) bytes: usize,
}

impl ChunkSizes {
    /// The total size of the chunks of all partitions. It bounds the memory of records that wait
    /// to be consumed.
    const ALL_BYTES: usize = 48 * 1024 * 1024;
    /// Larger chunks are not read any faster.
    const MOST_BYTES: usize = 16 * 1024 * 1024;
    /// Smaller chunks cost more than they save: the broker sends records past the end of each
    /// chunk, and those are discarded.
    pub(crate) const LEAST_BYTES: usize = 2 * 1024 * 1024;

    /// Sizes for a scan that reads `partitions` partitions.
    pub(crate) fn of(partitions: usize) -> Self {
        let share = Self::ALL_BYTES / partitions.max(1);
        ChunkSizes {
            first: 256,
            bytes: share.clamp(Self::LEAST_BYTES, Self::MOST_BYTES),
        }
    }

    /// The memory that a client may use for one partition. A quarter of it may be queued: half of
    /// the next chunk.
    pub(crate) fn client_bytes(self) -> usize {
        2 * self.bytes
    }
}

#[cfg(test)]
impl Default for ChunkSizes {
    fn default() -> Self {
        Self::of(1)
    }
}
