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
    for (values, data_type) in [
        (&["1", "null", "-9223372036854775808"][..], DataType::Int64),
        (&["1", "2.5"], DataType::Float64),
        (&["2.0"], DataType::Float64),
        (&["9223372036854775808"], DataType::Float64),
        (&["1e400"], DataType::Utf8View),
        (&["true", "false"], DataType::Boolean),
        (&["\"2024-01-01T00:00:00Z\""], DataType::Utf8View),
        (&["null"], DataType::Utf8View),
        (&["1", "true"], DataType::Utf8View),
        (&["1", "[1]"], DataType::Utf8View),
        (&["{\"a\":1}", "[1]"], DataType::Utf8View),
        (&["[]"], list(DataType::Utf8View)),
        (&["[1,null]", "[]", "[2.5]"], list(DataType::Float64)),
        (&["[1,\"x\"]"], list(DataType::Utf8View)),
        (&["[[1]]"], list(list(DataType::Int64))),
        (&["{}"], DataType::Utf8View),
        (&["{}", "{\"a\":1}"], structure(DataType::Int64)),
        (&["{\"a\":\"x\",\"a\":1}"], structure(DataType::Int64)),
        (&["{\"a\":1}", "{\"a\":[]}"], structure(DataType::Utf8View)),
    ] {
        assert_eq!(value_type(values), data_type, "{values:?}");
    }
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
