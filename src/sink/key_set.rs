//! [`KeySet`]: the keys that a topic holds, in memory.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::AsArray;
use datafusion::common::utils::get_available_parallelism;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use foldhash::fast::RandomState;
use futures::StreamExt;

use crate::client::KeptClients;
use crate::definition::TableDefinition;
use crate::definition::metadata_columns::Metadata;
use crate::error::no_room;
use crate::options::{Bound, CheckKeys, Mode, NullKey, OnBadRecord};
use crate::source::exec::KafkaScanExec;
use crate::source::look_ups::{LookUps, PlannedTopic};
use crate::source::scan::ScanSpec;

/// The keys that a topic holds, each with a value, kept up to date while the topic is written.
pub(crate) struct KeySet<V> {
    keys: HashMap<Box<[u8]>, V, RandomState>,
    key_bytes: usize,
    topic: String,
    memory: MemoryReservation,
}

/// An estimate of the allocator's overhead per key, in bytes.
const ALLOCATION: usize = 16;

impl<V> KeySet<V> {
    /// An empty set. Its memory is reserved under the name of the topic.
    pub(crate) fn new(topic: &str, context: &TaskContext) -> Self {
        let consumer = MemoryConsumer::new(format!("KafkaKeys[{topic}]"));
        KeySet {
            keys: HashMap::default(),
            key_bytes: 0,
            topic: topic.to_owned(),
            memory: consumer.register(context.memory_pool()),
        }
    }

    pub(crate) fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        self.keys.get_mut(key)
    }

    pub(crate) fn insert(&mut self, key: &[u8], value: V) {
        match self.keys.get_mut(key) {
            Some(known) => *known = value,
            None => {
                self.key_bytes += key.len();
                self.keys.insert(key.into(), value);
            }
        }
    }

    /// Removes a key, and returns whether the set held it.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let removed = self.keys.remove(key).is_some();
        if removed {
            self.key_bytes -= key.len();
        }
        removed
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &V)> {
        self.keys.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// The reserved bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory.size()
    }

    /// Reserves the memory that the keys use now.
    ///
    /// # Errors
    /// The memory pool has no room.
    pub(crate) fn reserve(&self) -> DataFusionResult<()> {
        // A hash map fills at most 7/8 of its buckets and has one control byte for each.
        let entry = size_of::<(Box<[u8]>, V)>() + 1;
        let table = self.keys.capacity() * 8 / 7 * entry;
        self.memory
            .try_resize(table + self.key_bytes + self.keys.len() * ALLOCATION)
            .map_err(|error| {
                log::debug!("topic `{}`: {error}", self.topic);
                no_room(
                    format_args!("topic `{}`", self.topic),
                    format_args!("the {} keys that the topic holds", self.keys.len()),
                )
            })
    }
}

impl KeySet<()> {
    /// Reads the keys of all rows that the topic holds now.
    pub(crate) async fn of_topic(
        table: &Arc<TableDefinition>,
        context: &Arc<TaskContext>,
    ) -> DataFusionResult<Self> {
        let mut known = KeySet::new(&table.topic, context);
        let reading = Arc::new(as_it_is(table).with_record(&[Metadata::RecordKey])?);
        let last = reading.schema.arrow().fields().len().saturating_sub(1);
        let scan = scan(&reading, vec![last]).await?;
        let mut rows = execute_stream(scan, Arc::clone(context))?;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let keys = batch.columns().first().and_then(|c| c.as_binary_view_opt());
            for key in keys.into_iter().flatten().flatten() {
                known.insert(key, ());
            }
            known.reserve()?;
        }
        Ok(known)
    }
}

/// The definition that reads all current rows of a topic that is written. It overrides the
/// options that would leave out or change rows.
pub(crate) fn as_it_is(table: &TableDefinition) -> TableDefinition {
    let mut reading = table.clone();
    let options = &mut reading.options;
    options.mode = Some(Mode::Upsert);
    (options.start, options.end) = (Bound::Earliest, Bound::Latest);
    options.null_key = NullKey::Skip;
    options.check_keys = CheckKeys::Ignore;
    options.on_bad_record = OnBadRecord::Fail;
    (reading.unbounded, reading.is_change_log) = (false, false);
    reading
}

/// A plan that reads these columns of all rows.
pub(crate) async fn scan(
    table: &Arc<TableDefinition>,
    columns: Vec<usize>,
) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    let topic = LookUps::default()
        .topic(table, &KeptClients::default())
        .await?;
    scan_with(table, columns, topic)
}

/// The same as [`scan`], of a topic that has been looked up.
pub(crate) fn scan_with(
    table: &Arc<TableDefinition>,
    columns: Vec<usize>,
    topic: PlannedTopic,
) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    let spec = ScanSpec {
        table: Arc::clone(table),
        returned: columns.len(),
        columns,
        filter: None,
        limit: None,
        primary_key: false,
        watermarks: topic.watermarks,
        planning_client: topic.client,
        ends: topic.ends,
        target_partitions: get_available_parallelism(),
        passed: None,
    };
    Ok(Arc::new(KafkaScanExec::try_new(spec)?))
}
