//! Columns of strings and bytes under construction.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, FixedSizeBinaryArray, GenericByteArray, NullBufferBuilder,
    OffsetSizeTrait, StringViewArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::*;
use arrow::error::ArrowError;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::column::{Column, take, text};
use super::error::{DecodeError, Found};
use super::json_text::TextEncoding;
use super::marked::Marked;
use super::scan::{Kind, Scanner, Value};
use super::text::{push_start, unescape};

/// Values of varying length, one after another.
#[derive(Default)]
struct Bytes {
    data: Vec<u8>,
    ends: Ends,
}

impl Bytes {
    /// Adds the value that is so long and at the start of these bytes.
    #[inline]
    fn append_start(&mut self, bytes: &[u8], length: usize) {
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

    fn end_value(&mut self) {
        self.ends.append(self.data.len());
    }

    fn append_null(&mut self) {
        self.ends.append_null(self.data.len());
    }

    fn truncate(&mut self, len: usize) {
        let end = self.ends.truncate(len);
        self.data.truncate(end);
    }

    fn finish<T: ByteArrayType>(&mut self) -> Result<GenericByteArray<T>, ArrowError> {
        let (offsets, nulls) = self.ends.finish()?;
        let data = Buffer::from(take(&mut self.data));
        GenericByteArray::try_new(offsets, data, nulls)
    }
}

/// Where values of varying length end, and which of them are NULL.
pub(super) struct Ends {
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
    pub(super) fn append(&mut self, end: usize) {
        self.ends.push(end);
        self.nulls.append_non_null();
    }

    pub(super) fn append_null(&mut self, end: usize) {
        self.ends.push(end);
        self.nulls.append_null();
    }

    /// Returns where the last value left ends.
    pub(super) fn truncate(&mut self, len: usize) -> usize {
        self.ends.truncate(len);
        self.nulls.truncate(len);
        self.ends.last().copied().unwrap_or(0)
    }

    pub(super) fn finish<O: OffsetSizeTrait>(
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

pub(super) struct StringColumn {
    bytes: Bytes,
    data_type: DataType,
    encoding: TextEncoding,
}

impl StringColumn {
    pub(super) fn new(data_type: &DataType, encoding: TextEncoding) -> Self {
        Self {
            bytes: Bytes::default(),
            data_type: data_type.clone(),
            encoding,
        }
    }
}

impl Column for StringColumn {
    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let value = scanner.value()?;
        let data = &mut self.bytes.data;
        match value.kind() {
            _ if self.encoding != TextEncoding::Text => {
                let text = self.encoding.text(&value);
                data.extend_from_slice(text.as_deref().unwrap_or(value.raw()).as_bytes());
            }
            Kind::String { .. } => {
                unescape(value.quoted(), |part| {
                    data.extend_from_slice(part.as_bytes())
                });
            }
            _ => data.extend_from_slice(value.raw().as_bytes()),
        }
        self.bytes.end_value();
        Ok(())
    }

    fn walk(&mut self, document: &Marked<'_>, at: usize) -> Option<usize> {
        let end = document.string(at);
        let Some(end) = end.filter(|_| self.encoding == TextEncoding::Text) else {
            return self.read_at(document, at);
        };
        self.bytes
            .append_start(document.rest(at + 1)?, end - at - 2);
        Some(end)
    }

    fn append_null(&mut self) {
        self.bytes.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(match self.data_type {
            DataType::Utf8 => Arc::new(self.bytes.finish::<Utf8Type>()?),
            DataType::LargeUtf8 => Arc::new(self.bytes.finish::<LargeUtf8Type>()?),
            // Views are laid over the bytes without copying them.
            _ => Arc::new(StringViewArray::from(
                &self.bytes.finish::<LargeUtf8Type>()?,
            )),
        })
    }
}

/// Base64 with the standard alphabet; padding may be missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn decode_base64(value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), Found> {
    BASE64
        .decode_vec(text(value)?.as_bytes(), out)
        .map_err(|_| Found::NotBase64)
}

pub(super) struct BinaryColumn {
    bytes: Bytes,
    data_type: DataType,
}

impl BinaryColumn {
    pub(super) fn new(data_type: &DataType) -> Self {
        Self {
            bytes: Bytes::default(),
            data_type: data_type.clone(),
        }
    }
}

impl Column for BinaryColumn {
    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let value = scanner.value()?;
        decode_base64(&value, &mut self.bytes.data)
            .map_err(|found| DecodeError::mismatch(value.position(), &self.data_type, found))?;
        self.bytes.end_value();
        Ok(())
    }

    fn append_null(&mut self) {
        self.bytes.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(match self.data_type {
            DataType::Binary => Arc::new(self.bytes.finish::<BinaryType>()?),
            DataType::LargeBinary => Arc::new(self.bytes.finish::<LargeBinaryType>()?),
            _ => Arc::new(BinaryViewArray::from(
                &self.bytes.finish::<LargeBinaryType>()?,
            )),
        })
    }
}

pub(super) struct FixedSizeBinaryColumn {
    values: Vec<u8>,
    nulls: NullBufferBuilder,
    size: i32,
}

impl FixedSizeBinaryColumn {
    pub(super) fn new(size: i32) -> Self {
        Self {
            values: Vec::new(),
            nulls: NullBufferBuilder::new(0),
            size,
        }
    }

    fn width(&self) -> usize {
        usize::try_from(self.size).unwrap_or(0)
    }
}

impl Column for FixedSizeBinaryColumn {
    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let value = scanner.value()?;
        let end = self.values.len() + self.width();
        let decoded = decode_base64(&value, &mut self.values);
        let found = match decoded {
            Ok(()) if self.values.len() == end => {
                self.nulls.append_non_null();
                return Ok(());
            }
            Ok(()) => Found::BinaryLength,
            Err(found) => found,
        };
        let data_type = DataType::FixedSizeBinary(self.size);
        Err(DecodeError::mismatch(value.position(), &data_type, found))
    }

    fn append_null(&mut self) {
        self.values.resize(self.values.len() + self.width(), 0);
        self.nulls.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(len * self.width());
        self.nulls.truncate(len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let len = self.nulls.len();
        let values = Buffer::from(take(&mut self.values));
        let nulls = self.nulls.finish();
        let array = FixedSizeBinaryArray::try_new_with_len(self.size, values, nulls, len)?;
        Ok(Arc::new(array))
    }
}
