//! The encoders: arrays in, JSON documents out.

pub(crate) mod column;
pub(crate) mod columns;
mod encoded;
mod json_text;
mod nested;
mod numbers;
mod primitive;
mod scalar;
mod times;

use std::borrow::Cow;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, FieldRef, Fields};
use arrow::error::ArrowError;

use self::column::{Column, Name, Object};
use crate::error::EncodeError;
use crate::options::EncodeOptions;
use crate::types::{UnsupportedType, check_type};

/// Encodes rows as JSON objects, with a property for each field, in their order.
///
/// ```
/// use std::sync::Arc;
/// use arrow::array::{ArrayRef, Float64Array};
/// use arrow::datatypes::{DataType, Field, Fields};
/// use arrow_json_codec::{EncodeOptions, RowEncoder};
///
/// let fields = Fields::from(vec![Field::new("x", DataType::Float64, true)]);
/// let encoder = RowEncoder::try_new(&fields, &EncodeOptions::default())?;
/// let columns: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(vec![Some(1.5), None]))];
/// let rows = encoder.batch(&columns)?;
/// let mut out = Vec::new();
/// rows.write(0, &mut out)?;
/// rows.write(1, &mut out)?;
/// assert_eq!(out, br#"{"x":1.5}{"x":null}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RowEncoder {
    fields: Fields,
    names: Vec<Name>,
    options: EncodeOptions,
}

impl RowEncoder {
    /// Prepares to encode rows of these fields.
    ///
    /// # Errors
    /// A field whose type has no JSON form, see [`check_type`].
    pub fn try_new(fields: &Fields, options: &EncodeOptions) -> Result<Self, UnsupportedType> {
        fields.iter().try_for_each(|field| check_type(field))?;
        Ok(Self {
            fields: fields.clone(),
            names: fields.iter().map(|field| Name::new(field)).collect(),
            options: options.clone(),
        })
    }

    /// Gives access to the rows of a batch.
    ///
    /// # Errors
    /// Arrays that do not have the number, the types or the common length that the
    /// fields say.
    pub fn batch<'a>(&'a self, columns: &'a [ArrayRef]) -> Result<RowWriter<'a>, ArrowError> {
        let names = self.names.iter().map(Cow::Borrowed);
        Ok(RowWriter {
            object: columns::object(&self.fields, names, columns, &self.options, 1)?,
        })
    }
}

/// The rows of a batch, to be written one by one.
#[derive(Debug)]
pub struct RowWriter<'a> {
    object: Object<'a>,
}

impl RowWriter<'_> {
    /// Appends one row as a compact object.
    ///
    /// # Errors
    /// A value that JSON cannot hold; `out` is then as it was.
    ///
    /// # Panics
    /// Where `row` is beyond the end of the batch.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        self.object
            .write(row, out)
            .inspect_err(|_| out.truncate(start))
    }
}

/// Encodes the values of one array as JSON.
///
/// ```
/// use std::sync::Arc;
/// use arrow::array::{ArrayRef, StringArray};
/// use arrow::datatypes::{DataType, Field};
/// use arrow_json_codec::{EncodeOptions, ValueEncoder};
///
/// let key = Field::new("key", DataType::Utf8, false);
/// let encoder = ValueEncoder::try_new(&key, &EncodeOptions::default())?;
/// let array: ArrayRef = Arc::new(StringArray::from(vec!["a \"b\""]));
/// let mut out = Vec::new();
/// encoder.batch(&array)?.write(0, &mut out)?;
/// assert_eq!(out, br#""a \"b\"""#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ValueEncoder {
    field: FieldRef,
    options: EncodeOptions,
}

impl ValueEncoder {
    /// Prepares to encode values of this field's type.
    ///
    /// # Errors
    /// A type that has no JSON form, see [`check_type`].
    pub fn try_new(field: &Field, options: &EncodeOptions) -> Result<Self, UnsupportedType> {
        check_type(field)?;
        Ok(Self {
            field: FieldRef::new(field.clone()),
            options: options.clone(),
        })
    }

    /// Gives access to the values of an array.
    ///
    /// # Errors
    /// An array of another type.
    pub fn batch<'a>(&'a self, array: &'a ArrayRef) -> Result<ValueWriter<'a>, ArrowError> {
        Ok(ValueWriter {
            name: self.field.name(),
            column: columns::column(&self.field, array, &self.options, 0)?,
        })
    }
}

/// The values of an array, to be written one by one.
#[derive(Debug)]
pub struct ValueWriter<'a> {
    name: &'a str,
    column: Column<'a>,
}

impl ValueWriter<'_> {
    /// Appends one value; a NULL as `null`.
    ///
    /// # Errors
    /// A value that JSON cannot hold; `out` is then as it was.
    ///
    /// # Panics
    /// Where `row` is beyond the end of the array.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        self.column.write(row, out).map_err(|error| {
            out.truncate(start);
            error.in_field(self.name)
        })
    }
}
