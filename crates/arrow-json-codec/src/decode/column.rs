//! What a column under construction does.

use arrow::array::ArrayRef;
use arrow::error::ArrowError;

use super::marked::Marked;
use crate::error::DecodeError;
use crate::text::scan::Scanner;

/// A column under construction.
///
/// An error of `read` may leave part of a value behind: the owner of the
/// outermost column then truncates it, which undoes that at every level.
pub(crate) trait Column: Send + Sync {
    /// Adds the value that the scanner stands before, which is not null.
    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError>;

    /// The same for a value at a position, quickly and without saying what is
    /// wrong; returns where the value ends.
    fn walk(&mut self, document: &Marked<'_>, at: usize) -> Option<usize> {
        self.read_at(document, at)
    }

    /// What `walk` does with a value that is not as simple as most are.
    #[cold]
    fn read_at(&mut self, document: &Marked<'_>, at: usize) -> Option<usize> {
        let mut scanner = document.scanner(at);
        self.read(&mut scanner).ok()?;
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
