//! Writers of bytes as hexadecimal digits, and of decimals as base64.

use arrow::array::{ArrayRef, ArrowPrimitiveType};
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, i256,
};

use super::column::BoxWrite;
use super::primitive::primitive;
use super::scalar::{binary, write_base64};
use crate::error::EncodeErrorKind;
use crate::text::parse_number::significant;

/// The writer of an array of bytes as hexadecimal digits, or `None` if the array is of another
/// type.
pub(crate) fn hex(array: &ArrayRef) -> Option<BoxWrite<'_>> {
    binary(array, write_hex)
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + 2 * bytes.len(), 0);
    // The slice is as long as the text.
    let _ = hex::encode_to_slice(bytes, out.get_mut(start..).unwrap_or_default());
    out.push(b'"');
}

/// The writer of an array of decimals as the base64 of their unscaled values, or `None` if the
/// array is of another type.
pub(crate) fn base64_decimals<'a>(
    data_type: &DataType,
    array: &'a ArrayRef,
) -> Option<BoxWrite<'a>> {
    match data_type {
        DataType::Decimal32(precision, _) => {
            decimals::<Decimal32Type>(array, *precision, |value| i256::from_i128(value.into()))
        }
        DataType::Decimal64(precision, _) => {
            decimals::<Decimal64Type>(array, *precision, |value| i256::from_i128(value.into()))
        }
        DataType::Decimal128(precision, _) => {
            decimals::<Decimal128Type>(array, *precision, i256::from_i128)
        }
        DataType::Decimal256(precision, _) => {
            decimals::<Decimal256Type>(array, *precision, |value| value)
        }
        _ => None,
    }
}

fn decimals<'a, T: DecimalType>(
    array: &'a ArrayRef,
    precision: u8,
    wide: impl Fn(<T as ArrowPrimitiveType>::Native) -> i256 + Send + Sync + 'a,
) -> Option<BoxWrite<'a>> {
    primitive::<T>(array, move |value, out| {
        if !T::is_valid_decimal_precision(value, precision) {
            return Err(EncodeErrorKind::DecimalPrecision);
        }
        let bytes = wide(value).to_be_bytes();
        write_base64(significant(&bytes), out);
        Ok(())
    })
}
