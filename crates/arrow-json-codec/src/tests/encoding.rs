//! From columns to JSON.

use arrow::array::*;
use arrow::datatypes::*;

use super::*;

#[test]
fn rows_are_compact_objects_in_column_order() {
    let fields = Fields::from(vec![
        Field::new("b", DataType::Int64, true),
        Field::new("a \"q\"", DataType::Utf8, true),
        Field::new("c", DataType::Boolean, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(i64::MIN), None])),
        Arc::new(StringArray::from(vec![Some("x"), None])),
        Arc::new(BooleanArray::from(vec![None, Some(true)])),
    ];
    for (nulls, first, second) in [
        (
            Nulls::Write,
            r#"{"b":-9223372036854775808,"a \"q\"":"x","c":null}"#,
            r#"{"b":null,"a \"q\"":null,"c":true}"#,
        ),
        (
            Nulls::Omit,
            r#"{"b":-9223372036854775808,"a \"q\"":"x"}"#,
            r#"{"c":true}"#,
        ),
    ] {
        let options = EncodeOptions {
            nulls,
            ..EncodeOptions::default()
        };
        let encoder = RowEncoder::try_new(&fields, &options).unwrap();
        let rows = encoder.batch(&columns).unwrap();
        let mut out = Vec::new();
        rows.write(0, &mut out).unwrap();
        assert_eq!(String::from_utf8(std::mem::take(&mut out)).unwrap(), first);
        rows.write(1, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), second);
    }
}

#[test]
fn codecs_may_cross_threads() {
    fn check<T: Send + Sync>() {}
    check::<RowWriter<'static>>();
    check::<ValueWriter<'static>>();
    check::<RowDecoder>();
    check::<ValueDecoder>();
}

#[test]
fn a_row_without_columns_is_an_empty_object() {
    let encoder = RowEncoder::try_new(&Fields::empty(), &EncodeOptions::default()).unwrap();
    let mut out = Vec::new();
    encoder.batch(&[]).unwrap().write(0, &mut out).unwrap();
    assert_eq!(out, b"{}");
}

#[test]
fn strings_have_as_few_escapes_as_possible() {
    let text = "\u{0}\u{1f}\u{8}\u{c}\n\r\t\"\\/\u{7f}é😀 and some plain text";
    let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let json = encode(&array);
    assert_eq!(
        json,
        "\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\/\u{7f}é😀 and some plain text\""
    );
    assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
}

#[test]
fn floats_are_as_short_as_their_type_allows() {
    let check = |array: ArrayRef, json: &str| assert_eq!(encode(&array), json);
    check(Arc::new(Float64Array::from(vec![0.1])), "0.1");
    check(Arc::new(Float32Array::from(vec![0.1])), "0.1");
    check(Arc::new(Float64Array::from(vec![-0.0])), "-0.0");
    check(Arc::new(Float64Array::from(vec![1e21])), "1e21");
    check(
        Arc::new(Float16Array::from(vec![half::f16::MAX])),
        "65504.0",
    );
}

#[test]
fn non_finite_floats_are_an_error_or_strings() {
    let strings = EncodeOptions {
        non_finite: NonFinite::String,
        ..EncodeOptions::default()
    };
    for (value, json) in [
        (f64::NAN, "\"NaN\""),
        (f64::INFINITY, "\"Infinity\""),
        (f64::NEG_INFINITY, "\"-Infinity\""),
    ] {
        let array: ArrayRef = Arc::new(Float64Array::from(vec![value]));
        assert_eq!(encode_with(&array, &strings).unwrap(), json);
        let error = encode_with(&array, &EncodeOptions::default()).unwrap_err();
        assert_eq!(error.kind, EncodeErrorKind::NonFinite);
        assert_eq!(
            error.to_string(),
            "cannot write Float64 of `v` as JSON: NaN and infinities are no JSON numbers"
        );
    }
}

#[test]
fn errors_name_the_nested_field_and_leave_no_trace() {
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>([Some(
        vec![Some(1.0), Some(f32::NAN)],
    )]));
    let fields = Fields::from(vec![Field::new("x", list.data_type().clone(), true)]);
    let encoder = RowEncoder::try_new(&fields, &EncodeOptions::default()).unwrap();
    let mut out = b"kept".to_vec();
    let columns = [list];
    let error = encoder
        .batch(&columns)
        .unwrap()
        .write(0, &mut out)
        .unwrap_err();
    assert_eq!(error.path, "x[1]");
    assert_eq!(out, b"kept");
}

#[test]
fn decimals_are_numbers_or_strings() {
    let array: ArrayRef = Arc::new(
        Decimal128Array::from(vec![-5])
            .with_precision_and_scale(10, 2)
            .unwrap(),
    );
    assert_eq!(encode(&array), "-0.05");
    let strings = EncodeOptions {
        decimals: Decimals::String,
        ..EncodeOptions::default()
    };
    assert_eq!(encode_with(&array, &strings).unwrap(), "\"-0.05\"");
    let wide: ArrayRef = Arc::new(
        Decimal128Array::from(vec![12345])
            .with_precision_and_scale(4, 2)
            .unwrap(),
    );
    let error = encode_with(&wide, &EncodeOptions::default()).unwrap_err();
    assert_eq!(error.kind, EncodeErrorKind::DecimalPrecision);
}

#[test]
fn arrays_that_do_not_fit_the_fields_are_refused() {
    let fields = Fields::from(vec![Field::new("a", DataType::Decimal128(10, 2), true)]);
    let encoder = RowEncoder::try_new(&fields, &EncodeOptions::default()).unwrap();
    let other: ArrayRef = Arc::new(Decimal128Array::from(vec![1]));
    assert!(encoder.batch(&[other]).is_err());
    assert!(encoder.batch(&[]).is_err());
    let list = DataType::new_list(DataType::Int64, true);
    let encoder = RowEncoder::try_new(&field("a", list), &EncodeOptions::default()).unwrap();
    let other: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(
        vec![Some(1)],
    )]));
    assert!(encoder.batch(&[other]).is_err());
}

#[test]
fn slices_are_written_from_their_own_start() {
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1)]),
        None,
        Some(vec![Some(2), None]),
    ]));
    assert_eq!(encode(&list.slice(2, 1)), "[2,null]");
    assert_eq!(encode(&list.slice(1, 1)), "null");
}

#[test]
fn dictionaries_may_hold_nulls_in_keys_and_values() {
    let keys = Int8Array::from(vec![Some(0), Some(1), None]);
    let values = Arc::new(StringArray::from(vec![Some("x"), None]));
    let array: ArrayRef = Arc::new(DictionaryArray::new(keys, values));
    assert_eq!(encode(&array), "\"x\"");
    assert_eq!(encode(&array.slice(1, 1)), "null");
    assert_eq!(encode(&array.slice(2, 1)), "null");
    let none: ArrayRef = new_null_array(array.data_type(), 1);
    assert_eq!(encode(&none), "null");
}
