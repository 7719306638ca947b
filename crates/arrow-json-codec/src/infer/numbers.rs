//! The type of sampled numbers: one that keeps each of them as it is.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};

use crate::text::parse_number::integer;
use crate::text::significant::{Significant, is_exact_double};

/// What the numbers at one place have in common.
///
/// The type keeps different numbers different. Floats, which hold only some numbers as they are,
/// are chosen only where they hold all numbers of the sample.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers {
    are_i64: bool,
    are_u64: bool,
    /// Without a fraction and an exponent, as identifiers are.
    are_integers: bool,
    are_doubles: bool,
    /// What a decimal needs before and behind its decimal point.
    whole_digits: u64,
    decimal_places: u64,
}

impl Numbers {
    /// NaN or an infinity, which nothing but a float holds.
    pub(crate) const NON_FINITE: Self = Numbers {
        are_i64: false,
        are_u64: false,
        are_integers: false,
        are_doubles: true,
        whole_digits: u64::MAX,
        decimal_places: 0,
    };

    pub(crate) fn of(number: &str, is_integer: bool) -> Self {
        // More digits than these are no measurement if there is no decimal point.
        const MEASURED: usize = 15;
        let value = is_integer.then(|| integer(number).ok()).flatten();
        let digits = Significant::of(number);
        Numbers {
            are_i64: value.is_some_and(|value| i64::try_from(value).is_ok()),
            are_u64: value.is_some_and(|value| u64::try_from(value).is_ok()),
            are_integers: is_integer,
            are_doubles: (!is_integer || digits.count() <= MEASURED) && is_exact_double(number),
            whole_digits: digits.whole_digits(),
            decimal_places: digits.decimal_places(),
        }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Numbers {
            are_i64: self.are_i64 && other.are_i64,
            are_u64: self.are_u64 && other.are_u64,
            are_integers: self.are_integers && other.are_integers,
            are_doubles: self.are_doubles && other.are_doubles,
            whole_digits: self.whole_digits.max(other.whole_digits),
            decimal_places: self.decimal_places.max(other.decimal_places),
        }
    }

    pub(crate) fn data_type(self) -> DataType {
        if self.are_i64 {
            return DataType::Int64;
        }
        if self.are_u64 {
            return DataType::UInt64;
        }
        if self.are_doubles && !self.are_integers {
            return DataType::Float64;
        }
        let digits = self.whole_digits.saturating_add(self.decimal_places);
        match i8::try_from(self.decimal_places) {
            Ok(scale) if digits <= DECIMAL128_MAX_PRECISION.into() => {
                DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale)
            }
            _ => DataType::Utf8View,
        }
    }
}
