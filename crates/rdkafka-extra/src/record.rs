//! A record, wherever it lies.

/// One record of a Kafka partition, borrowed from wherever it lies.
pub trait Record {
    /// The record's offset in its Kafka partition.
    fn offset(&self) -> i64;
    /// The key's bytes; `None` is a record without a key.
    fn key(&self) -> Option<&[u8]>;
    /// The value's bytes; `None` is a tombstone, an empty slice is not.
    fn payload(&self) -> Option<&[u8]>;
    /// Milliseconds since 1970 in UTC, where the record has a timestamp.
    fn timestamp(&self) -> Option<i64>;
    /// Visits the headers in their order, duplicates included.
    fn visit_headers(&self, visit: VisitHeader<'_>);

    /// The bytes of key and payload.
    fn size(&self) -> usize {
        self.key().map_or(0, <[u8]>::len) + self.payload().map_or(0, <[u8]>::len)
    }

    /// The bytes of the headers, which are parsed for it.
    fn headers_size(&self) -> usize {
        let mut bytes = 0;
        self.visit_headers(&mut |name, value| bytes += name.len() + value.map_or(0, <[u8]>::len));
        bytes
    }
}

/// Takes a header's name and its value.
pub type VisitHeader<'a> = &'a mut dyn FnMut(&[u8], Option<&[u8]>);
