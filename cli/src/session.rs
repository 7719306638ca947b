//! The session: that of datafusion-cli, with topics as tables.

use std::env;
use std::io::{self, IsTerminal as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use datafusion::catalog::CatalogProviderList as _;
use datafusion::common::{config_datafusion_err, plan_datafusion_err, plan_err};
use datafusion::config::{ConfigNonZeroUsize, ConfigOptions};
use datafusion::error::Result;
use datafusion::execution::context::SessionConfig;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    FairSpillPool, GreedyMemoryPool, MemoryPool, TrackConsumersPool,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::ExplainFormat;
use datafusion::prelude::SessionContext;
use datafusion_cli::catalog::DynamicObjectStoreCatalog;
use datafusion_cli::functions::{
    ListFilesCacheFunc, MetadataCacheFunc, ParquetMetadataFunc, StatisticsCacheFunc,
};
use datafusion_cli::object_storage::StdinCarriesCommands;
use datafusion_cli::object_storage::instrumented::InstrumentedObjectStoreRegistry;
use datafusion_cli::pool_type::PoolType;
use datafusion_cli::print_options::PrintOptions;
use datafusion_kafka::options::is_safe;
use datafusion_kafka::{
    EmbeddedKafka, KafkaConfig, KafkaTopics, Options, SinkOptions, SourceOptions, register_kafka,
};

use crate::args::Args;
use crate::current_statement::Running;
use crate::demo;
use crate::stderr::LogFormat;
use crate::tables::{Tables, Topics};

/// What statements need to run.
pub(crate) struct Session {
    pub(crate) ctx: SessionContext,
    /// `None` if no servers are named.
    pub(crate) topics: Option<Arc<Topics>>,
    pub(crate) print: PrintOptions,
    pub(crate) shows_progress: bool,
    pub(crate) running: Running,
    /// The demo's Kafka, which runs until this is dropped.
    pub(crate) demo: Option<EmbeddedKafka>,
}

impl Session {
    /// Connects to brokers only for the demo.
    pub(crate) async fn new(args: &Args) -> Result<Self> {
        let demo = args.demo.then(EmbeddedKafka::start).transpose()?;
        let options = options(args, demo.as_ref())?;
        // Options are checked together, since one may exclude another.
        options.validate()?;
        if let Some(path) = &args.data_path {
            env::set_current_dir(Path::new(path))?;
        }
        let instrumented_registry = Arc::new(
            InstrumentedObjectStoreRegistry::new().with_profile_mode(args.object_store_profiling),
        );
        let runtime = runtime(args, &instrumented_registry)?;
        let has_servers = demo.is_some() || names_servers(&options);
        if !has_servers && args.topics.is_some() {
            return plan_err!("--topics needs the servers: see --bootstrap-servers");
        }
        let topics = has_servers
            .then(|| Topics::new(args.topics.as_deref()))
            .transpose()?
            .map(Arc::new);
        let (settings, others) = settings(&options);
        let ctx = context(config(args)?, runtime, &others, topics.as_ref()).await?;
        if let Some(kafka) = &demo {
            // The history is written before the user's settings apply, so that it is always the
            // same.
            let servers = kafka.bootstrap_servers();
            set(
                &ctx,
                &Options::new().with_option("kafka.bootstrap.servers", servers),
            )?;
            demo::fill(kafka, &ctx).await?;
        }
        set(&ctx, &settings)?;
        Ok(Session {
            ctx,
            topics,
            print: PrintOptions {
                format: args.format,
                // Output that is not for a terminal consists of results only.
                quiet: args.quiet || !io::stdout().is_terminal(),
                maxrows: args.maxrows,
                color: args.color,
                instrumented_registry,
            },
            shows_progress: !args.quiet
                && !args.no_progress
                && args.log_format == LogFormat::Text
                && io::stderr().is_terminal(),
            running: Running::default(),
            demo,
        })
    }
}

/// A session like datafusion-cli's, with files and topics in its default schema.
async fn context(
    config: SessionConfig,
    runtime: Arc<RuntimeEnv>,
    options: &Options,
    topics: Option<&Arc<Topics>>,
) -> Result<SessionContext> {
    let ctx = SessionContext::new_with_config_rt(config, runtime);
    let catalogs = Arc::clone(ctx.state().catalog_list());
    let ctx = ctx.enable_url_table();
    ctx.refresh_catalogs().await?;

    let defaults = ctx.state().config_options().catalog.clone();
    let missing = || plan_datafusion_err!("the session has no default schema");
    let files = DynamicObjectStoreCatalog::new(
        Arc::clone(ctx.state().catalog_list()),
        ctx.state_weak_ref(),
    )
    .catalog(&defaults.default_catalog)
    .and_then(|catalog| catalog.schema(&defaults.default_schema))
    .ok_or_else(missing)?;
    // A wrapper around every catalog would hide the topics from `datafusion_kafka::sql`. Files are
    // looked up in the default schema instead.
    ctx.register_catalog_list(Arc::clone(&catalogs));
    let state = ctx.state_weak_ref();
    let state = Box::new(move || state.upgrade().map(|state| state.read().clone()));
    let tables = Tables::new(files, topics.cloned(), options.clone(), state);
    catalogs
        .catalog(&defaults.default_catalog)
        .ok_or_else(missing)?
        .register_schema(&defaults.default_schema, Arc::new(tables))?;

    let cache = Arc::clone(&ctx.runtime_env().cache_manager);
    ctx.register_udtf("parquet_metadata", Arc::new(ParquetMetadataFunc {}));
    ctx.register_udtf(
        "metadata_cache",
        Arc::new(MetadataCacheFunc::new(Arc::clone(&cache))),
    );
    ctx.register_udtf(
        "statistics_cache",
        Arc::new(StatisticsCacheFunc::new(Arc::clone(&cache))),
    );
    ctx.register_udtf("list_files_cache", Arc::new(ListFilesCacheFunc::new(cache)));

    // The user who types the SQL has started the program and may read its files and environment.
    let mut kafka = KafkaConfig::new().allow_references_in_sql(true);
    for (key, value) in options.iter() {
        kafka = kafka.with_option(key, value);
    }
    if let Some(topics) = topics {
        let pattern = topics.pattern();
        kafka = kafka.with_topics(
            KafkaTopics::new()
                .with_source(pattern, SourceOptions::new())
                .with_sink(pattern, SinkOptions::new()),
        );
    }
    register_kafka(&ctx, kafka)?;
    Ok(ctx)
}

/// Changes settings as `SET` does.
fn set(ctx: &SessionContext, settings: &Options) -> Result<()> {
    let state = ctx.state_ref();
    let mut state = state.write();
    for (key, value) in settings.iter() {
        state.config_mut().options_mut().set(key, value)?;
    }
    Ok(())
}

/// Splits options into settings of the session, which `SET` can change and `SHOW` can show, and
/// others, which may be secret.
fn settings(options: &Options) -> (Options, Options) {
    let (settings, others): (Vec<_>, Vec<_>) = options
        .iter()
        // A setting with an empty value would be reset.
        .partition(|(key, value)| is_safe(key) && !value.is_empty());
    let collect = |options: Vec<(&str, &str)>| {
        let options = options.into_iter();
        options
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    (collect(settings), collect(others))
}

/// The Kafka options of the command line, for each table.
fn options(args: &Args, demo: Option<&EmbeddedKafka>) -> Result<Options> {
    let (own, properties): (Vec<_>, Vec<_>) = args
        .properties
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .partition(|(name, _)| name.starts_with("kafka."));
    let mut options = Options::from_properties(properties)?;
    for (key, value) in own {
        options = options.with_option(key, value);
    }
    if let Some(file) = &args.properties_file {
        options = options.with_option("kafka.properties.file", file);
    }
    let servers = match demo {
        Some(kafka) => Some(kafka.bootstrap_servers()),
        // Servers in a file or in `-X` were given for this call as well, so they are kept.
        None => args.bootstrap_servers.clone(),
    };
    if let Some(servers) = servers {
        options = options.with_option("kafka.bootstrap.servers", servers);
    }
    Ok(options)
}

/// Whether servers are named. A properties file may name them, and is read when it is used.
fn names_servers(options: &Options) -> bool {
    options.iter().any(|(key, _)| {
        matches!(
            key,
            "kafka.bootstrap.servers"
                | "kafka.properties.file"
                | "kafka.client.bootstrap.servers"
                | "kafka.client.metadata.broker.list"
        )
    })
}

fn config(args: &Args) -> Result<SessionConfig> {
    let mut options = ConfigOptions::from_env()?;
    if let Some(batch_size) = args.batch_size {
        options.execution.batch_size = ConfigNonZeroUsize::try_new(batch_size)?;
    }
    // The defaults of datafusion-cli.
    if env::var_os("DATAFUSION_EXPLAIN_FORMAT").is_none() {
        options.explain.format = ExplainFormat::Tree;
    }
    if env::var_os("DATAFUSION_FORMAT_NULL").is_none() {
        "NULL".clone_into(&mut options.format.null);
    }
    // Names of JSON properties and topics often have capital letters.
    options.sql_parser.enable_ident_normalization = false;
    let config = SessionConfig::from(options).with_information_schema(true);
    Ok(match args.input_is_statements() {
        true => config.with_extension(Arc::new(StdinCarriesCommands)),
        false => config,
    })
}

fn runtime(args: &Args, stores: &Arc<InstrumentedObjectStoreRegistry>) -> Result<Arc<RuntimeEnv>> {
    let mut builder =
        RuntimeEnvBuilder::new().with_object_store_registry(Arc::clone(stores) as Arc<_>);
    if let Some(limit) = args.memory_limit {
        builder = builder.with_memory_pool(memory_pool(args, limit));
    }
    if let Some(limit) = args.disk_limit {
        let limit = u64::try_from(limit)
            .map_err(|error| config_datafusion_err!("--disk-limit: {error}"))?;
        builder = builder.with_disk_manager_builder(
            DiskManagerBuilder::default()
                .with_mode(DiskManagerMode::OsTmpDirectory)
                .with_max_temp_directory_size(limit),
        );
    }
    builder.build_arc()
}

fn memory_pool(args: &Args, limit: usize) -> Arc<dyn MemoryPool> {
    let tracked = NonZeroUsize::new(args.top_memory_consumers);
    match (&args.mem_pool_type, tracked) {
        (PoolType::Fair, None) => Arc::new(FairSpillPool::new(limit)),
        (PoolType::Fair, Some(top)) => {
            Arc::new(TrackConsumersPool::new(FairSpillPool::new(limit), top))
        }
        (PoolType::Greedy, None) => Arc::new(GreedyMemoryPool::new(limit)),
        (PoolType::Greedy, Some(top)) => {
            Arc::new(TrackConsumersPool::new(GreedyMemoryPool::new(limit), top))
        }
    }
}

/// The registered tables of the default schema, and the topics that were used before.
pub(crate) fn table_names(ctx: &SessionContext) -> Vec<String> {
    let defaults = ctx.state().config_options().catalog.clone();
    let catalog = ctx.catalog(&defaults.default_catalog);
    let schema = catalog.and_then(|catalog| catalog.schema(&defaults.default_schema));
    schema.map_or_else(Vec::new, |schema| schema.table_names())
}
