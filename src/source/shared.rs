//! What the streams of a plan share while it runs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicI32, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use rdkafka_extra::TopicId;

use crate::client::{Cancel, Client, OffsetRange, Topic};
use crate::error::{Error, Result};
use crate::options::CheckKeys;
use crate::source::keys::{FoundKeys, KeyPartitions};
use crate::source::offsets::Snapshot;
use crate::source::once::Once;
use crate::source::scan::ScanSpec;
use crate::source::topic_guard::Checked;

/// The runs of a plan's scans of one topic; most plans run once.
///
/// The last execution stays, to tell that there was one, and for streams that start after others ended; older
/// ones stay as long as they may still start streams.
#[derive(Default)]
pub(crate) struct PlanState(Mutex<Vec<Execution>>);

/// One execution of the plan, which is what has one task context.
#[derive(Default)]
struct Execution {
    /// As long as this is kept, no other context can have its address.
    context: Weak<TaskContext>,
    /// Of all scans: one instant for all.
    begun: Arc<Once<TopicState>>,
    scans: HashMap<usize, ScanState>,
}

/// The runs of one scan in one execution: more than one where its result is
/// asked for again, as in each turn of a recursive query.
#[derive(Default)]
struct ScanState {
    snapshot: Arc<Once<Snapshot>>,
    /// The output partitions that were started since one was started again.
    joined: HashSet<usize>,
    /// Of all of these, also where some ended before others were started.
    homes: Arc<OnceLock<KeyPartitions>>,
    /// A client lives as long as a stream reads, not as long as the plan.
    last: Weak<SharedScan>,
}

/// The topic when the execution began.
#[derive(Clone)]
struct TopicState {
    topic: Topic,
    watermarks: BTreeMap<i32, OffsetRange>,
}

impl PlanState {
    /// What a stream of a scan shares with the others of this run: that of one
    /// of so many output partitions.
    ///
    /// # Errors
    /// Filters that hold what an earlier execution found out.
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
                 topic `{}` by what they found out then; plan the query again",
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

    /// What a scan reads in the last execution, once that is known.
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
            runs.homes = Arc::default();
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
                read: AtomicI32::new(i32::try_from(spec.held.len()).unwrap_or(i32::MAX)),
                met: Arc::default(),
                homes: Arc::clone(&runs.homes),
            })
        });
        runs.last = Arc::downgrade(&run);
        if runs.joined.len() == partitions {
            // Nobody else joins: their memory is that of the streams alone.
            runs.homes = Arc::default();
        }
        run
    }
}

/// What the streams of one scan share in one run.
pub(crate) struct SharedScan {
    pub(super) spec: ScanSpec,
    client: Once<Arc<Client>>,
    second_client: Once<Arc<Client>>,
    /// Shared with all scans of the topic in the plan: one instant for all.
    begun: Arc<Once<TopicState>>,
    snapshot: Arc<Once<Snapshot>>,
    pub(super) checked: Checked,
    pub(super) bad_records: AtomicUsize,
    /// Of so many partitions it is settled which stream reads them, if any.
    pub(super) read: AtomicI32,
    met: Arc<FoundKeys>,
    homes: Arc<OnceLock<KeyPartitions>>,
}

impl SharedScan {
    /// Wanted keys that were met: anywhere, where a key lives in one partition only.
    pub(super) fn met(&self) -> Arc<FoundKeys> {
        match self.spec.primary_key && !self.checks_keys() {
            true => Arc::clone(&self.met),
            false => Arc::default(),
        }
    }

    fn checks_keys(&self) -> bool {
        self.spec.table.options.check_keys == CheckKeys::Fail
    }

    pub(super) fn homes(&self, context: &TaskContext) -> Option<&KeyPartitions> {
        let homes = || {
            let consumer = format!("KafkaCheckKeys[{}]", self.spec.table.topic);
            KeyPartitions::new(MemoryConsumer::new(consumer).register(context.memory_pool()))
        };
        self.checks_keys().then(|| self.homes.get_or_init(homes))
    }

    /// The client to read a partition of all these with, the topic's id and the
    /// offsets to read, looked up for the first stream that asks.
    pub(super) fn open(
        &self,
        partition: i32,
        read: &[i32],
        memory: usize,
        cancel: &Cancel,
    ) -> Result<(Arc<Client>, Option<TopicId>, Snapshot)> {
        let table = &self.spec.table;
        let client = self.client.get(|| match self.spec.connected.take(memory) {
            Some(client) => Ok(client),
            None => Client::with_memory(&table.topic, &table.options, memory).map(Arc::new),
        })?;
        let TopicState {
            topic,
            mut watermarks,
        } = self.begun.get(|| {
            // The id before the offsets, which could else be those of an earlier topic.
            let topic = client.topic(cancel)?;
            let wait_for = &table.options.wait_for;
            let watermarks = client.watermarks_behind(&topic.partitions(), wait_for, cancel)?;
            Ok(TopicState { topic, watermarks })
        })?;
        if table.unbounded {
            // Those that the topic has got since are read as all that it gets.
            watermarks.retain(|partition, _| self.spec.held.contains_key(partition));
        }
        if !watermarks.keys().eq(self.spec.held.keys()) {
            return Err(Error::Request {
                act: "read the partitions",
                topic: table.topic.clone(),
                reason: "they are others than when the query was planned; plan it again".to_owned(),
            });
        }
        let snapshot = self.snapshot.get(|| {
            Snapshot::resolve(&client, &table.topic, &table.options, &watermarks, cancel)
        })?;
        let many = snapshot.offsets(read) >= OFFSETS_FOR_TWO && self.spec.limit.is_none();
        let client = match many && !table.unbounded && topic.is_in_second_half(partition, read) {
            false => client,
            true => self
                .second_client
                .get(|| Client::with_memory(&table.topic, &table.options, memory).map(Arc::new))?,
        };
        Ok((client, topic.id, snapshot))
    }
}

/// From so many offsets on partitions are read by two clients: what the second one saves
/// is more than it takes to connect.
///
/// A client asks a broker for records, waits, takes them apart, and asks for the next
/// ones only then; what one of two does fits into the time in which the other waits.
/// They read as fast as brokers and networks mostly are.
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
