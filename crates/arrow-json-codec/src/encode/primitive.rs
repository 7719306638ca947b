//! Writers of what Arrow keeps in fixed-width numbers.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};

use super::column::{BoxWrite, Write};
use crate::error::{EncodeError, EncodeErrorKind};

/// Values that `format` writes.
pub(crate) fn primitive<'a, T: ArrowPrimitiveType>(
    array: &'a ArrayRef,
    format: impl Fn(T::Native, &mut Vec<u8>) -> Result<(), EncodeErrorKind> + Send + Sync + 'a,
) -> Option<BoxWrite<'a>> {
    let array = array.as_primitive_opt::<T>()?;
    Some(Box::new(Primitive { array, format }))
}

/// Values that are written as a string which needs no escapes.
pub(crate) fn quoted<'a, T: ArrowPrimitiveType>(
    array: &'a ArrayRef,
    format: impl Fn(T::Native, &mut Vec<u8>) -> Result<(), EncodeErrorKind> + Send + Sync + 'a,
) -> Option<BoxWrite<'a>> {
    primitive::<T>(array, move |value, out| {
        out.push(b'"');
        format(value, out)?;
        out.push(b'"');
        Ok(())
    })
}

struct Primitive<'a, T: ArrowPrimitiveType, F> {
    array: &'a PrimitiveArray<T>,
    format: F,
}

impl<T, F> Write for Primitive<'_, T, F>
where
    T: ArrowPrimitiveType,
    F: Fn(T::Native, &mut Vec<u8>) -> Result<(), EncodeErrorKind> + Send + Sync,
{
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        (self.format)(self.array.value(row), out)
            .map_err(|kind| EncodeError::new(self.array.data_type(), kind))
    }
}
