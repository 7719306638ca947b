//! Writers of dates, times, timestamps, durations and intervals, as text or as numbers of a unit.

use arrow::array::{ArrayRef, ArrowPrimitiveType};
use arrow::datatypes::*;

use super::column::BoxWrite;
use super::primitive::{primitive, quoted};
use crate::error::EncodeErrorKind;
use crate::metadata::NumberUnit;
use crate::text::iso8601::calendar::SECONDS_PER_DAY;
use crate::text::iso8601::duration::{write_interval, write_span};
use crate::text::iso8601::write::{write_date, write_time, write_timestamp};
use crate::text::iso8601::zone::Zone;
use crate::text::write_number::write_integer;
use crate::types::digits;

pub(crate) fn date32(array: &ArrayRef) -> Option<BoxWrite<'_>> {
    quoted::<Date32Type>(array, |days, out| {
        write_date(days.into(), out);
        Ok(())
    })
}

/// Milliseconds: a date where they are whole days, else a timestamp.
pub(crate) fn date64(array: &ArrayRef) -> Option<BoxWrite<'_>> {
    quoted::<Date64Type>(array, |value, out| {
        let day = SECONDS_PER_DAY * 1000;
        if value % day == 0 {
            write_date(value / day, out);
        } else {
            write_timestamp(value, TimeUnit::Millisecond, &Zone::None, out);
        }
        Ok(())
    })
}

pub(crate) fn times<T>(array: &ArrayRef, unit: TimeUnit) -> Option<BoxWrite<'_>>
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

pub(crate) fn timestamps<T: ArrowTimestampType>(
    array: &ArrayRef,
    zone: Zone,
) -> Option<BoxWrite<'_>> {
    quoted::<T>(array, move |value, out| {
        write_timestamp(value, T::UNIT, &zone, out);
        Ok(())
    })
}

pub(crate) fn spans<T>(array: &ArrayRef, unit: TimeUnit) -> Option<BoxWrite<'_>>
where
    T: ArrowPrimitiveType<Native = i64>,
{
    quoted::<T>(array, move |value, out| {
        write_span(value, unit, out);
        Ok(())
    })
}

pub(crate) fn intervals(array: &ArrayRef, unit: IntervalUnit) -> Option<BoxWrite<'_>> {
    match unit {
        IntervalUnit::YearMonth => quoted::<IntervalYearMonthType>(array, |months, out| {
            write_interval(months, 0, 0, TimeUnit::Second, out);
            Ok(())
        }),
        IntervalUnit::DayTime => quoted::<IntervalDayTimeType>(array, |value, out| {
            let time = value.milliseconds.into();
            write_interval(0, value.days, time, TimeUnit::Millisecond, out);
            Ok(())
        }),
        IntervalUnit::MonthDayNano => quoted::<IntervalMonthDayNanoType>(array, |value, out| {
            let unit = TimeUnit::Nanosecond;
            write_interval(value.months, value.days, value.nanoseconds, unit, out);
            Ok(())
        }),
    }
}

/// Dates and times as numbers of a unit; `None` for an array of another type.
pub(crate) fn counts<'a>(
    data_type: &DataType,
    array: &'a ArrayRef,
    to: NumberUnit,
) -> Option<BoxWrite<'a>> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let to = match to {
        NumberUnit::Time(unit) => unit,
        NumberUnit::Days => {
            return primitive::<Date32Type>(array, |days, out| {
                write_integer(days.into(), out);
                Ok(())
            });
        }
    };
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
