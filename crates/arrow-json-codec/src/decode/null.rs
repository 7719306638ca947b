//! Columns without any value.

use std::sync::Arc;

use arrow::array::{ArrayRef, NullArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::column::Column;
use crate::error::DecodeError;
use crate::text::scan::Scanner;

#[derive(Default)]
pub(crate) struct NullColumn {
    len: usize,
}

impl Column for NullColumn {
    fn decode_checked(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let value = scanner.value()?;
        let found = value.kind().found();
        Err(DecodeError::mismatch(
            value.position(),
            &DataType::Null,
            found,
        ))
    }

    fn append_null(&mut self) {
        self.len += 1;
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(NullArray::new(std::mem::take(&mut self.len))))
    }
}
