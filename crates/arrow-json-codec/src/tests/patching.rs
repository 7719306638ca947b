//! What a patch leaves of an object and what it sets.

use super::*;

fn patch_with(
    columns: &[&str],
    set: &[(usize, Option<i64>)],
    matching: NameMatching,
    nulls: Nulls,
    object: &str,
) -> Result<String, PatchError> {
    let fields = columns
        .iter()
        .map(|name| Field::new(*name, DataType::Int64, true));
    let fields: Fields = fields.collect::<Vec<_>>().into();
    let options = EncodeOptions {
        nulls,
        ..EncodeOptions::default()
    };
    let positions: Vec<usize> = set.iter().map(|(position, _)| *position).collect();
    let patch = ObjectPatch::try_new(&fields, &positions, matching, &options).unwrap();
    let arrays: Vec<ArrayRef> = set
        .iter()
        .map(|(_, value)| Arc::new(arrow::array::Int64Array::from(vec![*value])) as ArrayRef)
        .collect();
    let mut out = b"before ".to_vec();
    let result = patch
        .batch(&arrays)
        .unwrap()
        .write(0, object.as_bytes(), &mut out);
    let text = String::from_utf8(out).unwrap();
    let text = text.strip_prefix("before ").unwrap().to_owned();
    if result.is_err() {
        assert_eq!(text, "");
    }
    result.map(|()| text)
}

fn patch(columns: &[&str], set: &[(usize, Option<i64>)], object: &str) -> String {
    patch_with(
        columns,
        set,
        NameMatching::default(),
        Nulls::default(),
        object,
    )
    .unwrap()
}

#[test]
fn other_properties_stay_as_they_are_written() {
    let object = r#" {"x": 1e400, "v" : 1 , "y":{ "a":[1.50 ,"é"]} , "x":null}  "#;
    let patched = patch(&["v"], &[(0, Some(7))], object);
    assert_eq!(
        patched,
        r#"{"x":1e400,"v":7,"y":{ "a":[1.50 ,"é"]},"x":null}"#
    );
    assert_eq!(patch(&["v"], &[], r#"{"v" : 1.0}"#), r#"{"v":1.0}"#);
}

#[test]
fn what_is_not_quite_json_stays_as_it_is_written() {
    let fields = Fields::from(vec![Field::new("v", DataType::Int64, true)]);
    let strict = ObjectPatch::try_new(
        &fields,
        &[0],
        NameMatching::default(),
        &EncodeOptions::default(),
    );
    let strict = strict.unwrap();
    let value: Vec<ArrayRef> = vec![Arc::new(arrow::array::Int64Array::from(vec![7]))];
    let object = "{\"x\":[NaN, -Infinity],\"v\":1,\"y\":\"a\tb\\ud83d\"}";
    let mut out = Vec::new();
    let result = strict
        .batch(&value)
        .unwrap()
        .write(0, object.as_bytes(), &mut out);
    assert!(matches!(result, Err(PatchError::Document(_))));
    let lenient = strict.with_lenient(true);
    lenient
        .batch(&value)
        .unwrap()
        .write(0, object.as_bytes(), &mut out)
        .unwrap();
    let expected = "{\"x\":[NaN, -Infinity],\"v\":7,\"y\":\"a\tb\\ud83d\"}";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_byte_order_mark_is_not_written_again() {
    let object = "\u{feff}{\"x\":\"é\", \"v\":1}";
    assert_eq!(patch(&["v"], &[(0, Some(7))], object), r#"{"x":"é","v":7}"#);
}

#[test]
fn a_property_that_is_missing_is_added_at_the_end() {
    assert_eq!(patch(&["v"], &[(0, Some(7))], "{}"), r#"{"v":7}"#);
    assert_eq!(
        patch(&["a\"b"], &[(0, None)], r#"{"x":1}"#),
        r#"{"x":1,"a\"b":null}"#
    );
}

#[test]
fn the_property_that_gives_the_column_its_value_is_the_one_that_is_set() {
    let set = [(0, Some(7))];
    assert_eq!(patch(&["v"], &set, r#"{"v":1,"v":2}"#), r#"{"v":1,"v":7}"#);
    assert_eq!(patch(&["v"], &set, r#"{"v":1,"V":2}"#), r#"{"v":7,"V":2}"#);
    assert_eq!(patch(&["v"], &set, r#"{"V":1}"#), r#"{"V":7}"#);
    assert_eq!(patch(&["v"], &set, r#"{"\u0076":1}"#), r#"{"\u0076":7}"#);
    let exact = patch_with(
        &["v"],
        &set,
        NameMatching::Exact,
        Nulls::Write,
        r#"{"V":1}"#,
    );
    assert_eq!(exact.unwrap(), r#"{"V":1,"v":7}"#);
}

#[test]
fn a_property_of_another_column_is_not_touched() {
    assert_eq!(
        patch(&["v", "V"], &[(0, Some(7))], r#"{"V":1}"#),
        r#"{"V":1,"v":7}"#
    );
    // It fills both columns.
    let both = patch(&["aB", "Ab"], &[(0, Some(7))], r#"{"ab":1}"#);
    assert_eq!(both, r#"{"ab":1,"aB":7}"#);
}

#[test]
fn nulls_that_are_omitted_leave_no_property_that_could_give_a_value() {
    let omit = |columns: &[&str], set: &[(usize, Option<i64>)], object: &str| {
        patch_with(columns, set, NameMatching::default(), Nulls::Omit, object).unwrap()
    };
    assert_eq!(
        omit(&["v"], &[(0, None)], r#"{"v":1,"x":2,"V":3,"v":4}"#),
        r#"{"x":2}"#
    );
    assert_eq!(omit(&["v"], &[(0, None)], r#"{"x":2}"#), r#"{"x":2}"#);
    assert_eq!(omit(&["v"], &[(0, Some(1))], r#"{"v":null}"#), r#"{"v":1}"#);
    let both = omit(&["aB", "Ab"], &[(0, None)], r#"{"ab":1}"#);
    assert_eq!(both, r#"{"ab":1,"aB":null}"#);
}

#[test]
fn what_is_no_object_is_refused() {
    for object in [
        "",
        "null",
        "[1]",
        "{",
        "{\"v\":1}}",
        "{\"v\":01}",
        "{\"v\":1,}",
    ] {
        let result = patch_with(
            &["v"],
            &[(0, Some(7))],
            NameMatching::default(),
            Nulls::default(),
            object,
        );
        assert!(matches!(result, Err(PatchError::Document(_))), "{object}");
    }
}

/// Whatever the columns are, the decoder reads what was set, and of the other
/// columns what it read before.
#[test]
fn a_patched_object_decodes_to_the_values_set() {
    let names = ["a", "A", "b", "aB", "x"];
    let objects = [
        "{}",
        r#"{"a":1,"A":2,"b":3}"#,
        r#"{"A":2,"B":3,"ab":4}"#,
        r#"{"AB":1,"Ab":2,"aB":3,"X":4,"x":5,"X":6}"#,
        r#"{"a":null,"a":1,"A":null,"b":0}"#,
    ];
    for columns in 1..32_usize {
        let columns: Vec<&str> = (0..5)
            .filter(|i| columns >> i & 1 == 1)
            .map(|i| names[i])
            .collect();
        let fields = columns
            .iter()
            .map(|name| Field::new(*name, DataType::Int64, true));
        let fields: Fields = fields.collect::<Vec<_>>().into();
        let decode = |object: &str| -> Vec<Option<i64>> {
            let mut decoder = RowDecoder::try_new(&fields, &DecodeOptions::default()).unwrap();
            decoder.append(object.as_bytes()).unwrap();
            let arrays = decoder.finish().unwrap();
            let values = arrays.iter().map(|array| {
                use arrow::array::AsArray;
                let array = array.as_primitive::<arrow::datatypes::Int64Type>();
                array.is_valid(0).then(|| array.value(0))
            });
            values.collect()
        };
        for set in 0..columns.len() {
            for value in [Some(9), None] {
                for nulls in [Nulls::Write, Nulls::Omit] {
                    for object in objects {
                        let matching = NameMatching::default();
                        let patched =
                            patch_with(&columns, &[(set, value)], matching, nulls, object).unwrap();
                        let mut expected = decode(object);
                        expected[set] = value;
                        assert_eq!(decode(&patched), expected, "{columns:?} {object} {patched}");
                    }
                }
            }
        }
    }
}
