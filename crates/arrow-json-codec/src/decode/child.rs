//! A column as part of a row, a list or a map.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;

use super::column::BoxColumn;
use super::indexed::IndexedDocument;
use crate::error::{DecodeError, DecodeErrorKind};
use crate::text::scan::Scanner;

/// A column that knows whether it may be NULL.
pub(crate) struct Child {
    nullable: bool,
    data_type: DataType,
    column: BoxColumn,
    /// The number of the object in which the column was last filled fast, so that a second
    /// property for the same field is seen.
    pub(crate) row: u64,
}

impl Child {
    pub(crate) fn new(field: &Field, column: BoxColumn) -> Self {
        Self {
            nullable: field.is_nullable(),
            data_type: field.data_type().clone(),
            column,
            row: 0,
        }
    }

    /// Decodes the value that comes next.
    pub(crate) fn decode_checked(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        if scanner.next() == Some(b'n') {
            let position = scanner.position();
            scanner.skip()?;
            return self.append_missing(position);
        }
        self.column.decode_checked(scanner)
    }

    /// The same, quickly, for the value at this position.
    #[inline]
    pub(crate) fn decode_fast(
        &mut self,
        document: &IndexedDocument<'_>,
        at: usize,
    ) -> Option<usize> {
        if document.byte(at) == Some(b'n') {
            return self.decode_fast_null(document, at);
        }
        self.column.decode_fast(document, at)
    }

    #[inline(never)]
    fn decode_fast_null(&mut self, document: &IndexedDocument<'_>, at: usize) -> Option<usize> {
        let end = document.null(at)?;
        self.append_missing(at).ok()?;
        Some(end)
    }

    /// Adds the NULL of a value that is null, or should have been at `position`.
    pub(crate) fn append_missing(&mut self, position: usize) -> Result<(), DecodeError> {
        if self.nullable {
            self.column.append_null();
            return Ok(());
        }
        let expected = self.data_type.clone();
        let kind = DecodeErrorKind::MissingValue { expected };
        Err(DecodeError::new(position, kind))
    }

    pub(crate) fn append_null(&mut self) {
        self.column.append_null();
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.column.truncate(len);
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.column.finish()
    }
}
