//! [`register_kafka`]: sets up a session for Kafka in one call.

mod rewrite;

use std::sync::Arc;

use datafusion::common::plan_datafusion_err;
use datafusion::execution::context::SessionContext;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::optimizer::AnalyzerRule;

use crate::catalog::factory::KafkaTableFactory;
use crate::catalog::{KafkaTopics, TopicSchemaProvider};
use crate::client::KeptClients;
use crate::error::{Error, Result, own_error};
use crate::functions;
use crate::options::{KafkaSessionOptions, Options, Origin, TableOptions};
use crate::planning::copy::{KafkaFormat, RedactCopyPlanner, RewriteCopy};
use crate::planning::insert_order::OrderedInsertPlanner;
use crate::planning::look_up_once::LookUpOncePlanner;
use crate::planning::maps::Maps;
use crate::planning::unbounded::RejectBlockingOperators;
use crate::planning::values::OwnTypes;
use crate::planning::zoned::Zoned;
use crate::session::rewrite::RewriteDml;

/// The settings of [`register_kafka`].
#[derive(Debug, Clone, Default)]
pub struct KafkaConfig {
    options: Options,
    topics: KafkaTopics,
    allows_references: bool,
}

impl KafkaConfig {
    /// Nothing but `CREATE EXTERNAL TABLE .. STORED AS KAFKA`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an option for each table of the session, every COPY and every
    /// [`write_kafka`](crate::KafkaDataFrame), such as `kafka.bootstrap.servers`. See
    /// [`options`](crate::options).
    pub fn with_option(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options = self.options.with_option(key, value);
        self
    }

    /// Makes topics whose names match patterns available as tables.
    pub fn with_topics(mut self, topics: KafkaTopics) -> Self {
        self.topics = topics;
        self
    }

    /// Sets whether statements may refer to what the program can read: `${env:NAME}`,
    /// `${file:/path}`, `kafka.properties.file`, and librdkafka's properties that name a file,
    /// such as `ssl.ca.location`. By default they may not, so that SQL from other people cannot
    /// get a secret of the program. See [SQL from others](crate::options#sql-from-others).
    ///
    /// Options that the program sets itself, for instance with
    /// [`with_option`](Self::with_option), may always refer to them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use datafusion::prelude::SessionContext;
    /// use datafusion_kafka::{KafkaConfig, register_kafka};
    ///
    /// let create = "CREATE EXTERNAL TABLE orders (_key VARCHAR) STORED AS KAFKA
    ///     LOCATION 'kafka://localhost:9092/orders'
    ///     OPTIONS ('kafka.client.client.id' '${env:PATH}')";
    ///
    /// let ctx = SessionContext::new();
    /// register_kafka(&ctx, KafkaConfig::new())?;
    /// assert!(ctx.sql(create).await.is_err());
    ///
    /// let ctx = SessionContext::new();
    /// register_kafka(&ctx, KafkaConfig::new().allow_references_in_sql(true))?;
    /// ctx.sql(create).await?;
    /// # Ok(()) }
    /// ```
    pub fn allow_references_in_sql(mut self, allowed: bool) -> Self {
        self.allows_references = allowed;
        self
    }
}

/// Adds Kafka to a session, without connecting.
///
/// A session then has `CREATE EXTERNAL TABLE .. STORED AS KAFKA`,
/// `COPY .. TO 'kafka://host:9092/topic' STORED AS KAFKA`, `SET kafka.x = ..` and table
/// functions. Its default schema has a table for each topic whose name matches a pattern. All
/// scans of a topic in one query end at the same offsets. `UPDATE`, `DELETE`, `MERGE`, `TRUNCATE`
/// and `INSERT OVERWRITE` change topics. A query that needs all rows of an unbounded table is
/// refused with a clear error. TIMESTAMP WITH TIME ZONE is UTC where the session has no time
/// zone. VALUES inside the query of an INSERT have the types of their own values.
///
/// A second call replaces the settings of the first. The rules are added to the session only
/// once.
///
/// # COPY
/// `COPY (SELECT ..) TO 'location' STORED AS KAFKA OPTIONS (..)` and `COPY table TO ..` write one
/// record per row, and return the number of rows. The location is that of
/// `CREATE EXTERNAL TABLE`, or only the name of the topic. Columns, options, errors and
/// cancellation are those of [`write_kafka`](crate::KafkaDataFrame::write_kafka). Records are
/// added, and nothing is overwritten. `PARTITIONED BY` is refused. `EXPLAIN` shows the `INSERT`
/// that runs. The settings of sink patterns do not apply to a COPY.
///
/// A plan that `SessionContext::sql` made of a COPY, and that has not run yet, holds the options
/// as they were given, including passwords. A plan of [`sql`](crate::sql()) does not.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use datafusion_kafka::{EmbeddedKafka, KafkaConfig, register_kafka};
/// # let kafka = EmbeddedKafka::start()?;
/// # kafka.create_topic("stock", 1)?;
/// # let ctx = datafusion::prelude::SessionContext::new();
/// # let servers = kafka.bootstrap_servers();
/// # register_kafka(&ctx, KafkaConfig::new().with_option("kafka.bootstrap.servers", servers))?;
/// let copy = "COPY (SELECT 'pear' AS _key, 2 AS pieces) TO 'stock' STORED AS KAFKA";
/// ctx.sql(copy).await?.collect().await?;
/// # let log = "SELECT pieces FROM kafka_log('stock')";
/// # assert_eq!(datafusion_kafka::sql(&ctx, log).await?.count().await?, 1);
/// # Ok(()) }
/// ```
///
/// # Functions
/// | function | rows |
/// |---|---|
/// | `kafka_topics()` | the topics on the session's servers: `topic`, `partitions`, `replication`, `internal` (Kafka's own, whose names start with `__`) |
/// | `kafka_offsets(topic)` | a topic's partitions: `partition`, `low`, `high`, `records` (an upper bound), `newest_timestamp` (that of the last record) |
/// | `kafka_log(topic)` | every record, tombstones included, with all metadata columns |
/// | `kafka_changes(topic, from[, to])` | the same between two positions; `to` is the end of the topic unless given |
/// | `kafka_snapshot(topic, at)` | the latest record of every key as of `at`, also of a table in append mode |
///
/// `topic` is text: the name of a Kafka table of the session, or otherwise of a topic. A topic
/// has the options of the source pattern that matches it, or the options of the session. The
/// other options of the table or pattern apply, including `kafka.start` and `kafka.end` where the
/// function has no argument for them. `high` is the end by `kafka.isolation`.
///
/// `from`, `to` and `at` are constants: a value of `kafka.start` and `kafka.end`, a time (text in
/// RFC 3339, `TIMESTAMP` and `DATE` in UTC, such as `now() - INTERVAL '1 hour'`, or milliseconds
/// since 1970), or offsets such as `'{"0":12}'`. The record at `from` is read; the records at
/// `to` and `at` are not. The values are fixed when a statement is planned: `now()` in a view or
/// a prepared statement is the time when the view or statement was created.
///
/// [`sql`](crate::sql()) reads a sample of a topic that is not a table yet to find its
/// columns. `SessionContext::sql` cannot wait for that, and returns an error that says so.
/// `kafka_topics` and `kafka_offsets` ask the brokers when the query runs.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use datafusion_kafka::{EmbeddedKafka, KafkaConfig, register_kafka};
/// # let kafka = EmbeddedKafka::start()?;
/// # kafka.create_topic("stock", 1)?;
/// # let ctx = datafusion::prelude::SessionContext::new();
/// # let servers = kafka.bootstrap_servers();
/// # register_kafka(&ctx, KafkaConfig::new().with_option("kafka.bootstrap.servers", servers))?;
/// # let create = "CREATE EXTERNAL TABLE stock (_key VARCHAR, pieces INT) STORED AS KAFKA LOCATION 'stock'";
/// # ctx.sql(create).await?;
/// # ctx.sql("INSERT INTO stock VALUES ('pear', 1), ('pear', 2)").await?.collect().await?;
/// let log = "SELECT _offset, _key, pieces FROM kafka_log('stock')";
/// assert_eq!(datafusion_kafka::sql(&ctx, log).await?.count().await?, 2);
/// let before = "SELECT pieces FROM kafka_snapshot('stock', '{\"0\":1}')";
/// datafusion_kafka::sql(&ctx, before).await?.show().await?; // 1
/// # assert_eq!(datafusion_kafka::sql(&ctx, before).await?.count().await?, 1);
/// # Ok(()) }
/// ```
///
/// # Errors
/// The errors of options and patterns; [`Error::Unsupported`] when the session's default schema
/// does not exist.
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
            let options = state
                .upgrade()
                .map(|state| KafkaSessionOptions::of(state.read().config_options()));
            options.unwrap_or_default()
        })
    };
    let has_zone = {
        let state = Arc::downgrade(&state);
        move || {
            state.upgrade().is_some_and(|state| {
                // A thread that is planning may already hold the lock for reading.
                let state = state.read_recursive();
                state.config_options().execution.time_zone.is_some()
            })
        }
    };
    let ((catalog, schema), kept) = {
        let mut state = state.write();
        let allowed = config.allows_references;
        let factory = KafkaTableFactory::new(config.options.clone());
        let factory = factory.allow_references_in_sql(allowed);
        state
            .table_factories_mut()
            .insert("KAFKA".to_owned(), Arc::new(factory));
        KeptClients::register(state.config_mut());
        let options = state.config_mut().options_mut();
        let session = options.extensions.get::<KafkaSessionOptions>();
        let session = session.cloned().unwrap_or_default();
        options
            .extensions
            .insert(session.allow_references_in_sql(allowed));
        let defaults = &options.catalog;
        let names = (
            defaults.default_catalog.clone(),
            defaults.default_schema.clone(),
        );
        let is_prepared = state
            .analyzer()
            .rules
            .iter()
            .any(|rule| rule.name() == RewriteDml::NAME);
        if !is_prepared {
            add_rules(&mut state, has_zone)?;
        }
        let format = KafkaFormat::new(config.options.clone(), Origin::statement(allowed));
        state
            .register_file_format(Arc::new(format), true)
            .map_err(own_error)?;
        functions::register(&mut state, &config.options).map_err(own_error)?;
        (names, KeptClients::of(state.config()))
    };
    let missing = || {
        let error = plan_datafusion_err!("the session has no schema `{catalog}.{schema}`");
        Error::Unsupported(error.to_string())
    };
    let provider = ctx.catalog(&catalog).ok_or_else(missing)?;
    let tables = provider.schema(&schema).ok_or_else(missing)?;
    let tables = TopicSchemaProvider::without_topics(tables);
    let topics =
        TopicSchemaProvider::try_new(tables, &config.topics, config.options, session, kept)?;
    provider
        .register_schema(&schema, Arc::new(topics))
        .map_err(own_error)?;
    Ok(())
}

/// Adds the rules that plans over topics need to the rules of the session.
fn add_rules(
    state: &mut SessionState,
    has_zone: impl Fn() -> bool + Send + Sync + 'static,
) -> Result<()> {
    // Before the rules are copied below. A program may have registered the functions itself.
    if !state.scalar_functions().contains_key("json_get") {
        datafusion_functions_json::register_all(state).map_err(own_error)?;
    }
    // These rules run before the rules that coerce types, which then apply to the rewritten plans
    // too.
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![
        Arc::new(RewriteCopy::new(state.analyzer().clone())),
        Arc::new(RewriteDml),
    ];
    rules.extend(state.analyzer().rules.iter().cloned());
    let planner = OrderedInsertPlanner(Arc::clone(state.query_planner()));
    let planner = LookUpOncePlanner(Arc::new(planner));
    let planner = RedactCopyPlanner(Arc::new(planner));
    let mut builder = SessionStateBuilder::new_from_existing(state.clone());
    let types = Maps::new(builder.type_planner().take());
    let types = Zoned::new(has_zone, Some(Arc::new(types)));
    *state = builder
        .with_type_planner(Arc::new(types))
        .with_physical_optimizer_rules(RejectBlockingOperators::before_check(
            state.physical_optimizers().to_vec(),
        ))
        .with_analyzer_rules(rules)
        .with_query_planner(Arc::new(planner))
        .build();
    OwnTypes::register(state).map_err(own_error)?;
    functions::find_in_any_case(state).map_err(own_error)
}
