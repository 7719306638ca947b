//! Columns of dictionaries.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, DictionaryArray, PrimitiveArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::*;
use arrow::error::ArrowError;
use arrow::row::{OwnedRow, RowConverter, SortField};
use hashbrown::HashMap;

use super::column::{BoxColumn, Column};
use super::indexed::IndexedDocument;
use crate::error::DecodeError;
use crate::text::scan::Scanner;

/// Gathers plain values, and finds the distinct ones at the end of a batch.
pub(crate) struct DictionaryColumn {
    values: BoxColumn,
    dictionary: fn(&ArrayRef) -> Result<ArrayRef, ArrowError>,
}

impl DictionaryColumn {
    /// `None` for keys that are no integers.
    pub(crate) fn new(key: &DataType, values: BoxColumn) -> Option<Self> {
        let dictionary: fn(&ArrayRef) -> Result<ArrayRef, ArrowError> = match key {
            DataType::Int8 => dictionary::<Int8Type>,
            DataType::Int16 => dictionary::<Int16Type>,
            DataType::Int32 => dictionary::<Int32Type>,
            DataType::Int64 => dictionary::<Int64Type>,
            DataType::UInt8 => dictionary::<UInt8Type>,
            DataType::UInt16 => dictionary::<UInt16Type>,
            DataType::UInt32 => dictionary::<UInt32Type>,
            DataType::UInt64 => dictionary::<UInt64Type>,
            _ => return None,
        };
        Some(Self { values, dictionary })
    }
}

impl Column for DictionaryColumn {
    fn decode_checked(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        self.values.decode_checked(scanner)
    }

    fn decode_fast(&mut self, document: &IndexedDocument<'_>, at: usize) -> Option<usize> {
        self.values.decode_fast(document, at)
    }

    fn append_null(&mut self) {
        self.values.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        (self.dictionary)(&self.values.finish()?)
    }
}

/// Arrow's own cast to a dictionary does not know all types of values.
fn dictionary<K: ArrowDictionaryKeyType>(values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())])?;
    let rows = converter.convert_columns(std::slice::from_ref(values))?;
    let mut key_by_value = HashMap::<OwnedRow, K::Native, foldhash::fast::RandomState>::default();
    let mut distinct = Vec::new();
    let mut keys = Vec::with_capacity(values.len());
    for (index, row) in rows.iter().enumerate() {
        if values.is_null(index) {
            keys.push(None);
            continue;
        }
        let row = row.owned();
        let key = match key_by_value.get(&row) {
            Some(key) => *key,
            None => {
                let key = K::Native::from_usize(distinct.len())
                    .ok_or(ArrowError::DictionaryKeyOverflowError)?;
                distinct.push(u32::try_from(index).map_err(|_| {
                    ArrowError::InvalidArgumentError("too many rows in one batch".to_owned())
                })?);
                key_by_value.insert(row, key);
                key
            }
        };
        keys.push(Some(key));
    }
    let keys = PrimitiveArray::<K>::from_iter(keys);
    let distinct = take(values, &UInt32Array::from(distinct), None)?;
    Ok(Arc::new(DictionaryArray::try_new(keys, distinct)?))
}
