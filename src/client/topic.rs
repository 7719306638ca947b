//! A topic as its brokers describe it.

use std::collections::BTreeMap;

use rdkafka_extra::{TopicDescription, TopicId};

/// The brokers' description of a topic.
#[derive(Clone)]
pub(crate) struct Topic {
    /// The id of the broker that leads each partition; negative where the partition has no
    /// leader.
    pub(super) leaders: BTreeMap<i32, i32>,
    /// `None` where the brokers do not reveal the id.
    pub(crate) id: Option<TopicId>,
}

impl Topic {
    /// The partitions, in ascending order.
    pub(crate) fn partitions(&self) -> Vec<i32> {
        self.leaders.keys().copied().collect()
    }

    /// Whether this topic certainly has another id.
    pub(crate) fn is_another(&self, id: Option<TopicId>) -> bool {
        matches!((self.id, id), (Some(now), Some(then)) if now != then)
    }
}

impl From<TopicDescription> for Topic {
    fn from(described: TopicDescription) -> Self {
        Topic {
            leaders: described.leaders,
            id: described.id,
        }
    }
}
