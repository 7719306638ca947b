//! Columns of booleans.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, NullBufferBuilder};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::column::{Column, take};
use super::indexed::IndexedDocument;
use crate::error::{DecodeError, Found};
use crate::text::scan::Scanner;
use crate::text::value::Kind;

pub(crate) struct BooleanColumn {
    values: Vec<bool>,
    nulls: NullBufferBuilder,
    coerce: bool,
}

impl BooleanColumn {
    /// `coerce` accepts the strings `true` and `false`.
    pub(crate) fn new(coerce: bool) -> Self {
        Self {
            values: Vec::new(),
            nulls: NullBufferBuilder::new(0),
            coerce,
        }
    }
}

impl Column for BooleanColumn {
    fn decode_checked(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let value = scanner.value()?;
        let found = match value.kind() {
            Kind::Boolean(boolean) => Ok(boolean),
            Kind::String { .. } => match value.text().as_deref() {
                Some("true" | "false") if !self.coerce => Err(Found::String),
                Some("true") => Ok(true),
                Some("false") => Ok(false),
                _ => Err(Found::NotABoolean),
            },
            other => Err(other.found()),
        };
        let boolean = found
            .map_err(|found| DecodeError::mismatch(value.position(), &DataType::Boolean, found))?;
        self.values.push(boolean);
        self.nulls.append_non_null();
        Ok(())
    }

    fn decode_fast(&mut self, document: &IndexedDocument<'_>, at: usize) -> Option<usize> {
        let Some((boolean, end)) = document.boolean(at) else {
            return self.decode_checked_at(document, at);
        };
        self.values.push(boolean);
        self.nulls.append_non_null();
        Some(end)
    }

    fn append_null(&mut self) {
        self.values.push(false);
        self.nulls.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.nulls.truncate(len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.nulls.finish();
        let values = BooleanBuffer::from(take(&mut self.values));
        Ok(Arc::new(BooleanArray::new(values, nulls)))
    }
}
