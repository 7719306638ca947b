//! The scalar columns of a batch, ready to be written as JSON.

use std::fmt;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::column::{BoxWrite, Write};
use crate::error::{EncodeError, EncodeErrorKind};
use crate::options::{Decimals, EncodeOptions, NonFinite};
use crate::text::iso8601::calendar::SECONDS_PER_DAY;
use crate::text::iso8601::duration::{write_interval, write_span};
use crate::text::iso8601::write::{write_date, write_time, write_timestamp};
use crate::text::iso8601::zone::Zone;
use crate::text::strings::{write_short_string, write_string};
use crate::text::write_number::{
    write_decimal, write_integer, write_short_decimal, write_unsigned,
};
use crate::types::digits;

/// The writer of an array of scalars, or `None` if the array is of another type.
pub(crate) fn writer<'a>(
    data_type: &'a DataType,
    array: &'a ArrayRef,
    options: &'a EncodeOptions,
    unit: Option<TimeUnit>,
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
        DataType::Binary => {
            let array = array.as_binary_opt::<i32>()?;
            bytes(move |row| array.value(row), write_base64)
        }
        DataType::LargeBinary => {
            let array = array.as_binary_opt::<i64>()?;
            bytes(move |row| array.value(row), write_base64)
        }
        DataType::BinaryView => {
            let array = array.as_binary_view_opt()?;
            bytes(move |row| array.value(row), write_base64)
        }
        DataType::FixedSizeBinary(_) => {
            let array = array.as_fixed_size_binary_opt()?;
            bytes(move |row| array.value(row), write_base64)
        }
        DataType::Date32 => quoted::<Date32Type>(array, |days, out| {
            write_date(days.into(), out);
            Ok(())
        }),
        DataType::Date64 => quoted::<Date64Type>(array, |value, out| {
            let day = SECONDS_PER_DAY * 1000;
            if value % day == 0 {
                write_date(value / day, out);
            } else {
                write_timestamp(value, TimeUnit::Millisecond, &Zone::None, out);
            }
            Ok(())
        }),
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
        DataType::Interval(IntervalUnit::YearMonth) => {
            quoted::<IntervalYearMonthType>(array, |months, out| {
                write_interval(months, 0, 0, TimeUnit::Second, out);
                Ok(())
            })
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            quoted::<IntervalDayTimeType>(array, |value, out| {
                let time = value.milliseconds.into();
                write_interval(0, value.days, time, TimeUnit::Millisecond, out);
                Ok(())
            })
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            quoted::<IntervalMonthDayNanoType>(array, |value, out| {
                let unit = TimeUnit::Nanosecond;
                write_interval(value.months, value.days, value.nanoseconds, unit, out);
                Ok(())
            })
        }
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

/// Integers and everything else that Arrow keeps in fixed-width numbers.
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

fn primitive<'a, T: ArrowPrimitiveType>(
    array: &'a ArrayRef,
    format: impl Fn(T::Native, &mut Vec<u8>) -> Result<(), EncodeErrorKind> + Send + Sync + 'a,
) -> Option<BoxWrite<'a>> {
    let array = array.as_primitive_opt::<T>()?;
    Some(Box::new(Primitive { array, format }))
}

/// Values that are written as a string which needs no escapes.
fn quoted<'a, T: ArrowPrimitiveType>(
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

fn signed<T>(array: &ArrayRef) -> Option<BoxWrite<'_>>
where
    T: ArrowPrimitiveType<Native: Into<i64>>,
{
    primitive::<T>(array, |value, out| {
        write_integer(value.into(), out);
        Ok(())
    })
}

fn unsigned<T>(array: &ArrayRef) -> Option<BoxWrite<'_>>
where
    T: ArrowPrimitiveType<Native: Into<u64>>,
{
    primitive::<T>(array, |value, out| {
        write_unsigned(value.into(), out);
        Ok(())
    })
}

/// Floats, through a type that their shortest digits are known for.
fn floats<'a, T, F>(array: &'a ArrayRef, options: &'a EncodeOptions) -> Option<BoxWrite<'a>>
where
    T: ArrowPrimitiveType<Native: Into<F>>,
    F: ryu::Float + Into<f64>,
{
    primitive::<T>(array, move |value, out| {
        let value: F = value.into();
        let wide: f64 = value.into();
        if wide.is_finite() {
            out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
            return Ok(());
        }
        if options.non_finite == NonFinite::Error {
            return Err(EncodeErrorKind::NonFinite);
        }
        out.extend_from_slice(match wide {
            f64::INFINITY => b"\"Infinity\"",
            f64::NEG_INFINITY => b"\"-Infinity\"",
            _ => b"\"NaN\"",
        });
        Ok(())
    })
}

fn decimals<'a, T>(
    array: &'a ArrayRef,
    precision: u8,
    scale: i8,
    options: &'a EncodeOptions,
) -> Option<BoxWrite<'a>>
where
    T: DecimalType<Native: fmt::Display>,
{
    primitive::<T>(array, move |value, out| {
        if !T::is_valid_decimal_precision(value, precision) {
            return Err(EncodeErrorKind::DecimalPrecision);
        }
        let quote = options.decimals == Decimals::String;
        if quote {
            out.push(b'"');
        }
        match value.to_i64() {
            Some(value) => write_short_decimal(value, scale, out),
            None => write_decimal(&value.to_string(), scale, out),
        }
        if quote {
            out.push(b'"');
        }
        Ok(())
    })
}

fn times<T>(array: &ArrayRef, unit: TimeUnit) -> Option<BoxWrite<'_>>
where
    T: ArrowPrimitiveType<Native: Into<i64>>,
{
    let per_second = 10_i64.pow(digits(unit));
    quoted::<T>(array, move |value, out| {
        let value: i64 = value.into();
        if !(0..SECONDS_PER_DAY * per_second).contains(&value) {
            return Err(EncodeErrorKind::TimeOfDay);
        }
        write_time(value / per_second, value % per_second, digits(unit), out);
        Ok(())
    })
}

fn timestamps<T: ArrowTimestampType>(array: &ArrayRef, zone: Zone) -> Option<BoxWrite<'_>> {
    quoted::<T>(array, move |value, out| {
        write_timestamp(value, T::UNIT, &zone, out);
        Ok(())
    })
}

/// Dates and times as numbers of a unit; `None` for an array of another type.
fn counts<'a>(data_type: &DataType, array: &'a ArrayRef, to: TimeUnit) -> Option<BoxWrite<'a>> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    match data_type {
        DataType::Date32 => count::<Date32Type>(array, SECONDS_PER_DAY, Second, to),
        DataType::Date64 => count::<Date64Type>(array, 1, Millisecond, to),
        DataType::Time32(Second) => time_count::<Time32SecondType>(array, Second, to),
        DataType::Time32(unit) => time_count::<Time32MillisecondType>(array, *unit, to),
        DataType::Time64(Microsecond) => {
            time_count::<Time64MicrosecondType>(array, Microsecond, to)
        }
        DataType::Time64(unit) => time_count::<Time64NanosecondType>(array, *unit, to),
        DataType::Timestamp(unit, _) => match unit {
            Second => count::<TimestampSecondType>(array, 1, Second, to),
            Millisecond => count::<TimestampMillisecondType>(array, 1, Millisecond, to),
            Microsecond => count::<TimestampMicrosecondType>(array, 1, Microsecond, to),
            Nanosecond => count::<TimestampNanosecondType>(array, 1, Nanosecond, to),
        },
        _ => None,
    }
}

/// Values that count `times` units each.
fn count<T>(array: &ArrayRef, times: i64, from: TimeUnit, to: TimeUnit) -> Option<BoxWrite<'_>>
where
    T: ArrowPrimitiveType<Native: Into<i64>>,
{
    primitive::<T>(array, move |value, out| {
        let value: i64 = value.into();
        write_count(i128::from(value) * i128::from(times), from, to, out)
    })
}

fn time_count<T>(array: &ArrayRef, from: TimeUnit, to: TimeUnit) -> Option<BoxWrite<'_>>
where
    T: ArrowPrimitiveType<Native: Into<i64>>,
{
    let day = SECONDS_PER_DAY * 10_i64.pow(digits(from));
    primitive::<T>(array, move |value, out| {
        let value: i64 = value.into();
        if !(0..day).contains(&value) {
            return Err(EncodeErrorKind::TimeOfDay);
        }
        write_count(value.into(), from, to, out)
    })
}

/// Writes a number of units as one of other units, if that is a whole one.
fn write_count(
    value: i128,
    from: TimeUnit,
    to: TimeUnit,
    out: &mut Vec<u8>,
) -> Result<(), EncodeErrorKind> {
    let (from, places) = (digits(from), digits(to));
    let value = match places.checked_sub(from) {
        Some(more) => value * 10_i128.pow(more),
        None => {
            let parts = 10_i128.pow(from - places);
            if value % parts != 0 {
                return Err(EncodeErrorKind::UnitPrecision(to));
            }
            value / parts
        }
    };
    match i64::try_from(value) {
        Ok(value) => write_integer(value, out),
        Err(_) => out.extend_from_slice(value.to_string().as_bytes()),
    }
    Ok(())
}

fn spans<T>(array: &ArrayRef, unit: TimeUnit) -> Option<BoxWrite<'_>>
where
    T: ArrowPrimitiveType<Native = i64>,
{
    quoted::<T>(array, move |value, out| {
        write_span(value, unit, out);
        Ok(())
    })
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

fn bytes<'a, V: 'a>(
    get: impl Fn(usize) -> V + Send + Sync + 'a,
    format: impl Fn(V, &mut Vec<u8>) + Send + Sync + 'a,
) -> Option<BoxWrite<'a>> {
    Some(Box::new(Bytes { get, format }))
}

fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    let length = base64::encoded_len(bytes.len(), true).unwrap_or(0);
    out.resize(start + length, 0);
    // The slice is as long as the text.
    let _ = STANDARD.encode_slice(bytes, out.get_mut(start..).unwrap_or_default());
    out.push(b'"');
}
