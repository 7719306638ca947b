//! Topics, as in `kafka-topics.sh`.

use std::sync::atomic::{AtomicU64, Ordering};

use rdkafka::admin::{AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::broker::Broker;
use crate::wait::{PATIENCE, block_on, nanos, wait_until};

/// The configuration of a topic that Kafka compacts as soon and as completely as possible.
pub const COMPACTED: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("segment.ms", "100"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("max.compaction.lag.ms", "1"),
    // Tombstones are removed as soon as the records that they delete are removed.
    ("delete.retention.ms", "0"),
];

/// A unique topic name that starts with a prefix.
pub fn topic_name(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{count}-{:x}", std::process::id(), nanos())
}

impl Broker {
    /// Creates a topic and waits until every partition has a leader.
    pub fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        // The broker's default number of replicas.
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
        for &(config, value) in configs {
            topic = topic.set(config, value);
        }
        let done = block_on(self.admin().create_topics([&topic], &AdminOptions::new())).unwrap();
        done.into_iter().for_each(|topic| drop(topic.unwrap()));

        self.wait_for_leaders(name, partitions);
    }

    /// Adds partitions to a topic until it has this many, and waits until every partition answers.
    pub fn add_partitions(&self, topic: &str, partitions: usize) {
        let more = NewPartitions::new(topic, partitions);
        let admin = self.admin();
        let done = block_on(admin.create_partitions([&more], &AdminOptions::new())).unwrap();
        done.into_iter().for_each(|topic| drop(topic.unwrap()));
        self.wait_for_leaders(topic, i32::try_from(partitions).unwrap());
    }

    /// A broker that is named as the leader of a partition may still have to learn so. Therefore
    /// every leader is asked for an offset, again where an answer is lost.
    fn wait_for_leaders(&self, topic: &str, partitions: i32) {
        let consumer = self.consumer("read_committed");
        let mut first = TopicPartitionList::new();
        for partition in 0..partitions {
            // The first record since 1970.
            first
                .add_partition_offset(topic, partition, Offset::Offset(0))
                .unwrap();
        }
        let what = format!("the leaders of all partitions of {topic}");
        wait_until(PATIENCE, &what, || {
            let found = consumer.offsets_for_times(first.clone(), PATIENCE / 20);
            found.is_ok_and(|found| found.elements().iter().all(|p| p.error().is_ok()))
        });
    }

    /// Creates a topic with a unique name that starts with `prefix`.
    pub fn new_topic(&self, prefix: &str, partitions: i32, configs: &[(&str, &str)]) -> String {
        let name = topic_name(prefix);
        self.create_topic(&name, partitions, configs);
        name
    }

    /// The end offset of each partition, by partition. Transaction markers have offsets too.
    pub fn ends(&self, topic: &str) -> Vec<(i32, i64)> {
        let consumer = self.consumer("read_committed");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let partitions = metadata.topics()[0].partitions().iter();
        let end = |p| consumer.fetch_watermarks(topic, p, PATIENCE).unwrap().1;
        partitions.map(|p| (p.id(), end(p.id()))).collect()
    }

    /// Deletes a topic and waits until the broker no longer lists it.
    pub fn delete_topic(&self, name: &str) {
        let done = block_on(self.admin().delete_topics(&[name], &AdminOptions::new())).unwrap();
        done.into_iter().for_each(|topic| drop(topic.unwrap()));

        let consumer = self.consumer("read_committed");
        wait_until(PATIENCE, &format!("topic {name} is gone"), || {
            let metadata = consumer.fetch_metadata(None, PATIENCE).unwrap();
            metadata.topics().iter().all(|topic| topic.name() != name)
        });
    }

    /// Deletes the records of a partition below an offset, as retention does.
    pub fn delete_records(&self, topic: &str, partition: i32, before_offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before_offset))
            .unwrap();
        let done = block_on(self.admin().delete_records(&list, &AdminOptions::new())).unwrap();
        done.elements()
            .iter()
            .for_each(|partition| partition.error().unwrap());
    }
}
