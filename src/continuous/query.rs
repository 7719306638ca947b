//! [`ContinuousQuery`]: an INSERT that goes on until it is stopped.

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
use crate::sink::time_limit::check_commit_time;
use crate::table::KafkaTable;

/// Keeps a topic equal to a query over others, until it is stopped.
///
/// The statement is `INSERT INTO topic SELECT ..`. What is read are the tables as
/// they are and as they become, whether they were made UNBOUNDED or not.
///
/// - **Row by row**: a SELECT of one topic with expressions and WHERE at most, whose
///   `_key` is that of the topic. Each record is written on as it comes: a payload
///   as an upsert, a tombstone as a tombstone, and a row for which WHERE does not
///   hold any more as a tombstone too, where the output holds its key. Of a topic
///   in append mode every record is a row.
/// - **Refreshed**: any other query. It runs again when its topics have new
///   records, at most every [refresh interval](ContinuousOptions::with_refresh_interval),
///   and only what differs from the rows before is written. The rows of its topics
///   are kept in memory, so that only new records are read; the session's memory
///   pool bounds them. Of a topic in append mode these are all records that the topic
///   still holds. Tables with `kafka.end` or `kafka.isolation` = `read_uncommitted` are
///   read as a whole when their topics have new records, and tables that are no topics
///   each time. `_key` must be unique in the result.
///
/// # Exactly once
/// With `kafka.delivery` = `exactly_once` on the output every commit is a
/// transaction of the records and of the offsets that they are made of; readers of
/// committed records see a refresh as a whole or not at all. Otherwise offsets are
/// committed after the records, and what lies between is written again after a
/// crash: a later record of a key is the same as the one before.
///
/// # Restarts
/// The name is that of a consumer group, which keeps the offsets, and part of the
/// `transactional.id`. A query that is started again goes on where the last one
/// committed; one that is still running then ends with [`Error::Fenced`]. Where the
/// query began at its first start is kept beside the offsets, so that `kafka.start` =
/// `latest` means the same after a restart. Offsets are committed again every 20 seconds
/// while nothing comes, so that brokers do not forget them.
///
/// # Failures
/// What may pass, such as brokers that are away, is tried again, with pauses up to
/// half a minute, from where the query has committed to. A right or a login that a
/// query loses which ran is waited for up to `kafka.retry_timeout`. All else ends it:
/// [`status`](Self::status) and [`wait`](Self::wait) say why. That includes records that
/// the output does not take, unless they go to `kafka.dead_letter.topic`, and
/// [`Error::LostOffsets`].
///
/// # Cancellation
/// Dropping it ends the query at once: what is not committed is undone in a
/// transaction. [`stop`](Self::stop) commits first.
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

    /// How often a query that is refreshed looks for new records, and so how often
    /// it runs at most. Default: a second.
    pub fn with_refresh_interval(mut self, interval: Duration) -> Self {
        self.refresh_interval = interval;
        self
    }

    /// A query that does nothing with the records that come for so long begins anew,
    /// as after a failure. That of one that is refreshed must be longer than it takes
    /// to run. Default: ten minutes.
    pub fn with_stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall_timeout = timeout;
        self
    }
}

impl ContinuousQuery {
    /// Plans the statement and starts it on the current Tokio runtime.
    ///
    /// Names are taken as they are written, as [`sql`](crate::sql()) does.
    ///
    /// # Errors
    /// Those of planning; [`Error::ContinuousQuery`] for a statement that is no
    /// INSERT into a topic, reads the topic that it writes, or reads from other
    /// servers than it writes to; [`Error::InvalidOption`] where `kafka.commit.ms` is not
    /// less than the time-out of transactions. A name that is another program's consumer
    /// group ends the query with [`Error::ContinuousQuery`] before it reads anything.
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
            return Err(invalid("it needs a name, under which it goes on after a restart").into());
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

    /// The name that it was started with.
    pub fn name(&self) -> &str {
        self.state.name()
    }

    /// Whether it runs.
    pub fn status(&self) -> QueryStatus {
        self.state.status().borrow().clone()
    }

    /// How far it has come. The ends of its topics are looked up every second.
    pub fn progress(&self) -> QueryProgress {
        self.state.progress()
    }

    /// Commits what was read, and ends.
    ///
    /// # Errors
    /// What the query ended with, where that was not this stop.
    pub async fn stop(&self) -> Result<()> {
        self.state.stop();
        self.wait().await
    }

    /// Waits until the query has ended.
    ///
    /// # Errors
    /// What it ended with, where it was not stopped.
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

const DRY_RUN: &str = "with `kafka.dry_run` it would write nothing, and take it for written";

/// How a statement is run.
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

/// The table read on from where the query has committed to; `None` where it has an
/// end.
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
        // The query's own group takes the place of the one that is named.
        Bound::Group(otherwise) => Bound::Group(otherwise),
        start => Bound::Group(Box::new(start)),
    };
    table.options.group_id = Some(query.name().to_owned());
    Ok(Some(table))
}

/// Refuses a query that would feed itself, or whose offsets could not be kept
/// beside its output.
fn check_source(query: &str, source: &TableDefinition, sink: &TableDefinition) -> Result<()> {
    let refused = if servers(source) != servers(sink) {
        format!(
            "topic `{}` has other servers than topic `{}`, and offsets are committed where the \
             records are written; give both tables the same `kafka.bootstrap.servers`",
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
