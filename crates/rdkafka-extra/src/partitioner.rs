//! The partitions in which writers put keys.

use std::ffi::c_void;
use std::ptr;

use rdkafka_sys as sys;

/// The partition in which Java's clients put a key, of the given number of partitions: by the key's
/// Murmur2 hash.
///
/// `None` for an empty key, which writers do not agree on, and for a topic of no partitions.
/// librdkafka's clients use it with `partitioner` = `murmur2` or `murmur2_random`.
///
/// ```
/// use rdkafka_extra::murmur2_partition;
///
/// assert_eq!(murmur2_partition(b"order-1", 12), Some(10));
/// assert_eq!(murmur2_partition(b"", 12), None);
/// ```
pub fn murmur2_partition(key: &[u8], partitions: i32) -> Option<i32> {
    partition(sys::rd_kafka_msg_partitioner_murmur2, key, partitions)
}

/// The partition in which librdkafka's clients put a key, of the given number of partitions, unless
/// `partitioner` says otherwise: by the key's CRC-32.
///
/// `None` for an empty key, which writers do not agree on, and for a topic of no partitions.
///
/// ```
/// use rdkafka_extra::crc32_partition;
///
/// assert_eq!(crc32_partition(b"order-1", 12), Some(7));
/// assert_eq!(crc32_partition(b"", 12), None);
/// ```
pub fn crc32_partition(key: &[u8], partitions: i32) -> Option<i32> {
    partition(sys::rd_kafka_msg_partitioner_consistent, key, partitions)
}

type NativePartitioner = unsafe extern "C" fn(
    *const sys::rd_kafka_topic_t,
    *const c_void,
    usize,
    i32,
    *mut c_void,
    *mut c_void,
) -> i32;

/// `native` must be one of the two partitioners above.
fn partition(native: NativePartitioner, key: &[u8], partitions: i32) -> Option<i32> {
    if key.is_empty() || partitions < 1 {
        return None;
    }
    let (topic, opaque) = (ptr::null(), ptr::null_mut());
    // SAFETY: the key has `len` bytes and the number of partitions is positive. These two
    // partitioners look at nothing else.
    Some(unsafe {
        native(
            topic,
            key.as_ptr().cast(),
            key.len(),
            partitions,
            opaque,
            opaque,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_placed_as_by_javas_clients() {
        // The hashes are those of Kafka's own test of its Murmur2.
        let hashes = [
            ("21", -973932308),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
        ];
        for (key, hash) in hashes {
            for partitions in [1, 3, 10, 12] {
                let wanted = (hash & i32::MAX) % partitions;
                let found = murmur2_partition(key.as_bytes(), partitions);
                assert_eq!(found, Some(wanted), "{key} of {partitions}");
            }
        }
    }

    #[test]
    fn keys_are_placed_as_by_librdkafkas_clients() {
        for (key, partitions, wanted) in [("foobar", 3, 2), ("foobar", 10, 9), ("21", 12, 4)] {
            let found = crc32_partition(key.as_bytes(), partitions);
            assert_eq!(found, Some(wanted), "{key} of {partitions}");
        }
    }

    #[test]
    fn a_key_has_no_partition_where_writers_do_not_agree_or_there_is_none() {
        for place in [murmur2_partition, crc32_partition] {
            assert_eq!(place(b"", 3), None);
            assert_eq!(place(b"a", 0), None);
            assert_eq!(place(b"a", -1), None);
        }
    }
}
