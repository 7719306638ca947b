//! Defines a table: a topic, its options and its columns. Nothing here reads, writes or asks
//! brokers.
//!
//! ```text
//! schema ── the columns, checked against the options;   metadata_columns ── those of the record itself
//! column_options ── `kafka.column.<name>.<option>`;   modes ── the same table read in another mode
//! ```

pub(crate) mod column_options;
pub(crate) mod metadata_columns;
mod modes;
pub(crate) mod schema;
pub(crate) mod type_groups;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};

use crate::definition::metadata_columns::{Metadata, VALUE_COLUMN};
use crate::definition::schema::{KafkaSchema, is_reserved};
use crate::error::{Error, Result};
use crate::extensions::Extensions;
use crate::extensions::json_document::JsonDocument;
use crate::options::{Envelope, Mode, TableOptions};

/// A topic with its options and columns: the basis of reading and writing.
#[derive(Debug, Clone)]
pub(crate) struct TableDefinition {
    pub(crate) topic: String,
    pub(crate) options: TableOptions,
    pub(crate) schema: KafkaSchema,
    pub(crate) extensions: Extensions,
    /// Whether the columns were inferred from a sample of the topic.
    pub(crate) is_inferred: bool,
    /// Whether reading never ends.
    pub(crate) unbounded: bool,
    /// Whether the rows are the changes of a table in upsert mode, which means all of its
    /// records. `options.mode` is append then.
    pub(crate) is_change_log: bool,
    /// Whether the mode is append because no sampled record has a key. A record with a key is
    /// then an error, because the user may have meant upsert mode.
    pub(crate) keyless: bool,
}

impl TableDefinition {
    /// Whether a row without a key can be written. In append mode it is one more record and
    /// replaces no other.
    pub(crate) fn takes_null_keys(&self) -> bool {
        self.options.mode == Some(Mode::Append)
    }

    /// Checks that statements can write the topic.
    ///
    /// # Errors
    /// Payloads or keys are in an envelope, which says more than the columns of a row do.
    pub(crate) fn check_is_writable(&self) -> Result<()> {
        let (key, envelope) = match (self.options.value_envelope(), self.options.key_envelope()) {
            (Envelope::None, Envelope::None) => return Ok(()),
            (Envelope::None, envelope) => ("kafka.key.envelope", envelope),
            (envelope, _) => ("kafka.value.envelope", envelope),
        };
        let topic = &self.topic;
        let (title, name) = (envelope.title(), envelope.name());
        Err(Error::Unsupported(format!(
            "topic `{topic}` cannot be written with `{key}` = `{name}`: the envelope of {title} says \
             more than a row has; write to another topic, or set `{key}` = `none` on a table whose \
             topic has plain rows"
        )))
    }

    pub(crate) fn try_new(
        topic: String,
        options: TableOptions,
        schema: &Schema,
        extensions: Extensions,
    ) -> Result<Self> {
        options.client.bootstrap_servers()?;
        let mut extensions = extensions;
        let document = document(schema, &options);
        if extensions.value_codec.is_none() && document.is_some() {
            extensions.value_codec = Some(Arc::new(JsonDocument::new(&options)));
            extensions.is_document = true;
        }
        check_whole_payloads(schema, &options, &extensions)?;
        let schema = KafkaSchema::try_new(schema, &options, &extensions)?;
        Ok(TableDefinition {
            topic,
            options,
            schema,
            extensions,
            is_inferred: false,
            unbounded: false,
            is_change_log: false,
            keyless: false,
        })
    }
}

/// The column `_value`, if it is the JSON of the whole payload and not its text or bytes.
fn document<'a>(schema: &'a Schema, options: &TableOptions) -> Option<&'a Field> {
    let field = schema.field_with_name(VALUE_COLUMN).ok()?;
    let fits = Metadata::Value.fits(field.data_type());
    (options.may_be_json() && !fits).then_some(field)
}

/// Checks that nothing else is asked of payloads that are read as a whole.
fn check_whole_payloads(
    schema: &Schema,
    options: &TableOptions,
    extensions: &Extensions,
) -> Result<()> {
    let refused = |reason: String| Err(Error::Unsupported(reason));
    if extensions.value_codec.is_some() && options.judges_payloads() {
        return refused(
            "a codec, or a `_value` that is not VARCHAR or BYTEA, takes whole payloads: leave out \
             `kafka.value.envelope` and `kafka.deleted_by`"
                .to_owned(),
        );
    }
    let document = document(schema, options).filter(|_| extensions.is_document);
    let is_list = document.is_some_and(|it| matches!(it.data_type(), DataType::List(_)));
    if options.many_documents && !is_list {
        return refused(
            "`kafka.json.documents` = `many` needs a column `_value` that is a list".to_owned(),
        );
    }
    if document.is_none() {
        return Ok(());
    }
    let is_other = |field: &&FieldRef| {
        field.name() != VALUE_COLUMN && !is_reserved(field.name(), Envelope::None)
    };
    if let Some(other) = schema.fields().iter().find(is_other) {
        return refused(format!(
            "`{VALUE_COLUMN}` takes the whole payload, so that nothing is left for `{}`: leave it \
             out, or declare `{VALUE_COLUMN}` as VARCHAR or BYTEA",
            other.name()
        ));
    }
    Ok(())
}
