//! From samples to columns.

use super::*;

fn infer(payloads: &[&str]) -> Fields {
    let mut inference = SchemaInference::new();
    for payload in payloads {
        inference.add(payload.as_bytes()).unwrap();
    }
    assert_eq!(inference.records(), payloads.len());
    let fields = inference.finish();
    // What was inferred from a document must be able to read it.
    let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
    for payload in payloads {
        decoder.append(payload.as_bytes()).unwrap();
    }
    decoder.finish().unwrap();
    fields
}

fn value_type(values: &[&str]) -> DataType {
    let payloads: Vec<_> = values
        .iter()
        .map(|value| format!("{{\"v\":{value}}}"))
        .collect();
    let payloads: Vec<_> = payloads.iter().map(String::as_str).collect();
    let inferred = infer(&payloads)[0].data_type().clone();
    let mut inference = ValueInference::new();
    for value in values {
        inference.add(value.as_bytes()).unwrap();
    }
    assert_eq!(inference.finish(), inferred);
    inferred
}

#[test]
fn columns_come_in_order_of_first_appearance() {
    let fields = infer(&[r#"{"b":1}"#, r#"{"a":"x","b":2}"#, r#"{"B":true,"c":null}"#]);
    let names: Vec<_> = fields.iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["b", "a", "B", "c"]);
    assert!(fields.iter().all(|field| field.is_nullable()));
}

#[test]
fn kinds_become_types() {
    let list = |item| DataType::new_list(item, true);
    let structure = |data_type| DataType::Struct(field("a", data_type));
    let mixed = |name| TextEncoding::Mixed.mark(Field::new(name, DataType::Utf8View, true));
    let mixed_list = DataType::List(mixed("item").into());
    let mixed_structure = DataType::Struct(vec![mixed("a")].into());
    for (values, data_type) in [
        (&["1", "null", "-9223372036854775808"][..], DataType::Int64),
        (&["1", "2.5"], DataType::Float64),
        (&["2.0"], DataType::Float64),
        (&["1e400"], DataType::Utf8View),
        (&["true", "false"], DataType::Boolean),
        (&["\"2024-01-01T00:00:00Z\""], DataType::Utf8View),
        (&["null"], DataType::Utf8View),
        (&["1", "true"], DataType::Utf8View),
        (&["1", "[1]"], DataType::Utf8View),
        (&["{\"a\":1}", "[1]"], DataType::Utf8View),
        (&["[]"], list(DataType::Utf8View)),
        (&["[1,null]", "[]", "[2.5]"], list(DataType::Float64)),
        (&["[1,\"x\"]"], mixed_list),
        (&["[[1]]"], list(list(DataType::Int64))),
        (&["{}"], DataType::Utf8View),
        (&["{}", "{\"a\":1}"], structure(DataType::Int64)),
        (&["{\"a\":\"x\",\"a\":1}"], structure(DataType::Int64)),
        (&["{\"a\":1}", "{\"a\":[]}"], mixed_structure),
    ] {
        assert_eq!(value_type(values), data_type, "{values:?}");
    }
}

#[test]
fn what_is_not_quite_json_counts_where_that_is_asked_for() {
    let infer = |documents: &[&str]| {
        let mut inference = SchemaInference::new().with_lenient(true);
        for document in documents {
            assert!(SchemaInference::new().add(document.as_bytes()).is_err());
            inference.add(document.as_bytes()).unwrap();
        }
        let fields = inference.finish();
        let options = DecodeOptions {
            lenient: true,
            ..DecodeOptions::default()
        };
        let mut decoder = RowDecoder::try_new(&fields, &options).unwrap();
        for document in documents {
            decoder.append(document.as_bytes()).unwrap();
        }
        fields
    };
    let list = DataType::new_list(DataType::Float64, true);
    let documents = [r#"{"f":NaN,"l":[1]}"#, r#"{"f":1,"l":[-Infinity]}"#];
    assert_eq!(
        infer(&documents),
        Fields::from(vec![
            Field::new("f", DataType::Float64, true),
            Field::new("l", list, true),
        ])
    );
    assert_eq!(infer(&["{\"a\tb\":1}"])[0].name(), "a\tb");
    assert_eq!(
        infer(&[r#"{"v":NaN}"#, r#"{"v":NaN,"v":true}"#])[0].data_type(),
        &DataType::Utf8View
    );
    let mut key = ValueInference::new().with_lenient(true);
    key.add(b"1").unwrap();
    key.add(b"NaN").unwrap();
    assert_eq!(key.finish(), DataType::Float64);
}

#[test]
fn a_byte_order_mark_does_not_count() {
    let fields = infer(&["\u{feff}{\"v\":1}", "{\"v\":2}"]);
    assert_eq!(fields, field("v", DataType::Int64));
    let mut key = ValueInference::new();
    key.add("\u{feff}1".as_bytes()).unwrap();
    assert_eq!(key.finish(), DataType::Int64);
}

#[test]
fn bad_documents_leave_no_trace() {
    let mut inference = SchemaInference::new();
    for payload in ["", "1", "[]", "{\"a\":1,}", "{\"a\":1} x"] {
        assert!(inference.add(payload.as_bytes()).is_err());
    }
    assert_eq!(inference.records(), 0);
    assert!(inference.finish().is_empty());
}

#[test]
fn numbers_become_the_first_type_that_keeps_them() {
    let decimal = |scale| DataType::Decimal128(38, scale);
    for (values, data_type) in [
        (&["9223372036854775807", "-1"][..], DataType::Int64),
        (&["9223372036854775808", "0"], DataType::UInt64),
        (&["18446744073709551615"], DataType::UInt64),
        (&["18446744073709551616"], decimal(0)),
        (&["9223372036854775808", "-1"], decimal(0)),
        (&["99999999999999999999999999999999999999"], decimal(0)),
        (
            &["100000000000000000000000000000000000001"],
            DataType::Utf8View,
        ),
        // Doubles of programs, which may have 17 digits.
        (&["0.30000000000000004", "1e300", "7"], DataType::Float64),
        (&["1.0", "123456789012345"], DataType::Float64),
        (&["2.5", "9007199254740993"], decimal(1)),
        // An identifier, though double precision has it.
        (&["2.5", "9007199254740994"], decimal(1)),
        (&["0.1234567890123456789"], decimal(19)),
        (&["0.1234567890123456789", "1e18"], decimal(19)),
        (&["0.1234567890123456789", "1e19"], DataType::Utf8View),
        (&["9007199254740993", "1e-300"], DataType::Utf8View),
        (&["1e-400"], DataType::Utf8View),
    ] {
        assert_eq!(value_type(values), data_type, "{values:?}");
        let mut backwards = values.to_vec();
        backwards.reverse();
        assert_eq!(value_type(&backwards), data_type, "{values:?}");
    }
}

#[test]
fn numbers_in_lists_and_objects_are_kept_too() {
    let number = DataType::Decimal128(38, 1);
    for (values, data_type) in [
        (
            &["[2.5]", "[9007199254740993]"],
            DataType::new_list(number.clone(), true),
        ),
        (
            &["{\"a\":2.5}", "{\"a\":9007199254740993}"],
            DataType::Struct(field("a", number)),
        ),
    ] {
        assert_eq!(value_type(values), data_type, "{values:?}");
    }
}

#[test]
fn an_inferred_double_refuses_what_it_would_round() {
    let fields = field("v", DataType::Float64);
    let options = DecodeOptions {
        exact_doubles: true,
        coerce: true,
        ..DecodeOptions::default()
    };
    let mut decoder = RowDecoder::try_new(&fields, &options).unwrap();
    for kept in [
        "0.1",
        "0.30000000000000004",
        "9007199254740994",
        "1e300",
        "\"NaN\"",
        "\"2.50\"",
    ] {
        decoder
            .append(format!("{{\"v\":{kept}}}").as_bytes())
            .unwrap_or_else(|error| panic!("{kept}: {error}"));
    }
    for rounded in [
        "9007199254740993",
        "18446744073709551617.0",
        "4e-324",
        "\"9007199254740993\"",
    ] {
        let error = decoder
            .append(format!("{{\"v\":{rounded}}}").as_bytes())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected Float64 but found a number that it would round in `v` at byte 5"
        );
    }
}
