//! The state that the streams of a plan share while the plan runs.
//!
//! DataFusion starts each output partition of each scan by a separate call. The calls of one
//! execution have one thing in common: they pass the same [`TaskContext`]. The address of the
//! context therefore identifies an execution, and the streams of an execution share one snapshot
//! of the topic.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use rdkafka_extra::TopicId;

use crate::client::{Cancel, Client, OffsetRange, Topic};
use crate::error::{Error, Result};
use crate::options::CheckKeys;
use crate::source::keys::{FoundKeys, KeyPartitions};
use crate::source::once::Once;
use crate::source::scan::ScanSpec;
use crate::source::snapshot::Snapshot;
use crate::source::topic_guard::Checked;

/// The executions of a plan's scans of one topic. Most plans are executed once.
///
/// The last execution is kept for two reasons: a second execution must notice that there was a
/// first one, and streams may start after others have ended. Older executions are kept while they
/// may still start streams.
#[derive(Default)]
pub(crate) struct PlanState(Mutex<Vec<Execution>>);

/// One execution of the plan, identified by its task context.
#[derive(Default)]
struct Execution {
    /// Identifies the execution. A weak reference keeps the allocation, so no other context can
    /// have the same address.
    context: Weak<TaskContext>,
    /// The topic at the start, shared by all scans so that they see one snapshot.
    begun: Arc<Once<TopicState>>,
    scans: HashMap<usize, ScanState>,
}

/// The state of one scan in one execution. A scan runs more than once in an execution where its
/// result is needed again, as in each turn of a recursive query.
#[derive(Default)]
struct ScanState {
    snapshot: Arc<Once<Snapshot>>,
    /// The output partitions that were started in the current run. A partition that is started a
    /// second time begins a new run.
    joined: HashSet<usize>,
    /// The partition of every key, shared by these output partitions, even where some ended
    /// before others started.
    key_partitions: Arc<OnceLock<KeyPartitions>>,
    /// The current run. The reference is weak because a client lives as long as a stream reads,
    /// not as long as the plan.
    last: Weak<SharedScan>,
}

/// The topic at the beginning of an execution.
#[derive(Clone)]
struct TopicState {
    topic: Topic,
    watermarks: BTreeMap<i32, OffsetRange>,
}

impl PlanState {
    /// Returns the state that one stream shares with the other streams of this run. The stream
    /// reads output partition `partition` of `partitions`.
    ///
    /// # Errors
    /// The plan was executed before, and its dynamic filters still hold what they learned then.
    pub(crate) fn join(
        &self,
        scan: usize,
        partition: usize,
        partitions: usize,
        spec: &ScanSpec,
        context: &Arc<TaskContext>,
    ) -> Result<Arc<SharedScan>> {
        let mut executions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |other: &Execution| Weak::as_ptr(&other.context) == Arc::as_ptr(context);
        let has_run = |other: &Execution| !same(other) && other.has_started(scan, partition);
        if executions.iter().any(has_run) && spec.has_dynamic_filters() {
            return Err(Error::Unsupported(format!(
                "the plan has been executed before, and its joins or ORDER BY .. LIMIT still filter \
                 topic `{}` by what they learned then; plan the query again",
                spec.table.topic
            )));
        }
        let mut execution = match executions.iter().position(same) {
            Some(place) => executions.remove(place),
            None => Execution {
                context: Arc::downgrade(context),
                ..Execution::default()
            },
        };
        let run = execution.join(scan, partition, partitions, spec);
        executions.retain(|other| other.context.strong_count() > 0);
        executions.push(execution);
        Ok(run)
    }

    /// The snapshot of a scan in the last execution, once it is known.
    pub(crate) fn snapshot(&self, scan: usize) -> Option<Snapshot> {
        let executions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        executions.last()?.scans.get(&scan)?.snapshot.made()
    }
}

impl Execution {
    fn has_started(&self, scan: usize, partition: usize) -> bool {
        let runs = self.scans.get(&scan);
        runs.is_some_and(|runs| runs.joined.contains(&partition))
    }

    fn join(
        &mut self,
        scan: usize,
        partition: usize,
        partitions: usize,
        spec: &ScanSpec,
    ) -> Arc<SharedScan> {
        let runs = self.scans.entry(scan).or_default();
        if !runs.joined.insert(partition) {
            runs.joined = HashSet::from([partition]);
            runs.last = Weak::new();
            runs.key_partitions = Arc::default();
        }
        let run = runs.last.upgrade().unwrap_or_else(|| {
            Arc::new(SharedScan {
                spec: spec.clone(),
                client: Once::default(),
                second_client: Once::default(),
                begun: Arc::clone(&self.begun),
                snapshot: Arc::clone(&runs.snapshot),
                checked: Checked::default(),
                bad_records: AtomicUsize::new(0),
                read: AtomicI32::new(i32::try_from(spec.watermarks.len()).unwrap_or(i32::MAX)),
                found_keys: Arc::default(),
                key_partitions: Arc::clone(&runs.key_partitions),
            })
        });
        runs.last = Arc::downgrade(&run);
        if runs.joined.len() == partitions {
            // No other stream will join this run, so only the streams keep this memory alive.
            runs.key_partitions = Arc::default();
        }
        run
    }
}

/// The state that the streams of one scan share in one run.
pub(crate) struct SharedScan {
    pub(super) spec: ScanSpec,
    client: Once<Arc<Client>>,
    second_client: Once<Arc<Client>>,
    /// The topic at the start, shared by all scans of the topic in the plan.
    begun: Arc<Once<TopicState>>,
    snapshot: Arc<Once<Snapshot>>,
    pub(super) checked: Checked,
    pub(super) bad_records: AtomicUsize,
    /// The number of partitions for which it is settled which stream reads them, if any.
    pub(super) read: AtomicI32,
    found_keys: Arc<FoundKeys>,
    key_partitions: Arc<OnceLock<KeyPartitions>>,
}

impl SharedScan {
    /// The wanted keys that were found. The set is shared by all partitions where a key is in one
    /// partition only.
    pub(super) fn found_keys(&self) -> Arc<FoundKeys> {
        match self.spec.primary_key && !self.checks_keys() {
            true => Arc::clone(&self.found_keys),
            false => Arc::default(),
        }
    }

    fn checks_keys(&self) -> bool {
        self.spec.table.options.check_keys == CheckKeys::Fail
    }

    pub(super) fn key_partitions(&self, context: &TaskContext) -> Option<&KeyPartitions> {
        let new = || {
            let consumer = format!("KafkaCheckKeys[{}]", self.spec.table.topic);
            KeyPartitions::new(MemoryConsumer::new(consumer).register(context.memory_pool()))
        };
        self.checks_keys()
            .then(|| self.key_partitions.get_or_init(new))
    }

    /// The partitions that a topic of `count` partitions has, and that no stream reads yet. The
    /// caller reads them.
    pub(super) fn claim_partitions(&self, count: i32) -> Range<i32> {
        self.read.fetch_max(count, Ordering::Relaxed)..count
    }

    /// Returns the client to read a group of partitions with, the topic's id and the offsets to
    /// read. The first stream that asks looks them up. `groups` are all that the scan reads.
    pub(super) fn open(
        &self,
        group: usize,
        groups: &[Vec<i32>],
        memory: usize,
        cancel: &Cancel,
    ) -> Result<(Arc<Client>, Option<TopicId>, Snapshot)> {
        let table = &self.spec.table;
        let client = self
            .client
            .get(|| match self.spec.planning_client.take(memory) {
                Some(client) => Ok(client),
                None => Client::with_memory(&table.topic, &table.options, memory).map(Arc::new),
            })?;
        let TopicState {
            topic,
            mut watermarks,
        } = self.begun.get(|| {
            // The id is looked up before the offsets. In the other order, the offsets could
            // belong to an earlier topic of the same name.
            let topic = client.topic(cancel)?;
            let wait_for = &table.options.wait_for;
            let watermarks = client.watermarks_behind(&topic.partitions(), wait_for, cancel)?;
            Ok(TopicState { topic, watermarks })
        })?;
        if table.unbounded {
            // Partitions that were added since planning are read like any that are added later.
            watermarks.retain(|partition, _| self.spec.watermarks.contains_key(partition));
        }
        if !watermarks.keys().eq(self.spec.watermarks.keys()) {
            return Err(Error::Request {
                act: "read the partitions",
                topic: table.topic.clone(),
                reason: "they have changed since the query was planned; plan it again".to_owned(),
            });
        }
        let snapshot = self.snapshot.get(|| {
            Snapshot::resolve(&client, &table.topic, &table.options, &watermarks, cancel)
        })?;
        let offsets: i64 = groups.iter().map(|group| snapshot.offsets(group)).sum();
        let many = offsets >= OFFSETS_FOR_TWO && self.spec.limit.is_none();
        let client = match many && !table.unbounded && group % 2 == 1 {
            false => client,
            true => self
                .second_client
                .get(|| Client::with_memory(&table.topic, &table.options, memory).map(Arc::new))?,
        };
        Ok((client, topic.id, snapshot))
    }
}

/// The number of offsets from which on a scan uses two clients. Below it, connecting the second
/// client costs more than that client saves.
///
/// A client sends a fetch request, waits for the response, parses the records, and only then
/// sends the next request. A second client works while the first one waits. Two clients usually
/// read as fast as brokers and networks allow.
const OFFSETS_FOR_TWO: i64 = 200_000;

impl Drop for SharedScan {
    fn drop(&mut self) {
        let bad_records = *self.bad_records.get_mut();
        if bad_records > 0 {
            log::warn!(
                "topic `{}`: {bad_records} records did not fit the table (`kafka.on_bad_record`)",
                self.spec.table.topic
            );
        }
    }
}
