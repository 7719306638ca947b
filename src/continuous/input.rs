//! A topic whose rows a continuous query keeps in memory.

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

use crate::client::{Cancel, Client, RECREATED, blocking};
use crate::continuous::snapshot::SnapshotRows;
use crate::continuous::state::QueryState;
use crate::error::{Error, Result};
use crate::native::TopicId;
use crate::options::{Bound, Mode};
use crate::record::OffsetRange;
use crate::schema::Metadata;
use crate::sink::known::scan_held;
use crate::source::connected::Connected;
use crate::source::scan::ChunkSizes;
use crate::table::TableDefinition;

/// A topic that a query reads.
pub(super) struct Input {
    declared: Arc<TableDefinition>,
    /// All of it, for the first time.
    snapshot: TableDefinition,
    /// What has changed since.
    changes: TableDefinition,
    memory: MemoryReservation,
    held: Mutex<Held>,
    looked: Mutex<Option<Looked>>,
    first_ends: Mutex<Option<BTreeMap<i32, i64>>>,
}

/// The topic when it was last looked at.
#[derive(Clone)]
struct Looked {
    client: Arc<Client>,
    id: Option<TopicId>,
    holds: BTreeMap<i32, OffsetRange>,
}

/// The rows up to some offsets.
struct Held {
    rows: SnapshotRows,
    ends: Option<BTreeMap<i32, i64>>,
}

impl Input {
    /// # Errors
    /// Those of [`with_record`](TableDefinition::with_record).
    pub(super) fn new(declared: &Arc<TableDefinition>, memory: MemoryReservation) -> Result<Self> {
        let mut table = declared.as_ref().clone();
        table.options.mode = Some(Mode::Upsert);
        (table.endless, table.is_change_log) = (false, false);
        let place = [Metadata::RecordPartition, Metadata::RecordKey];
        let snapshot = table.with_record(&place)?;
        let [partition, key] = place;
        let changes = table
            .log()?
            .with_record(&[partition, key, Metadata::RecordTombstone])?;
        let rows = SnapshotRows::new(Arc::clone(declared.schema.arrow()), memory.new_empty());
        Ok(Input {
            declared: Arc::clone(declared),
            snapshot,
            changes,
            memory,
            held: Mutex::new(Held { rows, ends: None }),
            looked: Mutex::default(),
            first_ends: Mutex::default(),
        })
    }

    /// The table as the user declared it.
    pub(super) fn declared(&self) -> &Arc<TableDefinition> {
        &self.declared
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.forget_rows();
        *self.looked() = None;
    }

    fn forget_rows(&self) {
        let schema = Arc::clone(self.declared.schema.arrow());
        let rows = SnapshotRows::new(schema, self.memory.new_empty());
        *self.held() = Held { rows, ends: None };
    }

    /// Where the topic ends. Waits for brokers.
    ///
    /// # Errors
    /// Another topic of the same name.
    pub(super) fn ends(&self, cancel: &Cancel) -> Result<BTreeMap<i32, i64>> {
        let known = self.looked().clone();
        let (client, id) = match known {
            Some(known) => (known.client, known.id),
            None => {
                let (topic, options) = (&self.snapshot.topic, &self.snapshot.options);
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
                reason: RECREATED.to_owned(),
            });
        }
        let holds = client.watermarks(&topic.partitions(), cancel)?;
        let ends = holds.iter().map(|(p, range)| (*p, range.end)).collect();
        let id = id.or(topic.id);
        *self.looked() = Some(Looked { client, id, holds });
        Ok(ends)
    }

    /// Reads the records up to these offsets that it does not have yet.
    pub(super) async fn update(
        &self,
        ends: &BTreeMap<i32, i64>,
        context: &Arc<TaskContext>,
        state: &QueryState,
    ) -> DataFusionResult<()> {
        let (client, holds) = match &*self.looked() {
            None => (None, BTreeMap::new()),
            Some(looked) => (Some(Arc::clone(&looked.client)), looked.holds.clone()),
        };
        let mut before = self.held().ends.clone();
        if before.as_ref() == Some(ends) {
            return Ok(());
        }
        let is_gone = |(partition, end): (&i32, &i64)| {
            holds.get(partition).is_some_and(|held| held.start > *end)
        };
        if before.iter().flatten().any(is_gone) {
            // Retention has passed records that were not read: the rest is the table.
            self.forget_rows();
            before = None;
        }
        let (mut table, connected) = match &before {
            // A client for more than a few changes.
            None => (self.snapshot.clone(), Connected::default()),
            Some(_) => (
                self.changes.clone(),
                client
                    .clone()
                    .map_or_else(Connected::default, Connected::new),
            ),
        };
        let begin = self.begin(before, ends, &holds, client).await?;
        if let Some(begin) = begin {
            table.options.start = Bound::Offsets(begin);
        }
        table.options.end = Bound::Offsets(ends.clone());
        let columns = (0..table.schema.arrow().fields().len()).collect();
        let plan = scan_held(&Arc::new(table), columns, holds, connected)?;
        let mut records = execute_stream(plan, Arc::clone(context))?;
        while let Some(batch) = records.next().await {
            self.held().rows.apply(&batch?)?;
            state.batch();
        }
        self.held().ends = Some(ends.clone());
        Ok(())
    }

    /// Where to read from, of all partitions: from `before` on, where there are rows
    /// already; `None` where the table says.
    ///
    /// A table that starts at its end starts where that was when the query began, however
    /// often it begins again; one that starts at a time, at the first record of that time,
    /// which may not have come yet. Partitions that the topic gets start at their beginning.
    async fn begin(
        &self,
        before: Option<BTreeMap<i32, i64>>,
        ends: &BTreeMap<i32, i64>,
        holds: &BTreeMap<i32, OffsetRange>,
        client: Option<Arc<Client>>,
    ) -> DataFusionResult<Option<BTreeMap<i32, i64>>> {
        let before = match (&self.declared.options.start, before) {
            (_, Some(before)) => before,
            (Bound::Latest, None) => self.first_ends(ends),
            (_, None) => return Ok(None),
        };
        let low = |partition| holds.get(partition).map_or(0, |held| held.start);
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

    /// Where the topic ended when the query began.
    fn first_ends(&self, ends: &BTreeMap<i32, i64>) -> BTreeMap<i32, i64> {
        let first = self.first_ends.lock();
        let mut first = first.unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| ends.clone()).clone()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looked(&self) -> MutexGuard<'_, Option<Looked>> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rows that an input holds, as a table.
pub(super) struct SnapshotTable(pub(super) Arc<Input>);

impl fmt::Debug for SnapshotTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SnapshotTable")
            .field(&self.0.declared.topic)
            .finish()
    }
}

#[async_trait]
impl TableProvider for SnapshotTable {
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
        let batches = self.0.held().rows.batches(&columns)?;
        let schema = Arc::new(schema.project(&columns)?);
        let count = state.config().target_partitions().max(1);
        let mut partitions: Vec<Vec<RecordBatch>> = vec![Vec::new(); count];
        for (number, batch) in batches.into_iter().enumerate() {
            if let Some(partition) = partitions.get_mut(number % count) {
                // Tombstones were among the records, and are not among the rows.
                let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                let schema = Arc::clone(&schema);
                let columns = batch.columns().to_vec();
                partition.push(RecordBatch::try_new_with_options(schema, columns, &rows)?);
            }
        }
        Ok(MemorySourceConfig::try_new_exec(&partitions, schema, None)?)
    }
}
