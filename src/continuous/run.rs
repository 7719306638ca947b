//! A continuous query while it runs, which begins anew after what may pass.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;
use datafusion::physical_plan::metrics::Count;
use tokio::time::sleep;

use crate::client::{Cancel, Client, RECREATED, blocking};
use crate::continuous::refresh::Refresh;
use crate::continuous::state::{QueryState, QueryStatus};
use crate::continuous::watch::watch;
use crate::error::{Error, Result};
use crate::options::Bound;
use crate::sink::create::ensure_topic;
use crate::sink::member::{Member, Positions};
use crate::sink::producer::Producer;
use crate::source::offsets::{Snapshot, uncommitted};
use crate::table::{TableDefinition, own_error};

/// A query that runs.
pub(super) struct Run {
    pub(super) state: Arc<QueryState>,
    pub(super) session: SessionState,
    pub(super) sink: Arc<TableDefinition>,
    pub(super) work: Work,
    pub(super) stall_timeout: Duration,
}

/// How the statement is run.
pub(super) enum Work {
    RowByRow(Box<LogicalPlan>, Arc<TableDefinition>),
    Refreshed(Box<Refresh>),
}

/// How long brokers may take to commit what was read when a query is stopped,
/// beside `kafka.timeout`.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// The pause after a failure, which grows twofold to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Run {
    /// Runs until it is stopped or has failed.
    pub(super) async fn run(self) {
        let status = self.until_it_ends().await;
        match &status {
            QueryStatus::Failed(error) => {
                log::info!("continuous query `{}` ended: {error}", self.state.name());
            }
            _ => log::info!("continuous query `{}` stopped", self.state.name()),
        }
        self.state.set_status(status);
    }

    async fn until_it_ends(&self) -> QueryStatus {
        let mut stopped = self.state.stopped();
        let mut attempts = 0;
        let mut pause = FIRST_PAUSE;
        loop {
            self.state.begin();
            let commits = self.state.progress().commits;
            let Err(error) = self.attempt().await else {
                return QueryStatus::Stopped;
            };
            if !may_pass(&error) {
                return QueryStatus::Failed(own_error(error));
            }
            if self.state.progress().commits > commits {
                (attempts, pause) = (0, FIRST_PAUSE);
            }
            attempts += 1;
            let error = own_error(error);
            log::warn!(
                "continuous query `{}` begins again in {pause:?}: {error}",
                self.state.name()
            );
            self.state
                .set_status(QueryStatus::Retrying { error, attempts });
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return QueryStatus::Stopped,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Runs the query until it is stopped or something fails.
    async fn attempt(&self) -> DataFusionResult<()> {
        let mut stopped = self.state.stopped();
        let too_late = async {
            if stopped.wait_for(|stopped| *stopped).await.is_err() {
                std::future::pending::<()>().await;
            }
            sleep(self.sink.options.timeout + LAST_COMMIT).await;
        };
        let inputs = match &self.work {
            Work::RowByRow(_, source) => vec![Arc::clone(source)],
            Work::Refreshed(refresh) => refresh.sources().cloned().collect(),
        };
        let work = async {
            match &self.work {
                Work::RowByRow(plan, source) => self.row_by_row(plan, source).await,
                Work::Refreshed(refresh) => refresh.run(&self.session).await,
            }
        };
        // Nothing is committed more often than that.
        let stall_timeout = self.stall_timeout.max(self.sink.options.commit_time * 2);
        tokio::select! {
            biased;
            result = work => result,
            stalled = watch(&self.state, inputs, stall_timeout) => Err(stalled),
            () = too_late => Err(Error::ContinuousQuery {
                query: self.state.name().to_owned(),
                reason: "it was stopped, and the brokers did not answer to its last commit".to_owned(),
            }
            .into()),
        }
    }

    async fn row_by_row(
        &self,
        plan: &LogicalPlan,
        source: &Arc<TableDefinition>,
    ) -> DataFusionResult<()> {
        let sink = &self.sink;
        ensure_topic(&sink.topic, &sink.options).await?;
        let member = self.state.new_member()?;
        // Before anything is read: what another instance has not committed is undone,
        // and it commits nothing more.
        let named = Some(Arc::clone(&member));
        let acknowledged = Count::new();
        let mut producer = Producer::new(&sink.topic, &sink.options, acknowledged, named).await?;
        let from = Arc::clone(source);
        let positions = blocking(move |cancel| positions(&from, &member, cancel)).await?;
        // Of all partitions, so that none is ever looked for where it ends later.
        let is_known = !positions.is_empty();
        let read = Positions::from([(source.topic.clone(), positions)]);
        if is_known {
            producer.commit(&read).await?;
        }
        self.state.set_producer(producer, read);
        let plan = self.session.create_physical_plan(plan).await?;
        collect(plan, self.session.task_ctx()).await?;
        Ok(())
    }
}

/// Where the query begins to read: where it has committed to, at its first start
/// where the table says, and partitions that the topic has got since at their
/// beginning. Not those that begin with a record which has not come yet.
fn positions(
    source: &TableDefinition,
    member: &Member,
    cancel: &Cancel,
) -> Result<BTreeMap<i32, i64>> {
    let topic = source.topic.as_str();
    let client = Client::new(topic, &source.options)?;
    let partitions = client.partitions(cancel)?;
    let held = client.watermarks(&partitions, cancel)?;
    let mut positions = member.take_over(topic, &partitions, cancel)?;
    let mut options = source.options.clone();
    options.start = match options.start {
        Bound::Group(otherwise) => uncommitted(&otherwise, !positions.is_empty()).clone(),
        start => start,
    };
    let begin = Snapshot::resolve(&client, topic, &options, &held, cancel)?;
    for partition in partitions {
        if let Some(begin) = begin.extent(partition)
            && begin.starts_at.is_none()
        {
            positions.entry(partition).or_insert(begin.range.start);
        }
    }
    Ok(positions)
}

/// Whether an error may be gone when the query begins again.
fn may_pass(error: &DataFusionError) -> bool {
    match Error::find(error) {
        Some(Error::Fetch { reason, .. }) => reason != RECREATED,
        Some(
            Error::Connect { .. }
            | Error::Request { .. }
            | Error::Produce { .. }
            | Error::BeginTransaction { .. }
            | Error::TransactionFailed { .. }
            | Error::CommitUnknown { .. }
            | Error::Stalled { .. },
        ) => true,
        _ => false,
    }
}
