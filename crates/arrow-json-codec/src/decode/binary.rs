//! Columns of bytes, which JSON has as text.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryViewArray, FixedSizeBinaryArray, NullBufferBuilder};
use arrow::buffer::Buffer;
use arrow::datatypes::{BinaryType, DataType, LargeBinaryType};
use arrow::error::ArrowError;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::column::{Column, take};
use super::ends::Bytes;
use crate::error::{DecodeError, Found};
use crate::text::scan::Scanner;
use crate::text::value::Value;

/// The text of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BytesText {
    Base64,
    Hex,
}

pub(crate) struct BinaryColumn {
    bytes: Bytes,
    text: BytesText,
    data_type: DataType,
}

impl BinaryColumn {
    pub(crate) fn new(data_type: &DataType, text: BytesText) -> Self {
        Self {
            bytes: Bytes::default(),
            text,
            data_type: data_type.clone(),
        }
    }
}

impl Column for BinaryColumn {
    fn decode_checked(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let value = scanner.value()?;
        self.text
            .decode(&value, &mut self.bytes.data)
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

pub(crate) struct FixedSizeBinaryColumn {
    values: Vec<u8>,
    nulls: NullBufferBuilder,
    size: i32,
    text: BytesText,
}

impl FixedSizeBinaryColumn {
    pub(crate) fn new(size: i32, text: BytesText) -> Self {
        Self {
            values: Vec::new(),
            nulls: NullBufferBuilder::new(0),
            size,
            text,
        }
    }

    fn width(&self) -> usize {
        usize::try_from(self.size).unwrap_or(0)
    }
}

impl Column for FixedSizeBinaryColumn {
    fn decode_checked(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let value = scanner.value()?;
        let end = self.values.len() + self.width();
        let decoded = self.text.decode(&value, &mut self.values);
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

/// Base64 with the standard alphabet; padding may be missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl BytesText {
    /// Adds the bytes of a string.
    pub(super) fn decode(self, value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), Found> {
        let text = value.string()?;
        match self {
            BytesText::Base64 => BASE64
                .decode_vec(text.as_bytes(), out)
                .map_err(|_| Found::NotBase64),
            BytesText::Hex => {
                let start = out.len();
                out.resize(start + text.len() / 2, 0);
                let end = out.get_mut(start..).unwrap_or_default();
                hex::decode_to_slice(text.as_bytes(), end).map_err(|_| Found::NotHex)
            }
        }
    }
}
