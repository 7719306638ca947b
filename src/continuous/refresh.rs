//! Queries that run again when their topics have new records.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result as DataFusionResult;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet};
use foldhash::quality::RandomState;
use futures::StreamExt;

use crate::client::blocking;
use crate::continuous::input::{Input, SnapshotTable};
use crate::continuous::state::{QueryState, QueryStatus};
use crate::error::Error;
use crate::options::{Bound, Delivery, Isolation, Mode, OnBadRecord};
use crate::schema::{Column, Metadata};
use crate::sink::batch::EncodedRecord;
use crate::sink::change::Change;
use crate::sink::create::ensure_topic;
use crate::sink::encode::RecordEncoder;
use crate::sink::held::Held;
use crate::sink::known::{KnownKeys, as_it_is, scan};
use crate::sink::member::Positions;
use crate::sink::producer::Producer;
use crate::sink::query::aligned;
use crate::sink::sender::{Sender, arrow_error};
use crate::table::{KafkaTable, TableDefinition};

/// A query whose rows are compared with those that the output holds.
pub(super) struct Refresh {
    state: Arc<QueryState>,
    /// Has the columns of the output; its topics are in memory.
    query: LogicalPlan,
    inputs: Vec<Arc<Input>>,
    /// Nobody says when what is read beside the inputs has changed.
    reads_others: bool,
    sink: Arc<TableDefinition>,
    interval: Duration,
}

/// What the output holds for a key.
#[derive(Clone, Copy)]
struct Written {
    payload: Digest,
    /// Where its record was found: it is replaced and deleted there, however it was
    /// placed.
    partition: Option<i32>,
    /// The last refresh that had a row of the key.
    round: u64,
}

/// Stands for a payload; `None` for one that no row could have.
type Digest = Option<[u64; 2]>;

impl Refresh {
    /// # Errors
    /// Columns that the output does not have; options that mean nothing here.
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
            let Some(source) = source.filter(|source| is_snapshot(source)) else {
                reads_others = true;
                return Ok(Transformed::no(node));
            };
            if source.options.on_bad_record == OnBadRecord::DeadLetter {
                return Err(invalid(format!(
                    "`kafka.on_bad_record` = `dead_letter` of topic `{}` is for queries that take records one by one; use `skip`",
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
            let rows = LogicalPlanBuilder::scan_with_filters_fetch(
                table_scan.table_name.clone(),
                provider_as_source(Arc::new(SnapshotTable(input))),
                table_scan.projection.clone(),
                table_scan.filters.clone(),
                table_scan.fetch,
            )?;
            Ok(Transformed::yes(rows.build()?))
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

    /// The topics whose new records are waited for.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Arc<TableDefinition>> {
        self.inputs.iter().map(|input| input.declared())
    }

    /// Refreshes the output until the query is stopped.
    pub(super) async fn run(&self, session: &SessionState) -> DataFusionResult<()> {
        let context = session.task_ctx();
        ensure_topic(&self.sink.topic, &self.sink.options).await?;
        let mut stopped = self.state.stopped();
        for input in &self.inputs {
            input.clear();
        }
        let mut output = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            output = Output::open(self, &context) => output?,
        };
        let mut read: Option<Positions> = None;
        loop {
            let begun = Instant::now();
            let refreshed = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
                refreshed = self.refresh(session, read.as_ref(), &mut output) => refreshed?,
            };
            if let Some(ends) = refreshed {
                // Not given up once it has begun.
                output.sender.commit(output.row, &ends).await?;
                self.state.committed(&ends, &output.sender.report);
                self.state.refreshed(begun.elapsed());
                read = Some(ends);
            }
            self.state.set_status(QueryStatus::Running);
            let rest = self.interval.saturating_sub(begun.elapsed());
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Sends what has changed since `read`; `None` where nothing can have.
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
        let mut rows = execute_stream(plan, context)?;
        output.begin();
        while let Some(batch) = rows.next().await {
            output.compare(&batch?).await?;
            self.state.batch();
        }
        output.finish().await?;
        Ok(Some(ends))
    }

    /// Where all topics end, as near to one instant as there is.
    async fn ends(&self) -> DataFusionResult<Positions> {
        let inputs = self.inputs.iter().map(|input| {
            let input = Arc::clone(input);
            blocking(move |cancel| Ok((input.declared().topic.clone(), input.ends(cancel)?)))
        });
        let ends = futures::future::try_join_all(inputs).await?;
        for (topic, ends) in &ends {
            self.state.ends(topic, ends.clone());
        }
        Ok(ends.into_iter().collect())
    }
}

/// Whether the table is the latest rows of a topic up to its end.
fn is_snapshot(table: &TableDefinition) -> bool {
    let options = &table.options;
    table.declared_mode() == Mode::Upsert
        && options.end == Bound::Latest
        && options.isolation == Isolation::ReadCommitted
}

/// The topic that is kept equal to the query.
struct Output {
    table: Arc<TableDefinition>,
    encoder: RecordEncoder,
    sender: Sender,
    known: KnownKeys<Written>,
    /// Changes that wait until all rows were looked at, where no transaction could
    /// take them back.
    held: Option<Held>,
    hashers: [RandomState; 2],
    round: u64,
    row: u64,
}

impl Output {
    async fn open(refresh: &Refresh, context: &Arc<TaskContext>) -> DataFusionResult<Self> {
        let table = &refresh.sink;
        let member = refresh.state.member()?;
        // What another instance has not committed is undone before it is read.
        let named = Some(Arc::clone(&member));
        let producer = Producer::new(&table.topic, &table.options, Count::new(), named).await?;
        let inputs = refresh.inputs.clone();
        blocking(move |cancel| {
            for input in &inputs {
                let partitions: Vec<i32> = input.ends(cancel)?.into_keys().collect();
                member.take_over(&input.declared().topic, &partitions, cancel)?;
            }
            Ok(())
        })
        .await?;
        let mut sender = Sender::new(table, &ExecutionPlanMetricsSet::new());
        sender.use_producer(producer);
        let transactional = table.options.delivery == Delivery::ExactlyOnce;
        let held = (!transactional).then(|| {
            let consumer = MemoryConsumer::new(format!("KafkaSink[{}]", table.topic));
            Held::new(consumer.register(context.memory_pool()))
        });
        let schema = refresh.query.schema().inner();
        let mut output = Output {
            table: Arc::clone(table),
            encoder: RecordEncoder::try_new(table, schema, &[Change::Upsert])?,
            sender,
            known: KnownKeys::new(&table.topic, context),
            held,
            hashers: [RandomState::default(), RandomState::default()],
            round: 0,
            row: 0,
        };
        output.look(context).await?;
        Ok(output)
    }

    /// Takes in what the topic holds, in the way in which it would be written: what
    /// is the same row then is the same bytes.
    async fn look(&mut self, context: &Arc<TaskContext>) -> DataFusionResult<()> {
        let mut reading = as_it_is(&self.table);
        reading.options.on_bad_record = OnBadRecord::DeadLetter;
        reading.schema = reading.schema.nullable();
        let record = [
            Metadata::RecordKey,
            Metadata::RecordError,
            Metadata::RecordPartition,
        ];
        let reading = Arc::new(reading.with_record(&record)?);
        let mut columns = Vec::new();
        for (place, (column, _)) in reading.schema.columns().enumerate() {
            let is_of_record = matches!(column, Column::Metadata(m) if record.contains(&m));
            if column != Column::Metadata(Metadata::Tombstone)
                && (is_of_record || !matches!(column, Column::Metadata(_)))
            {
                columns.push(place);
            }
        }
        let plan = scan(&reading, columns).await?;
        // The record behind a row is not what it is written from.
        let last = plan.schema().fields().len().saturating_sub(record.len());
        let schema = plan.schema().project(&(0..last).collect::<Vec<_>>())?;
        let encoder = RecordEncoder::try_new(&reading, &schema, &[Change::Upsert])?;
        let mut rows = execute_stream(plan, Arc::clone(context))?;
        let mut record = EncodedRecord::default();
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let own = batch.project(&(0..last).collect::<Vec<_>>())?;
            let columns = encoder.columns(&own, 0)?;
            let encoded = encoder.batch(&columns).map_err(arrow_error)?;
            let keys = batch.columns().get(last);
            let keys = keys.and_then(|column| column.as_binary_view_opt());
            let errors = batch.columns().get(last + 1);
            let partitions = batch.columns().get(last + 2);
            let partitions = partitions.and_then(|c| c.as_primitive_opt::<Int32Type>());
            for index in 0..batch.num_rows() {
                let Some(key) = keys.map(|keys| keys.value(index)) else {
                    continue;
                };
                let is_bad = errors.is_some_and(|errors| errors.is_valid(index));
                let payload = match !is_bad && encoded.encode(index, 0, &mut record).is_ok() {
                    true => self.digest(&record.payload),
                    false => None,
                };
                let written = Written {
                    payload,
                    partition: partitions.map(|p| p.value(index)),
                    round: 0,
                };
                self.known.insert(key, written);
            }
            self.known.reserve()?;
        }
        Ok(())
    }

    fn begin(&mut self) {
        self.round += 1;
        self.row = 0;
    }

    /// Sends the rows that the topic does not hold.
    async fn compare(&mut self, batch: &RecordBatch) -> DataFusionResult<()> {
        let columns = self.encoder.columns(batch, self.row)?;
        let rows = self.encoder.batch(&columns).map_err(arrow_error)?;
        let mut record = EncodedRecord::default();
        for index in 0..batch.num_rows() {
            let row = self.row;
            self.row += 1;
            rows.encode(index, row, &mut record)?;
            if record.tombstone {
                continue;
            }
            let written = Written {
                payload: self.digest(&record.payload),
                partition: None,
                round: self.round,
            };
            match self.known.get_mut(&record.key) {
                Some(known) if known.round == self.round => {
                    return Err(Error::DuplicateKey {
                        topic: self.table.topic.clone(),
                        row,
                    }
                    .into());
                }
                Some(known) => {
                    let is_same = known.payload == written.payload;
                    let partition = known.partition;
                    *known = Written {
                        partition,
                        ..written
                    };
                    record.partition = record.partition.or(partition);
                    if is_same {
                        self.sender.report.unchanged += 1;
                        continue;
                    }
                }
                None => self.known.insert(&record.key, written),
            }
            record = match &mut self.held {
                Some(held) => {
                    held.push(row, record);
                    EncodedRecord::default()
                }
                None => self.sender.write(row, record).await?,
            };
        }
        if let Some(held) = &self.held {
            held.reserve_with(0)?;
        }
        self.known.reserve()
    }

    /// Sends tombstones for the rows that are gone.
    async fn finish(&mut self) -> DataFusionResult<()> {
        let gone = self
            .known
            .iter()
            .filter(|(_, written)| written.round != self.round);
        let gone: Vec<(Box<[u8]>, Option<i32>)> = gone
            .map(|(key, written)| (key.into(), written.partition))
            .collect();
        if let Some(held) = &mut self.held {
            for (row, record) in held.take() {
                self.sender.write(row, record).await?;
            }
        }
        let mut record = EncodedRecord::default();
        for (key, partition) in gone {
            self.known.remove(&key);
            record.key.clear();
            record.key.extend_from_slice(&key);
            record.tombstone = true;
            record.partition = partition;
            record = self.sender.write(self.row, record).await?;
        }
        Ok(())
    }

    fn digest(&self, payload: &[u8]) -> Digest {
        let [first, second] = &self.hashers;
        Some([first.hash_one(payload), second.hash_one(payload)])
    }
}
