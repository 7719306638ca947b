//! From integers and decimals to the digits of JSON numbers.

use super::parse_number::power_of_ten;
use super::strings::push_start;

/// Writes an integer.
#[inline]
pub(crate) fn write_integer(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    write_unsigned(value.unsigned_abs(), out);
}

const EIGHT_DIGITS: u64 = 100_000_000;

/// Writes an integer without a sign.
#[inline]
pub(crate) fn write_unsigned(value: u64, out: &mut Vec<u8>) {
    if value >= EIGHT_DIGITS {
        return write_large(value, out);
    }
    let digits = digits_of(value);
    write_last_digits(digits, count(digits), out);
}

#[inline(never)]
fn write_large(value: u64, out: &mut Vec<u8>) {
    write_unsigned(value / EIGHT_DIGITS, out);
    write_last_digits(digits_of(value % EIGHT_DIGITS), 8, out);
}

/// Writes an integer without a sign, with zeros in front up to `width` digits.
#[inline]
pub(crate) fn write_padded(value: u64, width: usize, out: &mut Vec<u8>) {
    if value >= EIGHT_DIGITS || width > 8 {
        return write_large_padded(value, width, out);
    }
    let digits = digits_of(value);
    write_last_digits(digits, width.max(count(digits)), out);
}

#[inline(never)]
fn write_large_padded(value: u64, width: usize, out: &mut Vec<u8>) {
    write_padded(value / EIGHT_DIGITS, width.saturating_sub(8), out);
    write_last_digits(digits_of(value % EIGHT_DIGITS), 8, out);
}

/// How many of eight digits there are without zeros in front, which is one at least.
#[inline]
fn count(digits: u64) -> usize {
    8 - (digits | 1 << 56).trailing_zeros() as usize / 8
}

/// The digits of a number of up to eight, one byte each, the first one lowest.
#[inline]
pub(crate) fn digits_of(value: u64) -> u64 {
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    // Divides each half by 100, then each quarter by 10; exact for so few digits.
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007F_0000_007F;
    let pairs = hundreds | ((fours - hundreds * 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000F_000F_000F_000F;
    tens | ((pairs - tens * 10) << 8)
}

/// Writes the last `count` of eight digits, at least one.
#[inline]
fn write_last_digits(digits: u64, count: usize, out: &mut Vec<u8>) {
    const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);
    let text = (digits | ZEROS) >> (8 * (8 - count));
    push_start(&text.to_le_bytes(), count, out);
}

/// Writes a decimal with all the digits of its scale; `integer` is its value
/// without the decimal point.
#[inline]
pub(crate) fn write_short_decimal(integer: i64, scale: i8, out: &mut Vec<u8>) {
    let places = usize::from(scale.unsigned_abs());
    match power_of_ten(places).filter(|_| scale > 0) {
        Some(one) => {
            if integer < 0 {
                out.push(b'-');
            }
            let value = integer.unsigned_abs();
            write_unsigned(value / one, out);
            out.push(b'.');
            write_padded(value % one, places, out);
        }
        None => write_decimal(&integer.to_string(), scale, out),
    }
}

/// The same for an integer of any width, given as its digits.
pub(crate) fn write_decimal(integer: &str, scale: i8, out: &mut Vec<u8>) {
    let digits = integer.strip_prefix('-').unwrap_or(integer);
    if digits.len() < integer.len() {
        out.push(b'-');
    }
    let places = usize::from(scale.unsigned_abs());
    if scale <= 0 {
        out.extend_from_slice(digits.as_bytes());
        if digits != "0" {
            out.resize(out.len() + places, b'0');
        }
        return;
    }
    match digits.len().checked_sub(places) {
        Some(whole) if whole > 0 => {
            let (whole, fraction) = digits.split_at(whole);
            out.extend_from_slice(whole.as_bytes());
            out.push(b'.');
            out.extend_from_slice(fraction.as_bytes());
        }
        _ => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + places - digits.len(), b'0');
            out.extend_from_slice(digits.as_bytes());
        }
    }
}
