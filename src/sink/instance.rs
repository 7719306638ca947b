//! [`QueryInstance`]: one instance of a continuous query, and the offsets that it commits.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_extra::TopicId;

use crate::client::{Cancel, Group, Measurements};
use crate::error::{Error, Result};
use crate::options::TableOptions;
use crate::sink::mark::Mark;

/// How far a query has come: the next offset, by topic and Kafka partition.
pub(crate) type Positions = BTreeMap<String, BTreeMap<i32, i64>>;

/// The interval at which unchanged offsets are committed again.
///
/// Brokers delete the offsets of an idle group after `offsets.retention.minutes`, which is at
/// least a minute. The commits also keep the `transactional.id` from expiring.
pub(crate) const RENEWED: Duration = Duration::from_secs(20);

/// One instance of a continuous query.
///
/// All instances share the query's name. It is the name of the consumer group that keeps the
/// committed offsets, and part of the `transactional.id`. A later instance takes over both.
/// The instance is not a member of the group; the group only stores its offsets.
pub(crate) struct QueryInstance {
    query: String,
    group: Group,
    /// Identifies this instance in the [`Mark`] of the offsets that it commits.
    id: String,
    known: Mutex<Known>,
    measurements: Arc<Measurements>,
}

/// What an instance knows of the topics whose offsets it has claimed.
#[derive(Default)]
struct Known {
    /// The instance that had committed each offset when the offset was last read.
    committed_by: BTreeMap<String, BTreeMap<i32, String>>,
    /// Where the query began to read at its first start.
    starts: Positions,
    sources: BTreeMap<String, TopicId>,
    output: Option<TopicId>,
}

/// An offset that an instance of the query has committed.
#[derive(Debug, Clone)]
pub(crate) struct OwnOffset {
    /// The next offset to read.
    pub(crate) offset: i64,
    pub(crate) mark: Mark,
}

impl QueryInstance {
    /// An instance of the query `query`, on the servers of these options.
    ///
    /// A query that restarts after a failure passes the same `id`. A commit that it requested
    /// before the failure may still arrive, and must not look like one of another instance.
    pub(crate) fn new(
        query: &str,
        id: &str,
        options: &TableOptions,
        measurements: &Arc<Measurements>,
    ) -> Result<Self> {
        Ok(QueryInstance {
            query: query.to_owned(),
            group: Group::new(query, options)?,
            id: id.to_owned(),
            known: Mutex::default(),
            measurements: Arc::clone(measurements),
        })
    }

    /// The name of the query and of its consumer group.
    pub(crate) fn query(&self) -> &str {
        &self.query
    }

    /// The measurements of the query's clients.
    pub(super) fn measurements(&self) -> &Arc<Measurements> {
        &self.measurements
    }

    pub(super) fn metadata(&self, topic: &str) -> Result<ConsumerGroupMetadata> {
        self.group.metadata(topic)
    }

    /// Makes sure that no other program uses the consumer group of the query's name. All
    /// offsets of the group, of any topic, must have a [`Mark`], and the group must have no
    /// members. Waits for brokers. `topic` is only for errors.
    ///
    /// # Errors
    /// [`Error::ContinuousQuery`]
    pub(crate) fn check_name(&self, topic: &str, cancel: &Cancel) -> Result<()> {
        let used = self
            .group
            .use_by_others(topic, cancel, |metadata| Mark::parse(metadata).is_some())?;
        match used {
            None => Ok(()),
            Some(used) => Err(self.refused(format!(
                "consumer group `{name}` is another program's: {used}; give the query another name, \
                 or delete the group if nothing else uses it (`kafka-consumer-groups.sh --delete \
                 --group {name}`)",
                name = self.query
            ))),
        }
    }

    /// Claims the offsets of a topic from earlier instances, and returns the offsets. Waits for
    /// brokers.
    ///
    /// The claim is complete when this instance commits them. Until then it remembers which
    /// instance had committed them, so that [`check`](Self::check) accepts those commits.
    pub(crate) fn claim_offsets(
        &self,
        topic: &str,
        partitions: &[i32],
        cancel: &Cancel,
    ) -> Result<BTreeMap<i32, OwnOffset>> {
        let committed = self.group.all_committed(topic, partitions, cancel)?;
        let mut known = self.known();
        let committed_by = known.committed_by.entry(topic.to_owned()).or_default();
        let mut offsets = BTreeMap::new();
        for (partition, committed) in committed {
            let mark = Mark::parse(&committed.metadata).unwrap_or_default();
            committed_by.insert(partition, mark.instance.clone());
            let offset = committed.offset;
            offsets.insert(partition, OwnOffset { offset, mark });
        }
        Ok(offsets)
    }

    /// Sets what is stored with the offsets of a topic for the next restart: the topic's id, and
    /// where the query began to read each partition at its first start.
    pub(crate) fn set_source(&self, topic: &str, id: Option<TopicId>, starts: BTreeMap<i32, i64>) {
        let mut known = self.known();
        known.starts.insert(topic.to_owned(), starts);
        if let Some(id) = id {
            known.sources.insert(topic.to_owned(), id);
        }
    }

    /// The ids of the topics that are read.
    pub(crate) fn sources(&self) -> BTreeMap<String, TopicId> {
        self.known().sources.clone()
    }

    /// Sets the id of the topic that is written.
    pub(crate) fn set_output(&self, id: Option<TopicId>) {
        self.known().output = id;
    }

    /// The id of the topic that is written, as it was when the instance began.
    pub(crate) fn output(&self) -> Option<TopicId> {
        self.known().output
    }

    /// Makes sure that no other instance has committed offsets of a topic since this instance
    /// claimed them. Waits for brokers.
    ///
    /// # Errors
    /// [`Error::Fenced`] if another instance has committed.
    pub(crate) fn check(&self, topic: &str, partitions: &[i32], cancel: &Cancel) -> Result<()> {
        // Read before the request, since this instance itself may commit during the request.
        let Some(committed_by) = self.known().committed_by.get(topic).cloned() else {
            return Ok(());
        };
        let committed = self.group.all_committed(topic, partitions, cancel)?;
        let is_ours = |partition: &i32, metadata: &str| {
            let owner = Mark::parse(metadata).unwrap_or_default().instance;
            owner == self.id || committed_by.get(partition) == Some(&owner)
        };
        match committed.iter().all(|(p, c)| is_ours(p, &c.metadata)) {
            true => Ok(()),
            false => Err(self.fenced()),
        }
    }

    /// [`check`](Self::check)s all topics whose offsets were claimed.
    pub(crate) fn check_all(&self, cancel: &Cancel) -> Result<()> {
        let topics: Vec<(String, Vec<i32>)> = {
            let known = self.known();
            let committed_by = known.committed_by.iter();
            committed_by
                .map(|(topic, committed_by)| {
                    (topic.clone(), committed_by.keys().copied().collect())
                })
                .collect()
        };
        for (topic, partitions) in topics {
            self.check(&topic, &partitions, cancel)?;
        }
        Ok(())
    }

    /// Commits the offsets `read` without a transaction. Waits for brokers.
    ///
    /// # Errors
    /// [`Error::Fenced`] if another instance has committed in the meantime.
    pub(crate) fn commit(&self, read: &Positions, cancel: &Cancel) -> Result<()> {
        for (topic, positions) in read {
            let partitions: Vec<i32> = positions.keys().copied().collect();
            self.check(topic, &partitions, cancel)?;
            let offsets = Positions::from([(topic.clone(), positions.clone())]);
            self.group.commit(topic, &self.offsets(&offsets)?)?;
        }
        self.committed(read);
        Ok(())
    }

    /// Remembers that this instance has committed the offsets.
    pub(super) fn committed(&self, read: &Positions) {
        let mut known = self.known();
        for (topic, positions) in read {
            let committed_by = known.committed_by.entry(topic.clone()).or_default();
            committed_by.extend(positions.keys().map(|p| (*p, self.id.clone())));
        }
    }

    /// The offsets to commit, each with a [`Mark`] of this instance.
    pub(super) fn offsets(&self, read: &Positions) -> Result<TopicPartitionList> {
        let known = self.known();
        let mut list = TopicPartitionList::new();
        for (topic, positions) in read {
            let starts = known.starts.get(topic);
            for (partition, offset) in positions {
                let mut element = list.add_partition(topic, *partition);
                let set = element.set_offset(Offset::Offset(*offset));
                set.map_err(|error| self.error(topic, &error.to_string()))?;
                let mark = Mark {
                    instance: self.id.clone(),
                    start: starts.and_then(|starts| starts.get(partition).copied()),
                    source: known.sources.get(topic).copied(),
                    output: known.output,
                };
                element.set_metadata(mark.text());
            }
        }
        Ok(list)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fenced(&self) -> Error {
        Error::Fenced {
            query: self.query.clone(),
        }
    }

    /// The error of a query that cannot go on for this reason.
    pub(crate) fn refused(&self, reason: String) -> Error {
        Error::ContinuousQuery {
            query: self.query.clone(),
            reason,
        }
    }

    fn error(&self, topic: &str, reason: &str) -> Error {
        Error::Request {
            act: "commit the offsets",
            topic: topic.to_owned(),
            code: None,
            reason: format!("continuous query `{}`: {reason}", self.query),
        }
    }
}

/// A random id of 128 bits, in hexadecimal.
pub(crate) fn random_id() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}
