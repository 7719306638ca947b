//! What is JSON is what another parser says is JSON.

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type, TimeUnit};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// Good and bad documents, also the seeds of random ones.
const CORPUS: &[&[u8]] = &[
    br#"{}"#,
    br#" { } "#,
    br#"{"a":1}"#,
    br#"{"a":-0,"b":0.5e-3,"c":"x"}"#,
    br#"{"a" : [ ] , "b" : [ 1 , [ 2 , { } ] ] }"#,
    br#"{"c":"\"\\\/\b\f\n\r\t\u0041\uD834\uDD1E"}"#,
    br#"{"":{"":{"":null}},"t":true,"f":false}"#,
    "{\"c\":\"\u{e9}\u{1f600}\u{2028}\u{7f}\"}".as_bytes(),
    br#"{"a":1,"a":2,"A":3}"#,
    br#"{"a":12345678901234567890,"b":1e308,"c":[1,"two",{"three":3}]}"#,
    br#"{"b":123456789012345678901234567890e-20}"#,
    b"{\r\n\t\"a\": 1\n}\n",
    b"",
    b" ",
    b"{",
    b"}",
    br#"{"a"}"#,
    br#"{"a":}"#,
    br#"{"a":1,}"#,
    br#"{,}"#,
    br#"{"a":1 "b":2}"#,
    br#"{"a":1}}"#,
    br#"{"a":[}"#,
    br#"{"a":[1}}"#,
    br#"{"a":[1,]}"#,
    br#"{'a':1}"#,
    br#"{a:1}"#,
    br#"{"a":01}"#,
    br#"{"a":-}"#,
    br#"{"a":1.}"#,
    br#"{"a":.5}"#,
    br#"{"a":+1}"#,
    br#"{"a":1e}"#,
    br#"{"a":1e+}"#,
    br#"{"a":0x1}"#,
    br#"{"a":NaN}"#,
    br#"{"a":Infinity}"#,
    br#"{"a":-Infinity,"b":[NaN,{"c":Infinity}]}"#,
    br#"{"c":{"x":NaN,"y":"\udc00"}}"#,
    br#"{"a":-NaN}"#,
    br#"{"a":+Infinity}"#,
    br#"{"a":Inf}"#,
    br#"{"a":nan}"#,
    br#"{"a":NaN1}"#,
    br#"{NaN:1}"#,
    br#"{"\ud83d":1,"NaN":"NaN","c":"\ud83d\ud83d\ude00\ude00"}"#,
    br#"{"a":nul}"#,
    br#"{"a":nulll}"#,
    br#"{"a":True}"#,
    br#"{"c":"\x"}"#,
    br#"{"c":"\u12"}"#,
    br#"{"c":"\u12G4"}"#,
    br#"{"c":"\ud800"}"#,
    br#"{"c":"\ud800\u0041"}"#,
    br#"{"c":"\ud800\ud800"}"#,
    br#"{"c":"\udc00"}"#,
    br#"{"c":"\ud800x"}"#,
    br#"{"c":"\u+123"}"#,
    b"{\"c\":\"\x00\"}",
    b"{\"c\":\"\x1f\"}",
    b"{\"c\":\"tab\there\"}",
    b"{\"c\":\"\x80\"}",
    b"{\"c\":\"\xc0\x80\"}",
    b"{\"c\":\"\xed\xa0\x80\"}",
    b"{\"c\":\"\xf4\x90\x80\x80\"}",
    b"\xef\xbb\xbf{}",
    b"\xef\xbb\xbf",
    b"\xef\xbb\xbf \xef\xbb\xbf{}",
    b"\xef\xbb\xbf\xef\xbb\xbf{}",
    b" \xef\xbb\xbf{}",
    b"{}\xef\xbb\xbf",
    b"\xef\xbb{}",
    b"\xef\xbb\xbf{\"c\":\"\xc3\xa9\"}",
    b"{\x0c}",
    b"{}\x00",
    b"{}\xa0",
    b"{}//",
    b"{/**/}",
    b"[]",
    b"1",
    b"\"x\"",
    b"null",
    b"{}{}",
    br#"{"c":"unterminated"#,
    br#"{"c":"unterminated\"#,
    br#"{"c":"unterminated\u"#,
    br#"{1:2}"#,
    br#"{null:2}"#,
    br#"{"a":"b":"c"}"#,
];

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A document of which the other parser says what lenient readers say of this one.
fn strict(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = payload;
    let mut in_string = false;
    let unit = |rest: &[u8]| {
        let digits = rest.strip_prefix(b"\\u")?.first_chunk::<4>()?;
        let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
        u16::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).ok()
    };
    let words: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    while let Some(&byte) = rest.first() {
        let word = words.into_iter().find(|word| rest.starts_with(word));
        let (length, written) = match (in_string, byte) {
            (false, _) if word.is_some() => (word.unwrap().len(), b"true".to_vec()),
            (true, ..0x20) => (1, format!("\\u00{byte:02x}").into_bytes()),
            (true, b'\\') => match (unit(rest), rest.get(6..).and_then(unit)) {
                (Some(0xD800..0xDC00), Some(0xDC00..0xE000)) => (12, rest[..12].to_vec()),
                (Some(0xD800..0xE000), _) => (6, b"\\ufffd".to_vec()),
                (Some(_), _) => (6, rest[..6].to_vec()),
                (None, _) => (rest.len().min(2), rest[..rest.len().min(2)].to_vec()),
            },
            _ => (1, vec![byte]),
        };
        in_string ^= byte == b'"';
        out.extend(written);
        rest = &rest[length..];
    }
    out
}

/// Checks a payload against the other parser, also behind a byte order mark, and how
/// a lenient reader takes it.
fn check(payload: &[u8]) {
    let document = payload.strip_prefix(BYTE_ORDER_MARK).unwrap_or(payload);
    judge(payload, document, false);
    judge(payload, &strict(document), true);
    let marked = [BYTE_ORDER_MARK, payload].concat();
    let read = |payload: &[u8], lenient| {
        let fields = field("a", DataType::Utf8View);
        let options = DecodeOptions {
            lenient,
            ..DecodeOptions::default()
        };
        let mut decoder = RowDecoder::try_new(&fields, &options).unwrap();
        let result = decoder.append(payload);
        (result, decoder.finish().unwrap())
    };
    if payload.is_empty() || payload.len() > document.len() {
        assert!(read(&marked, true).0.is_err());
        return;
    }
    for lenient in [false, true] {
        let (result, columns) = read(&marked, lenient);
        let result = result.map_err(|error| {
            let position = error.position - BYTE_ORDER_MARK.len();
            DecodeError { position, ..error }
        });
        assert_eq!((result, columns), read(payload, lenient));
    }
}

/// Checks that a payload is to the decoder what another document is to the other parser.
fn judge(payload: &[u8], document: &[u8], lenient: bool) {
    let oracle = serde_json::from_slice::<Value>(document);
    let accepted = matches!(oracle, Ok(Value::Object(_)));
    let known_limit = oracle.as_ref().is_err_and(|error| {
        let error = error.to_string();
        error.contains("number out of range") || error.contains("recursion limit")
    });
    let any = Fields::from(vec![
        Field::new("a", DataType::Utf8View, true),
        Field::new("c", DataType::Utf8, true),
    ]);
    let options = DecodeOptions {
        names: NameMatching::Exact,
        lenient,
        ..DecodeOptions::default()
    };
    for fields in [Fields::empty(), any] {
        let mut decoder = RowDecoder::try_new(&fields, &options).unwrap();
        let result = decoder.append(payload);
        assert_eq!(decoder.len(), 1);
        if !known_limit {
            let shown = String::from_utf8_lossy(payload);
            assert_eq!(result.is_ok(), accepted, "{shown}: {result:?} {oracle:?}");
        }
        let columns = decoder.finish().unwrap();
        if let (Ok(()), Ok(oracle), [_, c]) = (&result, &oracle, &columns[..]) {
            let c = c.as_string::<i32>();
            match &oracle["c"] {
                Value::Null => assert!(c.is_null(0)),
                Value::String(text) => assert_eq!(c.value(0), text),
                other => {
                    let text = strict(c.value(0).as_bytes());
                    assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), *other);
                }
            }
        }
    }
    if !known_limit {
        let inferred = SchemaInference::new().with_lenient(lenient).add(payload);
        assert_eq!(inferred.is_ok(), accepted);
        let mut value =
            ValueDecoder::try_new(&Field::new("v", DataType::Utf8View, true), &options).unwrap();
        assert_eq!(value.append(payload).is_ok(), oracle.is_ok());
        let key = ValueInference::new().with_lenient(lenient).add(payload);
        assert_eq!(key.is_ok(), oracle.is_ok());
        let patch = ObjectPatch::try_new(
            &Fields::empty(),
            &[],
            NameMatching::Exact,
            &EncodeOptions::default(),
        );
        let patch = patch.unwrap().with_lenient(lenient);
        let mut patched = Vec::new();
        let writer = patch.batch(&[]).unwrap();
        let result = writer.write(0, payload, &mut patched);
        assert_eq!(result.is_ok(), accepted);
        if let (true, Ok(oracle)) = (accepted, &oracle) {
            let patched = serde_json::from_slice::<Value>(&strict(&patched)).unwrap();
            assert_eq!(patched, *oracle);
        }
    }
    let Ok(oracle) = oracle else { return };
    let number = |data_type| {
        let fields = field(
            if data_type == DataType::Int64 {
                "a"
            } else {
                "b"
            },
            data_type,
        );
        let mut decoder = RowDecoder::try_new(&fields, &options).unwrap();
        let result = decoder.append(payload);
        (result.is_ok(), decoder.finish().unwrap().remove(0))
    };
    if let Some(expected) = oracle["a"].as_i64() {
        let (accepted, a) = number(DataType::Int64);
        assert!(accepted);
        assert_eq!(a.as_primitive::<Int64Type>().value(0), expected);
    }
    if let Some(expected) = oracle["b"].as_f64() {
        let (accepted, b) = number(DataType::Float64);
        assert!(accepted);
        // The other parser may be wrong in the last digit.
        let b = b.as_primitive::<Float64Type>().value(0);
        assert!(
            (b - expected).abs() <= expected.abs() * 1e-15,
            "{b} {expected}"
        );
    }
}

#[test]
fn corpus_is_judged_alike() {
    CORPUS.iter().for_each(|payload| check(payload));
    for payload in CORPUS {
        (0..payload.len()).for_each(|end| check(&payload[..end]));
    }
}

#[test]
fn known_exceptions_are_json() {
    let mut decoder = RowDecoder::try_new(&Fields::empty(), &DecodeOptions::default()).unwrap();
    decoder.append(b"{\"a\":1e400}").unwrap();
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(127), "]".repeat(127));
    decoder.append(deep.as_bytes()).unwrap();
    assert!(serde_json::from_str::<Value>(&deep).is_err());
}

fn json() -> BoxedStrategy<String> {
    documents(false)
}

/// With what lenient readers take, too.
fn documents(lenient: bool) -> BoxedStrategy<String> {
    let part = match lenient {
        true => "([ -!#-\\[]|[\0-\x1f]|\\\\u[dD][89a-fA-F][0-9a-f]{2}|\\\\[nu\"]|é){0,12}",
        false => "[ -~&&[^\"\\\\]]{0,20}",
    };
    let word = match lenient {
        true => "-?Infinity|NaN",
        false => "null",
    };
    let space = prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\n\t\r ")];
    let string = prop_oneof![
        "[a-c]{0,2}",
        part,
        "([ -!#-\\[]|\\\\[nrtbf/\"\\\\]|\\\\u00[0-9a-fA-F]{2}|\\\\ud83d\\\\ude[0-7][0-9]|é|😀){0,12}",
    ];
    let scalar = prop_oneof![
        Just("null".to_owned()),
        word,
        Just("true".to_owned()),
        Just("false".to_owned()),
        any::<i64>().prop_map(|value| value.to_string()),
        (-1000..1000_i64).prop_map(|value| value.to_string()),
        any::<u64>().prop_map(|value| value.to_string()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?",
        string.clone().prop_map(|text| format!("\"{text}\"")),
    ];
    let name = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("c".to_owned()),
        string
    ];
    let object = |value: BoxedStrategy<String>| {
        let property = (space.clone(), name.clone(), space.clone(), value).prop_map(
            |(before, name, after, value)| {
                format!("{before}\"{name}\"{after}:{before}{value}{after}")
            },
        );
        prop::collection::vec(property, 0..5).prop_map(|all| format!("{{{}}}", all.join(",")))
    };
    let value = scalar.prop_recursive(3, 16, 4, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..4)
            .prop_map(|all| format!("[{}]", all.join(" , ")));
        let pairs = prop::collection::vec(("[a-c]{0,2}", inner), 0..4).prop_map(|all| {
            let all: Vec<_> = all
                .iter()
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            format!("{{{}}}", all.join(","))
        });
        prop_oneof![list, pairs]
    });
    object(value.boxed()).boxed()
}

fn mutate(mut bytes: Vec<u8>, edits: &[(u8, prop::sample::Index, u8)]) -> Vec<u8> {
    const BYTES: &[u8] = b"{}[]\",:\\u/ \n\t\x00\x1f\x7f\x80\xc3\xff0123456789-+.eEtrufalsnNI";
    for (edit, index, byte) in edits {
        let byte = BYTES[usize::from(*byte) % BYTES.len()];
        if bytes.is_empty() {
            bytes.push(byte);
            continue;
        }
        let at = index.index(bytes.len());
        match edit % 6 {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            4 => bytes[at] ^= 1 << (byte % 8),
            _ => {
                let tail = bytes[at..].to_vec();
                bytes.extend(tail);
            }
        }
    }
    bytes
}

/// The value and whether it fits, or what is wrong.
fn outcome(data_type: &DataType, json: &str) -> Result<ArrayRef, DecodeErrorKind> {
    let field = Field::new("v", data_type.clone(), true);
    let mut decoder = ValueDecoder::try_new(&field, &DecodeOptions::default()).unwrap();
    let result = decoder.append(json.as_bytes());
    let array = decoder.finish().unwrap();
    result.map(|()| array).map_err(|error| error.kind)
}

/// Digits, of which there may be more than any number type holds.
fn number() -> impl Strategy<Value = String> {
    let fraction = prop_oneof![
        3 => Just(String::new()),
        3 => r"\.[0-9]{1,3}",
        1 => r"\.0{1,4}",
        1 => r"\.[0-9]{1,25}",
    ];
    let whole = prop_oneof![3 => "-?(0|[1-9][0-9]{0,6})", 1 => "-?(0|[1-9][0-9]{0,24})"];
    (whole, fraction).prop_map(|(whole, fraction)| whole + &fraction)
}

/// A date and a time without an offset, or nearly so.
fn date_time() -> impl Strategy<Value = String> {
    let usual = "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]";
    let fraction = prop_oneof![
        Just(String::new()),
        r"\.[0-9]{1,3}",
        r"\.[0-9]{0,3}0{0,9}",
        r"\.[0-9]{4,21}",
    ];
    (usual, fraction).prop_map(|(date_time, fraction)| date_time + &fraction)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_documents_are_judged_alike(json in json()) {
        check(json.as_bytes());
    }

    #[test]
    fn mutated_documents_are_judged_alike(
        json in json(),
        edits in prop::collection::vec((any::<u8>(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        check(&mutate(json.into_bytes(), &edits));
    }

    #[test]
    fn lenient_documents_are_judged_alike(
        json in documents(true),
        edits in prop::collection::vec((any::<u8>(), any::<prop::sample::Index>(), any::<u8>()), 0..2),
    ) {
        check(&mutate(json.into_bytes(), &edits));
    }

    #[test]
    fn mutated_corpus_is_judged_alike(
        seed in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<u8>(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        check(&mutate(seed.get(CORPUS).to_vec(), &edits));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        check(&bytes);
    }

    // The usual spellings have a short way of their own.
    #[test]
    fn a_number_is_the_same_with_an_exponent_of_zero(number in number()) {
        for data_type in [
            DataType::Int8,
            DataType::UInt16,
            DataType::Int64,
            DataType::UInt64,
            DataType::Float64,
            DataType::Decimal32(9, 2),
            DataType::Decimal64(18, 18),
            DataType::Decimal128(12, 2),
            DataType::Decimal128(38, 10),
            DataType::Decimal128(5, -2),
            DataType::Decimal256(76, 20),
        ] {
            prop_assert_eq!(
                outcome(&data_type, &number),
                outcome(&data_type, &format!("{number}e0")),
                "{} as {}", number, data_type
            );
        }
    }

    #[test]
    fn universal_time_is_the_same_with_an_offset_of_zero(date_time in date_time()) {
        for unit in [
            TimeUnit::Second,
            TimeUnit::Millisecond,
            TimeUnit::Microsecond,
            TimeUnit::Nanosecond,
        ] {
            for zone in [None, Some("UTC"), Some("Europe/Berlin")] {
                let data_type = DataType::Timestamp(unit, zone.map(Into::into));
                prop_assert_eq!(
                    outcome(&data_type, &format!("\"{date_time}Z\"")),
                    outcome(&data_type, &format!("\"{date_time}+00:00\"")),
                    "{} as {}", date_time, data_type
                );
            }
        }
    }

    // What was learnt from the documents before only makes it faster.
    #[test]
    fn a_document_is_the_same_whatever_was_before(
        documents in prop::collection::vec(documents(true), 1..6),
        lenient in any::<bool>(),
        edits in prop::collection::vec((any::<u8>(), any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let fields = Fields::from(vec![
            Field::new("a", DataType::Utf8View, true),
            Field::new("b", DataType::Float64, true),
            Field::new("c", DataType::new_list(DataType::Utf8View, true), true),
        ]);
        let options = DecodeOptions { lenient, ..DecodeOptions::default() };
        let decoder = || RowDecoder::try_new(&fields, &options).unwrap();
        let mut used = decoder();
        let documents: Vec<_> = documents.into_iter().map(String::into_bytes).collect();
        let again = documents.iter().map(|document| mutate(document.clone(), &edits));
        for document in documents.iter().cloned().chain(again) {
            let mut fresh = decoder();
            prop_assert_eq!(used.append(&document), fresh.append(&document));
            prop_assert_eq!(used.finish().unwrap(), fresh.finish().unwrap());
        }
    }

    // An object in which a property stands twice is read in another way.
    #[test]
    fn a_document_is_the_same_with_a_property_twice(
        json in documents(true),
        lenient in any::<bool>(),
    ) {
        let nested = Fields::from(vec![
            Field::new("a", DataType::Utf8View, true),
            Field::new("c", DataType::new_list(DataType::Utf8, true), true),
        ]);
        let fields = Fields::from(vec![
            Field::new("a", DataType::Struct(nested.clone()), true),
            Field::new("b", DataType::new_list(DataType::Struct(nested), true), true),
            Field::new("c", DataType::Float64, true),
            Field::new("twice", DataType::Null, true),
        ]);
        let twice = json.trim_start().strip_prefix('{').map(|rest| {
            let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
            format!(r#"{{"twice":null,"twice":null{comma}{rest}"#)
        });
        let read = |json: &str| {
            let options = DecodeOptions { lenient, ..DecodeOptions::default() };
            let mut decoder = RowDecoder::try_new(&fields, &options).unwrap();
            let result = decoder.append(json.as_bytes()).map_err(|error| (error.path, error.kind));
            (result, decoder.finish().unwrap())
        };
        if let Some(twice) = twice {
            prop_assert_eq!(read(&json), read(&twice), "{}", json);
        }
    }
}
