//! Columns of what Arrow keeps in fixed-width numbers.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, NullBufferBuilder, PrimitiveArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::column::{BoxColumn, Column, take};
use super::indexed::IndexedDocument;
use crate::error::{DecodeError, Found};
use crate::text::scan::Scanner;
use crate::text::value::Value;

/// A column of values that `parse` makes of scanned ones.
pub(crate) fn primitive<T, F>(data_type: &DataType, parse: F) -> BoxColumn
where
    T: ArrowPrimitiveType,
    F: Fn(&Value<'_>) -> Result<T::Native, Found> + Send + Sync + 'static,
{
    fast_primitive::<T, F, _>(data_type, parse, |_| None)
}

/// The same with a parser for what most values look like. `fast` gets the bytes from the start
/// of a value on, and returns the value that `parse` would give and how many bytes it takes, or
/// `None` where `parse` has to be asked.
pub(crate) fn fast_primitive<T, F, Q>(data_type: &DataType, parse: F, fast: Q) -> BoxColumn
where
    T: ArrowPrimitiveType,
    F: Fn(&Value<'_>) -> Result<T::Native, Found> + Send + Sync + 'static,
    Q: Fn(&[u8]) -> Option<(T::Native, usize)> + Send + Sync + 'static,
{
    Box::new(PrimitiveColumn::<T, F, Q> {
        values: Vec::new(),
        nulls: NullBufferBuilder::new(0),
        data_type: data_type.clone(),
        parse,
        fast,
    })
}

struct PrimitiveColumn<T: ArrowPrimitiveType, F, Q> {
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
    data_type: DataType,
    parse: F,
    fast: Q,
}

impl<T, F, Q> Column for PrimitiveColumn<T, F, Q>
where
    T: ArrowPrimitiveType,
    F: Fn(&Value<'_>) -> Result<T::Native, Found> + Send + Sync,
    Q: Fn(&[u8]) -> Option<(T::Native, usize)> + Send + Sync,
{
    fn decode_checked(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let value = scanner.value()?;
        let parsed = match (self.fast)(value.raw().as_bytes()) {
            Some((parsed, _)) => parsed,
            None => (self.parse)(&value)
                .map_err(|found| DecodeError::mismatch(value.position(), &self.data_type, found))?,
        };
        self.values.push(parsed);
        self.nulls.append_non_null();
        Ok(())
    }

    fn decode_fast(&mut self, document: &IndexedDocument<'_>, at: usize) -> Option<usize> {
        let Some((parsed, length)) = (self.fast)(document.rest(at)?) else {
            return self.decode_checked_at(document, at);
        };
        self.values.push(parsed);
        self.nulls.append_non_null();
        Some(at + length)
    }

    fn append_null(&mut self) {
        self.values.push(T::default_value());
        self.nulls.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.nulls.truncate(len);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let values = ScalarBuffer::from(take(&mut self.values));
        let array = PrimitiveArray::<T>::try_new(values, self.nulls.finish())?;
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }
}
