//! The scalar functions `kafka_int` and `kafka_uuid`: what is in the bytes of keys and headers.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result as DataFusionResult, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use uuid::Uuid;

/// Reads bytes as a number or as a UUID.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct OfBytes {
    content: Content,
    signature: Signature,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Content {
    /// `kafka_int`: a big-endian number of 1, 2, 4 or 8 bytes.
    Int,
    /// `kafka_uuid`: 16 bytes, as text.
    Uuid,
}

impl OfBytes {
    pub(super) fn new(content: Content) -> Self {
        let types = vec![
            DataType::Binary,
            DataType::BinaryView,
            DataType::LargeBinary,
        ];
        OfBytes {
            content,
            signature: Signature::uniform(1, types, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for OfBytes {
    fn name(&self) -> &str {
        match self.content {
            Content::Int => "kafka_int",
            Content::Uuid => "kafka_uuid",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(match self.content {
            Content::Int => DataType::Int64,
            Content::Uuid => DataType::Utf8View,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let Some(bytes) = args.args.first() else {
            return exec_err!("`{}` needs an argument", self.name());
        };
        let bytes = cast(&bytes.to_array(args.number_rows)?, &DataType::BinaryView)?;
        let bytes = bytes.as_binary_view().iter();
        let values: ArrayRef = match self.content {
            Content::Int => {
                let numbers = bytes.map(|bytes| bytes.map(int).transpose());
                Arc::new(numbers.collect::<DataFusionResult<Int64Array>>()?)
            }
            Content::Uuid => {
                let texts = bytes.map(|bytes| bytes.map(uuid).transpose());
                Arc::new(texts.collect::<DataFusionResult<StringViewArray>>()?)
            }
        };
        Ok(ColumnarValue::Array(values))
    }
}

fn int(bytes: &[u8]) -> DataFusionResult<i64> {
    match *bytes {
        [a] => Ok(i8::from_be_bytes([a]).into()),
        [a, b] => Ok(i16::from_be_bytes([a, b]).into()),
        [a, b, c, d] => Ok(i32::from_be_bytes([a, b, c, d]).into()),
        [a, b, c, d, e, f, g, h] => Ok(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => exec_err!(
            "`kafka_int` reads 1, 2, 4 or 8 bytes, and there are {}",
            bytes.len()
        ),
    }
}

fn uuid(bytes: &[u8]) -> DataFusionResult<String> {
    match Uuid::from_slice(bytes) {
        Ok(uuid) => Ok(uuid.to_string()),
        Err(_) => exec_err!("`kafka_uuid` reads 16 bytes, and there are {}", bytes.len()),
    }
}
