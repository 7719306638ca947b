//! Columns of any type whose JSON is the text of a string.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::child::Child;
use super::column::Column;
use crate::error::{DecodeError, Found};
use crate::text::document::document;
use crate::text::scan::Scanner;

pub(crate) struct JsonTextColumn {
    data_type: DataType,
    child: Child,
    lenient: bool,
}

impl JsonTextColumn {
    /// `child` takes the values that the texts hold.
    pub(crate) fn new(data_type: &DataType, child: Child, lenient: bool) -> Self {
        Self {
            data_type: data_type.clone(),
            child,
            lenient,
        }
    }
}

impl Column for JsonTextColumn {
    fn decode_checked(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let value = scanner.value()?;
        let Some(text) = value.text() else {
            return self.child.decode_checked(&mut Scanner::of_value(&value));
        };
        // A position within the text means nothing in the payload.
        let position = value.position();
        let inner = document(text.as_bytes(), self.lenient)
            .map_err(|_| DecodeError::mismatch(position, &self.data_type, Found::NotJson))?;
        self.child
            .decode_checked(&mut Scanner::of_value(&inner))
            .map_err(|error| DecodeError { position, ..error })
    }

    fn append_null(&mut self) {
        self.child.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.child.truncate(len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.child.finish()
    }
}
