//! How much of a partition is read at a time.

/// How a partition is cut into chunks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkSizes {
    /// Offsets in the first chunk: small, so that the first rows come at once.
    pub(crate) first: i64,
    /// What a chunk should weigh in memory, and a batch at most.
    pub(crate) bytes: usize,
}

impl ChunkSizes {
    /// What the chunks of all partitions weigh together, and so what the
    /// records weigh that wait to be taken.
    const ALL_BYTES: usize = 48 * 1024 * 1024;
    /// Larger chunks are read no faster,
    const MOST_BYTES: usize = 16 * 1024 * 1024;
    /// and smaller ones cost more than they save: behind the end of each, records
    /// are fetched that are thrown away.
    pub(crate) const LEAST_BYTES: usize = 2 * 1024 * 1024;

    /// For a scan that reads so many partitions.
    pub(crate) fn of(partitions: usize) -> Self {
        let share = Self::ALL_BYTES / partitions.max(1);
        ChunkSizes {
            first: 256,
            bytes: share.clamp(Self::LEAST_BYTES, Self::MOST_BYTES),
        }
    }

    /// What a client may take for a partition. A quarter of it may wait: half of the
    /// next chunk.
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
