//! The metadata columns: what a record holds besides key and payload.

use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use crate::definition::type_groups::is_binary;
use crate::options::Envelope;
use crate::sql_type::sql_type;

/// The name of the column that holds the record's key.
pub const KEY_COLUMN: &str = "_key";

/// The name of the column that holds the payload unchanged. In topics that are not JSON, it is
/// the only payload column. In JSON topics, it can be declared in addition to the JSON columns.
pub const VALUE_COLUMN: &str = "_value";

/// The prefix of internal columns, which no table of a user has.
pub(crate) const RECORD_PREFIX: &str = "__record_";

/// The metadata of a record. A table has such a column only where it is declared, or where
/// `kafka.metadata` = `all` adds all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metadata {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Headers,
    Tombstone,
    Error,
    /// The payload of a JSON table, unchanged.
    Value,
    /// What a Debezium event says besides its row.
    Op,
    SourceTimestamp,
    Before,
    /// From here on: the position and the raw content of the row's source record. These columns
    /// serve statements that change a topic. No table that a user sees has them.
    RecordPartition,
    RecordOffset,
    RecordKey,
    RecordPayload,
    RecordHeaders,
    RecordTombstone,
    RecordError,
}

impl Metadata {
    /// The columns that `kafka.metadata` = `all` adds to a table with this envelope.
    pub(crate) fn all(envelope: Envelope) -> impl Iterator<Item = Metadata> {
        let of_event: &[Metadata] = match envelope {
            Envelope::Debezium => &[Metadata::Op, Metadata::SourceTimestamp, Metadata::Before],
            Envelope::None | Envelope::Connect => &[],
        };
        Metadata::OF_RECORD.iter().chain(of_event).copied()
    }

    /// The columns of any record.
    const OF_RECORD: [Metadata; 7] = [
        Metadata::Topic,
        Metadata::Partition,
        Metadata::Offset,
        Metadata::Timestamp,
        Metadata::Headers,
        Metadata::Tombstone,
        Metadata::Error,
    ];

    /// The columns of the source record that a statement needs to change a row.
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
            Metadata::Op => "_op",
            Metadata::SourceTimestamp => "_source_timestamp",
            Metadata::Before => "_before",
            Metadata::RecordPartition => "__record_partition",
            Metadata::RecordOffset => "__record_offset",
            Metadata::RecordKey => "__record_key",
            Metadata::RecordPayload => "__record_payload",
            Metadata::RecordHeaders => "__record_headers",
            Metadata::RecordTombstone => "__record_tombstone",
            Metadata::RecordError => "__record_error",
        }
    }

    /// The type of the column unless another type is declared.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Metadata::Topic
            | Metadata::Error
            | Metadata::RecordError
            | Metadata::Op
            | Metadata::Before => DataType::Utf8View,
            Metadata::Partition | Metadata::RecordPartition => DataType::Int32,
            Metadata::Offset | Metadata::RecordOffset => DataType::Int64,
            Metadata::Timestamp | Metadata::SourceTimestamp => {
                DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
            }
            Metadata::Headers | Metadata::RecordHeaders => headers_type(false),
            Metadata::Tombstone | Metadata::RecordTombstone => DataType::Boolean,
            Metadata::Value | Metadata::RecordKey | Metadata::RecordPayload => DataType::BinaryView,
        }
    }

    /// The type to which a column is cast for writing. It can hold every value that a row may
    /// have.
    pub(crate) fn written_type(self) -> DataType {
        match self {
            // Headers may be NULL or without a name here, so that the error can name their row.
            Metadata::Headers => headers_type(true),
            other => other.data_type(),
        }
    }

    /// The type to declare in SQL. Where there are several, the best known one.
    pub(super) fn sql_type(self) -> String {
        match self {
            // Any precision is allowed, with a zone or without.
            Metadata::Timestamp | Metadata::SourceTimestamp => "TIMESTAMP".to_owned(),
            other => sql_type(&other.data_type()),
        }
    }

    /// Whether every value of the column fits the declared type.
    pub(super) fn fits(self, declared: &DataType) -> bool {
        let kind = match (self, declared) {
            (Metadata::Topic | Metadata::Error | Metadata::Op, DataType::Dictionary(_, value)) => {
                value.is_string()
            }
            (Metadata::Topic | Metadata::Error | Metadata::Op | Metadata::Before, other) => {
                other.is_string()
            }
            (Metadata::Partition, other) => matches!(other, DataType::Int32 | DataType::Int64),
            (Metadata::Offset, other) => matches!(other, DataType::Int64),
            (Metadata::Timestamp | Metadata::SourceTimestamp, other) => {
                matches!(other, DataType::Timestamp(..))
            }
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
