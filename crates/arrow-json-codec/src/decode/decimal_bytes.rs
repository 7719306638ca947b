//! Columns of decimals whose unscaled value is the base64 of a number's bytes.

use arrow::array::ArrowPrimitiveType;
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, i256,
};

use super::binary::BytesText;
use super::column::BoxColumn;
use super::primitive::primitive;
use crate::error::Found;
use crate::text::parse_number::{scaled, significant};
use crate::text::value::{Kind, Value};

/// An empty column of a decimal type, or `None` for another type.
pub(crate) fn base64_decimals(data_type: &DataType) -> Option<BoxColumn> {
    let narrow = |value: i256| value.to_i128();
    Some(match data_type {
        DataType::Decimal32(precision, scale) => {
            column::<Decimal32Type>(data_type, *precision, *scale, move |value| {
                i32::try_from(narrow(value)?).ok()
            })
        }
        DataType::Decimal64(precision, scale) => {
            column::<Decimal64Type>(data_type, *precision, *scale, move |value| {
                i64::try_from(narrow(value)?).ok()
            })
        }
        DataType::Decimal128(precision, scale) => {
            column::<Decimal128Type>(data_type, *precision, *scale, narrow)
        }
        DataType::Decimal256(precision, scale) => {
            column::<Decimal256Type>(data_type, *precision, *scale, Some)
        }
        _ => return None,
    })
}

fn column<T: DecimalType>(
    data_type: &DataType,
    precision: u8,
    scale: i8,
    native: impl Fn(i256) -> Option<<T as ArrowPrimitiveType>::Native> + Send + Sync + 'static,
) -> BoxColumn {
    primitive::<T, _>(data_type, move |value| {
        let unscaled = match value.kind() {
            Kind::Number { .. } => scaled(value.raw(), scale.into(), Found::DecimalPlaces)?,
            _ => unscaled(value)?,
        };
        native(unscaled)
            .filter(|value| T::is_valid_decimal_precision(*value, precision))
            .ok_or(Found::OutOfRange)
    })
}

/// The number whose bytes a string holds.
fn unscaled(value: &Value<'_>) -> Result<i256, Found> {
    let mut bytes = Vec::new();
    BytesText::Base64.decode(value, &mut bytes)?;
    let bytes = significant(&bytes);
    let (Some(first), true) = (bytes.first(), bytes.len() <= 32) else {
        return Err(Found::OutOfRange);
    };
    // The sign fills what is not there.
    let mut wide = [if *first < 0x80 { 0 } else { 0xFF }; 32];
    let start = wide.len() - bytes.len();
    for (to, from) in wide.iter_mut().skip(start).zip(bytes) {
        *to = *from;
    }
    Ok(i256::from_be_bytes(wide))
}
