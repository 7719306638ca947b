//! The columns of a Kafka table: `_key`, metadata, payload.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow_json_codec::with_unit;

use crate::definition::column_options;
use crate::definition::metadata_columns::{KEY_COLUMN, Metadata, RECORD_PREFIX, VALUE_COLUMN};
use crate::definition::type_groups::{is_binary, is_text};
use crate::error::{Error, Result, unsupported_message};
use crate::extensions::Extensions;
use crate::json::check_type;
use crate::options::{Envelope, KeyFormat, Mode, OnBadRecord, TableOptions, ValueFormat};
use crate::sql_type::sql_type;

/// The part of a record that a column's values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnRole {
    Key,
    Metadata(Metadata),
    Payload,
}

impl ColumnRole {
    /// Whether the column has a value only where there is a payload.
    fn is_of_payload(self) -> bool {
        matches!(
            self,
            ColumnRole::Payload | ColumnRole::Metadata(Metadata::Value)
        )
    }
}

/// The columns of a table, checked against its options.
#[derive(Debug, Clone)]
pub(crate) struct KafkaSchema {
    /// The columns of the rows.
    arrow: SchemaRef,
    /// The same columns, as the parts of a record must have them. A payload must have values for
    /// its NOT NULL columns even where rows without a payload are allowed.
    decoded: Fields,
    columns: Vec<ColumnRole>,
    value_format: ValueFormat,
}

impl KafkaSchema {
    /// Takes the declared or inferred columns. Adds `_key` in front where it is missing, `_value`
    /// where the payload is not JSON, and all metadata columns where `kafka.metadata` = `all`.
    ///
    /// # Errors
    /// [`Error::InvalidColumn`] for a type or a combination that is not possible.
    pub(crate) fn try_new(
        declared: &Schema,
        options: &TableOptions,
        extensions: &Extensions,
    ) -> Result<Self> {
        let value_format = match extensions.value_codec {
            None => options.value_format.unwrap_or_default(),
            // A codec has columns, as JSON has.
            Some(_) => ValueFormat::Json,
        };
        let mode = options.mode.unwrap_or_default();
        let mut fields: Vec<FieldRef> = declared.fields().iter().cloned().collect();
        if !fields.iter().any(|field| field.name() == KEY_COLUMN) {
            let data_type = match options.key_format() {
                KeyFormat::String | KeyFormat::Json => DataType::Utf8View,
                KeyFormat::Bytes => DataType::Binary,
                KeyFormat::Binary(key) => key.data_type(),
            };
            let nullable = mode == Mode::Append;
            fields.insert(0, Arc::new(Field::new(KEY_COLUMN, data_type, nullable)));
        }
        if value_format != ValueFormat::Json
            && !fields.iter().any(|field| field.name() == VALUE_COLUMN)
        {
            let data_type = match value_format {
                ValueFormat::String => DataType::Utf8View,
                _ => DataType::Binary,
            };
            fields.push(Arc::new(Field::new(VALUE_COLUMN, data_type, true)));
        }
        if options.all_metadata {
            for metadata in Metadata::all(options.value_envelope()) {
                if !fields.iter().any(|field| field.name() == metadata.name()) {
                    let data_type = metadata.data_type();
                    fields.push(Arc::new(Field::new(metadata.name(), data_type, true)));
                }
            }
        }

        let envelope = options.value_envelope();
        let is_json = |name: &str| match column_of(name, value_format, envelope) {
            ColumnRole::Key => {
                options.key_format() == KeyFormat::Json && extensions.key_codec.is_none()
            }
            ColumnRole::Payload => {
                value_format == ValueFormat::Json && extensions.value_codec.is_none()
            }
            ColumnRole::Metadata(Metadata::Value) => extensions.is_document,
            ColumnRole::Metadata(_) => false,
        };
        if let Some(unit) = options.decode.timestamp_unit {
            for field in fields.iter_mut().filter(|field| is_json(field.name())) {
                *field = Arc::new(with_unit(field, unit));
            }
        }
        for (path, column) in &options.columns {
            column_options::apply(&mut fields, path, column, is_json)?;
        }
        let mut columns = Vec::with_capacity(fields.len());
        for field in &fields {
            let column = match extensions.value_codec {
                None => column_of(field.name(), value_format, envelope),
                // All columns except the record's own belong to the codec.
                Some(_) => column_of(field.name(), ValueFormat::Bytes, envelope),
            };
            match column {
                ColumnRole::Key if extensions.key_codec.is_some() => {}
                ColumnRole::Key => check_key(field, options.key_format())?,
                ColumnRole::Metadata(metadata) => {
                    if !metadata.fits(field.data_type()) {
                        return Err(invalid(
                            field.name(),
                            format!(
                                "has the type {}, which does not fit; declare it as {}",
                                sql_type(field.data_type()),
                                metadata.sql_type()
                            ),
                        ));
                    }
                }
                ColumnRole::Payload
                    if extensions.value_codec.is_some() && !extensions.is_document => {}
                ColumnRole::Payload => check_payload(field, value_format)?,
            }
            columns.push(column);
        }
        check_duplicates(&fields)?;
        check_reserved(&fields)?;
        let arrow = Schema::new_with_metadata(fields, declared.metadata().clone());
        let schema = KafkaSchema {
            decoded: arrow.fields().clone(),
            arrow: Arc::new(arrow),
            columns,
            value_format,
        };
        schema.check_rows_without_payload(options)?;
        Ok(schema)
    }

    /// The same columns, followed by these columns of each row's source record.
    pub(crate) fn with_record(&self, record: &[Metadata]) -> Self {
        let mut fields: Vec<FieldRef> = self.decoded.iter().cloned().collect();
        let mut columns = self.columns.clone();
        if record.contains(&Metadata::RecordError) {
            // The key may be the part of the record that does not fit.
            let keys = fields.iter_mut().filter(|field| field.name() == KEY_COLUMN);
            keys.for_each(|key| *key = Arc::new(key.as_ref().clone().with_nullable(true)));
        }
        for &metadata in record {
            fields.push(Arc::new(Field::new(
                metadata.name(),
                metadata.data_type(),
                true,
            )));
            columns.push(ColumnRole::Metadata(metadata));
        }
        let arrow = Schema::new_with_metadata(fields, self.arrow.metadata().clone());
        KafkaSchema {
            decoded: arrow.fields().clone(),
            arrow: Arc::new(arrow),
            columns,
            value_format: self.value_format,
        }
    }

    /// The same columns, all of them nullable.
    pub(crate) fn nullable(&self) -> Self {
        let arrow = self.arrow_where(|_| true);
        KafkaSchema {
            decoded: arrow.fields().clone(),
            arrow: Arc::new(arrow),
            columns: self.columns.clone(),
            value_format: self.value_format,
        }
    }

    /// The same columns, where rows may be without a payload.
    pub(crate) fn with_rows_without_payload(&self) -> Self {
        KafkaSchema {
            arrow: Arc::new(self.arrow_where(ColumnRole::is_of_payload)),
            ..self.clone()
        }
    }

    /// The columns of the rows, where those that `is_nullable` selects allow NULL too.
    fn arrow_where(&self, is_nullable: impl Fn(ColumnRole) -> bool) -> Schema {
        let fields = self.arrow.fields().iter().zip(&self.columns);
        let fields = fields.map(|(field, column)| match is_nullable(*column) {
            true => Arc::new(field.as_ref().clone().with_nullable(true)),
            false => Arc::clone(field),
        });
        Schema::new_with_metadata(fields.collect::<Fields>(), self.arrow.metadata().clone())
    }

    /// The columns as Arrow and DataFusion see them.
    pub(crate) fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// Every column with its field, as it is decoded, in table order.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (ColumnRole, &FieldRef)> {
        self.columns.iter().copied().zip(&self.decoded)
    }

    /// How the payload columns are read and written.
    pub(crate) fn value_format(&self) -> ValueFormat {
        self.value_format
    }

    /// Whether the table declares this metadata column.
    pub(crate) fn has(&self, metadata: Metadata) -> bool {
        self.columns.contains(&ColumnRole::Metadata(metadata))
    }

    /// Whether tombstones become rows, in a table where every record is a row.
    pub(crate) fn has_tombstones(&self) -> bool {
        self.has(Metadata::Tombstone) || self.has(Metadata::RecordTombstone)
    }

    /// Whether records that delete a key, other than tombstones, become rows in a table where
    /// every record is a row.
    pub(crate) fn has_deletes(&self) -> bool {
        self.has_tombstones() || self.has(Metadata::Op)
    }

    /// Checks that all payload columns may be NULL where the options ask for rows without a
    /// payload.
    pub(crate) fn check_rows_without_payload(&self, options: &TableOptions) -> Result<()> {
        let mode = options.mode.unwrap_or_default();
        let reason = if options.on_bad_record == OnBadRecord::Null {
            "is NOT NULL, but `kafka.on_bad_record` = `null` gives rows without a payload"
        } else if self.has(Metadata::RecordError) {
            "is NOT NULL, but `kafka.on_bad_record` = `dead_letter` gives rows without a payload"
        } else if mode == Mode::Append && self.has(Metadata::RecordTombstone) {
            "is NOT NULL, but a codec cannot tell the NULLs of tombstones; declare it without \
             NOT NULL"
        } else if mode == Mode::Append && self.has(Metadata::Tombstone) {
            "is NOT NULL, but with `_tombstone` tombstones are rows, without a payload; declare it \
             without NOT NULL, or leave `_tombstone` out"
        } else if mode == Mode::Append && self.has(Metadata::Op) {
            "is NOT NULL, but with `_op` deletes are rows, without a payload; declare it without \
             NOT NULL, or leave `_op` out"
        } else {
            return Ok(());
        };
        let not_null = self
            .columns()
            .find(|(column, field)| column.is_of_payload() && !field.is_nullable());
        match not_null {
            Some((_, field)) => Err(invalid(field.name(), reason.to_owned())),
            None => Ok(()),
        }
    }
}

/// Whether a column of this name is not a property of a JSON payload in this envelope.
pub(crate) fn is_reserved(name: &str, envelope: Envelope) -> bool {
    column_of(name, ValueFormat::Json, envelope) != ColumnRole::Payload
}

fn column_of(name: &str, format: ValueFormat, envelope: Envelope) -> ColumnRole {
    if name == KEY_COLUMN {
        return ColumnRole::Key;
    }
    if name == VALUE_COLUMN && format == ValueFormat::Json {
        return ColumnRole::Metadata(Metadata::Value);
    }
    Metadata::all(envelope)
        .find(|metadata| metadata.name() == name)
        .map_or(ColumnRole::Payload, ColumnRole::Metadata)
}

fn check_key(field: &Field, format: KeyFormat) -> Result<()> {
    let data_type = field.data_type();
    let fits = match format {
        KeyFormat::String => is_text(data_type),
        KeyFormat::Bytes => is_binary(data_type),
        KeyFormat::Binary(key) => key.fits(data_type),
        KeyFormat::Json => {
            return check_type(field)
                .map_err(|error| invalid(field.name(), unsupported_message(&error)));
        }
    };
    if fits {
        return Ok(());
    }
    let expected = match format {
        KeyFormat::Bytes => "`kafka.key.format` = `bytes` needs a BYTEA `_key`".to_owned(),
        KeyFormat::Binary(key) => {
            let (name, types) = (key.name(), key.sql_types());
            format!("`kafka.key.format` = `{name}` needs {types} `_key`")
        }
        _ => "`kafka.key.format` = `string` needs a VARCHAR `_key`; set `kafka.key.format` = `json`, \
              `bytes`, `int32` or `int64` for other types"
            .to_owned(),
    };
    let is = sql_type(data_type);
    Err(invalid(field.name(), format!("is {is}; {expected}")))
}

fn check_payload(field: &Field, format: ValueFormat) -> Result<()> {
    let name = field.name();
    let data_type = field.data_type();
    let reason = match format {
        ValueFormat::Json => {
            return check_type(field).map_err(|error| invalid(name, unsupported_message(&error)));
        }
        _ if name != VALUE_COLUMN => {
            "`kafka.value.format` other than `json` has one payload column, `_value`".to_owned()
        }
        ValueFormat::String if !is_text(data_type) => {
            let is = sql_type(data_type);
            format!("is {is}; `kafka.value.format` = `string` needs VARCHAR")
        }
        ValueFormat::Bytes if !is_binary(data_type) => {
            let is = sql_type(data_type);
            format!("is {is}; `kafka.value.format` = `bytes` needs BYTEA")
        }
        _ => return Ok(()),
    };
    Err(invalid(name, reason))
}

fn check_duplicates(fields: &[FieldRef]) -> Result<()> {
    let mut names = std::collections::HashSet::new();
    match fields.iter().find(|field| !names.insert(field.name())) {
        Some(field) => Err(invalid(field.name(), "is declared twice".to_owned())),
        None => Ok(()),
    }
}

/// Refuses names that columns of the source record would hide.
fn check_reserved(fields: &[FieldRef]) -> Result<()> {
    let reserved = |field: &&FieldRef| field.name().starts_with(RECORD_PREFIX);
    match fields.iter().find(reserved) {
        Some(field) => Err(invalid(
            field.name(),
            "names that start with `__record_` are reserved".to_owned(),
        )),
        None => Ok(()),
    }
}

fn invalid(column: &str, reason: String) -> Error {
    Error::InvalidColumn {
        column: column.to_owned(),
        reason,
    }
}
