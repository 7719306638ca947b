//! [`Input`]: a topic whose rows a refreshed query keeps in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use rdkafka_extra::TopicId;

use crate::client::{Cancel, Client, OffsetRange, blocking};
use crate::continuous::refreshed::events::EventRows;
use crate::continuous::refreshed::latest_rows::LatestRows;
use crate::continuous::state::QueryState;
use crate::definition::TableDefinition;
use crate::definition::metadata_columns::Metadata;
use crate::error::{Error, FetchFailure, Result};
use crate::options::{Bound, Isolation, Mode};
use crate::sink::key_set::scan_with;
use crate::sink::observer::StreamingQuery as _;
use crate::source::chunk_sizes::ChunkSizes;
use crate::source::ends::Ends;
use crate::source::look_ups::PlannedTopic;
use crate::source::planning_client::PlanningClient;

/// A topic that a query reads.
pub(super) struct Input {
    declared: Arc<TableDefinition>,
    kind: Kind,
    memory: MemoryReservation,
    kept: Mutex<KeptRows>,
    last_seen: Mutex<Option<LastSeen>>,
    /// Where the query began to read the topic at its first start. For `kafka.start` = `latest`
    /// or `group` this is the start of every later attempt.
    starts: Mutex<BTreeMap<i32, i64>>,
}

/// How a topic is read.
enum Kind {
    /// The latest row of every key is kept.
    Latest {
        /// Reads all rows, for the first refresh.
        snapshot: Box<TableDefinition>,
        /// Reads new records, for later refreshes.
        changes: Box<TableDefinition>,
    },
    /// Every record is kept.
    Events(Box<TableDefinition>),
    /// Nothing is kept: the query itself reads the topic as a whole in each refresh. This is for
    /// tables with `kafka.end`, and for uncommitted records, which may be aborted later.
    Again,
}

/// What was found when the watermarks were last requested.
#[derive(Clone)]
struct LastSeen {
    client: Arc<Client>,
    id: Option<TopicId>,
    watermarks: BTreeMap<i32, OffsetRange>,
}

/// The rows in memory, and the offsets up to which they were read.
struct KeptRows {
    rows: Rows,
    ends: Option<BTreeMap<i32, i64>>,
}

enum Rows {
    Latest(LatestRows),
    Events(EventRows),
    /// The rows stay in the topic.
    None,
}

impl Input {
    /// # Errors
    /// The errors of [`with_record`](TableDefinition::with_record).
    pub(super) fn new(declared: &Arc<TableDefinition>, memory: MemoryReservation) -> Result<Self> {
        let mut table = declared.as_ref().clone();
        (table.unbounded, table.is_change_log) = (false, false);
        let is_whole = table.options.end == Bound::Latest
            && table.options.isolation == Isolation::ReadCommitted;
        let kind = match declared.declared_mode() {
            _ if !is_whole => Kind::Again,
            Mode::Append => {
                let place = [Metadata::RecordPartition, Metadata::RecordOffset];
                Kind::Events(Box::new(table.with_record(&place)?))
            }
            Mode::Upsert => {
                table.options.mode = Some(Mode::Upsert);
                let place = [Metadata::RecordPartition, Metadata::RecordKey];
                let snapshot = table.with_record(&place)?;
                let [partition, key] = place;
                let changes =
                    table
                        .log()?
                        .with_record(&[partition, key, Metadata::RecordTombstone])?;
                Kind::Latest {
                    snapshot: Box::new(snapshot),
                    changes: Box::new(changes),
                }
            }
        };
        let (rows, ends) = (Rows::None, None);
        let input = Input {
            declared: Arc::clone(declared),
            kind,
            memory,
            kept: Mutex::new(KeptRows { rows, ends }),
            last_seen: Mutex::default(),
            starts: Mutex::default(),
        };
        input.forget_rows();
        Ok(input)
    }

    /// Whether the query itself reads the topic, in each refresh.
    pub(super) fn is_read_again(&self) -> bool {
        matches!(self.kind, Kind::Again)
    }

    /// Sets where the query began to read the topic at its first start.
    pub(super) fn set_starts(&self, starts: BTreeMap<i32, i64>) {
        *self.starts.lock().unwrap_or_else(PoisonError::into_inner) = starts;
    }

    /// The table as the user declared it.
    pub(super) fn declared(&self) -> &Arc<TableDefinition> {
        &self.declared
    }

    /// The reserved bytes of the rows and their keys.
    pub(super) fn memory(&self) -> usize {
        match &self.kept().rows {
            Rows::Latest(rows) => rows.memory(),
            Rows::Events(rows) => rows.memory(),
            Rows::None => 0,
        }
    }

    /// Drops the rows and the client.
    pub(super) fn clear(&self) {
        self.forget_rows();
        *self.last_seen() = None;
    }

    fn forget_rows(&self) {
        let schema = self.declared.schema.arrow();
        let memory = self.memory.new_empty();
        let rows = match self.kind {
            Kind::Latest { .. } => Rows::Latest(LatestRows::new(Arc::clone(schema), memory)),
            Kind::Events(_) => Rows::Events(EventRows::new(schema.fields().len(), memory)),
            Kind::Again => Rows::None,
        };
        *self.kept() = KeptRows { rows, ends: None };
    }

    /// The end offsets of the topic. Waits for brokers.
    ///
    /// # Errors
    /// A topic that was deleted and created again, among others.
    pub(super) fn ends(&self, cancel: &Cancel) -> Result<BTreeMap<i32, i64>> {
        let known = self.last_seen().clone();
        let (client, id) = match known {
            Some(known) => (known.client, known.id),
            None => {
                let (topic, options) = (&self.declared.topic, &self.declared.options);
                let client = Client::with_memory(topic, options, ChunkSizes::LEAST_BYTES)?;
                (Arc::new(client), None)
            }
        };
        let topic = client.topic(cancel)?;
        if topic.is_another(id) {
            return Err(Error::Fetch {
                topic: self.declared.topic.clone(),
                partition: 0,
                offset: 0,
                reason: FetchFailure::Recreated,
            });
        }
        let watermarks = client.watermarks(&topic.partitions(), cancel)?;
        let ends = watermarks
            .iter()
            .map(|(p, range)| (*p, range.end))
            .collect();
        let id = id.or(topic.id);
        *self.last_seen() = Some(LastSeen {
            client,
            id,
            watermarks,
        });
        Ok(ends)
    }

    /// Reads new records up to these offsets into memory.
    pub(super) async fn update(
        &self,
        ends: &BTreeMap<i32, i64>,
        context: &Arc<TaskContext>,
        state: &QueryState,
    ) -> DataFusionResult<()> {
        let (client, watermarks) = match &*self.last_seen() {
            None => (None, BTreeMap::new()),
            Some(last_seen) => (
                Some(Arc::clone(&last_seen.client)),
                last_seen.watermarks.clone(),
            ),
        };
        let mut before = self.kept().ends.clone();
        if before.as_ref() == Some(ends) {
            return Ok(());
        }
        let is_gone = |(partition, end): (&i32, &i64)| {
            watermarks
                .get(partition)
                .is_some_and(|range| range.start > *end)
        };
        let (table, is_first) = match &self.kind {
            Kind::Again => return Ok(()),
            Kind::Events(records) => {
                let low = watermarks
                    .iter()
                    .map(|(p, range)| (*p, range.start))
                    .collect();
                self.kept().forget_below(&low)?;
                (records, before.is_none())
            }
            Kind::Latest { snapshot, changes } => {
                if before.iter().flatten().any(is_gone) {
                    // Retention has deleted records that were not read, maybe tombstones. So
                    // changes are not enough: the rows are read again as a whole.
                    self.forget_rows();
                    before = None;
                }
                match before {
                    None => (snapshot, true),
                    Some(_) => (changes, false),
                }
            }
        };
        let mut table = table.as_ref().clone();
        // The existing client has little memory for fetches. It suits a few changes, but the
        // first read gets a client of its own.
        let planning_client = match (is_first, client.clone()) {
            (false, Some(client)) => PlanningClient::new(client),
            _ => PlanningClient::default(),
        };
        if let Some(begin) = self.begin(before, ends, &watermarks, client).await? {
            table.options.start = Bound::Offsets(begin);
        }
        table.options.end = Bound::Offsets(ends.clone());
        let columns = (0..table.schema.arrow().fields().len()).collect();
        let topic = PlannedTopic {
            watermarks,
            client: planning_client,
            ends: Ends::default(),
        };
        let plan = scan_with(&Arc::new(table), columns, topic)?;
        let _reading = state.reads().by(&plan);
        let mut records = execute_stream(plan, Arc::clone(context))?;
        while let Some(batch) = records.next().await {
            self.kept().apply(batch?)?;
            state.batch();
        }
        self.kept().ends = Some(ends.clone());
        Ok(())
    }

    /// The offsets to read from, for all partitions; `None` if `kafka.start` is to be resolved by
    /// the scan.
    ///
    /// With rows in memory these are the offsets `before`. Without rows, `kafka.start` = `latest`
    /// or `group` means the offsets of the query's first start, in every attempt. With a start
    /// time, a partition is read from the first record of that time, which may not have come
    /// yet. Partitions that are added later are read from their beginning.
    async fn begin(
        &self,
        before: Option<BTreeMap<i32, i64>>,
        ends: &BTreeMap<i32, i64>,
        watermarks: &BTreeMap<i32, OffsetRange>,
        client: Option<Arc<Client>>,
    ) -> DataFusionResult<Option<BTreeMap<i32, i64>>> {
        let before = match (&self.declared.options.start, before) {
            (_, Some(before)) => before,
            (Bound::Latest | Bound::Group(_), None) => {
                let starts = self.starts.lock();
                starts.unwrap_or_else(PoisonError::into_inner).clone()
            }
            (_, None) => return Ok(None),
        };
        let low = |partition| watermarks.get(partition).map_or(0, |range| range.start);
        let mut begin: BTreeMap<i32, i64> = ends
            .keys()
            .map(|p| (*p, before.get(p).map_or(low(p), |read| low(p).max(*read))))
            .collect();
        if let (Bound::Timestamp(millis), Some(client)) = (&self.declared.options.start, client) {
            let (millis, partitions) = (*millis, ends.keys().copied().collect::<Vec<_>>());
            let found =
                blocking(move |cancel| client.offsets_for_timestamp(&partitions, millis, cancel));
            for (partition, found) in found.await? {
                if let (Some(begin), Some(end)) = (begin.get_mut(&partition), ends.get(&partition))
                {
                    *begin = (*begin).max(found.map_or(*end, |found| found.min(*end)));
                }
            }
        }
        Ok(Some(begin))
    }

    fn kept(&self) -> MutexGuard<'_, KeptRows> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_seen(&self) -> MutexGuard<'_, Option<LastSeen>> {
        self.last_seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptRows {
    fn apply(&mut self, records: RecordBatch) -> DataFusionResult<()> {
        match &mut self.rows {
            Rows::Latest(rows) => rows.apply(&records),
            Rows::Events(rows) => rows.apply(records),
            Rows::None => Ok(()),
        }
    }

    fn forget_below(&mut self, low: &BTreeMap<i32, i64>) -> DataFusionResult<()> {
        match &mut self.rows {
            Rows::Events(rows) => rows.forget_below(low),
            Rows::Latest(_) | Rows::None => Ok(()),
        }
    }

    fn batches(&self, columns: &[usize]) -> DataFusionResult<Vec<RecordBatch>> {
        match &self.rows {
            Rows::Latest(rows) => rows.batches(columns),
            Rows::Events(rows) => rows.batches(columns),
            Rows::None => Ok(Vec::new()),
        }
    }
}

/// The rows in memory as a table. It ignores filters and limits.
pub(super) struct KeptTable(pub(super) Arc<Input>);

impl fmt::Debug for KeptTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeptTable")
            .field(&self.0.declared.topic)
            .finish()
    }
}

#[async_trait]
impl TableProvider for KeptTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.0.declared.schema.arrow())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let schema = self.schema();
        let columns = match projection {
            Some(projection) => projection.clone(),
            None => (0..schema.fields().len()).collect(),
        };
        let batches = self.0.kept().batches(&columns)?;
        let schema = Arc::new(schema.project(&columns)?);
        let count = state.config().target_partitions().max(1);
        let mut partitions: Vec<Vec<RecordBatch>> = vec![Vec::new(); count];
        for (number, batch) in batches.into_iter().enumerate() {
            if let Some(partition) = partitions.get_mut(number % count) {
                // Records have nullable columns, because of tombstones. No row in memory is a
                // tombstone, so the rows fit the declared schema.
                let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                let schema = Arc::clone(&schema);
                let columns = batch.columns().to_vec();
                partition.push(RecordBatch::try_new_with_options(schema, columns, &rows)?);
            }
        }
        Ok(MemorySourceConfig::try_new_exec(&partitions, schema, None)?)
    }
}
