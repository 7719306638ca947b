//! [`register_kafka`]: everything that a session needs, in one call.

use std::sync::Arc;

use datafusion::common::plan_datafusion_err;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SessionContext;

use crate::catalog::{KafkaTopics, TopicSchemaProvider};
use crate::error::{Error, Result};
use crate::factory::KafkaTableFactory;
use crate::options::{KafkaSessionOptions, Options, TableOptions};
use crate::source::one_instant::OneInstant;

/// What [`register_kafka`] puts into a session.
#[derive(Debug, Clone, Default)]
pub struct KafkaConfig {
    options: Options,
    topics: KafkaTopics,
}

impl KafkaConfig {
    /// Nothing but `CREATE EXTERNAL TABLE .. STORED AS KAFKA`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an option for every table of the session, such as
    /// `kafka.bootstrap.servers`; see [`options`](crate::options).
    pub fn with_option(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options = self.options.set(key, value);
        self
    }

    /// Makes topics whose names match patterns tables.
    pub fn with_topics(mut self, topics: KafkaTopics) -> Self {
        self.topics = topics;
        self
    }
}

/// Adds Kafka to a session: `CREATE EXTERNAL TABLE .. STORED AS KAFKA`,
/// `SET kafka.x = ..`, in the default schema a table for every topic whose
/// name matches a pattern, and a rule by which all scans of a topic in one
/// query end at the same offsets. Does not connect.
///
/// Call it once per session.
///
/// # Errors
/// The errors of options and patterns; [`Error::Unsupported`] when the
/// session's default schema does not exist.
///
/// ```
/// # fn main() -> datafusion_kafka::error::Result<()> {
/// use datafusion::prelude::SessionContext;
/// use datafusion_kafka::{KafkaConfig, register_kafka};
///
/// let ctx = SessionContext::new();
/// let config = KafkaConfig::new().with_option("kafka.bootstrap.servers", "localhost:9092");
/// register_kafka(&ctx, config)?;
/// # Ok(()) }
/// ```
pub fn register_kafka(ctx: &SessionContext, config: KafkaConfig) -> Result<()> {
    TableOptions::parse(&[&config.options])?;
    let state = ctx.state_ref();
    let session = {
        let state = Arc::downgrade(&state);
        Box::new(move || {
            let options = state.upgrade().and_then(|state| {
                let state = state.read();
                let extensions = &state.config_options().extensions;
                extensions
                    .get::<KafkaSessionOptions>()
                    .map(KafkaSessionOptions::options)
            });
            options.unwrap_or_default()
        })
    };
    let (catalog, schema) = {
        let mut state = state.write();
        let factory = KafkaTableFactory::new(config.options.clone());
        state
            .table_factories_mut()
            .insert("KAFKA".to_owned(), Arc::new(factory));
        let options = state.config_mut().options_mut();
        options.extensions.insert(KafkaSessionOptions::default());
        let defaults = &options.catalog;
        let names = (
            defaults.default_catalog.clone(),
            defaults.default_schema.clone(),
        );
        *state = SessionStateBuilder::new_from_existing(state.clone())
            .with_physical_optimizer_rule(Arc::new(OneInstant))
            .build();
        names
    };
    let missing = || {
        let error = plan_datafusion_err!("the session has no schema `{catalog}.{schema}`");
        Error::Unsupported(error.to_string())
    };
    let provider = ctx.catalog(&catalog).ok_or_else(missing)?;
    let tables = provider.schema(&schema).ok_or_else(missing)?;
    let topics = TopicSchemaProvider::try_new(tables, &config.topics, config.options, session)?;
    provider
        .register_schema(&schema, Arc::new(topics))
        .map_err(|error| Error::Unsupported(error.to_string()))?;
    Ok(())
}
