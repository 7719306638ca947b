//! The value of a number's text, digit by digit, for numbers of any size.

use super::parse_number::saturating;

/// The significant digits of a JSON number, and where its decimal point is: the
/// value is `0.digits` times ten to the power of `point`.
///
/// Zeros at both ends are left out, so that two texts of one value compare as equal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Significant<'a> {
    negative: bool,
    /// The digits before the decimal point and behind it, from the first one that is
    /// not zero to the last one.
    whole: &'a [u8],
    fraction: &'a [u8],
    point: i64,
}

impl<'a> Significant<'a> {
    pub(crate) fn of(number: &'a str) -> Self {
        let (negative, number) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let (mut whole, mut fraction) = (trim_start(whole), trim_end(fraction));
        let mut point = length(whole);
        if whole.is_empty() {
            let digits = trim_start(std::str::from_utf8(fraction).unwrap_or_default());
            point -= length(fraction) - length(digits);
            fraction = digits;
        }
        if fraction.is_empty() {
            whole = trim_end(std::str::from_utf8(whole).unwrap_or_default());
        }
        if whole.is_empty() && fraction.is_empty() {
            return Significant {
                negative: false,
                whole,
                fraction,
                point: 0,
            };
        }
        Significant {
            negative,
            whole,
            fraction,
            point: point.saturating_add(saturating(exponent)),
        }
    }

    /// How many digits there are.
    pub(crate) fn count(self) -> usize {
        self.whole.len() + self.fraction.len()
    }

    /// How many digits a decimal needs before its decimal point.
    pub(crate) fn whole_digits(self) -> u64 {
        u64::try_from(self.point).unwrap_or(0)
    }

    /// How many digits a decimal needs behind its decimal point.
    pub(crate) fn decimal_places(self) -> u64 {
        let count = i64::try_from(self.count()).unwrap_or(i64::MAX);
        u64::try_from(count.saturating_sub(self.point)).unwrap_or(0)
    }

    fn digits(self) -> impl Iterator<Item = u8> + 'a {
        self.whole.iter().chain(self.fraction).copied()
    }
}

impl PartialEq for Significant<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.negative == other.negative
            && self.point == other.point
            && self.digits().eq(other.digits())
    }
}

fn trim_start(digits: &str) -> &[u8] {
    digits.trim_start_matches('0').as_bytes()
}

fn trim_end(digits: &str) -> &[u8] {
    digits.trim_end_matches('0').as_bytes()
}

fn length(digits: &[u8]) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX)
}

/// Whether a double gives back the number that it was read from: its shortest text
/// has the same value. Two numbers for which this holds are never one double.
pub(crate) fn gives_back(double: f64, number: &str) -> bool {
    Significant::of(ryu::Buffer::new().format(double)) == Significant::of(number)
}

/// Whether double precision holds a number in the notation of JSON as it is, so that
/// no other number becomes the same double.
///
/// ```
/// use arrow_json_codec::is_exact_double;
///
/// assert!(is_exact_double("0.1"));
/// assert!(is_exact_double("9007199254740992"));
/// assert!(!is_exact_double("9007199254740993"));
/// assert!(!is_exact_double("1e400"));
/// ```
pub fn is_exact_double(number: &str) -> bool {
    match number.parse::<f64>() {
        Ok(double) if double.is_finite() => gives_back(double, number),
        _ => false,
    }
}

/// A number in the notation of JSON without an exponent and without needless zeros. `None` where
/// that takes more digits than `most`.
///
/// ```
/// use arrow_json_codec::plain_number;
///
/// assert_eq!(plain_number("-1.20e3", 38).as_deref(), Some("-1200"));
/// assert_eq!(plain_number("25e-4", 38).as_deref(), Some("0.0025"));
/// assert_eq!(plain_number("1e300", 38), None);
/// ```
pub fn plain_number(number: &str, most: u64) -> Option<String> {
    let number = Significant::of(number);
    let (whole, places) = (number.whole_digits(), number.decimal_places());
    if whole.saturating_add(places) > most {
        return None;
    }
    let mut digits = number.digits().map(char::from);
    let mut text = String::from(if number.negative { "-" } else { "" });
    for _ in 0..whole {
        text.push(digits.next().unwrap_or('0'));
    }
    if whole == 0 {
        text.push('0');
    }
    if places > 0 {
        text.push('.');
        // Zeros between the decimal point and the first digit.
        let count = u64::try_from(number.count()).unwrap_or(u64::MAX);
        for _ in count..places {
            text.push('0');
        }
        text.extend(digits);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_one_value_are_equal() {
        for texts in [
            &["0", "-0", "0.000", "0e9", "-0.0E-5"][..],
            &["1", "1.0", "1e0", "10e-1", "0.1e1", "0.001E+3"],
            &["-1200", "-1.2e3", "-0.0012e6", "-1200.000"],
            &["0.00120", "1.2e-3", "12e-4"],
            &["1e99999999999999999999", "10e99999999999999999999"],
        ] {
            for text in texts {
                assert_eq!(Significant::of(text), Significant::of(texts[0]), "{text}");
            }
        }
    }

    #[test]
    fn other_values_are_not() {
        let texts = ["0", "1", "-1", "10", "0.1", "1.1", "11", "101", "1.01"];
        for (place, text) in texts.iter().enumerate() {
            for other in &texts[place + 1..] {
                assert_ne!(Significant::of(text), Significant::of(other));
            }
        }
    }

    #[test]
    fn a_decimal_needs_digits_on_both_sides() {
        for (text, whole, places) in [
            ("0", 0, 0),
            ("7", 1, 0),
            ("1200", 4, 0),
            ("1.50", 1, 1),
            ("0.0025", 0, 4),
            ("12.5e3", 5, 0),
            ("12.5e-3", 0, 4),
        ] {
            let number = Significant::of(text);
            assert_eq!(number.whole_digits(), whole, "{text}");
            assert_eq!(number.decimal_places(), places, "{text}");
        }
    }

    #[test]
    fn plain_numbers_have_the_same_value() {
        for (text, plain) in [
            ("0", "0"),
            ("-0.0e7", "0"),
            ("12.50", "12.5"),
            ("-12.5e3", "-12500"),
            ("12.5e-3", "0.0125"),
            ("0.001", "0.001"),
            ("1234.5678e2", "123456.78"),
            ("1e3", "1000"),
        ] {
            assert_eq!(plain_number(text, 8).as_deref(), Some(plain), "{text}");
            assert_eq!(Significant::of(plain), Significant::of(text));
        }
        for text in ["1e8", "1e-9", "1234567.25", "1e99999999999999999999"] {
            assert_eq!(plain_number(text, 8), None, "{text}");
        }
    }

    #[test]
    fn doubles_hold_what_they_give_back() {
        for text in [
            "0",
            "-0.0",
            "0.1",
            "0.30000000000000004",
            "1e300",
            "5e-324",
            "1.7976931348623157e308",
            "9007199254740992",
            "123456789012345",
        ] {
            assert!(is_exact_double(text), "{text}");
        }
        for text in [
            "9007199254740993",
            "18446744073709551617",
            "4e-324",
            "1e-400",
            "1e400",
            "0.1000000000000000055511151231257827",
        ] {
            assert!(!is_exact_double(text), "{text}");
        }
    }
}
