//! Runs continuous queries again as a whole when their topics have new records.

mod events;
mod input;
mod latest_rows;
mod output;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::common::Result as DataFusionResult;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, TableScan, col};
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;

use crate::client::{KeptClients, blocking};
use crate::continuous::begin::Begin;
use crate::continuous::refreshed::input::{Input, KeptTable};
use crate::continuous::refreshed::output::Output;
use crate::continuous::state::{QueryState, QueryStatus};
use crate::definition::TableDefinition;
use crate::error::Error;
use crate::options::{Bound, Mode, OnBadRecord};
use crate::sink::acknowledgements::Shown;
use crate::sink::create::ensure_topic;
use crate::sink::instance::{Positions, RENEWED};
use crate::sink::observer::StreamingQuery as _;
use crate::sink::producer::{Producer, Writer};
use crate::table::KafkaTable;
use crate::table::write_query::aligned;

/// A query whose result is compared with the rows that the output holds.
pub(super) struct Refresh {
    state: Arc<QueryState>,
    /// The query, with the columns of the output, over the rows in memory.
    query: LogicalPlan,
    inputs: Vec<Arc<Input>>,
    /// The query also reads tables that are not topics. Nothing reports their changes, so every
    /// refresh runs the query.
    reads_others: bool,
    sink: Arc<TableDefinition>,
    interval: Duration,
}

impl Refresh {
    /// # Errors
    /// A column that the output does not have, or an option that does not apply here.
    pub(super) fn of(
        state: &Arc<QueryState>,
        session: &SessionState,
        query: &LogicalPlan,
        sink: &Arc<TableDefinition>,
        interval: Duration,
    ) -> DataFusionResult<Self> {
        let invalid = |reason: String| Error::ContinuousQuery {
            query: state.name().to_owned(),
            reason,
        };
        if sink.options.mode == Some(Mode::Append) {
            return Err(invalid(format!(
                "only what differs from the rows before is written, and topic `{}` in append mode has no rows that could be replaced; use a table with `kafka.mode` = `upsert`",
                sink.topic
            ))
            .into());
        }
        let columns = aligned("INSERT INTO", sink, query.schema())?;
        let query = LogicalPlanBuilder::from(query.clone())
            .project(columns)?
            .build()?;
        let mut inputs: Vec<Arc<Input>> = Vec::new();
        let mut reads_others = false;
        let query = query.transform_up_with_subqueries(|node| {
            let LogicalPlan::TableScan(table_scan) = &node else {
                return Ok(Transformed::no(node));
            };
            let provider = source_as_provider(&table_scan.source)?;
            let source = provider.downcast_ref::<KafkaTable>().and_then(KafkaTable::source);
            let Some(source) = source else {
                reads_others = true;
                return Ok(Transformed::no(node));
            };
            if source.options.on_bad_record == OnBadRecord::DeadLetter {
                return Err(invalid(format!(
                    "`kafka.on_bad_record` = `dead_letter` of topic `{}` works only for queries that run record by record; use `skip`",
                    source.topic
                ))
                .into());
            }
            let known = inputs.iter().find(|input| Arc::ptr_eq(input.declared(), source));
            let input = match known {
                Some(input) => Arc::clone(input),
                None => {
                    let consumer = MemoryConsumer::new(format!("KafkaRows[{}]", source.topic));
                    let memory = consumer.register(&session.runtime_env().memory_pool);
                    Arc::new(Input::new(source, memory)?)
                }
            };
            if known.is_none() {
                inputs.push(Arc::clone(&input));
            }
            if !input.is_read_again() {
                return Ok(Transformed::yes(rows_of(input, table_scan)?));
            }
            if matches!(source.options.start, Bound::Latest | Bound::Group(_)) {
                return Err(invalid(format!(
                    "`kafka.start` = `{}` of topic `{}` would be another offset after each restart; \
                     give the table another start, or neither `kafka.end` nor `kafka.isolation`",
                    source.options.start, source.topic
                ))
                .into());
            }
            Ok(Transformed::no(node))
        })?;
        Ok(Refresh {
            state: Arc::clone(state),
            query: query.data.recompute_schema()?,
            inputs,
            reads_others,
            sink: Arc::clone(sink),
            interval,
        })
    }

    /// The topics that the query reads.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Arc<TableDefinition>> {
        self.inputs.iter().map(|input| input.declared())
    }

    /// Refreshes the output until the query is stopped.
    pub(super) async fn run(&self, session: &SessionState) -> DataFusionResult<()> {
        let context = session.task_ctx();
        let none = KeptClients::default();
        ensure_topic(&self.sink.topic, &self.sink.options, &none).await?;
        let mut stopped = self.state.stopped();
        for input in &self.inputs {
            input.clear();
        }
        let mut output = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            output = self.open(&context) => output?,
        };
        let mut read: Option<Positions> = None;
        let mut written = output.report().clone();
        let mut committed_at = Instant::now();
        loop {
            let begun = Instant::now();
            let refreshed = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
                refreshed = self.refresh(session, read.as_ref(), &mut output) => refreshed?,
            };
            if let Some(ends) = refreshed {
                let report = output.report().clone();
                let is_new = read.as_ref() != Some(&ends)
                    || (written.upserts, written.tombstones) != (report.upserts, report.tombstones);
                if is_new {
                    // Outside of the `select!`, so that a stop does not interrupt the commit.
                    output.commit(&ends).await?;
                    self.state.committed(&ends, &report);
                    committed_at = Instant::now();
                }
                self.state.refreshed(begun.elapsed());
                (read, written) = (Some(ends), report);
            }
            self.state.set_status(QueryStatus::Running);
            loop {
                let rest = self.interval.saturating_sub(begun.elapsed());
                let renewed = RENEWED.saturating_sub(committed_at.elapsed());
                tokio::select! {
                    biased;
                    _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
                    () = tokio::time::sleep(rest.min(renewed)) => {}
                }
                if let Some(read) = &read
                    && committed_at.elapsed() >= RENEWED
                {
                    output.commit(read).await?;
                    self.state.renewed();
                    committed_at = Instant::now();
                }
                if begun.elapsed() >= self.interval {
                    break;
                }
            }
        }
    }

    async fn open(&self, context: &Arc<TaskContext>) -> DataFusionResult<Output> {
        let instance = self.state.new_instance()?;
        // The producer comes first. It aborts an open transaction of another instance before the
        // output is read.
        let named = Writer::Query(Arc::clone(&instance));
        let (topic, options) = (&self.sink.topic, &self.sink.options);
        let mut producer = Producer::new(topic, options, Shown::nowhere(), named).await?;
        let begin = Begin {
            inputs: self.sources().cloned().collect(),
            output: Arc::clone(&self.sink),
            compares: true,
        };
        let begun = begin.claim(&self.state, &instance, &mut producer).await?;
        for input in &self.inputs {
            let starts = begun.starts.get(&input.declared().topic);
            input.set_starts(starts.cloned().unwrap_or_default());
        }
        Output::open(&self.sink, self.query.schema().inner(), producer, context).await
    }

    /// Sends the differences, and returns the offsets up to which the topics were read. `None` if
    /// nothing can have changed since `read`.
    async fn refresh(
        &self,
        session: &SessionState,
        read: Option<&Positions>,
        output: &mut Output,
    ) -> DataFusionResult<Option<Positions>> {
        let ends = self.ends().await?;
        if read == Some(&ends) && !self.reads_others {
            return Ok(None);
        }
        let context = session.task_ctx();
        let nothing = BTreeMap::new();
        for input in &self.inputs {
            let ends = ends.get(&input.declared().topic);
            let ends = ends.unwrap_or(&nothing);
            input.update(ends, &context, &self.state).await?;
        }
        let plan = session.create_physical_plan(&self.query).await?;
        let _reading = self.state.reads().by(&plan);
        let mut rows = execute_stream(Arc::clone(&plan), context)?;
        output.begin();
        while let Some(batch) = rows.next().await {
            output.compare(&batch?).await?;
            self.state.batch();
        }
        output.finish().await?;
        let inputs = self.inputs.iter().map(|input| input.memory());
        self.state.keeps(inputs.sum::<usize>() + output.memory());
        Ok(Some(ends))
    }

    /// The end offsets of all topics. The requests run concurrently, so that the offsets are as
    /// close to one instant as possible.
    async fn ends(&self) -> DataFusionResult<Positions> {
        let inputs = self.inputs.iter().map(|input| {
            let input = Arc::clone(input);
            blocking(move |cancel| Ok((input.declared().topic.clone(), input.ends(cancel)?)))
        });
        let ends = futures::future::try_join_all(inputs).await?;
        Ok(ends.into_iter().collect())
    }
}

/// Replaces a scan by a plan over the rows in memory.
///
/// A plan that PREPARE has optimized may have filters and a limit inside of the scan.
/// [`KeptTable`] ignores those, so they become nodes of the plan again.
fn rows_of(input: Arc<Input>, scan: &TableScan) -> DataFusionResult<LogicalPlan> {
    let rows = LogicalPlanBuilder::scan(
        scan.table_name.clone(),
        provider_as_source(Arc::new(KeptTable(input))),
        None,
    )?;
    let rows = match conjunction(scan.filters.iter().cloned()) {
        Some(filter) => rows.filter(filter)?,
        None => rows,
    };
    let columns = scan.projected_schema.columns().into_iter().map(col);
    let rows = rows.project(columns)?;
    match scan.fetch {
        Some(fetch) => rows.limit(0, Some(fetch))?.build(),
        None => rows.build(),
    }
}
