//! A topic as its brokers describe it.

use std::collections::BTreeMap;

use rdkafka_extra::TopicId;

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

    /// Whether a partition is in the second half of the partitions `of`. The partitions of each
    /// broker are halved separately, so that both halves use all brokers.
    pub(crate) fn is_in_second_half(&self, partition: i32, of: &[i32]) -> bool {
        let leader = self.leaders.get(&partition);
        let before = of.iter().filter(|other| **other < partition);
        let with_it = before.filter(|other| self.leaders.get(other) == leader);
        with_it.count() % 2 == 1
    }

    /// Whether this topic certainly has another id.
    pub(crate) fn is_another(&self, id: Option<TopicId>) -> bool {
        matches!((self.id, id), (Some(now), Some(then)) if now != then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_brokers_partitions_are_halved() {
        let halves = |leaders: &[i32], of: &[i32]| {
            let leaders: BTreeMap<i32, i32> = (0..).zip(leaders.iter().copied()).collect();
            let topic = Topic { leaders, id: None };
            let second = of.iter().copied();
            let second = second.filter(|partition| topic.is_in_second_half(*partition, of));
            second.collect::<Vec<_>>()
        };
        assert!(halves(&[1], &[0]).is_empty());
        assert_eq!(halves(&[1, 1, 1, 1], &[0, 1, 2, 3]), [1, 3]);
        assert_eq!(halves(&[1, 2, 1, 2], &[0, 1, 2, 3]), [2, 3]);
        assert_eq!(halves(&[1, 2, 3, 3, 2, -1], &[0, 1, 2, 3, 4, 5]), [3, 4]);
        // Partitions that are not read do not count.
        assert!(halves(&[1, 1, 1, 1], &[1]).is_empty());
        assert_eq!(halves(&[1, 1, 1, 1], &[1, 3]), [3]);
    }
}
