//! The keys that were already met in a partition.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// A set of keys: bytes in large blocks, 16 bytes of table entry each.
///
/// Nothing is allocated per key and a growing table does not touch the keys,
/// so a partition with millions of keys grows without long pauses.
#[derive(Debug, Default)]
pub struct SeenKeys {
    table: HashTable<Entry>,
    blocks: Vec<Vec<u8>>,
    hasher: RandomState,
    key_bytes: usize,
}

/// Where a key lies, and its hash for a growing table.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    block: u32,
    start: u32,
    length: u32,
}

/// Blocks grow from this size, so that a few keys take little,
const FIRST_BLOCK: usize = 4 * 1024;
/// to this size; a longer key gets a block of its own.
const BLOCK: usize = 256 * 1024;

impl SeenKeys {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the key; `true` the first time.
    pub fn insert(&mut self, key: &[u8]) -> bool {
        let hash = self.hash(key);
        let blocks = &self.blocks;
        if self
            .table
            .find(spread(hash), |entry| {
                entry.hash == hash && entry.key(blocks) == key
            })
            .is_some()
        {
            return false;
        }
        let entry = self.store(hash, key);
        self.table
            .insert_unique(spread(hash), entry, |entry| spread(entry.hash));
        true
    }

    /// Whether the key was added before.
    pub fn contains(&self, key: &[u8]) -> bool {
        let hash = self.hash(key);
        self.table
            .find(spread(hash), |entry| {
                entry.hash == hash && entry.key(&self.blocks) == key
            })
            .is_some()
    }

    /// How many keys were added.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no key was added yet.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The bytes that the set holds of the process's memory.
    pub fn allocated_bytes(&self) -> usize {
        self.table.allocation_size() + self.key_bytes
    }

    fn hash(&self, key: &[u8]) -> u32 {
        // The upper half: hashbrown would use only a part of the bits anyway.
        (self.hasher.hash_one(key) >> 32) as u32
    }

    fn store(&mut self, hash: u32, key: &[u8]) -> Entry {
        let fits = |block: &Vec<u8>| block.capacity() - block.len() >= key.len();
        if !self.blocks.last().is_some_and(fits) {
            let size = self.key_bytes.clamp(FIRST_BLOCK, BLOCK);
            let block = Vec::with_capacity(size.max(key.len()));
            self.key_bytes += block.capacity();
            self.blocks.push(block);
        }
        let block = self.blocks.len() - 1;
        let start = self.blocks.last().map_or(0, Vec::len);
        if let Some(last) = self.blocks.last_mut() {
            last.extend_from_slice(key);
        }
        // Kafka's keys are shorter than 2 GiB, and 2^32 blocks are a petabyte.
        Entry {
            hash,
            block: block as u32,
            start: start as u32,
            length: key.len() as u32,
        }
    }
}

impl Entry {
    fn key(self, blocks: &[Vec<u8>]) -> &[u8] {
        let start = self.start as usize;
        blocks
            .get(self.block as usize)
            .and_then(|block| block.get(start..start + self.length as usize))
            .unwrap_or_default()
    }
}

/// A table wants its bits spread over all 64.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_new_once() {
        let mut seen = SeenKeys::new();
        assert!(seen.insert(b"a"));
        assert!(!seen.insert(b"a"));
        assert!(seen.insert(b""));
        assert!(!seen.insert(b""));
        assert!(seen.contains(b"a") && !seen.contains(b"b"));
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn many_keys_stay_apart_and_long_ones_fit() {
        let mut seen = SeenKeys::new();
        let long = vec![b'x'; 3 * BLOCK];
        assert!(seen.insert(&long));
        for i in 0..200_000u32 {
            assert!(seen.insert(&i.to_le_bytes()));
        }
        for i in 0..200_000u32 {
            assert!(!seen.insert(&i.to_le_bytes()));
        }
        assert!(!seen.insert(&long));
        assert_eq!(seen.len(), 200_001);
        assert!(seen.allocated_bytes() >= 200_000 * 20 + 3 * BLOCK);
    }
}
