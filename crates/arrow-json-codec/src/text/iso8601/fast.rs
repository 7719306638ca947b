//! The usual form of a timestamp, read eight characters at a time.

use arrow::datatypes::TimeUnit;

use super::calendar::{SECONDS_PER_DAY, days_from_civil, days_in_month};
use crate::text::parse_number::{digit_run, power_of_ten};
use crate::types::digits;

/// The timestamp at the start of these bytes if it is universal time in quotes,
/// `"2026-11-24T09:30:00.125Z"`, and how many bytes it takes; `None` where
/// [`parse_timestamp`](super::parse::parse_timestamp) has to be asked.
#[inline]
pub(crate) fn short_timestamp(bytes: &[u8], unit: TimeUnit) -> Option<(i64, usize)> {
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
    // Added to a byte, the limit sets its high bit where the byte is too large.
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
