//! The state that the streams of a scan share while the scan runs.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use rdkafka_extra::TopicId;

use crate::client::{Cancel, Client};
use crate::error::{Error, Result};
use crate::options::CheckKeys;
use crate::source::ends::FixedEnds;
use crate::source::key_partitions::KeyPartitions;
use crate::source::keys::FoundKeys;
use crate::source::once::Once;
use crate::source::scan::ScanSpec;
use crate::source::snapshot::Snapshot;
use crate::source::spill::Disk;
use crate::source::topic_guard::Checked;

/// The runs of one scan. Most scans run once. A scan runs again where its rows are needed again,
/// as in each turn of a recursive query, and a plan can be executed twice at the same time.
///
/// DataFusion starts each output partition by a separate call, which does not say to which
/// execution it belongs. A stream therefore joins a run that still lacks its partition. Which of
/// two such runs this is makes no difference: both return the same rows, and each gets each
/// partition once.
#[derive(Default)]
pub(crate) struct Runs(Mutex<Vec<Run>>);

#[derive(Default)]
struct Run {
    /// The output partitions that were started.
    joined: HashSet<usize>,
    /// The context of the last stream. The weak reference keeps the allocation, so no other
    /// context is taken for this one.
    context: Weak<TaskContext>,
    /// The partition of every key, shared by the output partitions, even where some ended before
    /// others started.
    key_partitions: Arc<OnceLock<KeyPartitions>>,
    /// The reference is weak because a client lives as long as a stream reads, not as long as the
    /// plan.
    shared: Weak<SharedScan>,
}

impl Runs {
    /// Returns the state that one stream shares with the other streams of its run. The stream
    /// reads output partition `partition` of `partitions`.
    ///
    /// # Errors
    /// The partition was started before, and the scan's dynamic filters still hold what they
    /// learned then.
    pub(crate) fn join(
        &self,
        partition: usize,
        partitions: usize,
        spec: &ScanSpec,
        context: &Arc<TaskContext>,
    ) -> Result<Arc<SharedScan>> {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let context = Arc::downgrade(context);
        let lacks_it = |run: &Run| !run.joined.contains(&partition);
        let is_same = |run: &Run| run.context.ptr_eq(&context);
        // The newest, since an older run may have been given up before all partitions started.
        let lacking = runs.iter().rposition(|run| lacks_it(run) && is_same(run));
        let mut run = match lacking.or_else(|| runs.iter().rposition(lacks_it)) {
            Some(nth) => runs.remove(nth),
            // In the same execution, what the filters learned still applies: a nested loop join
            // that runs out of memory starts its input a second time.
            None if spec.has_dynamic_filters() && !runs.is_empty() && !runs.iter().any(is_same) => {
                return Err(Error::Unsupported(format!(
                    "the plan has been executed before, and its joins or ORDER BY .. LIMIT still \
                     filter topic `{}` by what they learned then; plan the query again",
                    spec.table.topic
                )));
            }
            None => {
                runs.retain(|run| run.shared.strong_count() > 0);
                Run::default()
            }
        };
        run.joined.insert(partition);
        run.context = context;
        let shared = run.shared.upgrade();
        let shared = shared
            .unwrap_or_else(|| Arc::new(SharedScan::new(spec, Arc::clone(&run.key_partitions))));
        run.shared = Arc::downgrade(&shared);
        if run.joined.len() == partitions {
            // No other stream will join this run, so only the streams keep this memory alive.
            run.key_partitions = Arc::default();
        }
        runs.push(run);
        Ok(shared)
    }
}

/// The state that the streams of one scan share in one run.
pub(crate) struct SharedScan {
    pub(super) spec: ScanSpec,
    client: Once<Arc<Client>>,
    second_client: Once<Arc<Client>>,
    pub(super) checked: Checked,
    pub(super) bad_records: AtomicUsize,
    /// The number of partitions for which it is settled which stream reads them, if any.
    pub(super) read: AtomicI32,
    found_keys: Arc<FoundKeys>,
    key_partitions: Arc<OnceLock<KeyPartitions>>,
}

impl SharedScan {
    fn new(spec: &ScanSpec, key_partitions: Arc<OnceLock<KeyPartitions>>) -> Self {
        SharedScan {
            spec: spec.clone(),
            client: Once::default(),
            second_client: Once::default(),
            checked: Checked::default(),
            bad_records: AtomicUsize::new(0),
            read: AtomicI32::new(i32::try_from(spec.watermarks.len()).unwrap_or(i32::MAX)),
            found_keys: Arc::default(),
            key_partitions,
        }
    }

    /// Has the clients destroyed, since the scan did not end well.
    pub(super) fn discard_clients(&self) {
        let clients = [self.client.made(), self.second_client.made()];
        clients.iter().flatten().for_each(|client| client.discard());
    }

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

    /// The partition of every key of `groups` groups, where `kafka.check_keys` asks for it.
    pub(super) fn key_partitions(
        &self,
        groups: usize,
        disk: Option<&Disk>,
        context: &TaskContext,
    ) -> Option<&KeyPartitions> {
        let new = || {
            let (topic, pool) = (&self.spec.table.topic, context.memory_pool());
            let memory = MemoryConsumer::new(format!("KafkaCheckKeys[{topic}]")).register(pool);
            KeyPartitions::new(topic, groups, memory, pool.as_ref(), disk.cloned())
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
            .get(|| self.spec.planning_client.take(table, memory))?;
        let planned = &self.spec.watermarks;
        let FixedEnds { topic_id, snapshot } =
            self.spec.ends.get(&client, table, planned, cancel)?;
        let offsets: i64 = groups.iter().map(|group| snapshot.offsets(group)).sum();
        let many = offsets >= OFFSETS_FOR_TWO && self.spec.limit.is_none();
        let client = match many && !table.unbounded && group % 2 == 1 {
            false => client,
            true => self
                .second_client
                .get(|| self.spec.planning_client.another(table, memory))?,
        };
        Ok((client, topic_id, snapshot))
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
