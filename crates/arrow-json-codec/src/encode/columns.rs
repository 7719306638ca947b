//! The writer that a type needs.
//!
//! Nested writers are made here from the writers inside of them, so that no kind of writer
//! knows another.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait};
use arrow::datatypes::{DataType, Field, Fields};
use arrow::error::ArrowError;

use super::column::{BoxWrite, Column, Name, Object};
use super::nested::{Dictionary, FixedSizeList, List, Map};
use super::{encoded, json_text, scalar};
use crate::metadata::{NumberUnit, TextEncoding, is_plain_text, written_unit};
use crate::options::EncodeOptions;
use crate::types::map_fields;

/// An array of a field, ready to be written inside of `depth` objects and arrays.
///
/// # Errors
/// An array of another type.
pub(crate) fn column<'a>(
    field: &'a Field,
    array: &'a ArrayRef,
    options: &'a EncodeOptions,
    depth: u32,
) -> Result<Column<'a>, ArrowError> {
    let unit = written_unit(field, options.timestamp_unit);
    column_with_unit(field, array, options, depth, unit)
}

/// The same where a date or time is text.
pub(crate) fn text_column<'a>(
    field: &'a Field,
    array: &'a ArrayRef,
    options: &'a EncodeOptions,
    depth: u32,
) -> Result<Column<'a>, ArrowError> {
    column_with_unit(field, array, options, depth, None)
}

/// Arrays that are the properties of objects.
///
/// # Errors
/// Arrays of another number, of other types or of several lengths.
pub(crate) fn object<'a>(
    fields: &'a Fields,
    names: impl Iterator<Item = Cow<'a, Name>>,
    arrays: &'a [ArrayRef],
    options: &'a EncodeOptions,
    depth: u32,
) -> Result<Object<'a>, ArrowError> {
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
            let column = column(field, array, options, depth)?;
            Ok((&field.name()[..], name, column))
        })
        .collect::<Result<_, ArrowError>>()?;
    Ok(Object::new(properties, options.nulls))
}

fn column_with_unit<'a>(
    field: &'a Field,
    array: &'a ArrayRef,
    options: &'a EncodeOptions,
    depth: u32,
    unit: Option<NumberUnit>,
) -> Result<Column<'a>, ArrowError> {
    let (expected, found) = (field.data_type(), array.data_type());
    // What fields are called inside of nested types does not matter.
    let same = expected.is_nested() || expected == found;
    let writer = || match TextEncoding::of(field) {
        TextEncoding::Text | TextEncoding::Base64 => writer(expected, array, options, depth, unit),
        encoding if is_plain_text(expected) => Ok(json_text::writer(array, encoding, depth)),
        TextEncoding::Hex => Ok(encoded::hex(array)),
        TextEncoding::Base64Decimal => Ok(encoded::base64_decimals(expected, array)),
        TextEncoding::Json | TextEncoding::Mixed => {
            // A document of its own begins here.
            let values = writer(expected, array, options, 0, unit)?;
            Ok(values.map(json_text::within_string))
        }
    };
    let values = same.then(writer).transpose()?;
    let values = values.flatten().ok_or_else(|| {
        ArrowError::SchemaError(format!(
            "expected {expected} in `{}` but the array is {found}",
            field.name()
        ))
    })?;
    Ok(Column::new(array, values))
}

/// The writer of an array, or `None` if the array is of another type; `unit` is that of
/// dates and times that are numbers.
fn writer<'a>(
    data_type: &'a DataType,
    array: &'a ArrayRef,
    options: &'a EncodeOptions,
    depth: u32,
    unit: Option<NumberUnit>,
) -> Result<Option<BoxWrite<'a>>, ArrowError> {
    let within = depth + 1;
    Ok(match data_type {
        DataType::Struct(fields) => {
            let Some(array) = array.as_struct_opt() else {
                return Ok(None);
            };
            let names = fields.iter().map(|field| Cow::Owned(Name::new(field)));
            let object = object(fields, names, array.columns(), options, within)?;
            Some(Box::new(object))
        }
        DataType::List(item) => list::<i32>(item, array, options, within)?,
        DataType::LargeList(item) => list::<i64>(item, array, options, within)?,
        DataType::FixedSizeList(item, _) => {
            let Some(array) = array.as_fixed_size_list_opt() else {
                return Ok(None);
            };
            let items = column(item, array.values(), options, within)?;
            Some(Box::new(FixedSizeList { array, items }))
        }
        DataType::Map(entries, _) => {
            let (Some(array), Some((key, value))) = (array.as_map_opt(), map_fields(entries))
            else {
                return Ok(None);
            };
            Some(Box::new(Map {
                array,
                keys: column(key, array.keys(), options, within)?,
                values: column(value, array.values(), options, within)?,
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
    let items = column(item, array.values(), options, depth)?;
    Ok(Some(Box::new(List { array, items })))
}
