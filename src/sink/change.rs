//! [`Change`]: what a row of a statement does to the topic.

use arrow::array::ArrayRef;
use arrow::datatypes::Fields;
use arrow::error::ArrowError;

use crate::definition::TableDefinition;
use crate::definition::metadata_columns::Metadata;
use crate::definition::schema::ColumnRole;
use crate::error::{Error, Result, unsupported_message};
use crate::json::{ObjectPatch, PatchWriter, UnsupportedType};
use crate::options::ValueFormat;

/// The column that says which [`Change`] a row is, as a position in the statement's list
/// of changes. Without this column every row is the first change of that list.
pub(crate) const CHANGE_COLUMN: &str = "__record_change";

/// The column with the number, from 1, of the query's or the source's row that a row was
/// made from. Error messages name that number.
pub(crate) const ROW_COLUMN: &str = "__record_row";

/// What a row does to the topic.
///
/// The *source record* of a row is the topic's current record for the row's key. Statements
/// that change existing rows read it together with the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The row becomes the latest record of its key. A row with a source record keeps that
    /// record's raw key and partition.
    Upsert,
    /// The source record is written with the row's values in these columns, given by their
    /// positions in the table.
    Update(Vec<usize>),
    /// A tombstone is written for the key of the source record.
    Delete,
    /// Nothing is written: the topic already holds the row.
    Keep,
    /// A tombstone is written for the row's key, if the topic holds that key.
    Retract,
    /// Nothing is written: the record is not a row of the query.
    Ignore,
    /// Nothing is written here: the record that the row was made from goes to the dead letter
    /// topic.
    DeadLetter,
}

impl Change {
    /// The name that EXPLAIN shows.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Change::Upsert => "upsert",
            Change::Update(_) => "update",
            Change::Delete => "delete",
            Change::Keep => "keep",
            Change::Retract => "retract",
            Change::Ignore => "ignore",
            Change::DeadLetter => "dead letter",
        }
    }
}

/// Sets columns in the payload of a row's source record.
pub(super) struct UpdateEncoder {
    /// Only for JSON payloads without a codec.
    patch: Option<ObjectPatch>,
    /// The payload columns that are set, by their positions among the payload columns.
    pub(super) payload: Vec<usize>,
    pub(super) sets_timestamp: bool,
    pub(super) sets_headers: bool,
}

impl UpdateEncoder {
    pub(super) fn try_new(
        table: &TableDefinition,
        payload_fields: &Fields,
        columns: &[usize],
    ) -> Result<Self> {
        let mut payload = Vec::new();
        let (mut sets_timestamp, mut sets_headers) = (false, false);
        let mut payload_position = 0;
        for (position, (column, _)) in table.schema.columns().enumerate() {
            let is_set = columns.contains(&position);
            match column {
                ColumnRole::Payload => {
                    if is_set {
                        payload.push(payload_position);
                    }
                    payload_position += 1;
                }
                ColumnRole::Metadata(Metadata::Timestamp) => sets_timestamp = is_set,
                ColumnRole::Metadata(Metadata::Headers) => sets_headers = is_set,
                _ => {}
            }
        }
        let options = &table.options;
        // A codec encodes the whole payload, so there is nothing to patch.
        let is_json = table.schema.value_format() == ValueFormat::Json
            && table.extensions.value_codec.is_none();
        let patch = is_json.then(|| {
            ObjectPatch::try_new(
                payload_fields,
                &payload,
                options.decode.names,
                &options.encode,
            )
            .map(|patch| patch.with_lenient(options.decode.lenient))
            .map_err(|error| unsupported("", &error))
        });
        Ok(UpdateEncoder {
            patch: patch.transpose()?,
            payload,
            sets_timestamp,
            sets_headers,
        })
    }

    /// Prepares to set the values of a batch; `None` where payloads are not patched.
    pub(super) fn batch<'a>(
        &'a self,
        columns: &'a [ArrayRef],
    ) -> Result<Option<PatchWriter<'a>>, ArrowError> {
        self.patch
            .as_ref()
            .map(|patch| patch.batch(columns))
            .transpose()
    }
}

/// The error for a column whose type cannot be encoded as JSON.
pub(super) fn unsupported(column: &str, error: &UnsupportedType) -> Error {
    Error::InvalidColumn {
        column: column.to_owned(),
        reason: unsupported_message(error),
    }
}
