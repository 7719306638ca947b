//! [`KafkaTableBuilder`]: makes a table from options and columns.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use super::KafkaTable;
use crate::client::KeptClients;
use crate::definition::TableDefinition;
use crate::error::{Error, Result};
use crate::extensions::Extensions;
use crate::extensions::codec::Codec;
use crate::extensions::hook::WriteHook;
use crate::options::{Options, Origin, TableOptions};
use crate::table::infer_from_sample;

/// Makes a [`KafkaTable`]; see [`KafkaTable::builder`].
#[derive(Debug, Clone)]
pub struct KafkaTableBuilder {
    topic: String,
    schema: Option<SchemaRef>,
    layers: Vec<Options>,
    options: Options,
    /// The servers that a LOCATION names, and the origin of the LOCATION.
    servers: Option<(String, Origin)>,
    extensions: Extensions,
    unbounded: bool,
    /// The clients of the session that makes the table.
    kept: KeptClients,
}

impl KafkaTableBuilder {
    pub(super) fn new(topic: String) -> Self {
        KafkaTableBuilder {
            topic,
            schema: None,
            layers: Vec::new(),
            options: Options::new(),
            servers: None,
            extensions: Extensions::default(),
            unbounded: false,
            kept: KeptClients::default(),
        }
    }

    /// Declares the columns. By default they are inferred from a sample of the topic's newest
    /// records.
    ///
    /// A missing `_key` is added as the first column.
    pub fn with_schema(mut self, schema: impl Into<SchemaRef>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// Makes the table unbounded. Queries start at `kafka.start` and return rows as records are
    /// written. They end when they are dropped, when their LIMIT is reached, or with an error
    /// when the topic is deleted. New partitions of the topic are noticed within five seconds and
    /// read from their beginning.
    ///
    /// Within a partition, rows come in the order of their offsets. A batch of rows is returned
    /// when it has `kafka.batch.rows` rows, or `kafka.batch.ms` after its records were fetched at
    /// the latest. In upsert mode the rows are changes, each with the whole row. `_tombstone`
    /// must then be declared; it is true if the key was deleted. Writing works as for a bounded
    /// table.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow::datatypes::{DataType, Field, Schema};
    /// # use datafusion::prelude::*;
    /// # use datafusion_kafka::{EmbeddedKafka, KafkaTable};
    /// # use futures::StreamExt;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let kafka = EmbeddedKafka::start()?;
    /// # kafka.create_topic("orders", 1)?;
    /// # let servers = kafka.bootstrap_servers();
    /// let ctx = SessionContext::new();
    /// let orders = KafkaTable::builder("orders")
    ///     .with_schema(Schema::new(vec![
    ///         Field::new("amount", DataType::Int64, true),
    ///         Field::new("_tombstone", DataType::Boolean, true),
    ///     ]))
    ///     .with_option("kafka.bootstrap.servers", servers)
    ///     .unbounded()
    ///     .build()
    ///     .await?;
    /// ctx.register_table("orders", Arc::new(orders))?;
    /// let insert = "INSERT INTO orders (_key, amount) VALUES ('a', 1), ('a', 2)";
    /// ctx.sql(insert).await?.collect().await?;
    /// let mut changes = ctx.sql("SELECT _key, amount FROM orders").await?.execute_stream().await?;
    /// let batch = changes.next().await.unwrap()?;
    /// # assert_eq!(batch.num_rows(), 2);
    /// # Ok(()) }
    /// ```
    pub fn unbounded(mut self) -> Self {
        self.unbounded = true;
        self
    }

    /// Sets an option; see [`options`](crate::options).
    pub fn with_option(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options = self.options.with_option(key, value);
        self
    }

    /// Sets several options.
    pub fn with_options(mut self, options: Options) -> Self {
        self.options.merge(options);
        self
    }

    /// Reads and writes keys in a format of your own. `kafka.key.format` then does not apply, and
    /// key look-ups read all keys.
    pub fn with_key_codec(mut self, codec: Arc<dyn Codec>) -> Self {
        self.extensions.key_codec = Some(codec);
        self
    }

    /// Reads and writes payloads in a format of your own. `kafka.value.format` and `kafka.json.*`
    /// then do not apply to payloads, and the columns must be declared.
    pub fn with_value_codec(mut self, codec: Arc<dyn Codec>) -> Self {
        self.extensions.value_codec = Some(codec);
        self
    }

    /// Passes all records to a hook before they are sent.
    pub fn with_hook(mut self, hook: Arc<dyn WriteHook>) -> Self {
        self.extensions.hook = Some(hook);
        self
    }

    pub(crate) fn with_extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// Sets options with lower precedence than the table's own, lowest first.
    pub(crate) fn with_layers(mut self, layers: Vec<Options>) -> Self {
        self.layers = layers;
        self
    }

    /// Uses the clients that a session keeps.
    pub(crate) fn with_kept_clients(mut self, kept: KeptClients) -> Self {
        self.kept = kept;
        self
    }

    /// Sets the servers that a LOCATION names.
    pub(crate) fn with_servers(mut self, servers: String, origin: Origin) -> Self {
        self.servers = Some((servers, origin));
        self
    }

    /// Checks the options and the columns. Connects only to infer columns.
    ///
    /// # Errors
    /// [`Error::UnknownOption`], [`Error::InvalidOption`] and [`Error::ConflictingOptions`] for
    /// the options, and [`Error::InvalidColumn`] for the columns. If columns are inferred, also
    /// [`Error::Connect`], [`Error::TopicNotFound`] and [`Error::InferSchema`].
    ///
    /// # Cancellation
    /// Dropping the future ends the inference within a second.
    pub async fn build(self) -> Result<KafkaTable> {
        let unbounded = self.unbounded;
        let definition = Arc::new(self.define().await?);
        KafkaTable::of(definition, unbounded)
    }

    /// The definition with these columns. Does not connect.
    pub(crate) fn define_with(self, schema: &Schema) -> Result<TableDefinition> {
        let options = self.table_options()?;
        TableDefinition::try_new(self.topic, options, schema, self.extensions)
    }

    /// The parsed options. Does not connect.
    pub(crate) fn table_options(&self) -> Result<TableOptions> {
        let mut own = self.options.clone();
        let mut also_in_location = None;
        match &self.servers {
            Some((servers, _)) if names_servers(&own) => also_in_location = Some(servers),
            Some((servers, origin)) => {
                own = own.set_by(*origin, "kafka.bootstrap.servers", servers);
            }
            None => {}
        }
        let mut layers: Vec<&Options> = self.layers.iter().collect();
        layers.push(&own);
        let mut options = TableOptions::parse(&layers)?;
        if let Some(servers) = also_in_location {
            options.client = options.client.with_bootstrap_servers(servers)?;
        }
        Ok(options)
    }

    /// The definition for reading and writing. Connects only to infer columns.
    pub(crate) async fn define(self) -> Result<TableDefinition> {
        let options = self.table_options()?;
        let extensions = self.extensions;
        match self.schema {
            Some(schema) => TableDefinition::try_new(self.topic, options, &schema, extensions),
            None if extensions.key_codec.is_some() || extensions.value_codec.is_some() => {
                Err(Error::InferSchema {
                    topic: self.topic,
                    reason: "it has a codec; declare the columns".to_owned(),
                })
            }
            None => {
                let definition =
                    infer_from_sample::table(self.topic, options, extensions, self.kept).await?;
                Ok(TableDefinition {
                    is_inferred: true,
                    ..definition
                })
            }
        }
    }
}

/// Whether these options may name the servers.
fn names_servers(options: &Options) -> bool {
    options.iter().any(|(key, _)| {
        key.ends_with("bootstrap.servers")
            || key.ends_with("metadata.broker.list")
            || key == "kafka.properties.file"
    })
}
