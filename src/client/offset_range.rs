//! A range of offsets.

/// The offsets of one Kafka partition from `start` up to, but not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OffsetRange {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl OffsetRange {
    pub(crate) fn is_empty(self) -> bool {
        self.start >= self.end
    }
}
