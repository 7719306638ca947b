//! Consumer groups, as in `kafka-consumer-groups.sh`.

use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::broker::Broker;
use crate::wait::{PATIENCE, block_on};

impl Broker {
    /// The committed offsets of a consumer group, by partition. Partitions without an offset are
    /// left out.
    pub fn committed(&self, group: &str, topic: &str) -> Vec<(i32, i64)> {
        let consumer: BaseConsumer = self.config().set("group.id", group).create().unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let mut asked = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            asked.add_partition(topic, partition.id());
        }
        let found = consumer.committed_offsets(asked, PATIENCE).unwrap();
        let found = found.elements();
        let offsets = found
            .iter()
            .filter_map(|element| Some((element.partition(), element.offset().to_raw()?)));
        offsets.filter(|(_, offset)| *offset >= 0).collect()
    }

    /// Commits an offset for a consumer group, like another program would.
    pub fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        let consumer: BaseConsumer = self.config().set("group.id", group).create().unwrap();
        let mut offsets = TopicPartitionList::new();
        let offset = Offset::Offset(offset);
        offsets
            .add_partition_offset(topic, partition, offset)
            .unwrap();
        consumer.commit(&offsets, CommitMode::Sync).unwrap();
    }

    /// Deletes a consumer group and its offsets.
    pub fn delete_group(&self, group: &str) {
        let options = AdminOptions::new();
        let deleted = block_on(self.admin().delete_groups(&[group], &options)).unwrap();
        deleted.into_iter().for_each(|group| drop(group.unwrap()));
    }
}
