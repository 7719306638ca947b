//! Parsers for the values of options.
//!
//! An error says what was expected, without the value. Only the caller knows whether the value
//! may be shown.

use std::time::Duration;

use super::framing::Framing;

/// Parses one of the `allowed` words, in any case.
pub(super) fn choice<T: Copy>(text: &str, allowed: &[(&str, T)]) -> Result<T, String> {
    let text = text.trim();
    if let Some((_, value)) = allowed
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text))
    {
        return Ok(*value);
    }
    let words: Vec<&str> = allowed.iter().map(|(word, _)| *word).collect();
    Err(format!("expected one of {}", words.join(", ")))
}

/// Parses `true` or `false`.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    choice(text, &[("true", true), ("false", false)])
}

/// Parses a whole number from 1 to `max`.
pub(super) fn count(text: &str, max: i32) -> Result<i32, String> {
    match text.trim().parse::<i32>() {
        Ok(n) if (1..=max).contains(&n) => Ok(n),
        _ => Err(format!("expected a whole number from 1 to {max}")),
    }
}

/// The id of a schema.
pub(super) fn schema_id(text: &str) -> Result<u64, String> {
    match text.trim().parse() {
        Ok(id) if id <= Framing::Apicurio.largest_id() => Ok(id),
        _ => Err("expected the id of a schema, a whole number".to_owned()),
    }
}

/// A whole number with a unit, such as `10s`, of at least a millisecond.
///
/// The units are those that the documentation names, and no more: libraries for durations take
/// many other spellings, and months.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let expected = || "expected a duration such as `10s`, `500ms`, `2m` or `1h`".to_owned();
    let unit = unit.trim_start();
    if unit.is_empty() && !number.is_empty() {
        return Err(format!(
            "the unit is missing; write `{number}s` or `{number}ms`"
        ));
    }
    let millis = match unit.to_ascii_lowercase().as_str() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(expected()),
    };
    let number: u64 = number.parse().map_err(|_| expected())?;
    match number.checked_mul(millis) {
        // librdkafka stores time-outs as 32-bit milliseconds.
        Some(ms @ 1..=0x7fff_ffff) => Ok(Duration::from_millis(ms)),
        _ => Err("expected a duration from `1ms` to 24 days".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration(" 500 ms "), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2M"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(
            duration("10").unwrap_err(),
            "the unit is missing; write `10s` or `10ms`"
        );
        for bad in [
            "",
            "s",
            "-1s",
            "1.5s",
            "0s",
            "10 days",
            "99999999999999999999s",
            "25000000s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn choices_are_listed_when_none_fits() {
        let allowed = [("upsert", 1), ("append", 2)];
        assert_eq!(choice("Append", &allowed), Ok(2));
        assert_eq!(
            choice("upser", &allowed).unwrap_err(),
            "expected one of upsert, append"
        );
    }

    #[test]
    fn counts_have_bounds() {
        assert_eq!(count("3", 10), Ok(3));
        for bad in ["0", "-1", "11", "x", "", "1.0"] {
            assert!(count(bad, 10).is_err(), "{bad}");
        }
    }
}
