//! A record, wherever its bytes are.

/// A record of a Kafka partition, borrowed from where its bytes are.
///
/// [`Message`](crate::Message) implements it. Code that takes any `Record` can be tested
/// with a list of its own.
pub trait Record {
    /// The record's offset in its partition.
    fn offset(&self) -> i64;
    /// The key's bytes; `None` for a record without a key.
    fn key(&self) -> Option<&[u8]>;
    /// The value's bytes; `None` for a tombstone. An empty slice is not a tombstone.
    fn payload(&self) -> Option<&[u8]>;
    /// Milliseconds since 1970 in UTC; `None` for a record without a timestamp.
    fn timestamp(&self) -> Option<i64>;
    /// Visits the headers in their order, duplicates included.
    fn visit_headers(&self, visit: VisitHeader<'_>);

    /// The size of key and payload, in bytes.
    fn size(&self) -> usize {
        self.key().map_or(0, <[u8]>::len) + self.payload().map_or(0, <[u8]>::len)
    }

    /// The size of the headers, in bytes. Headers are parsed for it, which costs more than
    /// [`size`](Self::size).
    fn headers_size(&self) -> usize {
        let mut bytes = 0;
        self.visit_headers(&mut |name, value| bytes += name.len() + value.map_or(0, <[u8]>::len));
        bytes
    }
}

/// Takes a header's name and its value, which may be null.
pub type VisitHeader<'a> = &'a mut dyn FnMut(&[u8], Option<&[u8]>);
