//! Columns that the properties of an object fill.

use std::sync::Arc;

use arrow::array::{ArrayRef, NullBufferBuilder, StructArray};
use arrow::datatypes::{DataType, Fields};
use arrow::error::ArrowError;

use super::child::Child;
use super::column::{Column, unlike};
use super::indexed::IndexedDocument;
use super::properties::{FieldValues, ObjectReader};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::options::NameMatching;
use crate::text::scan::Scanner;

/// The columns that the properties of an object fill.
pub(crate) struct ObjectColumns {
    reader: ObjectReader,
    fields: Fields,
    children: Vec<Child>,
    /// The number of objects decoded fast, in part or as a whole.
    row: u64,
}

impl ObjectColumns {
    /// `children` are the columns of these fields, in their order.
    pub(crate) fn new(fields: &Fields, names: NameMatching, children: Vec<Child>) -> Self {
        Self {
            reader: ObjectReader::new(fields, names),
            fields: fields.clone(),
            children,
            row: 0,
        }
    }

    pub(crate) fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Decodes the object at this position as one row and returns where the object ends.
    ///
    /// Each value goes straight into its column when it comes. So `None` is returned where
    /// two properties fill the same field, as for a document that is not JSON.
    pub(crate) fn decode_fast(
        &mut self,
        document: &IndexedDocument<'_>,
        at: usize,
    ) -> Option<usize> {
        if document.byte(at) != Some(b'{') {
            return None;
        }
        let document = document.within()?;
        self.row += 1;
        let mut left = self.children.len();
        let (children, row) = (&mut self.children, self.row);
        let end = self
            .reader
            .visit_fast(&document, at + 1, |targets, value| match targets {
                [] => document.skip(value),
                [target] => {
                    let child = children.get_mut(target.field)?;
                    if child.row == row {
                        return None;
                    }
                    child.row = row;
                    left -= 1;
                    child.decode_fast(&document, value)
                }
                _ => None,
            })?;
        if left > 0 {
            let missing = self.children.iter_mut().filter(|child| child.row != row);
            for child in missing {
                child.append_missing(at).ok()?;
            }
        }
        Some(end)
    }

    /// Decodes the object that comes next as one row.
    ///
    /// The places of all values are noted before the first value is decoded, so that a later
    /// property can take the place of an earlier one.
    pub(crate) fn decode_checked(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let position = scanner.position();
        let mut values = FieldValues::new(self.children.len());
        self.reader.visit_checked(scanner, |targets, scanner| {
            values.fill(targets, scanner.value_token()?);
            Ok(())
        })?;
        let fields = self.children.iter_mut().zip(&self.fields);
        for ((child, field), token) in fields.zip(values.tokens()) {
            match token {
                Some(token) => {
                    child.decode_checked(&mut Scanner::of_value(&scanner.resolve(token)))
                }
                None => child.append_missing(position),
            }
            .map_err(|error| error.in_field(field.name()))?;
        }
        Ok(())
    }

    /// Adds the property in which a payload stops being JSON to the error that says so.
    #[cold]
    pub(crate) fn in_property(
        &self,
        payload: &[u8],
        lenient: bool,
        error: DecodeError,
    ) -> DecodeError {
        let text = match error.kind {
            // The payload is text up to this position.
            DecodeErrorKind::InvalidUtf8 => payload.get(..error.position).unwrap_or_default(),
            _ => payload,
        };
        let scanner = Scanner::of_document(text, lenient).ok();
        match scanner.and_then(|scanner| self.reader.property_at_fault(scanner)) {
            Some(name) => error.in_field(&name),
            None => error,
        }
    }

    pub(crate) fn append_null(&mut self) {
        self.children.iter_mut().for_each(Child::append_null);
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.children
            .iter_mut()
            .for_each(|child| child.truncate(len));
    }

    pub(crate) fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        // All are reset, even if one of them is an error.
        let arrays: Vec<_> = self.children.iter_mut().map(Child::finish).collect();
        arrays.into_iter().collect()
    }
}

pub(crate) struct StructColumn {
    object: ObjectColumns,
    nulls: NullBufferBuilder,
}

impl StructColumn {
    pub(crate) fn new(object: ObjectColumns) -> Self {
        Self {
            object,
            nulls: NullBufferBuilder::new(0),
        }
    }
}

impl Column for StructColumn {
    fn decode_checked(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        if scanner.next() != Some(b'{') {
            let data_type = DataType::Struct(self.object.fields().clone());
            return Err(unlike(scanner, &data_type));
        }
        self.object.decode_checked(scanner)?;
        self.nulls.append_non_null();
        Ok(())
    }

    fn decode_fast(&mut self, document: &IndexedDocument<'_>, at: usize) -> Option<usize> {
        let end = self.object.decode_fast(document, at)?;
        self.nulls.append_non_null();
        Some(end)
    }

    fn append_null(&mut self) {
        self.object.append_null();
        self.nulls.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.object.truncate(len);
        self.nulls.truncate(len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let len = self.nulls.len();
        let nulls = self.nulls.finish();
        let arrays = self.object.finish()?;
        let fields = self.object.fields().clone();
        Ok(Arc::new(StructArray::try_new_with_length(
            fields, arrays, nulls, len,
        )?))
    }
}
