//! Parses the positions where reading starts and ends (`kafka.start`, `kafka.end`).

use std::collections::BTreeMap;

use chrono::DateTime;

use super::table::Bound;

impl Bound {
    /// Parses a bound as it is written in `kafka.start` and `kafka.end`.
    pub(crate) fn parse(text: &str) -> Result<Bound, String> {
        bound(text)
    }
}

/// Parses `earliest`, `latest`, `timestamp:..` or `offsets:{..}`.
pub(super) fn bound(text: &str) -> Result<Bound, String> {
    let text = text.trim();
    let (kind, argument) = match text.split_once(':') {
        Some((kind, argument)) => (kind.trim_end(), Some(argument.trim())),
        None => (text, None),
    };
    match (kind.to_ascii_lowercase().as_str(), argument) {
        ("earliest", None) => Ok(Bound::Earliest),
        ("latest", None) => Ok(Bound::Latest),
        ("timestamp", Some(argument)) => timestamp(argument).map(Bound::Timestamp),
        ("offsets", Some(argument)) => offsets(argument).map(Bound::Offsets),
        _ => Err(
            "expected `earliest`, `latest`, `timestamp:<RFC 3339 or milliseconds>` or \
                  `offsets:{\"<partition>\":<offset>, ..}`"
                .to_owned(),
        ),
    }
}

fn timestamp(text: &str) -> Result<i64, String> {
    if let Ok(millis) = text.parse::<u64>().map(i64::try_from) {
        return millis.map_err(|_| "the timestamp is out of range".to_owned());
    }
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| {
        "expected `timestamp:` with a time as RFC 3339, such as `2026-01-31T12:00:00Z`, or \
         milliseconds since 1970"
            .to_owned()
    })?;
    if time.timestamp_subsec_nanos() % 1_000_000 != 0 {
        return Err("Kafka's timestamps are whole milliseconds".to_owned());
    }
    match time.timestamp_millis() {
        millis @ 0.. => Ok(millis),
        _ => Err("Kafka's timestamps start in 1970".to_owned()),
    }
}

/// Parses a JSON object from partition to offset.
///
/// A JSON library would keep the last offset of a partition that is given twice, which is an
/// error here.
fn offsets(text: &str) -> Result<BTreeMap<i32, i64>, String> {
    let expected = || {
        "expected `offsets:` with a JSON object from partition to offset, such as \
         `{\"0\":12,\"1\":40}`"
            .to_owned()
    };
    let members = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
        .ok_or_else(expected)?;
    let mut offsets = BTreeMap::new();
    for member in members.split(',') {
        let (partition, offset) = member.split_once(':').ok_or_else(expected)?;
        let partition = partition
            .trim()
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .ok_or_else(expected)?;
        let partition: i32 = number(partition).ok_or_else(expected)?;
        let offset: i64 = number(offset.trim()).ok_or_else(expected)?;
        if offsets.insert(partition, offset).is_some() {
            return Err(format!("partition {partition} is given twice"));
        }
    }
    Ok(offsets)
}

/// Parses a number of digits only, without a sign.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ends() {
        assert_eq!(bound("earliest"), Ok(Bound::Earliest));
        assert_eq!(bound(" Latest "), Ok(Bound::Latest));
        assert!(bound("latest:1").is_err());
        assert!(bound("12").is_err());
        assert!(bound("").is_err());
    }

    #[test]
    fn timestamps_as_text_or_milliseconds() {
        let at = Bound::Timestamp(1_704_067_200_500);
        assert_eq!(bound("timestamp:1704067200500"), Ok(at.clone()));
        assert_eq!(bound("timestamp:2024-01-01T00:00:00.5Z"), Ok(at.clone()));
        assert_eq!(bound("timestamp: 2024-01-01T02:00:00.500+02:00"), Ok(at));
        for bad in [
            "timestamp:",
            "timestamp:-1",
            "timestamp:2024-01-01",
            "timestamp:2024-01-01T00:00:00",
            "timestamp:2024-01-01T00:00:00.0001Z",
            "timestamp:1969-12-31T23:59:59Z",
            "timestamp:18446744073709551615",
        ] {
            assert!(bound(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn offsets_as_a_json_object() {
        let expected = Bound::Offsets(BTreeMap::from([(0, 12), (1, 40)]));
        assert_eq!(bound(r#"offsets:{"0":12,"1":40}"#), Ok(expected.clone()));
        assert_eq!(bound(r#"offsets: { "1" : 40 , "0" : 12 } "#), Ok(expected));
        for bad in [
            "offsets:",
            "offsets:{}",
            "offsets:12",
            r#"offsets:{"0":12,}"#,
            r#"offsets:{0:12}"#,
            r#"offsets:{"0":"12"}"#,
            r#"offsets:{"0":-1}"#,
            r#"offsets:{"+0":1}"#,
            r#"offsets:{"0":1} x"#,
            r#"offsets:{"0":1,"0":2}"#,
            r#"offsets:{"0":1:2}"#,
            r#"offsets:{"2147483648":1}"#,
            r#"offsets:{"0":9223372036854775808}"#,
        ] {
            assert!(bound(bad).is_err(), "{bad}");
        }
    }
}
