//! The set of keys that were already seen in a partition.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// A set of keys. The key bytes are stored in large blocks; a table entry takes 12 bytes per key.
///
/// There is no allocation per key, and growing the table does not move the keys. A partition with
/// millions of keys therefore grows without long pauses.
#[derive(Debug, Default)]
pub(crate) struct SeenKeys {
    table: HashTable<Entry>,
    /// Each key is preceded by its length.
    blocks: Vec<Vec<u8>>,
    hasher: RandomState,
    key_bytes: usize,
}

/// The position of a key, and the key's hash for growing the table.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    block: u32,
    start: u32,
}

/// The size of the first block: small, so that a few keys take little memory.
const FIRST_BLOCK: usize = 64;
/// The largest block. A longer key gets a block of its own.
const BLOCK: usize = 256 * 1024;

/// The bytes of the length in front of each key.
const LENGTH: usize = size_of::<u32>();

impl SeenKeys {
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

    /// The hash of a key that was not added; `None` for a key that was.
    pub(crate) fn hash_of_new(&self, key: &[u8]) -> Option<u32> {
        let hash = self.hash(key);
        (!self.find(hash, key)).then_some(hash)
    }

    /// Whether the key belongs to this share of the key space.
    pub(crate) fn is_in(&self, share: Share, key: &[u8]) -> bool {
        share.is_whole() || share.holds(self.hash(key))
    }

    /// Removes the keys outside of this share. Blocks are released one after the other, so the
    /// rebuild takes no extra memory for a second copy of the keys.
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

    /// Removes all keys. The hasher stays the same, so each share still holds the same keys.
    pub(crate) fn clear(&mut self) {
        self.table = HashTable::new();
        self.blocks = Vec::new();
        self.key_bytes = 0;
    }

    /// How many keys were added.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The bytes of memory that the set holds.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.table.allocation_size() + self.key_bytes
    }

    /// An upper bound of the bytes that the set allocates, besides the keys' own bytes, while
    /// `keys` keys with `bytes` bytes in total are added.
    pub(crate) fn growth(&self, keys: usize, bytes: usize) -> usize {
        let last_block = (self.key_bytes + bytes).clamp(FIRST_BLOCK, BLOCK);
        let beside = last_block + keys * LENGTH;
        let wanted = self.table.len() + keys;
        if wanted <= self.table.capacity() {
            return beside;
        }
        // The old table stays allocated until the new table is filled.
        let buckets = (wanted.saturating_mul(8) / 7).next_power_of_two().max(4);
        buckets * (size_of::<Entry>() + 1) + 16 + beside
    }

    fn find(&self, hash: u32, key: &[u8]) -> bool {
        let is_key = |entry: &Entry| entry.hash == hash && entry.is(key, &self.blocks);
        self.table.find(spread(hash), is_key).is_some()
    }

    fn hash(&self, key: &[u8]) -> u32 {
        // Uses the upper half of the hash. hashbrown would use only part of the bits anyway.
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
            // Kafka's keys are shorter than 2 GiB, and 2^32 blocks would be a petabyte.
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

/// The first key of a block, and the bytes after that key.
fn split_key(block: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = block.split_first_chunk::<LENGTH>()?;
    rest.split_at_checked(u32::from_ne_bytes(*length) as usize)
}

/// Spreads a 32-bit hash over 64 bits, as the hash table expects.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// A part of the key space, selected by hash. A set that does not fit into memory is split into
/// shares, and each share is read in a pass of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// How many upper bits of the hash select the share of a key.
    bits: u32,
    value: u32,
}

impl Share {
    /// Every key.
    pub(crate) const WHOLE: Share = Share { bits: 0, value: 0 };

    fn is_whole(self) -> bool {
        self.bits == 0
    }

    /// How many upper bits the hashes of all keys of this share have in common.
    pub(crate) fn equal_bits(self) -> u32 {
        self.bits
    }

    fn holds(self, hash: u32) -> bool {
        self.is_whole() || hash >> (u32::BITS - self.bits) == self.value
    }

    /// The two halves of this share; `None` when the share cannot be split any further.
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
        let mut seen = SeenKeys::default();
        assert!(seen.insert(b"a"));
        assert!(!seen.insert(b"a"));
        assert!(seen.insert(b""));
        assert!(!seen.insert(b""));
        assert!(seen.contains(b"a") && !seen.contains(b"b"));
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn many_keys_stay_apart_and_long_ones_fit() {
        let mut seen = SeenKeys::default();
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
        let mut all = SeenKeys::default();
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
        let mut seen = SeenKeys::default();
        for round in 0..200u32 {
            let most = seen.allocated_bytes() + seen.growth(500, 2000) + 2000;
            for key in 0..500u32 {
                seen.insert(&(round * 500 + key).to_le_bytes());
            }
            assert!(seen.allocated_bytes() <= most);
        }
    }
}
