//! [`BatchEncoder`]: encodes the rows of one batch as records and tombstones, one at a time.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Int32Array, ListArray,
    StringViewArray, TimestampMillisecondArray,
};

use crate::error::{Error, Result, decode_message};
use crate::extensions::hook::OutgoingRecord;
use crate::json::{EncodeError, PatchError, PatchWriter, RowWriter, ValueWriter};
use crate::options::Framing;
use crate::sink::batch_columns::{BatchColumns, value};
use crate::sink::change::UpdateEncoder;

/// Encodes the rows of one batch.
pub(crate) struct BatchEncoder<'a> {
    pub(super) topic: &'a str,
    pub(super) framing: Framing,
    pub(super) columns: &'a BatchColumns,
    /// The NOT NULL columns that hold NULLs nevertheless.
    pub(super) not_null: Vec<(&'a str, &'a ArrayRef)>,
    pub(super) key: KeyWriter<'a>,
    pub(super) null_keys: NullKeys,
    pub(super) payload: PayloadWriter<'a>,
    pub(super) changes: Vec<RowChange<'a>>,
}

pub(super) enum RowChange<'a> {
    Upsert,
    Update(RowUpdate<'a>),
    Delete,
    Keep,
    Retract,
    Ignore,
}

pub(super) struct RowUpdate<'a> {
    pub(super) update: &'a UpdateEncoder,
    pub(super) patch: Option<PatchWriter<'a>>,
    /// The new payloads, unless payloads are patched or kept.
    pub(super) value: Option<&'a dyn Array>,
    pub(super) not_null: Vec<(&'a str, &'a ArrayRef)>,
}

/// How a row whose `_key` is NULL is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NullKeys {
    /// As a record without a key.
    Written,
    /// Not at all: the row is an error, for this reason.
    Refused(&'static str),
}

pub(super) enum KeyWriter<'a> {
    Text(&'a StringViewArray),
    Bytes(&'a BinaryViewArray),
    /// Behind these bytes.
    Json(&'a ArrayRef, ValueWriter<'a>, &'a [u8]),
    Missing,
}

pub(super) enum PayloadWriter<'a> {
    /// Behind these bytes.
    Json(RowWriter<'a>, &'a [u8]),
    Text(&'a StringViewArray),
    Bytes(&'a BinaryViewArray),
    Codec(&'a BinaryViewArray),
    Missing,
}

/// A row as a record. The buffers are reused for the next row.
#[derive(Default)]
pub(crate) struct EncodedRecord {
    pub(crate) key: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    /// The record has no key; `key` is ignored.
    pub(crate) keyless: bool,
    /// The record has no payload; `payload` is ignored.
    pub(crate) tombstone: bool,
    /// The record is a tombstone for a key that the topic may not hold.
    pub(crate) retracts: bool,
    /// The record is not sent, because the topic already holds the row.
    pub(crate) unchanged: bool,
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl EncodedRecord {
    /// The bytes on the heap.
    pub(crate) fn allocated_bytes(&self) -> usize {
        let header = |(name, value): &(String, Option<Vec<u8>>)| {
            size_of_val(&(name, value)) + name.capacity() + value.as_ref().map_or(0, Vec::capacity)
        };
        let headers: usize = self.headers.iter().map(header).sum();
        self.key.capacity() + self.payload.capacity() + headers
    }

    /// Why the record must not be sent; `None` if it can be. Such a record has a value that
    /// librdkafka or the brokers would interpret differently.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        // librdkafka reads the timestamp 0 as the current time; brokers refuse negative ones.
        if self.timestamp.is_some_and(|millis| millis <= 0) {
            return Some(
                "`_timestamp` must be after 1970-01-01T00:00:00Z, or NULL for the time of writing",
            );
        }
        // librdkafka reads the partition -1 as "let the partitioner choose".
        self.partition
            .is_some_and(|partition| partition < 0)
            .then_some("`_partition` is negative; NULL leaves it to the partitioner")
    }

    fn clear(&mut self) {
        self.key.clear();
        self.payload.clear();
        self.headers.clear();
        self.keyless = false;
        self.tombstone = false;
        self.retracts = false;
        self.unchanged = false;
        self.partition = None;
        self.timestamp = None;
    }
}

impl From<EncodedRecord> for OutgoingRecord {
    fn from(record: EncodedRecord) -> Self {
        OutgoingRecord {
            key: (!record.keyless).then_some(record.key),
            payload: (!record.tombstone).then_some(record.payload),
            partition: record.partition,
            timestamp: record.timestamp,
            headers: record.headers,
        }
    }
}

impl From<OutgoingRecord> for EncodedRecord {
    fn from(record: OutgoingRecord) -> Self {
        EncodedRecord {
            keyless: record.key.is_none(),
            key: record.key.unwrap_or_default(),
            tombstone: record.payload.is_none(),
            payload: record.payload.unwrap_or_default(),
            unchanged: false,
            retracts: false,
            partition: record.partition,
            timestamp: record.timestamp,
            headers: record.headers,
        }
    }
}

impl BatchEncoder<'_> {
    /// Encodes the row at `index` of the batch, which is row `row` of the statement.
    ///
    /// # Errors
    /// [`Error::InvalidRow`] for a NULL key or a column that cannot be
    /// written, [`Error::EncodeRow`] for a value that JSON cannot hold.
    pub(crate) fn encode(&self, index: usize, row: u64, record: &mut EncodedRecord) -> Result<()> {
        record.clear();
        let source_records = &self.columns.source_records;
        let change = self.changes.get(source_records.change(index));
        match change {
            None => return Err(self.invalid(row, "its change is not one of the statement's")),
            Some(RowChange::Upsert) => self.upsert(index, row, record)?,
            Some(RowChange::Update(update)) => self.update(update, index, row, record)?,
            Some(RowChange::Delete) => record.tombstone = true,
            Some(RowChange::Keep) => record.unchanged = true,
            Some(RowChange::Retract) => {
                record.tombstone = true;
                record.retracts = true;
            }
            Some(RowChange::Ignore) => {
                record.unchanged = true;
                return Ok(());
            }
        }
        match (source_records.key(index), change) {
            // The new record has the raw key and the partition of the source record, so that it
            // replaces that record even if another program wrote the key with a different
            // spelling or partitioner.
            (Some(key), _) => {
                record.key.clear();
                record.key.extend_from_slice(key);
                record.keyless = false;
                record.partition = source_records.partition(index);
            }
            (None, Some(RowChange::Upsert)) => {}
            (None, Some(RowChange::Keep | RowChange::Retract)) => self.key(index, row, record)?,
            (None, _) => return Err(self.invalid(row, "it has no source record")),
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
        if columns.value.as_ref().is_some_and(|a| a.is_valid(index)) {
            return invalid(
                "`_value` is the raw payload, which the other columns already describe; leave it \
                 out, or use a table with `kafka.value.format` = `string` to write whole payloads",
            );
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
        self.headers(columns.headers.as_ref(), index, row, record)?;
        if record.tombstone {
            return Ok(());
        }
        self.check_not_null(&self.not_null, index, row)?;
        match &self.payload {
            PayloadWriter::Json(writer, front) => {
                record.payload.extend_from_slice(front);
                writer
                    .write(index, &mut record.payload)
                    .map_err(|source| self.encode_error(row, source))
            }
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
            KeyWriter::Json(keys, writer, front) if keys.is_valid(index) => {
                record.key.extend_from_slice(front);
                let written = writer.write(index, &mut record.key);
                written.map_err(|source| self.encode_error(row, source))?;
            }
            _ => match self.null_keys {
                NullKeys::Written => record.keyless = true,
                NullKeys::Refused(reason) => return Err(self.invalid(row, reason)),
            },
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
        let source_records = &self.columns.source_records;
        let Some(payload) = source_records.payload(index) else {
            return Err(self.invalid(row, "its source record has no payload"));
        };
        self.check_not_null(&change.not_null, index, row)?;
        if change.update.sets_timestamp {
            self.timestamp(index, row, record)?;
        }
        let lists = match change.update.sets_headers {
            true => self.columns.headers.as_ref(),
            false => source_records.headers(),
        };
        self.headers(lists, index, row, record)?;
        match (&change.patch, change.value) {
            (Some(patch), _) => {
                let (front, json) = self.framing.split(payload);
                record.payload.extend_from_slice(front);
                patch.write(index, json, &mut record.payload).map_err(|error| match error {
                    PatchError::Value(source) => self.encode_error(row, source),
                    PatchError::Document(source) => self.invalid(
                        row,
                        &format!(
                            "its current payload has no properties to set: {}; INSERT the whole row instead",
                            decode_message(&source)
                        ),
                    ),
                })
            }
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
                        record
                            .payload
                            .extend_from_slice(text.value(index).as_bytes());
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
        match record.refusal() {
            Some(reason) => Err(self.invalid(row, reason)),
            None => Ok(()),
        }
    }

    fn headers(
        &self,
        lists: Option<&ListArray>,
        index: usize,
        row: u64,
        record: &mut EncodedRecord,
    ) -> Result<()> {
        match value(lists, index, headers) {
            None => record.headers = Vec::new(),
            Some(Some(headers)) => record.headers = headers,
            Some(None) => return Err(self.invalid(row, "a header in `_headers` has no name")),
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

/// The headers of a row; `None` if a header has no name.
pub(super) fn headers(lists: &ListArray, index: usize) -> Option<Vec<(String, Option<Vec<u8>>)>> {
    let list = lists.value(index);
    let list = list.as_struct_opt()?;
    let names = list.columns().first()?.as_string_opt::<i32>()?;
    let values = list.columns().get(1)?.as_binary_opt::<i32>()?;
    let headers = names.iter().zip(values.iter()).enumerate();
    headers
        .map(|(place, (name, value))| {
            let name = name.filter(|_| list.is_valid(place))?;
            Some((name.to_owned(), value.map(<[u8]>::to_vec)))
        })
        .collect()
}
