//! [`ContinuousQuery`]: an INSERT that runs until it is stopped.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::source_as_provider;
use datafusion::execution::SessionState;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DmlStatement, LogicalPlan, WriteOp};
use tokio::task::AbortHandle;

use crate::continuous::loops::{feeds_itself, servers};
use crate::continuous::record_by_record::insert;
use crate::continuous::record_by_record::plan::RecordByRecord;
use crate::continuous::refreshed::Refresh;
use crate::continuous::run::{Runner, Work};
use crate::continuous::state::{QueryProgress, QueryState, QueryStatus};
use crate::definition::TableDefinition;
use crate::error::{Error, Result};
use crate::options::{Bound, KafkaSessionOptions};
use crate::planning::insert_order::keep_order;
use crate::planning::sql;
use crate::sink::observer::StreamingQuery as _;
use crate::sink::time_limit::check_commit_time;
use crate::table::KafkaTable;

/// Keeps a topic equal to a query over other topics, until it is stopped.
///
/// The statement is `INSERT INTO topic SELECT ..`. The query reads existing records and then
/// follows its topics, whether their tables are UNBOUNDED or not. It runs in one of two ways:
///
/// - **Record by record**: a SELECT from one topic that has nothing but expressions and WHERE,
///   and whose `_key` is the topic's. Each record is written as soon as it is read: a payload as
///   an upsert and a tombstone as a tombstone. A row for which WHERE no longer holds becomes a
///   tombstone too, if the output holds its key. In append mode every record is a row.
/// - **Refreshed**: any other query. It runs again when its topics have new records, at most
///   once per [refresh interval](ContinuousOptions::with_refresh_interval), and writes only the
///   differences from the previous result. The rows of its topics are kept in memory, so that
///   only new records are read; the session's memory pool bounds them. For a topic in append
///   mode these are all records that the topic still holds. Tables with `kafka.end` or
///   `kafka.isolation` = `read_uncommitted` are read as a whole when their topics have new
///   records. Tables that are not topics are read in every refresh. `_key` must be unique in
///   the result.
///
/// # Exactly once
/// With `kafka.delivery` = `exactly_once` on the output, every commit is a transaction of the
/// records and of the offsets that they were made from. Readers of committed records see a
/// refresh as a whole or not at all. Otherwise the offsets are committed after the records, and
/// records between the two commits are written again after a crash. Such a repeated record has
/// the same key and payload as the one before.
///
/// # Restarts
/// The name is the name of a consumer group, which keeps the offsets, and part of the
/// `transactional.id`. A query that is started again resumes at the last committed offsets. An
/// older instance that is still running then ends with [`Error::Fenced`]. The offsets of the
/// query's first start are stored together with the committed offsets, so that `kafka.start` =
/// `latest` means the same after a restart. While no records come, the offsets are committed
/// again every 20 seconds, so that the brokers do not delete them.
///
/// # Failures
/// After an error that may pass, such as unreachable brokers, the query restarts from its
/// committed offsets, after a pause of up to half a minute. If a query that was running loses a
/// right or its login, it waits for that for up to `kafka.retry_timeout`. Any other error ends
/// the query; [`status`](Self::status) and [`wait`](Self::wait) return it. Such errors include
/// [`Error::LostOffsets`] and records that the output refuses, unless these go to
/// `kafka.dead_letter.topic`.
///
/// # Cancellation
/// Dropping the handle ends the query immediately. Records that are not committed are discarded
/// in a transaction. [`stop`](Self::stop) commits first.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use datafusion::prelude::SessionContext;
/// use datafusion_kafka::{ContinuousOptions, ContinuousQuery, KafkaConfig, register_kafka};
/// # let kafka = datafusion_kafka::EmbeddedKafka::start()?;
/// # kafka.create_topic("orders", 1)?;
/// # kafka.create_topic("large_orders", 1)?;
/// # let servers = kafka.bootstrap_servers();
///
/// let ctx = SessionContext::new();
/// register_kafka(&ctx, KafkaConfig::new().with_option("kafka.bootstrap.servers", servers))?;
/// for topic in ["orders", "large_orders"] {
///     let create = format!("CREATE EXTERNAL TABLE {topic} (_key VARCHAR, amount INT) STORED AS KAFKA LOCATION '{topic}'");
///     ctx.sql(&create).await?;
/// }
/// let sql = "INSERT INTO large_orders SELECT _key, amount FROM orders WHERE amount > 100";
/// let query = ContinuousQuery::start(&ctx, "large-orders", sql, ContinuousOptions::new()).await?;
///
/// ctx.sql("INSERT INTO orders VALUES ('a', 50), ('b', 200)").await?.collect().await?;
/// while query.progress().upserts < 1 {
///     tokio::time::sleep(std::time::Duration::from_millis(20)).await;
/// }
/// query.stop().await?;
/// assert_eq!(ctx.table("large_orders").await?.count().await?, 1);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ContinuousQuery {
    state: Arc<QueryState>,
    task: AbortHandle,
}

/// How a [`ContinuousQuery`] runs.
#[derive(Debug, Clone)]
pub struct ContinuousOptions {
    refresh_interval: Duration,
    stall_timeout: Duration,
}

impl Default for ContinuousOptions {
    fn default() -> Self {
        ContinuousOptions {
            refresh_interval: Duration::from_secs(1),
            stall_timeout: Duration::from_secs(600),
        }
    }
}

impl ContinuousOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How often a refreshed query looks for new records, which is also the shortest interval
    /// between two of its runs. Default: one second.
    pub fn with_refresh_interval(mut self, interval: Duration) -> Self {
        self.refresh_interval = interval;
        self
    }

    /// The time after which a query restarts, as after a failure, if new records come but it
    /// processes none. For a refreshed query it must be longer than one run. Default: ten
    /// minutes.
    pub fn with_stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall_timeout = timeout;
        self
    }
}

impl ContinuousQuery {
    /// Plans the statement and starts it on the current Tokio runtime.
    ///
    /// Names keep their case, as in [`sql`](crate::sql()).
    ///
    /// # Errors
    /// The errors of planning. [`Error::ContinuousQuery`] for a statement that is not an INSERT
    /// into a topic, that reads the topic that it writes, or that reads from other servers than
    /// it writes to. [`Error::InvalidOption`] if `kafka.commit.ms` is not less than the time-out
    /// of transactions. If the name is that of another program's consumer group, the query
    /// starts but ends with [`Error::ContinuousQuery`] before it reads any record.
    pub async fn start(
        ctx: &SessionContext,
        name: &str,
        sql: &str,
        options: ContinuousOptions,
    ) -> DataFusionResult<Self> {
        let invalid = |reason: &str| Error::ContinuousQuery {
            query: name.to_owned(),
            reason: reason.to_owned(),
        };
        if name.is_empty() {
            return Err(invalid("it needs a name, under which it resumes after a restart").into());
        }
        let mut session = ctx.state();
        if KafkaSessionOptions::is_dry_run(session.config_options()) {
            return Err(invalid(DRY_RUN).into());
        }
        keep_order(&mut session);
        let LogicalPlan::Dml(statement) = sql::plan_text(&session, sql).await? else {
            return Err(invalid(NO_INSERT).into());
        };
        let provider = source_as_provider(&statement.target)?;
        let sink = provider
            .downcast_ref::<KafkaTable>()
            .and_then(KafkaTable::sink)
            .cloned();
        let inserts = matches!(
            statement.op,
            WriteOp::Insert(InsertOp::Append | InsertOp::Replace)
        );
        let Some(sink) = sink.filter(|_| inserts) else {
            return Err(invalid(NO_INSERT).into());
        };
        if sink.options.dry_run {
            return Err(invalid(DRY_RUN).into());
        }
        check_commit_time(&sink.options)?;
        let state = Arc::new(QueryState::new(name, sink.options.clone()));
        let work = work(
            &state,
            &session,
            &statement,
            &sink,
            options.refresh_interval,
        )?;
        let run = Runner {
            state: Arc::clone(&state),
            session,
            sink,
            work,
            stall_timeout: options.stall_timeout,
        };
        let task = tokio::spawn(run.run()).abort_handle();
        Ok(ContinuousQuery { state, task })
    }

    /// The name of the query.
    pub fn name(&self) -> &str {
        self.state.name()
    }

    /// Whether the query runs.
    pub fn status(&self) -> QueryStatus {
        self.state.status().borrow().clone()
    }

    /// How far the query has come. The end offsets of its topics are updated every second.
    pub fn progress(&self) -> QueryProgress {
        self.state.progress()
    }

    /// Commits what was read, and ends the query.
    ///
    /// # Errors
    /// The error that has ended the query, if it did not end because of this call.
    pub async fn stop(&self) -> Result<()> {
        self.state.stop();
        self.wait().await
    }

    /// Waits until the query has ended.
    ///
    /// # Errors
    /// The error that has ended the query, if it was not stopped.
    pub async fn wait(&self) -> Result<()> {
        let mut status = self.state.status();
        let ended =
            |status: &QueryStatus| matches!(status, QueryStatus::Stopped | QueryStatus::Failed(_));
        match status.wait_for(ended).await.as_deref() {
            Ok(QueryStatus::Failed(error)) => Err(error.clone()),
            _ => Ok(()),
        }
    }
}

impl Drop for ContinuousQuery {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const NO_INSERT: &str = "it must be INSERT INTO a topic that is a table of the session";

const DRY_RUN: &str = "with `kafka.dry_run` it would commit offsets without writing any record";

/// Decides how a statement is run.
fn work(
    state: &Arc<QueryState>,
    session: &SessionState,
    statement: &DmlStatement,
    sink: &Arc<TableDefinition>,
    refresh_interval: Duration,
) -> DataFusionResult<Work> {
    let read = |table: &TableDefinition| followed(table, state);
    if let Some(rows) = RecordByRecord::of(&statement.input, sink, read, Some(state.passed()))? {
        let source = Arc::clone(&rows.source);
        check_source(state.name(), &source, sink)?;
        let plan = insert::write(statement, sink, rows, Some(Arc::clone(state) as _));
        return Ok(Work::RecordByRecord(Box::new(plan), source));
    }
    let refresh = Refresh::of(state, session, &statement.input, sink, refresh_interval)?;
    for source in refresh.sources() {
        check_source(state.name(), source, sink)?;
    }
    Ok(Work::Refreshed(Box::new(refresh)))
}

/// The table, unbounded and starting at the query's committed offsets; `None` if `kafka.end`
/// bounds it.
fn followed(
    table: &TableDefinition,
    query: &QueryState,
) -> DataFusionResult<Option<TableDefinition>> {
    if table.options.end != Bound::Latest {
        return Ok(None);
    }
    let mut table = match table.unbounded {
        true => table.clone(),
        false => table.without_end()?,
    };
    let start = std::mem::replace(&mut table.options.start, Bound::Latest);
    table.options.start = match start {
        // The query's own group replaces the group that the table names.
        Bound::Group(otherwise) => Bound::Group(otherwise),
        start => Bound::Group(Box::new(start)),
    };
    table.options.group_id = Some(query.name().to_owned());
    Ok(Some(table))
}

/// Refuses a query that would read its own records, or whose offsets could not be committed
/// together with its output.
fn check_source(query: &str, source: &TableDefinition, sink: &TableDefinition) -> Result<()> {
    let refused = if servers(source) != servers(sink) {
        format!(
            "topic `{}` has other servers than topic `{}`, but offsets must be committed where \
             the records are written; give both tables the same `kafka.bootstrap.servers`",
            source.topic, sink.topic
        )
    } else if let Some(reason) = feeds_itself(source, sink) {
        reason
    } else {
        return Ok(());
    };
    Err(Error::ContinuousQuery {
        query: query.to_owned(),
        reason: refused,
    })
}
