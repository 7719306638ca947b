//! Columns of dates, times, timestamps, durations and intervals.

use arrow::array::ArrowPrimitiveType;
use arrow::datatypes::{
    ArrowTimestampType, DataType, Date32Type, Date64Type, IntervalDayTime, IntervalDayTimeType,
    IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalYearMonthType, TimeUnit,
};

use super::column::BoxColumn;
use super::primitive::{fast_primitive, primitive};
use crate::error::Found;
use crate::text::iso8601::calendar::SECONDS_PER_DAY;
use crate::text::iso8601::duration::{parse_duration, parse_span};
use crate::text::iso8601::fast::short_timestamp;
use crate::text::iso8601::parse::{parse_date, parse_time, parse_timestamp, whole_days};
use crate::text::iso8601::zone::Zone;
use crate::text::parse_number::{integer, scaled};
use crate::text::value::{Kind, Value};
use crate::types::digits;

/// Days. A number counts `number_unit` since the epoch, and is refused without one.
pub(crate) fn date32(number_unit: Option<TimeUnit>) -> BoxColumn {
    primitive::<Date32Type, _>(&DataType::Date32, move |value| {
        match numeric(value, number_unit, TimeUnit::Nanosecond)? {
            Some(nanos) => whole_days(nanos, TimeUnit::Nanosecond).map_err(of_number),
            None => parse_date(&value.string()?),
        }
    })
}

/// Days, also as numbers.
pub(crate) fn dates_of_days() -> BoxColumn {
    let parse = |value: &Value<'_>| match value.kind() {
        Kind::Number { .. } => i32::try_from(integer(value.raw())?).map_err(|_| Found::OutOfRange),
        _ => parse_date(&value.string()?),
    };
    primitive::<Date32Type, _>(&DataType::Date32, parse)
}

/// Milliseconds, by the same rule.
pub(crate) fn date64(number_unit: Option<TimeUnit>) -> BoxColumn {
    let unit = TimeUnit::Millisecond;
    let parse = move |text: &str| parse_timestamp(text, unit, &Zone::None);
    let parse = time_parser::<Date64Type>(unit, number_unit, parse);
    primitive::<Date64Type, _>(&DataType::Date64, parse)
}

pub(crate) fn times_of_day<T>(
    data_type: &DataType,
    unit: TimeUnit,
    number_unit: Option<TimeUnit>,
) -> BoxColumn
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i128>,
{
    let day = i128::from(SECONDS_PER_DAY) * 10_i128.pow(digits(unit));
    primitive::<T, _>(data_type, move |value| {
        let value = match numeric(value, number_unit, unit)? {
            Some(value) if (0..day).contains(&value) => value,
            Some(_) => return Err(Found::OutOfRange),
            None => parse_time(&value.string()?, unit)?.into(),
        };
        T::Native::try_from(value).map_err(|_| Found::TimeOutOfRange)
    })
}

pub(crate) fn timestamps<T>(
    data_type: &DataType,
    zone: Zone,
    number_unit: Option<TimeUnit>,
) -> BoxColumn
where
    T: ArrowTimestampType,
{
    let parse = move |text: &str| parse_timestamp(text, T::UNIT, &zone);
    let parse = time_parser::<T>(T::UNIT, number_unit, parse);
    fast_primitive::<T, _, _>(data_type, parse, |bytes| short_timestamp(bytes, T::UNIT))
}

pub(crate) fn spans<T>(data_type: &DataType, unit: TimeUnit) -> BoxColumn
where
    T: ArrowPrimitiveType<Native = i64>,
{
    primitive::<T, _>(data_type, move |value| parse_span(&value.string()?, unit))
}

pub(crate) fn year_month_intervals(data_type: &DataType) -> BoxColumn {
    let build = |months, days, time| (days == 0 && time == 0).then_some(months);
    intervals::<IntervalYearMonthType>(data_type, TimeUnit::Second, build)
}

pub(crate) fn day_time_intervals(data_type: &DataType) -> BoxColumn {
    let build = |months, days, time| {
        let time = i32::try_from(time).ok()?;
        (months == 0).then(|| IntervalDayTime::new(days, time))
    };
    intervals::<IntervalDayTimeType>(data_type, TimeUnit::Millisecond, build)
}

pub(crate) fn month_day_nano_intervals(data_type: &DataType) -> BoxColumn {
    let build = |months, days, time| Some(IntervalMonthDayNano::new(months, days, time));
    intervals::<IntervalMonthDayNanoType>(data_type, TimeUnit::Nanosecond, build)
}

fn intervals<T>(
    data_type: &DataType,
    unit: TimeUnit,
    build: impl Fn(i32, i32, i64) -> Option<T::Native> + Send + Sync + 'static,
) -> BoxColumn
where
    T: ArrowPrimitiveType,
{
    primitive::<T, _>(data_type, move |value| {
        let parts = parse_duration(&value.string()?, unit)?;
        let range = |_| Found::TimeOutOfRange;
        let months = i32::try_from(parts.months).map_err(range)?;
        let days = i32::try_from(parts.days).map_err(range)?;
        let time = i64::try_from(parts.time).map_err(range)?;
        build(months, days, time).ok_or(Found::DurationParts)
    })
}

fn time_parser<T>(
    unit: TimeUnit,
    number_unit: Option<TimeUnit>,
    parse: impl Fn(&str) -> Result<i64, Found>,
) -> impl Fn(&Value<'_>) -> Result<T::Native, Found>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i128>,
{
    move |value| {
        let (value, beyond) = match numeric(value, number_unit, unit)? {
            Some(value) => (value, Found::OutOfRange),
            None => (parse(&value.string()?)?.into(), Found::TimeOutOfRange),
        };
        T::Native::try_from(value).map_err(|_| beyond)
    }
}

/// A number where numbers are accepted as dates and times, in the units of the
/// column; `None` for a value of another kind.
fn numeric(
    value: &Value<'_>,
    number_unit: Option<TimeUnit>,
    unit: TimeUnit,
) -> Result<Option<i128>, Found> {
    let Kind::Number { .. } = value.kind() else {
        return Ok(None);
    };
    let Some(number_unit) = number_unit else {
        let is_fraction = integer(value.raw()) == Err(Found::Fraction);
        return Err(if is_fraction {
            Found::Fraction
        } else {
            Found::Number
        });
    };
    let scale = i64::from(digits(unit)) - i64::from(digits(number_unit));
    scaled(value.raw(), scale, Found::NumberPrecision).map(Some)
}

/// The description of a number that is no date or time of the column.
fn of_number(found: Found) -> Found {
    match found {
        Found::TimePrecision => Found::NumberPrecision,
        _ => Found::OutOfRange,
    }
}
