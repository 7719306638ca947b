//! Dates, times and durations.

use arrow::array::{AsArray, Date32Array};
use arrow::datatypes::*;

use super::*;

fn timestamp(unit: TimeUnit, zone: Option<&str>) -> DataType {
    DataType::Timestamp(unit, zone.map(Into::into))
}

fn millis(zone: Option<&str>, text: &str) -> Result<i64, &'static str> {
    let data_type = timestamp(TimeUnit::Millisecond, zone);
    match decode(&data_type, &format!("\"{text}\"")) {
        Ok(array) => Ok(array.as_primitive::<TimestampMillisecondType>().value(0)),
        error => Err(found(error)),
    }
}

#[test]
fn timestamps_are_read_in_all_usual_forms() {
    let noon = 1_709_208_000_000; // 2024-02-29T12:00:00Z
    for text in [
        "2024-02-29T12:00:00Z",
        "2024-02-29t12:00:00z",
        "2024-02-29 12:00Z",
        "2024-02-29T12:00:00.000000000000Z",
        "2024-02-29T14:00:00+02:00",
        "2024-02-29T14:00+0200",
        "2024-02-29T14:00:00.0+02",
        "2024-02-29T06:30:00-05:30",
        "2024-02-29T12:00:00",
        "+2024-02-29T12:00:00-00:00",
    ] {
        assert_eq!(millis(Some("UTC"), text), Ok(noon), "{text}");
        assert_eq!(millis(None, text), Ok(noon), "{text}");
    }
    assert_eq!(millis(None, "2024-02-29"), Ok(noon - 43_200_000));
    assert_eq!(millis(None, "1969-12-31T23:59:59.999"), Ok(-1));
    assert_eq!(millis(None, "0000-01-01"), Ok(-62_167_219_200_000));
    assert_eq!(millis(None, "-0001-12-31"), Ok(-62_167_305_600_000));
}

#[test]
fn malformed_timestamps_are_refused() {
    for text in [
        "",
        "2024",
        "2024-2-29",
        "2024-02-30",
        "2023-02-29",
        "2024-13-01",
        "2024-00-01",
        "2024-01-00",
        "24-01-01",
        "12024-01-01",
        "+999-01-01",
        "2024-01-01T",
        "2024-01-01T1:00",
        "2024-01-01T24:00:00",
        "2024-01-01T23:60:00",
        "2024-01-01T23:59:60Z",
        "2024-01-01T12:00:00.",
        "2024-01-01T12:00:00,5",
        "2024-01-01T12:00:00+1",
        "2024-01-01T12:00:00+02:",
        "2024-01-01T12:00:00+24:00",
        "2024-01-01T12:00:00+02:60",
        "2024-01-01T12:00:00 Z",
        "2024-01-01T12:00:00Zx",
        "2024-01-01Z",
        " 2024-01-01",
        "2024-01-01T12:00:00\u{e9}",
        "\u{ff12}024-01-01",
    ] {
        let what = "a string that is not an ISO 8601 date or time";
        assert_eq!(millis(None, text), Err(what), "{text}");
    }
}

#[test]
fn precision_beyond_the_unit_must_be_zeros() {
    assert_eq!(millis(None, "1970-01-01T00:00:00.0010000"), Ok(1));
    assert_eq!(
        millis(None, "1970-01-01T00:00:00.0001"),
        Err("a date or time more precise than the column")
    );
    let nanos = timestamp(TimeUnit::Nanosecond, None);
    let least = "\"1677-09-21T00:12:43.145224192\"";
    assert_eq!(normal(&nanos, least), least);
    assert!(decode(&nanos, "\"1677-09-21T00:12:43.145224191\"").is_err());
    assert!(decode(&nanos, "\"2262-04-11T23:47:16.854775808\"").is_err());
}

#[test]
fn local_times_are_those_of_the_columns_zone() {
    let berlin = Some("Europe/Berlin");
    assert_eq!(millis(berlin, "1970-01-01T01:00:00"), Ok(0));
    assert_eq!(millis(Some("+05:30"), "1970-01-01T05:30"), Ok(0));
    let twice_or_never = "a local time that the column's time zone does not have or has twice";
    assert_eq!(millis(berlin, "2024-03-31T02:30:00"), Err(twice_or_never));
    assert_eq!(millis(berlin, "2024-10-27T02:30:00"), Err(twice_or_never));
    assert_eq!(
        millis(berlin, "2024-10-27T02:30:00+01:00"),
        Ok(1_729_992_600_000)
    );
    assert_eq!(millis(Some("Mars/Base"), "1970-01-01T00:00:01Z"), Ok(1000));
    assert!(millis(Some("Mars/Base"), "1970-01-01T00:00:01").is_err());
}

#[test]
fn timestamps_are_written_with_the_offset_of_their_zone() {
    let json = "\"2024-07-01T12:00:00.5Z\"";
    for (zone, written) in [
        (None, "\"2024-07-01T12:00:00.500\""),
        (Some("UTC"), "\"2024-07-01T12:00:00.500Z\""),
        (Some("+00:00"), "\"2024-07-01T12:00:00.500Z\""),
        (Some("-03:30"), "\"2024-07-01T08:30:00.500-03:30\""),
        (Some("Europe/Berlin"), "\"2024-07-01T14:00:00.500+02:00\""),
        (Some("Mars/Base"), "\"2024-07-01T12:00:00.500Z\""),
    ] {
        assert_eq!(
            normal(&timestamp(TimeUnit::Microsecond, zone), json),
            written
        );
    }
    // Local mean time, whose offset is not whole minutes, is written as UTC.
    let berlin = timestamp(TimeUnit::Second, Some("Europe/Berlin"));
    let old = "\"1850-01-01T00:00:00Z\"";
    assert_eq!(normal(&berlin, old), old);
}

#[test]
fn every_instant_round_trips_up_to_the_ends_of_the_type() {
    use arrow::array::{Date32Array, Date64Array, TimestampSecondArray};
    for value in [i64::MIN, i64::MAX, 0, -1, 253_402_300_800, -62_167_219_201] {
        for zone in [None, Some("UTC"), Some("Europe/Berlin"), Some("+14:00")] {
            let array = TimestampSecondArray::from(vec![value]).with_timezone_opt(zone);
            let array: ArrayRef = Arc::new(array);
            let json = encode(&array);
            assert_eq!(
                decode(array.data_type(), &json).unwrap().to_data(),
                array.to_data()
            );
        }
        let array: ArrayRef = Arc::new(Date64Array::from(vec![value]));
        assert_eq!(
            decode(&DataType::Date64, &encode(&array))
                .unwrap()
                .to_data(),
            array.to_data()
        );
    }
    for value in [i32::MIN, i32::MAX, 0, -1, 11_016, 2_932_897] {
        let array: ArrayRef = Arc::new(Date32Array::from(vec![value]));
        assert_eq!(
            decode(&DataType::Date32, &encode(&array))
                .unwrap()
                .to_data(),
            array.to_data()
        );
    }
}

#[test]
fn calendar_agrees_with_arrow() {
    for date in [
        "2000-02-29",
        "1900-03-01",
        "1600-12-31",
        "0001-01-01",
        "9999-12-31",
    ] {
        let array = text(date, &DataType::Date32);
        assert_eq!(encode(&array), format!("\"{date}\""));
        let read = decode(&DataType::Date32, &format!("\"{date}\"")).unwrap();
        assert_eq!(read.to_data(), array.to_data());
    }
}

#[test]
fn every_day_of_four_centuries_is_written_as_by_arrow() {
    let array: ArrayRef = Arc::new(Date32Array::from_iter_values(-30_000..120_000));
    let expected = cast(&array, &DataType::Utf8).unwrap();
    let field = Field::new("v", DataType::Date32, true);
    let encoder = ValueEncoder::try_new(&field, &EncodeOptions::default()).unwrap();
    let rows = encoder.batch(&array).unwrap();
    for (row, date) in expected.as_string::<i32>().iter().flatten().enumerate() {
        let mut out = Vec::new();
        rows.write(row, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("\"{date}\""));
    }
}

#[test]
fn dates_are_whole_days() {
    assert_eq!(
        normal(&DataType::Date32, "\"2024-02-29T00:00:00.000Z\""),
        "\"2024-02-29\""
    );
    assert!(decode(&DataType::Date32, "\"2024-02-29T00:00:01Z\"").is_err());
    assert_eq!(
        normal(&DataType::Date64, "\"2024-02-29\""),
        "\"2024-02-29\""
    );
    assert_eq!(
        normal(&DataType::Date64, "\"2024-02-29T12:00Z\""),
        "\"2024-02-29T12:00:00\""
    );
}

#[test]
fn times_of_day_are_within_one_day() {
    let micros = DataType::Time64(TimeUnit::Microsecond);
    assert_eq!(
        normal(&micros, "\"23:59:59.999999\""),
        "\"23:59:59.999999\""
    );
    assert_eq!(normal(&micros, "\"07:30\""), "\"07:30:00\"");
    for json in [
        "\"24:00:00\"",
        "\"7:30\"",
        "\"07:30Z\"",
        "\"07:30:60\"",
        "\"\"",
        "1",
    ] {
        assert!(decode(&micros, json).is_err(), "{json}");
    }
    assert!(decode(&DataType::Time32(TimeUnit::Second), "\"07:30:00.5\"").is_err());
    let late: ArrayRef = Arc::new(arrow::array::Time32SecondArray::from(vec![86_400]));
    let error = encode_with(&late, &EncodeOptions::default()).unwrap_err();
    assert_eq!(error.kind, EncodeErrorKind::TimeOfDay);
    assert_eq!(error.path, "v");
}

#[test]
fn numbers_are_times_only_with_a_unit() {
    let with = |unit| DecodeOptions {
        timestamp_unit: Some(unit),
        ..DecodeOptions::default()
    };
    let seconds = with(TimeUnit::Second);
    let ms = timestamp(TimeUnit::Millisecond, Some("UTC"));
    let read = |data_type: &DataType, options: &DecodeOptions, json: &str| {
        decode_with(data_type, options, json).map(|array| encode(&array))
    };
    assert_eq!(
        read(&ms, &seconds, "1709208000.5").unwrap(),
        "\"2024-02-29T12:00:00.500Z\""
    );
    assert_eq!(
        read(&ms, &seconds, "\"2024-02-29\"").unwrap(),
        "\"2024-02-29T00:00:00Z\""
    );
    assert_eq!(
        read(&ms, &with(TimeUnit::Microsecond), "1000").unwrap(),
        "\"1970-01-01T00:00:00.001Z\""
    );
    assert!(read(&ms, &with(TimeUnit::Microsecond), "1001").is_err());
    assert!(read(&ms, &seconds, "9223372036854775807").is_err());
    assert!(read(&ms, &seconds, "1e999999999").is_err());
    assert_eq!(
        read(&DataType::Date32, &seconds, "86400").unwrap(),
        "\"1970-01-02\""
    );
    assert!(read(&DataType::Date32, &seconds, "86401").is_err());
    assert_eq!(
        read(&DataType::Date64, &seconds, "-86400").unwrap(),
        "\"1969-12-31\""
    );
    let time = DataType::Time32(TimeUnit::Second);
    assert_eq!(
        read(&time, &with(TimeUnit::Millisecond), "1000").unwrap(),
        "\"00:00:01\""
    );
    assert!(read(&time, &seconds, "86400").is_err());
    assert!(read(&time, &seconds, "-1").is_err());

    let error = decode(&ms, "1709208000").unwrap_err();
    let expected = ms.clone();
    let found = Found::Number;
    assert_eq!(error.kind, DecodeErrorKind::Type { expected, found });
}

#[test]
fn durations_are_exact() {
    let nanos = DataType::Duration(TimeUnit::Nanosecond);
    for (json, written) in [
        ("\"PT1.5S\"", "\"PT1.500S\""),
        ("\"-PT1.5S\"", "\"-PT1.500S\""),
        ("\"PT-1.5S\"", "\"-PT1.500S\""),
        ("\"P1DT2H\"", "\"PT93600S\""),
        ("\"P1W\"", "\"PT604800S\""),
        ("\"PT1H-60M\"", "\"PT0S\""),
        ("\"P0M\"", "\"PT0S\""),
        (
            "\"PT-9223372036.854775808S\"",
            "\"-PT9223372036.854775808S\"",
        ),
    ] {
        assert_eq!(normal(&nanos, json), written, "{json}");
    }
    for json in [
        "\"\"",
        "\"P\"",
        "\"PT\"",
        "\"P1DT\"",
        "\"1S\"",
        "\"PT1\"",
        "\"PTS\"",
        "\"PT1.S\"",
        "\"PT.5S\"",
        "\"PT1.5H\"",
        "\"P1S\"",
        "\"PT1D\"",
        "\"PT1S1M\"",
        "\"PT1S1S\"",
        "\"PT1S1-\"",
        "\"PT1M2M\"",
        "\"P1Y\"",
        "\"pt1s\"",
        "\"PT1S \"",
        "\"PT1e3S\"",
        "\"PT1.0000000001S\"",
        "\"PT9223372037S\"",
        "\"P99999999999999999999999999999999999999999999W\"",
        "1",
    ] {
        assert!(decode(&nanos, json).is_err(), "{json}");
    }
}

#[test]
fn intervals_keep_their_parts() {
    let months = DataType::Interval(IntervalUnit::YearMonth);
    let days = DataType::Interval(IntervalUnit::DayTime);
    let all = DataType::Interval(IntervalUnit::MonthDayNano);
    for (data_type, json, written) in [
        (&months, "\"P1Y2M\"", "\"P1Y2M\""),
        (&months, "\"P14M\"", "\"P1Y2M\""),
        (&months, "\"-P14M\"", "\"P-1Y-2M\""),
        (&months, "\"P0D\"", "\"PT0S\""),
        (&months, "\"P-2147483648M\"", "\"P-178956970Y-8M\""),
        (&days, "\"P1DT-0.5S\"", "\"P1DT-0.500S\""),
        (&days, "\"PT24H\"", "\"PT86400S\""),
        (
            &days,
            "\"P-2147483648DT-2147483.648S\"",
            "\"P-2147483648DT-2147483.648S\"",
        ),
        (&all, "\"P1Y2M3DT4H5M6.7S\"", "\"P1Y2M3DT14706.700S\""),
        (&all, "\"P1W\"", "\"P7D\""),
        (
            &all,
            "\"PT-9223372036.854775808S\"",
            "\"PT-9223372036.854775808S\"",
        ),
    ] {
        assert_eq!(normal(data_type, json), written, "{json}");
    }
    assert!(decode(&months, "\"P1D\"").is_err());
    assert!(decode(&days, "\"P1M\"").is_err());
    assert!(decode(&days, "\"PT0.0001S\"").is_err());
    assert!(decode(&months, "\"P178956971Y\"").is_err());
    assert!(decode(&all, "\"P2147483648D\"").is_err());
}
