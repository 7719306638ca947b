//! Writers of integers, floats and decimals.

use std::fmt;

use arrow::array::{ArrayRef, ArrowPrimitiveType};
use arrow::datatypes::{ArrowNativeType, DecimalType};

use super::column::BoxWrite;
use super::primitive::primitive;
use crate::error::EncodeErrorKind;
use crate::options::{Decimals, EncodeOptions, NonFinite};
use crate::text::write_number::{
    write_decimal, write_integer, write_short_decimal, write_unsigned,
};

pub(crate) fn signed<T>(array: &ArrayRef) -> Option<BoxWrite<'_>>
where
    T: ArrowPrimitiveType<Native: Into<i64>>,
{
    primitive::<T>(array, |value, out| {
        write_integer(value.into(), out);
        Ok(())
    })
}

pub(crate) fn unsigned<T>(array: &ArrayRef) -> Option<BoxWrite<'_>>
where
    T: ArrowPrimitiveType<Native: Into<u64>>,
{
    primitive::<T>(array, |value, out| {
        write_unsigned(value.into(), out);
        Ok(())
    })
}

/// Floats, through a type that their shortest digits are known for.
pub(crate) fn floats<'a, T, F>(
    array: &'a ArrayRef,
    options: &'a EncodeOptions,
) -> Option<BoxWrite<'a>>
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

pub(crate) fn decimals<'a, T>(
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
