//! What a column under construction does.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::indexed::IndexedDocument;
use crate::error::DecodeError;
use crate::text::scan::Scanner;

/// A column under construction, to which values are added in one of two ways.
///
/// The fast way takes a position in an indexed document and returns where the value ends. It
/// does not say what is wrong, and leaves rare values to the checked way. The checked way takes a
/// scanner, knows all of JSON and says what is wrong. Both add the same value where both add
/// one.
///
/// Either way may leave part of a value behind where it fails. The owner of the outermost
/// column then truncates that column, which undoes the part at every level.
pub(crate) trait Column: Send + Sync {
    /// Adds the value that the scanner stands before, which is not null.
    fn decode_checked(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError>;

    /// Adds the value at a position, which is not null, and returns where the value ends.
    /// `None` says that the checked way has to be asked, from the start of the document.
    fn decode_fast(&mut self, document: &IndexedDocument<'_>, at: usize) -> Option<usize> {
        self.decode_checked_at(document, at)
    }

    /// The fast way for a value that is not as simple as most are.
    #[cold]
    fn decode_checked_at(&mut self, document: &IndexedDocument<'_>, at: usize) -> Option<usize> {
        let mut scanner = document.scanner(at);
        self.decode_checked(&mut scanner).ok()?;
        Some(scanner.position())
    }

    fn append_null(&mut self);
    fn truncate(&mut self, len: usize);
    /// Takes what was added as an array.
    fn finish(&mut self) -> Result<ArrayRef, ArrowError>;
}

pub(crate) type BoxColumn = Box<dyn Column>;

/// Takes a vector and leaves room for as much again.
pub(crate) fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    std::mem::replace(values, room)
}

/// For a value of another kind than the column's.
#[cold]
pub(crate) fn unlike(scanner: &mut Scanner<'_>, data_type: &DataType) -> DecodeError {
    match scanner.value() {
        Ok(value) => DecodeError::mismatch(value.position(), data_type, value.kind().found()),
        Err(invalid) => invalid.into(),
    }
}
