//! What is read though it is not quite JSON: byte order marks, and with lenience more.

use arrow::array::AsArray;
use arrow::datatypes::*;

use super::decoding::{rows, some, strings};
use super::*;

#[test]
fn a_byte_order_mark_is_passed_over_and_counted() {
    let fields = field("a", DataType::Int64);
    let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
    for document in [
        "{\"a\":1}",
        " {\"A\":1}",
        "{\"a\":1,\"a\":1}",
        "{\"b\":\"é\",\"a\":1}",
    ] {
        decoder.append(document.as_bytes()).unwrap();
        decoder
            .append(format!("\u{feff}{document}").as_bytes())
            .unwrap();
    }
    let error = decoder
        .append("\u{feff}{\"a\":true}".as_bytes())
        .unwrap_err();
    assert_eq!((error.path.as_str(), error.position), ("a", 8));
    for document in [
        "\u{feff}\u{feff}{}",
        " \u{feff}{}",
        "{}\u{feff}",
        "\u{feff}",
    ] {
        assert!(decoder.append(document.as_bytes()).is_err());
    }
    let column = decoder.finish().unwrap().remove(0);
    let values = column.as_primitive::<Int64Type>();
    assert!(values.iter().take(8).all(|value| value == Some(1)));
    assert_eq!(values.null_count(), 5);

    let key = Field::new("key", DataType::Int64, false);
    let mut decoder = ValueDecoder::try_new(&key, &DecodeOptions::default()).unwrap();
    decoder.append("\u{feff}42".as_bytes()).unwrap();
    let error = decoder.append("\u{feff}\"x\"".as_bytes()).unwrap_err();
    assert_eq!(error.position, 3);
    let keys = decoder.finish().unwrap();
    assert_eq!(keys.as_primitive::<Int64Type>().value(0), 42);
}

fn lenient() -> DecodeOptions {
    DecodeOptions {
        lenient: true,
        ..DecodeOptions::default()
    }
}

#[test]
fn words_for_numbers_are_read_where_that_is_asked_for() {
    for data_type in [DataType::Float16, DataType::Float32, DataType::Float64] {
        for (json, value) in [
            ("NaN", f64::NAN),
            ("Infinity", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert!(decode(&data_type, json).is_err());
            let array = decode_with(&data_type, &lenient(), json).unwrap();
            let array = cast(&array, &DataType::Float64).unwrap();
            let read = array.as_primitive::<Float64Type>().value(0);
            assert!(read == value || read.is_nan() && value.is_nan(), "{json}");
        }
    }
    // In other columns they do not fit, and as text they are what stands there.
    for data_type in [
        DataType::Int64,
        DataType::Decimal128(10, 2),
        DataType::Boolean,
        DataType::Date32,
        DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Binary,
        DataType::new_list(DataType::Float64, true),
    ] {
        let coerce = DecodeOptions {
            coerce: true,
            timestamp_unit: Some(TimeUnit::Second),
            ..lenient()
        };
        for options in [lenient(), coerce] {
            let result = decode_with(&data_type, &options, "NaN");
            assert_eq!(found(result), "NaN or an infinity");
        }
    }
    let text = decode_with(&DataType::Utf8, &lenient(), r#"{"x": [NaN,-Infinity]}"#).unwrap();
    assert_eq!(
        text.as_string::<i32>().value(0),
        r#"{"x": [NaN,-Infinity]}"#
    );
    let list = DataType::new_list(DataType::Float64, true);
    let list = decode_with(&list, &lenient(), "[1,NaN,null,-Infinity]").unwrap();
    let items = list.as_list::<i32>().value(0);
    let items: Vec<_> = items.as_primitive::<Float64Type>().iter().collect();
    assert!(
        matches!(items[..], [Some(1.0), Some(nan), None, Some(f64::NEG_INFINITY)] if nan.is_nan())
    );
    for json in [
        "nan",
        "NAN",
        "Inf",
        "inf",
        "+Infinity",
        "-NaN",
        "--Infinity",
        "NaNs",
        "infinity",
    ] {
        assert!(
            decode_with(&DataType::Float64, &lenient(), json).is_err(),
            "{json}"
        );
        assert!(
            decode_with(&DataType::Utf8, &lenient(), json).is_err(),
            "{json}"
        );
    }
    let mut decoder = RowDecoder::try_new(&strings(&["a"]), &lenient()).unwrap();
    assert!(decoder.append(b"{NaN:1}").is_err());
}

#[test]
fn strings_that_are_not_quite_json_are_read_where_that_is_asked_for() {
    for (json, value) in [
        (r#""hi \ud83d""#, "hi \u{fffd}"),
        (r#""\udc00\ud83d\ude00""#, "\u{fffd}😀"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
        (r#""\ud83dx\ude00""#, "\u{fffd}x\u{fffd}"),
        (r#""\ud83d\n\u0041""#, "\u{fffd}\nA"),
        (r#""\ud83d\u0041""#, "\u{fffd}A"),
        (r#""\ud83d\\u0041""#, "\u{fffd}\\u0041"),
        ("\"a\tb\nc\u{0}\u{1f}\"", "a\tb\nc\u{0}\u{1f}"),
        ("[\"a\tb\", \"\\ud83d\"]", "[\"a\tb\", \"\\ud83d\"]"),
    ] {
        for data_type in [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View] {
            assert!(decode(&data_type, json).is_err());
            let array = decode_with(&data_type, &lenient(), json).unwrap();
            let array = cast(&array, &DataType::Utf8).unwrap();
            assert_eq!(array.as_string::<i32>().value(0), value, "{json}");
        }
    }
    for json in [r#""\ud8""#, r#""\x""#, "\"\\\n\"", "\"open", "\"\t"] {
        assert!(
            decode_with(&DataType::Utf8, &lenient(), json).is_err(),
            "{json}"
        );
    }
    // Names, too.
    let fields = strings(&["a\tb", "\u{fffd}"]);
    let document = "{\"a\tb\":\"x\",\"\\ud83d\":\"y\"}";
    assert_eq!(
        rows(&fields, &lenient(), &[document; 3]),
        vec![[some("x"), some("y")]; 3]
    );
    let map = DataType::Map(
        Field::new_struct(
            "entries",
            [
                Field::new("key", DataType::Utf8, false),
                Field::new("value", DataType::Float64, true),
            ]
            .to_vec(),
            false,
        )
        .into(),
        false,
    );
    let array = decode_with(&map, &lenient(), "{\"\\ud83d\":1,\"\\udc00\":NaN}").unwrap();
    assert_eq!(
        array
            .as_map()
            .keys()
            .as_string::<i32>()
            .iter()
            .collect::<Vec<_>>(),
        [Some("\u{fffd}")]
    );
}
