//! [`RecordEncoder`]: the encoders of a statement, which make a batch of rows ready for
//! [`encode_row`](crate::sink::encode_row).
//!
//! An INSERT makes a new record from every row. The other statements start from the source
//! record of a row and keep what they do not change: the raw key and the partition, and for
//! an UPDATE also the headers and the rest of the payload.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, UInt64Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, FieldRef, Fields, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::error::Result as DataFusionResult;

use crate::definition::TableDefinition;
use crate::definition::schema::ColumnRole;
use crate::error::{Error, Result};
use crate::extensions::codec::{self, Codec, CodecError};
use crate::json::{RowEncoder, ValueEncoder};
use crate::options::{KeyFormat, ValueFormat};
use crate::sink::batch_columns::{BatchColumns, value};
use crate::sink::change::{Change, UpdateEncoder, unsupported};
use crate::sink::encode_row::{
    BatchEncoder, KeyWriter, NullKeys, PayloadWriter, RowChange, RowUpdate,
};

/// How the rows of a statement are encoded. Made once per statement.
pub(crate) struct RecordEncoder {
    table: Arc<TableDefinition>,
    key: Option<KeyEncoder>,
    null_keys: NullKeys,
    payload: PayloadEncoder,
    payload_fields: Fields,
    changes: Vec<Change>,
    /// One entry per change; `None` for a change that is no update.
    updates: Vec<Option<UpdateEncoder>>,
    /// The names of the input's columns.
    input: Vec<String>,
}

const KEY_NEEDED: &str = "`_key` is NULL, and every record needs a key in upsert mode; \
     `kafka.mode` = `append` writes records without one";

const KEY_NOT_NULL: &str = "column `_key` is NULL, but declared NOT NULL";

enum KeyEncoder {
    Text,
    Bytes,
    /// Behind these bytes.
    Json(ValueEncoder, Vec<u8>),
    Codec(Arc<dyn Codec>, Fields),
}

enum PayloadEncoder {
    /// Behind these bytes.
    Json(RowEncoder, Vec<u8>),
    Text,
    Bytes,
    Codec(Arc<dyn Codec>),
}

impl RecordEncoder {
    /// An encoder for rows with the columns of `input`, each of which is one of `changes`.
    ///
    /// # Errors
    /// [`Error::InvalidColumn`] for a type that cannot be encoded.
    pub(crate) fn try_new(
        table: &Arc<TableDefinition>,
        input: &Schema,
        changes: &[Change],
    ) -> Result<Self> {
        let options = &table.options;
        let front = |id: Option<u64>| id.map_or_else(Vec::new, |id| options.framing.bytes(id));
        let mut key = None;
        let mut null_keys = NullKeys::Refused(KEY_NEEDED);
        let mut payload_fields: Vec<FieldRef> = Vec::new();
        for (column, field) in table.schema.columns() {
            match column {
                ColumnRole::Key => {
                    if table.takes_null_keys() {
                        null_keys = match field.is_nullable() {
                            true => NullKeys::Written,
                            false => NullKeys::Refused(KEY_NOT_NULL),
                        };
                    }
                    key = Some(match (&table.extensions.key_codec, options.key_format()) {
                        (Some(codec), _) => {
                            let fields = Fields::from(vec![Arc::clone(field)]);
                            KeyEncoder::Codec(Arc::clone(codec), fields)
                        }
                        (None, KeyFormat::String) => KeyEncoder::Text,
                        (None, KeyFormat::Bytes) => KeyEncoder::Bytes,
                        (None, KeyFormat::Binary(key)) => {
                            let fields = Fields::from(vec![Arc::clone(field)]);
                            KeyEncoder::Codec(Arc::new(key), fields)
                        }
                        (None, KeyFormat::Json) => KeyEncoder::Json(
                            ValueEncoder::try_new(field, &options.encode)
                                .map_err(|error| unsupported(field.name(), &error))?,
                            front(options.key_schema_id),
                        ),
                    });
                }
                ColumnRole::Payload => payload_fields.push(Arc::clone(field)),
                ColumnRole::Metadata(_) => {}
            }
        }
        let payload_fields = Fields::from(payload_fields);
        let payload = match (&table.extensions.value_codec, table.schema.value_format()) {
            (Some(codec), _) => PayloadEncoder::Codec(Arc::clone(codec)),
            (None, ValueFormat::String) => PayloadEncoder::Text,
            (None, ValueFormat::Bytes) => PayloadEncoder::Bytes,
            (None, ValueFormat::Json) => PayloadEncoder::Json(
                RowEncoder::try_new(&payload_fields, &options.encode)
                    .map_err(|error| unsupported(&error.path, &error))?,
                front(options.schema_id),
            ),
        };
        let updates = changes.iter().map(|change| match change {
            Change::Update(columns) => {
                UpdateEncoder::try_new(table, &payload_fields, columns).map(Some)
            }
            _ => Ok(None),
        });
        Ok(RecordEncoder {
            table: Arc::clone(table),
            key,
            null_keys,
            payload,
            updates: updates.collect::<Result<_>>()?,
            payload_fields,
            changes: changes.to_vec(),
            input: input.fields().iter().map(|f| f.name().clone()).collect(),
        })
    }

    /// A column of a batch, by the name that it has in the plan.
    pub(crate) fn column<'a>(&self, batch: &'a RecordBatch, name: &str) -> Option<&'a ArrayRef> {
        let place = self.input.iter().position(|column| column == name)?;
        batch.columns().get(place)
    }

    /// Resolves the columns of a batch. `first_row` is the statement's number of its first row.
    pub(crate) fn columns(
        &self,
        batch: &RecordBatch,
        first_row: u64,
    ) -> DataFusionResult<BatchColumns> {
        let mut columns = BatchColumns::default();
        // The names come from the plan, since batches may carry other names.
        let mut given = HashMap::new();
        for (name, array) in self.input.iter().zip(batch.columns()) {
            if !columns.source_records.set(name, array) {
                given.insert(name.as_str(), array);
            }
        }
        let mut payload = Vec::with_capacity(self.payload_fields.len());
        for (column, field) in self.table.schema.columns() {
            let array = given.get(field.name().as_str()).copied();
            match (column, array) {
                (ColumnRole::Payload, None) => payload.push(None),
                (_, None) => {}
                (ColumnRole::Key, Some(array)) => {
                    columns.key = Some(match &self.key {
                        Some(KeyEncoder::Text) => cast(array, &DataType::Utf8View)?,
                        Some(KeyEncoder::Bytes) => cast(array, &DataType::BinaryView)?,
                        Some(KeyEncoder::Codec(codec, fields)) => {
                            // Rows that keep the raw key of their source record are NULL here.
                            let wanted = (0..array.len()).filter(|row| array.is_valid(*row));
                            let keys = std::slice::from_ref(array);
                            let codec = codec.as_ref();
                            Arc::new(self.scattered(codec, keys, fields, wanted, first_row)?)
                        }
                        _ => Arc::clone(array),
                    });
                }
                (ColumnRole::Payload, Some(array)) => payload.push(Some(match &self.payload {
                    PayloadEncoder::Text => cast(array, &DataType::Utf8View)?,
                    PayloadEncoder::Bytes => cast(array, &DataType::BinaryView)?,
                    PayloadEncoder::Json(..) | PayloadEncoder::Codec(_) => Arc::clone(array),
                })),
                (ColumnRole::Metadata(metadata), Some(array)) => {
                    columns.set(metadata, &cast(array, &metadata.written_type())?);
                }
            }
        }
        for update in self.updates.iter().flatten() {
            let set = update.payload.iter().map(|position| payload.get(*position));
            columns.set.push(set.flatten().flatten().cloned().collect());
        }
        columns.payload = payload.into_iter().flatten().collect();
        if let PayloadEncoder::Codec(codec) = &self.payload {
            columns.encoded = self.encoded(codec.as_ref(), &columns, batch, first_row)?;
        }
        Ok(columns)
    }

    /// The payloads from a codec, for the rows that need one.
    fn encoded(
        &self,
        codec: &dyn Codec,
        columns: &BatchColumns,
        batch: &RecordBatch,
        first_row: u64,
    ) -> DataFusionResult<Option<BinaryViewArray>> {
        if columns.payload.len() < self.payload_fields.len() {
            return Ok(None);
        }
        let needs_payload =
            |index: &usize| match self.changes.get(columns.source_records.change(*index)) {
                Some(Change::Upsert) => {
                    let tombstones = columns.tombstone.as_ref();
                    value(tombstones, *index, BooleanArray::value) != Some(true)
                }
                Some(Change::Update(_)) => true,
                Some(
                    Change::Delete
                    | Change::Keep
                    | Change::Retract
                    | Change::Ignore
                    | Change::DeadLetter,
                )
                | None => false,
            };
        let wanted = (0..batch.num_rows()).filter(needs_payload);
        let fields = &self.payload_fields;
        self.scattered(codec, &columns.payload, fields, wanted, first_row)
            .map(Some)
    }

    /// Lets a codec encode only the wanted rows. The other rows of the result are NULL.
    fn scattered(
        &self,
        codec: &dyn Codec,
        arrays: &[ArrayRef],
        fields: &Fields,
        wanted: impl Iterator<Item = usize>,
        first_row: u64,
    ) -> DataFusionResult<BinaryViewArray> {
        let rows = arrays.first().map_or(0, |array| array.len());
        let wanted: Vec<usize> = wanted.collect();
        let encode = |arrays: &[ArrayRef]| {
            codec::encode(codec, arrays, fields, wanted.len()).map_err(|error| {
                let row = error.row.and_then(|row| wanted.get(row).copied());
                self.codec_error(first_row, CodecError { row, ..error })
            })
        };
        if wanted.len() == rows {
            return Ok(encode(arrays)?);
        }
        let places = UInt64Array::from_iter_values(wanted.iter().map(|index| *index as u64));
        let arrays = arrays.iter().map(|array| take(array, &places, None));
        let encoded = encode(&arrays.collect::<Result<Vec<_>, _>>()?)?;
        let mut bytes: Vec<Option<&[u8]>> = vec![None; rows];
        for (place, payload) in wanted.iter().zip(encoded.iter()) {
            if let Some(slot) = bytes.get_mut(*place) {
                *slot = payload;
            }
        }
        Ok(bytes.into_iter().collect())
    }

    fn codec_error(&self, first_row: u64, error: CodecError) -> Error {
        Error::InvalidRow {
            topic: self.table.topic.clone(),
            row: first_row + error.row.unwrap_or(0) as u64,
            reason: error.reason,
        }
    }

    /// Prepares to encode the rows of a batch.
    pub(crate) fn batch<'a>(
        &'a self,
        columns: &'a BatchColumns,
    ) -> Result<BatchEncoder<'a>, ArrowError> {
        let key = match (&self.key, &columns.key) {
            (Some(KeyEncoder::Text), Some(array)) => KeyWriter::Text(array.as_string_view()),
            (Some(KeyEncoder::Bytes | KeyEncoder::Codec(..)), Some(array)) => {
                KeyWriter::Bytes(array.as_binary_view())
            }
            (Some(KeyEncoder::Json(encoder, front)), Some(array)) => {
                KeyWriter::Json(array, encoder.batch(array)?, front)
            }
            _ => KeyWriter::Missing,
        };
        let is_whole = columns.payload.len() == self.payload_fields.len();
        let payload = match (&self.payload, columns.payload.first()) {
            _ if !is_whole => PayloadWriter::Missing,
            (PayloadEncoder::Json(encoder, front), _) => {
                PayloadWriter::Json(encoder.batch(&columns.payload)?, front)
            }
            (PayloadEncoder::Text, Some(array)) => PayloadWriter::Text(array.as_string_view()),
            (PayloadEncoder::Bytes, Some(array)) => PayloadWriter::Bytes(array.as_binary_view()),
            (PayloadEncoder::Codec(_), _) => match &columns.encoded {
                Some(payloads) => PayloadWriter::Codec(payloads),
                None => PayloadWriter::Missing,
            },
            (_, None) => PayloadWriter::Missing,
        };
        let mut sets = columns.set.iter();
        let mut changes = Vec::with_capacity(self.changes.len());
        for (change, update) in self.changes.iter().zip(&self.updates) {
            changes.push(match (change, update) {
                (Change::Upsert, _) => RowChange::Upsert,
                (Change::Delete, _) => RowChange::Delete,
                (Change::Keep, _) => RowChange::Keep,
                (Change::Retract, _) => RowChange::Retract,
                (Change::Ignore | Change::DeadLetter, _) => RowChange::Ignore,
                (Change::Update(_), None) => RowChange::Keep,
                (Change::Update(_), Some(update)) => {
                    let set = sets.next().map_or(&[][..], Vec::as_slice);
                    RowChange::Update(RowUpdate {
                        update,
                        patch: update.batch(set)?,
                        value: match &columns.encoded {
                            None => set.first().map(|array| array.as_ref()),
                            Some(payloads) => set.first().map(|_| payloads as &dyn Array),
                        },
                        not_null: self.not_null(update.payload.iter().copied(), set),
                    })
                }
            });
        }
        let not_null = match is_whole {
            true => self.not_null(0..self.payload_fields.len(), &columns.payload),
            false => Vec::new(),
        };
        Ok(BatchEncoder {
            topic: &self.table.topic,
            framing: self.table.options.framing,
            columns,
            not_null,
            key,
            null_keys: self.null_keys,
            payload,
            changes,
        })
    }

    /// The NOT NULL columns at `positions` that hold NULLs nevertheless.
    fn not_null<'a>(
        &'a self,
        positions: impl Iterator<Item = usize>,
        arrays: &'a [ArrayRef],
    ) -> Vec<(&'a str, &'a ArrayRef)> {
        positions
            .filter_map(|position| self.payload_fields.get(position))
            .zip(arrays)
            .filter(|(field, array)| !field.is_nullable() && array.null_count() > 0)
            .map(|(field, array)| (field.name().as_str(), array))
            .collect()
    }
}
