//! Finds the topic, options and columns that the name in a call stands for.
//!
//! A name is looked up in this order: as a Kafka table of the session, as a topic that a source
//! pattern matches, and as any other topic with the session's options. The last two may need the
//! brokers to find the columns, but a call must be planned without waiting. The function
//! [`sql`](crate::sql()) therefore plans a statement, looks up the names that its calls
//! could not resolve, and plans again. With plain `SessionContext::sql`, a call finds only what
//! is already known.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use datafusion::catalog::{SchemaProvider, Session};
use datafusion::common::{Result as DataFusionResult, TableReference, plan_err};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use futures::FutureExt;

use crate::catalog::TopicSchemaProvider;
use crate::catalog::names::created_or_called;
use crate::client::KeptClients;
use crate::definition::TableDefinition;
use crate::functions::arguments::Arguments;
use crate::options::{KafkaSessionOptions, Options, TableOptions};
use crate::table::KafkaTable;
use crate::table::location::bad_topic_name;

tokio::task_local! {
    /// The tables that were found for the calls of the statement that is being planned.
    static LOOKUPS: RefCell<Lookups>;
}

#[derive(Default)]
struct Lookups {
    found: HashMap<String, Arc<TableDefinition>>,
    missing: Option<Missing>,
}

/// A name that a call could not resolve, with the options that apply if it is a topic.
struct Missing {
    name: String,
    layers: Vec<Options>,
}

/// Plans a statement repeatedly until all names of its calls are looked up. A failure also
/// returns the tables that were found.
pub(crate) async fn plan<F>(
    state: &SessionState,
    plan: impl Fn() -> F,
) -> Result<LogicalPlan, (DataFusionError, Vec<Arc<TableDefinition>>)>
where
    F: Future<Output = DataFusionResult<LogicalPlan>>,
{
    let mut lookups = Lookups::default();
    loop {
        let planning = async { (plan().await, LOOKUPS.with(RefCell::take)) };
        let (plan, after) = LOOKUPS.scope(RefCell::new(lookups), planning).await;
        lookups = after;
        match lookups.missing.take() {
            Some(missing) if plan.is_err() => {
                let table = missing.look_up(state).await;
                let table = table.map_err(|error| (error, Vec::new()))?;
                lookups.found.insert(missing.name, table);
            }
            _ => return plan.map_err(|error| (error, lookups.found.into_values().collect())),
        }
    }
}

/// The table that the first argument of a call names.
pub(super) fn table(
    arguments: &Arguments<'_>,
    defaults: &Options,
) -> DataFusionResult<Arc<TableDefinition>> {
    let function = arguments.function();
    let name = arguments.topic()?;
    let session = arguments.session();
    let looked_up = LOOKUPS.try_with(|lookups| {
        let mut lookups = lookups.borrow_mut();
        if let Some(table) = lookups.found.get(&name) {
            return Ok(Arc::clone(table));
        }
        lookups.missing = Some(Missing {
            name: name.clone(),
            layers: layers(session, defaults),
        });
        plan_err!("{function}: `{name}` has to be looked up")
    });
    if let Ok(looked_up) = looked_up {
        return looked_up;
    }
    let known = match session.as_any().downcast_ref::<SessionState>() {
        // A look-up that needs no brokers is ready immediately.
        Some(state) => known(state, &name).now_or_never().transpose()?.flatten(),
        None => None,
    };
    match known {
        Some(table) => Ok(table),
        None => plan_err!(
            "{function}: the columns of `{name}` are not known; call it through \
             `datafusion_kafka::sql`, which looks at the topic, or declare it with \
             CREATE EXTERNAL TABLE"
        ),
    }
}

/// The topic and the options that the first argument of a call names. Never waits for the
/// brokers.
pub(super) fn topic(
    arguments: &Arguments<'_>,
    defaults: &Options,
) -> DataFusionResult<(String, TableOptions)> {
    let name = arguments.topic()?;
    let session = arguments.session();
    if let Some(state) = session.as_any().downcast_ref::<SessionState>() {
        let registered = registered(state, &name).now_or_never();
        if let Some(table) = registered.transpose()?.flatten() {
            return Ok((table.topic.clone(), table.options.clone()));
        }
        check_name(&name)?;
        let schema = state
            .schema_for_ref(TableReference::bare(name.as_str()))
            .ok();
        if let Some(topics) = schema.as_deref().and_then(topics)
            && let Some(options) = topics.source_options(&name)?
        {
            return Ok((name, options));
        }
    }
    check_name(&name)?;
    let layers = layers(session, defaults);
    let options = TableOptions::parse(&layers.iter().collect::<Vec<_>>())?;
    Ok((name, options))
}

/// The options of a topic that is not a table of the session, lowest precedence first.
pub(super) fn layers(session: &dyn Session, defaults: &Options) -> Vec<Options> {
    vec![
        KafkaSessionOptions::of(session.config_options()),
        defaults.clone(),
    ]
}

impl Missing {
    async fn look_up(&self, state: &SessionState) -> DataFusionResult<Arc<TableDefinition>> {
        if let Some(table) = known(state, &self.name).await? {
            return Ok(table);
        }
        let topic = KafkaTable::builder(&self.name)
            .with_layers(self.layers.clone())
            .with_kept_clients(KeptClients::of(state.config()));
        Ok(Arc::new(topic.define().await?))
    }
}

/// A table of the session, or a topic that a source pattern matches.
async fn known(state: &SessionState, name: &str) -> DataFusionResult<Option<Arc<TableDefinition>>> {
    if let Some(table) = registered(state, name).await? {
        return Ok(Some(table));
    }
    check_name(name)?;
    let schema = state.schema_for_ref(TableReference::bare(name)).ok();
    match schema.as_deref().and_then(topics) {
        Some(topics) => Ok(topics
            .resolve(name)
            .await?
            .and_then(|table| table.source().cloned())),
        None => Ok(None),
    }
}

/// The topics among the tables that a statement reads.
pub(crate) async fn topics_read(
    state: &SessionState,
    statement: &Statement,
) -> Vec<Arc<TableDefinition>> {
    let created_or_called = created_or_called(statement);
    let mut read = Vec::new();
    for reference in state
        .resolve_table_references(statement)
        .unwrap_or_default()
    {
        if created_or_called.contains(reference.table()) {
            continue;
        }
        let name = match &reference {
            TableReference::Bare { table } => table.to_string(),
            other => other.to_quoted_string(),
        };
        read.extend(known(state, &name).await.ok().flatten());
    }
    read
}

/// A table that was registered or created, by exactly this name, or by a name in another schema,
/// `schema.table`.
async fn registered(
    state: &SessionState,
    name: &str,
) -> DataFusionResult<Option<Arc<TableDefinition>>> {
    let qualified = TableReference::parse_str_normalized(name, true);
    for reference in [TableReference::bare(name), qualified] {
        let Ok(schema) = state.schema_for_ref(reference.clone()) else {
            continue;
        };
        let table = match topics(schema.as_ref()) {
            Some(topics) => topics.registered(reference.table()).await?,
            None => schema.table(reference.table()).await?,
        };
        let table = table
            .as_deref()
            .and_then(|table| table.downcast_ref::<KafkaTable>());
        if let Some(source) = table.and_then(KafkaTable::source) {
            return Ok(Some(Arc::clone(source)));
        }
    }
    Ok(None)
}

/// The schema, if its tables may be topics.
fn topics(schema: &dyn SchemaProvider) -> Option<&TopicSchemaProvider> {
    schema.downcast_ref::<TopicSchemaProvider>()
}

fn check_name(name: &str) -> DataFusionResult<()> {
    if bad_topic_name(name).is_none() {
        return Ok(());
    }
    plan_err!(
        "`{name}` is neither a Kafka table of the session nor a topic's name, which has at most \
         249 letters, digits, dots, underscores and hyphens"
    )
}
