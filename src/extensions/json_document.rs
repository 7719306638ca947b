//! [`JsonDocument`]: payloads that are one column, as any JSON.

use arrow::array::{ArrayRef, AsArray, BinaryViewArray, BinaryViewBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow_json_codec::documents;

use crate::error::decode_message;
use crate::extensions::codec::{Codec, CodecError};
use crate::json::{DecodeError, DecodeOptions, EncodeOptions, ValueDecoder, ValueEncoder};
use crate::options::{Framing, TableOptions};

/// Reads and writes whole payloads as the column `_value`, whatever its type.
#[derive(Debug)]
pub(crate) struct JsonDocument {
    decode: DecodeOptions,
    encode: EncodeOptions,
    framing: Framing,
    /// What is written in front of a payload.
    front: Vec<u8>,
    /// Whether a payload has several documents, which are a list.
    is_many: bool,
}

impl JsonDocument {
    /// A format with the options of a table.
    pub(crate) fn new(options: &TableOptions) -> Self {
        let front = options.schema_id.map(|id| options.framing.bytes(id));
        JsonDocument {
            decode: options.decode.clone(),
            encode: options.encode.clone(),
            framing: options.framing,
            front: front.unwrap_or_default(),
            is_many: options.many_documents,
        }
    }

    fn append(&self, decoder: &mut ValueDecoder, payload: &[u8]) -> Result<(), DecodeError> {
        let (front, json) = self.framing.split(payload);
        let appended = match self.is_many {
            false => decoder.append(json),
            true => listed(json, self.decode.lenient).and_then(|list| decoder.append(&list)),
        };
        appended.map_err(|mut error| {
            error.position += front.len();
            error
        })
    }

    /// One document of each row, or the documents of each row on lines of their own.
    fn write(&self, array: &ArrayRef, field: &Field) -> Result<Vec<Option<Vec<u8>>>, CodecError> {
        let item = match (self.is_many, field.data_type()) {
            (true, DataType::List(item)) => Some(item),
            _ => None,
        };
        let (written, values): (&Field, Option<&ArrayRef>) = match item {
            Some(item) => (item, array.as_list_opt::<i32>().map(|lists| lists.values())),
            None => (field, Some(array)),
        };
        let Some(values) = values else {
            return Err(CodecError::new("`_value` is not a list"));
        };
        let encoder = ValueEncoder::try_new(written, &self.encode)
            .map_err(|error| CodecError::new(error.to_string()))?;
        let writer = encoder
            .batch(values)
            .map_err(|error| CodecError::new(error.to_string()))?;
        let row = |row: usize| {
            if array.is_null(row) {
                return Ok(None);
            }
            let mut payload = self.front.clone();
            let elements = match array.as_list_opt::<i32>().filter(|_| item.is_some()) {
                Some(lists) => {
                    let offsets = lists.value_offsets();
                    let offset = |at: usize| offsets.get(at).map_or(0, |offset| *offset as usize);
                    offset(row)..offset(row + 1)
                }
                None => row..row + 1,
            };
            for element in elements {
                writer
                    .write(element, &mut payload)
                    .map_err(|error| CodecError::at(row, error.to_string()))?;
                if item.is_some() {
                    payload.push(b'\n');
                }
            }
            Ok(Some(payload))
        };
        (0..array.len()).map(row).collect()
    }
}

impl Codec for JsonDocument {
    fn decode(
        &self,
        bytes: &BinaryViewArray,
        columns: &Fields,
    ) -> Result<Vec<ArrayRef>, CodecError> {
        let decode = |field: &FieldRef| {
            let mut decoder = ValueDecoder::try_new(field, &self.decode)
                .map_err(|error| CodecError::new(error.to_string()))?;
            for (row, payload) in bytes.iter().enumerate() {
                match payload {
                    None => decoder.append_null(),
                    Some(payload) => self
                        .append(&mut decoder, payload)
                        .map_err(|error| CodecError::at(row, decode_message(&error)))?,
                }
            }
            decoder
                .finish()
                .map_err(|error| CodecError::new(error.to_string()))
        };
        columns.iter().map(decode).collect()
    }

    fn encode(&self, columns: &[ArrayRef], fields: &Fields) -> Result<BinaryViewArray, CodecError> {
        let mut payloads = BinaryViewBuilder::new();
        if let (Some(array), Some(field)) = (columns.first(), fields.first()) {
            for payload in self.write(array, field)? {
                payloads.append_option(payload);
            }
        }
        Ok(payloads.finish())
    }
}

/// The documents of a payload as one list.
fn listed(payload: &[u8], lenient: bool) -> Result<Vec<u8>, DecodeError> {
    let mut list = vec![b'['];
    for place in documents(payload, lenient)? {
        if list.len() > 1 {
            list.push(b',');
        }
        list.extend_from_slice(payload.get(place).unwrap_or_default());
    }
    list.push(b']');
    Ok(list)
}
