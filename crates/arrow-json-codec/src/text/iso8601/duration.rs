//! Durations as ISO 8601 text, to and from the parts that Arrow keeps.

use arrow::datatypes::TimeUnit;

use super::calendar::SECONDS_PER_DAY;
use super::cursor::Cursor;
use super::write::write_fraction;
use crate::error::Found;
use crate::text::parse_number::scaled;
use crate::text::write_number::{write_integer, write_unsigned};
use crate::types::digits;

/// The parts of a duration that cannot be converted into each other.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Duration {
    pub(crate) months: i128,
    pub(crate) days: i128,
    /// Hours, minutes and seconds, in the unit asked for.
    pub(crate) time: i128,
}

/// Parses an ISO 8601 duration: `P1Y2M3W4DT5H6M7.8S`, each part with an optional
/// sign, and the whole with another.
pub(crate) fn parse_duration(text: &str, unit: TimeUnit) -> Result<Duration, Found> {
    let mut cursor = Cursor(text);
    let negative = cursor.take(&['+', '-']) == Some('-');
    cursor.take(&['P']).ok_or(Found::NotADuration)?;
    if cursor.0.is_empty() {
        return Err(Found::NotADuration);
    }

    // The designators that may still come, in their order.
    let mut designators = "YMWD";
    let mut in_time = false;
    let mut duration = Duration::default();
    while !cursor.0.is_empty() {
        if !in_time && cursor.take(&['T']).is_some() {
            (in_time, designators) = (true, "HMS");
        }
        let sign = if cursor.take(&['+', '-']) == Some('-') {
            -1
        } else {
            1
        };
        let number = cursor.0;
        let whole = cursor.digits();
        let fraction = cursor.take(&['.']).map(|_| cursor.digits());
        let designator = cursor.0.chars().next().ok_or(Found::NotADuration)?;
        let index = designators.find(designator).ok_or(Found::NotADuration)?;
        let valid = !whole.is_empty() && fraction.is_none_or(|digits| !digits.is_empty());
        if !valid || fraction.is_some() && designator != 'S' {
            return Err(Found::NotADuration);
        }
        let number = number
            .get(..number.len() - cursor.0.len())
            .unwrap_or_default();
        cursor.take(&[designator]);
        designators = designators.get(index + 1..).unwrap_or_default();

        let places = if in_time { digits(unit) } else { 0 };
        let value: i128 =
            scaled(number, places.into(), Found::TimePrecision).map_err(|fault| match fault {
                Found::OutOfRange => Found::TimeOutOfRange,
                other => other,
            })?;
        let (part, factor) = match (in_time, designator) {
            (false, 'Y') => (&mut duration.months, 12),
            (false, 'M') => (&mut duration.months, 1),
            (false, 'W') => (&mut duration.days, 7),
            (false, _) => (&mut duration.days, 1),
            (true, 'H') => (&mut duration.time, 3600),
            (true, 'M') => (&mut duration.time, 60),
            (true, _) => (&mut duration.time, 1),
        };
        *part = value
            .checked_mul(factor * sign)
            .and_then(|value| part.checked_add(value))
            .ok_or(Found::TimeOutOfRange)?;
    }
    if negative {
        duration.months = -duration.months;
        duration.days = -duration.days;
        duration.time = -duration.time;
    }
    Ok(duration)
}

/// Parses a duration of days and time into units.
pub(crate) fn parse_span(text: &str, unit: TimeUnit) -> Result<i64, Found> {
    let Duration { months, days, time } = parse_duration(text, unit)?;
    if months != 0 {
        return Err(Found::DurationParts);
    }
    let day = i128::from(SECONDS_PER_DAY) * 10_i128.pow(digits(unit));
    days.checked_mul(day)
        .and_then(|days| days.checked_add(time))
        .and_then(|value| i64::try_from(value).ok())
        .ok_or(Found::TimeOutOfRange)
}

/// Writes a duration, given in units.
pub(crate) fn write_span(value: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(b"PT");
    write_seconds(value.unsigned_abs(), unit, out);
}

/// Writes an interval; every part has its own sign.
pub(crate) fn write_interval(months: i32, days: i32, time: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    out.push(b'P');
    let mut part = |value: i32, designator| {
        if value != 0 {
            write_integer(value.into(), out);
            out.push(designator);
        }
    };
    part(months / 12, b'Y');
    part(months % 12, b'M');
    part(days, b'D');
    if time != 0 || months == 0 && days == 0 {
        out.push(b'T');
        if time < 0 {
            out.push(b'-');
        }
        write_seconds(time.unsigned_abs(), unit, out);
    }
}

fn write_seconds(value: u64, unit: TimeUnit, out: &mut Vec<u8>) {
    let per_second = 10_u64.pow(digits(unit));
    write_unsigned(value / per_second, out);
    write_fraction(value % per_second, digits(unit), out);
    out.push(b'S');
}
