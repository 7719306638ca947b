//! The columns of a batch, ready to be written as JSON.

use std::borrow::Cow;
use std::fmt;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use arrow::error::ArrowError;

use super::error::EncodeError;
use super::json_text::{self, TextEncoding};
use super::scalar;
use super::text::{push_start, write_string};
use super::types::{EncodeOptions, Nulls, map_fields};
use super::unit::written_unit;

/// Writes the values of an array that are not NULL.
pub(super) trait Write: Send + Sync {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError>;
}

pub(super) type BoxWrite<'a> = Box<dyn Write + 'a>;

/// An array, ready to be written so deep in objects and arrays.
pub(super) struct Column<'a> {
    nulls: Option<NullBuffer>,
    values: BoxWrite<'a>,
}

impl<'a> Column<'a> {
    pub(super) fn new(
        field: &'a Field,
        array: &'a ArrayRef,
        options: &'a EncodeOptions,
        depth: u32,
    ) -> Result<Self, ArrowError> {
        let unit = written_unit(field, options.timestamp_unit);
        Self::with_unit(field, array, options, depth, unit)
    }

    /// The same where a date or time is text.
    pub(super) fn of_text(
        field: &'a Field,
        array: &'a ArrayRef,
        options: &'a EncodeOptions,
        depth: u32,
    ) -> Result<Self, ArrowError> {
        Self::with_unit(field, array, options, depth, None)
    }

    fn with_unit(
        field: &'a Field,
        array: &'a ArrayRef,
        options: &'a EncodeOptions,
        depth: u32,
        unit: Option<TimeUnit>,
    ) -> Result<Self, ArrowError> {
        let (expected, found) = (field.data_type(), array.data_type());
        // What fields are called inside of nested types does not matter.
        let same = expected.is_nested() || expected == found;
        let writer = || match TextEncoding::of(field) {
            TextEncoding::Text => writer(expected, array, options, depth, unit),
            encoding => Ok(json_text::writer(array, encoding, depth)),
        };
        let values = same.then(writer).transpose()?;
        let values = values.flatten().ok_or_else(|| {
            ArrowError::SchemaError(format!(
                "expected {expected} in `{}` but the array is {found}",
                field.name()
            ))
        })?;
        Ok(Self {
            nulls: array.logical_nulls(),
            values,
        })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        self.values.write(row, out)
    }

    fn write_elements(
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
pub(super) struct Object<'a> {
    properties: Vec<(&'a str, Cow<'a, Name>, Column<'a>)>,
    nulls: Nulls,
}

impl<'a> Object<'a> {
    pub(super) fn new(
        fields: &'a Fields,
        names: impl Iterator<Item = Cow<'a, Name>>,
        arrays: &'a [ArrayRef],
        options: &'a EncodeOptions,
        depth: u32,
    ) -> Result<Self, ArrowError> {
        let len = arrays.first().map_or(0, |array| array.len());
        if fields.len() != arrays.len() || arrays.iter().any(|array| array.len() != len) {
            return Err(ArrowError::SchemaError(format!(
                "expected {} arrays of equal length but there are {}",
                fields.len(),
                arrays.len()
            )));
        }
        let properties = fields
            .iter()
            .zip(names)
            .zip(arrays)
            .map(|((field, name), array)| {
                let column = Column::new(field, array, options, depth)?;
                Ok((&field.name()[..], name, column))
            })
            .collect::<Result<_, ArrowError>>()?;
        Ok(Self {
            properties,
            nulls: options.nulls,
        })
    }

    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
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

/// Puts brackets around what was written from `start` on: values with a comma before
/// each, of which the first one becomes the opening bracket.
pub(super) fn enclose(out: &mut Vec<u8>, start: usize, [open, close]: [u8; 2]) {
    match out.get_mut(start) {
        Some(comma) => *comma = open,
        None => out.push(open),
    }
    out.push(close);
}

/// A field's name as it is written before a value: quoted, with a comma and a colon.
#[derive(Debug, Clone)]
pub(super) struct Name {
    chunks: Vec<[u8; 16]>,
    length: usize,
}

impl Name {
    pub(super) fn new(field: &Field) -> Self {
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
    pub(super) fn write(&self, out: &mut Vec<u8>) {
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

/// The writer of an array, or `None` if the array is of another type; `unit` is that of
/// dates and times that are numbers.
fn writer<'a>(
    data_type: &'a DataType,
    array: &'a ArrayRef,
    options: &'a EncodeOptions,
    depth: u32,
    unit: Option<TimeUnit>,
) -> Result<Option<BoxWrite<'a>>, ArrowError> {
    let within = depth + 1;
    Ok(match data_type {
        DataType::Struct(fields) => {
            let Some(array) = array.as_struct_opt() else {
                return Ok(None);
            };
            let names = fields.iter().map(|field| Cow::Owned(Name::new(field)));
            let object = Object::new(fields, names, array.columns(), options, within)?;
            Some(Box::new(object))
        }
        DataType::List(item) => list::<i32>(item, array, options, within)?,
        DataType::LargeList(item) => list::<i64>(item, array, options, within)?,
        DataType::FixedSizeList(item, _) => {
            let Some(array) = array.as_fixed_size_list_opt() else {
                return Ok(None);
            };
            let items = Column::new(item, array.values(), options, within)?;
            Some(Box::new(FixedSizeList { array, items }))
        }
        DataType::Map(entries, _) => {
            let (Some(array), Some((key, value))) = (array.as_map_opt(), map_fields(entries))
            else {
                return Ok(None);
            };
            Some(Box::new(Map {
                array,
                keys: Column::new(key, array.keys(), options, within)?,
                values: Column::new(value, array.values(), options, within)?,
            }))
        }
        DataType::Dictionary(_, value_type) => {
            let Some(array) = array.as_any_dictionary_opt() else {
                return Ok(None);
            };
            let keys = match array.values().is_empty() {
                true => Vec::new(),
                false => array.normalized_keys(),
            };
            writer(value_type, array.values(), options, depth, unit)?
                .map(|values| Box::new(Dictionary { keys, values }) as BoxWrite<'a>)
        }
        _ => scalar::writer(data_type, array, options, unit),
    })
}

fn list<'a, O: OffsetSizeTrait>(
    item: &'a Field,
    array: &'a ArrayRef,
    options: &'a EncodeOptions,
    depth: u32,
) -> Result<Option<BoxWrite<'a>>, ArrowError> {
    let Some(array) = array.as_list_opt::<O>() else {
        return Ok(None);
    };
    let items = Column::new(item, array.values(), options, depth)?;
    Ok(Some(Box::new(List { array, items })))
}

struct List<'a, O: OffsetSizeTrait> {
    array: &'a GenericListArray<O>,
    items: Column<'a>,
}

impl<O: OffsetSizeTrait> Write for List<'_, O> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.items
            .write_elements(range(self.array.value_offsets(), row), out)
    }
}

/// The rows of a list's or map's child that belong to one of its rows.
fn range<O: OffsetSizeTrait>(offsets: &[O], row: usize) -> std::ops::Range<usize> {
    match offsets.get(row..row + 2) {
        Some([start, end]) => start.as_usize()..end.as_usize(),
        _ => 0..0,
    }
}

struct FixedSizeList<'a> {
    array: &'a FixedSizeListArray,
    items: Column<'a>,
}

impl Write for FixedSizeList<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let size = usize::try_from(self.array.value_length()).unwrap_or(0);
        self.items.write_elements(row * size..(row + 1) * size, out)
    }
}

struct Map<'a> {
    array: &'a MapArray,
    keys: Column<'a>,
    values: Column<'a>,
}

impl Write for Map<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        for (index, entry) in range(self.array.value_offsets(), row).enumerate() {
            out.push(b',');
            self.keys.write(entry, out)?;
            out.push(b':');
            self.values
                .write(entry, out)
                .map_err(|error| error.in_element(index))?;
        }
        enclose(out, start, *b"{}");
        Ok(())
    }
}

struct Dictionary<'a> {
    keys: Vec<usize>,
    values: BoxWrite<'a>,
}

impl Write for Dictionary<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        // The column knows which keys and values are NULL, and none of them comes here.
        let key = self.keys.get(row).copied().unwrap_or_default();
        self.values.write(key, out)
    }
}
