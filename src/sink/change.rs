//! What the rows of a statement do to the topic.

use arrow::array::ArrayRef;
use arrow::datatypes::Fields;
use arrow::error::ArrowError;

use crate::definition::TableDefinition;
use crate::definition::metadata::Metadata;
use crate::definition::schema::ColumnRole;
use crate::error::{Error, Result, unsupported_message};
use crate::json::{ObjectPatch, PatchWriter, UnsupportedType};
use crate::options::ValueFormat;

/// The column that says by its position in a list which [`Change`] a row is;
/// without it every row is an upsert.
pub(crate) const CHANGE_COLUMN: &str = "__record_change";

/// The column with the number of the row of the statement's query or source, from 1,
/// that a row was made of.
pub(crate) const ROW_COLUMN: &str = "__record_row";

/// What a row does to the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// It becomes the latest record of its key, in the place of the record
    /// behind it where there is one.
    Upsert,
    /// Its values of these columns, by their positions in the table, are set in
    /// the record behind it.
    Update(Vec<usize>),
    /// The key of the record behind it is deleted.
    Delete,
    /// Nothing: the record behind it is as it should be.
    Keep,
    /// Its key is deleted, where the topic holds it.
    Retract,
    /// Nothing: it is no row of the query.
    Ignore,
    /// Nothing: the record that it was made of goes to another topic.
    DeadLetter,
}

impl Change {
    /// As EXPLAIN shows it.
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

/// Sets columns in the payload of the record behind a row.
pub(super) struct UpdateEncoder {
    /// For JSON payloads.
    patch: Option<ObjectPatch>,
    /// The payload columns that are set, by their positions among those.
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
        // A codec makes all of a payload anew.
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

    /// Gets ready to set the values of a batch; `None` where payloads are not JSON.
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

/// The error for a column of a type that has no form in JSON.
pub(super) fn unsupported(column: &str, error: &UnsupportedType) -> Error {
    Error::InvalidColumn {
        column: column.to_owned(),
        reason: unsupported_message(error),
    }
}
