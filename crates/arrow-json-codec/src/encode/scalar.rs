//! The writer that a scalar type needs.

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::column::{BoxWrite, Write};
use super::numbers::{decimals, floats, signed, unsigned};
use super::times::{counts, date32, date64, intervals, spans, times, timestamps};
use crate::error::EncodeError;
use crate::metadata::NumberUnit;
use crate::options::EncodeOptions;
use crate::text::iso8601::zone::Zone;
use crate::text::strings::{write_short_string, write_string};

/// The writer of an array of scalars, or `None` if the array is of another type.
pub(crate) fn writer<'a>(
    data_type: &'a DataType,
    array: &'a ArrayRef,
    options: &'a EncodeOptions,
    unit: Option<NumberUnit>,
) -> Option<BoxWrite<'a>> {
    if let Some(counted) = unit.and_then(|unit| counts(data_type, array, unit)) {
        return Some(counted);
    }
    match data_type {
        DataType::Null => Some(Box::new(Null)),
        DataType::Boolean => Some(Box::new(Boolean(array.as_boolean_opt()?))),
        DataType::Int8 => signed::<Int8Type>(array),
        DataType::Int16 => signed::<Int16Type>(array),
        DataType::Int32 => signed::<Int32Type>(array),
        DataType::Int64 => signed::<Int64Type>(array),
        DataType::UInt8 => unsigned::<UInt8Type>(array),
        DataType::UInt16 => unsigned::<UInt16Type>(array),
        DataType::UInt32 => unsigned::<UInt32Type>(array),
        DataType::UInt64 => unsigned::<UInt64Type>(array),
        DataType::Float16 => floats::<Float16Type, f32>(array, options),
        DataType::Float32 => floats::<Float32Type, f32>(array, options),
        DataType::Float64 => floats::<Float64Type, f64>(array, options),
        DataType::Decimal32(precision, scale) => {
            decimals::<Decimal32Type>(array, *precision, *scale, options)
        }
        DataType::Decimal64(precision, scale) => {
            decimals::<Decimal64Type>(array, *precision, *scale, options)
        }
        DataType::Decimal128(precision, scale) => {
            decimals::<Decimal128Type>(array, *precision, *scale, options)
        }
        DataType::Decimal256(precision, scale) => {
            decimals::<Decimal256Type>(array, *precision, *scale, options)
        }
        DataType::Utf8 => {
            let array = array.as_string_opt::<i32>()?;
            bytes(move |row| array.value(row), write_string)
        }
        DataType::LargeUtf8 => {
            let array = array.as_string_opt::<i64>()?;
            bytes(move |row| array.value(row), write_string)
        }
        DataType::Utf8View => {
            let array = array.as_string_view_opt()?;
            bytes(
                move |row| (array, row),
                |(array, row), out| {
                    // A view holds its length and, if that is not more than this, the text.
                    const INLINE: usize = 12;
                    let view = array.views().get(row).copied().unwrap_or_default();
                    let length = view as u32 as usize;
                    if length > INLINE || !write_short_string(view >> 32, length, out) {
                        write_string(array.value(row), out);
                    }
                },
            )
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => binary(array, write_base64),
        DataType::Date32 => date32(array),
        DataType::Date64 => date64(array),
        DataType::Time32(TimeUnit::Second) => times::<Time32SecondType>(array, TimeUnit::Second),
        DataType::Time32(unit) => times::<Time32MillisecondType>(array, *unit),
        DataType::Time64(TimeUnit::Microsecond) => {
            times::<Time64MicrosecondType>(array, TimeUnit::Microsecond)
        }
        DataType::Time64(unit) => times::<Time64NanosecondType>(array, *unit),
        DataType::Timestamp(unit, zone) => {
            let zone = Zone::new(zone.as_ref());
            match unit {
                TimeUnit::Second => timestamps::<TimestampSecondType>(array, zone),
                TimeUnit::Millisecond => timestamps::<TimestampMillisecondType>(array, zone),
                TimeUnit::Microsecond => timestamps::<TimestampMicrosecondType>(array, zone),
                TimeUnit::Nanosecond => timestamps::<TimestampNanosecondType>(array, zone),
            }
        }
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => spans::<DurationSecondType>(array, *unit),
            TimeUnit::Millisecond => spans::<DurationMillisecondType>(array, *unit),
            TimeUnit::Microsecond => spans::<DurationMicrosecondType>(array, *unit),
            TimeUnit::Nanosecond => spans::<DurationNanosecondType>(array, *unit),
        },
        DataType::Interval(unit) => intervals(array, *unit),
        _ => None,
    }
}

/// No value of a null array is ever written.
struct Null;

impl Write for Null {
    fn write(&self, _: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(b"null");
        Ok(())
    }
}

struct Boolean<'a>(&'a BooleanArray);

impl Write for Boolean<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(if self.0.value(row) { b"true" } else { b"false" });
        Ok(())
    }
}

/// Strings and bytes, however they are kept.
struct Bytes<G, F> {
    get: G,
    format: F,
}

impl<V, G, F> Write for Bytes<G, F>
where
    G: Fn(usize) -> V + Send + Sync,
    F: Fn(V, &mut Vec<u8>) + Send + Sync,
{
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        (self.format)((self.get)(row), out);
        Ok(())
    }
}

/// Bytes in the text that `format` writes, or `None` if the array is not of bytes.
pub(super) fn binary<'a>(
    array: &'a ArrayRef,
    format: impl Fn(&[u8], &mut Vec<u8>) + Send + Sync + 'a,
) -> Option<BoxWrite<'a>> {
    match array.data_type() {
        DataType::Binary => {
            let array = array.as_binary_opt::<i32>()?;
            bytes(move |row| array.value(row), format)
        }
        DataType::LargeBinary => {
            let array = array.as_binary_opt::<i64>()?;
            bytes(move |row| array.value(row), format)
        }
        DataType::BinaryView => {
            let array = array.as_binary_view_opt()?;
            bytes(move |row| array.value(row), format)
        }
        _ => {
            let array = array.as_fixed_size_binary_opt()?;
            bytes(move |row| array.value(row), format)
        }
    }
}

fn bytes<'a, V: 'a>(
    get: impl Fn(usize) -> V + Send + Sync + 'a,
    format: impl Fn(V, &mut Vec<u8>) + Send + Sync + 'a,
) -> Option<BoxWrite<'a>> {
    Some(Box::new(Bytes { get, format }))
}

pub(super) fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    let length = base64::encoded_len(bytes.len(), true).unwrap_or(0);
    out.resize(start + length, 0);
    // The slice is as long as the text.
    let _ = STANDARD.encode_slice(bytes, out.get_mut(start..).unwrap_or_default());
    out.push(b'"');
}
