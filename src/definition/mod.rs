//! What a table is: a topic, its options and its columns. Nothing here reads, writes or asks
//! brokers.
//!
//! ```text
//! schema ── the columns, checked against the options;   metadata ── those of the record itself
//! column_options ── `kafka.column.<name>.<option>`;   modes ── the same table read in another way
//! ```

pub(crate) mod column_options;
pub(crate) mod kinds;
pub(crate) mod metadata;
mod modes;
pub(crate) mod schema;

use arrow::datatypes::Schema;

use crate::definition::schema::KafkaSchema;
use crate::error::Result;
use crate::extensions::Extensions;
use crate::options::{Mode, TableOptions};

/// A topic with its options and columns: what reading and writing work from.
#[derive(Debug, Clone)]
pub(crate) struct TableDefinition {
    pub(crate) topic: String,
    pub(crate) options: TableOptions,
    pub(crate) schema: KafkaSchema,
    pub(crate) extensions: Extensions,
    /// The columns are those that a sample of the topic shows.
    pub(crate) is_inferred: bool,
    /// Reading never ends.
    pub(crate) unbounded: bool,
    /// All records of a table in upsert mode are read, as the changes that they
    /// are; `options.mode` is append then.
    pub(crate) is_change_log: bool,
    /// The mode is append because no sampled record has a key: one that is met all the
    /// same is an error, since other rows might be meant.
    pub(crate) keyless: bool,
}

impl TableDefinition {
    /// Whether a row without a key can be written: as one more record, where it
    /// replaces none.
    pub(crate) fn takes_null_keys(&self) -> bool {
        self.options.mode == Some(Mode::Append)
    }

    pub(crate) fn try_new(
        topic: String,
        options: TableOptions,
        schema: &Schema,
        extensions: Extensions,
    ) -> Result<Self> {
        options.client.bootstrap_servers()?;
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
