//! From JSON to columns.

use arrow::array::{AsArray, StringViewArray};
use arrow::datatypes::*;

use super::*;

pub(super) fn strings(names: &[&str]) -> Fields {
    names
        .iter()
        .map(|name| Field::new(*name, DataType::Utf8View, true))
        .collect()
}

pub(super) fn rows(
    fields: &Fields,
    options: &DecodeOptions,
    payloads: &[&str],
) -> Vec<Vec<Option<String>>> {
    let mut decoder = RowDecoder::try_new(fields, options).unwrap();
    for payload in payloads {
        decoder.append(payload.as_bytes()).unwrap();
    }
    let columns = decoder.finish().unwrap();
    (0..payloads.len())
        .map(|row| {
            columns
                .iter()
                .map(|column| {
                    let column: &StringViewArray = column.as_string_view();
                    column.is_valid(row).then(|| column.value(row).to_owned())
                })
                .collect()
        })
        .collect()
}

fn row(names: &[&str], payload: &str) -> Vec<Option<String>> {
    rows(&strings(names), &DecodeOptions::default(), &[payload]).remove(0)
}

pub(super) fn some(value: &str) -> Option<String> {
    Some(value.to_owned())
}

#[test]
fn exact_names_beat_names_that_differ_in_case() {
    assert_eq!(row(&["a"], r#"{"A":"x"}"#), [some("x")]);
    assert_eq!(row(&["a"], r#"{"a":"y","A":"x"}"#), [some("y")]);
    assert_eq!(row(&["a"], r#"{"A":"x","a":"y","A":"z"}"#), [some("y")]);
    assert_eq!(row(&["a"], r#"{"A":"x","a":null}"#), [None]);
    assert_eq!(row(&["a", "A"], r#"{"a":"x"}"#), [some("x"), None]);
    assert_eq!(row(&["aa", "AA"], r#"{"aA":"x"}"#), [some("x"), some("x")]);
    assert_eq!(
        row(&["a", "A"], r#"{"A":"y","a":"x"}"#),
        [some("x"), some("y")]
    );
    assert_eq!(row(&["größe"], r#"{"GRÖSSE":"x"}"#), [None]);
    assert_eq!(row(&["größe"], r#"{"GRÖßE":"x"}"#), [some("x")]);
    let exact = DecodeOptions {
        names: NameMatching::Exact,
        ..DecodeOptions::default()
    };
    assert_eq!(rows(&strings(&["a"]), &exact, &[r#"{"A":"x"}"#]), [[None]]);
}

#[test]
fn the_last_of_duplicates_wins() {
    assert_eq!(row(&["a"], r#"{"a":"x","a":"y"}"#), [some("y")]);
    assert_eq!(row(&["a"], r#"{"a":"x","a":null}"#), [None]);
    assert_eq!(row(&["a"], r#"{"A":"x","A":"y"}"#), [some("y")]);
    let number = Fields::from(vec![Field::new("n", DataType::Int8, false)]);
    let fields = field("o", DataType::Struct(number));
    let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
    for payload in [
        // What comes later also takes the place of what does not fit.
        r#"{"o":{"n":"no","n":1,"n":2}}"#,
        r#"{"o":{"n":1},"o":7,"o":{"n":null,"n":2}}"#,
        r#"{"o":{"n":2}}"#,
    ] {
        decoder.append(payload.as_bytes()).unwrap();
    }
    let column = decoder.finish().unwrap().remove(0);
    let numbers = column.as_struct().column(0).as_primitive::<Int8Type>();
    assert_eq!(numbers.values(), &[2, 2, 2]);
}

#[test]
fn escaped_names_are_names() {
    assert_eq!(row(&["a"], r#"{"\u0061":"x"}"#), [some("x")]);
    assert_eq!(row(&["a\"b"], r#"{"a\"b":"x"}"#), [some("x")]);
    assert_eq!(row(&[""], r#"{"":"x"}"#), [some("x")]);
}

#[test]
fn any_order_of_properties_gives_the_same_columns() {
    let payloads = [
        r#"{"a":"1","b":"2","c":"3"}"#,
        r#"{"c":"3","b":"2","a":"1"}"#,
        r#"{"x":[],"a":"1","y":{"a":"no"},"b":"2","c":"3"}"#,
        r#"{ "b" : "2" , "c":"3", "a":"1", "ab":"no" }"#,
        r#"{"a":"1","b":"2","c":"3"}"#,
        r#"{"A":"1","B":"2","C":"3"}"#,
    ];
    let expected = vec![vec![some("1"), some("2"), some("3")]; payloads.len()];
    assert_eq!(
        rows(
            &strings(&["a", "b", "c"]),
            &DecodeOptions::default(),
            &payloads
        ),
        expected
    );
}

#[test]
fn endless_new_names_are_not_remembered() {
    let fields = strings(&["a"]);
    let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
    for index in 0..5000 {
        let long = "n".repeat(index % 600);
        let payload = format!(r#"{{"{long}{index}":1,"A":"x","b{index}":{{}}}}"#);
        decoder.append(payload.as_bytes()).unwrap();
    }
    let column = decoder.finish().unwrap().remove(0);
    assert!(
        column
            .as_string_view()
            .iter()
            .all(|value| value == Some("x"))
    );
}

#[test]
fn strings_lose_their_escapes_and_other_values_keep_their_text() {
    for (json, value) in [
        (r#""plain""#, "plain"),
        (r#""""#, ""),
        (r#""a\"\\\/\b\f\n\r\t""#, "a\"\\/\u{8}\u{c}\n\r\t"),
        (r#""\u00e9\uD83D\uDE00\u0000z""#, "é😀\0z"),
        (r#""é😀""#, "é😀"),
        ("1.50e1", "1.50e1"),
        ("true", "true"),
        ("[1, 2 ]", "[1, 2 ]"),
        (r#"{"a" : "\u0061"}"#, r#"{"a" : "\u0061"}"#),
    ] {
        for data_type in [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View] {
            let array = cast(&decode(&data_type, json).unwrap(), &DataType::Utf8).unwrap();
            assert_eq!(array.as_string::<i32>().value(0), value, "{json}");
        }
        let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
        let array = cast(&decode(&dictionary, json).unwrap(), &DataType::Utf8).unwrap();
        assert_eq!(array.as_string::<i32>().value(0), value, "{json}");
    }
}

#[test]
fn the_payload_is_judged_whatever_is_read() {
    for fields in [Fields::empty(), strings(&["b"]), strings(&["a"])] {
        let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
        for (payload, position, path) in [
            (&b""[..], 0, ""),
            (b" ", 1, ""),
            (b"null", 0, ""),
            (b"[]", 0, ""),
            (b" 1", 1, ""),
            (b"{\"a\":1}{}", 7, ""),
            (b"{\"a\":1,}", 7, ""),
            (b"{\"a\":01}", 6, "a"),
            (b"{\"a\":\"\xff\"}", 6, "a"),
            (b"{\"a\":1,\"\xff\":2}", 8, ""),
            (b"{\"a\":\"\n\"}", 6, "a"),
            (b"{\"a\":\"\\ud800\"}", 12, "a"),
            (b"\xef\xbb\xbf", 3, ""),
            (b"\xef\xbb\xbf{\"a\":NaN}", 8, "a"),
            (b"{\"a\":[1 2]}", 8, "a"),
            (b"{\"a\":{\"b\":tru}}", 10, "a"),
            (b"{\"a\"", 4, ""),
            (b"{\"a\":1", 6, ""),
            (b"{\"a\":", 5, "a"),
            (b"{a:1}", 1, ""),
        ] {
            let error = decoder.append(payload).unwrap_err();
            assert_eq!(error.position, position, "{error}");
            assert_eq!(error.path, path, "{error}");
        }
        decoder.append(b" {} ").unwrap();
        assert_eq!(decoder.len(), 21);
        assert!(
            decoder
                .finish()
                .unwrap()
                .iter()
                .all(|column| column.len() == 21)
        );
    }
}

#[test]
fn what_is_not_json_is_named_by_the_field_or_the_property() {
    let fields = field("note", DataType::Utf8View);
    let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
    let mut said = |document: &str| decoder.append(document.as_bytes()).unwrap_err().to_string();
    for (document, message) in [
        (
            r#"{"note":"x","t":NaN}"#,
            "not JSON: NaN and Infinity are no JSON numbers in `t` at byte 16",
        ),
        (
            r#"{"NOTE":[-Infinity]}"#,
            "not JSON: NaN and Infinity are no JSON numbers in `note` at byte 9",
        ),
        (
            "{\"text\":\"a\tb\"}",
            "not JSON: a control character is in a string in `text` at byte 10",
        ),
        (
            r#"{"t\u0061g":{"x":"\ud83d"}}"#,
            "not JSON: half of a surrogate pair is missing in `tag` at byte 24",
        ),
        (
            "{\"a\\nb\":NaN}",
            "not JSON: NaN and Infinity are no JSON numbers at byte 8",
        ),
    ] {
        assert_eq!(said(document), message);
    }
    let long = format!("{{\"{}\":NaN}}", "secret".repeat(12));
    assert!(!said(&long).contains("secret"));
    let deep = format!("{{\"x\":{}", "[".repeat(200));
    assert_eq!(
        said(&deep),
        "nested more than 128 levels deep in `x` at byte 132"
    );
}

#[test]
fn nesting_is_bounded_at_128_levels() {
    let nested = |open: &str, close: &str, levels: usize| {
        format!("{{\"a\":{}{}}}", open.repeat(levels), close.repeat(levels))
    };
    for fields in [Fields::empty(), strings(&["a"])] {
        let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
        decoder.append(nested("[", "]", 127).as_bytes()).unwrap();
        decoder
            .append(nested("{\"\":", "}", 126).replace(":}", ":0}").as_bytes())
            .unwrap();
        let error = decoder
            .append(nested("[", "]", 128).as_bytes())
            .unwrap_err();
        assert_eq!(
            (error.kind, error.position),
            (DecodeErrorKind::TooDeep, 5 + 127)
        );
        let deep = "[".repeat(1_000_000);
        assert!(decoder.append(deep.as_bytes()).is_err());
        assert!(
            decoder
                .append(format!("{{\"a\":{deep}").as_bytes())
                .is_err()
        );
    }
    // Levels that the schema knows are levels too.
    let fields = field("a", DataType::new_list(DataType::Utf8, true));
    let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
    decoder.append(nested("[", "]", 127).as_bytes()).unwrap();
    let error = decoder.append(nested("[", "]", 128).as_bytes());
    assert_eq!(error.unwrap_err().kind, DecodeErrorKind::TooDeep);
    let mut inference = ValueInference::new();
    inference
        .add(format!("{}{}", "[".repeat(128), "]".repeat(128)).as_bytes())
        .unwrap();
}

#[test]
fn errors_name_the_declared_field_and_not_the_content() {
    let tag = Field::new("n", DataType::Int8, false);
    let tags = DataType::new_list(DataType::Struct(vec![tag].into()), true);
    let customer = DataType::Struct(vec![Field::new("tags", tags, true)].into());
    let fields = field("customer", customer);
    let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
    let error = decoder
        .append(br#"{"CUSTOMER":{"Tags":[{"n":1},{"N":"secret"}]}}"#)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected Int8 but found a string that is not a number in `customer.tags[1].n` at byte 34"
    );
    let error = decoder
        .append(br#"{"customer":{"tags":[{}]}}"#)
        .unwrap_err();
    assert_eq!(error.path, "customer.tags[0].n");
    assert_eq!(error.position, 21);
    assert!(matches!(error.kind, DecodeErrorKind::MissingValue { .. }));
    let error = decoder
        .append(br#"{"customer":{"tags":[{"n":null}]}}"#)
        .unwrap_err();
    assert_eq!(error.position, 26);
}

#[test]
fn messages_have_the_names_of_types_that_the_caller_gives() {
    let sql = |_: &DataType| "SMALLINT".to_owned();
    let error = decode(&DataType::Int16, "true").unwrap_err();
    assert_eq!(
        error.message(sql),
        "expected SMALLINT but found a boolean in `v` at byte 5"
    );
    let named = error.message(DataType::to_string);
    assert_eq!(error.to_string(), named);
    let missing = DecodeErrorKind::MissingValue {
        expected: DataType::Int16,
    };
    assert_eq!(
        DecodeError::new(0, missing).message(sql),
        "expected SMALLINT but the value is missing or null at byte 0"
    );
    let list = DataType::ListView(Field::new("item", DataType::Int16, true).into());
    assert_eq!(
        check_type(&Field::new("v", list, true))
            .unwrap_err()
            .message(sql),
        "type SMALLINT of `v` has no JSON form: use another type, or Utf8 for the JSON text"
    );
}

#[test]
fn bad_rows_leave_good_rows_alone() {
    let inner = Fields::from(vec![
        Field::new("x", DataType::Int32, false),
        Field::new("y", DataType::Utf8, false),
        Field::new(
            "z",
            DataType::new_fixed_size_list(DataType::Boolean, 2, false),
            false,
        ),
    ]);
    let entries = DataType::Struct(
        vec![
            Field::new("key", DataType::Utf8View, false),
            Field::new("value", DataType::Decimal128(5, 1), false),
        ]
        .into(),
    );
    let map = DataType::Map(Field::new("entries", entries, false).into(), false);
    let fields = Fields::from(vec![
        Field::new(
            "s",
            DataType::new_list(DataType::Struct(inner), false),
            false,
        ),
        Field::new("m", map, true),
        Field::new("b", DataType::FixedSizeBinary(3), true),
        Field::new(
            "d",
            DataType::Dictionary(Box::new(DataType::UInt8), Box::new(DataType::Boolean)),
            true,
        ),
    ]);
    let good = br#"{"s":[{"x":1,"y":"a","z":[true,false]},{"x":2,"y":"b","z":[false,true]}],"m":{"k":1.5,"l":2.5},"b":"AQID","d":true}"#;
    let other = br#"{"s":[],"m":{},"b":null}"#;
    let bad: [&[u8]; 9] = [
        br#"{"s":[{"x":1,"y":"a","z":[true,false]},{"x":2,"y":"b","z":[false]}]}"#,
        br#"{"s":[{"x":1,"y":"a","z":[true,false]},null]}"#,
        br#"{"s":[{"x":1,"y":null,"z":[true,false]}]}"#,
        br#"{"s":null}"#,
        br#"{"s":[],"m":{"k":1.5,"l":null}}"#,
        br#"{"s":[],"m":{"k":1.5,"l":2.55}}"#,
        br#"{"s":[],"m":{},"b":"AQI="}"#,
        br#"{"s":[],"m":{},"b":"AQID","d":1}"#,
        br#"{"s":[],"m":{},"b":"AQID","d":true"#,
    ];
    let reference = {
        let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
        decoder.append(good).unwrap();
        decoder.append(other).unwrap();
        decoder.finish().unwrap()
    };
    for size in [1, 3, 100] {
        let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
        for start in (0..200).step_by(size) {
            let mut expected = Vec::new();
            for index in start..start + size {
                expected.push(match index % 4 {
                    0 => decoder.append(good).map(|()| 0).ok(),
                    2 => decoder.append(other).map(|()| 1).ok(),
                    1 => decoder.append(bad[index % bad.len()]).map(|()| 9).ok(),
                    _ => {
                        decoder.append_null();
                        None
                    }
                });
            }
            let columns = decoder.finish().unwrap();
            assert!(decoder.is_empty());
            for (column, reference) in columns.iter().zip(&reference) {
                assert_eq!(column.len(), size);
                for (row, expected) in expected.iter().enumerate() {
                    match expected {
                        Some(index) => assert_eq!(
                            column.slice(row, 1).to_data(),
                            reference.slice(*index, 1).to_data()
                        ),
                        None => assert!(column.is_null(row)),
                    }
                }
            }
        }
    }
}

#[test]
fn binary_is_base64() {
    for data_type in [
        DataType::Binary,
        DataType::LargeBinary,
        DataType::BinaryView,
    ] {
        assert_eq!(normal(&data_type, r#""AQID""#), r#""AQID""#);
        assert_eq!(normal(&data_type, r#""\/+8=""#), r#""/+8=""#);
        assert_eq!(normal(&data_type, r#""/+8""#), r#""/+8=""#);
        assert_eq!(normal(&data_type, r#""""#), r#""""#);
        for json in [r#""A""#, r#""_-8=""#, r#""AQ ID""#, "1", "[1]"] {
            assert!(decode(&data_type, json).is_err(), "{json}");
        }
    }
}

#[test]
fn maps_take_the_last_of_duplicate_keys() {
    let entries = DataType::Struct(
        vec![
            Field::new("key", DataType::Utf8, false),
            Field::new("value", DataType::Int64, true),
        ]
        .into(),
    );
    let entries = Arc::new(Field::new("entries", entries, false));
    let map = DataType::Map(Arc::clone(&entries), false);
    let json = r#"{"b":1,"a":2,"\u0062":3,"A":null}"#;
    assert_eq!(normal(&map, json), r#"{"b":3,"a":2,"A":null}"#);
    let sorted = DataType::Map(entries, true);
    assert_eq!(normal(&sorted, json), r#"{"A":null,"a":2,"b":3}"#);
    assert!(decode(&map, "[]").is_err());
    assert!(decode(&map, r#"{"a":"x"}"#).is_err());
}

#[test]
fn keys_are_values_of_any_kind() {
    let mut decoder = ValueDecoder::try_new(
        &Field::new("_key", DataType::Int64, false),
        &DecodeOptions::default(),
    )
    .unwrap();
    decoder.append(b" 42 ").unwrap();
    assert_eq!(decoder.append(b"\"x\"").unwrap_err().path, "_key");
    assert!(decoder.append(b"null").is_err());
    assert!(decoder.append(b"").is_err());
    assert!(decoder.append(b"1 2").is_err());
    decoder.append_null();
    decoder.append(b"43").unwrap();
    assert_eq!(decoder.len(), 7);
    let array = decoder.finish().unwrap();
    let values: Vec<_> = array.as_primitive::<Int64Type>().iter().collect();
    assert_eq!(values, [Some(42), None, None, None, None, None, Some(43)]);
}

#[test]
fn types_without_a_json_form_are_named_with_their_path() {
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let view = DataType::ListView(Arc::clone(&item));
    let nested = DataType::new_list(
        DataType::Struct(vec![Field::new("v", view, true)].into()),
        true,
    );
    let error = check_type(&Field::new("a", nested.clone(), true)).unwrap_err();
    assert_eq!(error.path, "a[].v");
    assert!(RowDecoder::try_new(&field("a", nested.clone()), &DecodeOptions::default()).is_err());
    assert!(RowEncoder::try_new(&field("a", nested), &EncodeOptions::default()).is_err());
    let entries = DataType::Struct(
        vec![
            Field::new("key", DataType::Int32, false),
            Field::new("value", DataType::Int64, true),
        ]
        .into(),
    );
    for data_type in [
        DataType::LargeListView(item),
        DataType::Map(Field::new("entries", entries, false).into(), false),
        DataType::Decimal128(39, 0),
        DataType::Decimal32(5, 6),
        DataType::Time32(TimeUnit::Nanosecond),
        DataType::FixedSizeBinary(-1),
        DataType::Dictionary(
            Box::new(DataType::Int8),
            Box::new(DataType::new_list(DataType::Int8, true)),
        ),
        DataType::Union(UnionFields::empty(), UnionMode::Dense),
    ] {
        assert!(check_type(&Field::new("a", data_type, true)).is_err());
    }
}

#[test]
fn too_many_distinct_values_for_a_dictionary_are_an_error_and_no_more() {
    let data_type = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Int64));
    let mut decoder =
        RowDecoder::try_new(&field("a", data_type), &DecodeOptions::default()).unwrap();
    for round in 0..2 {
        for index in 0..129 {
            let value = if round == 0 { index } else { index % 128 };
            decoder
                .append(format!("{{\"a\":{value}}}").as_bytes())
                .unwrap();
        }
        assert_eq!(decoder.finish().is_err(), round == 0);
    }
}

/// Appends documents one after the other and says which of them are rows.
fn accepted<const N: usize>(documents: [&str; N]) -> [bool; N] {
    let fields = field("a", DataType::Int64);
    let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
    documents.map(|document| decoder.append(document.as_bytes()).is_ok())
}

#[test]
fn a_comma_is_needed_wherever_a_property_stood_before() {
    let documents = [r#"{"a":1}"#, r#"{"b":1}"#, r#"{"a":1"b":1}"#];
    assert_eq!(accepted(documents), [true, true, false]);
    let documents = [r#"{"b":1,"a":1}"#, r#"{"a":1}"#, r#"{,"a":1}"#];
    assert_eq!(accepted(documents), [true, true, false]);
    let long = format!(r#"{{"{}":1,"a":1}}"#, "x".repeat(1000));
    assert_eq!(accepted([&long, r#"{,"a":1}"#]), [true, false]);
    assert_eq!(accepted([&long, &long, r#"{,"a":1}"#]), [true, true, false]);
}

#[test]
fn more_names_than_are_remembered_are_read() {
    let fields = field("a", DataType::Int64);
    let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
    for i in 0..2000 {
        let document = format!(r#"{{"x{i}":[],"y{i}":{i},"A":{i},"z{i}":{{}}}}"#);
        decoder.append(document.as_bytes()).unwrap();
    }
    let a = decoder.finish().unwrap().remove(0);
    assert!((0..2000).eq(a.as_primitive::<Int64Type>().values().iter().copied()));
}

#[test]
fn white_space_may_differ_from_record_to_record() {
    let fields = field("a", DataType::Utf8View);
    let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
    for document in [
        r#"{"a":null}"#,
        r#"{"a": null}"#,
        "{ \"a\"\n:\tnull }",
        r#"{"a":null}"#,
    ] {
        decoder.append(document.as_bytes()).unwrap();
    }
    assert_eq!(decoder.finish().unwrap().remove(0).null_count(), 4);
}

#[test]
fn nesting_is_as_deep_within_columns_as_outside_of_them() {
    let fields = Fields::from(vec![Field::new("a", DataType::Utf8View, true)]);
    for (name, levels, accepted) in [
        ("a", 127, true),
        ("b", 127, true),
        ("a", 128, false),
        ("b", 128, false),
    ] {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        let document = format!(r#"{{"{name}":{open}{close}}}"#);
        let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
        let result = decoder.append(document.as_bytes());
        assert_eq!(result.is_ok(), accepted, "{name} {levels}");
    }
}
