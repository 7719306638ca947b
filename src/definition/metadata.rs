//! What a record says about itself beside key and payload.

use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use crate::definition::kinds::is_binary;
use crate::sql_type::sql_type;

/// The name of the column that holds the record's key.
pub const KEY_COLUMN: &str = "_key";

/// The name of the column that holds the payload as it is: the one payload column of
/// topics that are not JSON, and a further one beside those of JSON where it is declared.
pub const VALUE_COLUMN: &str = "_value";

/// How columns begin that are none of a user's table.
pub(crate) const RECORD_PREFIX: &str = "__record_";

/// What a record says about itself beside key and payload: the columns that a
/// table has only when they are declared, or all with `kafka.metadata` = `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metadata {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Headers,
    Tombstone,
    Error,
    /// The payload of a JSON table as it is.
    Value,
    /// Where the record behind a row lies and what it holds, byte by byte: for
    /// statements that change a topic, in no table that a user sees.
    RecordPartition,
    RecordOffset,
    RecordKey,
    RecordPayload,
    RecordHeaders,
    RecordTombstone,
    RecordError,
}

impl Metadata {
    /// Those that `kafka.metadata` = `all` declares.
    pub(crate) const ALL: [Metadata; 7] = [
        Metadata::Topic,
        Metadata::Partition,
        Metadata::Offset,
        Metadata::Timestamp,
        Metadata::Headers,
        Metadata::Tombstone,
        Metadata::Error,
    ];

    /// Those of the record behind a row that a statement changes.
    pub(crate) const RECORD: [Metadata; 4] = [
        Metadata::RecordPartition,
        Metadata::RecordKey,
        Metadata::RecordPayload,
        Metadata::RecordHeaders,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Metadata::Topic => "_topic",
            Metadata::Partition => "_partition",
            Metadata::Offset => "_offset",
            Metadata::Timestamp => "_timestamp",
            Metadata::Headers => "_headers",
            Metadata::Tombstone => "_tombstone",
            Metadata::Error => "_error",
            Metadata::Value => VALUE_COLUMN,
            Metadata::RecordPartition => "__record_partition",
            Metadata::RecordOffset => "__record_offset",
            Metadata::RecordKey => "__record_key",
            Metadata::RecordPayload => "__record_payload",
            Metadata::RecordHeaders => "__record_headers",
            Metadata::RecordTombstone => "__record_tombstone",
            Metadata::RecordError => "__record_error",
        }
    }

    /// The type that the column has unless another one is declared.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Metadata::Topic | Metadata::Error | Metadata::RecordError => DataType::Utf8View,
            Metadata::Partition | Metadata::RecordPartition => DataType::Int32,
            Metadata::Offset | Metadata::RecordOffset => DataType::Int64,
            Metadata::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Metadata::Headers | Metadata::RecordHeaders => headers_type(false),
            Metadata::Tombstone | Metadata::RecordTombstone => DataType::Boolean,
            Metadata::Value | Metadata::RecordKey | Metadata::RecordPayload => DataType::BinaryView,
        }
    }

    /// The type that the column is brought to for writing, which takes all values that
    /// may be given.
    pub(crate) fn written_type(self) -> DataType {
        match self {
            // A header that is NULL, or has no name, is told with its row.
            Metadata::Headers => headers_type(true),
            other => other.data_type(),
        }
    }

    /// The type to declare in SQL; where there are several, the one that most know.
    pub(super) fn sql_type(self) -> String {
        match self {
            // Of any precision, with a zone or without.
            Metadata::Timestamp => "TIMESTAMP".to_owned(),
            other => sql_type(&other.data_type()),
        }
    }

    /// Whether every value of the column fits the declared type.
    pub(super) fn fits(self, declared: &DataType) -> bool {
        let kind = match (self, declared) {
            (Metadata::Topic | Metadata::Error, DataType::Dictionary(_, value)) => {
                value.is_string()
            }
            (Metadata::Topic | Metadata::Error, other) => other.is_string(),
            (Metadata::Partition, other) => matches!(other, DataType::Int32 | DataType::Int64),
            (Metadata::Offset, other) => matches!(other, DataType::Int64),
            (Metadata::Timestamp, other) => matches!(other, DataType::Timestamp(..)),
            (Metadata::Headers, other) => is_headers(other),
            (Metadata::Tombstone, other) => matches!(other, DataType::Boolean),
            (Metadata::Value, other) => other.is_string() || is_binary(other),
            (record, other) => *other == record.data_type(),
        };
        kind && can_cast_types(&self.data_type(), declared)
    }
}

fn headers_type(nullable: bool) -> DataType {
    let fields = vec![
        Field::new("key", DataType::Utf8, nullable),
        Field::new("value", DataType::Binary, true),
    ];
    DataType::new_list(DataType::Struct(Fields::from(fields)), nullable)
}

fn is_headers(declared: &DataType) -> bool {
    let (DataType::List(item) | DataType::LargeList(item)) = declared else {
        return false;
    };
    let DataType::Struct(fields) = item.data_type() else {
        return false;
    };
    match fields.as_ref() {
        [key, value] => {
            key.name() == "key"
                && key.data_type().is_string()
                && value.name() == "value"
                && value.is_nullable()
                && is_binary(value.data_type())
        }
        _ => false,
    }
}
