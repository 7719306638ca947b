//! Dates and times as numbers of a unit.

use arrow::array::*;
use arrow::datatypes::*;

use super::*;

fn unit(unit: TimeUnit) -> EncodeOptions {
    EncodeOptions {
        timestamp_unit: Some(unit),
        ..EncodeOptions::default()
    }
}

#[test]
fn dates_and_times_are_numbers_of_the_unit() {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let timestamp = |unit, zone: Option<&str>| DataType::Timestamp(unit, zone.map(Into::into));
    for (data_type, given, written) in [
        (
            timestamp(Second, None),
            "2026-07-01T12:00:00",
            ["1782907200", "1782907200000", "1782907200000000000"],
        ),
        (
            timestamp(Millisecond, Some("+02:00")),
            "2026-07-01T12:00:00Z",
            ["1782907200", "1782907200000", "1782907200000000000"],
        ),
        (
            timestamp(Nanosecond, Some("UTC")),
            "1969-12-31T23:59:59Z",
            ["-1", "-1000", "-1000000000"],
        ),
        (
            timestamp(Microsecond, None),
            "1970-01-01T00:00:00",
            ["0", "0", "0"],
        ),
        (
            DataType::Date32,
            "2026-07-01",
            ["1782864000", "1782864000000", "1782864000000000000"],
        ),
        (
            DataType::Date64,
            "2026-07-01",
            ["1782864000", "1782864000000", "1782864000000000000"],
        ),
        (
            DataType::Time32(Second),
            "12:34:56",
            ["45296", "45296000", "45296000000000"],
        ),
        (
            DataType::Time32(Millisecond),
            "12:34:56",
            ["45296", "45296000", "45296000000000"],
        ),
        (
            DataType::Time64(Microsecond),
            "12:34:56",
            ["45296", "45296000", "45296000000000"],
        ),
        (
            DataType::Time64(Nanosecond),
            "12:34:56",
            ["45296", "45296000", "45296000000000"],
        ),
    ] {
        let array = text(given, &data_type);
        for (unit_of, expected) in [Second, Millisecond, Nanosecond].into_iter().zip(written) {
            let json = encode_with(&array, &unit(unit_of)).unwrap();
            assert_eq!(json, expected, "{data_type}");
            let options = DecodeOptions {
                timestamp_unit: Some(unit_of),
                ..DecodeOptions::default()
            };
            let read = decode_with(&data_type, &options, &json).unwrap();
            assert_eq!(read.to_data(), array.to_data());
        }
    }
    // Years that a count of nanoseconds reaches only beyond 64 bits.
    let far: ArrayRef = Arc::new(TimestampSecondArray::from(vec![253_402_300_799]));
    let json = encode_with(&far, &unit(Nanosecond)).unwrap();
    assert_eq!(json, "253402300799000000000");
}

#[test]
fn what_is_more_precise_than_the_unit_is_refused() {
    let late: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_000_001]));
    let refused = |unit_of| encode_with(&late, &unit(unit_of)).unwrap_err();
    for unit_of in [
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
    ] {
        assert_eq!(
            refused(unit_of).kind,
            EncodeErrorKind::UnitPrecision(unit_of)
        );
    }
    assert_eq!(
        refused(TimeUnit::Millisecond).to_string(),
        "cannot write Timestamp(ns) of `v` as JSON: it is more precise than ms, the unit of such \
         numbers"
    );
    assert_eq!(
        encode_with(&late, &unit(TimeUnit::Nanosecond)).unwrap(),
        "1000001"
    );
    let day: ArrayRef = Arc::new(Time64NanosecondArray::from(vec![86_400_000_000_000]));
    let error = encode_with(&day, &unit(TimeUnit::Nanosecond)).unwrap_err();
    assert_eq!(error.kind, EncodeErrorKind::TimeOfDay);
}

#[test]
fn a_column_may_be_text_whatever_the_unit() {
    let data_type = DataType::Timestamp(TimeUnit::Second, None);
    let text = TextEncoding::Text.mark(Field::new("v", data_type, true));
    let array: ArrayRef = Arc::new(TimestampSecondArray::from(vec![1]));
    let options = unit(TimeUnit::Millisecond);
    let encoder = ValueEncoder::try_new(&text, &options).unwrap();
    let mut out = Vec::new();
    encoder.batch(&array).unwrap().write(0, &mut out).unwrap();
    assert_eq!(out, b"\"1970-01-01T00:00:01\"");
}

#[test]
fn a_field_says_the_unit_of_its_numbers_at_every_depth() {
    let seconds = || DataType::Timestamp(TimeUnit::Second, None);
    let within = Field::new_struct("s", vec![Field::new("t", seconds(), true)], true);
    let fields = [
        Field::new("t", seconds(), true),
        Field::new("d", DataType::new_list(DataType::Date32, true), true),
        within,
        Field::new("n", DataType::Int64, true),
    ];
    let marked = fields
        .iter()
        .map(|field| with_unit(field, TimeUnit::Millisecond));
    let marked: Fields = marked.collect();
    let json = r#"{"t":1000,"d":[86400000],"s":{"t":2000},"n":1}"#;
    let mut decoder = RowDecoder::try_new(&marked, &DecodeOptions::default()).unwrap();
    decoder.append(json.as_bytes()).unwrap();
    let columns = decoder.finish().unwrap();
    let encode = |fields: &Fields, options: &EncodeOptions| {
        let encoder = RowEncoder::try_new(fields, options).unwrap();
        let mut out = Vec::new();
        encoder.batch(&columns).unwrap().write(0, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(encode(&marked, &EncodeOptions::default()), json);
    // Before what is said of all.
    assert_eq!(encode(&marked, &unit(TimeUnit::Second)), json);
    assert_eq!(
        encode(&Fields::from(fields.to_vec()), &EncodeOptions::default()),
        r#"{"t":"1970-01-01T00:00:01","d":["1970-01-02"],"s":{"t":"1970-01-01T00:00:02"},"n":1}"#
    );
}

#[test]
fn durations_are_text_whatever_the_unit() {
    let span: ArrayRef = Arc::new(DurationMillisecondArray::from(vec![1500]));
    let json = encode_with(&span, &unit(TimeUnit::Millisecond)).unwrap();
    assert_eq!(json, "\"PT1.500S\"");
}

#[test]
fn what_is_set_takes_the_form_of_what_it_replaces() {
    let fields = Fields::from(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("day", DataType::Date32, true),
    ]);
    let options = unit(TimeUnit::Millisecond);
    let patch = ObjectPatch::try_new(&fields, &[0, 1], NameMatching::default(), &options).unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from(vec![1500])),
        Arc::new(Date32Array::from(vec![1])),
    ];
    let rows = patch.batch(&columns).unwrap();
    for (object, expected) in [
        (r#"{"ts":1,"day":2}"#, r#"{"ts":1500,"day":86400000}"#),
        (
            r#"{"ts":"1970-01-01T00:00:00Z","day":0}"#,
            r#"{"ts":"1970-01-01T00:00:01.500","day":86400000}"#,
        ),
        (
            r#"{"ts":null,"day":"1970-01-01"}"#,
            r#"{"ts":1500,"day":"1970-01-02"}"#,
        ),
        (r#"{}"#, r#"{"ts":1500,"day":86400000}"#),
    ] {
        let mut out = Vec::new();
        rows.write(0, object.as_bytes(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
