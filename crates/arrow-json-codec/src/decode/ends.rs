//! Where the values of a column lie that differ in length.

use arrow::array::{GenericByteArray, NullBufferBuilder, OffsetSizeTrait};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::ByteArrayType;
use arrow::error::ArrowError;

use super::column::take;
use crate::text::strings::push_start;

/// Values of varying length, one after another.
#[derive(Default)]
pub(crate) struct Bytes {
    pub(crate) data: Vec<u8>,
    ends: Ends,
}

impl Bytes {
    /// Adds the value that is so long and at the start of these bytes.
    #[inline]
    pub(crate) fn append_start(&mut self, bytes: &[u8], length: usize) {
        match bytes.first_chunk::<16>() {
            Some(chunk) if length <= chunk.len() => {
                push_start(chunk, length, &mut self.data);
            }
            _ => self
                .data
                .extend_from_slice(bytes.get(..length).unwrap_or_default()),
        }
        self.end_value();
    }

    #[inline]
    pub(crate) fn end_value(&mut self) {
        self.ends.append(self.data.len());
    }

    pub(crate) fn append_null(&mut self) {
        self.ends.append_null(self.data.len());
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        let end = self.ends.truncate(len);
        self.data.truncate(end);
    }

    pub(crate) fn finish<T: ByteArrayType>(&mut self) -> Result<GenericByteArray<T>, ArrowError> {
        let (offsets, nulls) = self.ends.finish()?;
        let data = Buffer::from(take(&mut self.data));
        GenericByteArray::try_new(offsets, data, nulls)
    }
}

/// Where values of varying length end, and which of them are NULL.
pub(crate) struct Ends {
    ends: Vec<usize>,
    nulls: NullBufferBuilder,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            ends: Vec::new(),
            nulls: NullBufferBuilder::new(0),
        }
    }
}

impl Ends {
    #[inline]
    pub(crate) fn append(&mut self, end: usize) {
        self.ends.push(end);
        self.nulls.append_non_null();
    }

    pub(crate) fn append_null(&mut self, end: usize) {
        self.ends.push(end);
        self.nulls.append_null();
    }

    /// Returns where the last value left ends.
    pub(crate) fn truncate(&mut self, len: usize) -> usize {
        self.ends.truncate(len);
        self.nulls.truncate(len);
        self.ends.last().copied().unwrap_or(0)
    }

    pub(crate) fn finish<O: OffsetSizeTrait>(
        &mut self,
    ) -> Result<(OffsetBuffer<O>, Option<NullBuffer>), ArrowError> {
        let (ends, nulls) = (take(&mut self.ends), self.nulls.finish());
        let last = ends.last().copied().unwrap_or(0);
        if O::from_usize(last).is_none() {
            return Err(ArrowError::OffsetOverflowError(last));
        }
        let offsets: Vec<O> = std::iter::once(0).chain(ends).map(O::usize_as).collect();
        Ok((OffsetBuffer::new(offsets.into()), nulls))
    }
}
