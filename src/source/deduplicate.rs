//! The keys that were already met in a partition.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// A set of keys: bytes in large blocks, 12 bytes of table entry each.
///
/// Nothing is allocated per key and a growing table does not touch the keys,
/// so a partition with millions of keys grows without long pauses.
#[derive(Debug, Default)]
pub(crate) struct SeenKeys {
    table: HashTable<Entry>,
    /// Each key behind its length.
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
}

/// Blocks grow from this size, so that a few keys take little,
const FIRST_BLOCK: usize = 64;
/// to this size; a longer key gets a block of its own.
const BLOCK: usize = 256 * 1024;

/// The bytes of a key's length in front of it.
const LENGTH: usize = size_of::<u32>();

impl SeenKeys {
    /// An empty set.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds the key; `true` the first time.
    pub(crate) fn insert(&mut self, key: &[u8]) -> bool {
        self.insert_hashed(self.hash(key), key)
    }

    fn insert_hashed(&mut self, hash: u32, key: &[u8]) -> bool {
        if self.find(hash, key) {
            return false;
        }
        let entry = self.store(hash, key);
        self.table
            .insert_unique(spread(hash), entry, |entry| spread(entry.hash));
        true
    }

    /// Whether the key was added before.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.find(self.hash(key), key)
    }

    /// Whether the key belongs to this share of all keys.
    pub(crate) fn is_in(&self, share: Share, key: &[u8]) -> bool {
        share.is_whole() || share.holds(self.hash(key))
    }

    /// Forgets the keys outside of this share, without taking memory for it.
    pub(crate) fn retain(&mut self, share: Share) {
        self.table = HashTable::new();
        self.key_bytes = 0;
        for block in std::mem::take(&mut self.blocks) {
            let mut rest = block.as_slice();
            while let Some((key, after)) = split_key(rest) {
                let hash = self.hash(key);
                if share.holds(hash) {
                    self.insert_hashed(hash, key);
                }
                rest = after;
            }
        }
    }

    /// Forgets all keys; what a share holds stays the same.
    pub(crate) fn clear(&mut self) {
        self.table = HashTable::new();
        self.blocks = Vec::new();
        self.key_bytes = 0;
    }

    /// How many keys were added.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The bytes that the set holds of the process's memory.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.table.allocation_size() + self.key_bytes
    }

    /// The bytes that it takes at most, beside those of the keys themselves,
    /// while so many keys of so many bytes are added.
    pub(crate) fn growth(&self, keys: usize, bytes: usize) -> usize {
        let last_block = (self.key_bytes + bytes).clamp(FIRST_BLOCK, BLOCK);
        let beside = last_block + keys * LENGTH;
        let wanted = self.table.len() + keys;
        if wanted <= self.table.capacity() {
            return beside;
        }
        // The old table is held until the new one is filled.
        let buckets = (wanted.saturating_mul(8) / 7).next_power_of_two().max(4);
        buckets * (size_of::<Entry>() + 1) + 16 + beside
    }

    fn find(&self, hash: u32, key: &[u8]) -> bool {
        let is_key = |entry: &Entry| entry.hash == hash && entry.is(key, &self.blocks);
        self.table.find(spread(hash), is_key).is_some()
    }

    fn hash(&self, key: &[u8]) -> u32 {
        // The upper half: hashbrown would use only a part of the bits anyway.
        (self.hasher.hash_one(key) >> 32) as u32
    }

    fn store(&mut self, hash: u32, key: &[u8]) -> Entry {
        let size = LENGTH + key.len();
        let fits = |block: &Vec<u8>| block.capacity() - block.len() >= size;
        if !self.blocks.last().is_some_and(fits) {
            let usual = self.key_bytes.clamp(FIRST_BLOCK, BLOCK);
            let block = Vec::with_capacity(usual.max(size));
            self.key_bytes += block.capacity();
            self.blocks.push(block);
        }
        let block = self.blocks.len() - 1;
        let start = self.blocks.last().map_or(0, Vec::len);
        if let Some(last) = self.blocks.last_mut() {
            // Kafka's keys are shorter than 2 GiB, and 2^32 blocks are a petabyte.
            last.extend_from_slice(&(key.len() as u32).to_ne_bytes());
            last.extend_from_slice(key);
        }
        Entry {
            hash,
            block: block as u32,
            start: start as u32,
        }
    }
}

impl Entry {
    fn is(self, key: &[u8], blocks: &[Vec<u8>]) -> bool {
        let rest = blocks
            .get(self.block as usize)
            .and_then(|block| block.get(self.start as usize..));
        let stored = rest.and_then(split_key);
        stored.is_some_and(|(stored, _)| stored == key)
    }
}

/// The first key of a block, and what stands behind it.
fn split_key(block: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = block.split_first_chunk::<LENGTH>()?;
    rest.split_at_checked(u32::from_ne_bytes(*length) as usize)
}

/// A table wants its bits spread over all 64.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// A part of all keys, by their hash, for sets that memory has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// How many upper bits of the hash say to which share a key belongs.
    bits: u32,
    value: u32,
}

impl Share {
    /// Every key.
    pub(crate) const WHOLE: Share = Share { bits: 0, value: 0 };

    fn is_whole(self) -> bool {
        self.bits == 0
    }

    fn holds(self, hash: u32) -> bool {
        self.is_whole() || hash >> (u32::BITS - self.bits) == self.value
    }

    /// Its two halves; `None` when it cannot be any smaller.
    pub(crate) fn split(self) -> Option<[Share; 2]> {
        let (bits, value) = (self.bits + 1, self.value << 1);
        (bits < u32::BITS).then_some([
            Share { bits, value },
            Share {
                bits,
                value: value | 1,
            },
        ])
    }
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

    #[test]
    fn a_share_and_its_other_half_hold_every_key_once() {
        let mut all = SeenKeys::new();
        let keys: Vec<String> = (0..10_000).map(|i| format!("key-{i}")).collect();
        for key in &keys {
            all.insert(key.as_bytes());
        }
        let before = all.allocated_bytes();
        let [one, other] = Share::WHOLE.split().unwrap();
        let in_one: Vec<bool> = keys.iter().map(|k| all.is_in(one, k.as_bytes())).collect();
        for (key, in_one) in keys.iter().zip(&in_one) {
            assert_ne!(*in_one, all.is_in(other, key.as_bytes()));
        }
        all.retain(one);
        assert!(all.allocated_bytes() < before);
        assert!(all.len() > 4_000 && all.len() < 6_000, "{} keys", all.len());
        for (key, in_one) in keys.iter().zip(&in_one) {
            assert_eq!(all.contains(key.as_bytes()), *in_one);
        }
    }

    #[test]
    fn growth_is_foretold() {
        let mut seen = SeenKeys::new();
        for round in 0..200u32 {
            let most = seen.allocated_bytes() + seen.growth(500, 2000) + 2000;
            for key in 0..500u32 {
                seen.insert(&(round * 500 + key).to_le_bytes());
            }
            assert!(seen.allocated_bytes() <= most);
        }
    }
}
