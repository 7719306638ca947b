//! Columns of what Arrow keeps in fixed-width numbers.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, NullBufferBuilder, PrimitiveArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::column::{BoxColumn, Column, take};
use super::marked::Marked;
use crate::error::{DecodeError, Found};
use crate::text::scan::Scanner;
use crate::text::value::Value;

pub(crate) fn primitive<T, F>(data_type: &DataType, parse: F) -> BoxColumn
where
    T: ArrowPrimitiveType,
    F: Fn(&Value<'_>) -> Result<T::Native, Found> + Send + Sync + 'static,
{
    quick_primitive::<T, F, _>(data_type, parse, |_| None)
}

/// With a parser for what most values look like: it says how many bytes they
/// take, or nothing where it is not sure of the value that `parse` would give.
pub(crate) fn quick_primitive<T, F, Q>(data_type: &DataType, parse: F, quick: Q) -> BoxColumn
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
        quick,
    })
}

struct PrimitiveColumn<T: ArrowPrimitiveType, F, Q> {
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
    data_type: DataType,
    parse: F,
    quick: Q,
}

impl<T, F, Q> Column for PrimitiveColumn<T, F, Q>
where
    T: ArrowPrimitiveType,
    F: Fn(&Value<'_>) -> Result<T::Native, Found> + Send + Sync,
    Q: Fn(&[u8]) -> Option<(T::Native, usize)> + Send + Sync,
{
    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let value = scanner.value()?;
        let parsed = match (self.quick)(value.raw().as_bytes()) {
            Some((parsed, _)) => parsed,
            None => (self.parse)(&value)
                .map_err(|found| DecodeError::mismatch(value.position(), &self.data_type, found))?,
        };
        self.values.push(parsed);
        self.nulls.append_non_null();
        Ok(())
    }

    fn walk(&mut self, document: &Marked<'_>, at: usize) -> Option<usize> {
        let Some((parsed, length)) = (self.quick)(document.rest(at)?) else {
            return self.read_at(document, at);
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
