//! Tests of the codec as a whole.

mod counts;
mod decoding;
mod encoding;
mod encodings;
mod finding;
mod inference;
mod json_text;
mod lenient;
mod numbers;
mod oracle;
mod patching;
mod round_trip;
mod temporal;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields};

use super::*;

fn field(name: &str, data_type: DataType) -> Fields {
    Fields::from(vec![Field::new(name, data_type, true)])
}

/// Decodes one value of a column `v`.
fn decode_with(
    data_type: &DataType,
    options: &DecodeOptions,
    json: &str,
) -> Result<ArrayRef, DecodeError> {
    let fields = field("v", data_type.clone());
    let payload = format!("{{\"v\":{json}}}");
    let mut decoder = RowDecoder::try_new(&fields, options).unwrap();
    let result = decoder.append(payload.as_bytes());
    let array = decoder.finish().unwrap().remove(0);
    assert_eq!(array.len(), 1);
    assert_eq!(array.data_type(), data_type);
    // Alone, among others, and after an error: always the same.
    for rows in [3, 100] {
        let mut batch = RowDecoder::try_new(&fields, options).unwrap();
        for row in 0..rows {
            match row % 3 {
                0 => assert_eq!(batch.append(payload.as_bytes()), result),
                1 => assert!(batch.append(b"{\"v\":[{\"a\":[1,").is_err()),
                _ => batch.append(b"{\"V\":null}").unwrap(),
            }
            assert_eq!(batch.len(), row + 1);
        }
        let batch = batch.finish().unwrap().remove(0);
        assert_eq!(batch.len(), rows);
        for row in 0..rows {
            let single = batch.slice(row, 1);
            if row % 3 == 0 {
                assert_eq!(single.to_data(), array.to_data());
            } else {
                assert_eq!(single.logical_null_count(), 1);
            }
        }
    }
    result.map(|()| array)
}

fn decode(data_type: &DataType, json: &str) -> Result<ArrayRef, DecodeError> {
    decode_with(data_type, &DecodeOptions::default(), json)
}

fn found(result: Result<ArrayRef, DecodeError>) -> &'static str {
    match result.unwrap_err().kind {
        DecodeErrorKind::Type { found, .. } => found.as_str(),
        other => panic!("{other:?}"),
    }
}

fn encode_with(array: &ArrayRef, options: &EncodeOptions) -> Result<String, EncodeError> {
    let field = Field::new("v", array.data_type().clone(), true);
    let encoder = ValueEncoder::try_new(&field, options).unwrap();
    let mut out = b"before ".to_vec();
    let result = encoder.batch(array).unwrap().write(0, &mut out);
    let text = String::from_utf8(out).unwrap();
    let text = text.strip_prefix("before ").unwrap();
    match result {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => {
            assert_eq!(text, "");
            Err(error)
        }
    }
}

fn encode(array: &ArrayRef) -> String {
    encode_with(array, &EncodeOptions::default()).unwrap()
}

/// What a value becomes that is read and written again.
fn normal(data_type: &DataType, json: &str) -> String {
    encode(&decode(data_type, json).unwrap())
}

/// A single value, by way of Arrow's own cast from text.
fn text(value: &str, data_type: &DataType) -> ArrayRef {
    let array: ArrayRef = Arc::new(arrow::array::StringArray::from(vec![value]));
    let array = cast(&array, data_type).unwrap();
    assert!(array.is_valid(0), "{value}");
    array
}
