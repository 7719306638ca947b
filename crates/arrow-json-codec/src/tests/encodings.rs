//! Columns whose fields say how their values stand in JSON.

use arrow::array::AsArray;
use arrow::datatypes::{Date32Type, Decimal128Type, Decimal256Type, i256};

use super::*;

fn decoded(field: &Field, json: &str) -> Result<ArrayRef, DecodeError> {
    let mut decoder = ValueDecoder::try_new(field, &DecodeOptions::default()).unwrap();
    decoder.append(json.as_bytes())?;
    Ok(decoder.finish().unwrap())
}

fn written(field: &Field, array: ArrayRef) -> String {
    let encoder = ValueEncoder::try_new(field, &EncodeOptions::default()).unwrap();
    let mut out = Vec::new();
    encoder.batch(&array).unwrap().write(0, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn marked(encoding: TextEncoding, data_type: DataType) -> Field {
    assert!(encoding.applies_to(&data_type));
    encoding.mark(Field::new("v", data_type, true))
}

#[test]
fn decimals_are_the_base64_of_their_unscaled_bytes() {
    let field = marked(TextEncoding::Base64Decimal, DataType::Decimal128(10, 2));
    for (json, unscaled) in [
        ("\"AA==\"", 0),
        ("\"AQ==\"", 1),
        ("\"AIA=\"", 128),
        ("\"gA==\"", -128),
        ("\"/w==\"", -1),
        ("\"Ae8=\"", 495),
        ("\"ATj/\"", 80_127),
    ] {
        let array = decoded(&field, json).unwrap();
        assert_eq!(
            array.as_primitive::<Decimal128Type>().value(0),
            unscaled,
            "{json}"
        );
        assert_eq!(written(&field, array), json);
    }
    // More bytes than needed, and a number.
    let long = format!("\"{}Ae8=\"", "AAAA".repeat(20));
    for json in ["\"AAAAAAAAAAAAAAAAAAAAAAAAAe8=\"", &long, "4.95", "495e-2"] {
        let array = decoded(&field, json).unwrap();
        assert_eq!(
            array.as_primitive::<Decimal128Type>().value(0),
            495,
            "{json}"
        );
    }
    for (json, found) in [
        ("\"?\"", Found::NotBase64),
        ("\"\"", Found::OutOfRange),
        ("\"Ag5OC/gAAA==\"", Found::OutOfRange),
        ("4.951", Found::DecimalPlaces),
        ("true", Found::Boolean),
    ] {
        let kind = decoded(&field, json).unwrap_err().kind;
        let expected = field.data_type().clone();
        assert_eq!(kind, DecodeErrorKind::Type { expected, found }, "{json}");
    }
    let wide = marked(TextEncoding::Base64Decimal, DataType::Decimal256(76, 0));
    let array = decoded(&wide, "\"AQAAAAAAAAAAAAAAAAAAAAA=\"").unwrap();
    let expected = i256::from_parts(0, 1);
    assert_eq!(array.as_primitive::<Decimal256Type>().value(0), expected);
    assert_eq!(written(&wide, array), "\"AQAAAAAAAAAAAAAAAAAAAAA=\"");
}

#[test]
fn dates_are_numbers_of_days() {
    let field = with_days(&Field::new("v", DataType::Date32, true));
    for (json, days) in [
        ("0", 0),
        ("-1", -1),
        ("19723", 19_723),
        ("2147483647", i32::MAX),
    ] {
        let array = decoded(&field, json).unwrap();
        assert_eq!(array.as_primitive::<Date32Type>().value(0), days);
        assert_eq!(written(&field, array), json);
    }
    let text = decoded(&field, "\"2024-01-01\"").unwrap();
    assert_eq!(text.as_primitive::<Date32Type>().value(0), 19_723);
    assert!(decoded(&field, "1.5").is_err() && decoded(&field, "2147483648").is_err());
    // Within other types, and only in dates.
    let item = Field::new("item", DataType::Date32, true);
    let list = with_days(&Field::new("v", DataType::List(item.into()), true));
    assert_eq!(
        written(&list, decoded(&list, "[1,null]").unwrap()),
        "[1,null]"
    );
    let number = Field::new("v", DataType::Int64, true);
    assert_eq!(with_days(&number), number);
}

#[test]
fn bytes_are_hexadecimal_digits() {
    for data_type in [
        DataType::Binary,
        DataType::LargeBinary,
        DataType::BinaryView,
        DataType::FixedSizeBinary(3),
    ] {
        let field = marked(TextEncoding::Hex, data_type);
        let array = decoded(&field, "\"00fFa1\"").unwrap();
        assert_eq!(written(&field, array), "\"00ffa1\"");
        for json in ["\"0\"", "\"0g0000\"", "7"] {
            assert!(decoded(&field, json).is_err(), "{json}");
        }
    }
    let field = marked(TextEncoding::Hex, DataType::FixedSizeBinary(2));
    assert!(decoded(&field, "\"00ffa1\"").is_err());
}

#[test]
fn a_string_can_hold_the_json_of_a_value_of_any_type() {
    let fields = Fields::from(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Utf8View, false),
    ]);
    let field = marked(TextEncoding::Json, DataType::Struct(fields));
    let array = decoded(&field, r#""{\"a\": 1, \"b\": \"x\\n\"}""#).unwrap();
    assert_eq!(written(&field, array), r#""{\"a\":1,\"b\":\"x\\n\"}""#);
    // A value that is there as such, and a string that holds null.
    assert_eq!(
        decoded(&field, r#"{"a":2,"b":""}"#).unwrap().null_count(),
        0
    );
    assert_eq!(decoded(&field, "\"null\"").unwrap().null_count(), 1);
    assert_eq!(decoded(&field, "null").unwrap().null_count(), 1);
    let error = decoded(&field, "\"{\"").unwrap_err();
    assert_eq!(
        error.to_string().split(" but ").nth(1),
        Some("found a string whose text is not JSON in `v` at byte 0")
    );
    let error = decoded(&field, r#""{\"a\":true,\"b\":\"\"}""#).unwrap_err();
    assert_eq!((error.path.as_str(), error.position), ("v.a", 0));
    assert!(decoded(&field, r#""{\"a\":1}""#).is_err());
    let number = marked(TextEncoding::Json, DataType::Int64);
    assert_eq!(
        written(&number, decoded(&number, "\"5\"").unwrap()),
        "\"5\""
    );
    let not_null = number.with_nullable(false);
    assert!(decoded(&not_null, "\"null\"").is_err());
}

#[test]
fn an_encoding_of_another_type_is_not_taken() {
    let hex = TextEncoding::Hex.mark(Field::new("v", DataType::Int64, true));
    assert_eq!(TextEncoding::of(&hex), TextEncoding::Text);
    assert_eq!(written(&hex, decoded(&hex, "5").unwrap()), "5");
    for (encoding, data_type, applies) in [
        (TextEncoding::Hex, DataType::Utf8, false),
        (TextEncoding::Base64, DataType::BinaryView, true),
        (TextEncoding::Base64Decimal, DataType::Float64, false),
        (
            TextEncoding::Base64Decimal,
            DataType::Decimal256(3, 1),
            true,
        ),
        (TextEncoding::Mixed, DataType::Int8, false),
        (TextEncoding::Json, DataType::Int8, true),
    ] {
        assert_eq!(
            encoding.applies_to(&data_type),
            applies,
            "{encoding:?} {data_type}"
        );
    }
}
