//! Dates, times, timestamps and durations as ISO 8601 text.
//!
//! Calendar arithmetic is done here on wide integers, in the proleptic Gregorian
//! calendar, because Arrow's dates and timestamps reach far beyond the years that
//! chrono can hold. Only time zones are looked up through chrono.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::datatypes::TimeUnit;
use chrono::{DateTime, Offset, TimeZone};

use super::error::Found;
use super::number::{
    digit_run, digits_of, power_of_ten, scaled, write_integer, write_padded, write_unsigned,
};
use super::text::push_start;
use super::types::digits;

pub(super) const SECONDS_PER_DAY: i64 = 86_400;

/// How the timestamps of a column relate to instants.
#[derive(Debug, Clone, Copy)]
pub(super) enum Zone {
    /// Wall clock time without a time zone.
    None,
    /// Universal time.
    Utc,
    /// A zone whose offsets are known.
    Known(Tz),
    /// A zone that is not in the time zone database: only its instants are known.
    Unknown,
}

impl Zone {
    pub(super) fn new(name: Option<&Arc<str>>) -> Self {
        match name.map(|name| &**name) {
            None => Self::None,
            Some("UTC" | "Etc/UTC" | "Z" | "+00:00" | "+0000" | "+00") => Self::Utc,
            Some(name) => Tz::from_str(name).map_or(Self::Unknown, Self::Known),
        }
    }

    /// The offset from universal time at an instant, in seconds, where that can
    /// be written as hours and minutes.
    fn offset_at(&self, seconds: i64) -> Option<i64> {
        let Self::Known(zone) = self else { return None };
        let instant = DateTime::from_timestamp(seconds, 0)?.naive_utc();
        let offset = zone.offset_from_utc_datetime(&instant).fix();
        let offset = i64::from(offset.local_minus_utc());
        (offset % 60 == 0).then_some(offset)
    }

    /// The offset from universal time of a local time, in seconds.
    fn offset_of(&self, seconds: i128) -> Result<i64, Found> {
        let zone = match self {
            Self::None | Self::Utc => return Ok(0),
            Self::Unknown => return Err(Found::UnknownZone),
            Self::Known(zone) => zone,
        };
        let local = i64::try_from(seconds)
            .ok()
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
            .ok_or(Found::TimeOutOfRange)?
            .naive_utc();
        let offset = zone.offset_from_local_datetime(&local).single();
        let offset = offset.ok_or(Found::LocalTime)?.fix();
        Ok(offset.local_minus_utc().into())
    }
}

/// Reads text from its start.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn take(&mut self, chars: &[char]) -> Option<char> {
        let char = self.0.chars().next().filter(|char| chars.contains(char))?;
        self.0 = self.0.get(char.len_utf8()..)?;
        Some(char)
    }

    fn digits(&mut self) -> &'a str {
        let end = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at_checked(end).unwrap_or(("", self.0));
        self.0 = rest;
        digits
    }

    fn two_digits(&mut self, max: i64) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(2)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        self.0 = rest;
        digits.parse().ok().filter(|value| *value <= max)
    }

    /// A calendar date, in days since the epoch.
    fn date(&mut self) -> Option<i64> {
        let sign = self.take(&['+', '-']);
        let year = self.digits();
        // Twelve digits are the years of all timestamps in seconds.
        if year.len() < 4 || year.len() > 12 || sign.is_none() && year.len() > 4 {
            return None;
        }
        let year: i64 = year.parse().ok()?;
        let year = if sign == Some('-') { -year } else { year };
        self.take(&['-'])?;
        let month = self.two_digits(12)?;
        self.take(&['-'])?;
        let day = self.two_digits(31)?;
        (month >= 1 && day >= 1 && day <= days_in_month(year, month))
            .then(|| days_from_civil(year, month, day))
    }

    /// A time of day, in seconds since midnight and the digits of a fraction.
    fn time(&mut self) -> Option<(i64, &'a str)> {
        let hours = self.two_digits(23)?;
        self.take(&[':'])?;
        let minutes = self.two_digits(59)?;
        let mut seconds = 0;
        let mut fraction = "";
        if self.take(&[':']).is_some() {
            seconds = self.two_digits(59)?;
            if self.take(&['.']).is_some() {
                fraction = self.digits();
                if fraction.is_empty() {
                    return None;
                }
            }
        }
        Some(((hours * 60 + minutes) * 60 + seconds, fraction))
    }

    /// An offset from universal time, in seconds; `None` inside if there is none.
    fn offset(&mut self) -> Option<Option<i64>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let sign = match self.take(&['Z', 'z', '+', '-'])? {
            'Z' | 'z' => return Some(Some(0)),
            '-' => -1,
            _ => 1,
        };
        let hours = self.two_digits(23)?;
        let minutes = match self.0 {
            "" => 0,
            _ => {
                self.take(&[':']);
                self.two_digits(59)?
            }
        };
        Some(Some(sign * (hours * 60 + minutes) * 60))
    }
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

/// Parses a timestamp into the units of a column.
///
/// An offset says which instant is meant, and a column without a time zone takes
/// that instant's universal time. Without an offset the text is local time in
/// the zone of the column.
pub(super) fn parse_timestamp(text: &str, unit: TimeUnit, zone: &Zone) -> Result<i64, Found> {
    let (seconds, fraction, offset) = date_time(text).ok_or(Found::NotADateTime)?;
    let offset = match offset {
        Some(offset) => offset,
        None => zone.offset_of(seconds)?,
    };
    let value = to_unit(seconds - i128::from(offset), fraction, unit)?;
    i64::try_from(value).map_err(|_| Found::TimeOutOfRange)
}

/// The timestamp at the start of these bytes if it is universal time in quotes,
/// `"2026-11-24T09:30:00.125Z"`, and how many bytes it takes; `None` where
/// [`parse_timestamp`] has to be asked.
#[inline]
pub(super) fn short_timestamp(bytes: &[u8], unit: TimeUnit) -> Option<(i64, usize)> {
    let [b'"', text @ ..] = bytes else {
        return None;
    };
    let date = fixed_digits(text, b"0000-00-")?;
    let time = fixed_digits(text.get(11..)?, b"00:00:00")?;
    let day_and_hour = fixed_digits(text.get(8..)?, b"00T00:00")?;
    let year = date.pair(0) * 100 + date.pair(2);
    let (month, day) = (date.pair(5), day_and_hour.pair(0));
    let (hours, minutes, seconds) = (time.pair(0), time.pair(3), time.pair(6));
    let is_date = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    if !is_date || hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let rest = text.get(19..)?;
    let (fraction, places, rest) = match rest {
        [b'.', rest @ ..] => {
            let (fraction, places) = digit_run(rest, 0);
            (fraction, places, rest.get(places..).filter(|_| places > 0)?)
        }
        _ => (0, 0, rest),
    };
    let [b'Z', b'"', rest @ ..] = rest else {
        return None;
    };
    let unit_places = digits(unit) as usize;
    let fraction = fraction * power_of_ten(unit_places.checked_sub(places)?)?;
    let days = days_from_civil(year, month, day);
    let seconds = days * SECONDS_PER_DAY + (hours * 60 + minutes) * 60 + seconds;
    let value = seconds
        .checked_mul(power_of_ten(unit_places)?.cast_signed())?
        .checked_add(fraction.cast_signed())?;
    Some((value, bytes.len() - rest.len()))
}

/// The values of adjacent digits, by the position of the first.
struct Pairs(u64);

impl Pairs {
    #[inline]
    fn pair(&self, position: u32) -> i64 {
        i64::from((self.0 >> (8 * position)) as u8)
    }
}

/// The digits at the start of a text that has some where the pattern has zeros and
/// otherwise is like the pattern.
#[inline]
fn fixed_digits(text: &[u8], pattern: &[u8; 8]) -> Option<Pairs> {
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // What takes a byte to its high bit if it is more than there may be.
    let limit = u64::from_le_bytes(pattern.map(|byte| match byte {
        b'0' => 0x80 - 10,
        _ => 0x7F,
    }));
    let digits = u64::from_le_bytes(*text.first_chunk()?) ^ u64::from_le_bytes(*pattern);
    if (digits.wrapping_add(limit) | digits) & HIGH != 0 {
        return None;
    }
    Some(Pairs(digits.wrapping_mul(10).wrapping_add(digits >> 8)))
}

/// Local seconds since the epoch, the digits of their fraction, and the offset.
fn date_time(text: &str) -> Option<(i128, &str, Option<i64>)> {
    let mut cursor = Cursor(text);
    let midnight = i128::from(cursor.date()?) * i128::from(SECONDS_PER_DAY);
    if cursor.0.is_empty() {
        return Some((midnight, "", None));
    }
    cursor.take(&['T', 't', ' '])?;
    let (time, fraction) = cursor.time()?;
    let offset = cursor.offset()?;
    cursor
        .0
        .is_empty()
        .then_some((midnight + i128::from(time), fraction, offset))
}

/// Parses a date, or a timestamp at midnight, into days since the epoch.
pub(super) fn parse_date(text: &str) -> Result<i32, Found> {
    let (seconds, fraction, offset) = date_time(text).ok_or(Found::NotADateTime)?;
    let seconds = to_unit(seconds, fraction, TimeUnit::Second)? - i128::from(offset.unwrap_or(0));
    whole_days(seconds, TimeUnit::Second)
}

/// Days, if so many units are whole days.
pub(super) fn whole_days(value: i128, unit: TimeUnit) -> Result<i32, Found> {
    let day = i128::from(SECONDS_PER_DAY) * 10_i128.pow(digits(unit));
    if value % day != 0 {
        return Err(Found::TimePrecision);
    }
    i32::try_from(value / day).map_err(|_| Found::TimeOutOfRange)
}

/// Parses a time of day into the units of a column.
pub(super) fn parse_time(text: &str, unit: TimeUnit) -> Result<i64, Found> {
    let mut cursor = Cursor(text);
    let (seconds, fraction) = cursor.time().ok_or(Found::NotATime)?;
    if !cursor.0.is_empty() {
        return Err(Found::NotATime);
    }
    let value = to_unit(seconds.into(), fraction, unit)?;
    i64::try_from(value).map_err(|_| Found::TimeOutOfRange)
}

/// The parts of a duration that cannot be converted into each other.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Duration {
    pub(super) months: i128,
    pub(super) days: i128,
    /// Hours, minutes and seconds, in the unit asked for.
    pub(super) time: i128,
}

/// Parses an ISO 8601 duration: `P1Y2M3W4DT5H6M7.8S`, each part with an optional
/// sign, all of it with another.
pub(super) fn parse_duration(text: &str, unit: TimeUnit) -> Result<Duration, Found> {
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
pub(super) fn parse_span(text: &str, unit: TimeUnit) -> Result<i64, Found> {
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

/// Writes a timestamp, with the offset of its zone.
#[inline]
pub(super) fn write_timestamp(value: i64, unit: TimeUnit, zone: &Zone, out: &mut Vec<u8>) {
    let per_second = 10_i64.pow(digits(unit));
    let (seconds, fraction) = (value.div_euclid(per_second), value.rem_euclid(per_second));
    let offset = zone.offset_at(seconds);
    // Only an instant within chrono's years has an offset: this cannot overflow.
    let local = seconds + offset.unwrap_or(0);
    write_date(local.div_euclid(SECONDS_PER_DAY), out);
    out.push(b'T');
    write_time(
        local.rem_euclid(SECONDS_PER_DAY),
        fraction,
        digits(unit),
        out,
    );
    match (zone, offset) {
        (Zone::None, _) => {}
        (_, None) => out.push(b'Z'),
        (_, Some(offset)) => {
            out.push(if offset < 0 { b'-' } else { b'+' });
            write_padded(offset.unsigned_abs() / 3600, 2, out);
            out.push(b':');
            write_padded(offset.unsigned_abs() / 60 % 60, 2, out);
        }
    }
}

/// What makes digits their characters.
const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);

/// Writes a date, given in days since the epoch.
#[inline]
pub(super) fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days);
    // A year of any length is written before the text of year 0 without its own.
    let usual = (0..=9999).contains(&year);
    if !usual {
        out.push(if year < 0 { b'-' } else { b'+' });
        write_padded(year.unsigned_abs(), 4, out);
    }
    let year = if usual { year.unsigned_abs() } else { 0 };
    let digits = digits_of(year * 10_000 + u64::from(month * 100 + day)) + ZEROS;
    // Four digits, a dash, two, a dash, and two, the first one lowest.
    let dashes = u128::from(b'-') << 32 | u128::from(b'-') << 56;
    let parts = [(0, 32, 0), (32, 16, 40), (48, 16, 64)];
    let text = spread(digits, parts) | dashes;
    if usual {
        push_start(&text.to_le_bytes(), 10, out);
    } else {
        push_start(&(text >> 32).to_le_bytes(), 6, out);
    }
}

/// Writes a time of day, given in seconds and their fraction of so many digits.
#[inline]
pub(super) fn write_time(seconds: i64, fraction: i64, places: u32, out: &mut Vec<u8>) {
    // Less than a day.
    let seconds = seconds as u32;
    let digits = seconds / 3600 * 10_000 + seconds / 60 % 60 * 100 + seconds % 60;
    let digits = digits_of(digits.into()) + ZEROS;
    let colons = u128::from(b':') << 16 | u128::from(b':') << 40;
    let text = spread(digits, [(16, 16, 0), (32, 16, 24), (48, 16, 48)]) | colons;
    out.extend_from_slice(&(text as u64).to_le_bytes());
    write_fraction(fraction.unsigned_abs(), places, out);
}

/// Moves parts of a word apart, each given by its place, its width and its new place.
#[inline]
fn spread(word: u64, parts: [(u32, u32, u32); 3]) -> u128 {
    let moved = parts.map(|(from, width, to)| u128::from(word >> from & ((1 << width) - 1)) << to);
    moved.into_iter().fold(0, |all, part| all | part)
}

/// Writes a fraction with as few groups of three digits as it needs.
#[inline]
fn write_fraction(mut fraction: u64, mut places: u32, out: &mut Vec<u8>) {
    if fraction == 0 {
        return;
    }
    while places > 3 && fraction.is_multiple_of(1000) {
        fraction /= 1000;
        places -= 3;
    }
    out.push(b'.');
    write_padded(fraction, places as usize, out);
}

/// Writes a duration, given in units.
pub(super) fn write_span(value: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(b"PT");
    write_seconds(value.unsigned_abs(), unit, out);
}

/// Writes an interval; every part has its own sign.
pub(super) fn write_interval(months: i32, days: i32, time: i64, unit: TimeUnit, out: &mut Vec<u8>) {
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

/// Days since the epoch of a date (Howard Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms"). Years start in March, so that leap days end them.
#[inline]
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The reverse of [`days_from_civil`], within an era after Neri and Schneider,
/// "Euclidean affine functions and their application to calendar algorithms".
#[inline]
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let quarters = days.rem_euclid(146_097) as u32 * 4 + 3;
    let (century, quarters) = (quarters / 146_097, (quarters % 146_097) | 3);
    // The product's upper half is the year of the century, its lower half the day of it.
    let product = 2_939_745 * u64::from(quarters);
    let year_of_century = (product >> 32) as u32;
    let day_of_year = product as u32 / 2_939_745 / 4;
    // The same for the month and the day, with a factor of 2 to the power of 16.
    let product = 2141 * day_of_year + 197_913;
    let (month, day) = (product >> 16, (product & 0xFFFF) / 2141 + 1);
    let next_year = day_of_year >= 306;
    let month = if next_year { month - 12 } else { month };
    let year = i64::from(100 * century + year_of_century + u32::from(next_year));
    (era * 400 + year, month, day)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
