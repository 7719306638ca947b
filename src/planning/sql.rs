//! [`sql`]: plans statements with the rules that Kafka tables need.

use datafusion::common::{Result as DataFusionResult, TableReference, plan_err};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionState;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, col};
use datafusion::sql::parser::Statement;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{self, Insert, TableObject};

use crate::catalog::TopicSchemaProvider;
use crate::catalog::names::{CREATED_OR_CALLED, created_or_called, last_part};
use crate::definition::metadata_columns::KEY_COLUMN;
use crate::functions::lookup;
use crate::planning::advice::{advise, is_about_columns};
use crate::planning::values::{self, OwnTypes};
use crate::planning::{copy, literals, unbounded};
use crate::table::write_query::{QueriedTopic, analyzed, write_query};

/// Plans a statement as [`SessionContext::sql`] does, with six differences.
///
/// Names are case-sensitive, so that `SELECT _key, firstName FROM people` finds the property
/// `firstName` without quotes. Functions and keywords are found in any case.
///
/// `INSERT INTO out SELECT _key, ..` works where `out` matches a sink pattern of
/// [`KafkaTopics`](crate::KafkaTopics) that declares no columns, even when the topic has no
/// records or does not exist yet (with `kafka.create_topic`). The columns are then the columns of
/// the query, by name. Where the topic's records show columns, a query without a `_key`, such as
/// `VALUES`, provides these columns in their order, and a column list selects some of them.
///
/// `COPY .. TO 'kafka://host:9092/topic'` needs no `STORED AS KAFKA`. Its mistakes are errors
/// here, and not only when it runs.
///
/// `kafka_log`, `kafka_changes` and `kafka_snapshot` (see
/// [`register_kafka`](crate::register_kafka#functions)) find topics that are not tables of the
/// session, and infer their columns.
///
/// VALUES inside the query of an INSERT have the types of their own values, also in a WITH clause
/// and in an expression. Only VALUES that are the rows to insert have the types of the table.
///
/// `CREATE TABLE .. AS` of an unbounded query is an error, instead of running until memory is
/// full.
///
/// # Errors
/// The errors of [`SessionContext::sql`]. For topics that are looked up, also
/// [`Error::TopicNotFound`](crate::Error::TopicNotFound),
/// [`Error::InferSchema`](crate::Error::InferSchema) and the errors of reaching the servers.
/// Writing begins when the returned [`DataFrame`] is collected.
///
/// # Cancellation
/// Dropping the future ends the look-up of topics within a second.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use datafusion::prelude::SessionContext;
/// # use datafusion_kafka::*;
/// # let kafka = EmbeddedKafka::start()?;
/// # kafka.create_topic("names", 1)?;
/// # let ctx = SessionContext::new();
/// # let topics = KafkaTopics::new().with_sink("^names$", SinkOptions::new());
/// # let servers = kafka.bootstrap_servers();
/// # register_kafka(&ctx, KafkaConfig::new().with_option("kafka.bootstrap.servers", servers).with_topics(topics))?;
/// let insert = "INSERT INTO names SELECT 'k1' AS _key, 'Ada' AS firstName";
/// datafusion_kafka::sql(&ctx, insert).await?.collect().await?;
/// # Ok(()) }
/// ```
pub async fn sql(ctx: &SessionContext, text: &str) -> DataFusionResult<DataFrame> {
    let state = ctx.state();
    let plan = plan_text(&state, text).await?;
    unbounded::refuse_to_collect(&state, &plan).await?;
    ctx.execute_logical_plan(plan).await
}

/// Plans a statement without executing it.
pub(crate) async fn plan_text(state: &SessionState, text: &str) -> DataFusionResult<LogicalPlan> {
    let mut state = state.clone();
    let parser = &mut state.config_mut().options_mut().sql_parser;
    parser.enable_ident_normalization = false;
    let dialect = parser.dialect;
    OwnTypes::register(&mut state)?;
    let mut statement = state.sql_to_statement(text, &dialect)?;
    values::as_relations(&mut statement);
    copy::name_format(&mut statement);
    literals::keep_decimals(&mut statement);
    let planned = lookup::plan(&state, || plan(&state, &statement)).await;
    match planned {
        Ok(plan) => Ok(plan),
        Err((error, mut tables)) if is_about_columns(&error) => {
            tables.extend(lookup::topics_read(&state, &statement).await);
            Err(advise(error, &statement, &tables))
        }
        Err((error, _)) => Err(error),
    }
}

async fn plan(state: &SessionState, statement: &Statement) -> DataFusionResult<LogicalPlan> {
    if let Some(plan) = plan_insert_into_topic(state, statement).await? {
        return Ok(plan);
    }
    let plan = state.statement_to_plan(statement.clone());
    let plan = literals::resolve(
        CREATED_OR_CALLED
            .scope(created_or_called(statement), plan)
            .await?,
    )?;
    // Rewritten here, so that a mistake is an error now and a plan never shows options.
    copy::rewrite_all(plan, state.analyzer(), state.config_options())
}

/// Plans an INSERT, or an EXPLAIN of one, whose target has no columns of its own.
async fn plan_insert_into_topic(
    state: &SessionState,
    statement: &Statement,
) -> DataFusionResult<Option<LogicalPlan>> {
    let (explain, inner) = match statement {
        Statement::Explain(explain) => (Some(explain), explain.statement.as_ref()),
        statement => (None, statement),
    };
    if let Statement::Statement(statement) = inner
        && let ast::Statement::Prepare { statement, .. } = statement.as_ref()
    {
        return refuse_prepared(state, statement.as_ref().clone()).await;
    }
    let Some(insert) = insert_into_topic(state, inner).await? else {
        return Ok(None);
    };
    let Some(plan) = plan_insert(state, insert).await? else {
        return Ok(None);
    };
    Ok(Some(match explain {
        None => plan,
        Some(explain) => LogicalPlanBuilder::from(plan)
            .explain(explain.options.verbose, explain.options.analyze)?
            .build()?,
    }))
}

/// Refuses a prepared INSERT without a column list. DataFusion plans prepared statements by
/// itself, and would assign the query's values to the columns that the records show by position,
/// whatever their names.
async fn refuse_prepared(
    state: &SessionState,
    statement: ast::Statement,
) -> DataFusionResult<Option<LogicalPlan>> {
    let statement = Statement::Statement(Box::new(statement));
    match insert_into_topic(state, &statement).await? {
        Some(InsertIntoTopic { insert, target, .. }) if insert.columns.is_empty() => plan_err!(
            "PREPARE of an INSERT INTO topic `{}`, which declares no columns, needs a list of them, such as INSERT INTO \"{}\" ({KEY_COLUMN}, ..)",
            target.table(),
            target.table()
        ),
        _ => Ok(None),
    }
}

/// An INSERT whose target declares no columns.
struct InsertIntoTopic<'a> {
    insert: &'a Insert,
    target: TableReference,
    topic: QueriedTopic,
    /// Whether the topic's records show columns.
    shows_columns: bool,
}

async fn insert_into_topic<'a>(
    state: &SessionState,
    statement: &'a Statement,
) -> DataFusionResult<Option<InsertIntoTopic<'a>>> {
    let Statement::Statement(statement) = statement else {
        return Ok(None);
    };
    let ast::Statement::Insert(insert) = statement.as_ref() else {
        return Ok(None);
    };
    let TableObject::TableName(name) = &insert.table else {
        return Ok(None);
    };
    let Ok(target) = object_name_to_table_reference(name.clone(), false) else {
        return Ok(None);
    };
    let Ok(schema) = state.schema_for_ref(target.clone()) else {
        return Ok(None);
    };
    let Some(topics) = schema.downcast_ref::<TopicSchemaProvider>() else {
        return Ok(None);
    };
    let topic = topics.undeclared(target.table()).await?;
    Ok(topic.map(|(topic, shows_columns)| InsertIntoTopic {
        insert,
        target,
        topic,
        shows_columns,
    }))
}

/// Plans the query first, and gives its columns to the target by name. The statement then does
/// the same whether or not the topic has records. `None` where the query has no `_key` and the
/// records show columns: the query's values then belong to those columns, in their order.
async fn plan_insert(
    state: &SessionState,
    statement: InsertIntoTopic<'_>,
) -> DataFusionResult<Option<LogicalPlan>> {
    let InsertIntoTopic {
        insert,
        target,
        topic,
        shows_columns,
    } = statement;
    if shows_columns && !insert.columns.is_empty() {
        return Ok(None);
    }
    let Some(query) = &insert.source else {
        return plan_err!("INSERT INTO topic `{}` needs a query", target.table());
    };
    if insert.on.is_some() || insert.returning.is_some() || insert.partitioned.is_some() {
        return plan_err!("ON CONFLICT, RETURNING and PARTITION do not apply to Kafka topics");
    }
    let query = ast::Statement::Query(query.clone());
    let query = state
        .statement_to_plan(Statement::Statement(Box::new(query)))
        .await?;
    let query = with_names(literals::resolve(query)?, insert)?;
    let names_key = query.schema().has_column_with_unqualified_name(KEY_COLUMN);
    if shows_columns && !names_key {
        return Ok(None);
    }
    let operation = match (insert.overwrite, insert.replace_into) {
        (true, _) => InsertOp::Overwrite,
        (_, true) => InsertOp::Replace,
        _ => InsertOp::Append,
    };
    let query = analyzed(query, state.analyzer(), state.config_options())?;
    write_query("INSERT INTO", query, target, topic, operation).map(Some)
}

/// Renames the query's columns to the names of the column list, if there is one.
fn with_names(query: LogicalPlan, insert: &Insert) -> DataFusionResult<LogicalPlan> {
    if insert.columns.is_empty() {
        return Ok(query);
    }
    let given = query.schema().columns();
    if given.len() != insert.columns.len() {
        return plan_err!(
            "INSERT names {} columns, but its query has {}",
            insert.columns.len(),
            given.len()
        );
    }
    let named = given
        .into_iter()
        .zip(&insert.columns)
        .map(|(column, name)| col(column).alias(last_part(name).unwrap_or_default()));
    LogicalPlanBuilder::from(query).project(named)?.build()
}
