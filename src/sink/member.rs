//! One instance of a continuous query, as the brokers know it.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{Cancel, Committed, Group};
use crate::error::{Error, Result};
use crate::options::TableOptions;

/// Where a query has come to: by topic and Kafka partition, the next offset.
pub(crate) type Positions = BTreeMap<String, BTreeMap<i32, i64>>;

/// One instance of a continuous query. Its name is that of the consumer group
/// whose offsets say where the query has come to, and stands in the
/// `transactional.id`: a later instance takes both over.
pub(crate) struct Member {
    query: String,
    group: Group,
    /// Stands beside the offsets that this instance commits.
    id: String,
    /// Whose offsets stood there when they were last looked at, of the topics that
    /// were taken over.
    owners: Mutex<BTreeMap<String, BTreeMap<i32, String>>>,
}

impl Member {
    /// An instance of the query of this name, on the servers of these options. With
    /// the same id it is the same instance, which begins again: what it has asked for
    /// before may still come through.
    pub(crate) fn new(query: &str, id: &str, options: &TableOptions) -> Result<Self> {
        Ok(Member {
            query: query.to_owned(),
            group: Group::new(query, options)?,
            id: id.to_owned(),
            owners: Mutex::default(),
        })
    }

    /// The name of the query, which is that of its consumer group.
    pub(super) fn query(&self) -> &str {
        &self.query
    }

    pub(super) fn metadata(&self, topic: &str) -> Result<ConsumerGroupMetadata> {
        self.group.metadata(topic)
    }

    /// Takes the offsets of a topic over from an earlier instance, and says which
    /// they are. Waits for brokers.
    pub(crate) fn take_over(
        &self,
        topic: &str,
        partitions: &[i32],
        cancel: &Cancel,
    ) -> Result<BTreeMap<i32, i64>> {
        let committed = self.group.all_committed(topic, partitions, cancel)?;
        let mut all = self.owners();
        let owners = all.entry(topic.to_owned()).or_default();
        let mut positions = BTreeMap::new();
        for (partition, committed) in committed {
            owners.insert(partition, committed.owner);
            positions.insert(partition, committed.offset);
        }
        Ok(positions)
    }

    /// Makes sure that nobody else has committed offsets of a topic since this
    /// instance took it over. Waits for brokers.
    ///
    /// # Errors
    /// [`Error::Fenced`] where another instance has.
    pub(crate) fn check(&self, topic: &str, partitions: &[i32], cancel: &Cancel) -> Result<()> {
        // As they were before it is asked: this instance itself may commit meanwhile.
        let Some(owners) = self.owners().get(topic).cloned() else {
            return Ok(());
        };
        let committed = self.group.all_committed(topic, partitions, cancel)?;
        let is_ours = |(partition, committed): (i32, Committed)| {
            committed.owner == self.id || owners.get(&partition) == Some(&committed.owner)
        };
        match committed.into_iter().all(is_ours) {
            true => Ok(()),
            false => Err(self.fenced()),
        }
    }

    /// Commits where the query has come to, where no transaction does. Waits for
    /// brokers.
    ///
    /// # Errors
    /// [`Error::Fenced`] where another instance has committed meanwhile.
    pub(crate) fn commit(&self, read: &Positions, cancel: &Cancel) -> Result<()> {
        for (topic, positions) in read {
            let partitions: Vec<i32> = positions.keys().copied().collect();
            self.check(topic, &partitions, cancel)?;
            let offsets = Positions::from([(topic.clone(), positions.clone())]);
            self.group.commit(topic, &self.offsets(&offsets)?)?;
            let owners = partitions.into_iter().map(|p| (p, self.id.clone()));
            self.owners().insert(topic.clone(), owners.collect());
        }
        Ok(())
    }

    fn owners(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<i32, String>>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is committed, each offset with the id of this instance.
    pub(super) fn offsets(&self, read: &Positions) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (topic, positions) in read {
            for (partition, offset) in positions {
                let mut element = list.add_partition(topic, *partition);
                let set = element.set_offset(Offset::Offset(*offset));
                set.map_err(|error| self.error(topic, &error.to_string()))?;
                element.set_metadata(&self.id);
            }
        }
        Ok(list)
    }

    pub(super) fn fenced(&self) -> Error {
        Error::Fenced {
            query: self.query.clone(),
        }
    }

    fn error(&self, topic: &str, reason: &str) -> Error {
        Error::Request {
            act: "commit the offsets",
            topic: topic.to_owned(),
            reason: format!("continuous query `{}`: {reason}", self.query),
        }
    }
}

/// An id that nobody else has.
pub(crate) fn random_id() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}
