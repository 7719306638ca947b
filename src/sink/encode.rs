//! Rows to records: the key and the payload, or a tombstone.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Int32Array, ListArray,
    StringViewArray, TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Fields, Int32Type, TimestampMillisecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};
use crate::json::{EncodeError, RowEncoder, RowWriter, ValueEncoder, ValueWriter};
use crate::options::{KeyFormat, ValueFormat};
use crate::schema::{Column, Metadata};
use crate::table::TableDefinition;

/// What to do with the rows of a table: made once per statement.
pub(crate) struct RecordEncoder {
    table: Arc<TableDefinition>,
    key: Option<KeyEncoder>,
    payload: PayloadEncoder,
    payload_fields: Fields,
}

enum KeyEncoder {
    Text,
    Bytes,
    Json(ValueEncoder),
}

enum PayloadEncoder {
    Json(RowEncoder),
    Text,
    Bytes,
}

impl RecordEncoder {
    /// # Errors
    /// [`Error::InvalidColumn`] for a type that cannot be encoded.
    pub(crate) fn try_new(table: &Arc<TableDefinition>) -> Result<Self> {
        let options = &table.options;
        let mut key = None;
        let mut payload_fields: Vec<FieldRef> = Vec::new();
        for (column, field) in table.schema.columns() {
            match column {
                Column::Key => {
                    key = Some(match options.key_format {
                        KeyFormat::String => KeyEncoder::Text,
                        KeyFormat::Bytes => KeyEncoder::Bytes,
                        KeyFormat::Json => KeyEncoder::Json(
                            ValueEncoder::try_new(field, &options.encode)
                                .map_err(|error| unsupported(field.name(), &error))?,
                        ),
                    });
                }
                Column::Payload => payload_fields.push(Arc::clone(field)),
                Column::Metadata(_) => {}
            }
        }
        let payload_fields = Fields::from(payload_fields);
        let payload = match table.schema.value_format() {
            ValueFormat::String => PayloadEncoder::Text,
            ValueFormat::Bytes => PayloadEncoder::Bytes,
            ValueFormat::Json => PayloadEncoder::Json(
                RowEncoder::try_new(&payload_fields, &options.encode)
                    .map_err(|error| unsupported(&error.path, &error))?,
            ),
        };
        Ok(RecordEncoder {
            table: Arc::clone(table),
            key,
            payload,
            payload_fields,
        })
    }

    /// Resolves the columns of a batch, whose schema is the table's.
    pub(crate) fn columns(&self, batch: &RecordBatch) -> Result<BatchColumns, ArrowError> {
        let mut columns = BatchColumns::default();
        let mut payload = Vec::with_capacity(self.payload_fields.len());
        for ((column, _), array) in self.table.schema.columns().zip(batch.columns()) {
            match column {
                Column::Key => {
                    columns.key = Some(match &self.key {
                        Some(KeyEncoder::Text) => cast(array, &DataType::Utf8View)?,
                        Some(KeyEncoder::Bytes) => cast(array, &DataType::BinaryView)?,
                        _ => Arc::clone(array),
                    });
                }
                Column::Payload => payload.push(match &self.payload {
                    PayloadEncoder::Text => cast(array, &DataType::Utf8View)?,
                    PayloadEncoder::Bytes => cast(array, &DataType::BinaryView)?,
                    PayloadEncoder::Json(_) => Arc::clone(array),
                }),
                Column::Metadata(metadata) => {
                    columns.set(metadata, &cast(array, &metadata.data_type())?);
                }
            }
        }
        columns.payload = payload;
        Ok(columns)
    }

    /// Gets ready to encode the rows of a batch.
    pub(crate) fn batch<'a>(
        &'a self,
        columns: &'a BatchColumns,
    ) -> Result<BatchEncoder<'a>, ArrowError> {
        let key = match (&self.key, &columns.key) {
            (Some(KeyEncoder::Text), Some(array)) => KeyWriter::Text(array.as_string_view()),
            (Some(KeyEncoder::Bytes), Some(array)) => KeyWriter::Bytes(array.as_binary_view()),
            (Some(KeyEncoder::Json(encoder)), Some(array)) => {
                KeyWriter::Json(array, encoder.batch(array)?)
            }
            _ => KeyWriter::Missing,
        };
        let payload = match (&self.payload, columns.payload.first()) {
            (PayloadEncoder::Json(encoder), _) => {
                PayloadWriter::Json(encoder.batch(&columns.payload)?)
            }
            (PayloadEncoder::Text, Some(array)) => PayloadWriter::Text(array.as_string_view()),
            (PayloadEncoder::Bytes, Some(array)) => PayloadWriter::Bytes(array.as_binary_view()),
            (_, None) => PayloadWriter::Missing,
        };
        Ok(BatchEncoder {
            topic: &self.table.topic,
            columns,
            not_null: self
                .payload_fields
                .iter()
                .zip(&columns.payload)
                .filter(|(field, array)| !field.is_nullable() && array.null_count() > 0)
                .map(|(field, array)| (field.name().as_str(), array))
                .collect(),
            key,
            payload,
        })
    }
}

/// The columns of a batch in the types that the encoders read.
#[derive(Default)]
pub(crate) struct BatchColumns {
    key: Option<ArrayRef>,
    payload: Vec<ArrayRef>,
    topic: Option<StringViewArray>,
    partition: Option<Int32Array>,
    offset: Option<ArrayRef>,
    timestamp: Option<TimestampMillisecondArray>,
    headers: Option<ListArray>,
    tombstone: Option<BooleanArray>,
    error: Option<ArrayRef>,
}

impl BatchColumns {
    fn set(&mut self, metadata: Metadata, array: &ArrayRef) {
        match metadata {
            Metadata::Topic => self.topic = array.as_string_view_opt().cloned(),
            Metadata::Partition => self.partition = array.as_primitive_opt::<Int32Type>().cloned(),
            Metadata::Offset => self.offset = Some(Arc::clone(array)),
            Metadata::Timestamp => {
                self.timestamp = array
                    .as_primitive_opt::<TimestampMillisecondType>()
                    .cloned();
            }
            Metadata::Headers => self.headers = array.as_list_opt().cloned(),
            Metadata::Tombstone => self.tombstone = array.as_boolean_opt().cloned(),
            Metadata::Error => self.error = Some(Arc::clone(array)),
        }
    }
}

/// The rows of one batch, to be encoded one by one.
pub(crate) struct BatchEncoder<'a> {
    topic: &'a str,
    columns: &'a BatchColumns,
    /// The NOT NULL columns that hold NULLs all the same.
    not_null: Vec<(&'a str, &'a ArrayRef)>,
    key: KeyWriter<'a>,
    payload: PayloadWriter<'a>,
}

enum KeyWriter<'a> {
    Text(&'a StringViewArray),
    Bytes(&'a BinaryViewArray),
    Json(&'a ArrayRef, ValueWriter<'a>),
    Missing,
}

enum PayloadWriter<'a> {
    Json(RowWriter<'a>),
    Text(&'a StringViewArray),
    Bytes(&'a BinaryViewArray),
    Missing,
}

/// A row as a record; the buffers are used again for the next one.
#[derive(Default)]
pub(crate) struct EncodedRecord {
    pub(crate) key: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    /// The record has no payload, whatever `payload` holds.
    pub(crate) tombstone: bool,
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl BatchEncoder<'_> {
    /// Encodes the row at `index`, which is the statement's row `row`.
    ///
    /// # Errors
    /// [`Error::InvalidRow`] for a NULL key or a column that cannot be
    /// written, [`Error::EncodeRow`] for a value that JSON cannot hold.
    pub(crate) fn encode(&self, index: usize, row: u64, record: &mut EncodedRecord) -> Result<()> {
        record.key.clear();
        record.payload.clear();
        let invalid = |reason: &str| Error::InvalidRow {
            topic: self.topic.to_owned(),
            row,
            reason: reason.to_owned(),
        };
        let encode = |source: EncodeError| Error::EncodeRow {
            topic: self.topic.to_owned(),
            row,
            source,
        };
        let columns = self.columns;
        if columns.offset.as_ref().is_some_and(|a| a.is_valid(index)) {
            return Err(invalid(
                "`_offset` is given by the broker and cannot be written; leave it out",
            ));
        }
        if columns.error.as_ref().is_some_and(|a| a.is_valid(index)) {
            return Err(invalid("`_error` cannot be written; leave it out"));
        }
        if value(columns.topic.as_ref(), index, |a, i| {
            a.value(i) != self.topic
        }) == Some(true)
        {
            return Err(invalid("`_topic` names another topic; leave it out"));
        }

        let null_key = || invalid("`_key` is NULL, and every record needs a key");
        match &self.key {
            KeyWriter::Text(keys) if keys.is_valid(index) => {
                record.key.extend_from_slice(keys.value(index).as_bytes());
            }
            KeyWriter::Bytes(keys) if keys.is_valid(index) => {
                record.key.extend_from_slice(keys.value(index));
            }
            KeyWriter::Json(keys, writer) if keys.is_valid(index) => {
                writer.write(index, &mut record.key).map_err(encode)?;
            }
            _ => return Err(null_key()),
        }

        record.tombstone =
            value(columns.tombstone.as_ref(), index, BooleanArray::value).unwrap_or(false);
        record.partition = value(columns.partition.as_ref(), index, Int32Array::value);
        record.timestamp = value(
            columns.timestamp.as_ref(),
            index,
            TimestampMillisecondArray::value,
        );
        // librdkafka takes 0 for now, and the brokers nothing below.
        if record.timestamp.is_some_and(|millis| millis <= 0) {
            return Err(invalid(
                "`_timestamp` must be after 1970-01-01T00:00:00Z, or NULL for the time of writing",
            ));
        }
        record.headers = value(columns.headers.as_ref(), index, headers).unwrap_or_default();
        if record.tombstone {
            return Ok(());
        }
        if let Some((name, _)) = self.not_null.iter().find(|(_, a)| a.is_null(index)) {
            return Err(invalid(&format!(
                "column `{name}` is NULL, but declared NOT NULL"
            )));
        }

        match &self.payload {
            PayloadWriter::Json(writer) => writer.write(index, &mut record.payload).map_err(encode),
            PayloadWriter::Text(values) if values.is_valid(index) => {
                record
                    .payload
                    .extend_from_slice(values.value(index).as_bytes());
                Ok(())
            }
            PayloadWriter::Bytes(values) if values.is_valid(index) => {
                record.payload.extend_from_slice(values.value(index));
                Ok(())
            }
            _ => Err(invalid(
                "`_value` is NULL; to write a tombstone declare `_tombstone` and set it to true",
            )),
        }
    }
}

fn value<A: Array, T>(array: Option<&A>, index: usize, get: impl Fn(&A, usize) -> T) -> Option<T> {
    let array = array?;
    array.is_valid(index).then(|| get(array, index))
}

fn headers(lists: &ListArray, index: usize) -> Vec<(String, Option<Vec<u8>>)> {
    let list = lists.value(index);
    let Some(list) = list.as_struct_opt() else {
        return Vec::new();
    };
    let (Some(names), Some(values)) = (list.columns().first(), list.columns().get(1)) else {
        return Vec::new();
    };
    let (Some(names), Some(values)) = (names.as_string_opt::<i32>(), values.as_binary_opt::<i32>())
    else {
        return Vec::new();
    };
    names
        .iter()
        .zip(values.iter())
        .filter_map(|(name, value)| Some((name?.to_owned(), value.map(<[u8]>::to_vec))))
        .collect()
}

fn unsupported(column: &str, error: &crate::json::UnsupportedType) -> Error {
    Error::InvalidColumn {
        column: column.to_owned(),
        reason: error.to_string(),
    }
}
