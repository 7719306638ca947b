//! From the digits of JSON numbers to integers, decimals and doubles, exactly.

use arrow::datatypes::i256;

use super::strings::leading_digits;
use crate::error::Found;

/// What decimals are held in: wide integers that can be built from digits.
pub(crate) trait Wide: Copy + Default {
    /// `self * factor + digits`, unless that overflows.
    fn shift_add(self, factor: u64, digits: u64) -> Option<Self>;
    fn negate(self) -> Self;
}

impl Wide for i128 {
    fn shift_add(self, factor: u64, digits: u64) -> Option<Self> {
        self.checked_mul(factor.into())?.checked_add(digits.into())
    }

    fn negate(self) -> Self {
        self.wrapping_neg()
    }
}

impl Wide for i256 {
    fn shift_add(self, factor: u64, digits: u64) -> Option<Self> {
        self.checked_mul(Self::from_i128(factor.into()))?
            .checked_add(Self::from_i128(digits.into()))
    }

    fn negate(self) -> Self {
        self.wrapping_neg()
    }
}

/// Gathers digits in machine words, as wide arithmetic costs much more.
#[derive(Default)]
struct Digits<N> {
    wide: N,
    digits: u64,
    factor: u64,
}

impl<N: Wide> Digits<N> {
    fn push(&mut self, digit: u8) -> Option<()> {
        const FULL: u64 = 10_u64.pow(18);
        if self.factor == FULL {
            self.wide = self.wide.shift_add(FULL, self.digits)?;
            (self.digits, self.factor) = (0, 1);
        }
        self.digits = self.digits * 10 + u64::from(digit);
        self.factor *= 10;
        Some(())
    }

    fn is_zero(&self) -> bool
    where
        N: PartialEq,
    {
        self.digits == 0 && self.wide == N::default()
    }

    fn finish(self) -> Option<N> {
        self.wide.shift_add(self.factor, self.digits)
    }
}

/// The value of a JSON number times ten to the power of `scale`, if that is an
/// integer.
///
/// `inexact` is the description of a number where it is not.
pub(crate) fn scaled<N: Wide + PartialEq>(
    number: &str,
    scale: i64,
    inexact: Found,
) -> Result<N, Found> {
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));

    // How many digits of the mantissa are before the decimal point of the result.
    let places = saturating(exponent).saturating_add(scale);
    let kept = i64::try_from(whole.len())
        .unwrap_or(i64::MAX)
        .saturating_add(places);

    let mut result = Digits {
        wide: N::default(),
        digits: 0,
        factor: 1,
    };
    let mut count = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if count < kept {
            result.push(digit - b'0').ok_or(Found::OutOfRange)?;
        } else if digit != b'0' {
            return Err(inexact);
        }
        count += 1;
    }
    if !result.is_zero() {
        while count < kept {
            result.push(0).ok_or(Found::OutOfRange)?;
            count += 1;
        }
    }
    let result = result.finish().ok_or(Found::OutOfRange)?;
    Ok(if negative { result.negate() } else { result })
}

/// The value of an integer, or as near as `i64` comes.
pub(crate) fn saturating(integer: &str) -> i64 {
    let (negative, digits) = match integer.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, integer.strip_prefix('+').unwrap_or(integer)),
    };
    let value = digits.bytes().fold(0_i64, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add(i64::from(digit - b'0'))
    });
    if negative { -value } else { value }
}

/// The value of a run of digits behind those of `value`, and how many they are;
/// of more than [`SHORT`] in all, the value is wrong.
#[inline(always)]
pub(crate) fn digit_run(bytes: &[u8], value: u64) -> (u64, usize) {
    match bytes.first_chunk().map(|word| leading_digits(*word)) {
        Some((digits, count)) if count < 8 => {
            let factor = power_of_ten(count).unwrap_or_default();
            // In two steps: without any digit, all 64 bits are shifted out.
            let half = 4 * (8 - count);
            let digits = eight_digits(digits << half << half);
            (value.wrapping_mul(factor).wrapping_add(digits), count)
        }
        _ => many_digits(bytes, value),
    }
}

#[inline(never)]
fn many_digits(bytes: &[u8], mut value: u64) -> (u64, usize) {
    let mut count = 0;
    for byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(digit.into());
        count += 1;
    }
    (value, count)
}

/// The value of eight digits, one byte each, the first one lowest.
#[inline]
fn eight_digits(digits: u64) -> u64 {
    const PAIR: u64 = 0x0000_00FF_0000_00FF;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    // 100 and 1 000 000 for one half, 1 and 10 000 for the other.
    let high = (pairs & PAIR).wrapping_mul(0x000F_4240_0000_0064);
    let low = (pairs >> 16 & PAIR).wrapping_mul(0x0000_2710_0000_0001);
    high.wrapping_add(low) >> 32
}

/// The number of digits that always fit into a machine word.
pub(crate) const SHORT: usize = 18;

/// A JSON number without an exponent, of few digits.
struct Short {
    negative: bool,
    /// Without the decimal point.
    digits: u64,
    count: usize,
    /// How many are behind the decimal point.
    places: usize,
    /// How many bytes the number takes.
    length: usize,
}

#[inline(always)]
fn short(bytes: &[u8]) -> Option<Short> {
    match bytes {
        [b'-', unsigned @ ..] => short_negative(unsigned),
        _ => short_unsigned(bytes),
    }
}

/// Not inlined, so that numbers without a sign do not wait for the check of it.
#[inline(never)]
fn short_negative(unsigned: &[u8]) -> Option<Short> {
    let short = short_unsigned(unsigned)?;
    Some(Short {
        negative: true,
        length: short.length + 1,
        ..short
    })
}

#[inline(always)]
fn short_unsigned(bytes: &[u8]) -> Option<Short> {
    let (mut digits, whole) = digit_run(bytes, 0);
    // Without a branch by the number of digits, which cannot be predicted.
    if (whole == 0) | ((whole > 1) & (bytes.first() == Some(&b'0'))) {
        return None;
    }
    let mut length = whole;
    let mut places = 0;
    if bytes.get(length) == Some(&b'.') {
        (digits, places) = digit_run(bytes.get(length + 1..)?, digits);
        if places == 0 {
            return None;
        }
        length += 1 + places;
    }
    let count = whole + places;
    if count > SHORT || matches!(bytes.get(length), Some(b'e' | b'E')) {
        return None;
    }
    Some(Short {
        negative: false,
        digits,
        count,
        places,
        length,
    })
}

/// The number at the start of these bytes times ten to the power of `scale`, and
/// how many bytes it takes; `None` where [`scaled`] has to be asked.
#[inline]
pub(crate) fn short_decimal(bytes: &[u8], scale: usize) -> Option<(i64, usize)> {
    let short = short(bytes)?;
    let zeros = scale.checked_sub(short.places)?;
    if short.count + zeros > SHORT {
        return None;
    }
    let value = (short.digits * power_of_ten(zeros)?).cast_signed();
    Some((if short.negative { -value } else { value }, short.length))
}

/// The number at the start of these bytes in double precision, correctly
/// rounded, and how many bytes it takes; `None` where that takes more.
#[inline]
pub(crate) fn short_float(bytes: &[u8]) -> Option<(f64, usize)> {
    // Both are exact, so that only the division rounds.
    const EXACT: usize = 15;
    let short = short(bytes)?;
    if short.count > EXACT {
        return None;
    }
    let value = short.digits as f64 / power_of_ten(short.places)? as f64;
    Some((if short.negative { -value } else { value }, short.length))
}

#[inline]
pub(crate) fn power_of_ten(exponent: usize) -> Option<u64> {
    const POWERS: [u64; 20] = [
        1,
        10,
        100,
        1_000,
        10_000,
        100_000,
        1_000_000,
        10_000_000,
        100_000_000,
        1_000_000_000,
        10_000_000_000,
        100_000_000_000,
        1_000_000_000_000,
        10_000_000_000_000,
        100_000_000_000_000,
        1_000_000_000_000_000,
        10_000_000_000_000_000,
        100_000_000_000_000_000,
        1_000_000_000_000_000_000,
        10_000_000_000_000_000_000,
    ];
    POWERS.get(exponent).copied()
}

/// The value of a JSON number that is an integer, however it is written.
pub(crate) fn integer(number: &str) -> Result<i128, Found> {
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    // What cannot overflow needs no more than this.
    if digits.len() <= 18 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let value = digits
            .bytes()
            .fold(0_i64, |value, digit| value * 10 + i64::from(digit - b'0'));
        return Ok((if negative { -value } else { value }).into());
    }
    scaled(number, 0, Found::Fraction)
}

/// The bytes of a big-endian number without those that only repeat its sign, as Java's
/// `BigInteger.toByteArray` has them.
pub(crate) fn significant(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Some((first @ (0 | 0xFF), tail)) = rest.split_first()
        && tail.first().is_some_and(|second| (first ^ second) < 0x80)
    {
        rest = tail;
    }
    rest
}
