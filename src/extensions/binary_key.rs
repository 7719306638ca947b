//! Keys that are numbers or UUIDs, as the serializers of Kafka's Java client write them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryViewArray, Int64Array, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Fields, Int64Type};
use arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use uuid::Uuid;

use crate::extensions::codec::{Codec, CodecError};
use crate::options::BinaryKey;

impl BinaryKey {
    /// The type of `_key` where the column is not declared.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            BinaryKey::Int32 => DataType::Int32,
            BinaryKey::Int64 => DataType::Int64,
            BinaryKey::Uuid => DataType::Utf8View,
        }
    }

    /// The types that `_key` may have, in SQL.
    pub(crate) fn sql_types(self) -> &'static str {
        match self {
            BinaryKey::Int32 => "an INT or BIGINT",
            BinaryKey::Int64 => "a BIGINT",
            BinaryKey::Uuid => "a VARCHAR",
        }
    }

    /// Whether `_key` may have this type.
    pub(crate) fn fits(self, data_type: &DataType) -> bool {
        match self {
            BinaryKey::Int32 => matches!(data_type, DataType::Int32 | DataType::Int64),
            BinaryKey::Int64 => *data_type == DataType::Int64,
            BinaryKey::Uuid => data_type.is_string(),
        }
    }

    /// The key of records whose `_key` is this value. `None` where there is no such key, or where
    /// the value is of another type.
    pub(crate) fn bytes_of(self, value: &ScalarValue) -> Option<Vec<u8>> {
        match self {
            BinaryKey::Uuid => {
                let text = value.try_as_str()??;
                let uuid = Uuid::try_parse(text).ok()?;
                // `_key` is compared as text, of which there is one form.
                (uuid.to_string() == text).then(|| uuid.as_bytes().to_vec())
            }
            BinaryKey::Int32 | BinaryKey::Int64 => match value.cast_to(&DataType::Int64).ok()? {
                ScalarValue::Int64(Some(number)) if value.data_type().is_integer() => {
                    self.of_number(number)
                }
                _ => None,
            },
        }
    }

    fn of_number(self, number: i64) -> Option<Vec<u8>> {
        match self {
            BinaryKey::Int32 => Some(i32::try_from(number).ok()?.to_be_bytes().to_vec()),
            BinaryKey::Int64 => Some(number.to_be_bytes().to_vec()),
            BinaryKey::Uuid => None,
        }
    }

    fn number(self, bytes: &[u8]) -> Option<i64> {
        match self {
            BinaryKey::Int32 => Some(i32::from_be_bytes(bytes.try_into().ok()?).into()),
            BinaryKey::Int64 => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
            BinaryKey::Uuid => None,
        }
    }

    fn of_another_length(self, row: usize, bytes: &[u8]) -> CodecError {
        let (name, len) = (self.name(), bytes.len());
        let wanted = match self {
            BinaryKey::Int32 => 4,
            BinaryKey::Int64 => 8,
            BinaryKey::Uuid => 16,
        };
        let reason = format!("`kafka.key.format` = `{name}` needs {wanted} bytes; there are {len}");
        CodecError::at(row, reason)
    }
}

impl Codec for BinaryKey {
    fn decode(
        &self,
        bytes: &BinaryViewArray,
        columns: &Fields,
    ) -> Result<Vec<ArrayRef>, CodecError> {
        let rows = bytes.iter().enumerate();
        let keys: ArrayRef = match self {
            BinaryKey::Uuid => {
                let texts = rows.map(|(row, bytes)| {
                    let uuid = bytes.map(|bytes| match Uuid::from_slice(bytes) {
                        Ok(uuid) => Ok(uuid.to_string()),
                        Err(_) => Err(self.of_another_length(row, bytes)),
                    });
                    uuid.transpose()
                });
                Arc::new(texts.collect::<Result<StringViewArray, _>>()?)
            }
            BinaryKey::Int32 | BinaryKey::Int64 => {
                let numbers = rows.map(|(row, bytes)| {
                    let number = bytes.map(|bytes| {
                        let number = self.number(bytes);
                        number.ok_or_else(|| self.of_another_length(row, bytes))
                    });
                    number.transpose()
                });
                Arc::new(numbers.collect::<Result<Int64Array, _>>()?)
            }
        };
        let typed = columns.iter().map(|field| cast(&keys, field.data_type()));
        typed.collect::<Result<_, _>>().map_err(not_cast)
    }

    fn encode(&self, columns: &[ArrayRef], _: &Fields) -> Result<BinaryViewArray, CodecError> {
        let Some(keys) = columns.first() else {
            return Err(CodecError::new("there is no `_key`"));
        };
        if *self == BinaryKey::Uuid {
            let texts = cast(keys, &DataType::Utf8View).map_err(not_cast)?;
            let uuids = texts
                .as_string_view()
                .iter()
                .enumerate()
                .map(|(row, text)| {
                    let uuid = text.map(|text| {
                        let uuid = Uuid::try_parse(text);
                        uuid.map_err(|_| CodecError::at(row, "`_key` is not a UUID"))
                    });
                    uuid.transpose()
                });
            let uuids = uuids.collect::<Result<Vec<_>, _>>()?;
            return Ok(uuids
                .iter()
                .map(|uuid| Some(uuid.as_ref()?.as_bytes()))
                .collect());
        }
        let numbers = cast(keys, &DataType::Int64).map_err(not_cast)?;
        let numbers = numbers.as_primitive::<Int64Type>().iter().enumerate();
        let keys = numbers.map(|(row, number)| {
            let bytes = number.map(|number| {
                let reason = "`_key` does not fit into the 4 bytes of `kafka.key.format` = `int32`";
                self.of_number(number)
                    .ok_or_else(|| CodecError::at(row, reason))
            });
            bytes.transpose()
        });
        keys.collect()
    }
}

fn not_cast(error: ArrowError) -> CodecError {
    CodecError::new(error.to_string())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, Int32Array, StringArray};
    use arrow::datatypes::Field;
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "550e8400-e29b-41d4-a716-446655440000";

    fn fields(data_type: DataType) -> Fields {
        Fields::from(vec![Field::new("_key", data_type, true)])
    }

    fn there_and_back(format: BinaryKey, keys: ArrayRef) {
        let fields = fields(keys.data_type().clone());
        assert!(format.fits(keys.data_type()));
        let bytes = format.encode(&[Arc::clone(&keys)], &fields).unwrap();
        assert_eq!(format.decode(&bytes, &fields).unwrap(), [keys]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(numbers: Vec<Option<i32>>, uuids: Vec<Option<u128>>) {
            let wide = numbers.iter().map(|n| n.map(i64::from));
            let wide: ArrayRef = Arc::new(wide.collect::<Int64Array>());
            there_and_back(BinaryKey::Int32, Arc::new(Int32Array::from(numbers)));
            there_and_back(BinaryKey::Int32, Arc::clone(&wide));
            there_and_back(BinaryKey::Int64, wide);
            let texts = uuids.into_iter().map(|n| n.map(|n| Uuid::from_u128(n).to_string()));
            there_and_back(BinaryKey::Uuid, Arc::new(texts.collect::<StringArray>()));
        }
    }

    #[test]
    fn numbers_are_big_endian_and_uuids_their_bytes() {
        let bytes = |format: BinaryKey, value: ScalarValue| format.bytes_of(&value);
        let one = |n| ScalarValue::Int64(Some(n));
        assert_eq!(bytes(BinaryKey::Int32, one(258)), Some(vec![0, 0, 1, 2]));
        assert_eq!(bytes(BinaryKey::Int64, one(-1)), Some(vec![255; 8]));
        assert_eq!(bytes(BinaryKey::Int32, one(1 << 40)), None);
        let text = |text: &str| ScalarValue::from(text);
        let id = bytes(BinaryKey::Uuid, text(ID)).unwrap();
        assert_eq!((id.len(), id[0], id[15]), (16, 0x55, 0));
        assert_eq!(bytes(BinaryKey::Uuid, text(&ID.to_uppercase())), None);
        assert_eq!(bytes(BinaryKey::Int32, text("1")), None);
        assert_eq!(bytes(BinaryKey::Int64, ScalarValue::Int64(None)), None);
    }

    #[test]
    fn keys_of_another_length_and_values_without_a_key_are_errors() {
        let bytes = BinaryViewArray::from_iter([Some(&[0, 0, 0, 1][..]), None, Some(&[1])]);
        for format in [BinaryKey::Int32, BinaryKey::Int64, BinaryKey::Uuid] {
            let error = format
                .decode(&bytes, &fields(format.data_type()))
                .unwrap_err();
            let row = if format == BinaryKey::Int32 { 2 } else { 0 };
            assert_eq!(error.row, Some(row), "{error}");
        }
        let large: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(1 << 31)]));
        let error = BinaryKey::Int32.encode(&[large], &fields(DataType::Int64));
        assert_eq!(error.unwrap_err().row, Some(2));
        let text: ArrayRef = Arc::new(StringArray::from(vec![ID, "no"]));
        let error = BinaryKey::Uuid.encode(&[text], &fields(DataType::Utf8));
        assert_eq!(error.unwrap_err().row, Some(1));
    }
}
