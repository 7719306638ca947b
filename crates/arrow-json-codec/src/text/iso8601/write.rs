//! Dates, times and timestamps as ISO 8601 text.

use arrow::datatypes::TimeUnit;

use super::calendar::{SECONDS_PER_DAY, civil_from_days};
use super::zone::Zone;
use crate::text::strings::push_start;
use crate::text::write_number::{digits_of, write_padded};
use crate::types::digits;

/// Writes a timestamp, with the offset of its zone.
#[inline]
pub(crate) fn write_timestamp(value: i64, unit: TimeUnit, zone: &Zone, out: &mut Vec<u8>) {
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
pub(crate) fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days);
    // An unusual year is written first, and the rest is then taken from the text of year 0.
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

/// Writes a time of day, given in seconds and their fraction, which has `places` digits.
#[inline]
pub(crate) fn write_time(seconds: i64, fraction: i64, places: u32, out: &mut Vec<u8>) {
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
pub(crate) fn write_fraction(mut fraction: u64, mut places: u32, out: &mut Vec<u8>) {
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
