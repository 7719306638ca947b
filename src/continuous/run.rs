//! [`Runner`]: runs a continuous query and restarts it after errors that may pass.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;
use tokio::time::sleep;

use crate::client::{KeptClients, blocking};
use crate::continuous::begin::Begin;
use crate::continuous::refreshed::Refresh;
use crate::continuous::state::{QueryState, QueryStatus};
use crate::continuous::watch::watch;
use crate::definition::TableDefinition;
use crate::error::{Error, own_error};
use crate::sink::acknowledgements::Shown;
use crate::sink::create::ensure_topic;
use crate::sink::observer::StreamingQuery as _;
use crate::sink::producer::{Producer, Writer};
use crate::sink::time_limit::taken_away;

/// A continuous query that is ready to run.
pub(super) struct Runner {
    pub(super) state: Arc<QueryState>,
    pub(super) session: SessionState,
    pub(super) sink: Arc<TableDefinition>,
    pub(super) work: Work,
    pub(super) stall_timeout: Duration,
}

/// How the query is run.
pub(super) enum Work {
    RecordByRecord(Box<LogicalPlan>, Arc<TableDefinition>),
    Refreshed(Box<Refresh>),
}

/// How long the last commit of a stopped query may take, in addition to `kafka.timeout`.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// How long another instance may take from fencing this one's transactions to its first commit.
const CLAIMED: Duration = Duration::from_secs(5);

/// The pause after the first failure. It doubles with each further failure, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Runner {
    /// Runs the query until it is stopped or has failed for good.
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
        // When the current series of failures began; `None` if there is no such series.
        let mut failing: Option<Instant> = None;
        let mut has_run = false;
        loop {
            self.state.begin();
            let commits = self.state.progress().commits;
            let lessons = self.state.refused().lessons();
            let begun = Instant::now();
            let Err(error) = self.attempt().await else {
                return QueryStatus::Stopped;
            };
            let error = tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return QueryStatus::Stopped,
                error = self.cause(error) => error,
            };
            let has_learned = self.state.refused().lessons() > lessons;
            if self.state.progress().commits > commits
                || has_learned
                || begun.elapsed() >= LONGEST_PAUSE
            {
                (attempts, pause, failing, has_run) = (0, FIRST_PAUSE, None, true);
            }
            let since = *failing.get_or_insert_with(Instant::now);
            let patience = match has_run {
                true => self.sink.options.retry_timeout,
                false => Duration::ZERO,
            };
            let is_final = match Lasts::of(&error) {
                Lasts::Long => true,
                Lasts::Unknown => since.elapsed() >= patience,
                Lasts::Short => false,
            };
            let error = own_error(error);
            if is_final {
                return QueryStatus::Failed(error);
            }
            attempts += 1;
            // A restart that finds the record to be a dead letter is not a failure.
            let level = match has_learned {
                true => log::Level::Info,
                false => log::Level::Warn,
            };
            log::log!(
                level,
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

    /// The cause of a failed attempt.
    ///
    /// librdkafka reports the same fencing error in two cases: another instance of the query
    /// has taken over, or the brokers have ended a transaction that was open for too long. Only
    /// another instance then commits offsets of its own, so those are watched for a while.
    async fn cause(&self, error: DataFusionError) -> DataFusionError {
        let Some(instance) = self.state.instance() else {
            return error;
        };
        if !matches!(Error::find(&error), Some(Error::Fenced { .. })) {
            return error;
        }
        let deadline = Instant::now() + CLAIMED;
        while Instant::now() < deadline {
            let asked = Arc::clone(&instance);
            let checked = blocking(move |cancel| asked.check_all(cancel)).await;
            if let Err(fenced) = checked
                && matches!(Error::find(&fenced), Some(Error::Fenced { .. }))
            {
                return fenced;
            }
            sleep(FIRST_PAUSE).await;
        }
        taken_away(&self.sink.topic, &self.sink.options).map_or(error, Into::into)
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
            Work::RecordByRecord(_, source) => vec![Arc::clone(source)],
            Work::Refreshed(refresh) => refresh.sources().cloned().collect(),
        };
        let work = async {
            match &self.work {
                Work::RecordByRecord(plan, source) => self.record_by_record(plan, source).await,
                Work::Refreshed(refresh) => refresh.run(&self.session).await,
            }
        };
        // A commit is a sign of progress, so the time-out must be longer than their interval.
        let stall_timeout = self.stall_timeout.max(self.sink.options.commit_time * 2);
        tokio::select! {
            biased;
            result = work => result,
            stalled = watch(&self.state, inputs, &self.sink, stall_timeout) => Err(stalled),
            () = too_late => Err(Error::ContinuousQuery {
                query: self.state.name().to_owned(),
                reason: "it was stopped, and the brokers did not answer its last commit".to_owned(),
            }
            .into()),
        }
    }

    async fn record_by_record(
        &self,
        plan: &LogicalPlan,
        source: &Arc<TableDefinition>,
    ) -> DataFusionResult<()> {
        let sink = &self.sink;
        ensure_topic(&sink.topic, &sink.options, &KeptClients::default()).await?;
        let instance = self.state.new_instance()?;
        // The producer comes before any reading. It fences another instance: an open
        // transaction is aborted, and that instance cannot commit any more.
        let named = Writer::Query(Arc::clone(&instance));
        let shown = Shown::nowhere();
        let mut producer = Producer::new(&sink.topic, &sink.options, shown, named).await?;
        let begin = Begin {
            inputs: vec![Arc::clone(source)],
            output: Arc::clone(sink),
            compares: false,
        };
        begin.claim(&self.state, &instance, &mut producer).await?;
        self.state.set_producer(producer);
        let plan = self.session.create_physical_plan(plan).await?;
        let _reading = self.state.reads().by(&plan);
        collect(Arc::clone(&plan), self.session.task_ctx()).await?;
        Ok(())
    }
}

/// How long the cause of an error may last.
enum Lasts {
    /// The cause may be gone when the query restarts.
    Short,
    /// The cause is gone when somebody grants a right or configures the servers.
    Unknown,
    /// The cause lasts until somebody changes the query or its topics.
    Long,
}

impl Lasts {
    fn of(error: &DataFusionError) -> Self {
        match Error::find(error) {
            Some(error) if error.is_retriable() => Lasts::Short,
            Some(Error::Denied { .. } | Error::Login { .. }) => Lasts::Unknown,
            _ => Lasts::Long,
        }
    }
}
