//! Text columns that hold JSON.

use arrow::array::{AsArray, StringArray};
use proptest::prelude::*;

use super::*;

fn marked(encoding: TextEncoding, data_type: DataType) -> Field {
    encoding.mark(Field::new("v", data_type, true))
}

/// What a value reads as in such a column.
fn text_of(field: &Field, json: &str) -> Option<String> {
    let fields = Fields::from(vec![field.clone()]);
    let payload = format!("{{\"v\":{json}}}");
    let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
    decoder.append(payload.as_bytes()).unwrap();
    let array = decoder.finish().unwrap().remove(0);
    assert_eq!(array.data_type(), field.data_type());
    let text = cast(&array, &DataType::Utf8).unwrap();
    let text = text.as_string::<i32>();
    text.is_valid(0).then(|| text.value(0).to_owned())
}

/// What a text is written as.
fn written(field: &Field, text: Option<&str>) -> Result<String, EncodeErrorKind> {
    let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let column = cast(&array, field.data_type()).unwrap();
    let encoder = RowEncoder::try_new(&Fields::from(vec![field.clone()]), &Default::default());
    let mut out = Vec::new();
    let columns = [column];
    let encoder = encoder.unwrap();
    let result = encoder.batch(&columns).unwrap().write(0, &mut out);
    let out = String::from_utf8(out).unwrap();
    match result {
        Ok(()) => Ok(out["{\"v\":".len()..out.len() - 1].to_owned()),
        Err(error) => {
            assert_eq!((error.path.as_str(), out.as_str()), ("v", ""));
            Err(error.kind)
        }
    }
}

#[test]
fn the_encoding_says_what_a_value_is_read_as() {
    use TextEncoding::{Json, Mixed, Text};
    for (json, text, mixed) in [
        ("1", "1", "1"),
        ("-1.50e3", "-1.50e3", "-1.50e3"),
        ("true", "true", "true"),
        (
            r#"{"x": [1, "a"]}"#,
            r#"{"x": [1, "a"]}"#,
            r#"{"x": [1, "a"]}"#,
        ),
        ("[]", "[]", "[]"),
        (r#""abc""#, "abc", "abc"),
        (r#""""#, "", ""),
        (r#""1a""#, "1a", "1a"),
        (r#""nulls""#, "nulls", "nulls"),
        (r#""a\"b\\\u00e9""#, "a\"b\\é", "a\"b\\é"),
        // Strings that would be other values without their quotes.
        (r#""1""#, "1", r#""1""#),
        (r#""\u0031""#, "1", r#""\u0031""#),
        (r#"" 1 ""#, " 1 ", r#"" 1 ""#),
        (r#""true""#, "true", r#""true""#),
        (r#""null""#, "null", r#""null""#),
        (r#""NaN""#, "NaN", r#""NaN""#),
        (r#""{}""#, "{}", r#""{}""#),
        (r#""\"abc\"""#, "\"abc\"", r#""\"abc\"""#),
    ] {
        for data_type in [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View] {
            let field = |encoding| marked(encoding, data_type.clone());
            assert_eq!(text_of(&field(Text), json).as_deref(), Some(text));
            assert_eq!(text_of(&field(Json), json).as_deref(), Some(json));
            assert_eq!(text_of(&field(Mixed), json).as_deref(), Some(mixed));
            assert_eq!(written(&field(Json), Some(json)).as_deref(), Ok(json));
            let back = written(&field(Mixed), Some(mixed)).unwrap();
            let value = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
            assert_eq!(value(&back), value(json));
        }
    }
    for encoding in [Json, Mixed] {
        let field = marked(encoding, DataType::Utf8View);
        assert_eq!(text_of(&field, "null"), None);
        assert_eq!(written(&field, None).as_deref(), Ok("null"));
        // White space around a value is no part of the value.
        assert_eq!(
            written(&field, Some(" {\"a\": 1}\n")).as_deref(),
            Ok("{\"a\": 1}")
        );
    }
}

#[test]
fn text_that_is_not_json_is_refused_or_a_string() {
    let json = marked(TextEncoding::Json, DataType::Utf8View);
    let mixed = marked(TextEncoding::Mixed, DataType::Utf8View);
    for text in [
        "",
        "abc",
        "1a",
        "{\"a\":1",
        "{\"a\":1}}",
        "'a'",
        "01",
        "\"a",
    ] {
        assert_eq!(written(&json, Some(text)), Err(EncodeErrorKind::NotJson));
        let string = serde_json::to_string(text).unwrap();
        assert_eq!(written(&mixed, Some(text)), Ok(string));
    }
    // What only lenient readers take, and what no reader would read in its place.
    let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
    for text in ["NaN", "{\"x\":-Infinity}", "\"a\tb\"", "\"\\ud800\"", &deep] {
        for field in [&json, &mixed] {
            assert_eq!(written(field, Some(text)), Err(EncodeErrorKind::NotJson));
        }
    }
    let fits = format!("{}{}", "[".repeat(127), "]".repeat(127));
    assert_eq!(written(&json, Some(&fits)).as_deref(), Ok(fits.as_str()));
    assert_eq!(text_of(&json, &fits), Some(fits));
}

#[test]
fn text_has_an_encoding_that_can_be_removed() {
    let number = marked(TextEncoding::Mixed, DataType::Int64);
    assert_eq!(TextEncoding::of(&number), TextEncoding::Text);
    let text = marked(TextEncoding::Json, DataType::Utf8);
    assert_eq!(TextEncoding::of(&text), TextEncoding::Json);
    let text = TextEncoding::Text.mark(text);
    assert_eq!(text, Field::new("v", DataType::Utf8, true));
}

#[test]
fn values_of_several_kinds_are_inferred_as_mixed_at_every_depth() {
    let mut inference = SchemaInference::new();
    let documents = [
        r#"{"id":1,"text":"1","deep":{"l":[1,"1",{"x":[]}]},"o":{},"none":null,"wide":1e400}"#,
        r#"{"id":"1","text":"x","deep":{"l":[]},"o":{},"none":null,"wide":2}"#,
        r#"{"id":{"a":"b"},"text":"","deep":{"l":["true"]},"o":{},"none":null,"wide":2}"#,
    ];
    for document in documents {
        inference.add(document.as_bytes()).unwrap();
    }
    let fields = inference.finish();
    let mixed = |name: &str| {
        let (_, field) = fields.find(name).unwrap();
        TextEncoding::of(field) == TextEncoding::Mixed
    };
    let names: Vec<_> = fields.iter().map(|field| field.name().as_str()).collect();
    let found: Vec<_> = names.into_iter().filter(|name| mixed(name)).collect();
    assert_eq!(found, ["id", "o", "wide"]);

    let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
    for document in documents {
        decoder.append(document.as_bytes()).unwrap();
    }
    let columns = decoder.finish().unwrap();
    let encoder = RowEncoder::try_new(&fields, &EncodeOptions::default()).unwrap();
    let rows = encoder.batch(&columns).unwrap();
    for (row, document) in documents.into_iter().enumerate() {
        let mut out = Vec::new();
        rows.write(row, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), document);
    }

    let mut key = ValueInference::new();
    key.add(b"1").unwrap();
    key.add(b"\"1\"").unwrap();
    assert_eq!(TextEncoding::of(&key.finish_as("key")), TextEncoding::Mixed);
}

/// JSON values as somebody may write them.
pub(super) fn json() -> impl Strategy<Value = String> {
    let string = prop::collection::vec(
        prop::sample::select(vec![
            "a", "1", "true", "null", "NaN", " ", "-", "{}", "[", "\\\"", "\\\\", "\\u0031", "\\n",
            "é", ":", ",",
        ]),
        0..4,
    );
    let string = string.prop_map(|parts| format!("\"{}\"", parts.concat()));
    let other = prop::sample::select(vec!["1", "-0.50", "1E400", "true", "false", "{}", "[ ]"]);
    let leaf = prop_oneof![3 => string.clone(), 1 => other.prop_map(str::to_owned)];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            (string.clone(), inner).prop_map(|(name, value)| format!("{{{name} :{value}}}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_value_is_written_as_it_was_read(json in json(), is_mixed in any::<bool>()) {
        let encoding = if is_mixed { TextEncoding::Mixed } else { TextEncoding::Json };
        let field = marked(encoding, DataType::Utf8View);
        let text = text_of(&field, &json);
        let back = written(&field, text.as_deref()).unwrap();
        if is_mixed && json.starts_with('"') {
            // Of a string whose text was given, the escapes are the writer's.
            let value = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
            prop_assert_eq!(value(&back), value(&json));
        } else {
            prop_assert_eq!(back, json);
        }
    }
}
