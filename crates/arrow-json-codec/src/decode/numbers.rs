//! Columns of integers, floats and decimals.

use std::borrow::Cow;

use arrow::array::ArrowPrimitiveType;
use arrow::datatypes::{DataType, DecimalType, Float16Type, Float32Type, Float64Type};
use half::f16;

use super::column::BoxColumn;
use super::primitive::{fast_primitive, primitive};
use crate::error::Found;
use crate::text::document::is_number;
use crate::text::parse_number::{Wide, integer, scaled, short_decimal, short_float};
use crate::text::significant::gives_back;
use crate::text::value::{Kind, Value};

pub(crate) fn integers<T>(data_type: &DataType, coerce: bool) -> BoxColumn
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i128> + TryFrom<i64>,
{
    let parse = move |value: &Value<'_>| {
        let value = match value.kind() {
            Kind::Number { .. } => integer(value.raw()),
            Kind::String { .. } => match number_text(value)? {
                text if coerce => integer(&text),
                _ => Err(Found::String),
            },
            other => Err(other.found()),
        }?;
        T::Native::try_from(value).map_err(|_| Found::OutOfRange)
    };
    fast_primitive::<T, _, _>(data_type, parse, |bytes| {
        let (value, length) = short_decimal(bytes, 0)?;
        Some((T::Native::try_from(value).ok()?, length))
    })
}

pub(crate) fn float16(coerce: bool) -> BoxColumn {
    primitive::<Float16Type, _>(&DataType::Float16, move |value| {
        // Through double precision, so that only ties of both are rounded twice.
        let convert = |value: f64| f16::from_f64(value);
        float(value, coerce, convert, |value| value.is_infinite())
    })
}

pub(crate) fn float32(coerce: bool) -> BoxColumn {
    primitive::<Float32Type, _>(&DataType::Float32, move |value| {
        float(
            value,
            coerce,
            |value: f32| value,
            |value| value.is_infinite(),
        )
    })
}

/// `exact` refuses numbers that double precision does not keep.
pub(crate) fn float64(coerce: bool, exact: bool) -> BoxColumn {
    let parse = move |value: &Value<'_>| {
        let double = float(
            value,
            coerce,
            |value: f64| value,
            |value| value.is_infinite(),
        )?;
        if exact && double.is_finite() && !is_kept(double, value)? {
            return Err(Found::Rounded);
        }
        Ok(double)
    };
    // The fast way takes no more digits than every double keeps, so `exact` holds.
    fast_primitive::<Float64Type, _, _>(&DataType::Float64, parse, short_float)
}

pub(crate) fn decimals<T, W>(data_type: &DataType, precision: u8, scale: i8) -> BoxColumn
where
    T: DecimalType,
    W: Wide + PartialEq + 'static,
    T::Native: TryFrom<W> + TryFrom<i64>,
{
    let fits = move |value: &T::Native| T::is_valid_decimal_precision(*value, precision);
    let parse = move |value: &Value<'_>| {
        let parse = |text: &str| scaled::<W>(text, scale.into(), Found::DecimalPlaces);
        let value = match value.kind() {
            Kind::Number { .. } => parse(value.raw()),
            Kind::String { .. } => parse(&number_text(value)?),
            other => Err(other.found()),
        }?;
        let value = T::Native::try_from(value).ok();
        value.filter(fits).ok_or(Found::OutOfRange)
    };
    fast_primitive::<T, _, _>(data_type, parse, move |bytes| {
        let (value, length) = short_decimal(bytes, usize::try_from(scale).ok()?)?;
        let value = T::Native::try_from(value).ok().filter(fits)?;
        Some((value, length))
    })
}

/// The text of a string that holds a JSON number.
fn number_text<'a>(value: &Value<'a>) -> Result<Cow<'a, str>, Found> {
    value.string().and_then(|text| {
        if is_number(&text) {
            Ok(text)
        } else {
            Err(Found::NotANumber)
        }
    })
}

fn float<P, N>(
    value: &Value<'_>,
    coerce: bool,
    convert: impl Fn(P) -> N,
    is_infinite: impl Fn(N) -> bool,
) -> Result<N, Found>
where
    P: std::str::FromStr + From<f32>,
    N: Copy,
{
    let parse = |text: &str| match text.parse().map(&convert) {
        Ok(value) if !is_infinite(value) => Ok(value),
        _ => Err(Found::OutOfRange),
    };
    let text = match value.kind() {
        Kind::Number { .. } => return parse(value.raw()),
        Kind::NonFinite => Cow::Borrowed(value.raw()),
        _ => value.string()?,
    };
    match &*text {
        "NaN" => Ok(convert(f32::NAN.into())),
        "Infinity" => Ok(convert(f32::INFINITY.into())),
        "-Infinity" => Ok(convert(f32::NEG_INFINITY.into())),
        text if !is_number(text) => Err(Found::NotANumber),
        text if coerce => parse(text),
        _ => Err(Found::String),
    }
}

/// Whether a double still is the number that was read.
fn is_kept(double: f64, value: &Value<'_>) -> Result<bool, Found> {
    Ok(match value.kind() {
        Kind::Number { .. } => gives_back(double, value.raw()),
        _ => gives_back(double, &value.string()?),
    })
}
