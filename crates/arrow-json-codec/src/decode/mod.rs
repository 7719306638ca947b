//! The decoders: JSON documents in, arrays out.
//!
//! A document is decoded fast, in one pass that puts values straight into their columns. Where
//! that does not succeed, the columns are put back and the document is decoded again, checked:
//! first as JSON, then value by value. So only documents that are unusual or wrong pay for
//! what is needed to say what is wrong.

mod binary;
mod boolean;
mod child;
mod column;
mod columns;
mod decimal_bytes;
mod dictionary;
mod ends;
pub(crate) mod indexed;
mod json_text;
mod list;
mod map;
mod null;
mod numbers;
mod object;
mod primitive;
pub(crate) mod properties;
mod strings;
pub(crate) mod structural_index;
mod times;
mod views;

use std::fmt;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Fields};
use arrow::error::ArrowError;

use self::child::Child;
use self::indexed::IndexedDocument;
use self::object::ObjectColumns;
use self::structural_index::StructuralIndex;
use crate::error::{DecodeError, DecodeErrorKind};
use crate::options::DecodeOptions;
use crate::text::document::document;
use crate::text::scan::Scanner;
use crate::text::value::Kind;
use crate::types::{UnsupportedReason, UnsupportedType, check_type};

/// Decodes JSON objects, one row each, into one array per field.
///
/// ```
/// use arrow::array::Array;
/// use arrow::datatypes::{DataType, Field, Fields};
/// use arrow_json_codec::{DecodeOptions, RowDecoder};
///
/// let fields = Fields::from(vec![Field::new("firstname", DataType::Utf8View, true)]);
/// let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default())?;
/// decoder.append(br#"{"firstName": "Ada"}"#)?;
/// assert!(decoder.append(b"{").is_err());
/// let columns = decoder.finish()?;
/// assert_eq!(columns[0].len(), 2);
/// assert_eq!(columns[0].null_count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RowDecoder {
    object: ObjectColumns,
    index: StructuralIndex,
    lenient: bool,
    rows: usize,
}

impl RowDecoder {
    /// Prepares to decode objects into these columns.
    ///
    /// # Errors
    /// A field whose type has no JSON form, see [`check_type`].
    pub fn try_new(fields: &Fields, options: &DecodeOptions) -> Result<Self, UnsupportedType> {
        fields.iter().try_for_each(|field| check_type(field))?;
        let object = columns::object(fields, options);
        Ok(Self {
            object: object.ok_or_else(|| unsupported("", &DataType::Struct(fields.clone())))?,
            index: StructuralIndex::default(),
            lenient: options.lenient,
            rows: 0,
        })
    }

    /// Adds one row. After an error the row is NULL in all columns, also in those that are
    /// declared NOT NULL, and the caller masks or filters it.
    ///
    /// # Errors
    /// A payload that is not exactly one JSON object in UTF-8, or a property that
    /// does not fit its column. The rows around it are not affected.
    pub fn append(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        let result = self.append_object(payload);
        if result.is_err() {
            self.object.truncate(self.rows);
            self.object.append_null();
        }
        self.rows += 1;
        result
    }

    fn append_object(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        if self.decode_fast(payload).is_some() {
            return Ok(());
        }
        self.object.truncate(self.rows);
        // A document that is not JSON is reported as such, whatever else is wrong with it.
        let value = document(payload, self.lenient)
            .map_err(|error| self.object.in_property(payload, self.lenient, error))?;
        if value.kind() != Kind::Object {
            let kind = DecodeErrorKind::NotAnObject(value.kind().found());
            return Err(DecodeError::new(value.position(), kind));
        }
        self.object.decode_checked(&mut Scanner::of_value(&value))
    }

    fn decode_fast(&mut self, payload: &[u8]) -> Option<()> {
        let document = IndexedDocument::new(payload, &mut self.index, self.lenient)?;
        let end = self.object.decode_fast(&document, document.start())?;
        document.ends(end).then_some(())
    }

    /// Adds a row that is NULL in all columns, also in those that are declared
    /// NOT NULL.
    pub fn append_null(&mut self) {
        self.object.append_null();
        self.rows += 1;
    }

    /// The number of rows added since the last [`RowDecoder::finish`].
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether no row was added since the last [`RowDecoder::finish`].
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Takes the rows added so far, one array per field, and starts over; what was
    /// learnt about the order of properties is kept.
    ///
    /// # Errors
    /// More rows or bytes than the type can hold in one array: 2 GiB for `Utf8`
    /// and `Binary`, the range of the key for dictionaries. The rows are lost.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        self.rows = 0;
        self.object.finish()
    }
}

impl fmt::Debug for RowDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowDecoder")
            .field("fields", self.object.fields())
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

/// Decodes JSON values of any kind, one row each, into one array.
///
/// ```
/// use arrow::array::AsArray;
/// use arrow::datatypes::{DataType, Field, Int64Type};
/// use arrow_json_codec::{DecodeOptions, ValueDecoder};
///
/// let key = Field::new("key", DataType::Int64, false);
/// let mut decoder = ValueDecoder::try_new(&key, &DecodeOptions::default())?;
/// decoder.append(b"42")?;
/// assert_eq!(decoder.finish()?.as_primitive::<Int64Type>().value(0), 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ValueDecoder {
    field: Field,
    child: Child,
    index: StructuralIndex,
    lenient: bool,
    rows: usize,
}

impl ValueDecoder {
    /// Prepares to decode values into this column.
    ///
    /// # Errors
    /// A type that has no JSON form, see [`check_type`].
    pub fn try_new(field: &Field, options: &DecodeOptions) -> Result<Self, UnsupportedType> {
        check_type(field)?;
        let child = columns::child(field, options);
        Ok(Self {
            child: child.ok_or_else(|| unsupported(field.name(), field.data_type()))?,
            field: field.clone(),
            index: StructuralIndex::default(),
            lenient: options.lenient,
            rows: 0,
        })
    }

    /// Adds one row. After an error the row is NULL.
    ///
    /// # Errors
    /// A payload that is not exactly one JSON value in UTF-8, or a value that does
    /// not fit the column.
    pub fn append(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        let result = self.append_value(payload);
        if result.is_err() {
            self.child.truncate(self.rows);
            self.child.append_null();
        }
        self.rows += 1;
        result
    }

    fn append_value(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        if self.decode_fast(payload).is_some() {
            return Ok(());
        }
        self.child.truncate(self.rows);
        let value = document(payload, self.lenient)?;
        self.child
            .decode_checked(&mut Scanner::of_value(&value))
            .map_err(|error| error.in_field(self.field.name()))
    }

    fn decode_fast(&mut self, payload: &[u8]) -> Option<()> {
        let document = IndexedDocument::new(payload, &mut self.index, self.lenient)?;
        let end = self.child.decode_fast(&document, document.start())?;
        document.ends(end).then_some(())
    }

    /// Adds a NULL, also where the column is declared NOT NULL.
    pub fn append_null(&mut self) {
        self.child.append_null();
        self.rows += 1;
    }

    /// The number of rows added since the last [`ValueDecoder::finish`].
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether no row was added since the last [`ValueDecoder::finish`].
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Takes the rows added so far as an array and starts over.
    ///
    /// # Errors
    /// As for [`RowDecoder::finish`].
    pub fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.rows = 0;
        self.child.finish()
    }
}

impl fmt::Debug for ValueDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueDecoder")
            .field("field", &self.field)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

/// For a type that the check lets pass and no column takes, which would be a defect.
fn unsupported(path: &str, data_type: &DataType) -> UnsupportedType {
    UnsupportedType {
        path: path.to_owned(),
        data_type: data_type.clone(),
        reason: UnsupportedReason::NoForm,
    }
}
