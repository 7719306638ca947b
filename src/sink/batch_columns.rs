//! [`BatchColumns`]: the columns of a statement's rows, by their roles.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Int32Array, ListArray,
    StringViewArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::datatypes::{Int32Type, TimestampMillisecondType, UInt64Type};

use crate::definition::metadata_columns::Metadata;
use crate::sink::change::{CHANGE_COLUMN, ROW_COLUMN};

/// The columns of a batch in the types that the encoders read.
#[derive(Default)]
pub(crate) struct BatchColumns {
    pub(super) key: Option<ArrayRef>,
    pub(super) payload: Vec<ArrayRef>,
    pub(super) topic: Option<StringViewArray>,
    pub(super) partition: Option<Int32Array>,
    pub(super) offset: Option<ArrayRef>,
    pub(super) timestamp: Option<TimestampMillisecondArray>,
    pub(super) headers: Option<ListArray>,
    pub(super) tombstone: Option<BooleanArray>,
    pub(super) error: Option<ArrayRef>,
    pub(super) value: Option<ArrayRef>,
    pub(super) source_records: SourceRecords,
    /// The payload columns that each update sets.
    pub(super) set: Vec<Vec<ArrayRef>>,
    /// The payloads that a codec has encoded.
    pub(super) encoded: Option<BinaryViewArray>,
}

impl BatchColumns {
    /// The row, from 0, of the statement's query or source that a row was made from.
    pub(super) fn given_row(&self, index: usize) -> Option<u64> {
        self.source_records.given_row(index)
    }

    pub(super) fn set(&mut self, metadata: Metadata, array: &ArrayRef) {
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
            Metadata::Value => self.value = Some(Arc::clone(array)),
            // Tables that are written do not have these columns.
            Metadata::Op
            | Metadata::SourceTimestamp
            | Metadata::Before
            | Metadata::RecordPartition
            | Metadata::RecordOffset
            | Metadata::RecordKey
            | Metadata::RecordPayload
            | Metadata::RecordHeaders
            | Metadata::RecordTombstone
            | Metadata::RecordError => {}
        }
    }
}

/// The value at `index`; `None` if there is no such column or the value is NULL.
pub(super) fn value<A: Array, T>(
    array: Option<&A>,
    index: usize,
    get: impl Fn(&A, usize) -> T,
) -> Option<T> {
    let array = array?;
    array.is_valid(index).then(|| get(array, index))
}

/// The source records of a batch's rows, and which change each row is.
#[derive(Default)]
pub(super) struct SourceRecords {
    change: Option<Int32Array>,
    row: Option<UInt64Array>,
    partition: Option<Int32Array>,
    key: Option<BinaryViewArray>,
    payload: Option<BinaryViewArray>,
    headers: Option<ListArray>,
}

impl SourceRecords {
    /// Stores a column if its name is one of a source record's; returns `false` otherwise.
    pub(super) fn set(&mut self, name: &str, array: &ArrayRef) -> bool {
        let is = |metadata: Metadata| name == metadata.name();
        if name == CHANGE_COLUMN {
            self.change = array.as_primitive_opt::<Int32Type>().cloned();
        } else if name == ROW_COLUMN {
            self.row = array.as_primitive_opt::<UInt64Type>().cloned();
        } else if is(Metadata::RecordPartition) {
            self.partition = array.as_primitive_opt::<Int32Type>().cloned();
        } else if is(Metadata::RecordKey) {
            self.key = array.as_binary_view_opt().cloned();
        } else if is(Metadata::RecordPayload) {
            self.payload = array.as_binary_view_opt().cloned();
        } else if is(Metadata::RecordHeaders) {
            self.headers = array.as_list_opt().cloned();
        } else {
            return false;
        }
        true
    }

    /// The position of a row's change in the statement's list of changes.
    pub(super) fn change(&self, index: usize) -> usize {
        let Some(changes) = &self.change else {
            return 0;
        };
        let change = value(Some(changes), index, Int32Array::value);
        change.map_or(usize::MAX, |change| {
            usize::try_from(change).unwrap_or(usize::MAX)
        })
    }

    /// The row, from 0, that a row was made from.
    pub(super) fn given_row(&self, index: usize) -> Option<u64> {
        let number = value(self.row.as_ref(), index, UInt64Array::value);
        number.and_then(|number| number.checked_sub(1))
    }

    pub(super) fn partition(&self, index: usize) -> Option<i32> {
        value(self.partition.as_ref(), index, Int32Array::value)
    }

    pub(super) fn key(&self, index: usize) -> Option<&[u8]> {
        bytes(self.key.as_ref(), index)
    }

    pub(super) fn payload(&self, index: usize) -> Option<&[u8]> {
        bytes(self.payload.as_ref(), index)
    }

    pub(super) fn headers(&self) -> Option<&ListArray> {
        self.headers.as_ref()
    }
}

fn bytes(array: Option<&BinaryViewArray>, index: usize) -> Option<&[u8]> {
    let array = array?;
    array.is_valid(index).then(|| array.value(index))
}
