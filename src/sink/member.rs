//! One instance of a continuous query, as the brokers know it.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, PoisonError};

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{Cancel, Group};
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
    /// Whose offsets stood there when they were last looked at.
    owners: Mutex<BTreeMap<(String, i32), String>>,
}

impl Member {
    /// An instance of the query of this name, on the servers of these options.
    pub(crate) fn new(query: &str, options: &TableOptions) -> Result<Self> {
        Ok(Member {
            query: query.to_owned(),
            group: Group::new(query, options)?,
            id: random_id(),
            owners: Mutex::default(),
        })
    }

    /// The same for all instances. Its beginning can be named in an ACL.
    pub(super) fn transactional_id(&self) -> String {
        format!("datafusion-kafka-{}", self.query)
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
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let mut positions = BTreeMap::new();
        for (partition, committed) in committed {
            owners.insert((topic.to_owned(), partition), committed.owner);
            positions.insert(partition, committed.offset);
        }
        Ok(positions)
    }

    /// Commits where the query has come to, where no transaction does. Waits for
    /// brokers.
    ///
    /// # Errors
    /// [`Error::Fenced`] where another instance has committed meanwhile.
    pub(crate) fn commit(&self, read: &Positions, cancel: &Cancel) -> Result<()> {
        for (topic, positions) in read {
            let partitions: Vec<i32> = positions.keys().copied().collect();
            let committed = self.group.all_committed(topic, &partitions, cancel)?;
            let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
            for (partition, committed) in committed {
                let known = owners.get(&(topic.clone(), partition));
                if committed.owner != self.id && known != Some(&committed.owner) {
                    return Err(self.fenced());
                }
            }
            self.group
                .commit(topic, &self.offsets_of(topic, positions)?)?;
            for partition in partitions {
                owners.insert((topic.clone(), partition), self.id.clone());
            }
        }
        Ok(())
    }

    /// What a transaction commits beside its records.
    pub(super) fn offsets(&self, read: &Positions) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (topic, positions) in read {
            for element in self.offsets_of(topic, positions)?.elements() {
                let added = list.add_partition_offset(
                    element.topic(),
                    element.partition(),
                    element.offset(),
                );
                added.map_err(|error| self.error(topic, &error.to_string()))?;
            }
        }
        Ok(list)
    }

    fn offsets_of(
        &self,
        topic: &str,
        positions: &BTreeMap<i32, i64>,
    ) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (partition, offset) in positions {
            let mut element = list.add_partition(topic, *partition);
            let set = element.set_offset(Offset::Offset(*offset));
            set.map_err(|error| self.error(topic, &error.to_string()))?;
            element.set_metadata(&self.id);
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
pub(super) fn random_id() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}
