//! Finds topics as tables of a session, by patterns ([`KafkaTopics`]) or as declared tables.
//!
//! ```text
//! mod ── patterns, and the schema that looks names up;   factory ── CREATE EXTERNAL TABLE
//! names ── names that a statement does not read;   function_names ── names that are functions
//! ```

pub(crate) mod factory;
pub(crate) mod function_names;
pub(crate) mod names;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow_json_codec::unit_name;
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::TableType;
use regex::Regex;

use crate::catalog::function_names::is_function;
use crate::catalog::names::CREATED_OR_CALLED;
use crate::client::KeptClients;
use crate::definition::TableDefinition;
use crate::error::{Error, Result};
use crate::extensions::Extensions;
use crate::extensions::codec::Codec;
use crate::extensions::hook::WriteHook;
use crate::options::{Envelope, Options, TableOptions, ValueFormat};
use crate::table::write_query::QueriedTopic;
use crate::table::{KafkaTable, KafkaTableBuilder};

/// Patterns of topics: a table whose name matches a pattern is the topic of that name.
///
/// A pattern is a regular expression, which is anchored only by its own `^` and `$`; `*` alone
/// matches every name. The pattern chooses the settings of the table, never the topic. Source
/// patterns make topics readable and sink patterns make them writable. A name may match one of
/// each, with different settings. The names of
/// [`register_kafka`](crate::register_kafka)'s functions are not topics.
///
/// ```
/// # fn main() -> datafusion_kafka::error::Result<()> {
/// use datafusion_kafka::{KafkaConfig, KafkaTopics, SinkOptions, SourceOptions, register_kafka};
///
/// let topics = KafkaTopics::new()
///     .with_source("^(orders|customers)$", SourceOptions::new())
///     .with_sink("^out_", SinkOptions::new().with_option("kafka.create_topic", "true"));
/// let config = KafkaConfig::new()
///     .with_option("kafka.bootstrap.servers", "localhost:9092")
///     .with_topics(topics);
/// let ctx = datafusion::prelude::SessionContext::new();
/// register_kafka(&ctx, config)?;
/// // `SELECT .. FROM orders JOIN customers ..` now reads the two topics.
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct KafkaTopics {
    sources: Vec<(String, SourceOptions)>,
    sinks: Vec<(String, SinkOptions)>,
}

impl KafkaTopics {
    /// No patterns: no name is a topic.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes topics whose name matches readable.
    pub fn with_source(mut self, pattern: impl Into<String>, options: SourceOptions) -> Self {
        self.sources.push((pattern.into(), options));
        self
    }

    /// Makes topics whose name matches writable.
    pub fn with_sink(mut self, pattern: impl Into<String>, options: SinkOptions) -> Self {
        self.sinks.push((pattern.into(), options));
        self
    }
}

/// How the topics of a source pattern are read.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions(Settings);

/// How the topics of a sink pattern are written.
#[derive(Debug, Clone, Default)]
pub struct SinkOptions(Settings);

#[derive(Debug, Clone, Default)]
struct Settings {
    options: Options,
    schema: Option<SchemaRef>,
    extensions: Extensions,
}

/// The settings that source and sink patterns share.
macro_rules! settings {
    ($options:ident) => {
        impl $options {
            /// Sets an option; see [`options`](crate::options).
            pub fn with_option(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
                self.0.options = self.0.options.with_option(key, value);
                self
            }

            /// Declares the columns of every topic that matches.
            pub fn with_schema(mut self, schema: impl Into<SchemaRef>) -> Self {
                self.0.schema = Some(schema.into());
                self
            }

            /// Keys in a format of your own; see [`Codec`].
            pub fn with_key_codec(mut self, codec: Arc<dyn Codec>) -> Self {
                self.0.extensions.key_codec = Some(codec);
                self
            }

            /// Payloads in a format of your own; see [`Codec`].
            pub fn with_value_codec(mut self, codec: Arc<dyn Codec>) -> Self {
                self.0.extensions.value_codec = Some(codec);
                self
            }
        }
    };
}

settings!(SourceOptions);
settings!(SinkOptions);

impl SourceOptions {
    /// No options; columns are inferred per topic.
    pub fn new() -> Self {
        Self::default()
    }
}

impl SinkOptions {
    /// No options. The columns are those of the query that [`sql`](crate::sql()) inserts,
    /// if the query has a `_key`. Otherwise they are the columns that the topic is read with.
    pub fn new() -> Self {
        Self::default()
    }

    /// Passes all records to a hook before they are sent.
    pub fn with_hook(mut self, hook: Arc<dyn WriteHook>) -> Self {
        self.0.extensions.hook = Some(hook);
        self
    }
}

/// A schema with its registered tables and with the topics that match a pattern.
///
/// Inferred columns are cached until `SET kafka.x` changes an option, or until `DROP TABLE` of
/// the topic's name.
pub(crate) struct TopicSchemaProvider {
    tables: Arc<dyn SchemaProvider>,
    defaults: Options,
    sources: Vec<Pattern>,
    sinks: Vec<Pattern>,
    /// Returns the current `SET kafka.x` options.
    session: SessionOptions,
    /// The clients of the session.
    kept: KeptClients,
    /// The tables made so far, each with the session's options at that time.
    known: Mutex<HashMap<String, (Options, Arc<KafkaTable>)>>,
}

/// Looks up the options that are currently set in the session.
pub(crate) type SessionOptions = Box<dyn Fn() -> Options + Send + Sync>;

#[derive(Debug)]
struct Pattern {
    text: String,
    regex: Regex,
    settings: Settings,
}

impl Pattern {
    fn compile(text: &str, settings: &Settings, defaults: &Options) -> Result<Self> {
        // Wrong settings are an error of the registration, not of the first query.
        TableOptions::parse(&[defaults, &settings.options])?;
        let expression = if text == "*" { "" } else { text };
        let regex = Regex::new(expression).map_err(|source| Error::InvalidPattern {
            pattern: text.to_owned(),
            source: Arc::new(source),
        })?;
        Ok(Pattern {
            text: text.to_owned(),
            regex,
            settings: settings.clone(),
        })
    }
}

impl TopicSchemaProvider {
    /// # Errors
    /// [`Error::InvalidPattern`] and the errors of options.
    pub(crate) fn try_new(
        tables: Arc<dyn SchemaProvider>,
        topics: &KafkaTopics,
        defaults: Options,
        session: SessionOptions,
        kept: KeptClients,
    ) -> Result<Self> {
        let sources = topics.sources.iter();
        let sinks = topics.sinks.iter();
        Ok(TopicSchemaProvider {
            sources: sources
                .map(|(text, options)| Pattern::compile(text, &options.0, &defaults))
                .collect::<Result<_>>()?,
            sinks: sinks
                .map(|(text, options)| Pattern::compile(text, &options.0, &defaults))
                .collect::<Result<_>>()?,
            tables,
            defaults,
            session,
            kept,
            known: Mutex::default(),
        })
    }

    /// The registered tables of a schema, without the topics that this provider added.
    pub(crate) fn without_topics(tables: Arc<dyn SchemaProvider>) -> Arc<dyn SchemaProvider> {
        match tables.downcast_ref::<TopicSchemaProvider>() {
            Some(topics) => Arc::clone(&topics.tables),
            None => tables,
        }
    }

    /// The topic of this name, and whether its columns can be inferred, which takes a source
    /// pattern and records. `None` if a pattern declares the columns, if no sink pattern matches,
    /// or if a table of this name is registered.
    pub(crate) async fn undeclared(&self, name: &str) -> Result<Option<(QueriedTopic, bool)>> {
        if self.tables.table_exist(name) {
            return Ok(None);
        }
        let (source, sink) = self.matching(name)?;
        let Some(sink) = sink.filter(|sink| sink.settings.schema.is_none()) else {
            return Ok(None);
        };
        if source.is_some_and(|source| source.settings.schema.is_some()) {
            return Ok(None);
        }
        let shown = match source {
            None => None,
            Some(_) => match self.resolve(name).await {
                Err(Error::InferSchema { .. } | Error::TopicNotFound { .. }) => None,
                Err(error) => return Err(error),
                Ok(table) => table,
            },
        };
        let builder = |pattern| self.builder(name, pattern, &(self.session)());
        let mut topic = QueriedTopic {
            source: source.map(builder),
            sink: builder(sink),
        };
        if let Some(source) = shown.as_ref().and_then(|table| table.source()) {
            topic.sink = like(source, topic.sink)?;
        }
        Ok(Some((topic, shown.is_some())))
    }

    /// The source pattern and the sink pattern that the name matches.
    fn matching(&self, name: &str) -> Result<(Option<&Pattern>, Option<&Pattern>)> {
        let one = |patterns: &'_ [Pattern], kind| -> Result<Option<usize>> {
            let mut matching = patterns
                .iter()
                .enumerate()
                .filter(|(_, pattern)| pattern.regex.is_match(name));
            match (matching.next(), matching.next()) {
                (Some((_, first)), Some((_, second))) => Err(Error::AmbiguousPattern {
                    table: name.to_owned(),
                    kind,
                    first: first.text.clone(),
                    second: second.text.clone(),
                }),
                (first, _) => Ok(first.map(|(index, _)| index)),
            }
        };
        let source = one(&self.sources, "source")?;
        let sink = one(&self.sinks, "sink")?;
        Ok((
            source.and_then(|index| self.sources.get(index)),
            sink.and_then(|index| self.sinks.get(index)),
        ))
    }

    fn builder(&self, name: &str, pattern: &Pattern, session: &Options) -> KafkaTableBuilder {
        let builder = KafkaTable::builder(name).with_layers(vec![
            session.clone(),
            self.defaults.clone(),
            pattern.settings.options.clone(),
        ]);
        let builder = builder
            .with_extensions(pattern.settings.extensions.clone())
            .with_kept_clients(self.kept.clone());
        match &pattern.settings.schema {
            Some(schema) => builder.with_schema(Arc::clone(schema)),
            None => builder,
        }
    }

    /// A registered table.
    pub(crate) async fn registered(
        &self,
        name: &str,
    ) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        self.tables.table(name).await
    }

    /// The options with which a topic is read; `None` if no source pattern matches.
    pub(crate) fn source_options(&self, name: &str) -> Result<Option<TableOptions>> {
        let (source, _) = self.matching(name)?;
        let builder = source.map(|source| self.builder(name, source, &(self.session)()));
        builder.map(|builder| builder.table_options()).transpose()
    }

    /// The table of a name that matches a pattern.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Option<Arc<KafkaTable>>> {
        let session = (self.session)();
        if let Some((under, table)) = self.known().get(name)
            && *under == session
        {
            return Ok(Some(Arc::clone(table)));
        }
        let (source, sink) = self.matching(name)?;
        let source = match source {
            None => None,
            Some(pattern) => Some(Arc::new(
                self.builder(name, pattern, &session).define().await?,
            )),
        };
        let sink = match (sink, &source) {
            (None, _) => None,
            (Some(pattern), Some(source)) if pattern.settings.schema.is_none() => {
                let schema = Arc::clone(source.schema.arrow());
                let builder = self.builder(name, pattern, &session).with_schema(schema);
                Some(Arc::new(like(source, builder)?.define().await?))
            }
            (Some(pattern), _) => Some(Arc::new(
                self.builder(name, pattern, &session).define().await?,
            )),
        };
        if source.is_none() && sink.is_none() {
            return Ok(None);
        }
        let table = Arc::new(KafkaTable::new(source, sink));
        let known = (session, Arc::clone(&table));
        self.known().insert(name.to_owned(), known);
        Ok(Some(table))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, (Options, Arc<KafkaTable>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sink that takes its columns from a source. It writes them in the form in which they are
/// read, unless its own options say otherwise.
fn like(source: &TableDefinition, sink: KafkaTableBuilder) -> Result<KafkaTableBuilder> {
    let own = sink.table_options()?;
    let mut like = sink;
    if source.keyless && own.mode.is_none() {
        like = like.with_option("kafka.mode", "append");
    }
    // A sink with a codec for keys takes no notice of the option.
    if let (Some(format), None) = (source.options.key_format, own.key_format) {
        like = like.with_option("kafka.key.format", format.name());
    }
    for (key, found, own) in [
        (
            "kafka.value.envelope",
            source.options.value_envelope,
            own.value_envelope,
        ),
        (
            "kafka.key.envelope",
            source.options.key_envelope,
            own.key_envelope,
        ),
    ] {
        // Without an envelope, the sink's default is the same.
        if let (Some(envelope @ (Envelope::Connect | Envelope::Debezium)), None) = (found, own) {
            like = like.with_option(key, envelope.name());
        }
    }
    let is_json = own.value_format.unwrap_or_default() == ValueFormat::Json;
    if let (Some(unit), None, true) = (
        source.options.decode.timestamp_unit,
        own.encode.timestamp_unit,
        is_json,
    ) {
        like = like.with_option("kafka.json.timestamp_unit", unit_name(unit));
    }
    Ok(like)
}

impl fmt::Debug for TopicSchemaProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicSchemaProvider")
            .field("sources", &self.sources)
            .field("sinks", &self.sinks)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for TopicSchemaProvider {
    fn owner_name(&self) -> Option<&str> {
        self.tables.owner_name()
    }

    /// The registered tables and the topics that were used so far. A list of all topics would
    /// have to come from the brokers, and this call must not block.
    fn table_names(&self) -> Vec<String> {
        let mut names = self.tables.table_names();
        names.extend(self.known().keys().cloned());
        names.sort_unstable();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.tables.table(name).await? {
            return Ok(Some(table));
        }
        let created_or_called = CREATED_OR_CALLED.try_with(|names| names.contains(name));
        if created_or_called.unwrap_or(false) || is_function(name) {
            return Ok(None);
        }
        match self.resolve(name).await {
            Ok(table) => Ok(table.map(|table| table as Arc<dyn TableProvider>)),
            Err(Error::TopicNotFound { .. } | Error::InferSchema { .. })
                if self
                    .matching(name)
                    .is_ok_and(|(source, _)| source.is_none()) =>
            {
                Err(Error::InferSchema {
                    topic: name.to_owned(),
                    reason: "it has no records yet and its sink pattern declares no columns; use \
                             `datafusion_kafka::sql`, which takes the columns from the query, or \
                             `SinkOptions::with_schema`"
                        .to_owned(),
                }
                .into())
            }
            // A topic that does not exist is like any other name that is not a table.
            Err(Error::TopicNotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn table_type(&self, name: &str) -> DataFusionResult<Option<TableType>> {
        if self.known().contains_key(name) {
            return Ok(Some(TableType::Base));
        }
        self.tables.table_type(name).await
    }

    fn register_table(
        &self,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        self.tables.register_table(name, table)
    }

    fn deregister_table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.tables.deregister_table(name)? {
            return Ok(Some(table));
        }
        let known = self.known().remove(name);
        Ok(known.map(|(_, table)| table as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.table_exist(name)
    }
}
