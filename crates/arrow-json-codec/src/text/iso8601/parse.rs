//! Dates, times and timestamps from ISO 8601 text of any form.
//!
//! chrono's own parsers take neither the years beyond its calendar nor fractions of any length.

use arrow::datatypes::TimeUnit;

use super::calendar::{SECONDS_PER_DAY, days_from_civil, days_in_month};
use super::cursor::Cursor;
use super::zone::Zone;
use crate::error::Found;
use crate::types::digits;

/// Parses a timestamp into the units of a column.
///
/// An offset says which instant is meant, and a column without a time zone takes
/// that instant's universal time. Without an offset the text is local time in
/// the zone of the column.
pub(crate) fn parse_timestamp(text: &str, unit: TimeUnit, zone: &Zone) -> Result<i64, Found> {
    let (seconds, fraction, offset) = date_time(text).ok_or(Found::NotADateTime)?;
    let offset = match offset {
        Some(offset) => offset,
        None => zone.offset_of(seconds)?,
    };
    let value = to_unit(seconds - i128::from(offset), fraction, unit)?;
    i64::try_from(value).map_err(|_| Found::TimeOutOfRange)
}

/// Parses a date, or a timestamp at midnight, into days since the epoch.
pub(crate) fn parse_date(text: &str) -> Result<i32, Found> {
    let (seconds, fraction, offset) = date_time(text).ok_or(Found::NotADateTime)?;
    let seconds = to_unit(seconds, fraction, TimeUnit::Second)? - i128::from(offset.unwrap_or(0));
    whole_days(seconds, TimeUnit::Second)
}

/// A count of units as days, if they are whole days.
pub(crate) fn whole_days(value: i128, unit: TimeUnit) -> Result<i32, Found> {
    let day = i128::from(SECONDS_PER_DAY) * 10_i128.pow(digits(unit));
    if value % day != 0 {
        return Err(Found::TimePrecision);
    }
    i32::try_from(value / day).map_err(|_| Found::TimeOutOfRange)
}

/// Parses a time of day into the units of a column.
pub(crate) fn parse_time(text: &str, unit: TimeUnit) -> Result<i64, Found> {
    let mut cursor = Cursor(text);
    let (seconds, fraction) = time(&mut cursor).ok_or(Found::NotATime)?;
    if !cursor.0.is_empty() {
        return Err(Found::NotATime);
    }
    let value = to_unit(seconds.into(), fraction, unit)?;
    i64::try_from(value).map_err(|_| Found::TimeOutOfRange)
}

/// Local seconds since the epoch, the digits of their fraction, and the offset.
fn date_time(text: &str) -> Option<(i128, &str, Option<i64>)> {
    let mut cursor = Cursor(text);
    let midnight = i128::from(date(&mut cursor)?) * i128::from(SECONDS_PER_DAY);
    if cursor.0.is_empty() {
        return Some((midnight, "", None));
    }
    cursor.take(&['T', 't', ' '])?;
    let (time, fraction) = time(&mut cursor)?;
    let offset = offset(&mut cursor)?;
    cursor
        .0
        .is_empty()
        .then_some((midnight + i128::from(time), fraction, offset))
}

/// A calendar date, in days since the epoch.
fn date(text: &mut Cursor<'_>) -> Option<i64> {
    let sign = text.take(&['+', '-']);
    let year = text.digits();
    // Twelve digits are the years of all timestamps in seconds.
    if year.len() < 4 || year.len() > 12 || sign.is_none() && year.len() > 4 {
        return None;
    }
    let year: i64 = year.parse().ok()?;
    let year = if sign == Some('-') { -year } else { year };
    text.take(&['-'])?;
    let month = text.two_digits(12)?;
    text.take(&['-'])?;
    let day = text.two_digits(31)?;
    (month >= 1 && day >= 1 && day <= days_in_month(year, month))
        .then(|| days_from_civil(year, month, day))
}

/// A time of day, in seconds since midnight and the digits of a fraction.
fn time<'a>(text: &mut Cursor<'a>) -> Option<(i64, &'a str)> {
    let hours = text.two_digits(23)?;
    text.take(&[':'])?;
    let minutes = text.two_digits(59)?;
    let mut seconds = 0;
    let mut fraction = "";
    if text.take(&[':']).is_some() {
        seconds = text.two_digits(59)?;
        if text.take(&['.']).is_some() {
            fraction = text.digits();
            if fraction.is_empty() {
                return None;
            }
        }
    }
    Some(((hours * 60 + minutes) * 60 + seconds, fraction))
}

/// An offset from universal time, in seconds; the inner `None` says that the text has no offset.
fn offset(text: &mut Cursor<'_>) -> Option<Option<i64>> {
    if text.0.is_empty() {
        return Some(None);
    }
    let sign = match text.take(&['Z', 'z', '+', '-'])? {
        'Z' | 'z' => return Some(Some(0)),
        '-' => -1,
        _ => 1,
    };
    let hours = text.two_digits(23)?;
    let minutes = match text.0 {
        "" => 0,
        _ => {
            text.take(&[':']);
            text.two_digits(59)?
        }
    };
    Some(Some(sign * (hours * 60 + minutes) * 60))
}

/// Seconds and the digits of their fraction in some unit, if that is exact.
fn to_unit(seconds: i128, fraction: &str, unit: TimeUnit) -> Result<i128, Found> {
    let places = digits(unit);
    let mut value = seconds * 10_i128.pow(places);
    let mut share = 10_i128.pow(places);
    for digit in fraction.bytes() {
        share /= 10;
        if share == 0 && digit != b'0' {
            return Err(Found::TimePrecision);
        }
        value += i128::from(digit - b'0') * share;
    }
    Ok(value)
}
