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

use arrow::datatypes::Schema;

use crate::definition::schema::KafkaSchema;
use crate::error::{Error, Result};
use crate::extensions::Extensions;
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
             more than a row has; write to another topic"
        )))
    }

    pub(crate) fn try_new(
        topic: String,
        options: TableOptions,
        schema: &Schema,
        extensions: Extensions,
    ) -> Result<Self> {
        options.client.bootstrap_servers()?;
        let has_envelope = options.value_envelope() != Envelope::None;
        if extensions.value_codec.is_some() && (has_envelope || options.deleted_by.is_some()) {
            return Err(Error::Unsupported(
                "a codec reads whole payloads: leave out `kafka.value.envelope` and `kafka.deleted_by`"
                    .to_owned(),
            ));
        }
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
