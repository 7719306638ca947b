//! How the memory of a scan is divided among the partitions that are read at the same time.

use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool};

/// How a partition is cut into chunks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkSizes {
    /// Offsets in the first chunk: few, so that the first rows arrive immediately.
    pub(crate) first: i64,
    /// The target size of a chunk in memory, and the largest size of a batch.
    pub(crate) bytes: usize,
}

impl ChunkSizes {
    /// The total size of the chunks of all partitions that are read at the same time. It bounds
    /// the memory of records that wait to be consumed.
    const ALL_BYTES: usize = 48 * 1024 * 1024;
    /// Larger chunks are not read any faster.
    const MOST_BYTES: usize = 16 * 1024 * 1024;
    /// Smaller chunks cost more than they save: the broker sends records past the end of each
    /// chunk, and those are discarded.
    pub(crate) const LEAST_BYTES: usize = 2 * 1024 * 1024;

    /// Sizes for a scan that reads `partitions` partitions at the same time.
    fn of(partitions: usize) -> Self {
        let share = Self::ALL_BYTES / partitions.max(1);
        ChunkSizes {
            first: 256,
            bytes: share.clamp(Self::LEAST_BYTES, Self::MOST_BYTES),
        }
    }
}

/// The part of a scan's memory that a group of partitions has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// How many partitions of more than one chunk are read at the same time. Of smaller ones, as
    /// many are read as have room in these chunks.
    pub(crate) at_once: usize,
    pub(crate) chunks: ChunkSizes,
    /// The most bytes that one partition may hold. The pool serves requests in the order in which
    /// they arrive, so each partition must leave memory to the others.
    pub(crate) partition_bytes: usize,
    /// The memory of the client that reads the group. A quarter of it may be queued.
    pub(crate) client_bytes: usize,
}

impl Budget {
    /// How many partitions a scan reads at the same time if it has fewer groups than that. While
    /// one is decoded, the others are fetched.
    ///
    /// Twice as many would not be faster, and take twice the memory: librdkafka frees an answer
    /// of a broker with the last of its records, whatever partition that record is of.
    const AT_ONCE: usize = 4;
    /// The memory for which another partition is read at the same time.
    const FOR_ANOTHER: usize = 64 * 1024 * 1024;
    /// What the client of a group may use. A quarter of it waits for the thread of the group.
    ///
    /// That is little, because the client fetches past the end of a chunk while the thread is
    /// busy with another partition: what it has queued by then is discarded, and was still sent,
    /// received and parsed. With 48 MB, a topic of 780 MB cost 1 200 MB, and a fifth more time.
    pub(crate) const CLIENT_BYTES: usize = 4 * 1024 * 1024;

    /// The memory of the pool for which there is another group.
    const FOR_ANOTHER_GROUP: usize = 4 * 1024 * 1024;

    /// How many groups a scan may have within this limit of the memory pool. Each group has a
    /// client and chunks, of which a part cannot be smaller.
    pub(crate) fn most_groups(pool: &dyn MemoryPool) -> usize {
        match limit(pool) {
            Some(bytes) => (bytes / Self::FOR_ANOTHER_GROUP).max(1),
            None => usize::MAX,
        }
    }

    /// The part of one of `groups` groups, the largest of which has `partitions` partitions.
    pub(crate) fn of(groups: usize, partitions: usize, pool: &dyn MemoryPool) -> Self {
        Self::within(groups, partitions, limit(pool))
    }

    fn within(groups: usize, partitions: usize, pool: Option<usize>) -> Self {
        let groups = groups.max(1);
        let share = pool.map(|bytes| (bytes / 2 / groups).max(1));
        let affordable = share.map_or(usize::MAX, |bytes| bytes / Self::FOR_ANOTHER);
        let at_once = (Self::AT_ONCE / groups).min(partitions).min(affordable);
        let at_once = at_once.max(1);
        Budget {
            at_once,
            chunks: ChunkSizes::of(groups * at_once),
            partition_bytes: share.map_or(usize::MAX, |bytes| (bytes / at_once).max(1)),
            client_bytes: Self::CLIENT_BYTES.min(share.unwrap_or(usize::MAX)),
        }
    }
}

/// The size of a memory pool, if it has one.
fn limit(pool: &dyn MemoryPool) -> Option<usize> {
    match pool.memory_limit() {
        MemoryLimit::Finite(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
impl Default for ChunkSizes {
    fn default() -> Self {
        Self::of(1)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::{GreedyMemoryPool, UnboundedMemoryPool};

    use super::*;

    #[test]
    fn what_is_read_at_once_is_bounded_whatever_the_topic_has() {
        let at_once = |groups, partitions| Budget::within(groups, partitions, None).at_once;
        assert_eq!(at_once(2, 2), 2);
        assert_eq!(at_once(2, 500), 2);
        assert_eq!(at_once(64, 20), 1);
        assert_eq!(at_once(1, 1), 1);
        let whole = |groups, partitions| {
            let budget = Budget::within(groups, partitions, None);
            groups * budget.at_once * budget.chunks.bytes
        };
        assert_eq!(whole(2, 500), ChunkSizes::ALL_BYTES);
        assert_eq!(whole(1, 3), ChunkSizes::ALL_BYTES);
    }

    #[test]
    fn there_are_as_many_groups_as_have_memory() {
        let most = |bytes| Budget::most_groups(&GreedyMemoryPool::new(bytes));
        assert_eq!(most(64 << 20), 16);
        assert_eq!(most(12 << 20), 3);
        assert_eq!(most(0), 1);
        let unbounded = UnboundedMemoryPool::default();
        assert_eq!(Budget::most_groups(&unbounded), usize::MAX);
    }

    #[test]
    fn with_little_memory_partitions_are_read_one_after_the_other() {
        let budget = |pool| Budget::within(2, 4, Some(pool));
        assert_eq!(budget(32 << 20).at_once, 1);
        assert_eq!(budget(32 << 20).partition_bytes, 8 << 20);
        assert_eq!(budget(32 << 20).client_bytes, Budget::CLIENT_BYTES);
        assert_eq!(budget(8 << 20).client_bytes, 2 << 20);
        assert_eq!(budget(8 << 30).at_once, 2);
        assert_eq!(budget(0).partition_bytes, 1);
    }
}
