//! What the columns of a batch do that are ready to be written.

use std::borrow::Cow;
use std::fmt;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Field;

use crate::error::EncodeError;
use crate::options::Nulls;
use crate::text::strings::{push_start, write_string};

/// Writes the values of an array that are not NULL.
pub(crate) trait Write: Send + Sync {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError>;
}

pub(crate) type BoxWrite<'a> = Box<dyn Write + 'a>;

/// An array, ready to be written.
pub(crate) struct Column<'a> {
    nulls: Option<NullBuffer>,
    values: BoxWrite<'a>,
}

impl<'a> Column<'a> {
    /// `values` writes the values of this array.
    pub(crate) fn new(array: &ArrayRef, values: BoxWrite<'a>) -> Self {
        Self {
            nulls: array.logical_nulls(),
            values,
        }
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        self.values.write(row, out)
    }

    pub(crate) fn write_elements(
        &self,
        rows: std::ops::Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        for (index, row) in rows.enumerate() {
            out.push(b',');
            self.write(row, out)
                .map_err(|error| error.in_element(index))?;
        }
        enclose(out, start, *b"[]");
        Ok(())
    }
}

impl fmt::Debug for Column<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Column").finish_non_exhaustive()
    }
}

/// Arrays that are the properties of objects.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    properties: Vec<(&'a str, Cow<'a, Name>, Column<'a>)>,
    nulls: Nulls,
}

impl<'a> Object<'a> {
    /// The arrays are of one length.
    pub(crate) fn new(properties: Vec<(&'a str, Cow<'a, Name>, Column<'a>)>, nulls: Nulls) -> Self {
        Self { properties, nulls }
    }

    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        for (field, name, column) in &self.properties {
            if self.nulls == Nulls::Omit && column.is_null(row) {
                continue;
            }
            name.write(out);
            column
                .write(row, out)
                .map_err(|error| error.in_field(field))?;
        }
        enclose(out, start, *b"{}");
        Ok(())
    }
}

impl Write for Object<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.write(row, out)
    }
}

/// A field's name as it is written before a value: quoted, with a comma and a colon.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    chunks: Vec<[u8; 16]>,
    length: usize,
}

impl Name {
    pub(crate) fn new(field: &Field) -> Self {
        let mut name = vec![b','];
        write_string(field.name(), &mut name);
        name.push(b':');
        let length = name.len();
        name.resize(length.next_multiple_of(16), 0);
        let (chunks, _) = name.as_chunks();
        Self {
            chunks: chunks.to_vec(),
            length,
        }
    }

    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match &self.chunks[..] {
            [chunk] => push_start(chunk, self.length, out),
            chunks => {
                let end = out.len() + self.length;
                out.extend_from_slice(chunks.as_flattened());
                out.truncate(end);
            }
        }
    }
}

/// Puts brackets around what was written from `start` on: values with a comma before
/// each, of which the first one becomes the opening bracket.
pub(crate) fn enclose(out: &mut Vec<u8>, start: usize, [open, close]: [u8; 2]) {
    match out.get_mut(start) {
        Some(comma) => *comma = open,
        None => out.push(open),
    }
    out.push(close);
}
