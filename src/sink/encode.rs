//! Rows to records: the key and the payload, or a tombstone.
//!
//! An INSERT makes a record of every row. The other statements start from the
//! records behind their rows and keep what they do not change: the raw key, the
//! partition, the headers, and for an UPDATE the rest of the payload.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Int32Array, ListArray,
    StringViewArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, FieldRef, Fields, Int32Type, Schema, TimestampMillisecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::error::Result as DataFusionResult;

use crate::codec::{self, Codec, CodecError};
use crate::error::{Error, Result};
use crate::json::{
    EncodeError, PatchError, PatchWriter, RowEncoder, RowWriter, ValueEncoder, ValueWriter,
};
use crate::options::{KeyFormat, ValueFormat};
use crate::schema::{Column, Metadata};
use crate::sink::change::{BehindRows, Change, UpdateEncoder};
use crate::table::TableDefinition;

/// What to do with the rows of a table: made once per statement.
pub(crate) struct RecordEncoder {
    table: Arc<TableDefinition>,
    key: Option<KeyEncoder>,
    payload: PayloadEncoder,
    payload_fields: Fields,
    changes: Vec<Change>,
    /// For each of `changes`.
    updates: Vec<Option<UpdateEncoder>>,
    /// The names of the input's columns.
    input: Vec<String>,
}

enum KeyEncoder {
    Text,
    Bytes,
    Json(ValueEncoder),
    Codec(Arc<dyn Codec>, Fields),
}

enum PayloadEncoder {
    Json(RowEncoder),
    Text,
    Bytes,
    Codec(Arc<dyn Codec>),
}

impl RecordEncoder {
    /// For rows with these columns, each of which is one of these changes.
    ///
    /// # Errors
    /// [`Error::InvalidColumn`] for a type that cannot be encoded.
    pub(crate) fn try_new(
        table: &Arc<TableDefinition>,
        input: &Schema,
        changes: &[Change],
    ) -> Result<Self> {
        let options = &table.options;
        let mut key = None;
        let mut payload_fields: Vec<FieldRef> = Vec::new();
        for (column, field) in table.schema.columns() {
            match column {
                Column::Key => {
                    key = Some(match (&table.extensions.key_codec, options.key_format) {
                        (Some(codec), _) => {
                            let fields = Fields::from(vec![Arc::clone(field)]);
                            KeyEncoder::Codec(Arc::clone(codec), fields)
                        }
                        (None, KeyFormat::String) => KeyEncoder::Text,
                        (None, KeyFormat::Bytes) => KeyEncoder::Bytes,
                        (None, KeyFormat::Json) => KeyEncoder::Json(
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
        let payload = match (&table.extensions.value_codec, table.schema.value_format()) {
            (Some(codec), _) => PayloadEncoder::Codec(Arc::clone(codec)),
            (None, ValueFormat::String) => PayloadEncoder::Text,
            (None, ValueFormat::Bytes) => PayloadEncoder::Bytes,
            (None, ValueFormat::Json) => PayloadEncoder::Json(
                RowEncoder::try_new(&payload_fields, &options.encode)
                    .map_err(|error| unsupported(&error.path, &error))?,
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
            payload,
            updates: updates.collect::<Result<_>>()?,
            payload_fields,
            changes: changes.to_vec(),
            input: input.fields().iter().map(|f| f.name().clone()).collect(),
        })
    }

    /// Resolves the columns of a batch, which begins with this row of the statement.
    pub(crate) fn columns(
        &self,
        batch: &RecordBatch,
        first_row: u64,
    ) -> DataFusionResult<BatchColumns> {
        let mut columns = BatchColumns::default();
        // A batch need not have the names that its plan says.
        let mut given = HashMap::new();
        for (name, array) in self.input.iter().zip(batch.columns()) {
            if !columns.behind.set(name, array) {
                given.insert(name.as_str(), array);
            }
        }
        let mut payload = Vec::with_capacity(self.payload_fields.len());
        for (column, field) in self.table.schema.columns() {
            let array = given.get(field.name().as_str()).copied();
            match (column, array) {
                (Column::Payload, None) => payload.push(None),
                (_, None) => {}
                (Column::Key, Some(array)) => {
                    columns.key = Some(match &self.key {
                        Some(KeyEncoder::Text) => cast(array, &DataType::Utf8View)?,
                        Some(KeyEncoder::Bytes) => cast(array, &DataType::BinaryView)?,
                        Some(KeyEncoder::Codec(codec, fields)) => {
                            let keys = std::slice::from_ref(array);
                            let keys = codec::encode(codec.as_ref(), keys, fields, array.len());
                            Arc::new(keys.map_err(|error| self.codec_error(first_row, error))?)
                        }
                        _ => Arc::clone(array),
                    });
                }
                (Column::Payload, Some(array)) => payload.push(Some(match &self.payload {
                    PayloadEncoder::Text => cast(array, &DataType::Utf8View)?,
                    PayloadEncoder::Bytes => cast(array, &DataType::BinaryView)?,
                    PayloadEncoder::Json(_) | PayloadEncoder::Codec(_) => Arc::clone(array),
                })),
                (Column::Metadata(metadata), Some(array)) => {
                    columns.set(metadata, &cast(array, &metadata.data_type())?);
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

    /// What a codec makes of the rows that need a payload.
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
        let needs_payload = |index: &usize| match self.changes.get(columns.behind.change(*index)) {
            Some(Change::Upsert) => {
                let tombstones = columns.tombstone.as_ref();
                value(tombstones, *index, BooleanArray::value) != Some(true)
            }
            Some(Change::Update(_)) => true,
            Some(Change::Delete | Change::Keep) | None => false,
        };
        let rows = batch.num_rows();
        let wanted: Vec<usize> = (0..rows).filter(needs_payload).collect();
        let row_of = |error: CodecError| {
            let row = error.row.and_then(|row| wanted.get(row).copied());
            self.codec_error(first_row, CodecError { row, ..error })
        };
        let encode = |arrays: &[ArrayRef]| {
            codec::encode(codec, arrays, &self.payload_fields, wanted.len()).map_err(row_of)
        };
        if wanted.len() == rows {
            return Ok(Some(encode(&columns.payload)?));
        }
        let places = UInt64Array::from_iter_values(wanted.iter().map(|index| *index as u64));
        let arrays = columns
            .payload
            .iter()
            .map(|array| take(array, &places, None));
        let encoded = encode(&arrays.collect::<Result<Vec<_>, _>>()?)?;
        let mut bytes: Vec<Option<&[u8]>> = vec![None; rows];
        for (place, payload) in wanted.iter().zip(encoded.iter()) {
            if let Some(slot) = bytes.get_mut(*place) {
                *slot = payload;
            }
        }
        Ok(Some(bytes.into_iter().collect()))
    }

    fn codec_error(&self, first_row: u64, error: CodecError) -> Error {
        Error::InvalidRow {
            topic: self.table.topic.clone(),
            row: first_row + error.row.unwrap_or(0) as u64,
            reason: error.reason,
        }
    }

    /// Gets ready to encode the rows of a batch.
    pub(crate) fn batch<'a>(
        &'a self,
        columns: &'a BatchColumns,
    ) -> Result<BatchEncoder<'a>, ArrowError> {
        let key = match (&self.key, &columns.key) {
            (Some(KeyEncoder::Text), Some(array)) => KeyWriter::Text(array.as_string_view()),
            (Some(KeyEncoder::Bytes | KeyEncoder::Codec(..)), Some(array)) => {
                KeyWriter::Bytes(array.as_binary_view())
            }
            (Some(KeyEncoder::Json(encoder)), Some(array)) => {
                KeyWriter::Json(array, encoder.batch(array)?)
            }
            _ => KeyWriter::Missing,
        };
        let is_whole = columns.payload.len() == self.payload_fields.len();
        let payload = match (&self.payload, columns.payload.first()) {
            _ if !is_whole => PayloadWriter::Missing,
            (PayloadEncoder::Json(encoder), _) => {
                PayloadWriter::Json(encoder.batch(&columns.payload)?)
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
            columns,
            not_null,
            key,
            payload,
            changes,
        })
    }

    /// The NOT NULL columns among these that hold NULLs all the same.
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
    behind: BehindRows,
    /// The payload columns that each update sets.
    set: Vec<Vec<ArrayRef>>,
    /// The payloads that a codec made of the columns.
    encoded: Option<BinaryViewArray>,
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
            // No columns of a table that is written.
            Metadata::RecordPartition
            | Metadata::RecordKey
            | Metadata::RecordPayload
            | Metadata::RecordHeaders => {}
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
    changes: Vec<RowChange<'a>>,
}

enum RowChange<'a> {
    Upsert,
    Update(RowUpdate<'a>),
    Delete,
    Keep,
}

struct RowUpdate<'a> {
    update: &'a UpdateEncoder,
    patch: Option<PatchWriter<'a>>,
    /// The new payloads, where they are not patched and not left as they are.
    value: Option<&'a dyn Array>,
    not_null: Vec<(&'a str, &'a ArrayRef)>,
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
    Codec(&'a BinaryViewArray),
    Missing,
}

/// A row as a record; the buffers are used again for the next one.
#[derive(Default)]
pub(crate) struct EncodedRecord {
    pub(crate) key: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    /// The record has no payload, whatever `payload` holds.
    pub(crate) tombstone: bool,
    /// Nothing is to be sent: the topic has the record already.
    pub(crate) unchanged: bool,
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl EncodedRecord {
    /// The bytes that it holds beside itself.
    pub(crate) fn allocated_bytes(&self) -> usize {
        let header = |(name, value): &(String, Option<Vec<u8>>)| {
            size_of_val(&(name, value)) + name.capacity() + value.as_ref().map_or(0, Vec::capacity)
        };
        let headers: usize = self.headers.iter().map(header).sum();
        self.key.capacity() + self.payload.capacity() + headers
    }

    fn clear(&mut self) {
        self.key.clear();
        self.payload.clear();
        self.headers.clear();
        self.tombstone = false;
        self.unchanged = false;
        self.partition = None;
        self.timestamp = None;
    }
}

impl BatchEncoder<'_> {
    /// Encodes the row at `index`, which is the statement's row `row`.
    ///
    /// # Errors
    /// [`Error::InvalidRow`] for a NULL key or a column that cannot be
    /// written, [`Error::EncodeRow`] for a value that JSON cannot hold.
    pub(crate) fn encode(&self, index: usize, row: u64, record: &mut EncodedRecord) -> Result<()> {
        record.clear();
        let behind = &self.columns.behind;
        let change = self.changes.get(behind.change(index));
        match change {
            None => return Err(self.invalid(row, "it is none of the statement's changes")),
            Some(RowChange::Upsert) => self.upsert(index, row, record)?,
            Some(RowChange::Update(update)) => self.update(update, index, row, record)?,
            Some(RowChange::Delete) => record.tombstone = true,
            Some(RowChange::Keep) => record.unchanged = true,
        }
        match (behind.key(index), change) {
            // It stays where its key lives, however that was placed and spelt.
            (Some(key), _) => {
                record.key.clear();
                record.key.extend_from_slice(key);
                record.partition = behind.partition(index);
            }
            (None, Some(RowChange::Upsert)) => {}
            (None, Some(RowChange::Keep)) => self.key(index, row, record)?,
            (None, _) => return Err(self.invalid(row, "there is no record behind it")),
        }
        Ok(())
    }

    fn upsert(&self, index: usize, row: u64, record: &mut EncodedRecord) -> Result<()> {
        let columns = self.columns;
        let invalid = |reason| Err(self.invalid(row, reason));
        if columns.offset.as_ref().is_some_and(|a| a.is_valid(index)) {
            return invalid("`_offset` is given by the broker and cannot be written; leave it out");
        }
        if columns.error.as_ref().is_some_and(|a| a.is_valid(index)) {
            return invalid("`_error` cannot be written; leave it out");
        }
        if value(columns.topic.as_ref(), index, |a, i| {
            a.value(i) != self.topic
        }) == Some(true)
        {
            return invalid("`_topic` names another topic; leave it out");
        }
        self.key(index, row, record)?;
        record.tombstone =
            value(columns.tombstone.as_ref(), index, BooleanArray::value).unwrap_or(false);
        record.partition = value(columns.partition.as_ref(), index, Int32Array::value);
        self.timestamp(index, row, record)?;
        record.headers = value(columns.headers.as_ref(), index, headers).unwrap_or_default();
        if record.tombstone {
            return Ok(());
        }
        self.check_not_null(&self.not_null, index, row)?;
        match &self.payload {
            PayloadWriter::Json(writer) => writer
                .write(index, &mut record.payload)
                .map_err(|source| self.encode_error(row, source)),
            PayloadWriter::Text(values) if values.is_valid(index) => {
                record
                    .payload
                    .extend_from_slice(values.value(index).as_bytes());
                Ok(())
            }
            PayloadWriter::Bytes(values) | PayloadWriter::Codec(values)
                if values.is_valid(index) =>
            {
                record.payload.extend_from_slice(values.value(index));
                Ok(())
            }
            PayloadWriter::Codec(_) => invalid("the codec gave no payload"),
            _ => invalid(
                "`_value` is NULL; to write a tombstone declare `_tombstone` and set it to true",
            ),
        }
    }

    fn key(&self, index: usize, row: u64, record: &mut EncodedRecord) -> Result<()> {
        match &self.key {
            KeyWriter::Text(keys) if keys.is_valid(index) => {
                record.key.extend_from_slice(keys.value(index).as_bytes());
            }
            KeyWriter::Bytes(keys) if keys.is_valid(index) => {
                record.key.extend_from_slice(keys.value(index));
            }
            KeyWriter::Json(keys, writer) if keys.is_valid(index) => {
                let written = writer.write(index, &mut record.key);
                written.map_err(|source| self.encode_error(row, source))?;
            }
            _ => return Err(self.invalid(row, "`_key` is NULL, and every record needs a key")),
        }
        Ok(())
    }

    fn update(
        &self,
        change: &RowUpdate<'_>,
        index: usize,
        row: u64,
        record: &mut EncodedRecord,
    ) -> Result<()> {
        let behind = &self.columns.behind;
        let Some(payload) = behind.payload(index) else {
            return Err(self.invalid(row, "there is no payload behind it"));
        };
        self.check_not_null(&change.not_null, index, row)?;
        if change.update.sets_timestamp {
            self.timestamp(index, row, record)?;
        }
        let lists = match change.update.sets_headers {
            true => self.columns.headers.as_ref(),
            false => behind.headers(),
        };
        record.headers = value(lists, index, headers).unwrap_or_default();
        match (&change.patch, change.value) {
            (Some(patch), _) => patch
                .write(index, payload, &mut record.payload)
                .map_err(|error| match error {
                    PatchError::Value(source) => self.encode_error(row, source),
                    PatchError::Document(source) => self.invalid(
                        row,
                        &format!(
                            "the payload that is there has no properties to set: {source};                              INSERT the row as it should be"
                        ),
                    ),
                }),
            (None, None) => {
                record.payload.extend_from_slice(payload);
                Ok(())
            }
            (None, Some(array)) => {
                let text = array.as_string_view_opt();
                let binary = array.as_binary_view_opt();
                match (text, binary) {
                    _ if array.is_null(index) => {
                        return Err(self.invalid(row, "`_value` is NULL; DELETE the row instead"));
                    }
                    (Some(text), _) => {
                        record.payload.extend_from_slice(text.value(index).as_bytes());
                    }
                    (_, Some(binary)) => record.payload.extend_from_slice(binary.value(index)),
                    (None, None) => {}
                }
                Ok(())
            }
        }
    }

    fn timestamp(&self, index: usize, row: u64, record: &mut EncodedRecord) -> Result<()> {
        record.timestamp = value(
            self.columns.timestamp.as_ref(),
            index,
            TimestampMillisecondArray::value,
        );
        // librdkafka takes 0 for now, and the brokers nothing below.
        if record.timestamp.is_some_and(|millis| millis <= 0) {
            return Err(self.invalid(
                row,
                "`_timestamp` must be after 1970-01-01T00:00:00Z, or NULL for the time of writing",
            ));
        }
        Ok(())
    }

    fn check_not_null(&self, columns: &[(&str, &ArrayRef)], index: usize, row: u64) -> Result<()> {
        match columns.iter().find(|(_, array)| array.is_null(index)) {
            None => Ok(()),
            Some((name, _)) => Err(self.invalid(
                row,
                &format!("column `{name}` is NULL, but declared NOT NULL"),
            )),
        }
    }

    fn invalid(&self, row: u64, reason: &str) -> Error {
        Error::InvalidRow {
            topic: self.topic.to_owned(),
            row,
            reason: reason.to_owned(),
        }
    }

    fn encode_error(&self, row: u64, source: EncodeError) -> Error {
        Error::EncodeRow {
            topic: self.topic.to_owned(),
            row,
            source,
        }
    }
}

/// The value at `index`, where there is a column and it is not NULL.
pub(super) fn value<A: Array, T>(
    array: Option<&A>,
    index: usize,
    get: impl Fn(&A, usize) -> T,
) -> Option<T> {
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

pub(super) fn unsupported(column: &str, error: &crate::json::UnsupportedType) -> Error {
    Error::InvalidColumn {
        column: column.to_owned(),
        reason: error.to_string(),
    }
}
